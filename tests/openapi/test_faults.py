"""One view that cannot be documented takes nothing from the document but its own faulty part."""

from __future__ import annotations

import enum
import logging
import math
import sys
import typing as t

import msgspec
import openapi_spec_validator
import pydantic
import pytest

from carboy import Carboy, Query
from carboy.openapi import operation, swag_from

T = t.TypeVar("T")


class Found(msgspec.Struct):
    number: int


class Handle:
    """A class that has no JSON form."""


class Opened(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    name: str = ""
    handle: Handle = pydantic.Field(default_factory=Handle)


def with_yaml(text):
    def view(size: int = 1) -> Found: ...

    view.__doc__ = f"Find it.\n---\n{text}"
    return view


@operation(extra={"tags": 5})
def with_extra(size: int = 1) -> Found:
    """Find it."""


@swag_from("not-there.yml")
def with_file(size: int = 1) -> Found:
    """Find it."""


def with_type(size: int = 1) -> Opened:
    """Find it."""


FAULTY = {
    "not YAML": (with_yaml("Note: ask Kim. See also: the wiki"), "is not YAML"),
    "a list": (with_yaml("- a\n- b"), "expected a mapping"),
    "tags no list": (with_yaml("tags: 5"), "TypeError"),
    "parameters no list": (with_yaml("parameters: 5"), "TypeError"),
    "a parameter no mapping": (with_yaml("parameters: [5]"), "expected a mapping"),
    "responses no mapping": (with_yaml("responses: 5"), "AttributeError"),
    "no file": (with_file, "FileNotFoundError"),
    "decorator": (with_extra, "TypeError"),
    "type": (with_type, "Handle"),
}


def app_with(view) -> Carboy:
    app = Carboy("shop", static_folder=None)

    @app.get("/fine")
    def fine(number: int = 1) -> Found:
        """It is fine."""
        return Found(number)

    app.add_url_rule("/faulty/<int:number>", "faulty", view)
    return app


@pytest.mark.parametrize(("view", "reason"), FAULTY.values(), ids=FAULTY)
def test_document_has_what_is_known_and_the_log_says_what_is_not(view, reason, caplog):
    app = app_with(view)
    app.debug = True  # in debug mode the document is built for each request
    client = app.test_client()
    with caplog.at_level(logging.WARNING):
        for path in ("/openapi.json", "/openapi.yaml", "/docs", "/redoc", "/openapi.json"):
            assert client.get(path).status_code == 200, path
    document = app.openapi()
    openapi_spec_validator.validate(document)
    assert document["paths"]["/fine"]["get"]["summary"] == "It is fine."
    faulty = document["paths"]["/faulty/{number}"]["get"]
    assert faulty["summary"] == "Find it."
    assert [each["name"] for each in faulty["parameters"]] == ["number", "size"]
    assert "200" in faulty["responses"]
    (record,) = caplog.records
    line = f"line {view.__code__.co_firstlineno}"
    for words in ("'faulty'", __file__, line, reason):
        assert words in record.getMessage()


@pytest.mark.parametrize(
    ("second", "shown"),
    [("<uuid:key>", "{key}"), ("<int:number>", "{number}"), ("<word>", "{word}")],
)
def test_second_operation_for_a_path_and_a_method_is_a_fault(second, shown, caplog):
    app = Carboy("shop", static_folder=None)
    app.add_url_rule("/item/<int:key>", "first", lambda key: "")
    app.add_url_rule(f"/item/{second}", "second", lambda **variables: "")
    document = app.openapi()
    openapi_spec_validator.validate(document)
    assert list(document["paths"]) == ["/item/{key}"]
    assert document["paths"]["/item/{key}"]["get"]["operationId"] == "first"
    (record,) = caplog.records
    assert f"GET /item/{shown} of 'second'" in record.getMessage()
    assert "GET /item/{key} of 'first'" in record.getMessage()


def test_view_at_two_hosts_is_no_fault(caplog):
    app = Carboy("shop", static_folder=None, host_matching=True)
    for host in ("a.example", "b.example"):
        app.add_url_rule("/item/<int:key>", "item", host=host)
    app.view_functions["item"] = lambda key: ""
    assert list(app.openapi()["paths"]) == ["/item/{key}"]
    assert not caplog.records


DECLARED = {"key": {"type": "apiKey", "in": "header", "name": "X-Key"}}


@pytest.mark.parametrize(
    ("config", "marks", "yaml", "place"),
    [
        ({"OPENAPI_SECURITY": ["kee"]}, {}, "", "the app"),
        ({"OPENAPI_TEMPLATE": {"security": "kee"}}, {}, "", "the app"),
        ({}, {"security": "kee"}, "", "'found' ("),
        ({}, {}, "security: [kee]", "'found' ("),
        (
            {"OPENAPI_TEMPLATE": {"paths": {"/x": {"get": {"security": ["kee"]}}}}},
            {},
            "",
            "GET /x",
        ),
    ],
    ids=["config", "template", "decorator", "YAML", "path of the template"],
)
def test_security_scheme_that_nothing_declares_is_a_fault(config, marks, yaml, place, caplog):
    app = Carboy("shop", static_folder=None)
    app.config.update(OPENAPI_SECURITY_SCHEMES=DECLARED, **config)

    def found() -> str:
        return ""

    found.__doc__ = f"Find it.\n---\n{yaml}"
    app.add_url_rule("/found", "found", operation(**marks)(found))
    app.openapi()
    (record,) = caplog.records
    assert f"the security scheme 'kee' of {place}" in record.getMessage()
    assert "Declared: 'key'." in record.getMessage()


@pytest.mark.parametrize(
    ("yaml", "target"),
    [
        ("parameters: [{$ref: '#/parameters/page'}]", "#/components/parameters/page"),
        ("responses: {200: {$ref: '#/responses/found'}}", "#/components/responses/found"),
    ],
    ids=["parameter", "response"],
)
def test_reference_to_what_nothing_defines_is_a_fault(yaml, target, caplog):
    app = app_with(with_yaml(yaml))
    app.openapi()
    (record,) = caplog.records
    assert f"lacks {target!r} of 'faulty' (" in record.getMessage()
    app.config["OPENAPI_TEMPLATE"] = {
        "parameters": {"page": {"in": "query", "name": "page", "type": "integer"}},
        "responses": {"found": {"description": "It is there."}},
    }
    openapi_spec_validator.validate(app.openapi())
    assert not app._documentation_faults


def test_yaml_without_pyyaml_is_left_out_of_the_document(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "yaml", None)
    app = app_with(with_yaml("tags: [a]"))
    assert "tags" not in app.openapi()["paths"]["/faulty/{number}"]["get"]
    assert "pip install 'carboy[docs]'" in caplog.text


# --- types that were such faults ---------------------------------------------------------------


class Page(msgspec.Struct, t.Generic[T]):
    limit: int = 10
    key: T | None = None


class Search(t.TypedDict):
    text: str
    page: t.NotRequired[t.Annotated[int, msgspec.Meta(ge=1)]]


def test_fields_of_a_generic_record_and_a_typed_dict_are_parameters(caplog):
    app = Carboy("shop")

    @app.get("/pages")
    def pages(page: t.Annotated[Page[int], Query()]) -> Found: ...

    @app.get("/search")
    def search(search: t.Annotated[Search, Query()]) -> Found: ...

    paths = app.openapi()["paths"]
    assert paths["/pages"]["get"]["parameters"] == [
        {"name": "limit", "in": "query", "schema": {"type": "integer", "default": 10}},
        {"name": "key", "in": "query", "schema": {"type": "integer"}},
    ]
    assert paths["/search"]["get"]["parameters"] == [
        {"name": "text", "in": "query", "required": True, "schema": {"type": "string"}},
        {"name": "page", "in": "query", "schema": {"type": "integer", "minimum": 1}},
    ]
    assert not caplog.records


class Tag(enum.StrEnum):
    FLOWERS = "flowers"


def test_values_that_json_or_yaml_lack_are_written_as_their_nearest():
    app = Carboy("shop")

    def index(most: float = math.inf) -> Found:
        return Found(1)

    index.__doc__ = "Broken text: \ud83d."
    limits = {"x-limit": math.inf, "x-limits": [math.nan]}
    app.get("/")(operation(tags=[Tag.FLOWERS], extra=limits)(index))

    client = app.test_client()
    answers = [client.get("/openapi.json"), client.get("/openapi.yaml")]
    assert [answer.status_code for answer in answers] == [200, 200]
    found = answers[0].json["paths"]["/"]["get"]
    assert (found["tags"], found["x-limits"]) == (["flowers"], [None])
    assert "x-limit" not in found
    assert found["parameters"][0]["schema"] == {"type": "number"}
    assert found["summary"] == "Broken text: ?."
    assert "Infinity" not in answers[0].text
