from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.errors import AnswerError
from carboy.models.queue.isolation import isolate, max_calls, rows


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


def test_a_good_batch_is_one_call():
    model = Poison()
    assert isolate(model, [1, 2, 3]) == [2, 4, 6]
    assert model.calls == [[1, 2, 3]]


@pytest.mark.parametrize("bad", range(16))
def test_of_sixteen_the_one_that_is_bad_fails_alone(bad):
    model = Poison(bad)
    found = isolate(model, list(range(16)))
    assert [i for i, value in enumerate(found) if isinstance(value, ValueError)] == [bad]
    assert str(found[bad]) == f"[{bad}]"
    assert [value for i, value in enumerate(found) if i != bad] == [
        2 * i for i in range(16) if i != bad
    ]
    assert len(model.calls) <= 1 + 2 * 4


@given(st.integers(2, 64).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_good_items_never_get_a_bad_answer_and_the_calls_are_bounded(case):
    size, bad = case
    model = Poison(*bad)
    found = isolate(model, list(range(size)))
    assert len(model.calls) <= max_calls(size)
    assert all(isinstance(found[i], ValueError) for i in bad)
    assert all(isinstance(v, ValueError) or v == 2 * i for i, v in enumerate(found))
    if len(bad) <= 2:
        assert sum(isinstance(value, ValueError) for value in found) == len(bad)


def test_a_model_that_always_fails_is_not_called_for_each_item():
    model = Poison(*range(32))
    found = isolate(model, list(range(32)))
    assert len(model.calls) <= max_calls(32) == 21
    assert all(isinstance(value, ValueError) for value in found)


def test_an_exception_among_the_results_is_that_items():
    failure = ValueError("no ink")
    assert isolate(lambda items: [1, failure, 3], [1, 2, 3]) == [1, failure, 3]


def test_a_model_that_leaves_out_what_it_cannot_do_fails_for_that_only():
    found = isolate(Poison(2, filters=True), [0, 1, 2, 3])
    assert [found[0], found[1], found[3]] == [0, 2, 6]
    assert isinstance(found[2], AnswerError)
    assert "got 1 item(s) and returned 0 result(s)" in str(found[2])


@pytest.mark.parametrize("answer", [None, {"a": 1}, "abc", b"abc", {1, 2, 3}, 7, iter([1, 2, 3])])
def test_an_answer_that_is_no_sequence_is_asked_for_once(answer):
    calls = []
    found = isolate(lambda items: calls.append(items) or answer, [1, 2, 3])
    assert len(calls) == 1
    assert all(isinstance(value, AnswerError) and not value.of_items for value in found)
    assert f"returned builtins.{type(answer).__name__}" in str(found[0])


def test_the_log_has_each_failure_once():
    """One that was raised while another was handled is logged with that."""
    found = isolate(Poison(5), list(range(8)))
    assert isinstance(found[5], Exception)
    assert found[5].__context__ is None


def test_an_interrupt_is_for_all():
    calls = []

    def interrupted(items):
        calls.append(items)
        raise KeyboardInterrupt

    found = isolate(interrupted, [1, 2])
    assert len(calls) == 1
    assert all(isinstance(value, KeyboardInterrupt) for value in found)


def test_who_has_gone_is_not_computed_again():
    model = Poison(0)
    isolate(model, list(range(8)), wanted=lambda item: item < 4)
    assert all(item < 4 for call in model.calls[1:] for item in call)


def test_rows_of_arrays_and_tables():
    numpy = pytest.importorskip("numpy")
    assert [row.tolist() for row in rows(numpy.eye(2), 2)] == [[1.0, 0.0], [0.0, 1.0]]
    assert rows((1, 2), 2) == [1, 2]
    with pytest.raises(AnswerError, match="without a batch side"):
        rows(numpy.array(1.0), 1)
    with pytest.raises(AnswerError, match=r"got 3 item\(s\) and returned 2"):
        rows(numpy.eye(2), 3)

    class Table:
        columns = ("a",)

        def to_dict(self, orient):
            return [{"a": 1}, {"a": 2}]

    assert rows(Table(), 2) == [{"a": 1}, {"a": 2}]
