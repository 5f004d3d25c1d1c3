"""The threads that call what waits for the future of a prediction."""

from __future__ import annotations

import os
import threading

import pytest
from alone import measured_alone
from polling import PATIENCE_S, wait_until

from carboy.models.callbackthreads import CallbackThreads


@pytest.fixture
def threads(monkeypatch):
    """Threads that end at the end of the test."""
    monkeypatch.setattr("carboy.models.callbackthreads.IDLE_S", 0.1)
    return CallbackThreads()


def thread_of_a_call(call) -> threading.Thread:
    called, seen = threading.Event(), []

    def note():
        seen.append(threading.current_thread())
        called.set()

    call(note)
    assert called.wait(PATIENCE_S)
    return seen[0]


def test_many_futures_share_few_threads(app):
    """To start a thread for each took 20 times as long as to predict."""

    @app.model("/m", batch=64)
    def m(x: list[int]) -> list[int]:
        assert begin.wait(PATIENCE_S)
        return x

    begin, seen, called = threading.Event(), [], threading.Semaphore(0)

    def note(future):
        seen.append((future.result(), threading.current_thread()))
        called.release()

    for i in range(1000):
        app.models["m"].submit(i).add_done_callback(note)
    begin.set()
    for _ in range(1000):
        assert called.acquire(timeout=PATIENCE_S)
    assert sorted(result for result, _ in seen) == list(range(1000))
    assert len({thread for _, thread in seen}) < 100


def test_callback_may_wait_for_the_callback_of_a_prediction_that_it_asks_for(app):
    @app.model("/m")
    def m(x: int) -> int:
        assert begin.wait(PATIENCE_S)
        return x

    begin, inner, outer = threading.Event(), threading.Event(), threading.Event()

    def ask(_):
        app.models["m"].submit(2).add_done_callback(lambda _: inner.set())
        if inner.wait(PATIENCE_S):
            outer.set()

    app.models["m"].submit(1).add_done_callback(ask)
    begin.set()
    assert outer.wait(PATIENCE_S)


def test_function_does_not_wait_for_earlier_ones_that_take_long(threads):
    released, running = threading.Event(), threading.Semaphore(0)

    def take_long():
        running.release()
        released.wait(PATIENCE_S)

    for _ in range(3):
        threads.call(take_long)
        assert running.acquire(timeout=PATIENCE_S)
    thread_of_a_call(threads.call)
    released.set()


@pytest.mark.parametrize("failure", [ValueError("lost"), SystemExit(3)], ids=["error", "exit"])
def test_function_that_fails_is_logged_and_keeps_the_thread_from_none(threads, failure, caplog):
    called, released = [], threading.Event()

    def fail():
        raise failure

    with threads._changed:  # all come before the thread has woken up
        threads.call(fail)
        threads._waiting += [lambda: called.append(1), released.set]
    assert released.wait(PATIENCE_S)
    assert called == [1]
    assert "A callback of a prediction failed" in caplog.text


def test_thread_that_is_idle_for_long_ends(threads):
    thread = thread_of_a_call(threads.call)
    wait_until(lambda: not thread.is_alive())
    assert thread_of_a_call(threads.call) is not thread


def test_functions_are_called_on_the_calling_thread_if_no_other_can_be_started(
    threads, monkeypatch
):
    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert thread_of_a_call(threads.call) is threading.current_thread()


def call_in_the_child_of_a_fork() -> int:
    threads = CallbackThreads()
    thread_of_a_call(threads.call)  # an idle one, which the child does not have
    child = os.fork()
    if child == 0:
        code = 1
        try:
            thread_of_a_call(threads.call)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_child_of_a_fork_has_threads_of_its_own():
    assert measured_alone(call_in_the_child_of_a_fork) == 0
