from __future__ import annotations

import enum
import sys
import typing as t

import msgspec
import numpy as np
import pytest
from typing_extensions import TypeAliasType

from carboy.contract.hints import (
    is_recursive,
    shown,
    strip,
    union_of,
    without_aliases,
    without_none,
)
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
def test_type_is_shown_as_source_code(annotation, text):
    assert shown(annotation) == text


One, Two = t.TypeVar("One"), t.TypeVar("Two")
Few = TypeAliasType("Few", list[One], type_params=(One,))
Turned = TypeAliasType("Turned", dict[Two, One], type_params=(One, Two))
Fewer = TypeAliasType("Fewer", Few[One], type_params=(One,))
Fixed = TypeAliasType("Fixed", list[int], type_params=(One,))


class Item(msgspec.Struct):
    n: int


@pytest.mark.parametrize("members", [[int, str], [int, None], [Item, list[int]], [int]], ids=str)
def test_union_is_built_at_run_time(members):
    union = union_of(members)
    wanted = members[0]
    for member in members[1:]:
        wanted |= member
    assert union == wanted


def test_union_may_contain_a_string():
    assert t.get_args(union_of(iter(["Later", int]))) == (t.ForwardRef("Later"), int)


@pytest.mark.parametrize(
    ("annotation", "bare"),
    [
        pytest.param(Few[int], list[int], id="one argument"),
        pytest.param(Turned[int, str], dict[str, int], id="arguments in another order"),
        pytest.param(Fewer[int], list[int], id="alias of an alias"),
        pytest.param(Fixed[str], list[int], id="argument that is not used"),
        pytest.param(t.Annotated[Few[int], "note"], list[int], id="annotated"),
    ],
)
def test_generic_alias_is_replaced_by_its_value(annotation, bare):
    assert strip(annotation) == bare


def test_ndarray_alias_of_numpy_is_an_array():
    assert t.get_origin(strip(np.typing.NDArray[np.float32])) is np.ndarray


def test_generic_alias_of_scalars_comes_from_the_query(app, client):
    @app.get("/")
    def view(n: Few[int]) -> Few[int]:
        return n

    assert client.get("/?n=1&n=2").json == [1, 2]
    assert client.get("/?n=x").status_code == 422


Bounded = TypeAliasType("Bounded", t.Annotated[int | None, msgspec.Meta(description="n")])


@pytest.mark.parametrize(
    ("annotation", "replaced"),
    [
        (int, int),
        (dict[str, Few[int]], dict[str, list[int]]),
        (Few[int] | None, list[int] | None),
        (t.Annotated[Few[int], "note"], t.Annotated[list[int], "note"]),
        (t.Literal["a"], t.Literal["a"]),
        (t.Callable[[int], str], t.Callable[[int], str]),
    ],
    ids=str,
)
def test_aliases_are_replaced_inside_a_type(annotation, replaced):
    assert without_aliases(annotation) == replaced


def test_metadata_of_an_alias_is_kept_without_none():
    assert t.get_args(without_none(Bounded)) == (int, msgspec.Meta(description="n"))


RECURSIVE = """
type Json = dict[str, Json] | list[Json] | str | int | float | bool | None
type Tree[T] = list[Tree[T]] | T
"""


def test_alias_that_refers_to_itself_is_read(app):
    assert not is_recursive(Few[Few[int]])
    if sys.version_info < (3, 12):
        return  # the statement is new in Python 3.12
    names: dict[str, t.Any] = {}
    exec(RECURSIVE, names)
    for name, kind in (("json", names["Json"]), ("tree", names["Tree"][int])):

        def echo(x):
            return {"x": x}

        echo.__annotations__ = {"x": kind}
        app.post(f"/view/{name}", endpoint=f"view-{name}")(echo)
        app.model(f"/model/{name}", name=f"model-{name}")(echo)
    client = app.test_client()
    for kind in ("view", "model"):
        assert client.post(f"/{kind}/json", json=[{"a": [1, None]}]).json == {
            "x": [{"a": [1, None]}]
        }
        assert client.post(f"/{kind}/tree", json=[[1], 2]).json == {"x": [[1], 2]}
        assert client.post(f"/{kind}/tree", json=[["x"]]).status_code == 422
    assert {"/view/json", "/model/tree"} <= app.openapi()["paths"].keys()
