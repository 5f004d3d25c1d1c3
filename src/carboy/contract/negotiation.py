"""Content negotiation: choose the media type of a response by the request's Accept header.

The offered media type with the greatest weight is chosen; of equal weights, the first offer. A more
specific range is not preferred to `*/*`: many client libraries send `application/json, */*` with
each request, also with requests for an image.

If no offer is acceptable, the first offer is sent and not a 406, as RFC 9110 (section 12.4.1)
allows: the result is already computed, and many clients do not choose their Accept header.
"""

from __future__ import annotations

import re
from functools import lru_cache

# Matches a weight, such as the 0.5 of `q=0.5`. Source: RFC 9110, section 12.4.2.
_WEIGHT = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)")
# Longest Accept header for which the parsed form is cached: clients choose the header, and the
# cache takes memory.
_MAX_CACHED_CHARS = 256


def choose(accept: str, offers: tuple[str, ...]) -> str:
    """Return the media type of `offers` that the client prefers; the first is the default.

    Args:
        accept: the value of the Accept header; "" if the request has none.
        offers: media types in the server's order of preference.
    """
    if not accept or accept == "*/*":
        return offers[0]
    return (
        _choose_cached(accept, offers)
        if len(accept) <= _MAX_CACHED_CHARS
        else _choose(accept, offers)
    )


def _choose(accept: str, offers: tuple[str, ...]) -> str:
    ranges = _read(accept)
    best, chosen = 0.0, offers[0]
    for offer in offers:
        names = (offer, offer.partition("/")[0] + "/*", "*/*")
        # An offer has the weight of the most specific media range that matches it. Source: RFC
        # 9110, 12.5.1.
        weight = next((ranges[name] for name in names if name in ranges), 0.0)
        if weight > best:
            best, chosen = weight, offer
    return chosen


_choose_cached = lru_cache(maxsize=512)(_choose)


def _read(accept: str) -> dict[str, float]:
    """Parse an Accept header into a dict from media range to weight; invalid elements are
    skipped.
    """
    ranges: dict[str, float] = {}
    for element in accept.split(","):
        name, *parameters = (part.strip().lower() for part in element.split(";"))
        weight = "1"
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                weight = value.strip()
        if _WEIGHT.fullmatch(weight):
            name = "*/*" if name == "*" else name
            ranges[name] = max(float(weight), ranges.get(name, 0.0))
    return ranges
