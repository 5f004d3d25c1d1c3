"""An answer that comes item by item: from a generator on the model's thread to whoever reads.

    predict --> Rest, on the thread that computes --> pipe --> Stream, on the reader's side

The answer is given when the first item is there; what is raised before that is the failure of the
prediction, as always. The generator runs where `predict` runs and keeps its place until it ends, so
with `concurrency=1` there is never another beside it. A few items are ahead of the reader at most,
and the generator sleeps when they are; it is closed, on its own thread, when the reader has gone or
has not read for half a minute. Nothing here knows HTTP, and nothing polls.
"""

from __future__ import annotations

import logging
import typing as t
from _thread import allocate_lock
from collections import abc as cabc
from collections import deque

from ...errors import AnswerError, UnreadError
from .waking import FOR_EVER, closed_gate

if t.TYPE_CHECKING:
    from contextvars import Context

# Enough that a reader who is woken finds several; a picture each is still bearable memory.
AHEAD_ITEMS = 16
# Whoever reads nothing for so long, with a full buffer, does not read; the place is for others.
PATIENCE_S = 30.0

_logger = logging.getLogger("carboy.models")


class Begun(t.NamedTuple):
    """What the first part of a computation gives: the answer, and what is still to do for it."""

    stream: Stream
    rest: Rest


class Expect(t.Protocol):
    """Called before an item is computed, and before a wait for the reader."""

    def __call__(self, *, item: bool) -> None: ...


class _Pipe:
    """A bounded buffer between two threads. Each side is used by one thread at a time."""

    __slots__ = ("_failure", "_items", "_lock", "_reader", "_writer", "over")

    def __init__(self) -> None:
        self.over = False  # no item will be added
        self._lock = allocate_lock()
        self._items: deque[t.Any] = deque()
        self._failure: BaseException | None = None
        self._reader: cabc.Callable[[], object] | None = None  # wants to be called
        self._writer: t.Any = None  # the gate at which it sleeps

    def put(self, item: t.Any) -> bool:
        """False: it must not give another one before `wait_for_room`."""
        with self._lock:
            if self.over:
                return False
            self._items.append(item)
            room = len(self._items) < AHEAD_ITEMS
            reader, self._reader = self._reader, None
        _call(reader)
        return room

    def wait_for_room(self, timeout_s: float) -> bool:
        """False: the reader did not read in time."""
        with self._lock:
            if self.over or len(self._items) < AHEAD_ITEMS:
                return True
            self._writer = gate = closed_gate()
        return t.cast("bool", gate.acquire(timeout=timeout_s))

    def end(self, failure: BaseException | None = None) -> None:
        """Nothing more comes, for this reason; the first call counts."""
        with self._lock:
            if self.over:
                return
            self.over = True
            self._failure = failure
            reader, self._reader = self._reader, None
            self._let_writer_go()
        _call(reader)

    def take(self) -> list[t.Any] | None:
        with self._lock:
            if self._items:
                items = list(self._items)
                self._items.clear()
                self._let_writer_go()
                return items
            if not self.over:
                return []
            failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return None

    def call_when_ready(self, call: cabc.Callable[[], object]) -> None:
        with self._lock:
            ready = self.over or bool(self._items)
            self._reader = None if ready else call
        if ready:
            call()

    def leave(self) -> None:
        """The reader does not want any more."""
        with self._lock:
            self.over = True
            self._items.clear()
            self._failure = None
            reader, self._reader = self._reader, None
            self._let_writer_go()
        _call(reader)  # it sleeps where another thread says that nobody reads any more

    def _let_writer_go(self) -> None:
        if self._writer is not None:
            self._writer.release()
            self._writer = None


def _call(reader: cabc.Callable[[], object] | None) -> None:
    if reader is None:
        return
    try:
        reader()
    except Exception:  # as of an event loop that was closed; who does not read is given up in time
        _logger.exception("Nobody took the items of a stream")


class Stream(cabc.Iterator[t.Any]):
    """The reader's side: an iterator for a thread; `take` and `call_when_ready` for a loop.

    Close it, or let go of it, to end the generator before its end.
    """

    __slots__ = ("__weakref__", "_pipe", "_taken")

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe
        self._taken: deque[t.Any] = deque()

    def take(self) -> list[t.Any] | None:
        """All items that are there, without waiting; [] when there is none yet, None at the end.

        Raises what the generator raised, after its last item.
        """
        return self._pipe.take()

    def call_when_ready(self, call: cabc.Callable[[], object]) -> None:
        """Call once when `take` has something to give, raise, or end; at once where it has.

        From the model's thread, or from this one; it must return soon and not raise. The next call
        of this replaces what has not been called yet.
        """
        self._pipe.call_when_ready(call)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Sleep until `take` has something to give, raise, or end. False: it has not in time."""
        gate = closed_gate()
        self._pipe.call_when_ready(gate.release)
        return t.cast("bool", gate.acquire(timeout=FOR_EVER if timeout_s is None else timeout_s))

    def close(self) -> None:
        """Read no further: the generator is closed as soon as it comes to its next item."""
        self._taken.clear()
        self._pipe.leave()

    def __next__(self) -> t.Any:
        while not self._taken:
            items = self._pipe.take()
            if items is None:
                raise StopIteration
            self._taken.extend(items)
            if not items:
                self.wait()
        return self._taken.popleft()

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self._pipe.leave()


class Rest:
    """The writer's side: what is left of a generator after its first item."""

    __slots__ = ("_context", "_items", "_pipe")

    def __init__(self, items: cabc.Iterator[t.Any], pipe: _Pipe, context: Context) -> None:
        self._items = items
        self._pipe = pipe
        self._context = context

    def finish(self, expect: Expect) -> None:
        """Compute to the end, or until nobody reads. On the thread that began; never raises."""
        failure: BaseException | None = None
        try:
            failure = self._run(expect)
        except BaseException as exc:  # noqa: BLE001 - whatever it is, the reader must hear of it
            failure = exc
        self._close()
        self._pipe.end(failure)

    def _run(self, expect: Expect) -> BaseException | None:
        pipe = self._pipe
        while not pipe.over:
            expect(item=True)
            try:
                item = self._context.run(next, self._items)
            except StopIteration:
                return None
            if pipe.put(item):
                continue
            expect(item=False)
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
        """Nobody will read it."""
        self._pipe.leave()


def begin(call: cabc.Callable[[], t.Any], context: Context) -> Begun:
    """Call a `predict` that gives items, and wait for the first of them.

    Args:
        call: returns a generator, or anything else that can be iterated.
        context: in which all of it runs.

    Raises:
        AnswerError: it returned nothing of that kind.
    """
    answer = context.run(call)
    if isinstance(answer, (str, bytes, cabc.Mapping)) or not hasattr(answer, "__iter__"):
        raise AnswerError(
            f"predict returned {type(answer).__module__}.{type(answer).__qualname__}, but its type"
            " says that it gives items. Write it with `yield`, or return an iterator."
        )
    items, pipe = iter(answer), _Pipe()
    try:
        pipe.put(context.run(next, items))
    except StopIteration:
        pipe.end()
    return Begun(Stream(pipe), Rest(items, pipe, context))
