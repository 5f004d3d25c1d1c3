"""The description of parameters, bodies and responses in the document."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import math
import typing as t
import uuid

import attrs
import msgspec
import numpy as np
import openapi_spec_validator
import pydantic
import pytest

from carboy import Body, Carboy, Cookie, Form, Header, Image, Query, Upload, raises


class Colour(enum.Enum):
    RED = "red"


class Filter(msgspec.Struct):
    page: t.Annotated[int, msgspec.Meta(ge=1, description="Which.")] = 1
    colour: Colour | None = Colour.RED


@dataclasses.dataclass
class FilterData:
    page: t.Annotated[int, msgspec.Meta(ge=1, description="Which.")] = 1
    colour: Colour | None = Colour.RED


@attrs.define
class FilterAttrs:
    page: t.Annotated[int, msgspec.Meta(ge=1, description="Which.")] = 1
    colour: Colour | None = Colour.RED


class FilterModel(pydantic.BaseModel):
    page: t.Annotated[int, pydantic.Field(ge=1, description="Which.")] = 1
    colour: Colour | None = Colour.RED


class Order(pydantic.BaseModel):
    name: str = pydantic.Field(alias="order-name", description="On the bill.")
    count: int = 1


def described(view, rule="/", **options):
    """Return the operation of a view in a valid document, and the document's components."""
    app = Carboy("shop", static_folder=None)
    app.config.update(options)
    app.add_url_rule(rule, view_func=view, methods=["POST"])
    document = app.openapi()
    openapi_spec_validator.validate(document)
    [item] = document["paths"].values()
    return item["post"], document.get("components", {}).get("schemas", {})


@pytest.mark.parametrize(
    ("annotation", "default", "shown"),
    [
        (list[int], [1, 2], [1, 2]),
        (list[Colour], [Colour.RED], ["red"]),
        (set[str], {"b", "a"}, ["a", "b"]),
        (str, "", ""),
        (dt.date, dt.date(2026, 1, 31), "2026-01-31"),
        (decimal.Decimal, decimal.Decimal("1.50"), "1.50"),
        (uuid.UUID, uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
    ids=["list", "enum", "set", "empty text", "date", "decimal", "uuid"],
)
def test_defaults_are_as_json_has_them(annotation, default, shown):
    def query(value): ...

    def body(value, other): ...

    query.__annotations__ = {"value": annotation}
    query.__defaults__ = (default,)
    body.__annotations__ = {name: t.Annotated[annotation, Body()] for name in ("value", "other")}
    body.__defaults__ = (default, default)
    (parameter,) = described(query)[0]["parameters"]
    assert parameter["schema"]["default"] == shown
    content = described(body, OPENAPI_ALL_MEDIA_TYPES=True)[0]["requestBody"]["content"]
    assert content["application/json"]["schema"]["properties"]["other"]["default"] == shown


@pytest.mark.parametrize(
    "value",
    [math.inf, [math.nan], object(), b"file"],
    ids=["infinity", "NaN in a list", "object", "bytes"],
)
def test_default_that_json_cannot_express_is_left_out(value):
    def view(value=value): ...

    view.__annotations__ = {"value": t.Annotated[list[float], Query()]}
    (parameter,) = described(view)[0]["parameters"]
    assert "default" not in parameter["schema"]


def test_optional_fields_of_a_form_have_defaults():
    class Stay(msgspec.Struct):
        arrival: dt.date
        nights: int = 1
        guests: list[str] = []
        board: t.Literal["none", "half"] = "half"

    def view(stay: t.Annotated[Stay, Form()]): ...

    content = described(view)[0]["requestBody"]["content"]
    properties = content["application/x-www-form-urlencoded"]["schema"]["properties"]
    shown = {name: schema.get("default") for name, schema in properties.items()}
    assert shown == {"arrival": None, "nights": 1, "guests": [], "board": "half"}


@pytest.mark.parametrize("record", [Filter, FilterData, FilterAttrs, FilterModel])
def test_fields_of_a_query_record_are_parameters(record):
    def view(wanted): ...

    view.__annotations__ = {"wanted": t.Annotated[record, Query()]}
    operation, _ = described(view)
    page, colour = operation["parameters"]
    text = page.pop("description", None) or page["schema"].pop("description", None)
    assert text == "Which."
    assert page == {
        "name": "page",
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "default": 1},
    }
    assert (colour["name"], colour["schema"]["default"]) == ("colour", "red")
    assert "null" not in str(colour)


def test_field_of_a_pydantic_model_has_its_alias():
    def view(order: t.Annotated[Order, Query()]): ...

    operation, _ = described(view)
    assert [(p["name"], p.get("required")) for p in operation["parameters"]] == [
        ("order-name", True),
        ("count", None),
    ]


def test_parameter_has_the_description_of_its_marker_or_docstring():
    def view(
        a: t.Annotated[int, Header("X-A", description="Of the marker.")],
        b: t.Annotated[str, Cookie()] = "x",
        c: int | None = None,
    ):
        """Look.

        Args:
            a: of the docstring.
            b: of the docstring.
        """

    operation, _ = described(view)
    assert operation["parameters"] == [
        {
            "name": "X-A",
            "in": "header",
            "description": "Of the marker.",
            "required": True,
            "schema": {"type": "integer"},
        },
        {
            "name": "b",
            "in": "cookie",
            "description": "of the docstring.",
            "schema": {"type": "string", "default": "x"},
        },
        {"name": "c", "in": "query", "schema": {"type": "integer"}},
    ]


def test_several_body_parameters_are_keys_of_an_object():
    def view(
        order: t.Annotated[Filter, Body()],
        note: t.Annotated[str, Body()],
        count: t.Annotated[int, Body()] = 1,
    ):
        """Order.

        Args:
            note: for us.
        """

    operation, components = described(view)
    assert operation["requestBody"]["required"] is True
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {
        "type": "object",
        "properties": {
            "order": {"$ref": "#/components/schemas/Filter"},
            "note": {"type": "string", "description": "for us."},
            "count": {"type": "integer", "default": 1},
        },
        "required": ["order", "note"],
        "additionalProperties": False,
    }
    assert "Filter" in components


def test_body_of_optional_parameters_is_not_required():
    def view(a: t.Annotated[int, Body()] = 1, b: t.Annotated[int, Body()] = 2): ...

    body = described(view)[0]["requestBody"]
    assert "required" not in body
    assert "required" not in body["content"]["application/json"]["schema"]


def test_record_beside_files_is_a_form():
    def view(order: Order, photo: Image, papers: list[Upload] | None = None):
        """Order.

        Args:
            photo: of the flower.
            papers: all of them.
        """

    operation, _ = described(view)
    [(kind, media)] = operation["requestBody"]["content"].items()
    assert kind == "multipart/form-data"
    file = {"type": "string", "format": "binary"}
    properties = media["schema"]["properties"]
    assert properties["photo"] == {**file, "description": "of the flower."}
    assert properties["papers"] == {
        "type": "array",
        "items": file,
        "description": "all of them.",
    }
    assert properties["order-name"] == {"type": "string", "description": "On the bill."}
    assert media["schema"]["required"] == ["order-name", "photo"]


def test_form_of_optional_fields_requires_nothing():
    def view(title: t.Annotated[str, Form(description="Of the work.")] = "none"): ...

    body = described(view)[0]["requestBody"]
    assert body == {
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "title": {
                            "type": "string",
                            "description": "Of the work.",
                            "default": "none",
                        }
                    },
                }
            }
        }
    }


@pytest.mark.parametrize(
    ("annotation", "kind", "schema"),
    [
        (Upload, "application/octet-stream", {"type": "string", "format": "binary"}),
        (t.Annotated[str, Body()], "text/plain", {"type": "string"}),
    ],
    ids=["file", "text"],
)
def test_body_of_other_media_types_is_described(annotation, kind, schema):
    def view(it): ...

    view.__annotations__ = {"it": annotation}
    operation, _ = described(view, OPENAPI_ALL_MEDIA_TYPES=True)
    assert operation["requestBody"]["content"][kind] == {"schema": schema}


@pytest.mark.parametrize(
    ("annotation", "content"),
    [
        (
            Image,
            {
                **{
                    key: {"schema": {"type": "string", "format": "binary"}}
                    for key in ("image/png", "image/jpeg", "image/webp")
                },
                "application/json": {
                    "schema": {
                        "type": "string",
                        "contentEncoding": "base64",
                        "contentMediaType": "image/*",
                    }
                },
            },
        ),
        (
            np.ndarray,
            {
                "application/json": {"schema": {"type": "array"}},
                "application/x-npy": {"schema": {"type": "string", "format": "binary"}},
            },
        ),
        (str, {"text/html": {}}),
        (dict, None),
    ],
    ids=["picture", "array", "page", "dict"],
)
def test_response_is_described_by_the_return_type(annotation, content):
    def view(): ...

    view.__annotations__ = {"return": annotation}
    [answer] = described(view)[0]["responses"].values()
    found = answer.get("content")
    for media in (found or {}).values():
        media.get("schema", {}).pop("examples", None)
    assert found == content


def test_stream_describes_its_items():
    def view() -> t.Iterator[Filter]: ...

    operation, _ = described(view)
    answer = operation["responses"]["200"]
    assert answer["description"] == "A stream of items."
    assert answer["content"]["application/x-ndjson"] == answer["content"]["text/event-stream"]
    assert answer["content"]["application/x-ndjson"]["schema"]["contentSchema"] == {
        "$ref": "#/components/schemas/Filter"
    }


def test_descriptions_of_one_error_status_are_joined():
    @raises(404, description="No such flower.")
    @raises(404, description="It was sold.")
    @raises(410)
    def view() -> Filter:
        """Look.

        Raises:
            Gone: for good.
            402: not paid.
            ValueError: no status.
        """
        return Filter()

    responses = described(view)[0]["responses"]
    texts = {status: answer["description"] for status, answer in responses.items()}
    assert {*texts["404"].split(". ")} == {"No such flower", "It was sold."} or {
        *texts["404"].split(". ")
    } == {"It was sold", "No such flower."}
    assert (texts["410"], texts["402"]) == ("for good.", "not paid.")
    assert set(texts) == {"200", "402", "404", "410"}
    assert "content" not in responses["402"]
    assert responses["410"]["content"].keys() == {"application/problem+json"}


def test_variable_of_a_rule_has_the_description_of_its_type():
    def view(number: t.Annotated[int, msgspec.Meta(description="Which.", examples=[3])]): ...

    operation, _ = described(view, "/<int:number>")
    [parameter] = operation["parameters"]
    assert (parameter["description"], parameter["schema"]["examples"]) == ("Which.", [3])


class Document(msgspec.Struct):
    title: str
    file: Upload
    raw: bytes = b""
    pages: list[Image] = []


@pytest.mark.parametrize("all_media_types", [True, False])
def test_form_record_with_files_is_described_as_multipart(app, all_media_types):
    @app.post("/")
    def view(x: t.Annotated[Document, Form()]): ...

    app.config["OPENAPI_ALL_MEDIA_TYPES"] = all_media_types
    content = app.openapi()["paths"]["/"]["post"]["requestBody"]["content"]
    assert list(content) == ["multipart/form-data"]
    properties = content["multipart/form-data"]["schema"]["properties"]
    binary = {"type": "string", "format": "binary"}
    assert properties["file"] == properties["raw"] == properties["pages"]["items"] == binary
    assert properties["title"] == {"type": "string"}


def test_literal_of_texts_is_answered_as_flask_answers_text(app):
    @app.get("/")
    def view() -> t.Literal["a", "b"]:
        return "a"

    assert app.test_client().get("/").mimetype == "text/html"
    responses = app.openapi()["paths"]["/"]["get"]["responses"]
    assert "application/json" not in repr(responses["default"])
