"""Golden examples: inputs whose answers are known, by which each version of a model is checked."""

from __future__ import annotations

import dataclasses
import math
import typing as t

import msgspec

from carboy.errors import SignatureError

from .agreement import DEFAULT_TOLERANCE

#: `None` is an answer like any other.
NO_ANSWER: t.Final[t.Any] = msgspec.UNSET


@dataclasses.dataclass(frozen=True, slots=True)
class Golden:
    """An example with the answer that the model must give to it.

        @app.model("/digits", source="models/digits", example=Golden(pixels, answer=3))

    A version that gives another answer is not served.

    Args:
        input: the input, as for the option `example` of `app.model`.
        answer: what `predict` must return, as a Python value or as JSON; if `predict` yields, the
            list of all items. `carboy.models.save` may leave it out, and computes it.
        tolerance: how far numbers may be from those in `answer`: absolutely, or relative to them if
            they are above 1. Everything else must be equal.
    """

    input: t.Any
    answer: t.Any = NO_ANSWER
    tolerance: float = DEFAULT_TOLERANCE

    def __post_init__(self) -> None:
        given: object = self.tolerance
        is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
        if not is_number or not 0 <= self.tolerance < math.inf:
            raise SignatureError(
                f"Golden(..., tolerance={given!r}): expected a number, at least 0, such as 1e-3."
            )
