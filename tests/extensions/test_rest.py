"""Flask-RESTful, Flask-RESTX, flask-smorest: class-based resources with their own dispatching."""

from __future__ import annotations

import flask
import flask_restful
import flask_restx
import flask_smorest
import marshmallow
import pytest
from flask.views import MethodView


@pytest.fixture
def restful(app):
    api = flask_restful.Api(app, prefix="/restful", catch_all_404s=True)
    parser = flask_restful.reqparse.RequestParser()
    parser.add_argument("n", type=int, required=True, location="args")

    class Double(flask_restful.Resource):
        def get(self):
            return {"double": 2 * parser.parse_args()["n"]}, 200, {"X-By": "restful"}

        def delete(self):
            flask_restful.abort(409, message="in use")

    api.add_resource(Double, "/double")
    return app.test_client()


def test_restful_resource_parses_and_responds(restful):
    answer = restful.get("/restful/double", query_string={"n": 4})
    assert answer.json == {"double": 8}
    assert answer.headers["X-By"] == "restful"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/restful/double?n=x", 400),
        ("DELETE", "/restful/double", 409),
        ("PUT", "/restful/double", 405),
        ("GET", "/restful/nothing", 404),
    ],
    ids=["bad argument", "abort", "no such method", "no such path"],
)
def test_restful_errors_are_json(restful, method, path, status):
    answer = restful.open(path, method=method)
    assert answer.status_code == status
    assert answer.is_json
    assert "message" in answer.json


@pytest.fixture
def restx(app):
    blueprint = flask.Blueprint("v1", __name__, url_prefix="/v1")
    api = flask_restx.Api(blueprint, title="Birds", doc="/doc")
    birds = api.namespace("birds")
    bird = api.model("Bird", {"name": flask_restx.fields.String(required=True)})

    @birds.route("/<int:number>")
    class Bird(flask_restx.Resource):
        @api.marshal_with(bird)
        def get(self, number):
            return {"name": f"bird {number}", "secret": 1}

        @api.expect(bird, validate=True)
        def put(self, number):
            return {"number": number, **api.payload}

    app.register_blueprint(blueprint)
    return app.test_client()


def test_restx_marshals_validates_and_documents(restx):
    assert restx.get("/v1/birds/3").json == {"name": "bird 3"}
    assert restx.put("/v1/birds/3", json={"name": "owl"}).json == {"number": 3, "name": "owl"}
    assert restx.put("/v1/birds/3", json={}).status_code == 400
    assert "/birds/{number}" in restx.get("/v1/swagger.json").json["paths"]
    assert restx.get("/v1/doc").status_code == 200
    assert restx.get("/swaggerui/swagger-ui.css").status_code == 200


def test_restx_errors_are_json_under_the_blueprint_only(restx):
    assert restx.get("/v1/birds/none").status_code == 404
    assert restx.post("/v1/birds/3").is_json
    assert not restx.get("/elsewhere").is_json


@pytest.fixture
def smorest(app):
    app.config.update(API_TITLE="Pets", API_VERSION="1", OPENAPI_VERSION="3.0.3")
    app.config.update(OPENAPI_URL_PREFIX="/", OPENAPI_JSON_PATH="api.json")
    api = flask_smorest.Api(app)
    blueprint = flask_smorest.Blueprint("pets", __name__, url_prefix="/pets")

    class Pet(marshmallow.Schema):
        name = marshmallow.fields.String(required=True)

    @blueprint.route("/")
    class Pets(MethodView):
        @blueprint.arguments(Pet)
        @blueprint.response(201, Pet)
        def post(self, pet):
            """Take in a pet."""
            return pet

    api.register_blueprint(blueprint)
    return app.test_client()


def test_smorest_validates_and_documents(smorest):
    answer = smorest.post("/pets/", json={"name": "Rex"})
    assert (answer.status_code, answer.json) == (201, {"name": "Rex"})
    assert smorest.post("/pets/", json={}).status_code == 422
    document = smorest.get("/api.json").json
    assert document["paths"]["/pets/"]["post"]["summary"] == "Take in a pet."
