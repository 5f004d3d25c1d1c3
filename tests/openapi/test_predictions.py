"""What the document says of models: the ways to write their input."""

from __future__ import annotations

import typing as t

import msgspec
import openapi_spec_validator
import pytest

from carboy import Carboy, Image

FILE = {"type": "string", "format": "binary"}
Pixels = t.Annotated[list[float], msgspec.Meta(min_length=4, max_length=4)]


class Size(msgspec.Struct):
    length: t.Annotated[float, msgspec.Meta(gt=0)]
    width: float = 1.0


class Loose(msgspec.Struct):
    width: float = 1.0


def content_of(predict):
    """The ways to write the input, by media type, in a valid document."""
    app = Carboy("models", static_folder=None)
    app.model("/m")(predict)
    document = app.openapi()
    openapi_spec_validator.validate(document)
    return document["paths"]["/m"]["post"]["requestBody"]["content"]


FORM = "application/x-www-form-urlencoded"


def test_a_picture_is_a_file_text_or_the_whole_body():
    def predict(image: Image) -> int:
        """Look.

        Args:
            image: of a digit.
        """

    content = content_of(predict)
    picture = content["application/json"]["schema"]
    assert (picture["contentEncoding"], picture["description"]) == ("base64", "of a digit.")
    assert content["multipart/form-data"]["schema"]["properties"] == {"image": FILE}
    assert content["image/png"] == {"schema": FILE}
    assert FORM not in content


def test_a_picture_or_numbers_has_numbers_first():
    def predict(image: Image | Pixels) -> int:
        """Look.

        Args:
            image: of a digit.
        """

    schema = content_of(predict)["application/json"]["schema"]
    numbers, picture = schema["anyOf"]
    assert (numbers["minItems"], picture["contentEncoding"]) == (4, "base64")
    assert schema["description"] == "of a digit."


@pytest.mark.parametrize(
    ("record", "required"), [(Size, ["length"]), (Loose, None)], ids=["one required", "none"]
)
def test_a_lone_record_is_the_fields_of_a_form(record, required):
    def predict(it) -> int: ...

    predict.__annotations__ = {"it": record, "return": int}
    content = content_of(predict)
    schema = content[FORM]["schema"]
    assert schema == content["multipart/form-data"]["schema"]
    assert set(schema["properties"]) == {*record.__struct_fields__}
    assert schema.get("required") == required
    name = record.__name__
    assert content["application/json"]["schema"] == {"$ref": f"#/components/schemas/{name}"}


@pytest.mark.parametrize("annotation", [dict[str, float], Size | None], ids=str)
def test_what_has_no_fields_is_one_field(annotation):
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
    assert schema["properties"]["scale"] == {"type": "number", "description": "in pixels."}
    assert content["multipart/form-data"]["schema"]["properties"] == {
        "picture": FILE,
        "size": {"$ref": "#/components/schemas/Size"},
        "scale": {"type": "number"},
    }


def test_an_answer_without_a_type_has_no_schema():
    app = Carboy("models", static_folder=None)

    @app.model("/m")
    def predict(x: float): ...

    answer = app.openapi()["paths"]["/m"]["post"]["responses"]["200"]
    assert answer["content"] == {"application/json": {}}
