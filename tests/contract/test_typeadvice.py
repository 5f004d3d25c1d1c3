"""An annotation that cannot be read from a request is refused with the one to write."""

from __future__ import annotations

import datetime as dt
import pathlib
import typing as t

import numpy as np
import pandas as pd
import PIL.Image
import pytest

from carboy.contract.typeadvice import advice
from carboy.errors import SignatureError

MODULE = "It is a module and no type."
RECORD = "Write a Struct, dataclass or TypedDict with these fields."


@pytest.mark.parametrize(
    ("annotation", "sentence"),
    [
        (np.float32, "Write `float`."),
        (np.int64, "Write `int`."),
        (np.bool_, "Write `bool`."),
        (np.str_, "Write `str`."),
        (list[np.float64], "Write `float`."),
        (dict[str, np.uint8], "Write `int`."),
        (pd.Series, "Write `list[float]`, or `DataFrame` for a table."),
        (pd.Timestamp, "Write `datetime.datetime`."),
        (pd.RangeIndex, "Write `list[str]`."),
        (object, "Write `typing.Any`."),
        (any, "It is a function. Write `typing.Any`."),
        (len, "It is a function and no type. Write a type."),
        (pathlib.Path, "Write `Upload` for a file that the client sends, or `str`."),
        (t.TextIO, ""),
        (PIL.Image, f"{MODULE} Write its class, `PIL.Image.Image`."),
        (dt, f"{MODULE} Write its class, `datetime.datetime`."),
        (np, f"{MODULE} Write a class of it."),
        ([int], "It is a list and no type. Write `list[int]`."),
        ([], "It is a list and no type. Write `list[float]`."),
        ((int, str), "It is a tuple and no type. Write `tuple[int, str]`."),
        ({"a": int}, f"It is a dict and no type. {RECORD}"),
        (3, "It is a value and no type. Write a type; a default follows it, as in `int = 3`."),
        (t.Literal["a"], ""),
        (type("Own", (), {}), ""),
    ],
)
def test_annotation_is_answered_with_the_one_to_write(annotation, sentence):
    assert advice(annotation) == sentence


@pytest.mark.parametrize("annotation", [np.float32, PIL.Image, [int], list[np.float32]])
def test_model_and_view_name_the_annotation_to_write(app, annotation):
    def predict(x): ...

    predict.__annotations__ = {"x": annotation}
    for register in (app.model("/m"), app.post("/v")):
        with pytest.raises(SignatureError) as caught:
            register(predict)
        assert "the parameter 'x' has the type " in str(caught.value)
        assert f"which cannot be read from a request. {advice(annotation)}" in str(caught.value)
