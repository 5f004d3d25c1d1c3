"""Predictions of scripts and notebooks: as a future, or many in a row.

Of many, a window waits in the queue, so that batches are full and memory is not.
"""

from __future__ import annotations

import typing as t
from collections import deque
from concurrent.futures import Future
from contextlib import nullcontext
from time import monotonic

from carboy.errors import CancelledError, QueueFullError

if t.TYPE_CHECKING:
    from collections import abc as cabc
    from contextlib import AbstractContextManager

    from .queue import PredictionQueue
    from .queue.calls import Arguments
    from .queue.ticket import Ticket


class PredictionFuture(Future[t.Any]):
    """The result of one prediction, later. `cancel` works until its batch computes."""

    _cancel_ticket: t.Callable[[], bool]

    @classmethod
    def submit(cls, queue: PredictionQueue, arguments: Arguments) -> PredictionFuture:
        future = cls()
        ticket = queue.submit(arguments, deadline_s=None, deliver=future._deliver)
        future._cancel_ticket = lambda: not ticket.batch_size and queue.cancel(ticket)
        return future

    def cancel(self) -> bool:
        return super().cancel() if self.cancelled() or self._cancel_ticket() else False

    def _deliver(self, tickets: list[Ticket]) -> None:
        (ticket,) = tickets
        if isinstance(ticket.value, CancelledError):
            super().cancel()
            self.set_running_or_notify_cancel()  # tells `wait` and `as_completed`
        elif not self.set_running_or_notify_cancel():
            return
        elif isinstance(ticket.value, BaseException):
            self.set_exception(ticket.value)
        else:
            self.set_result(ticket.value)


def predict_all(
    queue: PredictionQueue,
    inputs: cabc.Iterable[Arguments | Exception],
    *,
    ahead: int,
    length: int | None,
    label: str | None,
    raises: bool,
) -> cabc.Iterator[t.Any]:
    """Yield the results in order.

    Args:
        queue: of the model.
        inputs: the arguments of each prediction; an exception is not computed, and stands for the
            result in its place.
        ahead: most predictions that wait or compute.
        length: how many inputs, if that is known.
        label: show a bar with this name.
        raises: stop at the first failure.
    """
    waiting: deque[Ticket | Exception] = deque()
    with _bar(label, length) as bar:
        try:
            for each in inputs:
                while not _submit(queue, each, waiting):
                    yield _next(waiting, bar, raises=raises)
                if len(waiting) >= ahead:
                    yield _next(waiting, bar, raises=raises)
            while waiting:
                yield _next(waiting, bar, raises=raises)
        finally:  # the caller has had enough, or one failed
            for ticket in waiting:
                if not isinstance(ticket, Exception):
                    queue.cancel(ticket)


def _submit(
    queue: PredictionQueue, each: Arguments | Exception, waiting: deque[Ticket | Exception]
) -> bool:
    """False: the queue is full with predictions of others, and one of ours must be done first."""
    if isinstance(each, Exception):
        waiting.append(each)
        return True
    try:
        waiting.append(queue.submit(each, deadline_s=None, ignore_limit=not waiting))
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
    return ticket.result() if raises else ticket.value


def collected(answers: cabc.Iterator[t.Any], *, raises: bool) -> cabc.Iterator[t.Any]:
    """Read each stream to its end: a stream holds the model, so two cannot be read side by side."""
    for answer in answers:
        if isinstance(answer, BaseException):
            yield answer
            continue
        try:
            items = list(answer)
        except Exception as exc:
            if raises:
                raise
            yield exc
        else:
            yield items


class _NoBar:
    @staticmethod
    def update(count: int) -> None:
        """Show nothing."""


class _Line:
    """A progress line that is written over, for notebooks, where click shows no bar."""

    def __init__(self, label: str, length: int | None, file: t.TextIO) -> None:
        self._label, self._length, self._file = label, length, file
        self._done = 0
        self._drawn_s = 0.0

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._tell()
        self._file.write("\n")

    def update(self, count: int) -> None:
        self._done += count
        if monotonic() - self._drawn_s > 0.1:
            self._tell()

    def _tell(self) -> None:
        self._drawn_s = monotonic()
        of = f" of {self._length}" if self._length is not None else ""
        self._file.write(f"\r{self._label}: {self._done}{of}")
        self._file.flush()


def _bar(label: str | None, length: int | None) -> AbstractContextManager[t.Any]:
    if label is None:
        return nullcontext(_NoBar())
    import sys

    if type(sys.stderr).__module__.startswith("ipykernel."):  # click shows terminals a bar only
        return _Line(label, length, sys.stderr)
    import click

    # click needs the iterable itself where the length is unknown.
    endless: cabc.Iterator[object] | None = iter(()) if length is None else None
    return click.progressbar(endless, length=length, label=label, file=sys.stderr, show_pos=True)
