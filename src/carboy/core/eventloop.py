"""One event loop per process, on its own thread, for `async def` views and hooks.

The loop lives as long as the process, because HTTP clients and connection pools belong to the loop
on which they were created. With one loop per call, views could not reuse them.
"""

from __future__ import annotations

import contextvars
import os
import threading
import typing as t

if t.TYPE_CHECKING:
    import asyncio
    import collections.abc as cabc

T = t.TypeVar("T")
_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def run(coroutine: cabc.Coroutine[t.Any, t.Any, T]) -> T:
    """Run `coroutine` on the process-wide event loop, and wait for its result or exception.

    The coroutine sees the caller's context variables. If it sets variables, the caller sees them
    afterwards.

    Raises:
        RuntimeError: the caller runs on the loop's own thread, where waiting would be a deadlock.
    Thread-safe.
    """
    from concurrent.futures import Future

    loop = _running_loop()
    if getattr(loop, "_thread_id", None) == threading.get_ident():
        coroutine.close()
        raise RuntimeError(
            "An async function was called through the app from another async function, which"
            " would wait for itself. Await it directly instead."
        )
    context = contextvars.copy_context()
    done: Future[T] = Future()
    task: asyncio.Task[T] | None = None

    def start() -> None:
        nonlocal task
        task = loop.create_task(coroutine, context=context)
        task.add_done_callback(finish)

    def finish(ended: asyncio.Task[T]) -> None:
        if ended.cancelled():
            done.cancel()
            done.set_running_or_notify_cancel()
        elif (error := ended.exception()) is not None:
            done.set_exception(error)
        else:
            done.set_result(ended.result())

    loop.call_soon_threadsafe(start)
    try:
        return done.result()
    except (KeyboardInterrupt, SystemExit):
        loop.call_soon_threadsafe(lambda: task is not None and task.cancel())
        raise
    finally:
        _copy_values(context)


def _copy_values(context: contextvars.Context) -> None:
    """Copy the values of all context variables from `context` to the context of the calling
    thread.
    """
    for var, value in context.items():
        if var.get(_MISSING) is not value:
            var.set(value)


_MISSING: t.Any = object()


def _running_loop() -> asyncio.AbstractEventLoop:
    global _loop  # noqa: PLW0603 - one per process
    if (loop := _loop) is None:
        import asyncio

        with _lock:
            if (loop := _loop) is None:
                loop = asyncio.new_event_loop()
                threading.Thread(
                    target=_run_forever, args=(loop,), name="carboy-event-loop", daemon=True
                ).start()
                _loop = loop
    return loop


def _run_forever(loop: asyncio.AbstractEventLoop) -> None:
    """Run the process-wide event loop, and restart it whenever it stops.

    `sys.exit()` and `KeyboardInterrupt` in a coroutine end asyncio's `run_forever`, after which
    other coroutines must still run.
    """
    while True:
        try:
            loop.run_forever()
        except (KeyboardInterrupt, SystemExit):
            pass  # the exception is raised again in the thread that waits for the coroutine


def _forget_loop() -> None:
    """Forget the event loop in a forked child process, because the loop's thread does not exist
    there.
    """
    global _loop, _lock
    _loop, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_loop)
