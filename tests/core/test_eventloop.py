"""The event loop of async views: context variables, exceptions, and its lifetime."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import typing as t

import pytest
from alone import measured_alone

from carboy import Carboy
from carboy.core import eventloop

_variable: contextvars.ContextVar[str] = contextvars.ContextVar("_variable")


async def _value(value: object) -> object:
    await asyncio.sleep(0)
    return value


def test_run_returns_the_coroutines_result() -> None:
    assert eventloop.run(_value(5)) == 5


def test_all_coroutines_share_one_loop_on_its_own_thread() -> None:
    async def where() -> tuple[asyncio.AbstractEventLoop, int]:
        return asyncio.get_running_loop(), threading.get_ident()

    first, second = eventloop.run(where()), eventloop.run(where())
    assert first == second
    assert first[1] != threading.get_ident()


def test_context_variables_are_passed_in_and_back() -> None:
    async def change() -> str:
        seen = _variable.get()
        _variable.set("changed")
        return seen

    _variable.set("given")
    assert eventloop.run(change()) == "given"
    assert _variable.get() == "changed"


def test_context_variables_are_passed_back_from_a_failing_coroutine() -> None:
    async def fail() -> None:
        _variable.set("until it failed")
        raise LookupError

    with pytest.raises(LookupError):
        eventloop.run(fail())
    assert _variable.get() == "until it failed"


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_loop_survives_system_exit_and_keyboard_interrupt(error: type[BaseException]) -> None:
    async def leave() -> None:
        raise error

    with pytest.raises(error):
        eventloop.run(leave())
    assert eventloop.run(_value("still there")) == "still there"


def test_cancelled_coroutine_raises_in_the_waiting_thread() -> None:
    from concurrent.futures import CancelledError

    async def cancel() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    with pytest.raises(CancelledError):
        eventloop.run(cancel())


def test_waiting_on_the_loops_own_thread_raises() -> None:
    async def outer() -> object:
        return eventloop.run(_value(1))

    with pytest.raises(RuntimeError, match="Await it directly"):
        eventloop.run(outer())


def test_many_threads_can_wait_at_once() -> None:
    barrier = asyncio.Event()

    async def meet(last: bool) -> bool:
        if last:
            barrier.set()
        return await asyncio.wait_for(barrier.wait(), 10)

    answers: list[bool] = []

    def visit(last: bool) -> None:
        answers.append(eventloop.run(meet(last)))

    threads = [threading.Thread(target=visit, args=(i == 7,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert answers == [True] * 8


def what_a_forked_child_gets() -> int:
    eventloop.run(_value(1))
    child = os.fork()
    if child == 0:
        os._exit(t.cast("int", eventloop.run(_value(7))))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_forked_child_starts_its_own_loop() -> None:
    assert measured_alone(what_a_forked_child_gets) == 7


def test_async_view_cannot_call_another_async_view_through_the_app(app: Carboy) -> None:
    async def inner() -> str:
        return "inner"

    @app.get("/")
    async def outer() -> str:
        return app.ensure_sync(inner)()

    with pytest.raises(RuntimeError, match="Await it directly"):
        app.test_client().get("/")


def test_g_set_by_an_async_view_is_visible_to_later_hooks(app: Carboy) -> None:
    from carboy import g

    @app.get("/")
    async def view() -> str:
        g.user = "me"
        return ""

    @app.after_request
    async def show(response):
        response.headers["X-User"] = g.user
        return response

    assert app.test_client().get("/").headers["X-User"] == "me"


def test_client_created_in_one_request_is_usable_in_the_next(app: Carboy) -> None:
    locks: list[asyncio.Lock] = []

    @app.get("/")
    async def view() -> str:
        locks.append(asyncio.Lock()) if not locks else None
        async with locks[0]:
            return str(id(asyncio.get_running_loop()))

    client = app.test_client()
    assert client.get("/").text == client.get("/").text
