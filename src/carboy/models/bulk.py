"""Many predictions in a row: a window of them waits, so that batches are full and memory is not."""

from __future__ import annotations

import typing as t
from collections import deque
from contextlib import nullcontext
from time import monotonic

if t.TYPE_CHECKING:
    from collections import abc as cabc
    from contextlib import AbstractContextManager

    from .queue.scheduler import Scheduler
    from .queue.ticket import Ticket


def predict_all(
    scheduler: Scheduler,
    items: cabc.Iterable[t.Any],
    *,
    ahead: int,
    length: int | None,
    label: str | None,
    raises: bool,
) -> cabc.Iterator[t.Any]:
    """Yield the answers in order.

    Args:
        scheduler: the model's queue.
        items: for its `run`; an exception is not run, it is the answer in its place.
        ahead: how many wait or compute at most.
        length: how many items, if that is known.
        label: show a bar with this name.
        raises: stop at the first failure.
    """
    waiting: deque[Ticket | Exception] = deque()
    items = iter(items)
    with _bar(label, length) as bar:
        try:
            for item in items:
                while not _submit(scheduler, item, waiting):
                    yield _next(waiting, bar, raises=raises)
                if len(waiting) >= ahead:
                    yield _next(waiting, bar, raises=raises)
            while waiting:
                yield _next(waiting, bar, raises=raises)
        finally:  # the caller has had enough, or one failed
            for ticket in waiting:
                if not isinstance(ticket, Exception):
                    scheduler.cancel(ticket)


def _submit(scheduler: Scheduler, item: t.Any, waiting: deque[Ticket | Exception]) -> bool:
    """False: the queue is full with those of others, and one of ours must be answered first."""
    from ..errors import QueueFullError

    if isinstance(item, Exception):
        waiting.append(item)
        return True
    try:
        waiting.append(scheduler.submit(item, deadline_s=None, beyond=not waiting))
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
    """Streams read to their ends: one holds the model, so they cannot be handed on side by side."""
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
    """One line that is written over, for a notebook: no terminal, but somebody looks at it."""

    def __init__(self, label: str, length: int | None, file: t.TextIO) -> None:
        self._label, self._length, self._file = label, length, file
        self._done = 0
        self._told_s = 0.0

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._tell()
        self._file.write("\n")

    def update(self, count: int) -> None:
        self._done += count
        if monotonic() - self._told_s > 0.1:
            self._tell()

    def _tell(self) -> None:
        self._told_s = monotonic()
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

    # click wants to know what is iterated where it is not told how much that is.
    endless: cabc.Iterator[object] | None = iter(()) if length is None else None
    return click.progressbar(endless, length=length, label=label, file=sys.stderr, show_pos=True)
