"""What Flask keeps in an object's `__dict__` can be patched, restored, assigned and deleted."""

from __future__ import annotations

import pathlib
import typing as t
from unittest import mock

import patching
import pytest
from onflask import recorded_on_flask

import carboy
from carboy import Carboy, Response, g, request, session
from carboy.testing import FlaskClient


def test_every_attribute_is_patched_and_restored_as_on_flask(flask_site: pathlib.Path) -> None:
    on_flask = recorded_on_flask(flask_site, patching.__file__)
    assert {"g", "url_adapter"} <= {*on_flask["names"]["app_ctx"]}
    assert patching.failures(carboy, on_flask["names"]) == on_flask["failures"]


def test_patched_request_and_g_are_what_a_view_sees(app: Carboy) -> None:
    context = app.test_request_context("/original")
    with context:
        g.user = "original"
        with (
            mock.patch.object(context, "request", mock.Mock(path="/patched")),
            mock.patch.object(carboy.globals.app_ctx, "g", {"user": "patched"}),
        ):
            assert (request.path, g["user"]) == ("/patched", "patched")
        assert (request.path, g.user) == ("/original", "original")


def test_patched_session_is_the_one_that_is_read(app: Carboy) -> None:
    with app.test_request_context("/") as context:
        session["user"] = "original"
        with mock.patch.object(context, "_session", mock.Mock(user="patched")):
            assert session.user == "patched"
        assert session["user"] == "original"


@pytest.mark.parametrize(
    "name", ["g", "url_adapter", "request", "_session", "_after_request_functions"]
)
def test_deleted_attribute_of_a_context_is_missing_until_it_is_assigned(
    app: Carboy, name: str
) -> None:
    with app.test_request_context("/") as context:
        original = getattr(context, name)
        delattr(context, name)
        assert not hasattr(context, name)
        with pytest.raises(AttributeError, match=name):
            delattr(context, name)
        setattr(context, name, original)
        assert getattr(context, name) is original


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain", "X-A": "1"},
        [("Content-Type", "text/plain"), ("X-A", "1")],
        (("Content-Type", "text/plain"), ("X-A", "1")),
    ],
    ids=["dict", "list", "tuple"],
)
@pytest.mark.parametrize(
    "body", ["text", b"bytes", iter(["streamed"])], ids=["text", "bytes", "stream"]
)
def test_headers_assigned_as_a_plain_object_are_sent(
    app: Carboy, client: FlaskClient, headers: t.Any, body: t.Any
) -> None:
    @app.get("/")
    def index() -> Response:
        response = Response(body)
        response.headers = headers
        assert response.headers is headers
        return response

    for method in ("GET", "HEAD"):
        got = client.open("/", method=method)
        assert (got.status_code, got.content_type, got.headers["X-A"]) == (200, "text/plain", "1")


def test_error_of_assigned_headers_is_handled_as_one_of_the_view(
    app: Carboy, client: FlaskClient
) -> None:
    app.testing = False

    @app.get("/")
    def index() -> Response:
        session["user"] = "alice"  # a cookie cannot be added to a list
        response = Response("text")
        response.headers = [("X-A", "1")]  # type: ignore[assignment]
        return response

    assert client.get("/").status_code == 500
