"""The example of a model: checked when it is registered, predicted before the model is ready."""

from __future__ import annotations

import traceback
import typing as t

import msgspec
import numpy as np
import pandas as pd
import pytest

from carboy.errors import ModelLoadError, SignatureError
from carboy.models import DataFrame, Image, Tensor
from carboy.models.collection import Model
from carboy.models.options import Options


class Flower(msgspec.Struct):
    width: float
    height: float = 1.0


FLOWERS = pd.DataFrame({"width": [1.0, 2.0], "height": [1.0, 1.0]})
Rows = Tensor["float32", "n", 3]


def model_of(predict: t.Any, **options: t.Any) -> Model:
    return Model("m", "/m", predict, Options(**options))


@pytest.mark.parametrize(
    "example", [Flower(2), {"width": 2}, {"flower": {"width": 2}}], ids=["value", "json", "named"]
)
def test_example_may_be_given_as_python_value_or_as_json(example):
    seen = []

    def predict(flower: Flower) -> float:
        seen.append(flower)
        return flower.width

    model_of(predict, example=example).load()
    assert seen == [Flower(2, 1)]


def test_example_of_several_parameters_is_a_dict():
    seen = []

    def predict(text: str, top: int = 3) -> int:
        seen.append((text, top))
        return top

    model_of(predict, example={"text": "a"}).load()
    assert seen == [("a", 3)]


def test_example_may_be_a_picture(picture):
    seen = []

    def predict(image: Image) -> int:
        seen.append(image.size)
        return 1

    from PIL import Image as Pictures

    model_of(predict, example=Pictures.new("RGB", (5, 4))).load()
    assert seen == [(5, 4)]


@pytest.mark.parametrize(
    ("example", "says"),
    [
        ("two", "Model 'm': the example does not fit `predict`. Expected `float`, got `str`"),
        (object(), "Model 'm': the example cannot be encoded"),
    ],
)
def test_example_that_does_not_fit_is_refused_at_registration(app, example, says):
    with pytest.raises(SignatureError, match=says) as refused:

        @app.model("/m", example=example)
        def m(x: float) -> float:
            return x

    assert "".join(traceback.format_exception(refused.value)).count("Traceback") == 1


def test_batched_model_computes_one_example_and_then_a_full_batch():
    sizes = []

    def predict(xs: list[int]) -> list[int]:
        sizes.append(len(xs))
        return xs

    model_of(predict, example=3, batch=8).load()
    assert sizes == [1, 8]


@pytest.mark.parametrize(
    "example", [FLOWERS, [{"width": 1}, {"width": 2}]], ids=["table", "records"]
)
def test_model_of_joined_tables_computes_one_example_and_then_a_batch_of_rows(example):
    sizes = []

    def predict(flowers: DataFrame[Flower]) -> pd.DataFrame:
        sizes.append(len(flowers))
        return flowers[["width"]] * 2

    model_of(predict, example=example, batch=4).load()
    assert sizes == [2, 8]


def test_full_batch_of_a_stacked_tensor_is_one_array():
    shapes = []

    def predict(x: Rows) -> Rows:
        shapes.append(x.shape)
        return x

    model_of(predict, example=np.ones(3, "float32"), batch=4).load()
    assert shapes == [(1, 3), (4, 3)]


def test_only_the_first_item_of_a_stream_is_computed():
    closed = []

    def predict(n: int) -> t.Iterator[int]:
        try:
            while True:
                yield n
        finally:
            closed.append(n)

    model_of(predict, example=7).load()
    assert closed == [7]


def raises(x: int) -> int:
    raise ZeroDivisionError("nothing")


def too_few(xs: list[int]) -> list[int]:
    return xs[1:]


def failed_item(xs: list[int]) -> list[int]:
    return [ValueError("bad") for _ in xs]


def no_json(x: int) -> int:
    return object()


@pytest.mark.parametrize(
    ("predict", "batch", "says"),
    [
        (raises, 1, r"it failed on its example: ZeroDivisionError: nothing \(.*test_example.py, l"),
        (too_few, 4, r"AnswerError: predict got 1 item\(s\) and returned 0"),
        (failed_item, 4, "ValueError: bad"),
        (no_json, 1, "which has no JSON"),
    ],
)
def test_model_that_fails_on_its_example_is_not_loaded(predict, batch, says):
    model = model_of(predict, example=3, batch=batch)
    with pytest.raises(ModelLoadError, match=f"Model 'm' could not be loaded: .*{says}"):
        model.load()
    assert not model.loaded


def test_model_with_a_failing_example_is_closed_and_built_again_later():
    class Flaky:
        built: t.ClassVar[list[str]] = []

        def __init__(self) -> None:
            self.built.append("built")

        def predict(self, x: int) -> int:
            if len(self.built) < 3:
                raise RuntimeError
            return x

        def close(self) -> None:
            self.built.append("closed")

    model = model_of(Flaky, example=1)
    with pytest.raises(ModelLoadError):
        model.load()
    assert Flaky.built == ["built", "closed"]
    assert model.predict(5) == 5
    assert model.loaded


def test_model_without_an_example_is_not_called_before_the_first_request():
    seen = []

    def predict(x: int) -> int:
        seen.append(x)
        return x

    model_of(predict).load()
    assert not seen
