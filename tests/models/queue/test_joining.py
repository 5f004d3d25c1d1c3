from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naming import stable_repr

from carboy.errors import SignatureError
from carboy.models import AnswerError, DataFrame
from carboy.models.queue.joining import alike, columns_of, concat, cut, joined_parameter, run_joined

SIZES = st.lists(st.integers(0, 5), min_size=1, max_size=6)


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
def test_each_row_is_answered_once_to_who_sent_it(form, sizes):
    tables = numbered(sizes)
    calls = []

    def run(arguments):
        calls.append(len(arguments["t"]))
        return form((arguments["t"]["x"] * 10).tolist())

    answers = run_joined(run, ("t",), [(each,) for each in tables], table="t")
    assert calls == [sum(sizes)]
    assert [numbers(part) for part in answers] == [(each["x"] * 10).tolist() for each in tables]
    assert all(type(part) is type(form([])) for part in answers)


@settings(deadline=None)
@given(SIZES)
def test_cutting_is_the_inverse_of_putting_together(sizes):
    tables = numbered(sizes)
    whole = concat(tables)
    assert whole.index.tolist() == list(range(sum(sizes)))
    for part, each in zip(cut(whole, sizes), tables, strict=True):
        pd.testing.assert_frame_equal(part, each)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["int", "float", "other", "more"]), min_size=1, max_size=8))
def test_only_tables_of_the_same_columns_and_dtypes_are_put_together(kinds):
    made = {
        "int": table([1]),
        "float": pd.DataFrame({"x": [1.0]}),
        "other": pd.DataFrame({"y": [1]}),
        "more": table([1], y=[1]),
    }
    groups = alike(columns_of(made[kind]) for kind in kinds)
    assert sorted(i for group in groups for i in group) == list(range(len(kinds)))
    assert [{kinds[i] for i in group} for group in groups] == [{k} for k in dict.fromkeys(kinds)]


def test_other_parameters_are_lists_of_the_same_requests():
    def run(arguments):
        seen.append((arguments["top"], arguments["t"].columns.tolist()))
        return list(range(len(arguments["t"])))

    seen: list[object] = []
    items = [(1, table([1, 2])), (2, pd.DataFrame({"y": [3]})), (3, table([4]))]
    assert run_joined(run, ("top", "t"), items, table="t") == [[0, 1], [0], [2]]
    assert seen == [([1, 3], ["x"]), ([2], ["y"])]


def test_an_exception_among_the_rows_is_that_of_the_request():
    fault = ValueError("row 2")
    assert cut([1, 2, fault, 4], [2, 1, 1]) == [[1, 2], fault, [4]]


@pytest.mark.parametrize("answer", [[1], [1, 2, 3, 4], np.zeros((4, 3))], ids=repr)
def test_too_few_or_too_many_rows_are_found_out(answer):
    with pytest.raises(AnswerError, match=r"a table of 3 row\(s\) and returned") as caught:
        cut(answer, [1, 2])
    assert caught.value.of_items


@pytest.mark.parametrize("answer", [None, 7, "abc", {"a": 1}, b"abc", iter([1])], ids=stable_repr)
def test_what_has_no_rows_is_no_answer(answer):
    with pytest.raises(AnswerError, match="one answer for each row") as caught:
        cut(answer, [1, 2])
    assert not caught.value.of_items


def test_the_joined_parameter_is_the_one_that_is_a_table():
    named = {"top": list[int], "t": DataFrame, "return": DataFrame}
    assert joined_parameter(named, owner="Model 'm'") == "t"
    assert joined_parameter({"t": list[DataFrame], "return": DataFrame}, owner="m") is None
    with pytest.raises(SignatureError, match="a and b cannot both be"):
        joined_parameter({"a": DataFrame, "b": pd.DataFrame}, owner="Model 'm'")
