"""The proxies, and Flask's two context variables as views on carboy's one."""

from __future__ import annotations

import pytest

from carboy import Carboy, current_app, g, globals, request, session


@pytest.mark.parametrize(
    ("act", "advice"),
    [
        (lambda: current_app.name, "app.app_context()"),
        (lambda: g.user, "app.app_context()"),
        (lambda: globals.app_ctx.app, "app.app_context()"),
        (lambda: request.path, "app.test_request_context"),
        (lambda: session["x"], "app.test_request_context"),
        (lambda: "x" in session, "app.test_request_context"),
        (lambda: globals.request_ctx.app, "app.test_request_context"),
    ],
    ids=["current_app", "g", "app_ctx", "request", "session", "in session", "request_ctx"],
)
def test_error_without_a_context_explains_how_to_push_one(act, advice: str) -> None:
    with pytest.raises(RuntimeError, match=r"Working outside of \w+ context") as caught:
        act()
    assert advice in str(caught.value)


def test_proxies_return_the_active_objects(app: Carboy) -> None:
    with app.test_request_context("/path") as ctx:
        assert current_app._get_current_object() is app
        assert current_app == app
        assert globals.request_ctx._get_current_object() is ctx
        assert isinstance(request, type(ctx.request))
        g.user = "me"
        assert "user" in g
        session["x"] = 1
        assert (session["x"], "x" in session, len(session)) == (1, True, 1)
        request.custom = 5  # type: ignore[attr-defined]
        assert ctx.request.custom == 5  # type: ignore[attr-defined]
        del g.user
        assert "user" not in g


def test_unbound_proxies_are_false_and_have_a_repr() -> None:
    assert not current_app
    assert not request
    assert "unbound" in repr(request)


def test_flasks_context_variables_return_the_active_contexts(app: Carboy) -> None:
    assert globals._cv_app.get(None) is None
    with pytest.raises(LookupError):
        globals._cv_request.get()
    with app.app_context() as app_ctx:
        assert globals._cv_app.get() is app_ctx
        assert globals._cv_request.get("none") == "none"
        with app.test_request_context() as ctx:
            assert globals._cv_request.get() is ctx
            assert globals._cv_app.get() is app_ctx


def test_flasks_context_variables_can_be_set_and_reset(app: Carboy) -> None:
    app_ctx, ctx = app.app_context(), app.test_request_context("/set")
    outer = globals._cv_app.set(app_ctx)
    inner = globals._cv_request.set(ctx)
    assert current_app.name == app.name
    assert request.path == "/set"
    globals._cv_request.reset(inner)
    assert not request
    globals._cv_app.reset(outer)
    assert not current_app


def test_setting_only_the_request_variable_leaves_the_app_unset_as_in_flask(app: Carboy) -> None:
    token = globals._cv_request.set(app.test_request_context("/only"))
    assert request.path == "/only"
    assert not current_app
    globals._cv_request.reset(token)
    assert not request


def test_each_variable_resets_its_own_member_only(app: Carboy) -> None:
    app_token = globals._cv_app.set(app.app_context())
    request_token = globals._cv_request.set(app.test_request_context("/"))
    globals._cv_app.reset(app_token)
    assert (bool(current_app), bool(request)) == (False, True)
    globals._cv_request.reset(request_token)
    assert not request


def test_context_variables_have_names() -> None:
    assert (globals._cv_app.name, globals._cv_request.name) == (
        "carboy.app_ctx",
        "carboy.request_ctx",
    )
