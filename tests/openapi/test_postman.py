"""Postman collections of OpenAPI documents."""

from __future__ import annotations

import json

import pytest

from carboy.openapi.postman import SCHEMA, build_collection

FILE = {"type": "string", "format": "binary"}


def document(operation=None, *, path="/a", method="post", **top):
    info = {"title": "Shop", "version": "1", "description": "All of it."}
    paths = {path: {method: {"responses": {"200": {"description": ""}}, **(operation or {})}}}
    return {"openapi": "3.1.1", "info": info, "paths": paths, **top}


def body(*kinds, schema, **media):
    return {"requestBody": {"content": {kind: {"schema": schema, **media} for kind in kinds}}}


def request_of(operation=None, **arguments):
    made = build_collection(document(operation, **arguments), base_url="http://x/", folder="f")
    (item,) = made.collection["item"]
    return item["request"], made


def test_the_collection_is_named_and_has_its_base_url():
    _, made = request_of()
    assert made.collection["info"] == {
        "name": "Shop",
        "description": "All of it.",
        "version": "1",
        "schema": SCHEMA,
    }
    assert made.collection["variable"][0] == {
        "key": "baseUrl",
        "value": "http://x",
        "type": "string",
    }


def test_tags_are_folders_and_other_requests_are_top_level():
    tagged = document({"tags": ["b"], "summary": "B"}, tags=[{"name": "b", "description": "Bs."}])
    tagged["paths"]["/c"] = {"get": {"summary": "C", "responses": {}}}
    folder, rest = build_collection(tagged, base_url="http://x").collection["item"]
    assert (folder["name"], folder["description"]) == ("b", "Bs.")
    assert [item["name"] for item in folder["item"]] == ["B"]
    assert rest["name"] == "C"


def test_variables_of_path_query_and_header_have_examples():
    parameters = [
        {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}},
        {"name": "kind", "in": "path", "required": True, "schema": {"const": "json"}},
        {"name": "q", "in": "query", "required": True, "schema": {"type": "string"}},
        {"name": "page", "in": "query", "schema": {"type": "integer"}, "description": "Which."},
        {"name": "X-Token", "in": "header", "required": True, "schema": {"examples": ["t"]}},
        {"name": "sid", "in": "cookie", "required": True, "schema": {"const": "s"}},
    ]
    request, _ = request_of({"parameters": parameters}, path="/a/{id}/b.{kind}", method="get")
    assert request["url"] == {
        "raw": "{{baseUrl}}/a/:id/b.json?q=text",
        "host": ["{{baseUrl}}"],
        "path": ["a", ":id", "b.json"],
        "variable": [{"key": "id", "value": "1"}],
        "query": [
            {"key": "q", "value": "text", "disabled": False},
            {"key": "page", "value": "1", "disabled": True, "description": "Which."},
        ],
    }
    assert {"key": "X-Token", "value": "t", "disabled": False} in request["header"]
    assert {"key": "Cookie", "value": "sid=s"} in request["header"]


def test_lists_and_tuples_are_repeated_in_query_and_form():
    integers = {"type": "array", "items": {"type": "integer", "examples": [3]}, "minItems": 2}
    size = {"type": "array", "prefixItems": [{"const": 1}, {"const": 2}], "items": False}
    parameters = [{"name": "ids", "in": "query", "required": True, "schema": integers}]
    schema = {"type": "object", "properties": {"size": size}, "required": ["size"]}
    form = body("application/x-www-form-urlencoded", schema=schema)
    request, _ = request_of({"parameters": parameters, **form})
    assert request["url"]["raw"] == "{{baseUrl}}/a?ids=3&ids=3"
    assert [(one["key"], one["value"]) for one in request["body"]["urlencoded"]] == [
        ("size", "1"),
        ("size", "2"),
    ]


def test_json_bodies_have_the_authors_example_or_a_sample():
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    request, _ = request_of(body("application/json", schema=schema))
    assert json.loads(request["body"]["raw"]) == {"n": 1}
    request, _ = request_of(body("application/json", schema=schema, example={"n": 7}))
    assert json.loads(request["body"]["raw"]) == {"n": 7}
    assert {"key": "Content-Type", "value": "application/json"} in request["header"]


def test_forms_have_fields_and_files():
    properties = {
        "note": {"type": "string"},
        "scan": FILE,
        "more": {"type": "array", "items": FILE},
    }
    schema = {"type": "object", "properties": properties, "required": ["scan"]}
    operation = {"operationId": "add", **body("multipart/form-data", schema=schema)}
    request, made = request_of(operation)
    assert request["body"] == {
        "mode": "formdata",
        "formdata": [
            {"key": "note", "type": "text", "value": "text", "disabled": True},
            {"key": "scan", "type": "file", "src": "f/add-scan.png"},
            {"key": "more", "type": "file", "src": "f/add-more.png", "disabled": False},
        ],
    }
    assert set(made.files) == {"f/add-scan.png", "f/add-more.png"}
    assert not any(header["key"] == "Content-Type" for header in request["header"])


def test_form_of_optional_fields_is_not_empty():
    schema = {"type": "object", "properties": {"note": {"const": "a"}, "more": {"const": 1}}}
    request, _ = request_of(body("application/x-www-form-urlencoded", schema=schema))
    assert request["body"]["urlencoded"] == [
        {"key": "note", "type": "text", "value": "a"},
        {"key": "more", "type": "text", "value": "1"},
    ]


def test_body_of_several_image_types_is_one_request():
    kinds = ("image/png", "image/jpeg", "image/webp")
    request, made = request_of({"operationId": "see", **body(*kinds, schema=FILE)})
    assert request["body"] == {"mode": "file", "file": {"src": "f/see.png"}}
    assert made.files["f/see.png"].startswith(b"\x89PNG")


def test_each_media_type_of_a_body_is_a_request():
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    kinds = ("application/json", "application/x-www-form-urlencoded")
    made = build_collection(
        document({"summary": "Add", **body(*kinds, schema=schema)}), base_url=""
    )
    names = [item["name"] for item in made.collection["item"]]
    assert names == ["Add (application/json)", "Add (application/x-www-form-urlencoded)"]
    form = made.collection["item"][1]["request"]["body"]
    assert form["urlencoded"] == [{"key": "n", "type": "text", "value": "1"}]


@pytest.mark.parametrize(
    ("scheme", "auth", "variables"),
    [
        (
            {"type": "apiKey", "in": "header", "name": "X-Key"},
            {
                "type": "apikey",
                "apikey": [
                    {"key": "key", "value": "X-Key"},
                    {"key": "value", "value": "{{s}}"},
                    {"key": "in", "value": "header"},
                ],
            },
            {"s"},
        ),
        (
            {"type": "http", "scheme": "Bearer"},
            {"type": "bearer", "bearer": [{"key": "token", "value": "{{s}}"}]},
            {"s"},
        ),
        (
            {"type": "http", "scheme": "basic"},
            {
                "type": "basic",
                "basic": [
                    {"key": "username", "value": "{{s_username}}"},
                    {"key": "password", "value": "{{s_password}}"},
                ],
            },
            {"s_username", "s_password"},
        ),
    ],
    ids=["key", "bearer", "basic"],
)
def test_secrets_are_empty_variables(scheme, auth, variables):
    components = {"securitySchemes": {"s": scheme}}
    request, made = request_of({"security": [{"s": []}]}, components=components)
    assert request["auth"] == auth
    empty = {one["key"] for one in made.collection["variable"] if not one["value"]}
    assert empty == variables


def test_public_operation_has_no_auth():
    request, _ = request_of({"security": []}, security=[{"s": []}])
    assert request["auth"] == {"type": "noauth"}


def test_each_request_tests_for_a_documented_success():
    made = build_collection(
        document({"responses": {"201": {"description": ""}, "404": {"description": ""}}}),
        base_url="",
    )
    script = made.collection["item"][0]["event"][0]["script"]["exec"]
    assert "  pm.expect(pm.response.code).to.be.oneOf([201]);" in script
    made = build_collection(document({"responses": {}}), base_url="")
    script = made.collection["item"][0]["event"][0]["script"]["exec"]
    assert "  pm.expect(pm.response.code).to.be.below(400);" in script
