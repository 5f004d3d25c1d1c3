"""Count requests together with other processes: a process leases tokens from one that has the
buckets.

    a worker                                     the supervisor
    LeasedCounter.take   --- client has none --> TokenLender.lend: takes a lease from the bucket
          | waits                                     |
          v          <-- tokens, or seconds to wait --'
    uses the tokens of the lease for further requests, and asks for the next in time

A lease is a part of what the bucket holds, such that all workers together never hold more than a
tenth of a rate for a client. This is the error: a client may exceed its rate by the tokens that
workers hold for it from before, and may be refused while another worker holds tokens for it. Leases
of low rates, such as 5 logins per minute, are of one token, so that these are exact.

A client that was refused is refused without asking until it is due, so that a flood of requests
costs the supervisor nothing.
"""

from __future__ import annotations

import typing as t
from itertools import repeat
from operator import length_hint
from threading import Condition, RLock
from time import monotonic

from .notices import logger
from .tokenbuckets import MAX_BUCKETS, Taken, TokenBuckets
from .tokensources import CountedRate, OwnTokens

if t.TYPE_CHECKING:
    import collections.abc as cabc

_NONE: cabc.Iterator[bool] = iter(())

# The part of a rate that all workers together hold for a client, at most. A worker asks for the
# next lease when it has half of one left, so that it may hold one and a half.
HELD_PART = 10
# How long a request waits for the lender. Usually it answers within a millisecond; while it starts
# a process, within some.
ANSWER_S = 1.0
# How many questions to the lender may be unanswered: 50 kB, which fit into the buffer of a socket.
MAX_UNANSWERED = 256
ALONE = (
    "the supervisor has not answered for %g s how many requests are allowed: until it does, this"
    " worker counts the requests of rate limits alone"
)


class TokenLender:
    """Has the buckets, and lends tokens to several processes. Not thread-safe."""

    def __init__(self, clock: cabc.Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._buckets = TokenBuckets()

    def lend(self, rate: CountedRate, client: str, borrowers: int) -> Taken:
        """Lend tokens for requests of a client to one of several processes."""
        key, now_s = (rate, client), self._clock()
        amount, period_s = rate.amount, rate.period_s
        most = rate.amount * 2 // (3 * HELD_PART * borrowers)
        wanted = 1
        if most > 1:
            # The less there is, the smaller are the leases, so that few tokens are left with
            # workers that do not need them while others refuse requests.
            there = self._buckets.take(key, amount, period_s, now_s, 0).left
            wanted = max(1, min(most, there // (2 * borrowers)))
        return self._buckets.take(key, amount, period_s, now_s, wanted)


class _Lease:
    """The tokens that a process has leased for one client, and what the lender has said last.

    Attributes:
        tokens: how many there are. When the first of them is taken, the next lease is asked for.
        asks_early: whether the next lease is asked for before it is needed.
        left, next_s, at_s: how many tokens the lender had left, in how many seconds it would have
            one more, and when it said so.
        is_asked: whether the lender was asked and has not answered.
    """

    __slots__ = ("asks_early", "at_s", "is_asked", "left", "next_s", "tokens")

    def __init__(self) -> None:
        self.tokens = self.left = 0
        self.next_s = self.at_s = 0.0
        self.asks_early = self.is_asked = False

    def wait_s(self, now_s: float) -> float:
        """Return how long the lender will have none, as far as this process knows."""
        return 0.0 if self.left else max(0.0, self.at_s + self.next_s - now_s)


class LeasedTokens:
    """The tokens that a worker has leased, for any rates and clients. Thread-safe.

    Args:
        ask: asks the lender for a lease, without waiting; `receive` gets the answer.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        ask: cabc.Callable[[CountedRate, str], object],
        clock: cabc.Callable[[], float] = monotonic,
    ) -> None:
        self._ask = ask
        self.clock = clock
        # Reentrant, because `ask` may call `receive` at once.
        self.lock = RLock()
        self.changed = Condition(self.lock)
        self._counters: dict[CountedRate, LeasedCounter] = {}
        self._leases = self._unanswered = 0
        # Whether the lender has let a request wait in vain.
        self.is_silent = False
        self._alone = OwnTokens(clock)

    def counter(self, rate: CountedRate) -> LeasedCounter:
        with self.lock:
            counter = self._counters.get(rate)
            if counter is None:
                counter = self._counters[rate] = LeasedCounter(self, rate)
            return counter

    def receive(self, rate: CountedRate, client: str, loan: Taken) -> None:
        """Receive what the lender has answered."""
        with self.lock:
            self._unanswered -= 1
            self.is_silent = False
            self.counter(rate).add(client, loan, self.clock())
            self.changed.notify_all()

    # --- for counters, which hold the lock -----------------------------------------------------

    def ask(self, rate: CountedRate, client: str) -> bool:
        """Ask for a lease; return False if the lender does not answer. It is not asked more and
        more then: the socket to it would fill, and sending would block.
        """
        if self.is_silent or self._unanswered >= MAX_UNANSWERED:
            return False
        self._unanswered += 1
        self._ask(rate, client)
        return True

    def give_up(self) -> None:
        """Wait for the lender no longer, until it answers."""
        if not self.is_silent:
            self.is_silent = True
            logger.error(ALONE, ANSWER_S)

    def take_alone(self, rate: CountedRate, client: str) -> Taken:
        return self._alone.take(rate, client)

    def make_room(self) -> None:
        """Before a lease is added, forget the oldest tenth if there are too many. If these clients
        come again, the lender knows what they have used.
        """
        self._leases += 1
        if self._leases > MAX_BUCKETS:
            for counter in self._counters.values():
                counter.forget_tenth()
            self._leases = 1 + sum(len(counter.leases) for counter in self._counters.values())


class LeasedCounter:
    """The leases of one rate, by client. All but half of a lease is at hand.

    PERF: `next` of an iterator that is written in C takes a token without a lock, because no other
    thread can run meanwhile.
    """

    __slots__ = ("_lock", "_rate", "_source", "at_hand", "leases")

    def __init__(self, source: LeasedTokens, rate: CountedRate) -> None:
        self._source = source
        self._lock = source.lock
        self._rate = rate
        self.leases: dict[str, _Lease] = {}
        self.at_hand: dict[str, cabc.Iterator[bool]] = {}

    def take(self, client: str) -> Taken:
        source, until_s = self._source, 0.0
        with self._lock:
            while True:
                if next(self.at_hand.get(client, _NONE), False):
                    lease = self.leases[client]
                    return Taken(1, lease.left + lease.tokens, lease.next_s)
                lease, now_s = self._lease(client), source.clock()
                wait_s = lease.wait_s(now_s)
                if lease.tokens:
                    lease.tokens -= 1
                    if lease.asks_early and not (wait_s or lease.is_asked):
                        self._ask(lease, client)
                    return Taken(1, lease.left + lease.tokens, lease.next_s)
                if wait_s:
                    return Taken(0, 0, wait_s)
                until_s = until_s or now_s + ANSWER_S
                if now_s >= until_s:
                    source.give_up()
                if not (lease.is_asked or self._ask(lease, client)) or source.is_silent:
                    return source.take_alone(self._rate, client)
                if lease.is_asked:
                    source.changed.wait(until_s - now_s)

    def _ask(self, lease: _Lease, client: str) -> bool:
        # Set this before asking, because the answer may come at once.
        lease.is_asked = True
        if self._source.ask(self._rate, client):
            return True
        lease.is_asked = False
        return False

    def give_back(self, client: str) -> None:
        with self._lock:
            if lease := self.leases.get(client):
                lease.tokens += 1

    def add(self, client: str, loan: Taken, now_s: float) -> None:
        """Add tokens that were lent."""
        lease = self._lease(client)
        tokens = lease.tokens + length_hint(self.at_hand.pop(client, ())) + loan.tokens
        lease.tokens = min(tokens, loan.tokens - loan.tokens // 2)
        if tokens > lease.tokens:
            self.at_hand[client] = repeat(True, tokens - lease.tokens)
        lease.asks_early = loan.tokens > 1
        lease.left, lease.next_s, lease.at_s = loan.left, loan.next_s, now_s
        lease.is_asked = False

    def _lease(self, client: str) -> _Lease:
        """Return the lease of a client, a new one if there is none."""
        lease = self.leases.get(client)
        if lease is None:
            self._source.make_room()
            lease = self.leases[client] = _Lease()
        return lease

    def forget_tenth(self) -> None:
        for client in list(self.leases)[: len(self.leases) // 10 + 1]:
            del self.leases[client]
            self.at_hand.pop(client, None)
