"""Where the tokens of rate limits come from: this process counts alone, or all processes of a
server count together (`tokenleases`), if the server has called `use_source`.
"""

from __future__ import annotations

import typing as t
from _thread import allocate_lock
from time import monotonic

from .tokenbuckets import TokenBuckets

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .tokenbuckets import Taken


class CountedRate(t.NamedTuple):
    """A rate, and which requests are counted together for it.

    Attributes:
        scope: names the declaration, such as "app.py: model digits": the requests for which it
            holds are counted together.
        amount, period_s: the rate.
    """

    scope: str
    amount: int
    period_s: int


class RateCounter(t.Protocol):
    """Gives a token for each request that counts for one rate. Thread-safe.

    Attributes:
        at_hand: by client, tokens that can be had without asking: `next(at_hand[client], False)` is
            True for a token. False, or a missing client, says nothing: ask `take` then.
    """

    @property
    def at_hand(self) -> cabc.Mapping[str, cabc.Iterator[bool]]: ...

    def take(self, client: str) -> Taken:
        """Take a token for a request of a client."""

    def give_back(self, client: str) -> None:
        """Put a token back, because the request was refused for another reason."""


class TokenSource(t.Protocol):
    """Gives the tokens of all rates. Thread-safe."""

    def counter(self, rate: CountedRate) -> RateCounter: ...


class OwnTokens:
    """Gives the tokens that this process has counted alone, as if it were the only one.

    Args:
        clock: returns the time in seconds.
    """

    def __init__(self, clock: cabc.Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = allocate_lock()
        self._buckets = TokenBuckets()

    def counter(self, rate: CountedRate) -> OwnCounter:
        return OwnCounter(self, rate)

    def take(self, rate: CountedRate, client: str) -> Taken:
        with self._lock:
            return self._buckets.take((rate, client), rate.amount, rate.period_s, self._clock())

    def give_back(self, rate: CountedRate, client: str) -> None:
        with self._lock:
            self._buckets.give_back((rate, client), rate.amount, rate.period_s)


class OwnCounter(t.NamedTuple):
    """Counts for one rate in this process alone."""

    source: OwnTokens
    rate: CountedRate

    @property
    def at_hand(self) -> cabc.Mapping[str, cabc.Iterator[bool]]:
        return {}

    def take(self, client: str) -> Taken:
        return self.source.take(self.rate, client)

    def give_back(self, client: str) -> None:
        self.source.give_back(self.rate, client)


class _SourceOfProcess:
    """The source of a process, which counts in one place, whatever apps it serves."""

    def __init__(self) -> None:
        self.make: cabc.Callable[[], TokenSource] = OwnTokens
        self.made: TokenSource | None = None
        self.is_shared = False
        self.lock = allocate_lock()


_current = _SourceOfProcess()


def use_source(make: cabc.Callable[[], TokenSource], *, shared: bool) -> None:
    """Let all rate limits of this process take their tokens from what `make` returns. It is called
    when a request is first counted.

    Args:
        shared: whether all processes of the server count together by it.
    """
    with _current.lock:
        _current.make, _current.made, _current.is_shared = make, None, shared


def current_source() -> TokenSource:
    """Return what gives this process its tokens."""
    return _current.made or _make_source()


def _make_source() -> TokenSource:
    with _current.lock:
        # Another thread may have made it meanwhile.
        if (made := _current.made) is None:
            made = _current.made = _current.make()
        return made


def is_shared() -> bool:
    """Return whether the processes of the server count together."""
    return _current.is_shared
