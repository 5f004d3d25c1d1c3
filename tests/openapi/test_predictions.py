"""The description of models in the document: media types and schemas of inputs and results."""

from __future__ import annotations

import io
import json
import typing as t
from collections.abc import Iterator

import msgspec
import openapi_spec_validator
import pytest

from carboy import Carboy, Image, Upload
from carboy.contract.values.tables import DataFrame
from carboy.contract.values.tensor import Tensor
from carboy.openapi.postman import build_collection

FILE = {"type": "string", "format": "binary"}
Pixels = t.Annotated[list[float], msgspec.Meta(min_length=4, max_length=4)]


class Size(msgspec.Struct):
    length: t.Annotated[float, msgspec.Meta(gt=0)]
    width: float = 1.0


class Loose(msgspec.Struct):
    width: float = 1.0


def content_of(predict):
    return body_of(predict)["content"]


def body_of(predict):
    """Return the request body of a model in a valid document."""
    app = Carboy("models", static_folder=None)
    app.model("/m")(predict)
    document = app.openapi()
    openapi_spec_validator.validate(document)
    return document["paths"]["/m"]["post"]["requestBody"]


FORM = "application/x-www-form-urlencoded"


def test_image_is_a_file_or_base64_or_the_whole_body():
    def predict(image: Image) -> int:
        """Look.

        Args:
            image: of a digit.
        """

    body = body_of(predict)
    content = body["content"]
    assert content["application/json"]["schema"]["contentEncoding"] == "base64"
    assert body["description"] == "of a digit."
    assert content["multipart/form-data"]["schema"]["properties"]["image"]["format"] == "binary"
    assert content["image/png"] == {"schema": FILE}
    assert FORM not in content


def test_union_of_image_and_numbers_has_numbers_first():
    def predict(image: Image | Pixels) -> int:
        """Look.

        Args:
            image: of a digit.
        """

    body = body_of(predict)
    numbers, picture = body["content"]["application/json"]["schema"]["anyOf"]
    assert (numbers["minItems"], picture["contentEncoding"]) == (4, "base64")
    assert body["description"] == "of a digit."


@pytest.mark.parametrize(
    ("record", "required"), [(Size, ["length"]), (Loose, None)], ids=["one required", "none"]
)
def test_single_record_is_the_fields_of_a_form(record, required):
    def predict(it) -> int: ...

    predict.__annotations__ = {"it": record, "return": int}
    content = content_of(predict)
    schema = content[FORM]["schema"]
    assert schema == content["multipart/form-data"]["schema"]
    assert set(schema["properties"]) == {*record.__struct_fields__}
    assert schema.get("required") == required
    name = record.__name__
    assert content["application/json"]["schema"] == {"$ref": f"#/components/schemas/{name}"}


@pytest.mark.parametrize("annotation", [dict[str, float], list[Size]], ids=str)
def test_type_without_fields_is_one_field(annotation):
    def predict(it) -> int: ...

    predict.__annotations__ = {"it": annotation, "return": int}
    schema = content_of(predict)[FORM]["schema"]
    assert set(schema["properties"]) == {"it"}


def test_several_arguments_are_keys_of_an_object_and_fields_of_a_form():
    def predict(picture: Image, size: Size, scale: float = 1.0) -> int:
        """Measure.

        Args:
            scale: in pixels.
        Example:
            {"size": {"length": 1}, "picture": "..."}
        """

    content = content_of(predict)
    json_media = content["application/json"]
    assert json_media["example"] == {"size": {"length": 1}, "picture": "..."}
    schema = json_media["schema"]
    assert schema["required"] == ["picture", "size"]
    assert schema["additionalProperties"] is False
    scale = {"type": "number", "description": "in pixels.", "default": 1.0}
    assert schema["properties"]["scale"] == scale
    assert content["multipart/form-data"]["schema"]["properties"] == {
        "picture": FILE,
        "length": {"type": "number", "exclusiveMinimum": 0},
        "width": {"type": "number", "default": 1.0},
        "scale": scale,
    }


def test_response_without_a_type_has_no_schema():
    app = Carboy("models", static_folder=None)

    @app.model("/m")
    def predict(x: float): ...

    answer = app.openapi()["paths"]["/m"]["post"]["responses"]["200"]
    assert answer["content"] == {"application/json": {}}


def test_get_returns_metadata_or_a_page():
    app = Carboy("models", static_folder=None)

    @app.model("/m")
    def predict(x: float): ...

    content = app.openapi()["paths"]["/m"]["get"]["responses"]["200"]["content"]
    assert list(content) == ["application/json", "text/html"]


# --- every kind of input and answer --------------------------------------------------------------


class Row(msgspec.Struct):
    name: str
    age: int = 0


# Named types, because linters take a string inside an annotation for a type.
Pair = Tensor["float32", 2, "n"]
Picture = Tensor["uint8", 3, 32, 32]
Anything = Tensor["float64", ...]
Line = Tensor["float32", "n"]
Large = Tensor["float32", 3, 64, 64]


def take_text(note: str) -> str:
    return note


def take_bytes(data: bytes) -> bytes:
    return data


def take_file(file: Upload) -> int:
    return file.size


def take_tensor(x: Pair) -> Pair:
    return x


def take_image_tensor(x: Picture) -> int:
    return int(x.sum())


def take_any_tensor(x: Anything) -> int:
    return x.ndim


def take_table(rows: DataFrame) -> DataFrame:
    return rows


def take_declared(rows: DataFrame[Row]) -> int:
    return len(rows)


def take_picture(picture: Image) -> Image:
    return picture


def take_two(picture: Image, x: Line, note: str = "") -> int:
    return len(x)


def take_large(x: Large) -> int:
    return x.size


def take_either(x: Image | Line) -> int:
    return 1


def give_stream(x: int) -> Iterator[Row]:
    yield Row("a", x)


MODELS = [
    take_text,
    take_bytes,
    take_file,
    take_tensor,
    take_image_tensor,
    take_any_tensor,
    take_table,
    take_declared,
    take_picture,
    take_two,
    take_large,
    take_either,
    give_stream,
]


def operation_of(predict):
    app = Carboy("models", static_folder=None)
    app.model("/m")(predict)
    document = app.openapi()
    openapi_spec_validator.validate(document)
    return app, document, document["paths"]["/m"]["post"]


@pytest.mark.parametrize(
    ("predict", "forms"),
    [
        (
            take_text,
            {"application/json": {"type": "string"}, "text/plain": {"type": "string"}},
        ),
        (
            take_bytes,
            {
                "application/octet-stream": FILE,
                "application/json": {"type": "string", "contentEncoding": "base64"},
            },
        ),
        (take_file, {"application/json": {"type": "integer"}}),
        (
            give_stream,
            {
                kind: {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": {"$ref": "#/components/schemas/Row"},
                }
                for kind in ("application/x-ndjson", "text/event-stream")
            },
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_media_type_of_a_result_is_documented(predict, forms):
    _, _, operation = operation_of(predict)
    content = operation["responses"]["200"]["content"]
    assert {kind: media["schema"] for kind, media in content.items()} == forms


def test_tensors_and_tables_are_documented_as_files_and_json():
    _, _, tensor = operation_of(take_tensor)
    answer = tensor["responses"]["200"]["content"]
    assert answer["application/json"]["schema"]["x-tensor"]["dtype"] == "float32"
    assert answer["application/x-npy"] == {"schema": FILE}
    sent = tensor["requestBody"]["content"]
    assert sent["application/x-npy"] == {"schema": FILE}
    assert sent["multipart/form-data"]["encoding"] == {"x": {"contentType": "application/x-npy"}}
    assert FORM not in sent
    _, _, table = operation_of(take_declared)
    sent = table["requestBody"]["content"]
    assert sent["text/csv"] == {"schema": {"type": "string"}}
    assert set(sent["application/json"]["schema"]["items"]["properties"]) == {"name", "age"}


def test_large_tensor_is_described_by_text():
    _, _, operation = operation_of(take_image_tensor)
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert "items" not in schema
    assert "(3, 32, 32), uint8" in schema["description"]


def sent_by(request, files):
    """Return the arguments with which a test client sends a request of a collection."""
    headers = {h["key"]: h["value"] for h in request["header"]}
    body = request["body"]
    if body["mode"] == "raw":
        data = body["raw"].encode()
    elif body["mode"] == "file":
        data = files[body["file"]["src"]]
    else:
        data = {
            f["key"]: (io.BytesIO(files[f["src"]]), f["src"]) if f["type"] == "file" else f["value"]
            for f in body[body["mode"]]
            if not f.get("disabled")
        }
        kinds = {"formdata": "multipart/form-data", "urlencoded": FORM}
        headers["Content-Type"] = kinds[body["mode"]]
    return {"data": data, "headers": headers}


@pytest.mark.parametrize("predict", MODELS, ids=lambda function: function.__name__)
def test_each_request_of_the_collection_gets_a_documented_response(predict):
    app, document, operation = operation_of(predict)
    made = build_collection(document, base_url="http://localhost")
    items = [one for item in made.collection["item"] for one in item.get("item", [item])]
    posts = [item["request"] for item in items if item["request"]["method"] == "POST"]
    assert len(posts) >= 2
    for request in posts:
        answer = app.test_client().post("/m", **sent_by(request, made.files))
        assert answer.status_code == 200, (request, answer.text)
        assert answer.mimetype in operation["responses"]["200"]["content"]


def test_collection_contains_no_large_tensor_as_json():
    _, document, _ = operation_of(take_large)
    made = build_collection(document, base_url="http://localhost")
    assert len(json.dumps(made.collection)) < 20_000
    assert any(len(data) > 3 * 64 * 64 * 4 for data in made.files.values())
