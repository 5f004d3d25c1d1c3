"""flasgger: Swagger documentation from docstrings."""

from __future__ import annotations

import flask
import pytest
from flasgger import Swagger, swag_from

SCHEMA = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}},
}


@pytest.fixture
def app(app):
    Swagger(app)

    @app.get("/colors/<palette>")
    def colors(palette):
        """Colours of a palette.

        What a painter would take.
        ---
        parameters:
          - name: palette
            in: path
            type: string
            required: true
        responses:
          200:
            description: a list of names
        """
        return [palette]

    @app.post("/painters")
    @swag_from({"tags": ["people"], "responses": {"201": {"description": "made"}}})
    def painters():
        return {}, 201

    @app.post("/checked")
    @swag_from(
        {
            "parameters": [{"in": "body", "name": "body", "schema": {"id": "Painter", **SCHEMA}}],
            "responses": {"200": {"description": "known"}},
        },
        validation=True,
    )
    def checked():
        return flask.request.json["name"]

    return app


def test_document_lists_views_by_their_docstrings(client):
    document = client.get("/apispec_1.json").json
    operation = document["paths"]["/colors/{palette}"]["get"]
    assert operation["summary"] == "Colours of a palette."
    assert operation["parameters"][0]["name"] == "palette"
    assert document["paths"]["/painters"]["post"]["tags"] == ["people"]


def test_page_and_its_assets_are_served(client):
    page = client.get("/apidocs/")
    assert page.status_code == 200
    assert "/apispec_1.json" in page.text
    assert client.get("/flasgger_static/swagger-ui.css").status_code == 200


def test_documented_views_still_respond(client):
    assert client.get("/colors/red").json == ["red"]
    assert client.post("/painters").status_code == 201


def test_body_is_validated_against_the_documented_schema(client):
    assert client.post("/checked", json={"name": "ada"}).text == "ada"
    assert client.post("/checked", json={"name": 1}).status_code == 400
