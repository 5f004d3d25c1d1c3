"""An app that used flasgger keeps its documentation."""

from __future__ import annotations

import pathlib

import openapi_spec_validator
import pytest

from carboy import Carboy
from carboy.openapi import swag_from
from carboy.views import MethodView

HERE = pathlib.Path(__file__).parent
COLOURS = {
    "tags": ["colours"],
    "parameters": [{"name": "palette", "in": "path", "type": "string", "enum": ["rgb", "cmyk"]}],
    "definitions": {"Color": {"type": "string"}},
    "responses": {
        "200": {
            "description": "names",
            "schema": {"type": "array", "items": {"$ref": "#/definitions/Color"}},
        }
    },
}


@pytest.fixture
def app() -> Carboy:
    return Carboy("swag", static_folder=None)


def operation_of(app, path="/a", method="get"):
    document = app.openapi()
    openapi_spec_validator.validate(document)
    return document["paths"][path][method]


def test_yaml_in_a_docstring_is_merged_into_the_rules_description(app):
    @app.get("/colours/<palette>/<int:number>")
    def colours(palette, number):
        """Colours of a palette.

        Those of painters.
        ---
        tags:
          - colours
        parameters:
          - name: palette
            in: path
            type: string
            enum: [rgb, cmyk]
          - name: elsewhere
            in: path
            type: string
        responses:
          200:
            description: names
            schema:
              id: Palette
              type: array
              items: {type: string}
        """

    described = operation_of(app, "/colours/{palette}/{number}")
    assert (described["summary"], described["description"]) == (
        "Colours of a palette.",
        "Those of painters.",
    )
    assert described["tags"] == ["colours"]
    palette, number = described["parameters"]
    assert palette["schema"] == {"type": "string", "enum": ["rgb", "cmyk"]}
    assert number["schema"] == {"type": "integer", "minimum": 0}
    assert described["responses"]["200"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Palette"
    }
    assert app.openapi()["components"]["schemas"]["Palette"]["type"] == "array"


def test_dict_is_read_and_not_modified(app):
    @app.get("/colours/<palette>")
    @swag_from(COLOURS)
    def colours(palette):
        """Colours."""

    described = operation_of(app, "/colours/{palette}")
    assert described["summary"] == "Colours."
    assert described["responses"]["200"]["content"]["application/json"]["schema"]["items"] == {
        "$ref": "#/components/schemas/Color"
    }
    assert app.openapi() == app.openapi()
    assert "schema" not in COLOURS["parameters"][0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_file_is_read_in_any_encoding_with_a_byte_order_mark(app, tmp_path, encoding):
    file = tmp_path / "a.yml"
    file.write_text("Die Übersicht.\n\nMehr.\n---\ntags: [grün]\n", encoding=encoding)

    @app.get("/a")
    @swag_from(file)
    def a(): ...

    described = operation_of(app)
    assert (described["summary"], described["description"]) == ("Die Übersicht.", "Mehr.")
    assert described["tags"] == ["grün"]


def test_files_may_be_for_an_endpoint_and_for_methods(app, tmp_path):
    for name in ("get", "post", "other"):
        (tmp_path / f"{name}.yml").write_text(f"tags: [{name}]\n")

    @app.route("/a", methods=["GET", "POST"])
    @app.route("/b", endpoint="other")
    @swag_from(tmp_path / "get.yml", endpoint="a", methods=["GET"])
    @swag_from(tmp_path / "post.yml", methods="POST")
    @swag_from(tmp_path / "other.yml", endpoint="other")
    def a(): ...

    assert operation_of(app)["tags"] == ["get"]
    assert operation_of(app, method="post")["tags"] == ["post"]
    assert operation_of(app, "/b")["tags"] == ["other"]


def test_docstring_may_name_a_file_and_files_may_import_others(app, tmp_path):
    (tmp_path / "a.yml").write_text('tags: [a]\nresponses:\n  200:\n    import: "ok.yml"\n')
    (tmp_path / "ok.yml").write_text("description: |\n  fine\n  so\n")

    def a(): ...

    a.__doc__ = f"file: {tmp_path / 'a.yml'}"
    app.add_url_rule("/a", view_func=a)
    assert operation_of(app)["responses"]["200"]["description"] == "fine\nso\n"
    assert operation_of(app)["summary"] == "A"


def test_file_that_imports_itself_is_left_out(app, tmp_path, caplog):
    (tmp_path / "a.yml").write_text('import: "a.yml"\n')
    app.add_url_rule("/a", "a", swag_from(tmp_path / "a.yml")(lambda: ""))
    assert operation_of(app)["summary"] == "A"
    assert "does a file import itself" in caplog.text


def test_file_name_is_relative_to_the_view(app, caplog):
    app.add_url_rule("/a", "a", swag_from("not-there.yml")(lambda: ""))
    assert operation_of(app)["summary"] == "A"
    assert repr(str(HERE / "not-there.yml")) in caplog.text


def test_methods_of_a_class_have_their_own_yaml(app):
    class Users(MethodView):
        def get(self):
            """All users.
            ---
            tags: [users]
            """

        @swag_from({"tags": ["people"], "responses": {201: {"description": "made"}}})
        def post(self): ...

    app.add_url_rule("/a", view_func=Users.as_view("users"))
    assert operation_of(app)["tags"] == ["users"]
    assert operation_of(app, method="post")["responses"] == {"201": {"description": "made"}}


def test_one_specification_may_contain_several_methods(app):
    @app.route("/a", methods=["GET", "PUT"])
    def a():
        """A.
        ---
        get: {tags: [reading]}
        put: {tags: [writing]}
        """

    assert operation_of(app)["tags"] == ["reading"]
    assert operation_of(app, method="put")["tags"] == ["writing"]


def test_swagger_views_keep_their_class_attributes(app):
    class SwaggerView(MethodView): ...

    class Users(SwaggerView):
        tags = ["users"]
        responses = {200: {"description": "fine"}}

        def get(self): ...

    app.add_url_rule("/a", view_func=Users.as_view("users"))
    assert operation_of(app)["tags"] == ["users"]
    assert operation_of(app)["responses"]["200"]["description"] == "fine"


def test_top_of_the_document_comes_from_flasggers_config(app):
    app.config["SWAGGER"] = {
        "title": "Old API",
        "version": "0.1",
        "uiversion": 3,
        "specs_route": "/apidocs/",
        "definitions": {"Color": {"type": "string"}},
        "securityDefinitions": {"basic": {"type": "basic"}},
    }
    app.swag = type("Swagger", (), {"template": {"info": {"description": "By template."}}})()
    document = app.openapi()
    openapi_spec_validator.validate(document)
    assert document["info"] == {
        "title": "Old API",
        "version": "0.1",
        "description": "By template.",
    }
    assert document["components"]["schemas"] == {"Color": {"type": "string"}}
    assert document["components"]["securitySchemes"]["basic"]["scheme"] == "basic"


def test_validation_raises_and_names_the_alternative():
    with pytest.raises(TypeError, match="carboy validates by types"):
        swag_from({}, validation=True)


# --- specifications that flasgger accepts and OpenAPI does not ---------------------------------


class Lazy:
    """A text that is created by the request, like flasgger's `LazyString`."""

    def __str__(self):
        from carboy import request

        return request.host

    def __len__(self):
        return len(str(self))


@pytest.mark.parametrize(
    "specification",
    [
        {"security": {"key": ["read"]}},
        {"security": {"key": {"$ref": "#/securityDefinitions/key"}}},
        {"schemes": ["https"], "swagger": "2.0", "info": {"title": "x"}, "paths": {}},
        {"responses": {200: {"schema": {"$ref": "#/definitions/Nowhere"}}}},
        {"responses": {200: {"schema": int}}},
        {"responses": {200: {"examples": {"application/json": {1: "a"}}}}},
        {"description": Lazy()},
    ],
    ids=[
        *("security as a mapping", "a reference as scopes", "a whole document", "undefined"),
        *("a class as schema", "numbers as keys", "lazy"),
    ],
)
def test_incomplete_specification_gives_a_valid_document(app, specification):
    app.config["OPENAPI_SECURITY_SCHEMES"] = {
        "key": {"type": "apiKey", "in": "header", "name": "K"}
    }
    app.add_url_rule("/a", "a", swag_from(specification)(lambda: ""))
    assert operation_of(app)["summary"] == "A"


def test_lazy_texts_of_the_template_are_left_out(app):
    app.config["SWAGGER"] = {"title": "Old", "host": Lazy(), "description": Lazy()}
    document = app.openapi()
    openapi_spec_validator.validate(document)
    assert document["info"]["title"] == "Old"
    assert "servers" not in document


def test_template_adds_to_paths_of_views(app):
    parameter = {"name": "x", "in": "path", "type": "string", "required": True, "enum": ["a"]}
    app.config["OPENAPI_TEMPLATE"] = {
        "paths": {"/a/{x}": {"get": {"tags": ["t"], "parameters": [parameter]}}}
    }
    app.add_url_rule("/a/<x>", "a", lambda x: "")
    described = operation_of(app, "/a/{x}")
    assert described["tags"] == ["t"]
    assert [one["schema"] for one in described["parameters"]] == [{"type": "string", "enum": ["a"]}]


def test_view_uses_reusable_parts_of_the_template(app):
    app.config["OPENAPI_TEMPLATE"] = {
        "definitions": {
            "Pet": {
                "type": "object",
                "discriminator": "kind",
                "required": ["kind"],
                "properties": {"kind": {"type": "string"}},
            }
        },
        "parameters": {
            "pet": {"in": "body", "name": "pet", "schema": {"$ref": "#/definitions/Pet"}}
        },
        "components": {
            "parameters": {
                "page": {
                    "in": "query",
                    "name": "page",
                    "schema": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
                }
            }
        },
    }
    references = ["#/parameters/pet", "#/components/parameters/page"]
    specification = {"parameters": [{"$ref": target} for target in references]}
    app.add_url_rule("/a", "a", swag_from(specification)(lambda: ""), methods=["POST"])
    document = app.openapi()
    openapi_spec_validator.validate(document)
    operation = document["paths"]["/a"]["post"]
    assert operation["parameters"] == [{"$ref": "#/components/parameters/page"}]
    (media,) = operation["requestBody"]["content"].values()
    assert media["schema"] == {"$ref": "#/components/schemas/Pet"}
    page = document["components"]["parameters"]["page"]
    assert page["schema"] == {"type": "integer", "exclusiveMinimum": 0}


def test_rule_for_a_method_that_the_class_lacks_is_left_out(app):
    class Users(MethodView):
        def get(self): ...

    app.add_url_rule("/a", view_func=Users.as_view("users"), methods=["GET", "DELETE"])
    assert list(app.openapi()["paths"]["/a"]) == ["get"]
