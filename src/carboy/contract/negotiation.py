"""Content negotiation: the form of an answer that a client prefers, by its `Accept`.

Of the forms that can be had, the one with the greatest weight; of equals, the first that is
offered. What a client names more exactly does not count: many a library names JSON beside `*/*`
in all its requests, also in those for a picture.

Nothing acceptable is not an error: the first form is sent, and says what it is. RFC 9110 (12.4.1)
leaves that to the server, and an answer that was computed is worth more than a 406, not least to
the many clients whose library chose their `Accept`.
"""

from __future__ import annotations

import re
from functools import lru_cache

# A weight. Source: RFC 9110, section 12.4.2.
_WEIGHT = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)")
# Headers longer than this are read each time: strangers choose them, and a cache is memory.
_LONGEST_KEPT = 256


def choose(accept: str, offers: tuple[str, ...]) -> str:
    """Return the media type of `offers` that the client prefers; the first is the default.

    Args:
        accept: the header as it came; empty if there is none.
    """
    if not accept or accept == "*/*":
        return offers[0]
    return _choose_kept(accept, offers) if len(accept) <= _LONGEST_KEPT else _choose(accept, offers)


def _choose(accept: str, offers: tuple[str, ...]) -> str:
    ranges = _read(accept)
    best, chosen = 0.0, offers[0]
    for offer in offers:
        names = (offer, offer.partition("/")[0] + "/*", "*/*")
        # The most exact range alone has a say about an offer. Source: RFC 9110, section 12.5.1.
        weight = next((ranges[name] for name in names if name in ranges), 0.0)
        if weight > best:
            best, chosen = weight, offer
    return chosen


_choose_kept = lru_cache(maxsize=512)(_choose)


def _read(accept: str) -> dict[str, float]:
    """Return weights by media range; elements that cannot be parsed are ignored."""
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
