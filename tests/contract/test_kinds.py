from __future__ import annotations

import typing as t

import msgspec
import numpy as np
import pytest
from typing_extensions import TypeAliasType

from carboy.contract.kinds import strip, union_of

One, Two = t.TypeVar("One"), t.TypeVar("Two")
Few = TypeAliasType("Few", list[One], type_params=(One,))
Turned = TypeAliasType("Turned", dict[Two, One], type_params=(One, Two))
Fewer = TypeAliasType("Fewer", Few[One], type_params=(One,))
Fixed = TypeAliasType("Fixed", list[int], type_params=(One,))


class Item(msgspec.Struct):
    n: int


@pytest.mark.parametrize("members", [[int, str], [int, None], [Item, list[int]], [int]], ids=str)
def test_union_of_types_known_at_run_time(members):
    union = union_of(members)
    wanted = members[0]
    for member in members[1:]:
        wanted |= member
    assert union == wanted


def test_union_with_a_name_as_text():
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
def test_generic_alias_stands_for_its_value(annotation, bare):
    assert strip(annotation) == bare


def test_typed_array_of_numpy_is_an_array():
    assert t.get_origin(strip(np.typing.NDArray[np.float32])) is np.ndarray


def test_generic_alias_of_scalars_comes_from_the_query(app, client):
    @app.get("/")
    def view(n: Few[int]) -> Few[int]:
        return n

    assert client.get("/?n=1&n=2").json == [1, 2]
    assert client.get("/?n=x").status_code == 422
