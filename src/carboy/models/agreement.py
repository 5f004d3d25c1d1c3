"""Whether two answers of a model agree: numbers within a tolerance, everything else exactly.

Answers are compared as clients get them, as JSON values.
"""

from __future__ import annotations

import math
import typing as t

#: That of `numpy.allclose`: the order of additions in another release of a library, or on another
#: processor, changes less than this.
DEFAULT_TOLERANCE: t.Final = 1e-5
# A longer value in a message is cut.
_SHOWN_CHARACTERS = 80


def distance(expected: t.Any, got: t.Any) -> float:
    """Return how far an answer is from the expected one: the largest difference of two numbers in
    them, relative to the expected number if that is above 1. Infinite if anything else differs,
    such as a text or the length of a list.
    """
    return max((gap for gap, _ in _gaps(expected, got, "")), default=0.0)


def difference(expected: t.Any, got: t.Any, tolerance: float) -> str:
    """Return where two answers differ most and how, as a phrase; "" if they agree.

    Args:
        tolerance: the largest `distance` at which answers agree.
    """
    gap, phrase = max(_gaps(expected, got, ""), default=(0.0, ""), key=_gap_of)
    return phrase if gap > tolerance else ""


def _gap_of(found: tuple[float, str]) -> float:
    return found[0]


def _gaps(expected: t.Any, got: t.Any, place: str) -> t.Iterator[tuple[float, str]]:
    """Yield how far the values in two answers are from each other, with a phrase that says so."""
    if isinstance(expected, dict) and isinstance(got, dict) and expected.keys() == got.keys():
        for name, value in expected.items():
            yield from _gaps(value, got[name], f"{place}.{name}")
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        for index, value in enumerate(expected):
            yield from _gaps(value, got[index], f"{place}[{index}]")
    else:
        gap = _gap(expected, got)
        if gap:
            at = f" at {place.removeprefix('.')}" if place else ""
            yield gap, f"expected {_shown(expected)}{at}, got {_shown(got)}"


def _gap(expected: t.Any, got: t.Any) -> float:
    if _is_number(expected) and _is_number(got):
        return abs(got - expected) / max(1.0, abs(expected))
    return 0.0 if expected == got and type(expected) is type(got) else math.inf


def _is_number(value: t.Any) -> t.TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(value: t.Any) -> str:
    if isinstance(value, (list, dict)):
        kind = "a list" if isinstance(value, list) else "an object"
        return f"{kind} of {len(value)} {_cut(repr(value))}"
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
