"""Results that a generator yields item by item on the model's thread, for a reader on another
thread.

    predict --> StreamWriter, on the computing thread --> pipe --> ResultStream, for the reader

The prediction has its result as soon as the first item exists; an exception before that is its
failure. The generator runs on the thread that called `predict`, and keeps its slot (the permission
to compute) until it ends, so that with `concurrency=1` nothing else is computed meanwhile. The pipe
holds a few items; when it is full, the generator is paused (backpressure). The generator is closed,
on its own thread, when the reader has closed the stream or has not read for `READ_TIMEOUT_S`. This
module knows nothing of framing and HTTP.
"""

from __future__ import annotations

import math
import typing as t
from _thread import allocate_lock
from collections import abc as cabc
from collections import deque
from contextlib import nullcontext
from time import monotonic

from carboy.core.logmasking import get_masked_logger
from carboy.errors import AnswerError, UnreadError

from .ticket import FOREVER, held_lock

if t.TYPE_CHECKING:
    from contextvars import Context

    from .calls import Arguments, Compute
    from .deadlines import DeadlineThread
    from .occupied import Device
    from .state import Slot

# How many items the pipe between generator and reader holds: so many that a woken reader finds
# several, and so few that pictures do not fill the memory.
MAX_BUFFERED_ITEMS = 16
# If a reader takes nothing from a full pipe for this long, the generator is closed.
READ_TIMEOUT_S = 30.0

_logger = get_masked_logger("carboy.models")


class BegunStream(t.NamedTuple):
    """The two sides of a stream that has its first item: the reader gets `stream`, and the thread
    that runs the generator keeps `writer`.
    """

    stream: ResultStream
    writer: StreamWriter


class _Pipe:
    """A bounded buffer between two threads, one that writes and one that reads."""

    __slots__ = ("_failure", "_items", "_lock", "_most", "_reader", "_writer", "over")

    def __init__(self, most: float = MAX_BUFFERED_ITEMS) -> None:
        self.over = False  # set when no further items will be added
        self._lock = allocate_lock()
        self._most = most
        self._items: deque[t.Any] = deque()
        self._failure: BaseException | None = None
        # The locks on which the reading and the writing thread sleep; None while the thread is
        # awake.
        self._reader: t.Any = None
        self._writer: t.Any = None

    # --- for the writer ------------------------------------------------------------------------

    def put(self, item: t.Any) -> bool:
        """Add an item. Returns False if `wait_for_room` must be called before the next one."""
        with self._lock:
            if self.over:
                return False
            self._items.append(item)
            if self._reader is not None:
                self._reader.release()
                self._reader = None
            return len(self._items) < self._most

    def wait_for_room(self, timeout_s: float) -> bool:
        """Block until the buffer has room. Returns False if the reader takes nothing for
        `timeout_s`.
        """
        with self._lock:
            if self.over or len(self._items) < self._most:
                return True
            self._writer = lock = held_lock()
        return t.cast("bool", lock.acquire(timeout=timeout_s))

    def end(self, failure: BaseException | None = None) -> None:
        """End the stream. If there is a `failure`, the reader raises it. Only the first call has an
        effect.
        """
        with self._lock:
            if not self.over:
                self._failure = failure
                self._end()

    def _end(self) -> None:
        """Mark the stream as ended, and wake both threads. The caller holds the lock."""
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

    def discard(self) -> None:
        """Drop all items, and make the writer stop. Thread-safe."""
        with self._lock:
            self._items.clear()
            self._failure = None
            self._end()


class ResultStream(cabc.Iterator[t.Any]):
    """The reader's side of a stream: an iterator over its items, for one thread at a time.

    If the reader closes it, or drops the last reference to it, the generator is ended early.
    """

    __slots__ = ("__weakref__", "_pipe", "_taken")

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe
        self._taken: deque[t.Any] = deque()

    def take(self, timeout_s: float | None = 0) -> list[t.Any] | None:
        """Wait for the first item, and return all items that are ready; None at the end of the
        stream.

        If the generator has failed, its exception is raised after its last item was returned.

        Args:
            timeout_s: how long to wait for an item before [] is returned; None is no limit.
        """
        return self._pipe.take(FOREVER if timeout_s is None else timeout_s)

    def close(self) -> None:
        """Stop reading. The writing thread then closes the generator, after the item it is
        producing.
        """
        self._taken.clear()
        self._pipe.discard()

    def __next__(self) -> t.Any:
        if not self._taken:
            items = self.take(None)
            if items is None:
                raise StopIteration
            self._taken.extend(items)
        return self._taken.popleft()

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self._pipe.discard()


class NestedStream(ResultStream):
    """A stream whose generator runs on the thread that reads it, one item at a time, because that
    thread would wait for another one for ever.

    Args:
        begun: the stream, which has its first item.
        note_end: called once with the failure that has ended the stream, or None.
    """

    __slots__ = ("_begun", "_note_end")

    def __init__(
        self, begun: BegunStream, note_end: cabc.Callable[[BaseException | None], object]
    ) -> None:
        super().__init__(begun.stream._pipe)
        self._begun = begun  # when its reader's side is dropped, the stream ends
        self._note_end: cabc.Callable[[BaseException | None], object] | None = note_end

    def take(self, timeout_s: float | None = 0) -> list[t.Any] | None:
        items = self._pipe.take(0)
        if items:
            return items
        if items is not None:
            try:
                return [self._begun.writer.produce()]
            except StopIteration:
                self._pipe.end()
            except BaseException as exc:
                self._end(exc)
                raise
        self._end(None)
        return None

    def close(self) -> None:
        super().close()
        self._begun.writer.close()
        self._end(None)

    def _end(self, failure: BaseException | None) -> None:
        self._pipe.end()
        note_end, self._note_end = self._note_end, None
        if note_end is not None:
            note_end(failure)


class StreamWriter:
    """The writer's side of a stream: it runs the generator that `predict` has returned, and writes
    the items into the pipe. The first item is in the pipe already.
    """

    __slots__ = ("_context", "_items", "_pipe", "end")

    def __init__(self, items: cabc.Iterator[t.Any], pipe: _Pipe, context: Context) -> None:
        self._items = items
        self._pipe = pipe
        self._context = context
        #: Ends the stream: called with the exception that the reader must get, or None.
        self.end = pipe.end

    def write(
        self,
        slot: Slot,
        *,
        item_timeout_s: float,
        deadlines: DeadlineThread,
        device: Device | None = None,
    ) -> BaseException | None:
        """Write the generator's items until it ends or the reader has closed the stream. Never
        raises.

        Returns:
            The exception that ended the stream early, to be passed to `end`; None otherwise.

        Args:
            slot: the slot in which the generator computes. Its `limit_s` is set to the time by
                which the next item is due, and to infinity while the reader is slow.
            item_timeout_s: how long one item may take.
            deadlines: the thread that watches `limit_s`.
            device: held for one item at a time, so that other models can use it between two items.
        """
        failure: BaseException | None = None
        try:
            failure = self._write(slot, item_timeout_s, deadlines, device)
        except BaseException as exc:  # noqa: BLE001  # the reader must learn of any failure
            failure = exc
        self.close()
        try:
            return failure
        finally:
            del failure  # break a reference cycle: the failure's traceback refers to this frame

    def _write(
        self, slot: Slot, item_timeout_s: float, deadlines: DeadlineThread, device: Device | None
    ) -> BaseException | None:
        pipe = self._pipe
        while not pipe.over:
            with nullcontext() if device is None else device.use(slot):
                slot.limit_s = limit_s = monotonic() + item_timeout_s
                if limit_s < deadlines.wakes_s:
                    deadlines.watch(limit_s)
                try:
                    item = self.produce()
                except StopIteration:
                    return None
            slot.limit_s = math.inf
            if pipe.put(item):
                continue
            if not pipe.wait_for_room(READ_TIMEOUT_S):
                return UnreadError(
                    f"The stream was not read for {READ_TIMEOUT_S:g} s and was ended."
                )
        return None

    def produce(self) -> t.Any:
        """Run the generator until it yields. Raises StopIteration at its end."""
        return self._context.run(next, self._items)

    def close(self) -> None:
        """Close the generator."""
        close = getattr(self._items, "close", None)
        if close is None:
            return
        try:
            self._context.run(close)
        except BaseException:
            _logger.exception("A generator failed when it was closed")

    def fail(self, failure: BaseException) -> None:
        """End the stream while another thread runs the generator: because the generator hangs, or
        the model is closed.
        """
        self._pipe.end(failure)

    def abandon(self) -> None:
        """Make the writer stop, because the prediction was cancelled and nothing will read the
        stream.
        """
        self._pipe.discard()


def begin(
    compute: Compute, context: Context, arguments: Arguments, *, is_collected: bool = False
) -> BegunStream | BaseException:
    """Call a streaming `predict` and wait for its first item. A failure is returned, not raised.

    Args:
        compute: calls `predict`, which returns a generator or another iterable.
        context: the context in which the whole generator runs.
        arguments: the arguments of `predict`.
        is_collected: whether the reader wants all items together, and so may begin to read late:
            the generator does not wait for it.
    """
    try:
        items = items_of(context.run(compute, [arguments])[0])
        pipe = _Pipe(math.inf if is_collected else MAX_BUFFERED_ITEMS)
        try:
            pipe.put(context.run(next, items))
        except StopIteration:
            pipe.end()
        return BegunStream(ResultStream(pipe), StreamWriter(items, pipe, context))
    except BaseException as exc:  # noqa: BLE001  # the client must learn of any failure
        return exc


def items_of(result: t.Any) -> cabc.Iterator[t.Any]:
    """Return an iterator over what a streaming `predict` has returned.

    Raises:
        AnswerError: it is a single value.
    """
    if isinstance(result, (str, bytes, cabc.Mapping)) or not hasattr(result, "__iter__"):
        raise AnswerError(
            f"predict returned {type(result).__module__}.{type(result).__qualname__}, but its type"
            " says that it produces items. Write it with `yield`, or return an iterator."
        )
    return iter(result)
