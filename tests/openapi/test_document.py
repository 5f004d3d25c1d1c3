"""Documents of an app with every feature, and rules for all documents."""

from __future__ import annotations

import dataclasses
import enum
import json
import typing as t
import uuid
import warnings

import msgspec
import openapi_spec_validator
import pytest

from carboy import Blueprint, Carboy, Header, Image, Query, Upload, raises
from carboy.openapi import deprecated, operation
from carboy.views import MethodView


class Colour(enum.Enum):
    RED = "red"


class Flower(msgspec.Struct):
    """A flower."""

    name: t.Annotated[str, msgspec.Meta(min_length=1, examples=["Iris"])]
    colour: Colour = Colour.RED
    parent: Flower | None = None


@dataclasses.dataclass
class Note:
    text: str


class Filter(msgspec.Struct):
    name: str | None = None
    size: t.Annotated[int, msgspec.Meta(ge=1)] = 1


def make_app(**config) -> Carboy:
    app = Carboy("mixed", static_folder=None)
    app.config.update(config)
    return app


@pytest.fixture
def app() -> Carboy:
    app = make_app()
    shop = Blueprint("shop", __name__, url_prefix="/shop")

    @app.route("/")
    def index():
        """Start here."""
        return "hello"

    @app.route("/page")
    def page() -> str:
        return "<p>"

    @shop.post("/flowers/<int:number>")
    @raises(409, description="It is there already.")
    def add(flower: Flower, dry_run: bool = False) -> tuple[Flower, t.Literal[201]]:
        """Add a flower.

        It gets a number.

        Args:
            number: where to put it.
            flower: what was found.
            dry_run: only look.
        Returns:
            The flower as it was kept.
        Raises:
            422: The flower is none.
        Example:
            {"name": "Rose"}
        """

    @shop.get("/flowers")
    @operation(tags=["search"], operation_id="findFlowers", security=["key"])
    def find(
        wanted: t.Annotated[Filter, Query()],
        token: t.Annotated[str, Header("X-Token")],
        ids: list[uuid.UUID] = [],  # noqa: B006
    ) -> list[Flower]: ...

    @shop.put("/flowers/<int:number>/scan")
    @deprecated
    def scan(number: int, note: Note, picture: Image, more: list[Upload] = []) -> Note:  # noqa: B006
        ...

    class Notes(MethodView):
        """Notes of the shop."""

        def get(self) -> list[Note]:
            """All notes."""

        def delete(self): ...

    shop.add_url_rule("/notes", view_func=Notes.as_view("notes"))
    app.register_blueprint(shop)

    @app.route("/secret")
    @operation(hidden=True)
    def secret(): ...

    @app.model("/squares")
    def squares(number: t.Annotated[float, msgspec.Meta(le=10)]) -> float:
        """Square a number."""
        return number**2

    @app.model("/pair")
    def pair(picture: Image, scale: float = 1.0) -> dict[str, float]:
        return {}

    return app


@pytest.fixture
def document(app) -> dict[str, t.Any]:
    return app.openapi()


def test_document_is_valid(document):
    openapi_spec_validator.validate(document)
    assert document["openapi"] == "3.1.1"
    assert document["info"] == {"title": "mixed", "version": "0"}


def test_same_app_gives_the_same_text(app, document):
    assert json.dumps(app.openapi()) == json.dumps(document)


def test_paths_are_in_order_of_registration_without_hidden_ones(document):
    paths = ["/", "/page", "/shop/flowers/{number}", "/shop/flowers", "/shop/flowers/{number}/scan"]
    assert list(document["paths"]) == [*paths, "/shop/notes", "/squares", "/pair"]
    assert all(method not in item for item in document["paths"].values() for method in METHODS)


METHODS = ("head", "options")


def test_operation_ids_are_derived_from_endpoints_and_unique(document):
    ids = [one["operationId"] for item in document["paths"].values() for one in item.values()]
    assert len(set(ids)) == len(ids)
    assert {"index", "shop_add", "findFlowers", "shop_notes_get", "squares_post"} <= set(ids)


def test_untyped_view_is_documented_as_far_as_it_is_known(document):
    assert document["paths"]["/"]["get"] == {
        "summary": "Start here.",
        "operationId": "index",
        "responses": {"default": {"description": "The response of the view."}},
    }
    assert "text/html" in document["paths"]["/page"]["get"]["responses"]["default"]["content"]


def test_typed_view_is_documented_by_its_types_and_docstring(document):
    add = document["paths"]["/shop/flowers/{number}"]["post"]
    flower = {"schema": {"$ref": "#/components/schemas/Flower"}}
    assert (add["summary"], add["description"]) == ("Add a flower.", "It gets a number.")
    assert add["tags"] == ["shop"]
    assert add["parameters"] == [
        {
            "name": "number",
            "in": "path",
            "required": True,
            "description": "where to put it.",
            "schema": {"type": "integer", "minimum": 0},
        },
        {
            "name": "dry_run",
            "in": "query",
            "description": "only look.",
            "schema": {"type": "boolean", "default": False},
        },
    ]
    body = add["requestBody"]
    assert (body["description"], body["required"]) == ("what was found.", True)
    assert body["content"]["application/json"] == {**flower, "example": {"name": "Rose"}}
    assert add["responses"]["201"] == {
        "description": "The flower as it was kept.",
        "content": {"application/json": flower},
    }
    assert add["responses"]["422"]["description"] == "The flower is none."
    assert add["responses"]["409"]["content"] == {
        "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
    }


def test_responses_without_content_have_no_content():
    app = make_app()

    @app.delete("/flowers")
    def remove() -> tuple[None, t.Literal[204]]:
        """Remove all.

        Returns:
            They are gone.
        """
        return None, 204

    @app.get("/flowers")
    def show() -> Flower | tuple[None, t.Literal[304]]:
        return None, 304

    document = app.openapi()
    openapi_spec_validator.validate(document)
    operations = document["paths"]["/flowers"]
    assert operations["delete"]["responses"] == {"204": {"description": "They are gone."}}
    assert {s: "content" in a for s, a in operations["get"]["responses"].items()} == {
        "200": True,
        "304": False,
    }


def test_record_in_the_query_is_one_parameter_per_field(document):
    find = document["paths"]["/shop/flowers"]["get"]
    assert find["tags"] == ["search"]
    assert find["security"] == [{"key": []}]
    by_name = {one["name"]: one for one in find["parameters"]}
    assert by_name["name"]["schema"] == {"type": "string"}
    assert by_name["size"]["schema"] == {"type": "integer", "minimum": 1, "default": 1}
    assert by_name["X-Token"]["in"] == "header"
    assert by_name["X-Token"]["required"]
    assert by_name["ids"]["schema"]["items"] == {"type": "string", "format": "uuid"}
    assert find["responses"]["200"]["content"]["application/json"]["schema"] == {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Flower"},
    }


def test_files_are_fields_beside_those_of_a_record(document):
    scan = document["paths"]["/shop/flowers/{number}/scan"]["put"]
    assert scan["deprecated"] is True
    schema = scan["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert schema["properties"] == {
        "text": {"type": "string"},
        "picture": {"type": "string", "format": "binary"},
        "more": {"type": "array", "items": {"type": "string", "format": "binary"}},
    }
    assert schema["required"] == ["text", "picture"]


def test_methods_of_a_view_class_are_operations_with_their_own_docstrings(document):
    notes = document["paths"]["/shop/notes"]
    assert notes["get"]["summary"] == "All notes."
    assert notes["delete"]["summary"] == "Notes of the shop."
    assert set(notes["delete"]["responses"]) == {"default"}


def test_model_predicts_by_post_and_describes_itself_by_get(document):
    squares = document["paths"]["/squares"]
    assert squares["get"]["tags"] == squares["post"]["tags"] == ["models"]
    assert squares["post"]["requestBody"]["content"]["application/json"]["schema"] == {
        "type": "number",
        "maximum": 10,
    }
    assert squares["post"]["responses"]["200"]["content"]["application/json"] == {
        "schema": {"type": "number"}
    }
    content = document["paths"]["/pair"]["post"]["requestBody"]["content"]
    assert content["multipart/form-data"]["schema"]["properties"]["picture"]["format"] == "binary"
    assert content["multipart/form-data"]["schema"]["required"] == ["picture"]
    assert content["image/png"] == {"schema": {"type": "string", "format": "binary"}}
    assert "application/x-www-form-urlencoded" not in content


def test_components_are_named_once_and_sorted(document):
    schemas = document["components"]["schemas"]
    assert list(schemas) == sorted(schemas)
    assert {"Flower", "Note", "Colour", "Problem", "ModelMetadata"} <= set(schemas)
    assert {"$ref": "#/components/schemas/Flower"} in schemas["Flower"]["properties"]["parent"][
        "anyOf"
    ]


def test_classes_of_the_same_name_have_separate_schemas():
    first = msgspec.defstruct("Item", [("a", int)], module="one")
    second = dataclasses.make_dataclass("Item", [("b", int)])
    second.__module__ = "two"  # Python 3.13 sets `__module__` in spite of the namespace
    problem = msgspec.defstruct("Problem", [("sum", str)])
    app = make_app()

    @app.post("/first")
    def one(item: first) -> second:
        return second(item.a)

    @app.post("/problems")
    def solve(problem: problem) -> list[second]:
        return []

    document = app.openapi()
    openapi_spec_validator.validate(document)
    schemas = document["components"]["schemas"]
    assert {name: [*schema["properties"]] for name, schema in schemas.items()} == {
        "CarboyProblem": ["title", "status", "detail", "code", "type", "request_id", "errors"],
        "Problem": ["sum"],
        "one.Item": ["a"],
        "two.Item": ["b"],
    }
    operation = document["paths"]["/problems"]["post"]
    assert _ref(operation["requestBody"]["content"]["application/json"]) == "Problem"
    refused = operation["responses"]["422"]["content"]["application/problem+json"]
    assert _ref(refused) == "CarboyProblem"
    assert app.openapi() == document


def _ref(media):
    return media["schema"]["$ref"].rpartition("/")[2]


def test_empty_app_has_a_valid_document():
    app = make_app()
    openapi_spec_validator.validate(app.openapi())
    assert app.openapi()["paths"] == {}
    assert "components" not in app.openapi()


# --- configuration -----------------------------------------------------------------------------


def test_info_servers_tags_and_security_come_from_the_config():
    app = make_app(
        OPENAPI_INFO={"title": "Shop", "version": 2, "description": "All of it."},
        OPENAPI_TEMPLATE={
            "servers": [{"url": "https://api.example.org"}],
            "tags": [{"name": "b"}, {"name": "a", "description": "The first."}],
            "x-logo": "rose.svg",
        },
        OPENAPI_SECURITY_SCHEMES={"key": {"type": "apiKey", "in": "header", "name": "X-Key"}},
        OPENAPI_SECURITY=["key"],
    )
    app.add_url_rule(
        "/", view_func=operation(tags=["a", "c"], security=[])(lambda: ""), endpoint="i"
    )
    document = app.openapi()
    openapi_spec_validator.validate(document)
    assert document["info"] == {"title": "Shop", "version": "2", "description": "All of it."}
    assert document["servers"] == [{"url": "https://api.example.org"}]
    assert document["security"] == [{"key": []}]
    assert document["paths"]["/"]["get"]["security"] == []
    assert document["components"]["securitySchemes"]["key"]["name"] == "X-Key"
    assert [tag["name"] for tag in document["tags"]] == ["b", "a", "c"]
    assert document["x-logo"] == "rose.svg"


def test_template_may_be_a_file_beside_the_app(tmp_path):
    (tmp_path / "top.yml").write_text("info: {title: Shop}\n")
    app = Carboy("x", root_path=str(tmp_path))
    app.config["OPENAPI_TEMPLATE"] = "top.yml"
    assert app.openapi()["info"]["title"] == "Shop"
    (tmp_path / "top.yml").write_text("- a\n")
    with pytest.raises(ValueError, match=r"'top.yml': expected a mapping, .* got list"):
        app.openapi()


def test_single_text_is_one_item_of_a_list():
    app = make_app(
        OPENAPI_SECURITY_SCHEMES={"key": {"type": "apiKey", "in": "header", "name": "X-Key"}},
        OPENAPI_SECURITY="key",
        OPENAPI_TEMPLATE={"servers": "https://api.example.org", "tags": "first"},
    )

    @app.get("/decorated")
    @operation(tags="search", security="key", extra={"servers": "https://search.example.org"})
    def decorated() -> str:
        return ""

    @app.get("/yaml")
    def written() -> str:
        """Read.

        ---
        tags: shop
        security: key
        """
        return ""

    document = app.openapi()
    openapi_spec_validator.validate(document)
    assert document["security"] == [{"key": []}]
    assert document["servers"] == [{"url": "https://api.example.org"}]
    assert [tag["name"] for tag in document["tags"]] == ["first", "search", "shop"]
    first, second = (document["paths"][path]["get"] for path in ("/decorated", "/yaml"))
    assert (first["tags"], second["tags"]) == (["search"], ["shop"])
    assert first["security"] == second["security"] == [{"key": []}]
    assert first["servers"] == [{"url": "https://search.example.org"}]


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("OPENAPI_INFO", "Shop", "expected a dict, got str 'Shop'"),
        ("OPENAPI_SECURITY_SCHEMES", ["key"], "expected a dict, got list"),
        ("OPENAPI_TEMPLATE", ["top.yml"], "expected a dict, got list"),
        ("OPENAPI_TEMPLATE", "not-there.yml", r"not-there\.yml' cannot be read"),
    ],
)
def test_wrong_value_is_refused_with_the_name_of_its_key(key, value, reason):
    with pytest.raises(ValueError, match=f"{key}.*{reason}"):
        make_app(**{key: value}).openapi()


def test_fields_with_the_names_of_keywords_are_no_keywords():
    class Limits(msgspec.Struct):
        uniqueItems: bool = False
        minItems: int = 0
        propertyNames: list[str] = []
        enum: list[str] = []
        schema: t.Any = msgspec.field(default_factory=dict)

    app = make_app()

    @app.post("/limits")
    def limits(limits: Limits) -> int:
        return 1

    document = app.openapi()
    openapi_spec_validator.validate(document)
    properties = document["components"]["schemas"]["Limits"]["properties"]
    assert list(properties) == ["uniqueItems", "minItems", "propertyNames", "enum", "schema"]
    assert properties["propertyNames"] == {
        "type": "array",
        "items": {"type": "string"},
        "default": [],
    }
    assert not app._documentation_faults


def test_title_of_a_module_named_app_is_its_folder(tmp_path):
    assert Carboy("app", root_path=str(tmp_path)).openapi()["info"]["title"] == tmp_path.name


def test_each_media_type_of_a_body_is_listed_if_configured(app):
    path = "/shop/flowers/{number}"
    content = app.openapi()["paths"][path]["post"]["requestBody"]["content"]
    assert list(content) == ["application/json"]
    app.config["OPENAPI_ALL_MEDIA_TYPES"] = True
    document = app.openapi()
    openapi_spec_validator.validate(document)
    content = document["paths"][path]["post"]["requestBody"]["content"]
    assert {"application/json", "application/msgpack", "multipart/form-data"} <= set(content)


# --- decorators --------------------------------------------------------------------------------


def test_marks_survive_other_decorators():
    import functools

    def logged(view):
        @functools.wraps(view)
        def wrapper(**arguments):
            return view(**arguments)

        return wrapper

    app = make_app()

    @app.get("/a")
    @operation(summary="Outer")
    @logged
    @operation(summary="Inner", tags=["t"], extra={"x-weight": 1})
    def a(): ...

    described = app.openapi()["paths"]["/a"]["get"]
    assert (described["summary"], described["tags"], described["x-weight"]) == ("Outer", ["t"], 1)


def test_view_deprecated_by_pep_702_is_deprecated():
    typing_extensions = pytest.importorskip("typing_extensions")
    app = make_app()

    @app.get("/a")
    @typing_extensions.deprecated("use b")
    def a():
        return ""

    assert app.openapi()["paths"]["/a"]["get"]["deprecated"] is True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert app.test_client().get("/a").status_code == 200


def test_paths_that_differ_only_in_names_are_one_path():
    app = make_app(
        OPENAPI_TEMPLATE={
            "paths": {
                "/users/{id}": {
                    "parameters": [{"in": "query", "name": "trace", "schema": {"type": "string"}}],
                    "get": {"parameters": [{"in": "path", "name": "id", "description": "Who."}]},
                }
            }
        }
    )

    @app.get("/users/<int:number>")
    def show(number: int) -> str:
        return ""

    @app.delete("/users/<name>")
    def remove(name: str) -> str:
        """Remove.

        ---
        parameters: [{in: path, name: name, description: Whom.}]
        """
        return ""

    document = app.openapi()
    openapi_spec_validator.validate(document)
    item = document["paths"].pop("/users/{number}")
    assert document["paths"] == {}
    words = {
        method: [(each["name"], each["description"]) for each in item[method]["parameters"]]
        for method in ("get", "delete")
    }
    assert words == {"get": [("number", "Who.")], "delete": [("number", "Whom.")]}
    assert [each["name"] for each in item["parameters"]] == ["trace"]


def test_two_rules_of_one_view_have_different_ids():
    app = make_app()

    @app.get("/users")
    @app.get("/users/<int:page>")
    def users(page=0): ...

    paths = app.openapi()["paths"]
    ids = {paths[path]["get"]["operationId"] for path in paths}
    assert ids == {"users", "users_2"}
    assert "404" not in paths["/users"]["get"]["responses"]


def test_rules_without_a_view_are_left_out():
    app = Carboy("x", static_folder="static")
    app.add_url_rule("/only-built", endpoint="built", build_only=True)
    app.add_url_rule("/old", endpoint="old", redirect_to="/new", view_func=lambda: "")
    app.add_url_rule("/no-view", endpoint="none")
    assert app.openapi()["paths"] == {}


def test_template_may_extend_an_operation_with_a_reusable_parameter():
    app = Carboy("shop")
    header = {"name": "X-Trace", "in": "header", "schema": {"type": "string"}}
    app.config["OPENAPI_TEMPLATE"] = {
        "components": {"parameters": {"trace": header}},
        "paths": {"/pets/{petId}": {"get": {"description": "More words."}}},
    }

    @app.get("/pets/<int:id>")
    def pet(id: int) -> str:
        """Find a pet.
        ---
        parameters:
          - $ref: '#/components/parameters/trace'
        """

    found = app.openapi()["paths"]["/pets/{id}"]["get"]
    assert found["description"] == "More words."
    assert [p.get("name") or p["$ref"] for p in found["parameters"]] == [
        "id",
        "#/components/parameters/trace",
    ]
    assert not app._documentation_faults


def test_view_may_have_two_rules_for_different_values_of_a_variable():
    app = Carboy("shop")

    @app.get("/calc/<int:x>")
    @app.get("/calc/<float:x>")
    def calc(x: float) -> float: ...

    assert list(app.openapi()["paths"]) == ["/calc/{x}"]
    assert not app._documentation_faults
