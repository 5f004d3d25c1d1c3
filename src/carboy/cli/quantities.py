"""Types of command-line options: times with their units, sizes, and numbers above 0.

An error is one line with exit code 2.
"""

from __future__ import annotations

import math
import typing as t

import click

from ..core.bytesizes import parse_size
from ..models.simulation.costcurve import parse_cost, parse_duration
from .failures import RefusedCommandError

Parameter: t.TypeAlias = "click.Parameter | None"


class _Quantity(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.1
    """A quantity that a function reads.

    Args:
        name: how the help calls the value.
        read: converts the text to the value, or raises ValueError.
        expected: what is expected, for the error.
        words: values that are not read, by their texts.
    """

    def __init__(
        self,
        name: str,
        read: t.Callable[[str], t.Any],
        expected: str,
        words: t.Mapping[str, t.Any] | None = None,
    ) -> None:
        self.name = name
        self._read = read
        self._expected = expected
        self._words = words or {}

    def convert(self, value: t.Any, param: Parameter, ctx: click.Context | None) -> t.Any:
        if not isinstance(value, str):  # a default
            return value
        if value in self._words:
            return self._words[value]
        try:
            return self._read(value)
        except ValueError:
            option = "" if param is None else f"{param.opts[0]} "
            raise RefusedCommandError(f"{option}{value}: expected {self._expected}.") from None


def _above_zero(read: t.Callable[[str], t.Any]) -> t.Callable[[str], t.Any]:
    def checked(text: str) -> t.Any:
        number = read(text)
        if not 0 < number < math.inf:
            raise ValueError
        return number

    return checked


_A_TIME = "a time with its unit, such as 50ms, 0.2s or 80us"

RATE = _Quantity("number", _above_zero(float), "a number above 0")
COUNT = _Quantity("number", _above_zero(int), "a whole number above 0")
WEB_TIME = _Quantity(
    "time|measured",
    parse_duration,
    f"{_A_TIME}, or measured",
    {"measured": "measured", "0": 0.0},
)
LIMIT = _Quantity("time", _above_zero(parse_duration), f"{_A_TIME}, above 0")
DEADLINE = _Quantity(
    "time|none", _above_zero(parse_duration), f"{_A_TIME}, or none", {"none": math.inf}
)
WAIT = _Quantity("time|auto", parse_duration, f"{_A_TIME}, or auto", {"auto": "auto", "0": 0.0})
COST = _Quantity(
    "time+time",
    parse_cost,
    "the time of a batch and of each of its inputs, such as 2ms+0.1ms",
)
SIZE = _Quantity("size", _above_zero(parse_size), "a size such as 500M or 2G")
