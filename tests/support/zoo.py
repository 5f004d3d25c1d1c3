"""An app with one operation for each type of a zoo, each of which answers what it was sent.

`tests/openapi/test_zoo.py` asks every operation by the samples of its document. The program itself
is served by `carboy --app zoo.py run` for tests in a browser.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import typing as t
import uuid

import annotated_types
import attrs
import pydantic
from msgspec import Meta, Struct

from carboy import Body, Carboy, Cookie, Form, Header, Image, Query, Tensor, Upload
from carboy.models import DataFrame

T = t.TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    HIGH = 3
    LOW = 1


class Size(enum.StrEnum):
    SMALL = "small"
    LARGE = "large"


class Point(Struct):
    x: int
    y: float = 0.5


class Pair(Struct, array_like=True):
    left: int
    right: str = "r"


class Renamed(Struct, rename="camel", forbid_unknown_fields=True):
    first_name: str
    zip_code: t.Annotated[str, Meta(pattern=r"^[0-9]{5}$")]


class Cat(Struct, tag="cat"):
    lives: t.Annotated[int, Meta(ge=1, le=9)]


class Dog(Struct, tag="dog"):
    name: str


class Page(Struct, t.Generic[T]):
    items: list[T]
    following: T | None = None


class Node(Struct):
    name: str
    below: list[Node] = []
    next: Node | None = None


class Everything(Struct):
    """Has one field of each sort."""

    colour: Colour
    level: Level
    point: Point
    day: dt.date
    at: dt.datetime
    clock: dt.time
    span: dt.timedelta
    key: uuid.UUID
    price: decimal.Decimal
    data: bytes
    tags: set[str]
    sizes: tuple[int, float]
    either: int | str
    maybe: int | None
    known: dict[str, Point]
    kind: t.Literal["b", "a"] = "b"


@dataclasses.dataclass
class Box:
    width: int
    label: str | None = None
    corners: list[Point] = dataclasses.field(default_factory=list)


class Row(t.TypedDict):
    name: str
    size: t.NotRequired[float]


class Spot(t.NamedTuple):
    x: int
    y: int = 0


@attrs.define
class Pot:
    volume: float


class Person(pydantic.BaseModel):
    name: t.Annotated[str, pydantic.Field(min_length=2, max_length=9)]
    age: int = pydantic.Field(default=1, ge=0, alias="years")
    born: dt.datetime | None = None


class Team(pydantic.BaseModel):
    people: list[Person]
    colour: Colour


@pydantic.dataclasses.dataclass
class Sheet:
    rows: t.Annotated[int, pydantic.Field(gt=0)]
    colour: Colour = Colour.RED


SCALARS: dict[str, t.Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "decimal": decimal.Decimal,
    "date": dt.date,
    "datetime": dt.datetime,
    "datetime-zone": t.Annotated[dt.datetime, Meta(tz=True)],
    "datetime-naive": t.Annotated[dt.datetime, Meta(tz=False)],
    "time": dt.time,
    "time-naive": t.Annotated[dt.time, Meta(tz=False)],
    "timedelta": dt.timedelta,
    "uuid": uuid.UUID,
    "enum": Colour,
    "int-enum": Level,
    "str-enum": Size,
    "literal": t.Literal["z", "a"],
    "literal-int": t.Literal[3, 1],
    "bounded-int": t.Annotated[int, Meta(ge=3, lt=5)],
    "multiple": t.Annotated[int, Meta(ge=4, multiple_of=3)],
    "bounded-float": t.Annotated[float, Meta(gt=0, le=0.25)],
    "short": t.Annotated[str, Meta(max_length=2)],
    "long": t.Annotated[str, Meta(min_length=7)],
    "pattern": t.Annotated[str, Meta(pattern=r"^[A-Z]{2}-\d+$")],
    "example": t.Annotated[str, Meta(examples=["Iris"], pattern=r"^Iris|Rose$")],
    "pydantic-int": t.Annotated[int, pydantic.Field(ge=7)],
    "annotated-types": t.Annotated[int, annotated_types.Le(-2)],
    "optional": int | None,
    "int-or-enum": int | Colour,
}
LISTS: dict[str, t.Any] = {
    "list": list[int],
    "list-str": list[str],
    "list-enum": list[Colour],
    "list-date": list[dt.date],
    "two-or-more": t.Annotated[list[int], Meta(min_length=2)],
    "set": set[int],
    "two-different": t.Annotated[set[str], Meta(min_length=2)],
    "frozenset": frozenset[Colour],
    "tuple": tuple[int, str],
    "tuple-any": tuple[float, ...],
}
RECORDS: dict[str, t.Any] = {
    "struct": Point,
    "renamed": Renamed,
    "everything": Everything,
    "generic": Page[int],
    "generic-record": Page[Point],
    "dataclass": Box,
    "typed-dict": Row,
    "attrs": Pot,
    "pydantic": Person,
    "pydantic-nested": Team,
    "pydantic-dataclass": Sheet,
}
OTHERS: dict[str, t.Any] = {
    "bytes": bytes,
    "bounded-bytes": t.Annotated[bytes, Meta(min_length=6, max_length=8)],
    "dict": dict[str, int],
    "dict-enum": dict[Colour, int],
    "dict-int": dict[int, str],
    "filled-dict": t.Annotated[dict[str, int], Meta(min_length=2)],
    "list-record": list[Point],
    "list-pydantic": list[Person],
    "list-any": list[t.Any],
    "list-optional": list[int | None],
    "tagged-union": Cat | Dog,
    "optional-record": Point | None,
    "number-or-text": int | str,
    "array-like": Pair,
    "named-tuple": Spot,
    "recursive": Node,
    "nested-tuple": tuple[Point, tuple[int, ...]],
    "image": Image,
    "tensor": Tensor["float32", 2, "n"],
    "small-ints": Tensor["uint8", 3],
    "table": DataFrame,
    "image-or-list": Image | list[float],
    "upload": Upload,
}


class Answer(Struct, t.Generic[T]):
    """Holds a value that would have Flask's meaning as the answer itself: a text, a tuple."""

    value: T


def make_app() -> Carboy:
    app = Carboy("zoo", static_folder=None)
    app.config["OPENAPI_ALL_MEDIA_TYPES"] = True
    for name, kind in (SCALARS | LISTS | RECORDS | OTHERS).items():
        _add(app, f"/body/{name}", "POST", {"value": t.Annotated[kind, Body()]}, _answer(kind))
    for name, kind in (SCALARS | LISTS).items():
        _add(app, f"/query/{name}", "GET", {"value": t.Annotated[kind, Query()]}, _answer(kind))
        header = t.Annotated[kind, Header(f"X-{name}")]
        _add(app, f"/header/{name}", "GET", {"value": header}, _answer(kind))
    for name, kind in SCALARS.items():
        cookie = t.Annotated[kind, Cookie(name)]
        _add(app, f"/cookie/{name}", "GET", {"value": cookie}, _answer(kind))
    for name, kind in RECORDS.items():
        _add(app, f"/form/{name}", "POST", {"value": t.Annotated[kind, Form()]}, kind)
    for name in ("struct", "renamed", "typed-dict", "attrs", "pydantic", "pydantic-dataclass"):
        kind = RECORDS[name]
        _add(app, f"/record/{name}", "GET", {"value": t.Annotated[kind, Query()]}, kind)
    _add_others(app)
    return app


def _answer(kind: t.Any) -> t.Any:
    """Return the type of an answer; text and tuples have Flask's meaning at the top."""
    is_tuple = tuple in getattr(t.get_origin(kind) or kind, "__mro__", ())
    return Answer[kind] if is_tuple or kind in SCALARS.values() else kind


def _add(app: Carboy, path: str, method: str, types: dict[str, t.Any], returns: t.Any) -> None:
    def view(value: t.Any) -> t.Any:
        if t.get_origin(returns) is Answer:
            return Answer(value)
        return value

    view.__annotations__ = {**types, "return": returns}
    endpoint = path.strip("/").replace("/", "-")
    app.add_url_rule(path, endpoint, view, methods=[method])


def _add_others(app: Carboy) -> None:
    @app.get("/number/<int(min=3):number>/<any(a, b):letter>/<uuid:key>/<string(length=2):code>")
    def variables(number: int, letter: str, key: uuid.UUID, code: str) -> Row:
        return {"name": f"{number} {letter} {key} {code}"}

    @app.post("/several")
    def several(
        point: t.Annotated[Point, Body()],
        tags: t.Annotated[list[str], Body()],
        ids: list[int],
        scan: t.Annotated[Image, Body()],
        since: dt.datetime | None = None,
    ) -> Box:
        return Box(point.x, ",".join([*tags, *map(str, ids)]))

    @app.post("/files")
    def files(note: t.Annotated[str, Form()], scans: list[Upload], size: tuple[int, int]) -> Box:
        return Box(len(scans), note)

    @app.get("/stream")
    def stream(count: int = 2) -> t.Iterator[Point]:
        return (Point(number) for number in range(count))

    @app.post("/made")
    def made(point: Point) -> tuple[Point, t.Literal[201]]:
        return point, 201

    @app.delete("/gone/<int:number>")
    def gone(number: int) -> tuple[None, t.Literal[204]]:
        return None, 204

    @app.model("/models/double")
    def double(number: float) -> float:
        return number * 2

    @app.model("/models/picture")
    def picture(image: Image) -> Image:
        return image

    @app.model("/models/table")
    def table(rows: DataFrame) -> DataFrame:
        return rows

    @app.model("/models/tensor")
    def tensor(values: Tensor["float32", 2, "n"], scale: float = 2.0) -> list[float]:
        return (values.sum(axis=1) * scale).tolist()

    @app.model("/models/point")
    def point(point: Point, colour: Colour, at: dt.datetime) -> Everything | None:
        return None

    @app.model("/models/words")
    def words(text: str) -> t.Iterator[str]:
        yield from text.split()


app = make_app()
