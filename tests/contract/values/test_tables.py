from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import pickle
import subprocess
import sys
import typing as t
import uuid

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from frames import to_feather, to_parquet, to_stream
from hypothesis import given, settings
from hypothesis import strategies as st

from carboy import Carboy
from carboy.contract.values.registry import kind_of
from carboy.contract.values.tables import declaration, is_table
from carboy.contract.values.tables.value import TableKind
from carboy.errors import (
    InputError,
    InputTooLargeError,
    MalformedInputError,
    SignatureError,
    UnsupportedInputError,
)
from carboy.models import DataFrame, TableOptions

PARQUET = "application/vnd.apache.parquet"
STREAM = "application/vnd.apache.arrow.stream"


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Flower(msgspec.Struct):
    sepal_length: t.Annotated[float, msgspec.Meta(ge=0, le=10)]
    petals: t.Annotated[int, msgspec.Meta(ge=0)]
    color: Color
    name: str | None
    weight: float | None = None


FLOWERS = [
    {"sepal_length": 5.1, "petals": 3, "color": "red", "name": "a", "weight": 1.5},
    {"sepal_length": 0.1, "petals": 7, "color": "blue", "name": None, "weight": None},
]
FRAME = pd.DataFrame(FLOWERS)
CSV = b"sepal_length,petals,color,name,weight\n5.1,3,red,a,1.5\n0.1,7,blue,,\n"
DTYPES = ["float64", "int64", "str", "str", "float64"]


@pytest.fixture(scope="module")
def flowers():
    return kind_of(DataFrame[Flower])


@pytest.fixture(scope="module")
def anything():
    return kind_of(DataFrame)


def arrow(frame):
    return pa.Table.from_pandas(frame, preserve_index=False)


BODIES = {
    "records": json.dumps(FLOWERS).encode(),
    "split": FRAME.to_json(orient="split").encode(),
    "tight": json.dumps(FRAME.astype(object).where(FRAME.notna(), None).to_dict("tight")).encode(),
    "lists": json.dumps({name: [row[name] for row in FLOWERS] for name in FLOWERS[0]}).encode(),
    "pandas-json": FRAME.to_json().encode(),
    "csv": CSV,
    "csv-bom": b"\xef\xbb\xbf" + CSV,
    "csv-cr": CSV.replace(b"\n", b"\r"),
    "csv-blank-lines": CSV.replace(b"\n", b"\r\n\n\r\n"),
    "csv-crlf": CSV.replace(b"\n", b"\r\n"),
    "csv-quoted": FRAME.to_csv(index=False, quoting=1).encode(),
    "csv-with-index": FRAME.to_csv().encode(),
    "semicolons": CSV.replace(b",", b";"),
    "decimal-commas": CSV.replace(b",", b";").replace(b".", b","),
    "tabs": CSV.replace(b",", b"\t"),
    "utf-16": CSV.decode().replace(",", "\t").encode("utf-16"),
    "parquet": to_parquet(FRAME),
    "parquet-zstd": to_parquet(FRAME, compression="zstd"),
    "parquet-index": to_parquet(FRAME.set_axis([3, 9])),
    "parquet-named-index": to_parquet(FRAME.set_index("name")),
    "feather": to_feather(FRAME),
    "feather-plain": to_feather(FRAME, compression="uncompressed"),
    "arrow-stream": to_stream(arrow(FRAME)),
    "arrow-zstd": to_stream(arrow(FRAME), options=pa.ipc.IpcWriteOptions(compression="zstd")),
    "arrow-categories": to_stream(arrow(FRAME.astype({"color": "category"}))),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_declared_columns_are_the_same_from_every_format(flowers, body):
    frame = flowers.read(body)
    assert frame.dtypes.astype(str).tolist() == DTYPES
    pd.testing.assert_frame_equal(frame, FRAME)


@pytest.mark.parametrize(
    "body", [v for k, v in BODIES.items() if k not in ("parquet-named-index",)],
    ids=[k for k in BODIES if k != "parquet-named-index"],
)  # fmt: skip
def test_undeclared_columns_have_the_dtypes_of_pandas(anything, body):
    frame = anything.read(body)
    if b"\t" in body and b"\xff" not in body:
        frame = anything.read(body, media_type="text/tab-separated-values")
    assert frame.columns.tolist() == list(FLOWERS[0])
    assert frame["petals"].tolist() == [3, 7]
    assert frame["petals"].dtype == "int64"


def test_a_csv_is_read_by_its_media_type(anything):
    frame = anything.read(b"a\tb,c\n1\t2\n", media_type="text/tab-separated-values")
    assert frame.columns.tolist() == ["a", "b,c"]


@pytest.mark.parametrize(
    "media_type", ["text/csv; charset=windows-1252", 'Text/CSV; charset="cp1252"']
)
def test_a_csv_may_name_another_charset(anything, media_type):
    assert anything.read("a\nä€\n".encode("cp1252"), media_type=media_type)["a"][0] == "ä€"
    assert anything.read("a\nä€\n".encode(), media_type="text/csv; charset=UTF-8")["a"][0] == "ä€"
    with pytest.raises(UnsupportedInputError, match="charset 'rot13'"):
        anything.read(b"a\nb\n", media_type="text/csv; charset=rot13")


def test_text_is_read_as_json_or_csv(flowers):
    for value in (
        CSV.decode(),
        BODIES["records"].decode(),
        msgspec.Raw(BODIES["records"]),
        msgspec.Raw(msgspec.json.encode(CSV.decode())),
        FLOWERS,
    ):
        pd.testing.assert_frame_equal(flowers.from_json(value), FRAME)


# --- declarations ---------------------------------------------------------------------------------


def test_annotation_of_a_table_is_recognised():
    options = TableOptions(columns=Flower)
    for annotation in (DataFrame, pd.DataFrame, DataFrame[Flower], t.Annotated[DataFrame, options]):
        assert is_table(annotation)
    assert declaration(t.Annotated[pd.DataFrame, options]) == (Flower, options)
    for other in (pd.Series, list[DataFrame], int, None, "DataFrame"):
        assert not is_table(other)


def test_dataframe_creates_and_recognises_pandas_objects():
    made = DataFrame({"a": [1]})
    assert type(made) is pd.DataFrame
    assert isinstance(made, DataFrame)
    assert not isinstance([], DataFrame)


def test_names_load_neither_pandas_nor_pyarrow():
    code = (
        "import sys, carboy; from carboy.models import DataFrame, TableOptions;"
        "from carboy.contract.values.registry import kind_of; kind_of(DataFrame).schema();"
        "assert not {'pandas', 'pyarrow', 'numpy'} & set(sys.modules), set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@dataclasses.dataclass
class AsDataclass:
    a: int
    b: str = "x"


class AsTypedDict(t.TypedDict):
    a: int
    b: t.NotRequired[str]


@pytest.mark.parametrize("row", [AsDataclass, AsTypedDict], ids=["dataclass", "TypedDict"])
def test_columns_are_declared_by_any_record(row):
    frame = kind_of(DataFrame[row]).read(b"a\n1\n2\n")
    assert frame.columns.tolist() == ["a", "b"]
    assert frame["a"].tolist() == [1, 2]


def test_missing_column_gets_its_default():
    frame = kind_of(DataFrame[AsDataclass]).read(b'[{"a": 1}, {"a": 2, "b": "y"}]')
    assert frame["b"].tolist() == ["x", "y"]
    assert kind_of(DataFrame[AsDataclass]).read(b'{"a": [1, 2]}')["b"].tolist() == ["x", "x"]


def test_columns_with_any_name_are_declared_by_a_dict():
    columns = {"sepal length (cm)": float, "7": t.Annotated[int, msgspec.Meta(ge=0)]}
    reader = kind_of(t.Annotated[DataFrame, TableOptions(columns=columns)])
    frame = reader.read(b'[{"7": 1, "sepal length (cm)": 2}]')
    assert frame.columns.tolist() == list(columns)
    with pytest.raises(InputError, match=r"at `\$\[0\].7`"):
        reader.read(b"7,sepal length (cm)\n-1,2\n")


def test_undeclared_columns_are_dropped_by_option():
    reader = kind_of(t.Annotated[DataFrame[AsDataclass], TableOptions(others="drop")])
    assert reader.columns.names == ("a", "b")
    for body in (
        b"id,a\n9,1\n",
        b'[{"id": 9, "a": 1}]',
        to_parquet(pd.DataFrame({"id": [9], "a": [1]})),
    ):
        assert reader.read(body).columns.tolist() == ["a", "b"]


class Nested(msgspec.Struct):
    a: list[int]


class Checked(msgspec.Struct):
    a: int

    def __post_init__(self) -> None:
        raise ValueError


class Unreadable(msgspec.Struct):
    a: "Nowhere"


@pytest.mark.parametrize(
    ("row", "match"),
    [
        (Nested, "the column 'a' is list"),
        (int, "expected a Struct"),
        ({}, "no fields"),
        (Checked, "`__post_init__`"),
        (Unreadable, "its fields cannot be read"),
        ({"a": int | str}, "the column 'a'"),
        ({"a": t.Literal["x", 1]}, "the column 'a'"),
    ],
    ids=["nested", "no-record", "empty", "checked", "unreadable", "union", "mixed"],
)
def test_declaration_without_columns_is_refused_at_registration(row, match):
    with pytest.raises(SignatureError, match=match):
        kind_of(t.Annotated[DataFrame, TableOptions(columns=row)])


@pytest.mark.parametrize(
    "options",
    [{"others": "keep"}, {"max_rows": 0}, {"min_rows": -1}, {"max_rows": 1, "min_rows": 2}],
    ids=str,
)
def test_invalid_options_are_refused(options):
    with pytest.raises(ValueError, match="TableOptions"):
        TableOptions(**options)


def test_schema_has_columns_and_bounds(flowers):
    schema = flowers.schema()
    assert schema["x-table"] is True
    row = schema["items"]
    assert row["required"] == ["sepal_length", "petals", "color", "name"]
    assert row["properties"]["sepal_length"] == {"type": "number", "minimum": 0, "maximum": 10}
    assert row["properties"]["color"]["enum"] == ["red", "blue"]
    assert row["additionalProperties"] is False


def test_the_schema_of_any_table_is_a_list_of_objects(anything):
    assert anything.schema()["items"] == {"type": "object"}


# --- dtypes ---------------------------------------------------------------------------------------


class Everything(msgspec.Struct):
    f: float
    i: int
    b: bool
    s: str
    lit: t.Literal["x", "y"]
    at: dt.datetime
    utc: t.Annotated[dt.datetime, msgspec.Meta(tz=True)]
    day: dt.date
    span: dt.timedelta
    mf: float | None
    mi: int | None
    mb: bool | None
    ms: str | None
    mat: dt.datetime | None


EVERYTHING = {
    "f": 1.5, "i": 2**53 + 1, "b": True, "s": "007", "lit": "x", "at": "2024-02-29T12:30:00+02:00",
    "utc": "2024-02-29T12:30:00Z", "day": "2024-02-29", "span": "P1DT2H",
    "mf": None, "mi": 2**60 + 1, "mb": None, "ms": None,
    "mat": None,
}  # fmt: skip
EVERYTHING_DTYPES = {
    "f": "float64", "i": "int64", "b": "bool", "s": "str", "lit": "str",
    "at": "datetime64[us]", "utc": "datetime64[us, UTC]", "day": "datetime64[us]",
    "span": "timedelta64[us]", "mf": "float64", "mi": "Int64", "mb": "boolean",
    "ms": "str", "mat": "datetime64[us]",
}  # fmt: skip


@pytest.mark.parametrize("form", ["records", "split", "csv", "csv-quoted"])
def test_dtypes_are_those_of_the_declaration(form):
    rows = [EVERYTHING, {**EVERYTHING, "mi": None, "ms": "t"}]
    names = list(EVERYTHING)
    cells = [["" if row[n] is None else str(row[n]) for n in names] for row in rows]
    quote = '"' if form == "csv-quoted" else ""
    body = {
        "records": json.dumps(rows),
        "split": json.dumps({"columns": names, "data": [[r[n] for n in names] for r in rows]}),
    }.get(form) or "\n".join(
        ",".join(f"{quote}{cell}{quote}" for cell in line) for line in [names, *cells]
    )
    frame = kind_of(DataFrame[Everything]).read(body.encode())
    assert frame.dtypes.astype(str).to_dict() == EVERYTHING_DTYPES
    assert frame["i"].tolist() == [2**53 + 1] * 2
    assert frame["mi"].tolist() == [2**60 + 1, pd.NA]
    assert frame["s"].tolist() == ["007", "007"]
    assert frame["at"][0] == pd.Timestamp("2024-02-29T10:30")
    assert frame["utc"][0] == pd.Timestamp("2024-02-29T12:30Z")
    assert frame["day"][0] == pd.Timestamp("2024-02-29")


def test_dtypes_survive_parquet_and_arrow():
    reader = kind_of(DataFrame[Everything])
    frame = reader.read(json.dumps([EVERYTHING]).encode())
    for form in (PARQUET, STREAM):
        again = reader.read(reader.write(frame, form))
        pd.testing.assert_frame_equal(again, frame)


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        (int, "5.0", 5),
        (int, "+5", 5),
        (int, "007", 7),
        (int, " 5 ", 5),
        (float, "5", 5.0),
        (float, "1e3", 1000.0),
        (float, ".5", 0.5),
        (bool, "true", True),
        (bool, "False", False),
        (bool, "1", True),
        (str, "", ""),
        (str, "NA", "NA"),
        (float | None, "NA", None),
        (int | None, "", None),
        (str | None, "", None),
        (dt.datetime, "2024-02-29", pd.Timestamp("2024-02-29")),
        (dt.datetime, "2024-02-29 12:30:00", pd.Timestamp("2024-02-29T12:30")),
    ],
)
def test_cells_of_a_csv_are_read_as_people_write_them(kind, cell, value):
    reader = kind_of(t.Annotated[DataFrame, TableOptions(columns={"a": kind, "b": str})])
    for text in (f"a,b\n{cell},x\n", f'a,b\n{cell},"x"\n'):
        found = reader.read(text.encode())["a"][0]
        assert (pd.isna(found) and value is None) or found == value


@pytest.mark.parametrize("note", ["b", '"b""c"'], ids=["plain", "quoted"])
@pytest.mark.parametrize("columns", [{"text": str, "note": str}, None], ids=["declared", "any"])
def test_csv_may_have_cells_of_any_length(columns, note):
    """Module `csv` alone reads at most 131,072 characters."""
    reader = kind_of(t.Annotated[DataFrame, TableOptions(columns=columns)])
    frame = reader.read(f"text,note\n{'a' * 200_000},{note}\n".encode())
    assert [len(cell) for cell in frame["text"]] == [200_000]


@pytest.mark.parametrize(
    "cell", ["", "abc", "nan", "inf", "1_0", "0x1", "1,5", "NA", "-1", "1e999"]
)
@pytest.mark.parametrize("kind", [float, int], ids=["float", "int"])
def test_csv_cells_that_are_not_numbers_are_refused(kind, cell):
    columns = {"a": t.Annotated[kind, msgspec.Meta(ge=0)], "b": str}
    reader = kind_of(t.Annotated[DataFrame, TableOptions(columns=columns)])
    for text in (f"a\tb\n1\tx\n{cell}\tx\n", f'a\tb\n1\tx\n{cell}\t"x"\n'):
        with pytest.raises(InputError, match=r"at `\$\[1\].a`"):
            reader.read(text.encode())


@pytest.mark.parametrize(
    ("cell", "got"),
    [
        ("0", "0"),
        ("-1.5", "-1.5"),
        ("", "''"),
        ("1 2", "'1 2'"),
        ("x" * 60, repr("x" * 40 + "...")),
    ],
)
def test_cell_of_a_csv_is_reported_as_written(cell, got):
    columns = {"a": t.Annotated[int, msgspec.Meta(ge=1, le=9)], "b": str}
    reader = kind_of(t.Annotated[DataFrame, TableOptions(columns=columns)])
    with pytest.raises(InputError) as refused:
        reader.read(f"a,b\n{cell},x\n".encode())
    assert refused.value.faults[0].got == got


CELLS = st.sampled_from(
    [
        "",
        "1",
        "2",
        "-3",
        "1.5",
        "x",
        "true",
        "NA",
        "nan",
        "1e3",
        "2024-02-29",
        " 4",
        "007",
        "9" * 20,
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([float, int, bool, str, float | None, int | None, str | None, bool | None]),
    st.lists(CELLS, min_size=1, max_size=4),
)
def test_the_two_readers_of_csv_agree(kind, cells):
    reader = kind_of(t.Annotated[DataFrame, TableOptions(columns={"a": kind, "b": str})])
    text = "a,b\n" + "".join(f"{cell},z\n" for cell in cells)
    second = reader._csv
    found: list[t.Any] = []
    for read in (
        lambda: reader.read(text.encode()),
        lambda: second._read_cells(second._inspect(text, "$", ""), "$"),
        lambda: reader.read(text.replace(",z", ',"z"').encode()),
    ):
        try:
            found.append(read())
        except InputError as exc:
            found.append(exc.detail)
    for each in found[1:]:
        if isinstance(found[0], str):
            assert found[0] == each
        else:
            pd.testing.assert_frame_equal(found[0], each)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1)
ROWS = st.lists(
    st.fixed_dictionaries({
        "sepal_length": st.floats(0, 10),
        "petals": st.integers(0, 2**63 - 1),
        "color": st.sampled_from(["red", "blue"]),
        "name": st.none() | TEXTS,
        "weight": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    }),
    min_size=1,
    max_size=5,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(ROWS, st.sampled_from(["application/json", "text/csv", PARQUET, STREAM]))
def test_written_table_is_read_unchanged(rows, form):
    reader = kind_of(DataFrame[Flower])
    frame = reader.read(json.dumps(rows).encode())
    again = reader.read(reader.write(frame, form), media_type=form)
    pd.testing.assert_frame_equal(again, frame)
    assert again["petals"].tolist() == [row["petals"] for row in rows]
    assert again["sepal_length"].tolist() == [row["sepal_length"] for row in rows]


class Rare(msgspec.Struct):
    even: t.Annotated[int, msgspec.Meta(multiple_of=2, description="even")]
    price: decimal.Decimal
    key: uuid.UUID
    at: dt.time | None
    maybe: t.Annotated[float, msgspec.Meta(gt=0)] | None
    tags: str = msgspec.field(default_factory=lambda: "none")


def test_columns_of_rare_types_are_objects_and_survive_a_round_trip():
    reader = kind_of(DataFrame[Rare])
    key = uuid.UUID(int=5)
    row = {"even": 4, "price": "1.10", "key": str(key), "at": "12:30:00", "maybe": 0.5}
    frame = reader.read(json.dumps([row, {**row, "at": None, "maybe": None}]).encode())
    assert frame.iloc[0].tolist() == [4, decimal.Decimal("1.10"), key, dt.time(12, 30), 0.5, "none"]
    for form in ("application/json", "text/csv"):
        pd.testing.assert_frame_equal(reader.read(reader.write(frame, form)), frame)
    for change in ({"even": 3}, {"maybe": 0}):
        for body in (json.dumps([{**row, **change}]), pd.DataFrame([{**row, **change}]).to_csv()):
            with pytest.raises(InputError, match=r"at `\$\[0\]."):
                reader.read(body.encode())


def test_dates_times_and_whole_floats_of_arrow_become_what_is_declared():
    columns = {"m": dt.datetime, "d": dt.date, "s": dt.timedelta, "i": int | None, "n": int | None}
    reader = kind_of(t.Annotated[DataFrame, TableOptions(columns=columns)])
    day = dt.date(2024, 2, 29)
    table = pa.table({
        "m": pa.array([day], pa.date32()),
        "d": pa.array([pd.Timestamp(day)], pa.timestamp("ns")),
        "s": pa.array([dt.timedelta(1)], pa.duration("ns")),
        "i": pa.array([3.0], pa.float64()),
        "n": pa.array([None], pa.float64()),
    })  # fmt: skip
    frame = reader.read(to_stream(table))
    assert frame.iloc[0, :4].tolist() == [
        pd.Timestamp(day),
        pd.Timestamp(day),
        pd.Timedelta("1D"),
        3,
    ]
    assert frame["n"].isna().all()
    late = table.set_column(1, "d", pa.array([pd.Timestamp("2024-02-29T01")], pa.timestamp("us")))
    with pytest.raises(InputError, match=r"at `\$\[0\].d`"):
        reader.read(to_stream(late))


class MaybeWhole(msgspec.Struct):
    a: int | None


@pytest.mark.parametrize(
    "body",
    [
        b'{"columns": ["a"], "data": [[5.0], [null]]}',
        b'{"a": [5.0, null]}',
        b'[{"a": 5.0}, {"a": null}]',
    ],
    ids=["split", "columns", "records"],
)
def test_whole_floats_of_json_are_whole_numbers(body):
    """pandas writes whole numbers as floats if another value of the column is missing."""
    reader = kind_of(DataFrame[MaybeWhole])
    assert reader.read(body)["a"].tolist() == [5, pd.NA]


def test_other_floats_of_records_are_refused_at_their_place():
    with pytest.raises(InputError, match=r"`int \| null`, got `float` 5.5 - at `\$\[1\]\.a`"):
        kind_of(DataFrame[MaybeWhole]).read(b'[{"a": 5.0}, {"a": 5.5}]')
    with pytest.raises(InputError, match=r"at `\$\[0\]\.a`"):
        kind_of(DataFrame[MaybeWhole]).read(b'[{"a": [5.0]}]')
    with pytest.raises(InputError, match=r"at `\$.data\[0\]\[0\]`"):
        kind_of(DataFrame[MaybeWhole]).read(b'{"columns": ["a"], "data": [[5.5]]}')


def test_numbers_of_numpy_in_a_column_of_objects_are_written(anything):
    import numpy as np

    frame = pd.DataFrame({"a": pd.Series([np.int64(1), "x"], dtype=object)})
    assert anything.write(frame, "application/json") == b'[{"a":1},{"a":"x"}]'
    with pytest.raises(NotImplementedError, match="contains a builtins"):
        anything.write(pd.DataFrame({"a": [object()]}), "application/json")


class Span(msgspec.Struct):
    t: dt.timedelta | None


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'[{"t": "P1D"}, {"t": "P%sD"}]', "$[1].t"),
        (b'[{"t": null}, {"t": "-P%sD"}]', "$[1].t"),
        (b'{"t": ["P%sD"]}', "$.t[0]"),
        (b"t\nP%sD\n", "$[0].t"),
    ],
    ids=["records", "negative", "columns", "csv"],
)
def test_duration_that_pandas_cannot_store_is_refused(body, path):
    reader = kind_of(DataFrame[Span])
    assert abs(reader.read(body % b"106751991")["t"].iloc[-1]).days >= 106751991
    for days in (b"106751992", b"999999999"):
        with pytest.raises(InputError, match="at most 106,751,991 days") as caught:
            reader.read(body % days)
        assert caught.value.faults[0].path == path


# --- refusals -------------------------------------------------------------------------------------

REFUSED = {
    "record-without-column": (b'[{"petals": 1}]', 422, "$[0]", "sepal_length"),
    "record-unknown-column": (
        json.dumps([FLOWERS[0], {**FLOWERS[0], "x": 1}]).encode(), 422, "$[1]", "and without 'x'",
    ),
    "record-text-for-number": (
        json.dumps([FLOWERS[0], {**FLOWERS[0], "sepal_length": "big"}]).encode(),
        422, "$[1].sepal_length", "got `str` 'big'",
    ),
    "record-out-of-bounds": (
        json.dumps([{**FLOWERS[0], "sepal_length": 11}]).encode(),
        422, "$[0].sepal_length", "<= 10",
    ),
    "record-null": (
        json.dumps([{**FLOWERS[0], "petals": None}]).encode(), 422, "$[0].petals", "`int`",
    ),
    "record-enum": (
        json.dumps([{**FLOWERS[0], "color": "green"}]).encode(),
        422, "$[0].color", "one of 'red', 'blue'",
    ),
    "record-long-number": (
        json.dumps([{**FLOWERS[0], "petals": 2**63}]).encode(), 422, "$[0].petals", "64 bits",
    ),
    "no-record": (b"[1]", 422, "$[0]", "a row: an object with 'sepal_length', 'petals', 'color'"),
    "row-as-list": (b"[[1, 2]]", 422, "$[0]", "a row: an object with 'sepal_length', 'petals'"),
    "one-record": (b'{"petals": 1}', 422, "$", "in a list"),
    "number": (b"[]", 422, "$", "at least 1 row"),
    "split-missing": (b'{"columns": ["petals"], "data": [[1]]}', 422, "$", "'sepal_length'"),
    "split-ragged": (b'{"columns": ["petals"], "data": [[1, 2]]}', 422, "$.data[0]", "1 cells"),
    "split-twice": (b'{"columns": ["a", "a"], "data": [[1, 2]]}', 422, "$.columns", "'a' twice"),
    "split-wide": (
        json.dumps({"columns": ["a"] * 20_000, "data": []}).encode(), 413, "$", "4,096 columns",
    ),
    "split-nested": (b'{"columns": ["a"], "data": [[[1]]]}', 422, "$.data[0][0]", ""),
    "split-without-columns": (
        b'{"data": [[5.1, 1, "red"]]}', 422, "$",
        """with `columns` beside `data`, got object with 'data' - at `$`. Send {"columns": """
        + json.dumps([*FLOWERS[0]]) + ', "data": [[...], ...]}, or a list of records.',
    ),
    "split-inside": (
        b'{"dataframe_split": {"columns": ["a"], "data": [[1]]}}', 422, "$.dataframe_split.columns",
        "got array of length 1 - at `$.dataframe_split.columns`. Send",
    ),
    "list-of-lists": (b'{"instances": [[5.1, 1]]}', 422, "$.instances[0]", "or a list of records."),
    "lists-digits": (
        FRAME.assign(petals=[1, 2.0**53]).to_json(orient="split").encode()
        .replace(b"9007199254740992.0", b"9007199254740993.0"),
        422, "$.data[1][1]", "`int`",
    ),
    "split-cell": (
        json.dumps({"columns": list(FLOWERS[0]), "data": [[5.1, "x", "red", "a", 1]]}).encode(),
        422, "$.data[0][1]", "`int`",
    ),
    "lists-ragged": (b'{"petals": [1, 2], "color": ["red"]}', 422, "$.color", "2 values"),
    "lists-labels": (b'{"a": {"0": 1}, "b": {"1": 1}}', 422, "$.b", "row labels"),
    "json-broken": (b'[{"petals": 1', 400, None, "not valid JSON"),
    "json-nan": (b'[{"sepal_length": NaN}]', 422, "$[0].sepal_length", "finite"),
    "json-deep": (b"[" * 100_000, 422, "$[0]", "a row: an object with 'sepal_length'"),
    "csv-missing": (b"petals,color\n1,red\n", 422, "$", "with the column 'sepal_length'"),
    "csv-unknown": (CSV.replace(b"weight", b"height"), 422, "$", "unknown column 'height'"),
    "csv-twice": (CSV.replace(b"weight", b"name"), 422, "$", "'name' twice"),
    "csv-wide": (b"a," * 20_000 + b"a\n1\n", 413, "$", "4,096 columns"),
    "csv-unnamed": (CSV.replace(b"weight", b""), 422, "$", "none for column 5"),
    "csv-short": (CSV + b"1,2\n", 422, "$[2]", "line 4"),
    "csv-long": (CSV + b"1,2,red,a,1,1\n", 422, "$[2]", "5 cells"),
    "csv-balanced": (CSV + b"1,2,red,a\n1,2,red,a,1,1\n", 422, "$[2]", "got 4"),
    "csv-cell": (CSV.replace(b"0.1", b"x"), 422, "$[1].sepal_length", "`float`, got 'x' - at"),
    "csv-bounds": (CSV.replace(b"0.1", b"-1"), 422, "$[1].sepal_length", ">= 0.0, got -1 - at"),
    "csv-empty-cell": (CSV.replace(b"0.1", b""), 422, "$[1].sepal_length", "`float`"),
    "csv-no-rows": (CSV.split(b"\n")[0], 422, "$", "at least 1 row"),
    "csv-empty": (b" \n", 400, None, "empty"),
    "csv-latin-1": (CSV.replace(b"red", b"r\xe9d"), 400, None, "not UTF-8: byte e9 in line 2"),
    "csv-nul": (CSV + b"\0", 400, None, "NUL"),
    "csv-odd-utf-16": (b"\xff\xfea", 400, None, "not UTF-16"),
    "csv-open-header": (b'a,"b\n1,2\n', 422, None, ""),
    "csv-open-quote": (CSV + b'1,2,red,"a,1\n', 400, None, "cannot be read"),
    "csv-long-header": (b'"' + b"a" * 200_000 + b'"\n', 422, "$", "unknown column 'aaaa"),
    "json-nested-and-broken": (b'{"petals": [[1]], "a":[', 400, None, "not valid JSON"),
    "excel": (b"PK\x03\x04" + b"\0" * 30, 415, "$", "Excel"),
    "gzip": (b"\x1f\x8b" + b"\0" * 30, 415, "$", ""),
    "pickle": (pickle.dumps(FRAME, protocol=5), 415, "$", ""),
    "old-pickle": (pickle.dumps([1], protocol=0), 422, None, ""),
    "parquet-torn": (BODIES["parquet"][:-20], 400, None, "Parquet data is damaged"),
    "parquet-missing": (to_parquet(FRAME[["name"]]), 422, "$", "'petals'"),
    "parquet-text": (
        to_parquet(FRAME.assign(petals=["a", "b"])), 422, "$[0].petals", "got `str` 'a'",
    ),
    "parquet-halves": (to_parquet(FRAME.assign(petals=[1.0, 2.5])), 422, "$[1].petals", "`int`"),
    "parquet-bounds": (to_parquet(FRAME.assign(petals=[1, -2])), 422, "$[1].petals", ">= 0"),
    "parquet-nan": (
        to_parquet(FRAME.assign(sepal_length=[1.0, float("nan")])),
        422, "$[1].sepal_length", "missing",
    ),
    "parquet-infinity": (
        to_parquet(FRAME.assign(weight=[1.0, float("inf")])), 422, "$[1].weight", "finite",
    ),
    "parquet-lists": (
        to_parquet(FRAME.assign(weight=[[1.0], [2.0]])), 422, "$.weight", "list<",
    ),
    "parquet-binary": (to_parquet(FRAME.assign(name=[b"a", b"b"])), 422, "$.name", "binary"),
    "parquet-no-rows": (to_parquet(FRAME[:0]), 422, "$", "at least 1 row"),
    "arrow-torn": (BODIES["arrow-stream"][:400], 400, None, "Arrow data is damaged"),
    "arrow-twice": (
        to_stream(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])),
        422, "$", "'a' twice",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "status", "path", "said"), REFUSED.values(), ids=REFUSED)
def test_invalid_cell_is_refused_with_its_path(flowers, body, status, path, said):
    with pytest.raises(InputError) as caught:
        flowers.read(body)
    assert caught.value.status == status, caught.value.detail
    assert said in caught.value.detail
    if path is not None:
        assert caught.value.faults[0].path == path


def test_body_that_contradicts_its_media_type_is_400(flowers):
    with pytest.raises(MalformedInputError, match="not application/vnd"):
        flowers.read(b"a,b", media_type=PARQUET)


@pytest.mark.parametrize("body", [b"7", b"true", b"null"], ids=["number", "bool", "null"])
def test_other_json_is_refused(flowers, body):
    with pytest.raises(InputError, match="Expected a table"):
        flowers.from_json(msgspec.Raw(body))
    with pytest.raises(InputError, match="Expected a table"):
        flowers.from_json(7)


def test_cells_without_the_names_of_undeclared_columns_are_refused(anything):
    with pytest.raises(InputError, match="`columns` beside `data`") as caught:
        anything.read(b'{"data": [[1, 2]]}')
    assert 'Send {"columns": [...], "data": [[...], ...]}' in caught.value.detail


def test_column_may_be_called_data(anything):
    assert anything.read(b'{"data": [1, 2]}')["data"].tolist() == [1, 2]


def test_undeclared_cells_are_plain_and_finite(anything):
    for body in (
        b'[{"a": [1]}]',
        b'[{"a": {}}]',
        b"a\n1\ninf\n",
        to_parquet(pd.DataFrame({"a": [float("inf")]})),
    ):
        with pytest.raises(InputError, match=r"\.a`"):
            anything.read(body)


def test_ambiguous_csv_is_refused(anything):
    for body in (b"a\n1\n \n2\n", b'a,b\n1,"x\n'):
        with pytest.raises(InputError):
            anything.read(body)


def test_undeclared_rows_may_lack_cells_in_json_but_not_in_csv(anything):
    frame = anything.read(b'[{"a": 1}, {"b": "x"}]')
    assert frame.columns.tolist() == ["a", "b"]
    assert frame["a"].isna().tolist() == [False, True]
    for body in (b"a,b\n1\n", b"a,b\n1,2,3\n4\n", b'a,b\n"1"\n'):
        with pytest.raises(InputError, match="2 cells"):
            anything.read(body)


def test_times_with_and_without_an_offset_do_not_mix():
    reader = kind_of(t.Annotated[DataFrame, TableOptions(columns={"at": dt.datetime})])
    with pytest.raises(InputError, match=r"with an offset.*\$\[1\].at"):
        reader.read(b'[{"at": "2024-01-01T00:00:00Z"}, {"at": "2024-01-01T00:00:00"}]')
    with pytest.raises(InputError, match="year 1 to 9999"):
        reader.read(b'[{"at": "0001-01-01T00:00:00+10:00"}]')


def test_parquet_and_arrow_are_415_without_pyarrow(monkeypatch):
    from carboy.contract.values.tables import value as module
    from carboy.contract.values.tables import writing

    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setattr(writing, "find_spec", lambda name: None)
    reader = kind_of(DataFrame[Flower])
    assert reader.media_types == ("text/csv", "text/tab-separated-values")
    assert reader.answers() == ("application/json", "text/csv")
    assert reader.recognises(BODIES["parquet"], "")
    with pytest.raises(UnsupportedInputError, match="This server lacks pyarrow"):
        reader.read(BODIES["parquet"])


def test_unsafe_pyarrow_is_refused_at_registration(monkeypatch):
    import importlib.metadata

    monkeypatch.setattr(importlib.metadata, "version", lambda name: "14.0.0")
    with pytest.raises(SignatureError, match="CVE-2023-47248"):
        kind_of(DataFrame)


# --- limits ---------------------------------------------------------------------------------------


def limited(columns=None, **options):
    reader = kind_of(t.Annotated[DataFrame, TableOptions(columns=columns, **options)])
    assert isinstance(reader, TableKind)
    return reader


TALL = pd.DataFrame({"a": range(11), "b": range(11)})
TALL_BODIES = {
    "records": TALL.to_json(orient="records").encode(),
    "split": TALL.to_json(orient="split").encode(),
    "lists": json.dumps(TALL.to_dict("list")).encode(),
    "csv": TALL.to_csv(index=False).encode(),
    "csv-quoted": TALL.to_csv(index=False, quoting=1).encode(),
    "parquet": to_parquet(TALL),
    "arrow": to_stream(arrow(TALL)),
}


@pytest.mark.parametrize(
    "options",
    [{"max_rows": 10}, {"max_cells": 21}, {"max_columns": 1}],
    ids=["rows", "cells", "columns"],
)
@pytest.mark.parametrize("declared", [None, {"a": int, "b": int}], ids=["any", "declared"])
@pytest.mark.parametrize("body", TALL_BODIES.values(), ids=TALL_BODIES)
def test_table_above_a_limit_is_413(body, declared, options):
    with pytest.raises(InputTooLargeError):
        limited(declared, **options).read(body)
    assert len(limited(declared, max_rows=11, max_cells=22, max_columns=2).read(body)) == 11


def test_json_with_too_many_values_is_refused_before_decoding():
    reader = limited(max_rows=10, max_cells=10)
    with pytest.raises(InputTooLargeError, match="at most 10 cells"):
        reader.read(b"[" + b"{}," * 4200 + b"broken")
    commas = json.dumps([{"a": "," * 9000}]).encode()
    assert reader.read(commas)["a"][0] == "," * 9000


BOMBS = {
    "parquet": to_parquet(pd.DataFrame({"a": [0.0] * 500_000})),
    "parquet-one-long-text": to_parquet(pd.DataFrame({"a": ["x" * 10_000] * 1000})),
    "feather-zstd": to_feather(pd.DataFrame({"a": [0.0] * 500_000}), compression="zstd"),
    "feather-lz4": to_feather(pd.DataFrame({"a": [0.0] * 500_000}), compression="lz4"),
    "arrow-shared-text": to_stream(
        arrow(pd.DataFrame({"a": pd.Categorical(["x" * 10_000] * 1000)}))
    ),
    "arrow-views": to_stream(pa.table({"a": pa.array(["x" * 10_000] * 1000).cast("string_view")})),
}


@pytest.mark.parametrize("body", BOMBS.values(), ids=BOMBS)
def test_decompression_bomb_is_413(body):
    with pytest.raises(InputTooLargeError, match="bytes when unpacked"):
        limited(max_bytes=1_000_000).read(body)
    assert len(limited().read(body)) in (500_000, 1000)


def test_rows_of_an_arrow_column_without_buffers_are_counted():
    body = to_stream(pa.table({"a": pa.nulls(2_000_000)}))
    assert len(body) < 2000
    with pytest.raises(InputTooLargeError, match="rows"):
        limited().read(body)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([BODIES[k] for k in ("parquet", "feather", "arrow-zstd", "arrow-categories")]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4),
)  # fmt: skip
def test_damaged_file_is_read_or_refused(body, changes):
    damaged = bytearray(body)
    for at, byte in changes:
        damaged[at % len(damaged)] = byte
    for reader in (kind_of(DataFrame[Flower]), kind_of(DataFrame)):
        try:
            reader.read(bytes(damaged))
        except InputError:
            pass


# --- answers --------------------------------------------------------------------------------------


def test_json_has_null_for_missing_values_and_iso_times(anything):
    frame = pd.DataFrame({
        "f": [0.1 + 0.2, float("nan")],
        "i": pd.array([1, None], dtype="Int64"),
        "s": ["a", None],
        "o": [1, "x"],
        "at": pd.to_datetime(["2024-02-29T12:30", None]),
        "utc": pd.to_datetime(["2024-02-29T12:30", None], utc=True),
        "c": pd.Categorical(["u", None]),
        "b": [True, False],
        "d": pd.to_timedelta(["1D", None]),
    })  # fmt: skip
    assert json.loads(anything.write(frame, "application/json")) == [
        {
            "f": 0.30000000000000004, "i": 1, "s": "a", "o": 1, "at": "2024-02-29T12:30:00",
            "utc": "2024-02-29T12:30:00+00:00", "c": "u", "b": True, "d": "P1DT0H0M0S",
        },
        {
            "f": None, "i": None, "s": None, "o": "x", "at": None, "utc": None, "c": None,
            "b": False, "d": None,
        },
    ]  # fmt: skip
    lines = anything.write(frame, "text/csv").decode().splitlines()
    at = "2024-02-29T12:30:00"
    assert lines[1] == f"0.30000000000000004,1,a,1,{at},{at}+00:00,u,true,P1DT0H0M0S"
    assert lines[2] == ",,,x,,,,false,"


def test_many_rows_are_written_like_few_rows(anything):
    frame = pd.DataFrame({"a b": range(500), 7: ["x"] * 500})
    rows = json.loads(anything.write(frame, "application/json"))
    assert rows == [{"a b": i, "7": "x"} for i in range(500)]
    assert json.loads(anything.write(frame[:3], "application/json")) == rows[:3]


def test_a_table_without_columns_or_rows_is_written(anything):
    assert anything.write(pd.DataFrame(), "application/json") == b"[]"
    assert anything.write(pd.DataFrame({"a": []}), "text/csv") == b"a\n"
    assert anything.write(pd.DataFrame(index=range(2)), "application/json") == b"[{},{}]"


def test_result_with_duplicate_columns_is_an_error(anything):
    with pytest.raises(ValueError, match="two columns 'a'"):
        anything.write(pd.DataFrame([[1, 2]], columns=["a", "a"]), "application/json")


# --- the meaning of cells -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        (dt.datetime, "20240229"),
        (dt.datetime, "45351"),
        (dt.datetime, "1709164800.5"),
        (dt.datetime | None, "20240229"),
        (dt.date, "20240229"),
        (dt.date, "12-13"),
        (dt.timedelta, "90"),
        (dt.time, "1230"),
        (int, "2024-02-29"),
        (float, "2024-02-29"),
        (int, "12-13"),
        (decimal.Decimal, "NaN"),
        (decimal.Decimal, "Infinity"),
    ],
    ids=str,
)  # fmt: skip
def test_numbers_are_no_times_and_times_are_no_numbers_in_csv(kind, cell):
    reader = kind_of(t.Annotated[DataFrame, TableOptions(columns={"a": kind})])
    with pytest.raises(InputError) as caught:
        reader.read(f"a\n{cell}\n".encode())
    assert (caught.value.status, caught.value.faults[0].path) == (422, "$[0].a")


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        (dt.datetime, "2024-02-29", pd.Timestamp(2024, 2, 29)),
        (dt.datetime, "2024-02-29 12:30:00", pd.Timestamp(2024, 2, 29, 12, 30)),
        (dt.timedelta, "PT90S", pd.Timedelta(seconds=90)),
        (int, "9007199254740993.0", 2**53 + 1),
        (int, "+007", 7),
        (int, "1e3", 1000),
        (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
    ],
    ids=str,
)
def test_cells_of_csv_keep_their_value(kind, cell, value):
    reader = kind_of(t.Annotated[DataFrame, TableOptions(columns={"a": kind})])
    assert reader.read(f"a\n{cell}\n".encode())["a"][0] == value


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["999,5", "2,25"], [999.5, 2.25]),
        (["999,5", "2"], [999.5, 2.0]),
        (["1.5", "2.5"], [1.5, 2.5]),
        (["999,5", "1.234"], 1),  # a thousand, or one
        (["1.234", "999,5"], 0),
        (["999,5", "1.234,5"], 1),
        (["1,234,567", "2,5"], 0),
    ],
)
@pytest.mark.parametrize("is_declared", [True, False])
def test_one_decimal_comma_decides_for_the_whole_file(cells, expected, is_declared):
    reader = kind_of(
        t.Annotated[DataFrame, TableOptions(columns={"v": float, "w": float})]
        if is_declared
        else DataFrame
    )
    body = "v;w\n" + "".join(f"{cell};0,5\n" for cell in cells)
    if expected == [1.5, 2.5]:
        body = body.replace("0,5", "0.5")
    if isinstance(expected, list):
        assert reader.read(body.encode())["v"].tolist() == expected
    elif is_declared:
        with pytest.raises(InputError) as caught:
            reader.read(body.encode())
        assert caught.value.faults[0].path == f"$[{expected}].v"
    else:  # a column with other texts than numbers is text
        assert reader.read(body.encode())["v"].tolist() == cells


def test_number_with_a_point_beside_a_column_with_decimal_commas_is_refused(anything):
    with pytest.raises(InputError, match="thousands") as caught:
        anything.read(b"a;b\n1.234;0,5\n")
    assert caught.value.faults[0].path == "$[0].a"


def test_commas_in_text_are_no_decimal_commas(anything):
    frame = anything.read(b"a;b\n1.5;x,y\n")
    assert frame.to_dict("list") == {"a": [1.5], "b": ["x,y"]}
    declared = kind_of(t.Annotated[DataFrame, TableOptions(columns={"a": float, "b": str})])
    assert declared.read(b"a;b\n1.5;1,5\n").to_dict("list") == {"a": [1.5], "b": ["1,5"]}


@pytest.mark.parametrize(
    ("body", "dtype", "values"),
    [
        (b'[{"a": null}]', "float64", [None]),
        (b"a,b\n,1\n", "float64", [None]),
        (b'[{"a": 9007199254740993}, {"a": null}]', "Int64", [2**53 + 1, None]),
        (b"a\n9007199254740993\nNA\n", "Int64", [2**53 + 1, None]),
        (b"a\n9007199254740993.5\nNA\n", "float64", [2.0**53 + 2, None]),
        (b"a\n1e20\nNA\n", "float64", [1e20, None]),
        (b'[{"a": 5}, {"a": null}]', "float64", [5.0, None]),
        (to_stream(pa.table({"a": pa.nulls(1)})), "float64", [None]),
        (to_stream(pa.table({"a": [2**53 + 1, None]})), "Int64", [2**53 + 1, None]),
        (to_stream(pa.table({"a": [1, None]})), "float64", [1.0, None]),
        (to_parquet(pd.DataFrame({"a": pd.array([2**53 + 1, None], "Int64")})), "Int64",
         [2**53 + 1, None]),
    ],
)  # fmt: skip
def test_undeclared_columns_with_missing_values_keep_their_numbers(anything, body, dtype, values):
    column = anything.read(body)["a"]
    assert str(column.dtype) == dtype
    assert [None if pd.isna(value) else value for value in column] == values


@pytest.mark.parametrize("moment", ["2024-01-01T00:00:00", "2024-01-01T02:00:00+02:00"])
@pytest.mark.parametrize("form", ["json", "csv", "arrow"])
def test_dtype_of_times_depends_on_the_declaration_only(moment, form):
    reader = kind_of(t.Annotated[DataFrame, TableOptions(columns={"a": dt.datetime})])
    body = {
        "json": json.dumps([{"a": moment}]).encode(),
        "csv": f"a\n{moment}\n".encode(),
        "arrow": to_stream(pa.table({"a": [dt.datetime.fromisoformat(moment)]})),
    }[form]
    column = reader.read(body)["a"]
    assert (str(column.dtype), column[0]) == ("datetime64[us]", pd.Timestamp(2024, 1, 1))


@pytest.mark.parametrize("kind", [float, float | None, int, bool, str, dt.datetime, uuid.UUID])
@pytest.mark.parametrize("read", [to_stream, lambda table: to_parquet(table.to_pandas())])
def test_column_of_another_type_in_arrow_is_invalid_and_not_damaged(kind, read):
    wrong = pa.table({"a": [dt.time(12, 30)]})
    reader = kind_of(t.Annotated[DataFrame, TableOptions(columns={"a": kind})])
    with pytest.raises(InputError) as caught:
        reader.read(read(wrong))
    assert (caught.value.status, caught.value.faults[0].path) == (422, "$[0].a")


@pytest.mark.parametrize(("number", "valid"), [("5", True), ("5.00", True), ("5.5", False)])
def test_whole_decimals_of_arrow_are_whole_numbers(number, valid):
    reader = kind_of(t.Annotated[DataFrame, TableOptions(columns={"a": int})])
    body = to_stream(pa.table({"a": pa.array([decimal.Decimal(number)])}))
    if valid:
        assert reader.read(body)["a"].tolist() == [5]
    else:
        with pytest.raises(InputError, match=r"5\.5"):
            reader.read(body)


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        (Color.RED, "red"),
        ({"a": 1}, '"{""a"":1}"'),
        ([1, None], '"[1,null]"'),
        (True, "true"),
        (dt.datetime(2024, 2, 29, 12), "2024-02-29T12:00:00"),  # noqa: DTZ001 - without a zone
        (dt.date(2024, 2, 29), "2024-02-29"),
        (decimal.Decimal("1.10"), "1.10"),
        (decimal.Decimal("NaN"), '""'),
        (b"ab", "YWI="),
        (float("nan"), '""'),
        (float("-inf"), '""'),
        (None, '""'),
        ("a\rb", '"a\rb"'),
        ('say "x"', '"say ""x"""'),
    ],
    ids=repr,
)
def test_cells_of_csv_are_those_of_json(anything, cell, written):
    frame = pd.DataFrame({"a": pd.Series([cell], dtype=object)})
    assert anything.write(frame, "text/csv").decode() == f"a\n{written}\n"


# --- in records ----------------------------------------------------------------------------------


class Cell(msgspec.Struct):
    a: float


class Shelf(msgspec.Struct):
    cells: DataFrame[Cell]
    more: DataFrame[Cell] | None = None


@pytest.fixture
def shelves():
    app = Carboy("shelves")
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.model("/mirror")
    def mirror(shelf: Shelf) -> Shelf:
        return shelf

    @app.model("/other")
    def other(shelf: Shelf) -> Shelf:
        return Shelf(t.cast("t.Any", pd.DataFrame({"b": [1.0]})))

    yield app.test_client()
    app.models.close()


@pytest.mark.parametrize(
    ("media_type", "encode"),
    [("application/json", msgspec.json.encode), ("application/msgpack", msgspec.msgpack.encode)],
    ids=["JSON", "MessagePack"],
)
def test_field_of_a_record_may_be_a_table_of_rows(shelves, media_type, encode):
    for shelf in ({"cells": [{"a": 1.5}], "more": None}, {"cells": [{"a": 1}], "more": [{"a": 2}]}):
        answer = shelves.post("/mirror", data=encode(shelf), content_type=media_type)
        assert (answer.status_code, answer.json) == (200, shelf)


def test_row_of_another_type_in_a_field_is_refused(shelves):
    answer = shelves.post("/mirror", json={"cells": [{"b": 1}]})
    assert (answer.status_code, answer.json["errors"][0]["path"]) == (422, "$.cells[0]")


def test_table_of_other_columns_in_a_field_of_a_result_is_an_error(shelves, caplog):
    assert shelves.post("/other", json={"cells": [{"a": 1}]}).status_code == 500
    assert "does not fit its declared type" in caplog.text
    assert "'a'" in caplog.text
