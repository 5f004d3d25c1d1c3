"""How far two answers of a model are from each other."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.models.agreement import difference, distance

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)
ANSWERS = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | NUMBERS | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=6,
)


@given(ANSWERS)
def test_answer_agrees_with_itself(answer):
    assert distance(answer, answer) == 0
    assert difference(answer, answer, 0) == ""


@given(ANSWERS, ANSWERS, st.floats(0, 2))
def test_answers_agree_up_to_their_distance(expected, got, tolerance):
    assert (difference(expected, got, tolerance) == "") == (distance(expected, got) <= tolerance)


@pytest.mark.parametrize(
    ("expected", "got", "far"),
    [
        (3, 3.0, 0),
        (0.5, 0.75, 0.25),
        (200, 202, 0.01),
        (-200, -202, 0.01),
        ([1, 2], [1, 2.5], 0.25),
        ({"a": 1, "b": 0}, {"b": 1, "a": 1}, 1),
        (1, True, math.inf),
        (True, True, 0),
        ("cat", "dog", math.inf),
        (None, 0, math.inf),
        ([1], [1, 2], math.inf),
        ({"a": 1}, {"b": 1}, math.inf),
        ([1], {"0": 1}, math.inf),
    ],
)
def test_distance_is_the_largest_difference_of_numbers(expected, got, far):
    assert distance(expected, got) == pytest.approx(far)


@pytest.mark.parametrize(
    ("expected", "got", "phrase"),
    [
        (3, 4, "expected 3, got 4"),
        ({"label": "cat"}, {"label": "dog"}, "expected 'cat' at label, got 'dog'"),
        (
            [{"p": [0.5, 0.5]}, {"p": [0.9, 0.1]}],
            [{"p": [0.5, 0.4]}, {"p": [0.1, 0.9]}],
            "expected 0.9 at [1].p[0], got 0.1",
        ),
        ([1], [1, 2], "expected a list of 1 [1], got a list of 2 [1, 2]"),
        ("x" * 200, "", f"expected '{'x' * 79}..., got ''"),
    ],
)
def test_difference_names_the_place_that_differs_most(expected, got, phrase):
    assert difference(expected, got, 0.01) == phrase
