"""A result that comes item by item: from a generator on the model's thread to a reader elsewhere.

    predict --> StreamWriter, on the thread that computes --> pipe --> ResultStream, for the reader

A prediction has its result when the first item is there; what is raised before that is the failure
of the prediction. The generator runs where `predict` runs and keeps its slot until it ends, so that
with `concurrency=1` no other prediction ever runs beside it. At most a few items are ahead of the
reader, and the generator sleeps meanwhile. It is closed, on its own thread, when the reader has
gone or has not read for half a minute. This module does not know HTTP, and nothing polls.
"""

from __future__ import annotations

import logging
import math
import typing as t
from _thread import allocate_lock
from collections import abc as cabc
from collections import deque
from time import monotonic

from carboy.errors import AnswerError, UnreadError

from .ticket import FOREVER, held_lock

if t.TYPE_CHECKING:
    from contextvars import Context

    from .calls import Arguments, Compute
    from .state import Slot
    from .threads import DeadlineThread

# So many that a reader that is woken finds several; a picture each is still bearable memory.
AHEAD_ITEMS = 16
# A reader that takes nothing for so long, with a full buffer, loses its slot to others.
PATIENCE_S = 30.0

_logger = logging.getLogger("carboy.models")


class BegunStream(t.NamedTuple):
    """A prediction whose first item is there: the result, and what writes the rest of it."""

    stream: ResultStream
    writer: StreamWriter


class _Pipe:
    """A bounded buffer between two threads. Each side is used by one thread at a time."""

    __slots__ = ("_failure", "_items", "_lock", "_reader", "_writer", "over")

    def __init__(self) -> None:
        self.over = False  # no item will be added
        self._lock = allocate_lock()
        self._items: deque[t.Any] = deque()
        self._failure: BaseException | None = None
        # The locks on which the two threads sleep.
        self._reader: t.Any = None
        self._writer: t.Any = None

    # --- for the writer ------------------------------------------------------------------------

    def put(self, item: t.Any) -> bool:
        """Add an item. False: call `wait_for_room` before the next one."""
        with self._lock:
            if self.over:
                return False
            self._items.append(item)
            if self._reader is not None:
                self._reader.release()
                self._reader = None
            return len(self._items) < AHEAD_ITEMS

    def wait_for_room(self, timeout_s: float) -> bool:
        """False: the reader did not read in time."""
        with self._lock:
            if self.over or len(self._items) < AHEAD_ITEMS:
                return True
            self._writer = lock = held_lock()
        return t.cast("bool", lock.acquire(timeout=timeout_s))

    def end(self, failure: BaseException | None = None) -> None:
        """Say that nothing more comes, and why; the first call counts."""
        with self._lock:
            if not self.over:
                self._failure = failure
                self._end()

    def _end(self) -> None:
        """Wake both threads for the last time. Under the lock."""
        self.over = True
        for lock in (self._reader, self._writer):
            if lock is not None:
                lock.release()
        self._reader = self._writer = None

    # --- for the reader ------------------------------------------------------------------------

    def take(self, timeout_s: float) -> list[t.Any] | None:
        lock = None
        while True:
            with self._lock:
                if self._items:
                    items = list(self._items)
                    self._items.clear()
                    if self._writer is not None:
                        self._writer.release()
                        self._writer = None
                    return items
                if self.over:
                    failure, self._failure = self._failure, None
                    break
                if timeout_s == 0 or lock is not None:
                    self._reader = None
                    return []
                self._reader = lock = held_lock()
            lock.acquire(timeout=timeout_s)
        if failure is not None:
            raise failure
        return None

    def leave(self) -> None:
        """Drop all items, and let the writer end. From any thread."""
        with self._lock:
            self._items.clear()
            self._failure = None
            self._end()


class ResultStream(cabc.Iterator[t.Any]):
    """The reader's side: an iterator over the items, for one thread at a time.

    To close it, or to drop the last reference to it, ends the generator before its end.
    """

    __slots__ = ("__weakref__", "_pipe", "_taken")

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe
        self._taken: deque[t.Any] = deque()

    def take(self, timeout_s: float | None = 0) -> list[t.Any] | None:
        """All items that are there, after waiting for the first of them; None at the end.

        Raises what the generator raised, after its last item.

        Args:
            timeout_s: how long to wait before returning []; None is no limit.
        """
        return self._pipe.take(FOREVER if timeout_s is None else timeout_s)

    def close(self) -> None:
        """Read no further: the generator is closed as soon as it comes to its next item."""
        self._taken.clear()
        self._pipe.leave()

    def __next__(self) -> t.Any:
        if not self._taken:
            items = self._pipe.take(FOREVER)
            if items is None:
                raise StopIteration
            self._taken.extend(items)
        return self._taken.popleft()

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self._pipe.leave()


class StreamWriter:
    """The writer's side: the rest of a generator after its first item."""

    __slots__ = ("_context", "_items", "_pipe")

    def __init__(self, items: cabc.Iterator[t.Any], pipe: _Pipe, context: Context) -> None:
        self._items = items
        self._pipe = pipe
        self._context = context

    def write(self, slot: Slot, *, span_s: float, deadlines: DeadlineThread) -> None:
        """Compute to the end, or until nobody reads. On the thread that began; never raises.

        Args:
            slot: gets the time by which the next item is expected; none while the reader is.
            span_s: how long an item may take.
            deadlines: watches that time.
        """
        failure: BaseException | None = None
        try:
            failure = self._write(slot, span_s, deadlines)
        except BaseException as exc:  # noqa: BLE001 - the reader must hear of it whatever it is
            failure = exc
        self._close()
        self._pipe.end(failure)

    def _write(self, slot: Slot, span_s: float, deadlines: DeadlineThread) -> BaseException | None:
        pipe = self._pipe
        while not pipe.over:
            slot.limit_s = limit_s = monotonic() + span_s
            if limit_s < deadlines.wakes_s:
                deadlines.watch(limit_s)
            try:
                item = self._context.run(next, self._items)
            except StopIteration:
                return None
            if pipe.put(item):
                continue
            slot.limit_s = math.inf
            if not pipe.wait_for_room(PATIENCE_S):
                return UnreadError(f"The stream was not read for {PATIENCE_S:g} s, and was ended.")
        return None

    def _close(self) -> None:
        close = getattr(self._items, "close", None)
        if close is None:
            return
        try:
            self._context.run(close)
        except BaseException:
            _logger.exception("A generator failed when it was closed")

    def fail(self, failure: BaseException) -> None:
        """Tell the reader from another thread, where the generator does not come back."""
        self._pipe.end(failure)

    def abandon(self) -> None:
        """Say that nobody will read."""
        self._pipe.leave()


def begin(compute: Compute, context: Context, arguments: Arguments) -> BegunStream | BaseException:
    """Call a `predict` that gives items, and wait for the first of them; returns a failure.

    Args:
        compute: calls `predict`, which returns a generator, or anything else that can be iterated.
        context: in which all of the stream runs.
        arguments: of the one prediction.
    """
    try:
        return _begin(context, context.run(compute, [arguments])[0])
    except BaseException as exc:  # noqa: BLE001 - the client must hear of it whatever it is
        return exc


def _begin(context: Context, result: t.Any) -> BegunStream:
    if isinstance(result, (str, bytes, cabc.Mapping)) or not hasattr(result, "__iter__"):
        raise AnswerError(
            f"predict returned {type(result).__module__}.{type(result).__qualname__}, but its type"
            " says that it gives items. Write it with `yield`, or return an iterator."
        )
    items, pipe = iter(result), _Pipe()
    try:
        pipe.put(context.run(next, items))
    except StopIteration:
        pipe.end()
    return BegunStream(ResultStream(pipe), StreamWriter(items, pipe, context))
