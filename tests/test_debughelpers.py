"""Exceptions that explain a developer's mistake in debug mode."""

from __future__ import annotations

import typing as t

import jinja2
import pytest
from werkzeug.exceptions import BadRequestKeyError
from werkzeug.routing import RequestRedirect

from carboy import Blueprint, Carboy, request
from carboy.debughelpers import (
    DebugFilesKeyError,
    FormDataRoutingRedirect,
    UnexpectedUnicodeError,
    attach_enctype_error_multidict,
    explain_template_loading_attempts,
)
from carboy.testing import FlaskClient


def test_exception_classes_are_those_that_flask_users_catch() -> None:
    assert issubclass(UnexpectedUnicodeError, AssertionError)
    assert issubclass(UnexpectedUnicodeError, UnicodeError)
    assert issubclass(DebugFilesKeyError, KeyError)
    assert issubclass(DebugFilesKeyError, AssertionError)
    assert issubclass(FormDataRoutingRedirect, AssertionError)


def test_file_sent_as_a_text_field_is_explained(app: Carboy) -> None:
    with app.test_request_context("/", method="POST", data={"photo": "cat.png"}):
        real = request._get_current_object()  # type: ignore[attr-defined]
        before = type(real.files)
        attach_enctype_error_multidict(real)
        with pytest.raises(DebugFilesKeyError) as info:
            real.files["photo"]
        assert isinstance(real.files, before)
        with pytest.raises(BadRequestKeyError):
            real.files["other"]
    assert "There is no file 'photo' in request.files" in str(info.value)
    assert "'application/x-www-form-urlencoded'" in str(info.value)
    assert 'enctype="multipart/form-data"' in str(info.value)
    assert str(info.value).endswith("This was submitted: 'cat.png'")
    assert info.value.__suppress_context__


def test_file_without_a_text_field_is_explained_without_names(app: Carboy) -> None:
    with app.test_request_context("/", method="POST"):
        text = str(DebugFilesKeyError(request, "photo"))
    assert text.endswith("to the <form> tag.")


def test_missing_file_is_explained_in_debug_mode_only(app: Carboy, client: FlaskClient) -> None:
    app.add_url_rule("/", "up", lambda: request.files["photo"].filename, methods=["POST"])
    app.config["PROPAGATE_EXCEPTIONS"] = True
    assert client.post("/", data={"photo": "cat.png"}).status_code == 400
    app.debug = True
    with pytest.raises(DebugFilesKeyError):
        client.post("/", data={"photo": "cat.png"})


@pytest.mark.parametrize(
    ("path", "target", "slash"),
    [("/user", "http://localhost/user/", True), ("/old?a=1", "http://localhost/new?a=1", False)],
    ids=["missing slash", "elsewhere"],
)
def test_redirect_that_drops_the_form_is_explained(
    app: Carboy, path: str, target: str, slash: bool
) -> None:
    with app.test_request_context(path, method="POST"):
        real = request._get_current_object()  # type: ignore[attr-defined]
        real.routing_exception = RequestRedirect(target)
        text = str(FormDataRoutingRedirect(real))
    assert f"canonical URL '{target}'" in text
    assert ("ends with a slash" in text) is slash
    assert "debug mode only" in text


def test_redirect_error_requires_a_redirected_request(app: Carboy) -> None:
    with app.test_request_context("/"), pytest.raises(TypeError, match="routing redirects"):
        FormDataRoutingRedirect(request._get_current_object())  # type: ignore[attr-defined]


class OwnLoader(jinja2.BaseLoader):
    def __init__(self) -> None:
        self.kind = "own"
        self.weights = (1, 2)
        self._hidden = "no"


@pytest.mark.parametrize(
    ("sources", "verdict"),
    [
        ([None], "Error: the template could not be found."),
        ([("", "/t/a.html", None)], None),
        ([("", None, None), ("", "/t/a.html", None)], "Warning: more than one loader"),
    ],
    ids=["none", "one", "two"],
)
def test_attempts_to_load_a_template_are_logged(
    app: Carboy,
    caplog: pytest.LogCaptureFixture,
    sources: list[t.Any],
    verdict: str | None,
) -> None:
    blueprint = Blueprint("bp", "the.module")
    blueprint.add_url_rule("/", "page", lambda: "")
    app.register_blueprint(blueprint)
    loaders = [jinja2.FileSystemLoader(["/t", "/u"]), OwnLoader()]
    attempts: t.Any = list(zip(loaders, [app, blueprint], sources, strict=False))
    caplog.set_level("INFO")
    with app.test_request_context("/"):
        explain_template_loading_attempts(app, "a.html", attempts)
    text = next(r.getMessage() for r in caplog.records if r.name == app.logger.name)
    assert text.startswith("Locating template 'a.html':")
    assert "    1: trying loader of application 'carboy_test'" in text
    assert "       class: jinja2.loaders.FileSystemLoader\n" in text
    assert "       searchpath:\n         - /t\n         - /u\n" in text
    assert ("endpoint that belongs to the blueprint 'bp'" in text) is (verdict is not None)
    if verdict is not None:
        assert verdict in text
    if len(sources) > 1:
        assert "2: trying loader of blueprint 'bp' (the.module)" in text
        assert "-> found ('<string>')" in text
        assert "kind: 'own'" in text
        assert "weights" not in text
        assert "hidden" not in text


def test_unknown_owner_of_a_loader_is_shown_by_its_repr(
    app: Carboy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    attempts: t.Any = [(OwnLoader(), ["theme"], None)]
    explain_template_loading_attempts(app, "a.html", attempts)
    assert "trying loader of ['theme']" in caplog.text
