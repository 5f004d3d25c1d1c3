"""Rate limits: count a request, and say why it is refused.

`RateLimit` has the rates of a route, or of an API key. `count(limits, who)` counts a request
against all of them, in `current_source()`, and returns None, or a RateRefusal: the headers and the
body of a response 429.
"""

from __future__ import annotations

import hashlib
import math
import typing as t
from functools import lru_cache
from ipaddress import ip_address

from carboy.core.identity import Identity
from carboy.core.problemdetails import Problem

from .rates import parse_rates
from .tokensources import CountedRate, RateCounter, TokenSource, current_source

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .rates import Rate
    from .tokenbuckets import Taken

# draft-ietf-httpapi-ratelimit-headers-11, 5.1
PROBLEM_TYPE = "https://iana.org/assignments/http-problem-types#quota-exceeded"
# Longer names of users, and texts that proxies have written in place of an address, are replaced by
# their hashes, so that a bucket takes little memory.
_LONGEST = 100
#: Counts requests for all models that there are not: a bucket for each such name would let clients
#: fill the memory. No model can have this name.
UNKNOWN_MODEL: t.Final = "/"


class Sender(t.NamedTuple):
    """The properties of a request by which a rate can count it.

    Attributes:
        identity: who has sent the request.
        model: the name of the model that the request is for, `UNKNOWN_MODEL` if the app has no
            model of the name that the client asks for; "" if it is for none.
        endpoint: the endpoint of the request.
    """

    identity: Identity
    model: str
    endpoint: str


class RateLimit:
    """The rates of one declaration.

    Args:
        rates: all of them hold.
        scope: names the declaration, the same in all processes: requests for which it holds are
            counted together.

    Attributes:
        policy: the rates, as members of the response header RateLimit-Policy.
        ways: what the rates count by.
    """

    __slots__ = ("_counters", "_source", "counted", "policy", "ways")

    def __init__(self, rates: cabc.Sequence[Rate], scope: str) -> None:
        self.policy = [f'"{rate}";q={rate.amount};w={rate.period_s}' for rate in rates]
        self.ways = {rate.by for rate in rates}
        self.counted = [
            (rate, CountedRate(f"{scope} by {rate.by}", rate.amount, rate.period_s), _WAYS[rate.by])
            for rate in rates
        ]
        self._source: TokenSource | None = None
        self._counters: list[RateCounter] = []

    @property
    def texts(self) -> list[str]:
        return [str(rate) for rate, _, _ in self.counted]

    def counters(self, source: TokenSource) -> list[RateCounter]:
        """Return the counters of the rates, in their order."""
        if source is not self._source:
            counters = [source.counter(counted) for _, counted, _ in self.counted]
            self._source, self._counters = source, counters
        return self._counters


class QuickCount:
    """Counts the requests to one route of clients that have no key and no user, if all that is
    needed is at hand.

    PERF: takes 0.2 us, and `count` 4 us.
    """

    __slots__ = ("_at_hand", "_limit", "_name", "_sender", "_source", "_steps")

    def __init__(self, limit: RateLimit, model: str, endpoint: str) -> None:
        self._limit = limit
        self._sender = Sender(Identity(), model, endpoint)
        self._source: TokenSource | None = None
        # The counters, and what they count by; None for the address.
        self._steps: list[tuple[RateCounter, str | None]] = []
        # The same for one rate.
        self._at_hand: cabc.Mapping[str, cabc.Iterator[bool]] | None = None
        self._name: str | None = None

    def passes(self, address: str) -> bool:
        """Count a request; return whether it may pass. False says nothing: ask `count` then."""
        if current_source() is not self._source:
            self._find_steps()
        client = network_of(address) if ":" in address else address
        if self._at_hand is not None:
            tokens = self._at_hand.get(self._name or client)
            return tokens is not None and next(tokens, False)
        for number, (counter, name) in enumerate(self._steps):
            tokens = counter.at_hand.get(name or client)
            if tokens is None or not next(tokens, False):
                for taken, its_name in self._steps[:number]:
                    taken.give_back(its_name or client)
                return False
        return True

    def _find_steps(self) -> None:
        source = current_source()
        counters = self._limit.counters(source)
        self._steps = [
            (counter, None if rate.by in _BY_WHO else name)
            for counter, (rate, _, way) in zip(counters, self._limit.counted, strict=True)
            if (name := way(self._sender))
        ]
        if len(self._steps) == 1:
            counter, self._name = self._steps[0]
            self._at_hand = counter.at_hand
        self._source = source


@lru_cache(maxsize=1024)
def limit_of_key(text: str) -> RateLimit:
    """Return the limit that an API key has: the text of its rate."""
    return RateLimit(parse_rates(text), "API key")


def count(limits: cabc.Sequence[RateLimit], sender: Sender) -> RateRefusal | None:
    """Count a request; return why it is refused, if it is."""
    source = current_source()
    taken = [
        (rate, counter, client, counter.take(client))
        for limit in limits
        for counter, (rate, _, way) in zip(limit.counters(source), limit.counted, strict=True)
        if (client := way(sender))
    ]
    violated = tuple((rate, found) for rate, _, _, found in taken if not found.tokens)
    if not violated:
        return None
    # The request is not answered, so it counts for none of the rates.
    for _, counter, client, found in taken:
        if found.tokens:
            counter.give_back(client)
    return RateRefusal(tuple(limits), violated)


class RateRefusal(t.NamedTuple):
    """Why a request was refused.

    Attributes:
        limits: all that hold for the request.
        violated: the rates that allow no further request now.
    """

    limits: tuple[RateLimit, ...]
    violated: tuple[tuple[Rate, Taken], ...]

    @property
    def wait_s(self) -> int:
        """Seconds until all rates allow one more request."""
        return max(_seconds(taken) for _, taken in self.violated)

    def problem(self) -> Problem:
        """Return the response.

        Source: draft-ietf-httpapi-ratelimit-headers-11, 3 to 5; RFC 9110, 10.2.3
        """
        names = [str(rate) for rate, _ in self.violated]
        left = [f'"{rate}";r={taken.left};t={_seconds(taken)}' for rate, taken in self.violated]
        policy = [member for limit in self.limits for member in limit.policy]
        headers = [
            ("Retry-After", str(self.wait_s)),
            ("RateLimit-Policy", ", ".join(policy)),
            ("RateLimit", ", ".join(left)),
        ]
        rates = "rate" if len(names) == 1 else "rates"
        are = "is" if len(names) == 1 else "are"
        # Without the time: pages, and clients that retry, take it from Retry-After.
        detail = f"The {rates} {' and '.join(names)} {are} exceeded."
        members: dict[str, t.Any] = {"type": PROBLEM_TYPE, "violated-policies": names}
        return Problem(429, detail, code="rate-exceeded", headers=headers, **members)


def _seconds(taken: Taken) -> int:
    return max(1, math.ceil(taken.next_s))


# ------------------------------------------------------------------- who a request counts for


def _by_key(sender: Sender) -> str:
    identity = sender.identity
    if identity.key is not None:
        return f"key {identity.key.id}"
    return _named_user(identity) or _by_address(sender)


def _by_user(sender: Sender) -> str:
    return _named_user(sender.identity) or _by_key(sender)


def _by_address(sender: Sender) -> str:
    return network_of(sender.identity.address or "")


def _by_model(sender: Sender) -> str:
    return sender.model


def _by_route(sender: Sender) -> str:
    return sender.model or sender.endpoint


_WAYS: dict[str, cabc.Callable[[Sender], str]] = {
    "key": _by_key,
    "user": _by_user,
    "address": _by_address,
    "model": _by_model,
    "route": _by_route,
}


# These count by the address if nothing else is known of the client.
_BY_WHO = ("key", "user", "address")


def _named_user(identity: Identity) -> str:
    return f"user {_shortened(user)}" if (user := identity.user) else ""


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def network_of(address: str) -> str:
    """Return what an address counts for: itself, or the network of 64 bits of an IPv6 address,
    because a client of IPv6 has at least that many addresses (RFC 6177).
    """
    return _network_of(_shortened(address))


@lru_cache(maxsize=4096)
def _network_of(address: str) -> str:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address or "unknown"
    if found.version == 4:
        return str(found)
    if (mapped := found.ipv4_mapped) is not None:
        return str(mapped)
    return f"{ip_address(int(found) >> 64 << 64)}/64"
