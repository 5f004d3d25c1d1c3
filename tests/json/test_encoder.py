"""The fast encoder writes exactly the text of `json.dumps`."""

from __future__ import annotations

import json
import math
import threading
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy import Carboy
from carboy.json.encoder import COMPACT, SPACED, make_encode

odd_text = st.text(st.characters(exclude_categories=[]), max_size=20)  # with lone surrogates
edge_floats = st.sampled_from([
    0.0, -0.0, 1e-4, -1e-4, 9.999999999999999e-05, 1e16, 9999999999999998.0, -1e16, 5e-324,
    float("nan"), float("inf"), float("-inf"), 1.7976931348623157e308,
])  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.floats(-1e17, 1e17)
    | st.floats(-1e-3, 1e-3)
    | edge_floats
    | odd_text
    | st.text('aé\x7f\x00\n"\\/€😀\u2028', max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(odd_text, inner, max_size=5)
        | st.dictionaries(st.integers() | st.booleans(), inner, max_size=3)
    ),
    max_leaves=20,
)


@pytest.mark.parametrize("separators", [COMPACT, SPACED], ids=["compact", "spaced"])
@pytest.mark.parametrize("sort_keys", [True, False], ids=["sorted", "unsorted"])
@pytest.mark.parametrize("ensure_ascii", [True, False], ids=["ascii", "unicode"])
@given(value=values)
def test_text_equals_the_standard_librarys(
    ensure_ascii: bool, sort_keys: bool, separators: tuple[str, str], value: t.Any
) -> None:
    options = {"ensure_ascii": ensure_ascii, "sort_keys": sort_keys, "separators": separators}
    encode = make_encode(None, **options)
    assert encode(value) == json.dumps(value, **options)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=20, max_size=200))
def test_floats_are_written_as_by_the_standard_library(numbers: list[float]) -> None:
    encode = make_encode(None, ensure_ascii=True, sort_keys=True, separators=COMPACT)
    assert encode({"p": numbers}) == json.dumps({"p": numbers}, separators=COMPACT)


class Word(str):
    __slots__ = ()


class Half(float):
    def __repr__(self) -> str:
        return "half"


@pytest.mark.parametrize(
    "value",
    [
        Word("x"),
        {Word("b"): 1, "a": 2},
        Half(0.5),
        [{"deep": (1, [Half(2.5)])}],
        {1: "a", 2: "b"},
        {None: 1},
        [],
        {},
        (),
        "",
        10**400,
    ],
    ids=repr,
)
def test_subclasses_and_unusual_keys_are_written_as_by_the_standard_library(value: t.Any) -> None:
    encode = make_encode(None, ensure_ascii=True, sort_keys=True, separators=COMPACT)
    assert encode(value) == json.dumps(value, sort_keys=True, separators=COMPACT)


@pytest.mark.parametrize(
    "value",
    [{"a": {1, 2}}, {(1,): 2}, {"a": 1, 2: 3}, b"bytes", 10**5000],
    ids=["set", "tuple key", "mixed keys", "bytes", "endless int"],
)
def test_errors_are_the_standard_librarys(value: t.Any) -> None:
    encode = make_encode(None, ensure_ascii=True, sort_keys=True, separators=COMPACT)
    with pytest.raises((TypeError, ValueError)) as expected:
        json.dumps(value, sort_keys=True)
    with pytest.raises(expected.type) as got:
        encode(value)
    assert str(got.value) == str(expected.value)


def test_default_is_called_for_unknown_objects() -> None:
    encode = make_encode(lambda o: sorted(o), ensure_ascii=True, sort_keys=True, separators=COMPACT)
    assert encode({"a": {2, 1}, "b": 0.00001}) == '{"a":[1,2],"b":1e-05}'


def test_circular_reference_raises_recursion_error() -> None:
    circle: list[t.Any] = []
    circle.append(circle)
    encode = make_encode(None, ensure_ascii=True, sort_keys=True, separators=COMPACT)
    with pytest.raises(RecursionError):
        encode(circle)


def test_threads_can_write_the_same_object_at_once() -> None:
    """Each thread waits in the middle of the shared list until the other is there too."""
    both_inside = threading.Barrier(2, timeout=10)

    def default(o: object) -> str:
        both_inside.wait()
        return "met"

    encode = make_encode(default, ensure_ascii=True, sort_keys=True, separators=COMPACT)
    shared = [object()]
    texts: list[str] = []
    threads = [threading.Thread(target=lambda: texts.append(encode(shared))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert texts == ['["met"]'] * 2


@given(
    st.lists(
        st.text('aé€😀\u2028\ud7ff\x7f\x80\\"/', min_size=1, max_size=3), min_size=1, max_size=3
    ),
    st.integers(0, 60),
    st.booleans(),
)
def test_few_non_ascii_characters_in_a_long_text(
    rare: list[str], at: int, ensure_ascii: bool
) -> None:
    """A few characters are escaped in msgspec's text; the text is not encoded again."""
    rows = [{"id": number, "name": f"name {number}"} for number in range(60)]
    rows.insert(at, {"id": -1, "name": "x".join(rare)})
    value = {"rows": rows, "".join(rare): "y" * 500}
    encode = make_encode(None, ensure_ascii=ensure_ascii, sort_keys=True, separators=COMPACT)
    assert encode(value) == json.dumps(
        value, ensure_ascii=ensure_ascii, sort_keys=True, separators=COMPACT
    )


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "value",
    [
        {"rows": iter("ab"), "score": float("nan")},
        [float("inf"), [iter([float("-inf"), 1.5])], {"NaN": "Infinity", float("nan"): "\\"}],
        ['"NaN', '\\"Infinity', "\\", -math.inf, "-Infinity\u2028"],
    ],
    ids=["rows", "nested", "strings"],
)
def test_value_with_nan_is_converted_once(value: t.Any, indent: int | None) -> None:
    calls: list[list[t.Any]] = []

    def default(value: t.Any) -> list[t.Any]:
        calls.append(list(value))
        return calls[-1]

    separators = COMPACT if indent is None else None
    options: t.Any = {"ensure_ascii": True, "sort_keys": False, "separators": separators}
    encode = make_encode(default, **options, indent=indent, not_finite="null")
    text = encode(value)
    assert len(calls) < 2
    expected = json.loads(text, parse_constant=pytest.fail)
    literal = make_encode(lambda _: calls[0], **options, indent=indent)(value)
    assert json.loads(literal, parse_constant=lambda _: None) == expected


def test_numbers_that_are_not_finite_are_refused_with_their_path() -> None:
    encode = make_encode(
        list, ensure_ascii=True, sort_keys=True, separators=COMPACT, not_finite="error"
    )
    assert encode(["NaN", iter(["Infinity"])]) == '["NaN",["Infinity"]]'
    with pytest.raises(ValueError, match=r"The value at \$\.a\[1\] is -inf, which JSON cannot"):
        encode({"a": iter([1, -math.inf])})


def test_number_that_is_not_finite_is_refused_also_under_a_repeated_key():
    app = Carboy("keys")
    app.config["JSON_NAN"] = "error"
    app.json.sort_keys = False
    with app.app_context(), pytest.raises(ValueError, match=r"The value at \$\.1 is nan"):
        app.json.response({1: float("nan"), "1": 2})
