from __future__ import annotations

import threading
import typing as t

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.contract.values.registry import kind_of
from carboy.errors import AnswerError, SignatureError
from carboy.models import DataFrame, Tensor, TensorOptions
from carboy.models.options import Options
from carboy.models.queue.calls import Columns, item_operation
from carboy.models.registry import Model

Stack = Tensor["float32", "n", "w"]


def test_lists_have_one_entry_per_item_in_order():
    columns = Columns(("a", "b"))
    assert columns.run(dict, [(1, "x"), (2, "y")]) == {"a": [1, 2], "b": ["x", "y"]}
    assert Columns(("a",)).run(dict, [(1,), (2,)]) == {"a": [1, 2]}


def test_arrays_of_one_shape_are_stacked_into_one():
    columns = Columns(("x", "name"), stacked=["x"])
    found = columns.run(dict, [(np.ones(3), "a"), (np.zeros(3), "b")])
    assert found["x"].tolist() == [[1, 1, 1], [0, 0, 0]]
    assert found["x"].flags.c_contiguous
    assert found["name"] == ["a", "b"]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12))
def test_each_item_is_computed_with_those_of_its_shape_and_answered_in_its_place(widths):
    seen: list[tuple[int, ...]] = []

    def run(arguments: dict[str, t.Any]) -> t.Any:
        seen.append(arguments["x"].shape)
        return arguments["x"][:, 0]

    items = [(np.full(width, i),) for i, width in enumerate(widths)]
    answers = Columns(("x",), stacked=["x"]).run(run, items)
    assert [int(answer) for answer in answers] == list(range(len(widths)))
    assert sorted(seen) == sorted((widths.count(width), width) for width in set(widths))


def test_shapes_of_all_stacked_arguments_count():
    calls: list[int] = []

    def run(arguments: dict[str, t.Any]) -> t.Any:
        calls.append(len(arguments["x"]))
        return list(arguments["x"])

    items = [(np.ones(1), np.ones(1)), (np.ones(1), np.ones(2)), (np.ones(1), np.ones(1))]
    Columns(("x", "y"), stacked=["x", "y"]).run(run, items)
    assert sorted(calls) == [1, 2]


def test_too_few_answers_for_one_shape_are_refused():
    with pytest.raises(AnswerError, match=r"got 2 item\(s\) and returned 1"):
        items = [(np.ones(2),), (np.ones(3),), (np.ones(2),)]
        Columns(("x",), stacked=["x"]).run(lambda arguments: arguments["x"][:1], items)


def operation(function: t.Any) -> t.Any:
    return item_operation(function, owner="Model 'm'")


def test_the_batch_side_belongs_to_no_item():
    def predict(x: Stack, names: list[str]) -> Tensor["float32", "n", 2]: ...

    found = operation(predict)
    assert [p.annotation for p in found.body.parameters] == [Tensor["float32", "w"], str]
    assert found.answer.annotation is Tensor["float32", 2]


def test_options_of_a_stacked_tensor_are_kept():
    def predict(x: t.Annotated[np.ndarray, Stack, TensorOptions(finite=False)]) -> list[int]: ...

    (parameter,) = operation(predict).body.parameters
    kind = kind_of(parameter.annotation)
    assert kind.options.finite is False
    assert str(kind.spec) == "float32 of shape (w)"


def test_a_list_of_tensors_stays_a_list():
    def predict(x: list[Tensor["float32", "w"]]) -> list[int]: ...

    columns = Columns.of(predict, owner="Model 'm'")
    assert columns.run(dict, [(np.ones(2),), (np.ones(3),)])["x"][1].shape == (3,)
    assert operation(predict).body.single.annotation is Tensor["float32", "w"]


def fixed(x: Tensor["float32", 4, 3]) -> list[int]: ...
def lone(x: Tensor["float32"]) -> list[int]: ...
def any_sides(x: Tensor["float32", ..., 3]) -> list[int]: ...
def plain(x: int) -> list[int]: ...


@pytest.mark.parametrize("function", [fixed, lone, any_sides, plain], ids=lambda f: f.__name__)
def test_what_cannot_be_a_batch_says_what_to_write(function):
    with pytest.raises(SignatureError, match=r"parameter 'x' .* a Tensor whose first side is free"):
        operation(function)


def test_a_table_is_one_for_all_requests():
    def predict(x: DataFrame) -> list[int]: ...

    found = operation(predict)
    assert (found.body.single.annotation, found.answer.annotation) == (DataFrame, list[int])


def test_a_model_gets_its_batch_as_one_array(app, client):
    shapes: list[tuple[int, ...]] = []

    @app.model("/mean", batch=8)
    def mean(x: Stack) -> Tensor["float32", "n"]:
        shapes.append(x.shape)
        return x.mean(axis=1)

    assert client.post("/mean", json=[1, 2, 3]).json == 2
    assert client.post("/mean", json=[[1, 2, 3]]).status_code == 422
    assert shapes == [(1, 3)]
    assert app.models["mean"].metadata()["input"]["x-tensor"]["shape"] == ["w"]


def test_items_of_other_shapes_hurt_nobody():
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
