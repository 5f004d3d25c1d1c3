"""Contexts: their lifetime, what they create and end, and errors in between."""

from __future__ import annotations

import json
import pathlib
import threading
import typing as t
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import contextorders
import pytest
from onflask import recorded_on_flask

import carboy
from carboy import (
    Carboy,
    after_this_request,
    appcontext_popped,
    copy_current_request_context,
    current_app,
    g,
    has_app_context,
    has_request_context,
    request,
    session,
)
from carboy.ctx import _AppCtxGlobals
from carboy.globals import _cv_app, app_ctx


def test_g_is_a_namespace() -> None:
    space = _AppCtxGlobals()
    assert repr(space).startswith("<carboy.ctx._AppCtxGlobals")
    space.a = 1
    assert (space.get("a"), space.get("b"), space.get("b", 2)) == (1, None, 2)
    assert space.setdefault("c", 3) == space.c == 3
    assert (list(space), "a" in space, "b" in space) == (["a", "c"], True, False)
    assert (space.pop("a"), space.pop("a", 5)) == (1, 5)
    with pytest.raises(KeyError):
        space.pop("a")
    with pytest.raises(AttributeError, match="missing"):
        space.missing
    with pytest.raises(AttributeError, match="missing"):
        del space.missing
    del space.c
    assert list(space) == []


def test_repr_of_g_names_its_app(app: Carboy) -> None:
    with app.app_context():
        assert repr(g) == "<flask.g of 'carboy_test'>"


def test_g_may_be_replaced(app: Carboy) -> None:
    with app.app_context() as ctx:
        ctx.g = other = _AppCtxGlobals()
        assert g._get_current_object() is other  # type: ignore[attr-defined]


@pytest.mark.parametrize("function", [after_this_request, copy_current_request_context])
def test_function_that_needs_a_request_raises_without_one(function: t.Any) -> None:
    with pytest.raises(RuntimeError, match=f"'{function.__name__}' needs an active request"):
        function(lambda response: response)


def test_has_context_functions_follow_push_and_pop(app: Carboy) -> None:
    seen = [(has_app_context(), has_request_context())]
    with app.app_context():
        seen.append((has_app_context(), has_request_context()))
        with app.test_request_context():
            seen.append((has_app_context(), has_request_context()))
        seen.append((has_app_context(), has_request_context()))
    seen.append((has_app_context(), has_request_context()))
    assert seen == [(False, False), (True, False), (True, True), (True, False), (False, False)]


def test_context_pushed_twice_ends_once(app: Carboy) -> None:
    ended: list[object] = []
    app.teardown_request(ended.append)
    app.teardown_appcontext(ended.append)
    ctx = app.test_request_context()
    with ctx, ctx:
        g.x = 1
    assert ended == [None, None]


def test_pop_uses_the_exception_being_handled(app: Carboy) -> None:
    ended: list[object] = []
    app.teardown_request(ended.append)
    app.teardown_appcontext(ended.append)
    error = LookupError()
    for ctx in (app.test_request_context(), app.app_context()):
        ctx.push()
        try:
            raise error
        except LookupError:
            ctx.pop()
    assert ended == [error] * 3


@pytest.mark.parametrize("make", [Carboy.app_context, Carboy.test_request_context])
def test_popping_out_of_order_raises(app: Carboy, make: t.Any) -> None:
    outer, inner = make(app), make(app)
    outer.push()
    inner.push()
    with pytest.raises(AssertionError, match="Popped wrong context"):
        outer.pop()
    assert not has_app_context()


def test_app_context_left_pushed_in_a_request_raises(app: Carboy) -> None:
    ended: list[object] = []
    app.teardown_appcontext(ended.append)
    ctx = app.test_request_context()
    ctx.push()
    app.app_context().push()
    with pytest.raises(AssertionError, match="AppContext"):
        ctx.pop()
    assert len(ended) == 1
    assert not has_app_context()


# ---------------------------------------------------------------------------- in any order


def test_contexts_end_in_any_order_as_on_flask(flask_site: pathlib.Path) -> None:
    on_flask = recorded_on_flask(flask_site, contextorders.__file__)
    on_carboy = json.loads(json.dumps(contextorders.record(carboy)))
    different = [pair for pair in zip(on_flask, on_carboy, strict=True) if pair[0] != pair[1]]
    assert different == []


def test_client_block_may_contain_an_app_context(app: Carboy) -> None:
    ended: list[str] = []
    app.teardown_request(lambda _: ended.append(f"request {request.path}"))
    app.teardown_appcontext(lambda _: ended.append("app"))
    app.route("/<name>")(lambda name: name)
    with app.test_client() as client:
        with app.app_context():
            g.kept = True
            assert client.get("/a").text == "a"
            assert request.path == "/a"
            assert g.kept
            client.get("/b")
        assert request.path == "/b"
        assert ended == ["request /a", "request /a", "request /b"]
    assert ended[3:] == ["request /b", "app"]
    assert not has_app_context()


def test_request_outlives_the_app_context_in_which_it_began(app: Carboy) -> None:
    app.add_url_rule("/", endpoint="index")
    app_ctx, ctx = app.app_context(), app.test_request_context("/")
    app_ctx.push()
    ctx.push()
    app_ctx.pop()
    assert (has_app_context(), has_request_context()) == (False, True)
    assert not current_app
    assert app.url_for("index") == "/"
    assert carboy.json.dumps([1]) == "[1]"
    assert request.max_content_length is None
    ctx.pop()
    assert not has_request_context()


def test_pop_without_push_raises(app: Carboy) -> None:
    for ctx in (app.app_context(), app.test_request_context()):
        with pytest.raises(LookupError, match="not pushed"):
            ctx.pop()


def begin_here_and_end_in_another_thread(context: t.ContextManager[t.Any]) -> None:
    def rows() -> t.Iterator[None]:
        with context:
            g.user = "alice"
            yield

    abandoned = rows()
    next(abandoned)
    assert g.user == "alice"
    with ThreadPoolExecutor(1) as other:
        other.submit(abandoned.close).result()


@pytest.mark.parametrize("make", [Carboy.app_context, Carboy.test_request_context])
def test_context_ended_in_another_thread_is_not_seen_by_the_next(
    app: Carboy, make: t.Callable[[Carboy], t.Any]
) -> None:
    ended: list[object] = []
    app.teardown_appcontext(ended.append)
    app.add_url_rule("/", view_func=lambda: {"user": g.get("user")})
    begin_here_and_end_in_another_thread(make(app))
    assert len(ended) == 1
    assert app.test_client().get("/").json == {"user": None}
    assert len(ended) == 2
    assert not has_app_context()


def test_context_below_one_that_ended_in_another_thread_becomes_active_again(app: Carboy) -> None:
    app.add_url_rule("/", view_func=lambda: {"user": g.get("user")})
    with app.app_context():
        g.user = "outer"
        begin_here_and_end_in_another_thread(app.app_context())
        assert app.test_client().get("/").json == {"user": "outer"}
        assert g.user == "outer"


def test_app_context_copied_into_a_task_that_outlives_it_is_not_reused(app: Carboy) -> None:
    app.add_url_rule("/", view_func=lambda: {"user": g.get("user")})
    with app.app_context():
        g.user = "alice"
        task = copy_context()
    assert task.run(app.test_client().get, "/").json == {"user": None}


def copied(app: Carboy) -> t.Any:
    with app.test_request_context() as ctx:
        return ctx.copy()


def test_threads_that_share_a_copied_context_leave_it(app: Carboy) -> None:
    @app.get("/")
    def index() -> list[str]:
        together = threading.Barrier(3)
        left = {name: threading.Event() for name in "abc"}

        @copy_current_request_context
        def work(name: str, earlier: str) -> str:
            together.wait(20)
            assert not earlier or left[earlier].wait(20)
            return request.path + name

        def work_and_leave(name: str, earlier: str) -> str:
            try:
                return work(name, earlier)
            finally:
                left[name].set()

        return list(pool.map(work_and_leave, "abc", ["", "a", "b"]))

    def see() -> bool:
        together.wait(20)
        return has_request_context()

    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            assert app.test_client().get("/").json == ["/a", "/b", "/c"]
            together = threading.Barrier(3)
            assert list(pool.map(lambda _: see(), range(3))) == [False] * 3


def test_each_call_of_a_copied_function_has_its_own_g_and_teardown(app: Carboy) -> None:
    ended: list[int] = []
    app.teardown_appcontext(lambda _: ended.append(g.get("item")))

    @app.get("/")
    def index() -> list[object]:
        g.item = 0

        @copy_current_request_context
        def work(number: int, threads: int) -> list[object]:
            assert "item" not in g
            g.item = number
            if threads > 1:
                together.wait(20)
            return [number, g.item, request.path]

        rows: list[object] = []
        for threads in (1, 2):
            with ThreadPoolExecutor(threads) as pool:
                rows += pool.map(work, [1, 2], [threads] * 2)
        return [*rows, g.item]

    together = threading.Barrier(2)
    rows = [[1, 1, "/"], [2, 2, "/"]]
    assert app.test_client().get("/").json == [*rows, *rows, 0]
    assert sorted(ended) == [0, 1, 1, 2, 2]


@pytest.mark.parametrize("make", [Carboy.test_request_context, copied], ids=["new", "copy"])
def test_context_pushed_again_after_its_end_has_a_new_g(app: Carboy, make: t.Any) -> None:
    ctx = make(app)
    ended: list[object] = []
    app.teardown_appcontext(lambda _: ended.append(g.get("x")))
    for number in range(3):
        with ctx, ctx:
            assert "x" not in g
            g.x = number
    assert ended == [0, 1, 2]


def test_app_context_of_a_request_keeps_its_g_in_other_threads_and_after_its_end(
    app: Carboy,
) -> None:
    contexts = []

    @app.get("/")
    def index() -> str:
        g.user = "ada"
        contexts.append(app_ctx._get_current_object())  # type: ignore[attr-defined]
        with ThreadPoolExecutor(2) as pool:
            return " ".join(pool.map(work, contexts * 2))

    def work(context: t.Any) -> str:
        with context:
            return str(g.get("user"))

    assert app.test_client().get("/").text == "ada ada"
    assert work(contexts[0]) == "ada"


def test_context_that_is_not_the_last_pushed_is_torn_down_without_an_exception(app: Carboy) -> None:
    ended: list[object] = []
    app.teardown_appcontext(ended.append)
    context, other = app.test_request_context("/"), Carboy("other").app_context()
    context.push()
    other.push()
    context.push()
    context.pop()
    assert ended == [None]
    other.pop()
    context.pop()


def test_context_of_a_failed_request_ends_before_the_next_one(app: Carboy) -> None:
    ended = []
    app.testing = True
    app.teardown_appcontext(lambda exc: ended.append(g.get("x")))

    @app.get("/<x>")
    def index(x: str) -> str:
        g.x = x
        return {"good": x}[x]

    with app.test_client() as client:
        with pytest.raises(KeyError):
            client.get("/bad")
        client.get("/good")
        assert (request.path, g.x) == ("/good", "good")
        ended.clear()
    assert ended == ["good"]


def test_session_is_opened_by_push(app: Carboy) -> None:
    ctx = app.test_request_context()
    with pytest.raises(AssertionError, match="push it first"):
        ctx.session
    with ctx:
        assert not session.modified


def test_copy_shares_request_and_session(app: Carboy) -> None:
    with app.test_request_context("/copied") as ctx:
        session["x"] = 1
        copy = ctx.copy()
        assert copy.request is ctx.request
    with copy:
        assert request.path == "/copied"
        assert session["x"] == 1


def test_context_that_was_never_pushed_can_be_copied(app: Carboy) -> None:
    copy = app.test_request_context("/copied").copy()
    with copy:
        assert session.get("x") is None


def test_request_and_adapter_may_be_replaced(app: Carboy) -> None:
    ctx = app.test_request_context("/a")
    other = app.test_request_context("/b")
    ctx.request = other.request
    ctx.url_adapter = adapter = other.url_adapter
    assert ctx.request.path == "/b"
    assert ctx.url_adapter is adapter
    assert repr(ctx) == "<RequestContext 'http://localhost/b' [GET] of carboy_test>"


def test_url_adapter_without_server_name_is_none(app: Carboy) -> None:
    with app.app_context() as ctx:
        assert ctx.url_adapter is None
    app.config["SERVER_NAME"] = "example.com"
    with app.app_context() as ctx:
        assert ctx.url_adapter is not None


def test_bad_host_is_reported_at_dispatch(app: Carboy) -> None:
    app.config["TRUSTED_HOSTS"] = ["example.com"]
    with app.test_request_context() as ctx:
        assert ctx.url_adapter is None
        assert request.routing_exception is not None
        assert app.full_dispatch_request().status_code == 400


@pytest.mark.parametrize("kind", ["request", "app"])
def test_all_teardown_functions_run_though_some_fail(app: Carboy, kind: str) -> None:
    ran: list[int] = []
    add = app.teardown_request if kind == "request" else app.teardown_appcontext
    add(lambda exc: ran.append(1))
    add(lambda exc: 1 / 0)
    add(lambda exc: {}["x"])
    add(lambda exc: ran.append(2))
    app.add_url_rule("/", view_func=lambda: "", endpoint="index")
    with pytest.raises(BaseExceptionGroup, match="2 teardown functions failed") as caught:
        app.test_client().get("/")
    assert [type(error) for error in caught.value.exceptions] == [KeyError, ZeroDivisionError]
    assert ran == [2, 1]
    assert not has_app_context()


def test_single_failing_teardown_function_raises_its_own_error(app: Carboy) -> None:
    app.teardown_request(lambda exc: 1 / 0)
    app.add_url_rule("/", view_func=lambda: "", endpoint="index")
    with pytest.raises(ZeroDivisionError):
        app.test_client().get("/")


def test_error_of_a_signal_receiver_is_raised_too(app: Carboy) -> None:
    from carboy import request_tearing_down

    def fail(sender: object, **values: object) -> None:
        raise LookupError("receiver")

    ended: list[object] = []
    app.teardown_appcontext(ended.append)
    with (
        request_tearing_down.connected_to(fail, app),
        pytest.raises(LookupError, match="receiver"),
        app.test_request_context(),
    ):
        pass
    assert ended == [None]


def test_appcontext_popped_is_sent_after_the_context_has_ended(app: Carboy) -> None:
    seen: list[bool] = []

    def receive(sender: object, **values: object) -> None:
        seen.append(has_app_context())

    with appcontext_popped.connected_to(receive, app):
        with app.test_request_context():
            pass
        with app.app_context():
            pass
    assert seen == [False, False]


def test_preserve_context_key_keeps_the_context_of_a_failed_request(app: Carboy) -> None:
    ended: list[object] = []
    app.config["PRESERVE_CONTEXT_ON_EXCEPTION"] = True
    app.teardown_request(ended.append)
    app.add_url_rule("/fails", view_func=lambda: 1 / 0, endpoint="fails")
    app.add_url_rule("/", view_func=lambda: "well", endpoint="well")
    client = app.test_client()
    with pytest.raises(ZeroDivisionError):
        client.get("/fails")
    assert request.path == "/fails"
    assert ended == []
    assert client.get("/").text == "well"
    assert [type(error) for error in ended] == [ZeroDivisionError, type(None)]
    assert not has_app_context()


def test_ignored_error_is_not_passed_to_teardown(app: Carboy) -> None:
    ended: list[object] = []
    app.should_ignore_error = lambda error: True  # type: ignore[method-assign]
    app.teardown_request(ended.append)
    app.add_url_rule("/fails", view_func=lambda: 1 / 0, endpoint="fails")
    with pytest.raises(ZeroDivisionError):
        app.test_client().get("/fails")
    assert ended == [None]


def test_app_context_pushed_twice_ends_once(app: Carboy) -> None:
    ended: list[object] = []
    app.teardown_appcontext(ended.append)
    ctx = app.app_context()
    with ctx, ctx:
        assert ended == []
    assert ended == [None]


def test_session_may_be_replaced(app: Carboy) -> None:
    other = app.session_interface.make_null_session(app)
    with app.test_request_context() as ctx:
        ctx.session = other
        assert session._get_current_object() is other  # type: ignore[attr-defined]
    ctx = app.test_request_context()
    assert ctx._session is None
    ctx._session = other  # as Flask-SocketIO does
    with ctx:
        assert ctx.session is other


def test_request_without_an_adapter_is_not_matched(app: Carboy) -> None:
    app.create_url_adapter = lambda request: None  # type: ignore[method-assign]
    with app.test_request_context():
        assert request.url_rule is None
        assert request.routing_exception is None


@pytest.mark.parametrize("found", ["app_ctx", "_cv_app"])
def test_app_context_keeps_its_g_in_another_thread_however_it_was_found(app: Carboy, found) -> None:
    @app.get("/")
    def index():
        g.user = "ada"
        context = app_ctx._get_current_object() if found == "app_ctx" else _cv_app.get()

        def work():
            with context:
                return g.get("user")

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(work).result()

    assert app.test_client().get("/").text == "ada"


def test_g_that_is_set_before_a_context_is_active_is_used_once(app: Carboy) -> None:
    context = app.test_request_context("/")
    context.g.user = "ada"
    with context:
        assert g.user == "ada"
    with context:
        assert "user" not in g
