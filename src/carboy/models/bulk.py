"""Predictions from scripts and notebooks: a single one as a future, or many as an iterator.

When there are many inputs, only enough for the next batches are queued at a time, so that memory
does not hold all inputs.
"""

from __future__ import annotations

import threading
import typing as t
from collections import deque
from concurrent.futures import Future
from contextlib import nullcontext
from time import monotonic

from carboy.errors import CancelledError, QueueFullError

from .callbackthreads import CallbackThreads

if t.TYPE_CHECKING:
    from collections import abc as cabc
    from contextlib import AbstractContextManager

    from .queue import PredictionQueue
    from .queue.calls import Arguments
    from .queue.ticket import Ticket

_callback_threads = CallbackThreads()


class PredictionFuture(Future[t.Any]):
    """The future result of one prediction. `cancel` fails as soon as `predict` was called for the
    batch that the prediction belongs to.
    """

    _cancel_ticket: t.Callable[[], bool]
    _done_callbacks: list[t.Callable[[Future[t.Any]], object]]

    @classmethod
    def submit(cls, queue: PredictionQueue, arguments: Arguments) -> PredictionFuture:
        future = cls()
        ticket = queue.submit(arguments, deadline_s=None, deliver=future._deliver)
        future._cancel_ticket = lambda: not ticket.batch_size and ticket.queue.cancel(ticket)
        return future

    def cancel(self) -> bool:
        return super().cancel() if self.cancelled() or self._cancel_ticket() else False

    def restart_in_child(self) -> None:
        """Let a forked child process use the future: a thread of the parent may have held its
        lock.
        """
        self._condition = threading.Condition()

    def _deliver(self, tickets: list[Ticket]) -> None:
        (ticket,) = tickets
        value = ticket.take_value()
        # Break a reference cycle: `deliver` is a method of this future, which refers to the ticket.
        ticket.deliver = None
        if isinstance(value, CancelledError):
            super().cancel()
            # `set_running_or_notify_cancel` also wakes threads that wait in
            # `concurrent.futures.wait` or `as_completed`.
            self.set_running_or_notify_cancel()
        elif not self.set_running_or_notify_cancel():
            return
        elif isinstance(value, BaseException):
            self.set_exception(value)
        else:
            self.set_result(value)

    def _invoke_callbacks(self) -> None:
        """Call the functions of `add_done_callback` on another thread, because they may take any
        time: the calling thread may be the only one that computes the model, which they may ask, or
        the one that serves all clients.
        """
        if self._done_callbacks:
            _callback_threads.call(super()._invoke_callbacks)  # type: ignore[misc]


def predict_all(
    queue: PredictionQueue,
    inputs: cabc.Iterable[Arguments | Exception],
    *,
    ahead: int,
    length: int | None,
    label: str | None,
    raises: bool,
) -> cabc.Iterator[t.Any]:
    """Yield the results of many predictions, in the order of `inputs`.

    Args:
        queue: the queue of the model.
        inputs: the arguments of each prediction. An exception among them (an input that could not
            be read) becomes the failure of its prediction.
        ahead: the largest number of predictions that wait or compute at a time.
        length: the number of inputs; None if it is unknown.
        label: the text of the progress bar; None shows no bar.
        raises: raise the first failure instead of yielding it.
    """
    waiting: deque[Ticket | Exception] = deque()
    with _progress_bar(label, length) as bar:
        try:
            for each in inputs:
                while not _submit(queue, each, waiting):
                    yield _next(waiting, bar, raises=raises)
                if len(waiting) >= ahead:
                    yield _next(waiting, bar, raises=raises)
            while waiting:
                yield _next(waiting, bar, raises=raises)
        finally:  # cancel what still waits, also if the caller closes this generator early
            for ticket in waiting:
                if not isinstance(ticket, Exception):
                    ticket.queue.cancel(ticket)


def _submit(
    queue: PredictionQueue, each: Arguments | Exception, waiting: deque[Ticket | Exception]
) -> bool:
    """Queue one input, and append its prediction to `waiting`. Returns False if the queue is full;
    then call this again after a prediction has ended.
    """
    if isinstance(each, Exception):
        waiting.append(each)
        return True
    try:
        waiting.append(
            queue.submit(each, deadline_s=None, ignore_limit=not waiting, is_collected=True)
        )
    except QueueFullError:
        return False
    return True


def _next(waiting: deque[Ticket | Exception], bar: t.Any, *, raises: bool) -> t.Any:
    ticket = waiting.popleft()
    bar.update(1)
    if isinstance(ticket, Exception):
        if raises:
            raise ticket
        return ticket
    ticket.wait()
    return ticket.result() if raises else ticket.take_value()


def collect_streams(streams: cabc.Iterator[t.Any], *, raises: bool) -> cabc.Iterator[t.Any]:
    """Convert each stream of results to a list."""
    for stream in streams:
        if isinstance(stream, BaseException):
            yield stream
            continue
        try:
            items = list(stream)
        except Exception as exc:
            if raises:
                raise
            yield exc
        else:
            yield items


class _NoProgressBar:
    @staticmethod
    def update(count: int) -> None:
        """Do nothing: no progress bar is shown."""


class _ProgressLine:
    """A line of text that shows the progress and overwrites itself, for notebooks, in which the
    library click shows no progress bar.
    """

    def __init__(self, label: str, length: int | None, file: t.TextIO) -> None:
        self._label, self._length, self._file = label, length, file
        self._done = 0
        self._drawn_s = 0.0

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._draw()
        self._file.write("\n")

    def update(self, count: int) -> None:
        self._done += count
        if monotonic() - self._drawn_s > 0.1:
            self._draw()

    def _draw(self) -> None:
        self._drawn_s = monotonic()
        of = f" of {self._length}" if self._length is not None else ""
        self._file.write(f"\r{self._label}: {self._done}{of}")
        self._file.flush()


def _progress_bar(label: str | None, length: int | None) -> AbstractContextManager[t.Any]:
    if label is None:
        return nullcontext(_NoProgressBar())
    import sys

    # In a Jupyter notebook stderr is not a terminal, so click would show no progress bar. Show a
    # line of text instead.
    if type(sys.stderr).__module__.startswith("ipykernel."):
        return _ProgressLine(label, length, sys.stderr)
    import click

    # If the length is unknown, click requires an iterable. The iterable is never read, because
    # `update` moves the bar.
    unread: cabc.Iterator[object] | None = iter(()) if length is None else None
    return click.progressbar(unread, length=length, label=label, file=sys.stderr, show_pos=True)
