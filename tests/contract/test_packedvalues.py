"""Values are the same in another process, and nothing validates or converts them a second time."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import pathlib
import typing as t
import zoneinfo

import msgspec
import numpy as np
import pydantic
import pytest

from carboy.contract.exactvalues import ClassFinder, UnpackableError, classes_in
from carboy.contract.packedvalues import ColumnReader, ColumnType, PackedColumn, Packer

EAST = dt.timezone(dt.timedelta(hours=2))
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
NOON = dt.datetime(2024, 1, 1, 0, 30, tzinfo=EAST)
BIG = 2**70

_decode = msgspec.msgpack.Decoder(tuple[list[int], PackedColumn]).decode


def sent(annotation: t.Any, values: list[t.Any]) -> list[t.Any]:
    """Return values of a type as another process gets them."""
    kind, packer = ColumnType(annotation), Packer()
    lengths, column = _decode(packer.message(packer.column(values, kind)))
    buffers = [memoryview(bytearray(b"".join(parts))) for parts in packer.buffers]
    assert lengths == list(map(len, buffers))
    return list(ColumnReader(ColumnType(annotation)).read(column, buffers))


class Point(msgspec.Struct):
    x: int
    tags: list[str] = []


class Point3(Point):
    z: int = 5


class Frozen(msgspec.Struct, frozen=True, cache_hash=True, kw_only=True):
    percent: float

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "percent", self.percent / 100)


class Rate(msgspec.Struct, tag="rate"):
    percent: float

    def __post_init__(self) -> None:
        self.percent /= 100


@dataclasses.dataclass
class Converted:
    percent: float

    def __post_init__(self) -> None:
        self.percent /= 100
        self.seen = ["once"]


@dataclasses.dataclass(slots=True, frozen=True)
class Slotted:
    a: int
    b: int = dataclasses.field(init=False, default=1)
    c: dataclasses.InitVar[int] = 0

    def __post_init__(self, c: int) -> None:
        object.__setattr__(self, "b", c)


@pydantic.dataclasses.dataclass
class Checked:
    percent: float

    @pydantic.field_validator("percent")
    @classmethod
    def _share(cls, value: float) -> float:
        return value / 100


class Loan(pydantic.BaseModel):
    percent: float
    token: pydantic.SecretStr
    weight: float = pydantic.Field(default=1.0, exclude=True)
    day: dt.date = dt.date(2024, 2, 1)
    site: pydantic.HttpUrl | None = None
    _seen: int = pydantic.PrivateAttr(0)

    @pydantic.field_validator("percent")
    @classmethod
    def _share(cls, value: float) -> float:
        return value / 100

    @pydantic.field_serializer("day")
    def _show(self, value: dt.date) -> str:
        return value.strftime("%d.%m.%Y")

    @pydantic.model_serializer(mode="wrap")
    def _write(self, write: t.Any) -> dict[str, t.Any]:
        return {"value": write(self)}

    def model_post_init(self, _context: t.Any) -> None:
        self._seen += 5


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    a: int = 1


class Color(enum.Enum):
    RED = "red"


class Access(enum.IntFlag):
    READ = 1
    WRITE = 2


class Pair(t.NamedTuple):
    a: int
    b: str


class Keys(t.TypedDict):
    when: dt.datetime


class Big(int):
    pass


def loan() -> Loan:
    made = Loan(percent=50, token="hush", weight=3.5, site="https://example.org/a")  # type: ignore[arg-type]
    made._seen += 1
    return made


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Point, Point(1, ["a"])), (Point, Point3(1)), (list[Point], [Point(1), Point3(2)]),
        (Point | None, None), (Frozen, Frozen(percent=50)), (Rate | Point, Rate(50)),
        (Converted, Converted(50)), (Slotted, Slotted(1, c=3)), (Checked, Checked(50)),
        (list[Converted | None], [Converted(50), None]),
        (Loan, loan()), (dict[str, Loan], {"a": loan()}), (Open, Open(a=2, b=[1])), (Open, Open()),
        (Pair, Pair(1, "b")), (Color, Color.RED), (Access, Access.READ | Access.WRITE),
        (dict[Color, int], {Color.RED: BIG}),
        (Keys, {"when": NOON, "more": 1}), (dict[tuple[int, int], int], {(1, 2): 3}),
        (dt.datetime, NOON), (list[dt.datetime], [NOON]), (dict[str, dt.datetime], {"a": NOON}),
        (dt.datetime, dt.datetime(2024, 7, 1, tzinfo=BERLIN)), (dt.time, dt.time(1, tzinfo=BERLIN)),
        (dt.datetime, dt.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1)),
        (dt.datetime, dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1), "CET"))),
        (dt.datetime, dt.datetime(2024, 1, 1, tzinfo=dt.UTC)),
        (dt.datetime, NOON.replace(tzinfo=None)),
        (t.Any, NOON), (t.Any, {"n": [NOON, (1, {2}), {(1, 2): b"x"}], "m": Point3(1)}),
        (t.Any, [decimal.Decimal("1.10"), BIG, float("inf"), 1j, msgspec.UNSET, 10**400]),
        (list[float], [float("inf"), BIG]), (Point, Point(BIG)), (Big, Big(3)),
        (collections.OrderedDict[str, int], collections.OrderedDict(b=1, a=2)),
        (collections.deque[int], collections.deque([1, 2], 3)), (pathlib.Path, pathlib.Path("/a")),
    ],
    ids=lambda value: getattr(value, "__name__", "") or type(value).__name__,
)  # fmt: skip
def test_values_arrive_as_they_were(annotation, value):
    (found,) = sent(annotation, [value])
    assert type(found) is type(value)
    assert found == value
    assert repr(found) == repr(value)


def test_an_attribute_beside_the_fields_arrives():
    (found,) = sent(Converted, [Converted(50)])
    assert found.seen == ["once"]


def test_a_model_of_pydantic_keeps_what_its_json_leaves_out():
    (found,) = sent(Loan, [loan()])
    assert (found.percent, found.weight, found._seen) == (0.5, 3.5, 6)
    assert found.token.get_secret_value() == "hush"
    assert found.model_fields_set == {"percent", "token", "weight", "site"}
    assert found.model_dump() == loan().model_dump()


def test_times_of_pydantic_keep_their_offset():
    given = pydantic.TypeAdapter(dt.datetime).validate_json('"2024-01-01T23:30:00+02:00"')
    (found,) = sent(dt.datetime, [given])
    assert (found.hour, found.utcoffset(), found.tzname()) == (23, dt.timedelta(hours=2), "+02:00")


def test_a_class_that_is_local_to_a_function_arrives():
    class Local(pydantic.BaseModel):
        items: list[int]

    (found,) = sent(Local, [Local(items=[1])])
    assert type(found) is Local
    assert found.items == [1]


def test_a_struct_without_post_init_is_hashed_anew():
    (found,) = sent(Frozen, [Frozen(percent=50)])
    assert hash(found) == hash(Frozen(percent=50))


def test_arrays_and_long_integers_may_be_side_by_side():
    (found,) = sent(t.Any, [{"a": np.arange(3), "n": [BIG, float("nan")]}])
    assert (found["a"].tolist(), found["n"][0]) == ([0, 1, 2], BIG)
    assert np.isnan(found["n"][1])


def test_raw_json_arrives_as_such():
    (found,) = sent(t.Any, [[msgspec.Raw(b'{"a":1}')]])
    assert msgspec.json.encode(found) == b'[{"a":1}]'


def test_an_object_that_is_no_record_is_refused():
    with pytest.raises(UnpackableError, match=r"cannot be sent to another process: .*object"):
        sent(t.Any, [{"a": object()}])


@pytest.mark.parametrize("name", ["subprocess.Popen", "builtins.dict", "os.nothing"])
def test_a_message_cannot_name_a_class_that_is_no_record(name):
    module, _, cls = name.partition(".")
    with pytest.raises(UnpackableError, match=name):
        ClassFinder(classes_in(Loan)).find(module, cls)
