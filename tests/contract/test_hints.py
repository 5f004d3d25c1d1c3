from __future__ import annotations

import enum
import typing as t

import numpy as np
import pytest

from carboy.contract.hints import shown
from carboy.contract.values.tensor import Tensor


class Color(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (float, "float"),
        (np.ndarray, "numpy.ndarray"),
        (Color, f"{__name__}.Color"),
        (list[int], "list[int]"),
        (int | None, "int | None"),
        (t.Any, "typing.Any"),
        (Tensor["float32", 3, "h"], "Tensor['float32', 3, 'h']"),
    ],
)
def test_a_type_is_shown_as_one_writes_it(annotation, text):
    assert shown(annotation) == text
