"""Errors for a value that is not in an enumeration list the values of the enumeration."""

from __future__ import annotations

import dataclasses
import enum
import typing as t

import msgspec
import pytest

from carboy.contract.inputerrors import allowed_at, mismatch_in_json


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 3


class Circle(msgspec.Struct, tag="circle", tag_field="shape"):
    mark: t.Literal["dot", "ring"]


class Square(msgspec.Struct, tag="square", tag_field="shape"):
    mark: t.Literal["cross"]


@dataclasses.dataclass
class Point:
    colour: Colour


class Row(t.TypedDict):
    colour: Colour


class Pair(t.NamedTuple):
    number: int
    colour: Colour


class Tree(msgspec.Struct):
    colour: Colour
    children: list[Tree] = []


class Picture(msgspec.Struct, rename="camel"):
    main_colour: Colour = Colour.RED
    size: Size | None = None
    either: int | Colour = 0
    quoted: t.Annotated[Colour, msgspec.Meta(title="of it")] | None = None
    by_name: dict[str, list[Colour]] = {}
    by_colour: dict[Colour, int] = {}
    by_number: dict[int, int] = {}
    shapes: list[Circle | Square] = []
    one_shape: Circle | None = None
    pair: tuple[int, Colour] = (0, Colour.RED)
    colours: frozenset[Colour] = frozenset()
    point: Point | None = None
    row: Row | None = None
    tree: Tree | None = None


COLOURS = "one of 'red', 'blue'"
UNNAMED = "one of the values allowed here"


@pytest.mark.parametrize(
    ("sent", "path", "expected"),
    [
        ({"mainColour": "green"}, "$.mainColour", COLOURS),
        ({"size": 2}, "$.size", "one of 1, 3"),
        ({"either": "green"}, "$.either", UNNAMED),
        ({"quoted": "green"}, "$.quoted", COLOURS),
        ({"byName": {"x": ["red", "green"]}}, "$.byName[...][1]", COLOURS),
        ({"byColour": {"green": 1}}, "$.byColour", f"keys that are {COLOURS}"),
        ({"byNumber": {"green": 1}}, "$.byNumber", "keys that are `int`"),
        (
            {"shapes": [{"shape": "circle", "mark": "x"}]},
            "$.shapes[0].mark",
            "one of 'dot', 'ring'",
        ),
        ({"shapes": [{"shape": "square", "mark": "x"}]}, "$.shapes[0].mark", "'cross'"),
        ({"shapes": [{"shape": "line"}]}, "$.shapes[0].shape", "one of 'circle', 'square'"),
        ({"oneShape": {"shape": "line"}}, "$.oneShape.shape", "'circle'"),
        ({"pair": [1, "green"]}, "$.pair[1]", COLOURS),
        ({"colours": ["green"]}, "$.colours[0]", COLOURS),
        ({"point": {"colour": "green"}}, "$.point.colour", COLOURS),
        ({"row": {"colour": "green"}}, "$.row.colour", COLOURS),
        (
            {"tree": {"colour": "red", "children": [{"colour": "green"}]}},
            "$.tree.children[0].colour",
            COLOURS,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("$") else "",
)
def test_error_lists_the_members_of_an_enumeration(sent, path, expected):
    data = msgspec.json.encode(sent)
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(data, type=Picture)
    [fault] = mismatch_in_json(caught.value, data, kind=Picture).faults
    assert (fault.path, fault.expected) == (path, expected)


def test_path_into_a_named_tuple_is_by_index():
    assert allowed_at(Pair, "[1]", [1, "green"]) == ["'red'", "'blue'"]


def test_long_enumeration_is_cut():
    many = enum.Enum("many", {f"m{i}": i for i in range(30)})
    shown = allowed_at(many, "", 99)
    assert len(shown) == 21
    assert shown[-1] == "... (30 in all)"


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (None, ""),
        (object(), ".x"),
        (int, ""),
        (Picture, ".other"),
        (Picture, ".pair[7]"),
        (Picture, ".mainColour.more"),
        (Picture, ".a.b[..]"),
        (dict[str, Colour], "[0]"),
    ],
)
def test_path_without_an_enumeration_lists_nothing(kind, path):
    assert allowed_at(kind, path, msgspec.UNSET) == []


def test_view_lists_the_allowed_values(app, client):
    def paint(tree: Tree) -> None: ...

    app.post("/")(paint)
    deep = {"colour": "red", "children": [{"colour": "green"}]}
    for sent in (
        {"json": deep},
        {"data": msgspec.msgpack.encode(deep), "content_type": "application/msgpack"},
    ):
        answer = client.post("/", **sent)
        assert answer.status_code == 422
        [fault] = answer.get_json(force=True)["errors"]
        assert (fault["path"], fault["expected"]) == ("$.children[0].colour", COLOURS)
    [fault] = client.post("/", data={"colour": "green"}).get_json(force=True)["errors"]
    assert fault["expected"] == COLOURS


@pytest.mark.parametrize(
    ("sent", "path"),
    [({"colour": "green"}, "$.colour"), ({"tree": {"colour": "green"}}, "$.tree.colour")],
    ids=["the value itself", "by its name"],
)
def test_model_lists_the_allowed_values(app, client, sent, path):
    @app.model("/grow")
    def grow(tree: Tree) -> int:
        return len(tree.children)

    answer = client.post("/grow", json=sent)
    assert answer.status_code == 422
    [fault] = answer.get_json(force=True)["errors"]
    assert (fault["path"], fault["expected"]) == (path, COLOURS)
