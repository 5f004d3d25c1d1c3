from __future__ import annotations

import typing as t

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naming import stable_repr

from carboy.errors import AnswerError
from carboy.models.queue.calls import (
    ColumnBatch,
    Columns,
    columns_and_types,
    concat,
    cut,
    group_alike,
    isolate,
    max_calls,
    one_by_one,
    rows,
)

SIZES = st.lists(st.integers(0, 5), min_size=1, max_size=6)


def test_lists_have_one_entry_per_prediction_in_order():
    compute = Columns(("a", "b")).bind(dict)
    assert compute([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]) == {"a": [1, 2], "b": ["x", "y"]}
    assert Columns(("a",)).bind(dict)([{"a": 1}, {"a": 2}]) == {"a": [1, 2]}


def test_single_predictions_are_computed_by_one_call_each():
    assert one_by_one(lambda x, y: x - y)([{"y": 1, "x": 3}]) == [2]


def test_arrays_of_one_shape_are_stacked_into_one():
    compute = Columns(("x", "name"), stacked=["x"]).bind(dict)
    found = compute([{"x": np.ones(3), "name": "a"}, {"x": np.zeros(3), "name": "b"}])
    assert found["x"].tolist() == [[1, 1, 1], [0, 0, 0]]
    assert found["x"].flags.c_contiguous
    assert found["name"] == ["a", "b"]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12))
def test_each_array_is_computed_with_those_of_its_shape_and_keeps_its_place(widths):
    seen: list[tuple[int, ...]] = []

    def predict(x: t.Any) -> t.Any:
        seen.append(x.shape)
        return x[:, 0]

    batch = [{"x": np.full(width, i)} for i, width in enumerate(widths)]
    results = Columns(("x",), stacked=["x"]).bind(predict)(batch)
    assert [int(result) for result in results] == list(range(len(widths)))
    assert sorted(seen) == sorted((widths.count(width), width) for width in set(widths))


def test_shapes_of_all_stacked_arguments_count():
    calls: list[int] = []

    def predict(x: t.Any, y: t.Any) -> t.Any:
        calls.append(len(x))
        return list(x)

    widths = [(1, 1), (1, 2), (1, 1)]
    batch = [{"x": np.ones(x), "y": np.ones(y)} for x, y in widths]
    Columns(("x", "y"), stacked=["x", "y"]).bind(predict)(batch)
    assert sorted(calls) == [1, 2]


def test_too_few_results_for_one_shape_are_refused():
    compute = Columns(("x",), stacked=["x"]).bind(lambda x: x[:1])
    with pytest.raises(AnswerError, match=r"got 2 item\(s\) and returned 1"):
        compute([{"x": np.ones(2)}, {"x": np.ones(3)}, {"x": np.ones(2)}])


# --- tables --------------------------------------------------------------------------------------


def table(values, **columns):
    return pd.DataFrame({"x": np.array(values, dtype="int64"), **columns})


def numbered(sizes):
    """Tables of these sizes whose rows count through."""
    rows = iter(range(sum(sizes)))
    return [table([next(rows) for _ in range(size)]) for size in sizes]


FORMS = {
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "matrix": lambda values: np.array([[v, v] for v in values]).reshape(-1, 2),
    "series": lambda values: pd.Series(values, dtype="int64", index=[7] * len(values)),
    "frame": lambda values: pd.DataFrame({"y": list(values)}, dtype="int64"),
}


def numbers(part):
    """The numbers of a part, in whatever form it is."""
    if isinstance(part, pd.DataFrame):
        return part["y"].tolist()
    found = part.tolist() if hasattr(part, "tolist") else list(part)
    return [each[0] if isinstance(each, list) else each for each in found]


@settings(deadline=None)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@given(SIZES)
def test_each_prediction_gets_the_results_of_its_rows(form, sizes):
    tables = numbered(sizes)
    calls = []

    def predict(t):
        calls.append(len(t))
        return form((t["x"] * 10).tolist())

    answers = Columns(("t",), table="t").bind(predict)([{"t": each} for each in tables])
    assert calls == [sum(sizes)]
    assert [numbers(part) for part in answers] == [(each["x"] * 10).tolist() for each in tables]
    assert all(type(part) is type(form([])) for part in answers)


@settings(deadline=None)
@given(SIZES)
def test_cut_is_the_inverse_of_concat(sizes):
    tables = numbered(sizes)
    whole = concat(tables)
    assert whole.index.tolist() == list(range(sum(sizes)))
    for part, each in zip(cut(whole, sizes), tables, strict=True):
        pd.testing.assert_frame_equal(part, each)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["int", "float", "other", "more"]), min_size=1, max_size=8))
def test_only_tables_of_the_same_columns_and_dtypes_are_joined(kinds):
    made = {
        "int": table([1]),
        "float": pd.DataFrame({"x": [1.0]}),
        "other": pd.DataFrame({"y": [1]}),
        "more": table([1], y=[1]),
    }
    groups = group_alike(columns_and_types(made[kind]) for kind in kinds)
    assert sorted(i for group in groups for i in group) == list(range(len(kinds)))
    assert [{kinds[i] for i in group} for group in groups] == [{k} for k in dict.fromkeys(kinds)]


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        (["a", "b"], ["a", "b"], True),
        (["a", "b"], ["x"], False),
        (["a", "b"], ["b", "a"], False),  # other codes
    ],
)
def test_tables_with_other_categories_are_not_joined(first, second, together):
    tables = [
        pd.DataFrame({"x": pd.Categorical(kinds[:1], categories=kinds)})
        for kinds in (first, second)
    ]
    assert len(group_alike(map(columns_and_types, tables))) == (1 if together else 2)


def test_other_parameters_are_lists_of_the_same_requests():
    def predict(top, t):
        seen.append((top, t.columns.tolist()))
        return list(range(len(t)))

    seen: list[object] = []
    tables = [table([1, 2]), pd.DataFrame({"y": [3]}), table([4])]
    batch = [{"top": i + 1, "t": each} for i, each in enumerate(tables)]
    assert Columns(("top", "t"), table="t").bind(predict)(batch) == [[0, 1], [0], [2]]
    assert seen == [([1, 3], ["x"]), ([2], ["y"])]


@pytest.mark.parametrize(
    "make",
    [list, lambda rows: np.array(rows, dtype=object), lambda rows: pd.Series(rows, dtype=object)],
    ids=["list", "array", "Series"],
)
def test_exception_among_the_rows_of_any_sequence_fails_its_prediction_only(make):
    fault = ValueError()
    first, second, third = cut(make([1, 2, fault, 4]), [2, 1, 1])
    assert (list(first), second, list(third)) == ([1, 2], fault, [4])


def test_exception_among_the_rows_fails_its_prediction_only():
    fault = ValueError("row 2")
    assert cut([1, 2, fault, 4], [2, 1, 1]) == [[1, 2], fault, [4]]


@pytest.mark.parametrize("answer", [[1], [1, 2, 3, 4], np.zeros((4, 3))], ids=repr)
def test_wrong_number_of_rows_is_refused(answer):
    with pytest.raises(AnswerError, match=r"a table of 3 row\(s\) and returned") as caught:
        cut(answer, [1, 2])
    assert caught.value.of_items


@pytest.mark.parametrize("answer", [None, 7, "abc", {"a": 1}, b"abc", iter([1])], ids=stable_repr)
def test_result_without_rows_is_refused(answer):
    with pytest.raises(AnswerError, match="one result per row") as caught:
        cut(answer, [1, 2])
    assert not caught.value.of_items


# --- batches that fail ---------------------------------------------------------------------------


class Poison:
    """A model that fails on some items, and counts its calls."""

    def __init__(self, *bad: int, filters: bool = False) -> None:
        self.bad, self.filters, self.calls = set(bad), filters, []

    def __call__(self, items):
        self.calls.append(list(items))
        if self.filters:
            return [item * 2 for item in items if item not in self.bad]
        if self.bad & set(items):
            raise ValueError(sorted(self.bad & set(items)))
        return [item * 2 for item in items]


def test_good_batch_is_one_call():
    model = Poison()
    assert isolate(model, [1, 2, 3]) == [2, 4, 6]
    assert model.calls == [[1, 2, 3]]


@pytest.mark.parametrize("bad", range(16))
def test_one_bad_item_of_sixteen_fails_alone(bad):
    model = Poison(bad)
    found = isolate(model, list(range(16)))
    assert [i for i, value in enumerate(found) if isinstance(value, ValueError)] == [bad]
    assert str(found[bad]) == f"[{bad}]"
    assert [value for i, value in enumerate(found) if i != bad] == [
        2 * i for i in range(16) if i != bad
    ]
    assert len(model.calls) <= 1 + 2 * 4


@given(st.integers(2, 64).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_good_items_get_their_results_and_calls_are_bounded(case):
    size, bad = case
    model = Poison(*bad)
    found = isolate(model, list(range(size)))
    assert len(model.calls) <= max_calls(size)
    assert all(isinstance(found[i], ValueError) for i in bad)
    assert all(isinstance(v, ValueError) or v == 2 * i for i, v in enumerate(found))
    if len(bad) <= 2:
        assert sum(isinstance(value, ValueError) for value in found) == len(bad)


def test_broken_model_is_not_called_for_each_item():
    model = Poison(*range(32))
    found = isolate(model, list(range(32)))
    assert len(model.calls) <= max_calls(32) == 21
    assert all(isinstance(value, ValueError) for value in found)


def test_exception_among_the_results_fails_its_item_only():
    failure = ValueError("no ink")
    assert isolate(lambda items: [1, failure, 3], [1, 2, 3]) == [1, failure, 3]


def test_model_that_leaves_out_an_item_fails_for_that_item_only():
    found = isolate(Poison(2, filters=True), [0, 1, 2, 3])
    assert [found[0], found[1], found[3]] == [0, 2, 6]
    assert isinstance(found[2], AnswerError)
    assert "got 1 item(s) and returned 0 result(s)" in str(found[2])


@pytest.mark.parametrize("answer", [None, {"a": 1}, "abc", b"abc", {1, 2, 3}, 7, iter([1, 2, 3])])
def test_result_that_is_no_sequence_is_not_computed_again(answer):
    calls = []
    found = isolate(lambda items: calls.append(items) or answer, [1, 2, 3])
    assert len(calls) == 1
    assert all(isinstance(value, AnswerError) and not value.of_items for value in found)
    assert f"returned builtins.{type(answer).__name__}" in str(found[0])


def test_failures_are_not_chained():
    """The log would show the other failure as well."""
    found = isolate(Poison(5), list(range(8)))
    assert isinstance(found[5], Exception)
    assert found[5].__context__ is None


def test_interrupt_fails_the_whole_batch():
    calls = []

    def interrupted(items):
        calls.append(items)
        raise KeyboardInterrupt

    found = isolate(interrupted, [1, 2])
    assert len(calls) == 1
    assert all(isinstance(value, KeyboardInterrupt) for value in found)


def test_unwanted_item_is_not_computed_again():
    model = Poison(0)
    isolate(model, list(range(8)), is_wanted=lambda i: i < 4)
    assert all(item < 4 for call in model.calls[1:] for item in call)


def test_further_calls_get_the_entries_as_they_were():
    batch = [[i] for i in range(4)]

    def changes(items):
        for item in items:
            item[0] += 10
        if [13] in items:
            raise ValueError("13")
        return [item[0] for item in items]

    found = isolate(changes, batch, renew=lambda i: [i])
    assert [value for value in found if not isinstance(value, ValueError)] == [10, 11, 12]


def test_entry_that_cannot_be_renewed_fails_like_the_batch():
    def renew(i):
        if i == 2:
            raise TypeError("no copy")
        return i

    found = isolate(Poison(0), list(range(4)), renew=renew)
    assert [found[1], found[3]] == [2, 6]
    assert isinstance(found[2], ValueError)
    assert "cannot be copied (TypeError: no copy)" in found[2].__notes__[0]


def test_rows_of_arrays_and_tables():
    numpy = pytest.importorskip("numpy")
    assert [row.tolist() for row in rows(numpy.eye(2), 2)] == [[1.0, 0.0], [0.0, 1.0]]
    assert rows((1, 2), 2) == [1, 2]
    with pytest.raises(AnswerError, match="without a batch dimension"):
        rows(numpy.array(1.0), 1)
    with pytest.raises(AnswerError, match=r"got 3 item\(s\) and returned 2"):
        rows(numpy.eye(2), 3)

    class Table:
        columns = ("a",)

        def to_dict(self, orient):
            return [{"a": 1}, {"a": 2}]

    assert rows(Table(), 2) == [{"a": 1}, {"a": 2}]


def test_a_batch_of_columns_has_as_many_entries_as_predictions():
    assert list(ColumnBatch({}, 2)) == [{}, {}], "predict without parameters"
    batch = ColumnBatch({"x": [1, 2, 3], "y": "abc"}, 3)
    assert list(batch) == [{"x": 1, "y": "a"}, {"x": 2, "y": "b"}, {"x": 3, "y": "c"}]
    assert batch[1:] == list(batch)[1:]
    assert batch[-1] == {"x": 3, "y": "c"}
