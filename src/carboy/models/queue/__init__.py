"""The queue of a model: predictions wait here until a thread computes them in batches.

    submit --> state: waits --> threads: take, compute, settle --> deliver
                 |
                 +------------> deadline thread: settles late predictions

    __init__   the queue's public methods: submit, cancel, close, statistics
    group      several predictions of one request
    ticket     one queued prediction, which the other modules call a ticket
    state      which predictions wait or compute, and how they end     no clock, no thread
    batcher    which predictions form a batch, and when                no clock, no thread
    waiting    how long a batch waits for more predictions             no clock, no thread
    threads    the threads that compute and deliver
    deadlines  the thread that ends late predictions, and finds batches that hang
    calls      converts batches to calls of `predict`, and results back
    occupied   predictions that would wait for ever, and devices that models share
    retries    keeps the original inputs of a batch, in case it is computed again
    stream     results that are produced item by item

One lock guards the queue and is held for microseconds; `predict` and the callbacks that receive
results are called without it. A `Replica` (`carboy.models.replicas`) decides where a batch is
computed.
"""

from __future__ import annotations

import math
import os
import typing as t
import weakref
from _thread import allocate_lock, get_ident
from contextvars import copy_context
from functools import partial
from threading import main_thread
from time import monotonic

from carboy.errors import CancelledError, ClosedError, ReplicaLostError

from .batcher import Batcher
from .deadlines import DeadlineThread
from .occupied import device_named, forget_all, may_wait, passing_on, slots_of_caller
from .state import CANCELLED, Counters, Counts, QueueState, Statistics
from .threads import BatchThreads, deliver
from .ticket import FOREVER, Ticket, held_lock

if t.TYPE_CHECKING:
    from collections import abc as cabc
    from contextlib import AbstractContextManager

    from ..replicas.replica import Replica, ResultLoop
    from .calls import Arguments
    from .state import Slot
    from .ticket import Deliver

CLOSING = "is being closed. Retry the request."
_FORKED = "computes this prediction in the process that was forked. Ask for it again in this one."
UNSET: t.Final[t.Any] = type("Unset", (), {"__repr__": lambda self: "UNSET"})()


class PredictionQueue:
    """The queue of one model. Thread-safe.

    Args:
        replica: computes the batches.
        owner: the model's name in messages.
        batch: the largest number of predictions in a batch.
        wait_s: how long the oldest prediction waits for others to join its batch, in seconds, or
            "auto".
        deadline_s: the default time from `submit` to the result, in seconds; None is no limit.
        queue: the largest number of waiting predictions.
        concurrency: the largest number of batches that compute at the same time.
        streams: whether `predict` produces its result item by item.
        device: the name of a device. Of all queues that name the same device, one batch at a time
            is computed.
        version: the version of the model that `replica` computes; empty if the model declares none.
        computes: False if predictions only wait, until they are passed on to another queue.
    """

    def __init__(
        self,
        replica: Replica,
        *,
        owner: str,
        batch: int = 1,
        wait_s: float | t.Literal["auto"] = 0,
        deadline_s: float | None = None,
        queue: int = 1024,
        concurrency: int = 1,
        streams: bool = False,
        device: str | None = None,
        version: str = "",
        computes: bool = True,
    ) -> None:
        self.owner = owner
        self.version = version
        self.deadline_s = deadline_s
        self.concurrency = concurrency
        self.max_waiting = queue
        self._replica = replica
        self._batch = batch
        self._streams = streams
        self._device = device
        self._computes = computes
        self._make_batcher = partial(
            Batcher[Ticket],
            max_size=batch,
            wait_s=wait_s,
            max_waiting=queue,
            streams=streams,
        )
        self._counts = Counts()
        # Returns the queue that takes the predictions after `retire`.
        self._successor: cabc.Callable[[], PredictionQueue] | None = None
        # Where new predictions wait meanwhile; see `hold`.
        self._room: PredictionQueue | None = None
        self.open()
        _all.add(self)

    def open(self) -> None:
        """Reset the queue to its initial state, to use it again after `close` or in a forked
        process.
        """
        owner, concurrency = self.owner, self.concurrency
        self._lock = lock = allocate_lock()
        self._state = state = QueueState(
            self._make_batcher(),
            self._counts,
            owner=owner,
            deadline_s=self.deadline_s,
            concurrency=concurrency,
            replaces_hanging=self._replica.turns is not None,
            turns=self._replica.turns,
            computes=self._computes,
        )
        self._deadlines = DeadlineThread(state, lock, owner=owner)
        self._threads = BatchThreads(
            state,
            self._deadlines,
            lock,
            self._replica,
            owner=owner,
            concurrency=concurrency,
            streams=self._streams,
            device=None if self._device is None else device_named(self._device),
        )
        if (room := self._room) is not None:
            room.open()

    # --- without waiting -----------------------------------------------------------------------

    def submit(
        self,
        arguments: Arguments,
        *,
        deadline_s: float | None = UNSET,
        deliver: Deliver | None = None,
        decode: cabc.Callable[[], Arguments] | None = None,
        ignore_limit: bool = False,
        is_collected: bool = False,
    ) -> Ticket:
        """Queue a prediction.

        A `predict` may itself submit predictions, to any model. If such a prediction would wait for
        ever in the queue (a deadlock), it is computed at once, on the calling thread.

        Args:
            arguments: the arguments of `predict`, by name.
            deadline_s: seconds from now until the result; None is no limit.
            deliver: called with a list of settled tickets (predictions that have ended), once per
                batch, on the thread that settles them, which may be the one that serves all
                clients. Must neither raise nor block. Without `deliver`, one thread may call the
                ticket's `wait`.
            decode: decodes the arguments from the request's body again, in case `predict` has
                changed them; None if they come from Python code.
            ignore_limit: admit the prediction even if the queue is full; for callers that limit the
                number of their predictions themselves.
            is_collected: whether all items of a stream are wanted together, so that the generator
                does not wait until they are read.

        Raises:
            UnavailableError: the queue is full, `predict` hangs, or the model is closing.
        """
        if deadline_s is UNSET:
            deadline_s = self.deadline_s
        now_s = monotonic()
        ticket = Ticket(arguments=arguments, arrived_s=now_s, deliver=deliver, decode=decode)
        if deadline_s is not None:
            ticket.deadline_s = now_s + deadline_s
        ticket.is_collected = is_collected
        if deliver is None:
            ticket.make_waitable()
        # `predict` runs in its caller's context (`contextvars`). For a batch, which has several
        # callers, `predict` runs in none of their contexts.
        if self._batch == 1:
            ticket.context = copy_context()
        self._submit(ticket, ignore_limit=ignore_limit)
        return ticket

    def _submit(self, ticket: Ticket, *, ignore_limit: bool) -> None:
        ticket.queue = self
        try:
            if not (slots := slots_of_caller()):
                self._admit(ticket, ignore_limit=ignore_limit)
                return
            ticket.asker = slots[0]
            if not may_wait(self._threads, partial(self._admit, ticket, ignore_limit=ignore_limit)):
                self._threads.compute_nested(ticket)
        except _RetiredError as retired:
            retired.successor()._submit(ticket, ignore_limit=ignore_limit)

    def _admit(self, ticket: Ticket, *, ignore_limit: bool) -> None:
        with self._lock:
            if self._successor is not None:
                raise _RetiredError(self._successor)
            self._state.admit(ticket, ticket.arrived_s, ignore_limit=ignore_limit)
            try:
                self._threads.wake_for(ticket.arrived_s)
                if ticket.deadline_s < self._deadlines.wakes_s:
                    self._deadlines.wake_by(ticket.deadline_s)
            # If the system allows no further thread, `Thread.start` raises RuntimeError.
            except RuntimeError as exc:
                self._state.withdraw(ticket, exc, ticket.arrived_s)
                raise

    def submit_round(
        self,
        tickets: cabc.Sequence[Ticket],
        *,
        quick_s: float = 0.0,
        loop: ResultLoop | None = None,
    ) -> None:
        """Queue the predictions of requests that were read from the sockets together.

        Every ticket (queued prediction) is passed to its `deliver` callback, possibly before this
        method returns. If the queue is full, the tickets that do not fit get an `UnavailableError`.

        Args:
            tickets: the predictions, with `arguments` and `deliver`. If the batch size is 1, a
                ticket may also have a `context`, in which `predict` runs; the default is a copy of
                the calling thread's.
            quick_s: compute on the calling thread if the batch is expected to take less time than
                this, because waking another thread would take as long.
            loop: the event loop by which the results of a replica in another process can arrive;
                None if there is none.
        """
        now_s = monotonic()
        deadline_s = math.inf if self.deadline_s is None else now_s + self.deadline_s
        is_batched = self._batch > 1
        for ticket in tickets:
            ticket.queue = self
            ticket.arrived_s = now_s
            ticket.deadline_s = deadline_s
            if not is_batched and ticket.context is None:
                ticket.context = copy_context()
        settled: list[Ticket] = []
        slot = None
        with self._lock:
            if (successor := self._successor) is None:
                settled += self._state.admit_round(tickets, now_s)
                try:
                    if deadline_s < self._deadlines.wakes_s:
                        self._deadlines.wake_by(deadline_s)
                    slot, late = self._threads.take_if_quick(now_s, quick_s, loop)
                # If the system allows no further thread, `Thread.start` raises RuntimeError.
                except RuntimeError as exc:
                    late = [ticket for ticket in tickets if not ticket.settled]
                    for ticket in late:
                        self._state.withdraw(ticket, exc, now_s)
                settled += late
        if successor is not None:
            # A request may ask for several predictions. All tickets go to one queue, so that
            # versions are not mixed within an answer.
            successor().submit_round(tickets, loop=loop)
        if settled:
            deliver(settled)
        if slot is not None:
            self._threads.compute(slot)

    # --- waiting -------------------------------------------------------------------------------

    def submit_and_wait(
        self,
        arguments: Arguments,
        *,
        deadline_s: float | None = UNSET,
        decode: cabc.Callable[[], Arguments] | None = None,
    ) -> Ticket:
        """Queue a prediction and block until it has its result or its failure.

        Raises what `submit` raises. If the prediction fails, this method returns normally, and the
        method `result` of the returned ticket (the queued prediction) raises the failure.
        """
        ticket = self.submit(arguments, deadline_s=deadline_s, decode=decode)
        if self._batch > 1:
            # When a batch has been computed, `deliver` may leave it to one of the threads that wait
            # for its predictions to wake the others. The main thread must not be that one, because
            # Ctrl-C may interrupt it before it has woken all of them.
            ticket.wakes_others = get_ident() != main_thread().ident
        try:
            ticket.wait()
        except BaseException:  # such as Ctrl-C, or a timeout of gevent
            if not ticket.queue.cancel(ticket) and ticket.wakes_others:
                # The prediction cannot be cancelled, because its batch has been computed already.
                # Whoever computed it may rely on this thread to wake the threads that wait for the
                # batch's other predictions, which `wait` does.
                ticket.wait()
            raise
        return ticket

    def run(self, arguments: Arguments, *, deadline_s: float | None = UNSET) -> t.Any:
        """Compute a prediction; returns the result or raises the failure.

        Without a deadline, and while the queue is empty, `predict` runs on the calling thread: this
        saves 11 us, and debuggers and Ctrl-C work as usual. With a deadline, another thread runs
        `predict`, so that this method can return in time.
        """
        # A `predict` that asks its own model must not wait for the next version, which may begin
        # only when that `predict` has returned.
        if (successor := self._successor) is not None and not self._is_asked_by_itself():
            return successor().run(arguments, deadline_s=deadline_s)
        if deadline_s is UNSET:
            deadline_s = self.deadline_s
        if deadline_s is None and not self._streams:
            threads = self._threads
            ticket = Ticket(arguments=arguments, arrived_s=monotonic())
            if self._batch == 1:
                ticket.context = copy_context()
            slot = threads.enter(ticket)
            if slot is not None:
                return threads.compute_here(slot)
        return self.submit_and_wait(arguments, deadline_s=deadline_s).result()

    def loading(self) -> AbstractContextManager[Slot]:
        """Note during a `with` block that the calling thread loads the model, whose example may ask
        it for predictions. These are asked for in the slot that the block gets.
        """
        return self._threads.loading()

    def _is_asked_by_itself(self) -> bool:
        return any(slot.queue is self._threads for slot in slots_of_caller())

    # --- ending --------------------------------------------------------------------------------

    def cancel(self, ticket: Ticket) -> bool:
        """Cancel a queued prediction. If its batch has already begun, the prediction is still
        computed, but its result is dropped.

        Calls `ticket.deliver` on the calling thread. Returns False if the prediction has already
        ended.
        """
        with self._lock:
            queue = ticket.queue
            if queue is self:
                if ticket.settled:
                    return False
                self._counts.add_outcome(CANCELLED)
                cancelled = CancelledError(f"{self.owner}: the prediction was cancelled.")
                self._state.withdraw(ticket, cancelled, monotonic())
        if queue is not self:  # the prediction was passed on meanwhile
            return t.cast("bool", queue.cancel(ticket))
        deliver([ticket])
        return True

    def retire(self, successor: cabc.Callable[[], PredictionQueue]) -> None:
        """Pass new predictions on to another queue, for ever; those that wait here are computed.

        Args:
            successor: returns the queue that takes new predictions at that moment.
        """
        with self._lock:
            self._successor = successor

    def close(self, timeout_s: float | None = None, *, because: str = CLOSING) -> bool:
        """Refuse new predictions, and block until the waiting ones are computed.

        Args:
            because: why they are refused, for the error; the model's name stands before it.

        Returns False if `predict` hangs or `timeout_s` has passed; the remaining predictions then
        fail with a `ClosedError`. Those that wait since `hold` fail at once.
        """
        self.refuse_held(because)
        closer = held_lock()
        with self._lock:
            self._state.close(closer, because)
            self._threads.wake_all()
        drained = closer.acquire(timeout=FOREVER if timeout_s is None else timeout_s)
        with self._lock:
            left = self._state.abandon(monotonic())
            writers = [s.writer for s in self._state.computing if s.writer is not None]
            self._deadlines.wake()
            drained = drained and not self._state.computing
        deliver(left)
        for writer in writers:
            writer.fail(ClosedError(f"{self.owner} is being closed."))
        return drained

    # --- holding -------------------------------------------------------------------------------

    def hold(self) -> None:
        """Let new predictions wait until `release` is called, and compute those that were accepted
        before: the predictions of one request are computed by one version.
        """
        room = self._room = self._make_room()
        self.retire(lambda: room)

    def _make_room(self) -> PredictionQueue:
        return PredictionQueue(
            self._replica,
            owner=self.owner,
            batch=self._batch,
            deadline_s=self.deadline_s,
            queue=self.max_waiting,
            concurrency=self.concurrency,
            streams=self._streams,
            version=self.version,
            computes=False,
        )

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Block until no prediction waits or is computed. Returns False after `timeout_s`."""
        idle = held_lock()
        with self._lock:
            self._state.tell_when_idle(idle)
        return idle.acquire(timeout=timeout_s) and not self._state.computing

    def refuse_held(self, because: str) -> None:
        """Refuse the predictions that wait since `hold`, and new ones, until `release`.

        Args:
            because: why they are refused, for the error; the model's name stands before it.
        """
        if (room := self._room) is not None:
            room.close(0.0, because=because)

    def release(self, target: PredictionQueue) -> None:
        """Let a queue, which may be this one, compute the predictions that wait since `hold`, and
        those that are submitted from now on.
        """
        room, self._room = self._room, None
        if room is not None:
            with self._lock:
                self._successor = None if target is self else lambda: target
            room._pass_on(target)

    def _pass_on(self, target: PredictionQueue) -> None:
        with passing_on(target._threads) as note, self._lock, target._lock:
            self._successor = lambda: target
            for outcome, number in enumerate(self._counts.counters.outcomes):
                target._counts.add_outcome(outcome, int(number))
            refused = self._give_to(target, note)
        deliver(refused)

    def _give_to(
        self, target: PredictionQueue, note: cabc.Callable[[Ticket], None]
    ) -> list[Ticket]:
        """Let another queue compute the predictions that wait. Returns those that it refuses. The
        caller holds the locks of both.
        """
        now_s = monotonic()
        tickets = self._state.give_away()
        for ticket in tickets:
            note(ticket)
            ticket.queue = target
        refused = target._state.adopt(tickets, now_s)
        if tickets and not refused:
            refused = target._begin(tickets, now_s)
        return refused

    def _begin(self, tickets: list[Ticket], now_s: float) -> list[Ticket]:
        """Wake the threads for predictions that were queued. Returns those that have failed."""
        try:
            self._threads.wake_for(now_s)
            if (first_s := min(ticket.deadline_s for ticket in tickets)) < self._deadlines.wakes_s:
                self._deadlines.wake_by(first_s)
        # If the system allows no further thread, `Thread.start` raises RuntimeError.
        except RuntimeError as exc:
            for ticket in tickets:
                self._state.withdraw(ticket, exc, now_s)
            return tickets
        return []

    # --- without replicas ----------------------------------------------------------------------

    def divert(self, successor: cabc.Callable[[], PredictionQueue], because: str) -> None:
        """Pass on the predictions that wait to another queue, and new ones until `take_back` is
        called, because nothing is left that could compute them here.

        Those that are being computed fail: they may be the cause. So do those of requests of which
        a part was computed here, because the predictions of one request are computed by one
        version.

        Args:
            successor: returns the other queue.
            because: why predictions fail, for the error; the model's name stands before it.
        """
        self.retire(successor)
        target, is_done = successor(), False
        while not is_done:
            if (after := target._successor) is not None:  # such as while it is held
                target = after()
            with passing_on(target._threads) as note, self._lock, target._lock:
                if is_done := target._successor is None:
                    error = ReplicaLostError(f"{self.owner}: {because}")
                    failed = self._state.fail_begun(error, monotonic())
                    failed += self._give_to(target, note)
        deliver(failed)

    def take_back(self) -> None:
        """Compute new predictions again, after `divert`."""
        with self._lock:
            self._successor = None

    def _begin_in_child(self) -> list[Ticket]:
        """Reset the queue in a forked child process, where nobody ends what `hold` has begun.

        Returns the predictions on which code of the child may wait, as failed: the parent computes
        them. The others are those of requests, which the parent answers.
        """
        if self._room is not None:
            self._room = self._successor = None
        # The parent may count in memory that it shares with another process: the child must not
        # write to it.
        self._counts.move_to(Counters.new())
        unfinished = self._state.left_without(get_ident())
        left = [ticket for ticket in unfinished if ticket.survives_fork()]
        for ticket in left:
            ticket.settle(ClosedError(f"{self.owner} {_FORKED}"), monotonic())
        self.open()
        return left

    # --- looking -------------------------------------------------------------------------------

    @property
    def stuck(self) -> bool:
        """Whether `predict` hangs: `concurrency` batches are being computed, so that no other batch
        can begin, and all of them have exceeded their deadline.
        """
        return self._state.is_stuck

    @property
    def is_idle(self) -> bool:
        """Whether no prediction waits or is being computed."""
        return not self._state.computing and not len(self._state.waiting)

    def count_in(self, counters: Counters) -> None:
        """Continue to count predictions in other memory, which another process may read."""
        with self._lock:
            self._counts.move_to(counters)

    def statistics(self) -> Statistics:
        """Return the counts of predictions and batches since the model was first used."""
        with self._lock:
            held = 0 if (room := self._room) is None else len(room._state.waiting)
            return self._counts.copy(
                waiting=len(self._state.waiting) + held,
                computing=self._state.computing_items,
                stuck=self.stuck,
            )


class _RetiredError(Exception):
    """The queue is retired: the prediction goes to the queue that `successor` returns."""

    def __init__(self, successor: cabc.Callable[[], PredictionQueue]) -> None:
        super().__init__()
        self.successor = successor


def _open_all() -> None:
    """Reset all queues in a forked child process. None of the parent's threads exists there, so a
    lock that one of them held at the time of the fork would never be released.
    """
    forget_all()
    left: list[Ticket] = []
    for queue in list(_all):
        left += queue._begin_in_child()
    deliver(left)


_all: weakref.WeakSet[PredictionQueue] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_open_all)
