"""Rates as users write them, such as "100/minute by address": what they allow, and what they count
by.

    "100/minute"                              100 requests of each key, per minute
    "5/10 minutes by address"                 5 requests of each address, in ten minutes
    ["10/second", "1000/day by user"]         both hold; a text may have several, with commas
    "2000/minute by model"                    2000 requests to the model, of all clients together
    "unlimited"                               no limit, also where one is declared further out
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

if t.TYPE_CHECKING:
    import collections.abc as cabc

    By = t.Literal["key", "user", "address", "model", "route"]

#: What a rate can count by. A request without a key counts by its user, and without a user by its
#: address; by "user", a request without a user counts by its key.
WAYS: t.Final[tuple[By, ...]] = ("key", "user", "address", "model", "route")

_UNITS: t.Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
# A structured field (RFC 9651, 3.3.1), by which clients are told the rate, holds 15 digits.
_MOST_DIGITS = 9
_RATE = re.compile(
    rf"(?P<amount>[0-9]{{1,{_MOST_DIGITS}}})(?: */ *| +per +)(?:(?P<units>[0-9]{{1,5}}) +)?"
    rf"(?P<unit>{'|'.join(_UNITS)})s?(?: +by +(?P<by>[a-z]+))?"
)
UNLIMITED: t.Final = "unlimited"
_EXAMPLE = 'such as "100/minute", "5/10 minutes by address" or ["10/second", "1000/day by user"]'


@dataclass(frozen=True, slots=True)
class Rate:
    """How many requests are allowed in a period.

    Attributes:
        amount: how many requests are allowed in `period_s`, and at once after a pause.
        by: what the requests are counted by.
        text: the rate in the form that clients and logs see, such as "100/minute by user".
    """

    amount: int
    period_s: int
    by: By
    text: str

    def __str__(self) -> str:
        return self.text


def parse_rates(given: object) -> tuple[Rate, ...]:
    """Return the rates in a text or in a list of texts; none for "unlimited" alone.

    Raises:
        ValueError: `given` is neither, or a text is not a rate. The message names the text and says
            what is expected.
    """
    texts: cabc.Iterable[object] = [given]
    if isinstance(given, (list, tuple)):
        texts = given
    parts = [part for text in texts for part in _split(text)]
    if [part.strip() for part in parts] == [UNLIMITED]:
        return ()
    rates = [_parse(part) for part in parts]
    if not rates:
        raise ValueError(f"expected a rate, {_EXAMPLE}, got {given!r}")
    for rate in rates:
        if rates.count(rate) > 1:
            raise ValueError(f"the rate {str(rate)!r} is given twice")
    return tuple(rates)


def _split(text: object) -> cabc.Iterable[str]:
    if not isinstance(text, str):
        raise ValueError(f"expected a rate, {_EXAMPLE}, got {text!r}")  # noqa: TRY004 - as all
    return text.split(",")


def _parse(text: str) -> Rate:
    match = _RATE.fullmatch(" ".join(text.lower().split()))
    if match is None:
        raise ValueError(
            f"expected a rate, {_EXAMPLE}, got {text.strip()!r}. The units are {', '.join(_UNITS)}"
        )
    amount, units, unit = int(match["amount"]), int(match["units"] or 1), match["unit"]
    by = match["by"] or "key"
    if by not in WAYS:
        raise ValueError(f"the rate {text.strip()!r} counts by {by!r}: it can by {', '.join(WAYS)}")
    if not amount or not units:
        raise ValueError(f"the rate {text.strip()!r} allows nothing: write numbers from 1 on")
    span = unit if units == 1 else f"{units} {unit}s"
    written_by = "" if by == "key" else f" by {by}"
    return Rate(amount, units * _UNITS[unit], by, f"{amount}/{span}{written_by}")
