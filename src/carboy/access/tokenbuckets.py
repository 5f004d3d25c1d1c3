"""Token buckets: how many requests are allowed now, and when the next one is.

A bucket of the rate 100/minute holds at most 100 tokens; each request takes one, and every 0.6 s
one is added. So 100 requests may come at once after a pause, and in the long run 100 per minute.

A bucket is stored as one number, the time at which it will be full: tokens that were taken move it
into the future. (The algorithm is known as GCRA, from ATM networks.) A bucket that is full is not
stored, so that only clients of the last period take memory.
"""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc

# How many buckets are kept. A bucket takes about 200 bytes.
MAX_BUCKETS = 50_000


class Taken(t.NamedTuple):
    """The result of taking tokens from a bucket.

    Attributes:
        tokens: how many were taken.
        left: how many tokens are left in the bucket.
        next_s: seconds until there is one token more.
    """

    tokens: int
    left: int
    next_s: float


class TokenBuckets:
    """Token buckets by any keys. The caller brings the clock, and a lock if several threads call.

    If there are more than `most`, those are forgotten that were used longest ago: a client that
    has many addresses can so use a full bucket again, but not fill the memory.
    """

    def __init__(self, most: int = MAX_BUCKETS) -> None:
        self._most = most
        # When each bucket will be full. The bucket that was used last is the last one.
        self._full_at_s: dict[cabc.Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._full_at_s)

    def take(
        self, key: cabc.Hashable, amount: int, period_s: float, now_s: float, wanted: int = 1
    ) -> Taken:
        """Take tokens from a bucket that holds `amount` and is filled in `period_s`: as many as are
        wanted, or fewer if there are fewer.
        """
        full_at_s = max(self._full_at_s.pop(key, now_s), now_s)
        token_s = period_s / amount
        # A billionth of a token more, so that rounding takes none from a client that has waited as
        # long as it was told.
        there = int((now_s + period_s - full_at_s) / token_s + 1e-9)
        tokens = min(wanted, there)
        full_at_s += tokens * token_s
        self._keep(key, full_at_s, now_s)
        left = there - tokens
        return Taken(tokens, left, max(0.0, full_at_s - now_s - (amount - left - 1) * token_s))

    def give_back(self, key: cabc.Hashable, amount: int, period_s: float) -> None:
        """Put one token back, which was taken and not used."""
        if key in self._full_at_s:
            self._full_at_s[key] -= period_s / amount

    def _keep(self, key: cabc.Hashable, full_at_s: float, now_s: float) -> None:
        if full_at_s <= now_s:
            return
        self._full_at_s[key] = full_at_s
        if len(self._full_at_s) > self._most:
            self._forget_some(now_s)

    def _forget_some(self, now_s: float) -> None:
        """Forget the buckets that are full, and a tenth of those that were used longest ago: so the
        next call comes after many requests.
        """
        kept = {key: at_s for key, at_s in self._full_at_s.items() if at_s > now_s}
        surplus = len(kept) - self._most * 9 // 10
        for key in list(kept)[: max(0, surplus)]:
            del kept[key]
        self._full_at_s = kept
