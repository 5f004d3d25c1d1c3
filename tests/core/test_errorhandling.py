"""An `InputError` that a view or a hook raises is a 4xx, as it is if a model raises it."""

from __future__ import annotations

import pytest

from carboy.errors import InputError, InputTooLargeError


@pytest.fixture
def raising(app):
    """An app without the debugging of tests, whose views raise an `InputTooLargeError`."""
    app.testing = False
    app.config["PROPAGATE_EXCEPTIONS"] = True  # an unhandled exception would reach the test

    @app.get("/plain")
    def plain():
        raise InputTooLargeError.at("$.photo", expected="5 MB", got="<6 MB>")

    @app.get("/typed")
    def typed() -> dict[str, int]:
        raise InputTooLargeError.at("$.photo", expected="5 MB", got="<6 MB>")

    return app


@pytest.mark.parametrize("path", ["/plain", "/typed"])
def test_program_gets_problem_details(raising, path):
    answer = raising.test_client().get(path)
    assert (answer.status_code, answer.content_type) == (413, "application/problem+json")
    assert answer.json == {
        "title": "Request Entity Too Large",
        "status": 413,
        "detail": "Expected 5 MB, got <6 MB> - at `$.photo`.",
        "code": "input-too-large",
        "errors": [{"path": "$.photo", "in": "body", "expected": "5 MB", "got": "<6 MB>"}],
    }


@pytest.mark.parametrize("path", ["/plain", "/typed"])
def test_browser_gets_a_page(raising, path):
    answer = raising.test_client().get(path, headers={"Accept": "text/html"})
    assert (answer.status_code, answer.mimetype) == (413, "text/html")
    assert "&lt;6 MB&gt;" in answer.text


@pytest.mark.parametrize("handled", [413, InputError, ValueError])
def test_handler_of_the_class_or_of_the_status_is_called(raising, handled):
    @raising.errorhandler(handled)
    def handle(error):
        return f"handled: {error}", 418

    answer = raising.test_client().get("/plain")
    assert answer.status_code == 418
    assert "got <6 MB>" in answer.text


def test_subclass_with_a_status_of_its_own_has_that_status(app):
    class SoldOutError(InputError):
        status = 410
        slug = "sold-out"

    @app.get("/sold")
    def sold():
        raise SoldOutError("No tickets are left.")

    answer = app.test_client().get("/sold")
    assert (answer.status_code, answer.json["code"]) == (410, "sold-out")
