"""Values that tensors of the Open Inference Protocol have no form of, or more than one."""

from __future__ import annotations

import base64
import datetime as dt
import enum
import typing as t

import msgspec
import numpy as np
import pandas as pd
import PIL.Image
import pydantic
import pytest

from carboy import Carboy
from carboy.contract.values.image import ImageKind
from carboy.models import DataFrame, Image


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Word(str, enum.Enum):  # noqa: UP042 - the text of a `StrEnum` is its value
    RED = "red"


class Level(enum.Enum):
    LOW = 1


class Share(enum.Enum):
    HALF = 0.5


class Flag(enum.Enum):
    OFF = False


class Both(enum.Enum):
    TEXT = "a"
    NUMBER = 1


GIVEN = {"name": "x", "datatype": "FP64", "shape": [1], "data": [1.0]}
NOON = dt.datetime(2024, 1, 2, 12)  # noqa: DTZ001 - cells without a zone


def answer_of(result: t.Any, annotation: t.Any, **request: t.Any):
    """The response of a model with this result and this return type."""
    app = Carboy("values")
    app.config["MODEL_PROTOCOLS"] = ["v2"]

    def predict(x: float):
        return result

    predict.__annotations__["return"] = annotation
    app.model("/m", name="m")(predict)
    response = app.test_client().post("/v2/models/m/infer", json={"inputs": [GIVEN], **request})
    app.models.close()
    return response


def table_of(cell_type: t.Any) -> t.Any:
    return DataFrame[t.TypedDict("Cells", {"c": cell_type})]


@pytest.mark.parametrize(
    ("cell_type", "cells", "datatype", "data"),
    [
        (float, [1.5, None], "FP64", [1.5, None]),
        (float | None, [1.5, None], "FP64", [1.5, None]),
        (int | None, pd.array([1, None], "Int64"), "BYTES", ["1", "null"]),
        (int | None, [1, 2], "BYTES", ["1", "2"]),
        (bool | None, [True, None], "BYTES", ["true", "null"]),
        (str | None, ["x", None], "BYTES", ['"x"', "null"]),
        (str | None, ["null", "nan"], "BYTES", ['"null"', '"nan"']),
        (str, ["null", "nan"], "BYTES", ["null", "nan"]),
        (dt.datetime, [NOON], "BYTES", ["2024-01-02T12:00:00"]),
        (dt.datetime | None, [NOON, None], "BYTES", ['"2024-01-02T12:00:00"', "null"]),
    ],
    ids=str,
)
def test_missing_cell_is_sent_so_that_no_value_is_taken_for_it(cell_type, cells, datatype, data):
    frame = pd.DataFrame({"c": cells})
    answer = answer_of(frame, table_of(cell_type))
    assert answer.status_code == 200, answer.text
    output = {"name": "c", "shape": [len(data)], "datatype": datatype, "data": data}
    assert answer.json["outputs"] == [output]


class Row(t.TypedDict):
    a: t.NotRequired[float]
    b: str


@pytest.mark.parametrize(
    ("columns", "names"), [({"b": ["x"]}, ["b"]), ({"a": [1.0], "b": ["x"]}, ["a", "b"])]
)
def test_column_that_a_result_may_lack_is_sent_if_it_is_there(columns, names):
    answer = answer_of(pd.DataFrame(columns), DataFrame[Row])
    assert [each["name"] for each in answer.json["outputs"]] == names


def test_column_that_a_result_lacks_cannot_be_asked_for():
    answer = answer_of(pd.DataFrame({"b": ["x"]}), DataFrame[Row], outputs=[{"name": "a"}])
    assert answer.status_code == 400
    assert "expected outputs that the result has, got 'a'" in answer.json["error"].lower()


@pytest.mark.parametrize(
    ("result", "annotation", "data"),
    [
        (pd.Timestamp(NOON), dt.datetime, ["2024-01-02T12:00:00"]),
        (np.datetime64("2024-01-02T12:00"), dt.datetime, ["2024-01-02T12:00:00"]),
        (pd.DatetimeIndex([NOON]), list[dt.datetime], ["2024-01-02T12:00:00"]),
        (pd.Timedelta("5s"), dt.timedelta, ["P0DT0H0M5S"]),
        (np.str_("a"), str, ["a"]),
    ],
    ids=["Timestamp", "datetime64", "DatetimeIndex", "Timedelta", "text"],
)
def test_values_of_numpy_and_pandas_are_sent_as_those_of_python(result, annotation, data):
    answer = answer_of(result, annotation)
    assert answer.status_code == 200, answer.text
    assert answer.json["outputs"][0]["data"] == data


@pytest.mark.parametrize(("result", "annotation"), [(2**70, int), ([1, 2**63], list[int])])
def test_number_that_no_datatype_holds_is_refused_with_advice(result, annotation):
    answer = answer_of(result, annotation)
    assert answer.status_code == 400
    assert "a number that INT64 cannot hold. The model's own URL" in answer.json["error"]


class Chosen(t.TypedDict):
    color: Color
    levels: list[Level]


@pytest.mark.parametrize(
    ("result", "annotation", "datatypes", "data"),
    [
        (Color.RED, Color, ["BYTES"], [["red"]]),
        (Word.RED, Word, ["BYTES"], [["red"]]),
        (Word.RED, str, ["BYTES"], [["red"]]),
        (Level.LOW, Level, ["INT64"], [[1]]),
        (Level.LOW, int, ["INT64"], [[1]]),
        (Level.LOW, t.Literal[Level.LOW], ["INT64"], [[1]]),
        (Share.HALF, Share, ["FP64"], [[0.5]]),
        (Flag.OFF, Flag, ["BOOL"], [[False]]),
        ([Word.RED], list[Word], ["BYTES"], [["red"]]),
        ([Level.LOW, 2], list[int], ["INT64"], [[1, 2]]),
        ([Flag.OFF], list[Flag], ["BOOL"], [[False]]),
        (np.array([Flag.OFF]), list[Flag], ["BOOL"], [[False]]),
        ([Both.TEXT, Both.NUMBER], list[Both], ["BYTES"], [['["a",1]']]),
        (
            {"color": Color.BLUE, "levels": [Level.LOW]},
            Chosen,
            ["BYTES", "INT64"],
            [["blue"], [1]],
        ),
    ],
    ids=str,
)
def test_member_of_an_enumeration_is_sent_as_its_value(result, annotation, datatypes, data):
    answer = answer_of(result, annotation)
    assert answer.status_code == 200, answer.text
    outputs = answer.json["outputs"]
    assert [each["datatype"] for each in outputs] == datatypes
    assert [each["data"] for each in outputs] == data


class Files(t.TypedDict):
    content: bytes
    table: pd.DataFrame


PICTURE = PIL.Image.new("RGB", (2, 1))
CONTENTS = {"content": b"\xff", "table": pd.DataFrame({"c": [1]})}


@pytest.mark.parametrize(
    ("result", "annotation", "contents"),
    [
        (b"hello", bytes, [b"hello"]),
        (b"\xff\0", bytes, [b"\xff\0"]),
        (PICTURE, Image, [ImageKind.write(PICTURE, "image/png")]),
        (CONTENTS, Files, [b"\xff", '[{"c":1}]']),
    ],
    ids=["text", "other bytes", "picture", "fields"],
)
def test_content_of_a_file_is_sent_as_it_is_or_in_base64(result, annotation, contents):
    answer = answer_of(result, annotation)
    assert answer.status_code == 200, answer.text
    data = [base64.b64encode(c).decode() if isinstance(c, bytes) else c for c in contents]
    assert [each["data"] for each in answer.json["outputs"]] == [[each] for each in data]
    binary = answer_of(result, annotation, parameters={"binary_data_output": True})
    sent = [c if isinstance(c, bytes) else c.encode() for c in contents]
    tail = b"".join(len(each).to_bytes(4, "little") + each for each in sent)
    assert binary.data.endswith(b"]}" + tail)


class Aliased(pydantic.BaseModel):
    x: float = pydantic.Field(alias="X")
    y: int = 2


class AliasedByBoth(Aliased, populate_by_name=True):
    pass


class Defaulted(msgspec.Struct):
    a: int
    b: int = 2


class Described(msgspec.Struct):
    columns: list[str]


@pytest.mark.parametrize(
    ("result", "annotation", "data"),
    [
        (Aliased(X=1.5), Aliased, {"X": [1.5], "y": [2]}),
        ({"X": 1.5}, Aliased, {"X": [1.5], "y": [2]}),
        ({"x": 1.5, "y": 3}, AliasedByBoth, {"X": [1.5], "y": [3]}),
        (Defaulted(1), Defaulted, {"a": [1], "b": [2]}),
        ({"a": 1}, Defaulted, {"a": [1]}),
        (Described(["c"]), Described, {"columns": ["c"]}),
        ([{"c": 1.5}, {"c": 2.5}], table_of(float), {"c": [1.5, 2.5]}),
        ({"c": [1.5, 2.5]}, table_of(float), {"c": [1.5, 2.5]}),
    ],
    ids=str,
)
def test_fields_and_columns_are_outputs_however_a_result_is_written(result, annotation, data):
    answer = answer_of(result, annotation)
    assert answer.status_code == 200, answer.text
    assert {each["name"]: each["data"] for each in answer.json["outputs"]} == data


class Listed(msgspec.Struct, array_like=True):
    a: int


def test_result_without_an_output_is_an_error_of_the_model(caplog):
    assert answer_of((1,), Listed).status_code == 500
    assert "returned `(1,)`, which has no value for the output 'a'" in caplog.text


# --- inputs --------------------------------------------------------------------------------------


class Point(msgspec.Struct):
    a: float | None = 1.0


@pytest.fixture
def client():
    app = Carboy("inputs")
    app.config["MODEL_PROTOCOLS"] = ["v2"]

    @app.model("/table")
    def table(x: table_of(float | None)) -> int:  # type: ignore[valid-type]
        return int(x["c"].isna().sum())

    @app.model("/record")
    def record(x: Point) -> bool:
        return x.a is None

    @app.model("/number")
    def number(x: float | None) -> bool:
        return x is None

    @app.model("/numbers")
    def numbers(x: list[float | None]) -> list[bool]:
        return [each is None for each in x]

    @app.model("/strict")
    def strict(x: float) -> float:
        return x

    @app.model("/batched", batch=4)
    def batched(x: list[Point]) -> list[float]:
        return [each.a or 0.0 for each in x]

    yield app.test_client()
    app.models.close()


@pytest.mark.parametrize(
    ("model", "name", "cells", "expected"),
    [
        ("table", "c", [1.0, None], [1]),
        ("record", "a", [None], [True]),
        ("number", "x", [None], [True]),
        ("numbers", "x", [1.0, None], [False, True]),
    ],
)
def test_null_is_a_missing_value_where_one_is_allowed(client, model, name, cells, expected):
    tensor = {"name": name, "datatype": "FP64", "shape": [len(cells)], "data": cells}
    answer = client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]})
    assert answer.status_code == 200, answer.text
    assert answer.json["outputs"][0]["data"] == expected


def test_null_is_refused_where_no_value_may_be_missing(client):
    answer = client.post("/v2/models/strict/infer", json={"inputs": [{**GIVEN, "data": [None]}]})
    assert answer.status_code == 400


def test_batch_of_no_input_is_refused_although_all_inputs_have_defaults(client):
    answer = client.post("/v2/models/batched/infer", json={"inputs": []})
    assert answer.status_code == 400
    assert "number of predictions, at least 1, as first side, got none" in answer.json["error"]


@pytest.mark.parametrize("shape", [[2], [2, 1]], ids=str)
@pytest.mark.parametrize(
    ("kind", "datatype", "data", "given"),
    [
        (str, "BYTES", ["a", "b"], ["a", "b"]),
        (Color, "BYTES", ["red", "blue"], [Color.RED, Color.BLUE]),
        (dt.date, "BYTES", ["2024-01-02"] * 2, [dt.date(2024, 1, 2)] * 2),
        (bytes, "BYTES", ["YQ==", "Yg=="], [b"a", b"b"]),
        (dict[str, int], "BYTES", ['{"a":1}', "{}"], [{"a": 1}, {}]),
        (float, "FP64", [1.5, 2.5], [1.5, 2.5]),
        (bool, "BOOL", [True, False], [True, False]),
    ],
    ids=str,
)
def test_batch_of_single_values_may_have_one_side(kind, datatype, data, given, shape):
    app = Carboy("batches")
    app.config["MODEL_PROTOCOLS"] = ["v2"]
    seen = []

    def predict(x):
        seen.extend(x)
        return [None] * len(x)

    predict.__annotations__["x"] = list[kind]
    app.model("/m", name="m", batch=4)(predict)
    tensor = {"name": "x", "datatype": datatype, "shape": shape, "data": data}
    answer = app.test_client().post("/v2/models/m/infer", json={"inputs": [tensor]})
    app.models.close()
    assert (answer.status_code, seen) == (200, given), answer.text


def test_batch_of_lists_needs_a_side_for_the_lists():
    app = Carboy("lists")
    app.config["MODEL_PROTOCOLS"] = ["v2"]

    @app.model("/m", batch=4)
    def m(x: list[list[str]]) -> list[int]:
        return [len(each) for each in x]

    tensor = {"name": "x", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}
    answer = app.test_client().post("/v2/models/m/infer", json={"inputs": [tensor]})
    app.models.close()
    assert answer.status_code == 400
    assert "expected a tensor of shape [-1]" in answer.json["error"].lower()


# --- JSON in texts -------------------------------------------------------------------------------


class Named(pydantic.BaseModel):
    x: dict[str, int] = {}


class Signed(pydantic.BaseModel):
    x: list[t.Annotated[float, pydantic.Field(ge=0)]]


def ask_for(annotation: t.Any, *tensors: dict[str, t.Any], batch: int = 1, binary: bytes = b""):
    """The response of a model with a parameter of this type to these tensors."""
    app = Carboy("texts")
    app.config["MODEL_PROTOCOLS"] = ["v2"]
    app.config["PROPAGATE_EXCEPTIONS"] = False

    def predict(x):
        return len(x) if batch == 1 else [len(each) for each in x]

    predict.__annotations__["x"] = annotation if batch == 1 else list[annotation]
    app.model("/m", name="m", batch=batch)(predict)
    head = msgspec.json.encode({"inputs": tensors})
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = app.test_client().post("/v2/models/m/infer", data=head + binary, headers=headers)
    app.models.close()
    return answer


def texts(*data: str) -> dict[str, t.Any]:
    return {"name": "x", "datatype": "BYTES", "shape": [len(data)], "data": data}


@pytest.mark.parametrize("depth", [900, 1100, 5000, 100_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_json_in_a_text_that_is_nested_deeply_is_refused(opening, depth):
    closing = {"[": "]", '{"a":': "1}"}[opening]
    for text in (opening * depth, '{"a":' + opening * depth + closing[0] * depth + "}"):
        answer = ask_for(dict[str, t.Any], texts(text))
        assert answer.status_code in (200, 400), answer.text
        assert answer.status_code == 400 or depth < 100_000  # which depends on Python
    assert "JSON" in ask_for(dict[str, t.Any], texts(opening * depth)).json["error"]


MANY = '{"a":[' + "[]," * 1_200_000 + "[]]}"


@pytest.mark.parametrize(
    ("batch", "sent"),
    [
        pytest.param(1, [MANY], id="one"),
        pytest.param(4, ['{"a":[' + "[]," * 700_000 + "[]]}"] * 2, id="together"),
        pytest.param(4, ['{"a":"', MANY], id="behind a text that has no end"),
    ],
)
def test_json_in_texts_may_have_as_many_lists_as_a_body(batch, sent):
    answer = ask_for(dict[str, t.Any], texts(*sent), batch=batch)
    assert answer.status_code == 413
    assert "at most 1,048,576 lists and objects" in answer.json["error"]


def test_json_in_a_text_for_pydantic_has_no_long_key_above_many_values():
    text = '{"' + "k" * 50_000 + '":[' + "1," * 20_000 + "1]}"
    answer = ask_for(dict[str, Named], texts(text))
    assert answer.status_code == 413
    assert "keys of at most" in answer.json["error"]


def test_tensor_for_pydantic_has_as_many_values_as_a_body():
    size = 2**20 + 1
    tensor = {"name": "x", "datatype": "FP16", "shape": [size]}
    tensor["parameters"] = {"binary_data_size": 2 * size}
    answer = ask_for(Signed, tensor, binary=b"\0\xbc" * size)
    assert answer.status_code == 413
    assert "at most 1,048,576 values" in answer.json["error"]
    assert ".npy" not in answer.json["error"]


class Cells(msgspec.Struct):
    a: float


def test_values_that_pydantic_does_not_read_are_not_counted():
    app = Carboy("beside")
    app.config["MODEL_PROTOCOLS"] = ["v2"]

    @app.model("/m", name="m")
    def count(rows: DataFrame[Cells], more: list[float], named: Named | None = None) -> int:
        return len(rows) + len(more)

    size = 2**20 - 100_000
    inputs = [
        {"name": name, "datatype": "FP32", "shape": [size]}
        | {"parameters": {"binary_data_size": 4 * size}}
        for name in ("a", "more")
    ]
    head = msgspec.json.encode({"inputs": inputs})
    headers = {"Inference-Header-Content-Length": str(len(head))}
    body = head + bytes(8 * size)
    answer = app.test_client().post("/v2/models/m/infer", data=body, headers=headers)
    assert answer.status_code == 200, answer.json
    assert answer.json["outputs"][0]["data"] == [2 * size]


class Partial(msgspec.Struct):
    x: float
    u: float | msgspec.UnsetType = msgspec.UNSET


def test_field_that_is_unset_has_no_output():
    outputs = answer_of(Partial(2.0), Partial).json["outputs"]
    assert [(each["name"], each["data"]) for each in outputs] == [("x", [2.0])]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "truncated"),
        ("{", "truncated"),
        ('{"a":NaN}', "invalid character"),
        ("1", "Expected `object`, got `int`"),
    ],
)
def test_text_that_is_no_json_of_its_type_is_refused(text, says):
    answer = ask_for(dict[str, t.Any], texts(text))
    assert answer.status_code == 400
    assert says in answer.json["error"]
    assert "x" in answer.json["error"]


# --- names ---------------------------------------------------------------------------------------


class Price(t.TypedDict):
    a: float


def joined(left: DataFrame[Price], right: DataFrame[Price]) -> list[float]:
    return [*left["a"], *right["a"]]


def beside(rows: DataFrame[Price], a: float) -> list[float]:
    return [*rows["a"], a]


def undeclared(left: pd.DataFrame, right: pd.DataFrame) -> list[float]:
    return [*left["a"], *right["a"]]


def half(left: pd.DataFrame, right: DataFrame[Price]) -> list[float]:
    return [*left["b"], *right["a"]]


def number(name: str, value: float) -> dict[str, t.Any]:
    return {"name": name, "datatype": "FP64", "shape": [1], "data": [value]}


def served(predict: t.Any):
    app = Carboy("names")
    app.config["MODEL_PROTOCOLS"] = ["v2"]
    app.model("/m", name="m")(predict)
    return app


@pytest.mark.parametrize(
    ("predict", "names", "given"),
    [
        (joined, ["left.a", "right.a"], ["left.a", "right.a"]),
        (beside, ["rows.a", "a"], ["rows.a", "a"]),
        (undeclared, [], ["left.a", "right.a"]),
        (half, ["a"], ["b", "a"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_inputs_of_one_name_have_the_name_of_their_table(predict, names, given):
    app = served(predict)
    client = app.test_client()
    assert [each["name"] for each in client.get("/v2/models/m").json["inputs"]] == names
    inputs = [number(name, value) for name, value in zip(given, [1.0, 2.0], strict=True)]
    answer = client.post("/v2/models/m/infer", json={"inputs": inputs})
    app.models.close()
    assert answer.status_code == 200, answer.text
    assert answer.json["outputs"][0]["data"] in ([1.0, 2.0], ["[1.0,2.0]"])


@pytest.mark.parametrize("name", ["a", "middle.a", "left"])
def test_column_of_no_table_is_refused_if_several_tables_declare_none(name):
    app = served(undeclared)
    answer = app.test_client().post("/v2/models/m/infer", json={"inputs": [number(name, 1.0)]})
    app.models.close()
    assert (answer.status_code, f"got {name!r}" in answer.json["error"]) == (400, True)


def test_record_of_defaults_needs_no_input():
    def m(point: Point) -> float:
        return point.a or 0.0

    def defaulted(point: Point = Point(5.0)) -> float:  # noqa: B008 - a default of a model
        return point.a or 0.0

    for predict, expected in ((m, 1.0), (defaulted, 5.0)):
        app = served(predict)
        answer = app.test_client().post("/v2/models/m/infer", json={"inputs": []})
        app.models.close()
        assert answer.status_code == 200, answer.text
        assert answer.json["outputs"][0]["data"] == [expected]
