"""Errors while a request is handled: their messages, their logging, and who raises them."""

from __future__ import annotations

import contextlib
import typing as t

import pytest
import werkzeug
from sidebyside import call
from werkzeug.exceptions import BadRequestKeyError, HTTPException, NotFound

from carboy import Carboy, Response, abort, redirect, request
from carboy.core.dispatch import Dispatcher


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, r"The view function for 'view' did not return a valid response: it returned None"),
        (5, r"it was a int\."),
        (object(), r"A view returns a string, bytes, dict, list, tuple"),
        (("a",), r"must have the form.*it has 1 items"),
        (("a", 200, {}, 1), r"it has 4 items"),
        ((None, 200), r"it returned None"),
    ],
    ids=["none", "number", "object", "tuple of 1", "tuple of 4", "none with status"],
)
def test_message_for_an_invalid_return_value_lists_the_valid_ones(
    app: Carboy, answer: t.Any, message: str
) -> None:
    app.add_url_rule("/", view_func=lambda: answer, endpoint="view")
    with pytest.raises(TypeError, match=message):
        app.test_client().get("/")


def test_message_for_a_callable_that_is_not_a_wsgi_application(app: Carboy) -> None:
    app.add_url_rule("/", view_func=lambda: lambda: None, endpoint="view")
    with pytest.raises(TypeError, match="did not return a valid response"):
        app.test_client().get("/")


def test_unhandled_error_is_logged_with_path_and_method(
    app: Carboy, caplog: pytest.LogCaptureFixture
) -> None:
    app.testing = False
    app.add_url_rule("/fails", view_func=lambda: 1 / 0, endpoint="fails")
    assert app.test_client().get("/fails").status_code == 500
    (record,) = (record for record in caplog.records if record.name == app.logger.name)
    assert record.getMessage() == "Exception on /fails [GET]"
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_failing_hook_on_an_error_page_is_logged_and_the_page_is_sent(
    app: Carboy, caplog: pytest.LogCaptureFixture
) -> None:
    app.testing = False
    app.after_request(lambda response: 1 / 0)  # type: ignore[arg-type,return-value]
    app.add_url_rule("/fails", view_func=lambda: {}["x"], endpoint="fails")
    assert app.test_client().get("/fails").status_code == 500
    *_, last = (record for record in caplog.records if record.name == app.logger.name)
    assert last.getMessage() == "A hook failed on the response to an error."


@pytest.mark.parametrize(
    ("config", "error", "trapped"),
    [
        ({}, NotFound(), False),
        ({"TRAP_HTTP_EXCEPTIONS": True}, NotFound(), True),
        ({"TRAP_BAD_REQUEST_ERRORS": True}, BadRequestKeyError("x"), True),
        ({"TRAP_BAD_REQUEST_ERRORS": True}, NotFound(), False),
        ({"TRAP_BAD_REQUEST_ERRORS": False, "DEBUG": True}, BadRequestKeyError("x"), False),
        ({"DEBUG": True}, BadRequestKeyError("x"), True),
        ({"DEBUG": True}, NotFound(), False),
    ],
)
def test_trap_settings_decide_which_errors_are_raised(
    app: Carboy, config: dict[str, bool], error: HTTPException, trapped: bool
) -> None:
    app.config.update(config)
    assert app.trap_http_exception(error) is trapped


def test_debug_mode_names_the_missing_form_key(app: Carboy) -> None:
    app.testing, app.debug = False, True
    app.config["TRAP_BAD_REQUEST_ERRORS"] = False
    app.add_url_rule("/", view_func=lambda: request.args["missing"], endpoint="view")
    assert "missing" in app.test_client().get("/").text


def test_debug_mode_explains_a_redirect_that_would_lose_the_body(app: Carboy) -> None:
    app.debug = True
    app.add_url_rule("/a", view_func=lambda: "", endpoint="a", methods=["POST"])

    def lose() -> t.NoReturn:
        raise werkzeug.routing.RequestRedirect("http://localhost/b")

    with app.test_request_context("/a", method="POST"):
        request.routing_exception = werkzeug.routing.RequestRedirect("http://localhost/b")
        request.routing_exception.code = 301
        with pytest.raises(AssertionError, match="http://localhost/b"):
            app.raise_routing_exception(request)


def test_response_raised_by_abort_is_sent(app: Carboy) -> None:
    app.errorhandler(HTTPException)(lambda error: "handled")
    app.add_url_rule("/", view_func=lambda: abort(redirect("/elsewhere")), endpoint="view")
    response = app.test_client().get("/")
    assert (response.status_code, response.location) == (302, "/elsewhere")


def test_error_handler_registry_may_be_a_plain_dict(app: Carboy) -> None:
    app.error_handler_spec = {None: {404: {NotFound: lambda error: ("plain", 404)}}}
    assert app.test_client().get("/none").text == "plain"


@pytest.mark.parametrize("method", ["do_teardown_request", "do_teardown_appcontext"])
def test_teardown_gets_the_exception_being_handled(app: Carboy, method: str) -> None:
    seen: list[t.Any] = []
    app.teardown_request(seen.append)
    app.teardown_appcontext(seen.append)
    with app.test_request_context():
        with contextlib.suppress(LookupError):
            try:
                raise LookupError
            finally:
                getattr(app, method)()
        assert [type(error) for error in seen] == [LookupError]
        del seen[:]


def test_dispatch_methods_work_when_called_directly(app: Carboy) -> None:
    app.add_url_rule("/", view_func=lambda: "by hand", endpoint="view")
    with app.test_request_context("/"):
        assert app.preprocess_request() is None
        response = app.make_response(app.dispatch_request())
        assert app.process_response(response).get_data(as_text=True) == "by hand"
        assert app.full_dispatch_request().get_data(as_text=True) == "by hand"


def test_url_adapter_outside_of_a_request_needs_server_name(app: Carboy) -> None:
    assert app.create_url_adapter(None) is None
    app.config.update(SERVER_NAME="example.com", PREFERRED_URL_SCHEME="https")
    adapter = app.create_url_adapter(None)
    assert adapter is not None
    assert (adapter.server_name, adapter.url_scheme) == ("example.com", "https")


@pytest.mark.parametrize("host", ["bad host..", "x" * 64 + " y"])
def test_malformed_host_header_is_answered_with_400(app: Carboy, host: str) -> None:
    app.add_url_rule("/", view_func=lambda: "", endpoint="view")
    step = {"path": "/", "environ": {"HTTP_HOST": host}}
    assert call(app, step, lambda *args: None)[0] == "400 BAD REQUEST"


def test_host_that_does_not_match_server_name_warns(app: Carboy) -> None:
    app.subdomain_matching = True
    app.config["SERVER_NAME"] = "example.com"
    app.add_url_rule("/", view_func=lambda: "", endpoint="view")
    client = app.test_client()
    with pytest.warns(UserWarning, match="'other' doesn't match configured server name"):
        assert client.get("/", base_url="http://other").status_code == 404
    assert client.get("/", base_url="http://EXAMPLE.com").status_code == 200


def test_partials_of_coroutine_functions_are_awaited(app: Carboy) -> None:
    import functools

    async def view(n: int) -> str:
        return str(n)

    app.add_url_rule("/", view_func=functools.partial(view, 5), endpoint="view")
    assert app.test_client().get("/").text == "5"


def test_ensure_sync_returns_plain_functions_unchanged(app: Carboy) -> None:
    def view() -> str:
        return ""

    assert app.ensure_sync(view) is view
    assert app.ensure_sync(len) is len

    async def coroutine() -> str:
        """Say it."""
        return ""

    assert app.ensure_sync(coroutine).__doc__ == "Say it."


def test_classes_derive_from_flasks() -> None:
    assert Dispatcher.response_class is Response
    assert isinstance(Carboy("x"), Dispatcher)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ((Response("x"), "201 Fine"), "201 Fine"),
        (({"a": 1}, "418 Tea"), "418 Tea"),
        ((Response("x", 404), None, {"X": "y"}), "404 NOT FOUND"),
        (([1], 202), "202 ACCEPTED"),
    ],
    ids=["text", "text for JSON", "left alone", "number"],
)
def test_status_of_a_tuple_overrides_the_responses_status(
    app: Carboy, answer: t.Any, status: str
) -> None:
    app.add_url_rule("/", view_func=lambda: answer, endpoint="view")
    assert app.test_client().get("/").status == status


def test_url_values_that_one_preprocessor_assigns_are_passed_to_the_next(app):
    @app.url_value_preprocessor
    def replace(endpoint, values):
        request.view_args = {"name": values["name"].upper()}

    seen = []
    app.url_value_preprocessor(lambda endpoint, values: seen.append((endpoint, dict(values))))
    app.add_url_rule("/<name>", "show", lambda name: name)
    assert app.test_client().get("/ada").text == "ADA"
    assert seen == [("show", {"name": "ADA"})]
