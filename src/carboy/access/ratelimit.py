"""Rate limits: count a request, and say why it is refused.

declared: rates, scope --> RateLimit.refusal(client) --> None, or a RateRefusal: the fields and
                                 |                       the body of a response 429
                                 v
                    current_source().take(rate, client)
"""

from __future__ import annotations

import math
import typing as t
from functools import lru_cache
from ipaddress import ip_address

from .tokensources import CountedRate, current_source

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .rates import Rate
    from .tokenbuckets import Taken

# draft-ietf-httpapi-ratelimit-headers-11, 5.1
PROBLEM_TYPE = "https://iana.org/assignments/http-problem-types#quota-exceeded"


class Counted(t.Protocol):
    """What rates can count by.

    Attributes:
        key_name: the name of the API key that came with the request; "" if none came.
        address: the address of the client.
    """

    @property
    def key_name(self) -> str: ...

    @property
    def user(self) -> str:
        """The user; "" if the request is not one of a user. Reading it may call the app."""

    @property
    def address(self) -> str: ...


class RateRefusal(t.NamedTuple):
    """Why a request was refused.

    Attributes:
        violated: the rates that allow no further request now.
        wait_s: seconds until all of them allow one.
    """

    limit: RateLimit
    violated: tuple[tuple[Rate, Taken], ...]

    @property
    def wait_s(self) -> int:
        return max(_seconds(taken) for _, taken in self.violated)

    @property
    def detail(self) -> str:
        rates = " and ".join(str(rate) for rate, _ in self.violated)
        return f"Too many requests: {rates} is allowed. Retry after {self.wait_s} s."

    def headers(self) -> list[tuple[str, str]]:
        """Return the response headers that tell the client when it may come again.

        Source: draft-ietf-httpapi-ratelimit-headers-11, 3 and 4; RFC 9110, 10.2.3
        """
        left = ", ".join(
            f'"{rate}";r={taken.left};t={_seconds(taken)}' for rate, taken in self.violated
        )
        return [
            ("Retry-After", str(self.wait_s)),
            ("RateLimit-Policy", self.limit.policy),
            ("RateLimit", left),
        ]

    def members(self) -> dict[str, t.Any]:
        """Return the members of the problem details, in addition to title, status and detail."""
        return {"type": PROBLEM_TYPE, "violated-policies": [str(rate) for rate, _ in self.violated]}


class RateLimit:
    """The rates of one declaration.

    Args:
        rates: all of them hold.
        scope: names the declaration, the same in all processes: requests for which it holds are
            counted together.

    Attributes:
        policy: the rates, as the response header RateLimit-Policy has them.
    """

    def __init__(self, rates: cabc.Sequence[Rate], scope: str) -> None:
        self.policy = ", ".join(f'"{rate}";q={rate.amount};w={rate.period_s}' for rate in rates)
        self._rates = [
            (rate, CountedRate(f"{scope} by {rate.by}", rate.amount, rate.period_s), _WAYS[rate.by])
            for rate in rates
        ]

    def refusal(self, client: Counted, subject: str) -> RateRefusal | None:
        """Count a request; return why it is refused, if it is.

        Args:
            subject: the name of the model or of the endpoint, for rates that count by it.
        """
        source = current_source()
        taken = [
            (rate, counted, name, source.take(counted, name))
            for rate, counted, way in self._rates
            if (name := way(client, subject))
        ]
        violated = tuple((rate, found) for rate, _, _, found in taken if not found.tokens)
        if not violated:
            return None
        # The request is not answered, so it counts for none of the rates.
        for _, counted, name, found in taken:
            if found.tokens:
                source.give_back(counted, name)
        return RateRefusal(self, violated)


def _seconds(taken: Taken) -> int:
    return max(1, math.ceil(taken.next_s))


# ------------------------------------------------------------------- who a request counts for


def _by_key(client: Counted, subject: str) -> str:
    if name := client.key_name:
        return f"key {name}"
    if name := client.user:
        return f"user {name}"
    return network_of(client.address)


def _by_user(client: Counted, subject: str) -> str:
    if name := client.user:
        return f"user {name}"
    return _by_key(client, subject)


def _by_address(client: Counted, subject: str) -> str:
    return network_of(client.address)


def _by_subject(client: Counted, subject: str) -> str:
    return subject


_WAYS: dict[str, cabc.Callable[[Counted, str], str]] = {
    "key": _by_key,
    "user": _by_user,
    "address": _by_address,
    "model": _by_subject,
    "route": _by_subject,
}


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """Return what an address counts for: itself, or the network of 64 bits of an IPv6 address,
    because a client of IPv6 has at least that many addresses (RFC 6177).
    """
    if ":" not in address:
        return f"address {address}"
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return f"address {address}"
    if found.version == 4:
        return f"address {found}"
    if (mapped := found.ipv4_mapped) is not None:
        return f"address {mapped}"
    return f"network {ip_address(int(found) >> 64 << 64)}/64"
