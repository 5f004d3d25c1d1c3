"""What became of each request: an entry per number, and the reasons for those without an answer."""

from __future__ import annotations

import array
import collections
import itertools
import threading
import time
import typing as t

# What may become of a request.
UNSENT, SENT, ANSWERED, KILLED, LEFT, LOST, WRONG = range(7)
OUTCOMES = ("unsent", "sent", "answered", "in a killed process", "client left", "LOST", "WRONG")
# At most so many lost or wrong requests are described.
MAX_EXAMPLES = 20


class Kill(t.NamedTuple):
    worker: int
    before_s: float  # before `os.kill`
    after_s: float  # when the process has ended, and so all of its sockets are closed


class Tally:
    """Counts requests. Several threads use it; each number belongs to one thread at a time."""

    def __init__(self, most: int, kinds: t.Sequence[str], clients: t.Sequence[str]) -> None:
        self.most = most
        self.outcomes = bytearray(most)
        self.ended_s = array.array("d", bytes(8 * most))
        self.workers = array.array("i", bytes(4 * most))
        self.kills: list[Kill] = []
        self.examples: list[str] = []
        self.reasons: collections.Counter[str] = collections.Counter()
        self.events: collections.Counter[str] = collections.Counter()
        self.began_s = time.monotonic()
        self._kinds, self._clients = list(kinds), list(clients)
        self._of_kind, self._of_client = bytearray(most), bytearray(most)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    # --- the clients call these -------------------------------------------------------------

    def begin(self, kind: str, client: str) -> int:
        """Return the number of a new request. Raises StopIteration if all have been given out."""
        number = next(self._numbers)
        if number >= self.most:
            raise StopIteration
        self._of_kind[number] = self._kinds.index(kind)
        self._of_client[number] = self._clients.index(client)
        self.outcomes[number] = SENT
        return number

    def answered(self, number: int, worker: int | None, problem: str) -> None:
        self.ended_s[number] = time.monotonic()
        self.workers[number] = worker or 0
        if problem:
            self._fail(number, WRONG, problem)
        else:
            self.outcomes[number] = ANSWERED

    def left(self, number: int) -> None:
        """Record that the client has left before the answer."""
        self.outcomes[number] = LEFT

    def unanswered(self, number: int, worker: int | None, sent_s: float, reason: str) -> None:
        """Record that there was no answer, or only a part of it."""
        now_s = time.monotonic()
        if self.killed(worker, sent_s, now_s):
            self.outcomes[number] = KILLED
        else:
            at_s = now_s - self.began_s
            self._fail(number, LOST, f"{reason}; after {now_s - sent_s:.3f} s, at {at_s:.1f} s")

    def killed(self, worker: int | None, since_s: float, until_s: float) -> bool:
        """Return whether a process that may have had the request was killed in that time.

        Args:
            worker: the process that served the connection; None if the client does not know it.
        """
        return any(
            kill.before_s <= until_s and since_s <= kill.after_s and worker in {None, kill.worker}
            for kill in self.kills
        )

    def is_dead(self, worker: int | None) -> bool:
        return any(kill.worker == worker for kill in self.kills)

    def note(self, event: str, count: int = 1) -> None:
        with self._lock:
            self.events[event] += count

    def _fail(self, number: int, outcome: int, reason: str) -> None:
        self.outcomes[number] = outcome
        kind = self._kinds[self._of_kind[number]]
        client = self._clients[self._of_client[number]]
        with self._lock:
            self.reasons[reason.partition(";")[0].partition(":")[0]] += 1
            if len(self.examples) < MAX_EXAMPLES:
                self.examples.append(f"request {number} ({kind}, {client} client): {reason}")

    # --- the report calls these -------------------------------------------------------------

    @property
    def count(self) -> int:
        """How many requests have been answered."""
        return self.outcomes.count(ANSWERED)

    def total(self, outcome: int) -> int:
        return self.outcomes.count(outcome)

    def by_kind(self) -> dict[str, collections.Counter[int]]:
        return self._counts(self._kinds, self._of_kind)

    def by_client(self) -> dict[str, collections.Counter[int]]:
        return self._counts(self._clients, self._of_client)

    def _counts(self, names: list[str], index: bytearray) -> dict[str, collections.Counter[int]]:
        counts = collections.Counter(zip(index, self.outcomes, strict=True))
        return {
            name: collections.Counter(
                {outcome: counts[at, outcome] for outcome in range(SENT, len(OUTCOMES))}
            )
            for at, name in enumerate(names)
        }

    def kind_of(self, number: int) -> str:
        return self._kinds[self._of_kind[number]]

    def may_lack_access_line(self, number: int, delay_s: float) -> bool:
        """Return whether the worker that has answered a request was killed at about that time: it
        writes the lines of the access log a moment after the answers, and the client may read the
        rest of an answer when the worker is dead.
        """
        ended_s = self.ended_s[number]
        return self.killed(self.workers[number] or None, ended_s - delay_s, ended_s + delay_s)
