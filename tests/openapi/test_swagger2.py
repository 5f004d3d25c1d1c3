from __future__ import annotations

import copy

import pytest

from carboy.errors import DocumentationError
from carboy.openapi.swagger2 import convert_operation, convert_schema, convert_template


def converted(spec):
    top = {}
    before = copy.deepcopy(spec)
    operation = convert_operation(spec, top)
    assert spec == before, "what was given was changed"
    return operation, top["components"]["schemas"]


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (
            {"name": "q", "in": "query", "type": "integer", "minimum": 1, "default": 2},
            {"name": "q", "in": "query", "schema": {"type": "integer", "minimum": 1, "default": 2}},
        ),
        (
            {"name": "id", "in": "path", "type": "string"},
            {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
        ),
        (
            {"name": "q", "type": "array", "items": {"type": "string"}, "collectionFormat": "multi"}
            | {"in": "query"},
            {
                "name": "q",
                "in": "query",
                "style": "form",
                "explode": True,
                "schema": {"type": "array", "items": {"type": "string"}},
            },
        ),
        (
            {"name": "q", "in": "query", "schema": {"type": "string"}},
            {"name": "q", "in": "query", "schema": {"type": "string"}},
        ),
        ({"$ref": "#/parameters/limit"}, {"$ref": "#/components/parameters/limit"}),
        ({"name": "q", "in": "query"}, {"name": "q", "in": "query", "schema": {"type": "string"}}),
    ],
    ids=["typed", "path", "array", "already new", "reference", "without type"],
)
def test_parameters_are_converted(given, made):
    assert converted({"parameters": [given]})[0]["parameters"] == [made]


def test_body_parameter_becomes_the_request_body_and_its_id_a_component():
    operation, schemas = converted({
        "consumes": ["application/json", "text/json"],
        "parameters": [
            {
                "in": "body",
                "name": "body",
                "required": True,
                "description": "who",
                "schema": {"id": "User", "properties": {"name": {"type": "string"}}},
            }
        ],
    })  # fmt: skip
    reference = {"schema": {"$ref": "#/components/schemas/User"}}
    assert operation == {
        "requestBody": {
            "content": {"application/json": reference, "text/json": reference},
            "description": "who",
            "required": True,
        }
    }
    assert schemas == {"User": {"properties": {"name": {"type": "string"}}}}


def test_form_fields_become_one_schema_and_a_file_makes_it_multipart():
    field = {"in": "formData", "name": "note", "type": "string", "description": "a word"}
    file = {"in": "formData", "name": "scan", "type": "file", "required": True}
    operation, _ = converted({"parameters": [field, file]})
    assert operation["requestBody"] == {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "note": {"type": "string", "description": "a word"},
                        "scan": {"type": "string", "format": "binary"},
                    },
                    "required": ["scan"],
                }
            }
        },
    }
    plain, _ = converted({"parameters": [field]})
    assert list(plain["requestBody"]["content"]) == ["application/x-www-form-urlencoded"]


def test_responses_get_content_types_from_produces_and_text_keys():
    operation, schemas = converted({
        "produces": ["application/json"],
        "definitions": {"Color": {"type": "string", "x-nullable": True}},
        "responses": {
            200: {
                "schema": {"type": "array", "items": {"$ref": "#/definitions/Color"}},
                "examples": {"application/json": ["red"]},
                "headers": {"X-Total": {"type": "integer"}},
            },
            404: "nothing there",
        },
    })  # fmt: skip
    assert operation["responses"] == {
        "200": {
            "description": "",
            "headers": {"X-Total": {"schema": {"type": "integer"}}},
            "content": {
                "application/json": {
                    "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Color"}},
                    "example": ["red"],
                }
            },
        },
        "404": {"description": "nothing there"},
    }
    assert schemas["Color"] == {"type": ["string", "null"]}


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"type": "file"}, {"type": "string", "format": "binary"}),
        ({"type": "integer", "nullable": True}, {"type": ["integer", "null"]}),
        (
            {"$ref": "#/definitions/A", "nullable": True},
            {"anyOf": [{"$ref": "#/components/schemas/A"}, {"type": "null"}]},
        ),
        (
            {"allOf": [{"$ref": "#/definitions/A"}], "nullable": True, "description": "a"},
            {
                "anyOf": [{"allOf": [{"$ref": "#/components/schemas/A"}]}, {"type": "null"}],
                "description": "a",
            },
        ),
        (
            {"oneOf": [{"type": "string"}, {"type": "integer"}], "x-nullable": True},
            {
                "anyOf": [
                    {"oneOf": [{"type": "string"}, {"type": "integer"}]},
                    {"type": "null"},
                ]
            },
        ),
        ({"discriminator": "kind"}, {"discriminator": {"propertyName": "kind"}}),
        (
            {"default": {"nullable": True}, "x-own": {"example": 1}},
            {"default": {"nullable": True}, "x-own": {"example": 1}},
        ),
        ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
        ({"minimum": 1, "exclusiveMinimum": False}, {"minimum": 1}),
        ({"type": "string", "example": "a"}, {"type": "string", "examples": ["a"]}),
        ({"type": "string", "required": True}, {"type": "string"}),
        (
            {"properties": {"id": {"type": "integer"}, "example": {"type": "string"}}},
            {"properties": {"id": {"type": "integer"}, "example": {"type": "string"}}},
        ),
        ({"$ref": "Color"}, {"$ref": "#/components/schemas/Color"}),
        (
            {"items": {"schema": {"id": "C", "type": "string"}}},
            {"items": {"$ref": "#/components/schemas/C"}},
        ),
    ],
    ids=[
        *("file", "nullable", "nullable reference", "nullable allOf", "nullable oneOf"),
        *("discriminator", "values", "exclusive", "not exclusive", "example"),
        *("required of a property", "properties with such names", "bare name", "schema in items"),
    ],
)
def test_schemas_are_converted(given, made):
    assert convert_schema(given, {}) == made


def test_single_text_in_a_schema_is_a_list_of_it():
    given = {"type": "object", "properties": {"a": {"enum": "x"}}, "required": "a"}
    made = {"type": "object", "properties": {"a": {"enum": ["x"]}}, "required": ["a"]}
    assert convert_schema(given, {}) == made


def test_top_of_a_document_is_converted():
    template = convert_template({
        "swagger": "2.0",
        "info": {"title": "Old"},
        "host": "api.example.org",
        "basePath": "/v1",
        "schemes": ["https"],
        "definitions": {"A": {"type": "string"}},
        "securityDefinitions": {
            "basic": {"type": "basic"},
            "key": {"type": "apiKey", "name": "X-Key", "in": "header"},
            "oauth": {
                "type": "oauth2",
                "flow": "accessCode",
                "authorizationUrl": "https://a.example.org",
                "tokenUrl": "https://t.example.org",
            },
        },
    })  # fmt: skip
    assert "swagger" not in template
    assert template["servers"] == [{"url": "https://api.example.org"}]
    assert template["components"]["schemas"] == {"A": {"type": "string"}}
    assert template["components"]["securitySchemes"] == {
        "basic": {"type": "http", "scheme": "basic"},
        "key": {"type": "apiKey", "name": "X-Key", "in": "header"},
        "oauth": {
            "type": "oauth2",
            "flows": {
                "authorizationCode": {
                    "authorizationUrl": "https://a.example.org",
                    "tokenUrl": "https://t.example.org",
                    "scopes": {},
                }
            },
        },
    }


NULLABLE = {"type": "string", "nullable": True}
CONTENT = {"content": {"application/json": {"schema": NULLABLE}}}
PARAMETER = {"in": "query", "name": "q", "schema": NULLABLE}
OPERATION = {"parameters": [PARAMETER], "requestBody": CONTENT, "responses": {"200": CONTENT}}


def has_old_keywords(node) -> bool:
    if isinstance(node, dict):
        return "nullable" in node or any(map(has_old_keywords, node.values()))
    return isinstance(node, list) and any(map(has_old_keywords, node))


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("schemas", NULLABLE),
        ("parameters", PARAMETER),
        ("parameters", {"in": "query", "name": "q", **CONTENT}),
        ("headers", {"schema": NULLABLE}),
        ("responses", {"description": "", **CONTENT, "headers": {"X-A": {"schema": NULLABLE}}}),
        ("requestBodies", CONTENT),
        ("callbacks", {"{$request.query.url}": {"post": OPERATION}}),
        ("pathItems", {"parameters": [PARAMETER], "get": OPERATION}),
    ],
    ids=[
        *("schemas", "parameters", "parameters with content", "headers", "responses"),
        *("requestBodies", "callbacks", "pathItems"),
    ],
)
def test_components_of_every_kind_are_converted(kind, part):
    given = {"components": {kind: {"A": part}}}
    for top in (convert_template(given), {}):
        convert_operation(given, top)
        assert top["components"][kind]["A"]
        assert not has_old_keywords(top["components"])


def test_schema_whose_id_is_its_name_does_not_refer_to_itself():
    top = convert_template({"definitions": {"A": {"id": "A", "type": "string"}}})
    assert top["components"]["schemas"] == {"A": {"type": "string"}}


def test_parameters_and_callbacks_of_paths_are_converted():
    item = {
        "parameters": [PARAMETER],
        "head": OPERATION,
        "post": {**OPERATION, "callbacks": {"done": {"{$request.query.url}": {"put": OPERATION}}}},
    }
    paths = convert_template({"paths": {"/a": item}})["paths"]
    assert paths["/a"]["parameters"][0]["schema"] == {"type": ["string", "null"]}
    assert paths["/a"]["post"]["callbacks"]["done"]["{$request.query.url}"]["put"]
    assert not has_old_keywords(paths)


BODIES = {
    "pet": {"in": "body", "name": "pet", "schema": {"type": "object"}, "required": True},
    "note": {"in": "formData", "name": "note", "type": "string"},
    "page": {"in": "query", "name": "page", "type": "integer"},
}


def references(*names):
    return [{"$ref": f"#/parameters/{name}"} for name in names]


def test_operation_uses_bodies_and_media_types_of_the_template():
    top = convert_template({"parameters": BODIES, "consumes": ["text/json"], "produces": "a/b"})
    assert list(top["components"]["parameters"]) == ["page"]
    responses = {"200": {"schema": {"type": "string"}}}
    operation = convert_operation(
        {"parameters": references("pet", "page"), "responses": responses}, top
    )
    assert operation["parameters"] == [{"$ref": "#/components/parameters/page"}]
    assert operation["requestBody"] == {
        "content": {"text/json": {"schema": {"type": "object"}}},
        "required": True,
    }
    assert list(operation["responses"]["200"]["content"]) == ["a/b"]
    own = {"consumes": ["multipart/form-data"], "parameters": references("note")}
    (media,) = convert_operation(own, top)["requestBody"]["content"].values()
    assert media["schema"]["properties"] == {"note": {"type": "string"}}


def test_body_of_a_path_is_the_body_of_its_operations():
    own = {"in": "body", "name": "own", "schema": {"type": "array"}}
    item = {"parameters": references("pet"), "put": {}, "post": {"parameters": [own]}}
    top = convert_template({"parameters": BODIES, "paths": {"/a": item}})
    kinds = {
        method: operation["requestBody"]["content"]["application/json"]["schema"]["type"]
        for method, operation in top["paths"]["/a"].items()
    }
    assert kinds == {"put": "object", "post": "array"}


def test_parameter_that_is_not_a_mapping_is_named_in_the_error():
    with pytest.raises(DocumentationError, match="expected a mapping for each, got 'q'"):
        convert_operation({"parameters": ["q"]}, {})
