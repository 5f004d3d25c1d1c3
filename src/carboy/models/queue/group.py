"""Several predictions of one request, such as the rows of a batch that a client has formed itself.

They wait in the queue one by one, like the predictions of several requests, so the queue may
compute them in different batches and together with those of other clients. The request ends when
all have ended. If one of them fails the request fails, and those that still wait are cancelled.
"""

from __future__ import annotations

import typing as t
from _thread import allocate_lock
from functools import partial

from carboy.errors import CancelledError, InputTooLargeError

from .ticket import Ticket

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from ..replicas.replica import ResultLoop
    from . import PredictionQueue
    from .calls import Arguments


class PredictionGroup:
    """The predictions of one request.

    Args:
        queue: the queue of the model.
        entries: the arguments of each prediction.
        decode: decodes all entries again, in case `predict` has changed its arguments.

    Raises:
        InputTooLargeError: the predictions would not fit into the queue if it were empty.
    """

    def __init__(
        self,
        queue: PredictionQueue,
        entries: list[Arguments],
        decode: cabc.Callable[[], list[Arguments]],
    ) -> None:
        if len(entries) > queue.max_waiting:
            raise InputTooLargeError(
                f"The request asks for {len(entries):,} predictions, and the model takes at most"
                f" {queue.max_waiting:,} at once. Split it into smaller requests."
            )
        self._queue = queue
        self._lock = allocate_lock()
        self._left = len(entries)
        self._is_failed = False
        self._owner: Ticket | None = None
        # `deliver` of the queue groups predictions by their callback and compares it by identity,
        # so all tickets have the same bound method.
        deliver, again = self._count, _DecodedAgain(decode)
        self.tickets = [
            Ticket(arguments=each, deliver=deliver, decode=partial(again.take, i))
            for i, each in enumerate(entries)
        ]

    def submit(
        self, owner: Ticket, *, quick_s: float = 0.0, loop: ResultLoop | None = None
    ) -> None:
        """Queue the predictions. `owner` is settled and delivered when all of them have ended.

        Args:
            owner: a ticket that is not queued itself. Its value will be the list of results, or the
                failure.
            quick_s: see `PredictionQueue.submit_round`.
            loop: see there.
        """
        self._owner = owner
        if self.tickets:
            self._queue.submit_round(self.tickets, quick_s=quick_s, loop=loop)
        else:
            self._settle()

    def submit_and_wait(self) -> Ticket:
        """Queue the predictions and block until all have ended. Returns a ticket whose value is the
        list of results, or the failure.
        """
        owner = Ticket()
        owner.make_waitable()
        self.submit(owner)
        try:
            owner.wait()
        except BaseException:  # such as Ctrl-C, or a timeout of gevent
            self.cancel()
            raise
        return owner

    @property
    def has_begun(self) -> bool:
        """Whether a prediction was computed, or is. They are in the queue in their order, so the
        first one begins first.
        """
        return any(ticket.settled or ticket.batch_size for ticket in self.tickets[:1])

    def cancel(self) -> None:
        """Cancel the predictions that have not ended."""
        for ticket in list(self.tickets):
            ticket.queue.cancel(ticket)

    def _count(self, tickets: list[Ticket]) -> None:
        """Count predictions that have ended. The queue calls this on the threads that end them."""
        failed = any(isinstance(ticket.value, BaseException) for ticket in tickets)
        with self._lock:
            self._left -= len(tickets)
            is_over = not self._left
            is_first_failure = failed and not self._is_failed
            self._is_failed = self._is_failed or failed
        if is_over:
            self._settle()
        elif is_first_failure:
            self.cancel()

    def _settle(self) -> None:
        tickets, owner = self.tickets, t.cast("Ticket", self._owner)
        # Break reference cycles: the tickets refer to this group by their callback.
        self.tickets, self._owner = [], None
        owner.queue = tickets[0].queue if tickets else self._queue
        owner.batch_size = max((ticket.batch_size for ticket in tickets), default=0)
        owner.arrived_s = min((ticket.arrived_s for ticket in tickets), default=0.0)
        owner.began_s = min((each.began_s for each in tickets if each.began_s), default=0.0)
        ended_s = max((ticket.ended_s for ticket in tickets), default=0.0)
        owner.settle(_value_of([ticket.take_value() for ticket in tickets]), ended_s)
        if owner.deliver is not None:
            owner.deliver([owner])
        else:
            owner.lock.release()


class _DecodedAgain:
    """The entries of a request's body, decoded again. Each is given away once, because `predict`
    may change it; only an entry that is asked for twice costs to decode the body once more. While a
    batch that has failed is split, that is once for each time its parts are halved. Thread-safe.
    """

    def __init__(self, decode: cabc.Callable[[], list[Arguments]]) -> None:
        self._decode = decode
        self._lock = allocate_lock()
        self._entries: list[Arguments | None] = []

    def take(self, i: int) -> Arguments:
        with self._lock:
            if not self._entries or self._entries[i] is None:
                self._entries = list(self._decode())
            entry, self._entries[i] = self._entries[i], None
        return t.cast("Arguments", entry)


def _value_of(values: list[t.Any]) -> t.Any:
    """Return the results, or the first failure. Cancellations count last: after a failure, the
    group cancels its other predictions.
    """
    failures = [each for each in values if isinstance(each, BaseException)]
    failures.sort(key=lambda failure: isinstance(failure, CancelledError))
    return failures[0] if failures else values
