"""The types of a batched `predict`, and models that compute by them."""

from __future__ import annotations

import threading
import typing as t

import msgspec
import numpy as np
import pandas as pd
import pytest

from carboy import Image
from carboy.contract.values.registry import kind_of
from carboy.errors import SignatureError
from carboy.models import DataFrame, Tensor, TensorOptions
from carboy.models.batched import columns_of, item_operation, joined_parameter
from carboy.models.collection import Model
from carboy.models.options import Options

Stack = Tensor["float32", "n", "w"]


def operation(function: t.Any) -> t.Any:
    return item_operation(function, owner="Model 'm'")


def test_batch_side_is_not_part_of_one_prediction():
    def predict(x: Stack, names: list[str]) -> Tensor["float32", "n", 2]: ...

    found = operation(predict)
    assert [p.annotation for p in found.body.parameters] == [Tensor["float32", "w"], str]
    assert found.answer.annotation is Tensor["float32", 2]


def test_options_of_stacked_tensor_are_kept():
    def predict(x: t.Annotated[np.ndarray, Stack, TensorOptions(finite=False)]) -> list[int]: ...

    (parameter,) = operation(predict).body.parameters
    kind = kind_of(parameter.annotation)
    assert kind.options.finite is False
    assert str(kind.spec) == "float32 of shape (w)"


def test_list_of_tensors_stays_a_list():
    def predict(x: list[Tensor["float32", "w"]]) -> list[int]: ...

    compute = columns_of(predict, owner="Model 'm'").bind(dict)
    assert compute([{"x": np.ones(2)}, {"x": np.ones(3)}])["x"][1].shape == (3,)
    assert operation(predict).body.single.annotation is Tensor["float32", "w"]


def fixed(x: Tensor["float32", 4, 3]) -> list[int]: ...
def lone(x: Tensor["float32"]) -> list[int]: ...
def any_sides(x: Tensor["float32", ..., 3]) -> list[int]: ...
def plain(x: int) -> list[int]: ...


@pytest.mark.parametrize("function", [fixed, lone, any_sides, plain], ids=lambda f: f.__name__)
def test_parameter_that_is_no_batch_is_refused_with_advice(function):
    with pytest.raises(SignatureError, match=r"parameter 'x' .* a Tensor whose first side is free"):
        operation(function)


class Point(msgspec.Struct):
    x: int


@pytest.mark.parametrize(
    "annotation",
    [
        *(float, str, bytes, bool, dict, dict[str, int], set[int], Point, None, Image),
        *(Tensor["float32", 2], int | None, Point | str, t.Annotated[float, "score"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("parameter", [list[int], DataFrame], ids=["list", "table"])
def test_return_type_of_one_result_is_refused_with_advice(parameter, annotation):
    def predict(x): ...

    predict.__annotations__ = {"x": parameter, "return": annotation}
    with pytest.raises(SignatureError, match=r"one result per entry, but .*Write `-> list\["):
        operation(predict)


def yields(x: list[int]):
    yield from x


def yields_with_type(x: list[int]) -> t.Iterator[int]:
    yield from x


def returns_an_iterator(x: list[int]) -> t.Iterator[int]:
    return iter(x)


@pytest.mark.parametrize("predict", [yields, yields_with_type, returns_an_iterator])
def test_batch_that_is_yielded_is_refused_with_advice(predict):
    with pytest.raises(
        SignatureError, match=r"cannot yield\. Return a list, or leave `batch` at 1"
    ):
        operation(predict)


@pytest.mark.parametrize(
    ("annotation", "entry"),
    [
        (list[float], float),
        (t.Sequence[Point], Point),
        (tuple[float, ...], float),
        (t.Annotated[list[float], "scores"], float),
        (Stack, Tensor["float32", "w"]),
        *((kind, t.Any) for kind in (list, np.ndarray, pd.Series, pd.DataFrame, object, t.Any)),
        (list[int] | np.ndarray, t.Any),
    ],
    ids=str,
)
def test_return_type_of_a_batch_names_that_of_one_result(annotation, entry):
    def predict(x): ...

    predict.__annotations__ = {"x": list[int], "return": annotation}
    assert operation(predict).answer.annotation == entry


def test_table_is_joined_for_all_predictions():
    def predict(x: DataFrame) -> list[int]: ...

    found = operation(predict)
    assert (found.body.single.annotation, found.answer.annotation) == (DataFrame, list[int])


def test_model_gets_its_batch_as_one_array(app, client):
    shapes: list[tuple[int, ...]] = []

    @app.model("/mean", batch=8)
    def mean(x: Stack) -> Tensor["float32", "n"]:
        shapes.append(x.shape)
        return x.mean(axis=1)

    assert client.post("/mean", json=[1, 2, 3]).json == 2
    assert client.post("/mean", json=[[1, 2, 3]]).status_code == 422
    assert shapes == [(1, 3)]
    assert app.models["mean"].metadata()["input"]["x-tensor"]["shape"] == ["w"]


def test_arrays_of_other_shapes_do_not_fail_with_a_bad_one():
    begun, go = threading.Event(), threading.Event()
    shapes: list[tuple[int, ...]] = []

    def total(x: Stack) -> list[float]:
        begun.set()
        go.wait(10)
        shapes.append(x.shape)
        if x.shape[1] == 3:
            raise ValueError("no three")
        return x.sum(axis=1).tolist()

    model = Model("total", "/total", total, Options(batch=8))
    first = model.submit(np.ones(1))
    assert begun.wait(10)
    futures = [model.submit(np.full(width, i, "float32")) for i, width in enumerate([2, 3, 2, 4])]
    go.set()
    found = [future.exception(10) or future.result() for future in futures]
    assert (first.result(10), found[0], found[2], found[3]) == (1, 0, 4, 12)
    assert str(found[1]) == "no three"
    assert (2, 2) in shapes
    model.close()


def test_joined_parameter_is_the_one_that_is_a_table():
    named = {"top": list[int], "t": DataFrame, "return": DataFrame}
    assert joined_parameter(named, owner="Model 'm'") == "t"
    assert joined_parameter({"t": list[DataFrame], "return": DataFrame}, owner="m") is None
    with pytest.raises(SignatureError, match="a and b cannot both be"):
        joined_parameter({"a": DataFrame, "b": pd.DataFrame}, owner="Model 'm'")
