"""How many replicas a version of a model should have, by how many predictions wait."""

from __future__ import annotations

import collections
import math

# A replica has enough to do with one batch that it computes and one that waits.
BATCHES_PER_REPLICA = 2
# More replicas are started if they were needed for this long: loading a model costs more than a
# short wait.
UP_S = 3.0
# There are fewer again if they were not needed for this long.
DOWN_S = 60.0


class Scaler:
    """Decides the number of replicas between bounds. Knows no clock.

    Args:
        least: the number without load, with which it begins.
        most: the largest number.
        batch: how many predictions a replica computes together.

    Attributes:
        number: the number of replicas that there should be.
    """

    def __init__(self, least: int, most: int, batch: int) -> None:
        self._least = least
        self._most = most
        self._enough = BATCHES_PER_REPLICA * batch
        # When which number was needed; the oldest entry may be older than `DOWN_S`.
        self._needed: collections.deque[tuple[float, int]] = collections.deque()
        self.number = least

    def note(self, now_s: float, demand: int) -> int:
        """Note how many predictions wait or are computed; return the number of replicas."""
        needed = min(self._most, max(self._least, math.ceil(demand / self._enough)))
        self._needed.append((now_s, needed))
        while len(self._needed) > 1 and self._needed[1][0] <= now_s - DOWN_S:
            self._needed.popleft()
        if (latest := self._since(now_s - UP_S)) and min(latest) > self.number:
            self.number = min(latest)
        if (latest := self._since(now_s - DOWN_S)) and max(latest) < self.number:
            self.number = max(latest)
        return self.number

    def _since(self, at_s: float) -> list[int]:
        """Return the numbers that were needed since a time; none if that is not known yet."""
        if self._needed[0][0] > at_s:
            return []
        before = [needed for noted_s, needed in self._needed if noted_s <= at_s]
        return [before[-1], *(needed for noted_s, needed in self._needed if noted_s > at_s)]
