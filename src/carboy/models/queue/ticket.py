"""A ticket: one prediction in a model's queue, with methods that wait for its result."""

from __future__ import annotations

import math
import typing as t
from _thread import allocate_lock
from dataclasses import dataclass, field

if t.TYPE_CHECKING:
    from collections import abc as cabc
    from contextvars import Context

    from .calls import Arguments
    from .state import Slot

#: A callback that gets settled tickets (predictions that have ended), once per batch.
Deliver: t.TypeAlias = "cabc.Callable[[list[Ticket]], object]"

FOREVER: t.Final = -1  # the `timeout` of `lock.acquire` that means no limit


def held_lock() -> t.Any:
    """Return a lock that is already held: `acquire` blocks until another thread has released it."""
    lock = allocate_lock()
    lock.acquire()
    return lock


@dataclass(slots=True, eq=False, kw_only=True)
class Ticket:
    """A queued prediction. It is settled when it has its result or failure, or is cancelled.

    Only the queue settles tickets, and holds its lock for that.

    Attributes:
        arguments: the arguments of `predict`, by name; None after the ticket is settled.
        deliver: called with the settled ticket. Without it, one thread may call `wait`.
        decode: decodes the arguments again, if they come from a request; see `decode_again`.
        asker: if the `predict` of a model has asked for this prediction: the slot in which that
            `predict` runs, by which `occupied` finds deadlocks; else None.
        context: the context in which `predict` runs; None for batches, which have no request.
        deadline_s: when the result is due. All times are on the monotonic clock.
        arrived_s: when the ticket was submitted.
        began_s: when its batch started to compute; 0.0 before.
        ended_s: when the ticket was settled; 0.0 before.
        batch_size: the size of its batch; 0 before the batch starts to compute.
        queue: the `PredictionQueue` to which the ticket was submitted; None before.
        settled: whether the ticket has its result, its failure, or was cancelled.
        value: the result of `predict`, or the exception that the prediction failed with.
        lock: the lock on which `wait` blocks; None with `deliver`.
        is_collected: whether all items of a stream are wanted together; see `begin`.
        wakes_others: whether the thread that calls `wait` may be told to wake the threads that wait
            for other tickets of the batch.
        others: the tickets whose waiting threads `wait` wakes; None if there are none.
    """

    arguments: t.Any = None
    deliver: Deliver | None = None
    decode: cabc.Callable[[], Arguments] | None = None
    deadline_s: float = math.inf
    arrived_s: float = 0.0
    # PERF: a call of the constructor is 0.02 us faster for each field that is not an argument.
    asker: Slot | None = field(default=None, init=False)
    context: Context | None = field(default=None, init=False)
    began_s: float = field(default=0.0, init=False)
    ended_s: float = field(default=0.0, init=False)
    batch_size: int = field(default=0, init=False)
    queue: t.Any = field(default=None, init=False)
    settled: bool = field(default=False, init=False)
    value: t.Any = field(default=None, init=False)
    # PERF: a round trip between two threads takes 7 us with raw locks, 6 with two SimpleQueues
    # (which cannot deliver several tickets), 24 with a ThreadPoolExecutor, 84 with Condition.
    lock: t.Any = field(default=None, init=False)
    is_collected: bool = field(default=False, init=False)
    wakes_others: bool = field(default=False, init=False)
    others: list[Ticket] | None = field(default=None, init=False)

    def make_waitable(self) -> None:
        """Create the lock on which `wait` blocks. Call this before the prediction is submitted to
        the queue.
        """
        self.lock = held_lock()

    def wait(self) -> None:
        """Block until the prediction has ended. Only one thread may call this, once, and only
        without `deliver`.
        """
        self.lock.acquire()
        if self.others is not None:
            others, self.others = self.others, None
            for ticket in others:
                ticket.lock.release()

    @property
    def _receiver(self) -> object:
        """The future, the group, or the object of the server whose method `deliver` is."""
        return getattr(self.deliver, "__self__", None)

    @property
    def is_part_of_begun(self) -> bool:
        """Whether the prediction is one of a group, of which others have begun."""
        return getattr(self._receiver, "has_begun", False)

    def survives_fork(self) -> bool:
        """Return whether code of a forked child process may wait for the prediction, and prepare
        what it waits on. False for a request that waits without a thread: the parent answers it.
        """
        if self.lock is not None:
            return True
        restart = getattr(self._receiver, "restart_in_child", None)
        if restart is not None:
            restart()
        return restart is not None

    @property
    def version(self) -> str:
        """The version of the model that computes the prediction; empty if the model declares no
        versions, or before the prediction is submitted.
        """
        return "" if self.queue is None else t.cast("str", self.queue.version)

    @property
    def can_decode(self) -> bool:
        """Whether the arguments come from a request, whose body `decode_again` can decode anew.

        False for a call from Python.
        """
        return self.decode is not None

    def decode_again(self) -> Arguments:
        """Decode the arguments from the request again, because `predict` may have changed those
        that were decoded before.
        """
        assert self.decode is not None
        return self.decode()

    def settle(self, value: t.Any, now_s: float) -> None:
        self.settled = True
        self.value = value
        self.arguments = None
        self.ended_s = now_s

    def take_value(self) -> t.Any:
        """Return the result or the failure. Can be called only once.

        The ticket drops its own reference to the value, to avoid a reference cycle: the traceback
        of a failure refers to the frames of its callers, and those refer to the ticket.
        """
        value, self.value = self.value, None
        return value

    def result(self) -> t.Any:
        """Return the result, or raise the failure. Can be called only once, after the prediction
        has ended.
        """
        value = self.take_value()
        if not isinstance(value, BaseException):
            return value
        try:
            raise value
        finally:
            del value
