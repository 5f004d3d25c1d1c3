"""Mistakes in what is registered with an app: hooks before predictions, extensions for Flask."""

from __future__ import annotations

import sys
import types

import pytest
from apikeys import make_key, records
from checkfindings import findings_of

from carboy import Blueprint, Carboy
from carboy.access.keyfile import changing


def sign_in():
    return None


@pytest.fixture
def app():
    app = Carboy(__name__)

    @app.model("/double")
    def double(number: int) -> int:
        return 2 * number

    return app


def test_hook_that_keeps_predictions_on_threads_is_found(app, tmp_path):
    assert findings_of("carboy.W007", app, tmp_path) == []
    app.before_request(sign_in)
    (found,) = findings_of("carboy.W007", app, tmp_path)
    assert found.place.endswith(f"test_appchecks.py:{sign_in.__code__.co_firstlineno}")
    assert "/double" in found.message
    assert "before_request functions must run first" in found.message


def test_urls_of_a_protocol_are_checked_too(app, tmp_path):
    app.config["MODEL_PROTOCOLS"] = ["v2"]
    app.before_request(sign_in)
    (found,) = findings_of("carboy.W007", app, tmp_path)
    assert "/double, /v2/models/double/infer" in found.message


def test_hook_of_another_blueprint_is_no_mistake(app, tmp_path):
    blueprint = Blueprint("pages", __name__)
    blueprint.before_request(sign_in)
    app.register_blueprint(blueprint)
    assert findings_of("carboy.W007", app, tmp_path) == []


def test_middleware_around_the_app_is_named(app, tmp_path):
    original = app.wsgi_app
    app.wsgi_app = lambda environ, start_response: original(environ, start_response)
    (found,) = findings_of("carboy.W007", app, tmp_path)
    assert found.place == "model double"


def test_app_without_models_has_no_predictions_on_threads(tmp_path):
    app = Carboy(__name__)
    app.before_request(sign_in)
    assert findings_of("carboy.W007", app, tmp_path) == []


def test_models_that_only_a_file_closes_are_found(tmp_path):
    app = Carboy(__name__, instance_path=str(tmp_path))
    for name, access in (("silent", None), ("keyed", "key"), ("free", "open")):

        @app.model(f"/{name}", access=access)
        def model(number: int) -> int:
            return number

    assert findings_of("carboy.W011", app, tmp_path) == []
    key = make_key("a")
    with changing(app.key_file()) as keys:
        keys[key.stored.id] = key.stored
    app.key_store().due_s = 0.0
    app.key_store().refresh()
    assert [found.place for found in findings_of("carboy.W011", app, tmp_path)] == ["model silent"]
    app.config["ACCESS_DEFAULT"] = "key"
    assert findings_of("carboy.W011", app, tmp_path) == []
    del app.config["ACCESS_DEFAULT"]
    app.config["ACCESS_KEYS"] = records(key)
    assert findings_of("carboy.W011", app, tmp_path) == []


@pytest.fixture
def extension(monkeypatch):
    """A module of an extension that has imported `g` from Flask, which is not carboy."""
    request = type("Request", (), {"__module__": "flask.wrappers"})
    flask, extension = types.ModuleType("flask"), types.ModuleType("flask_shop")
    flask.Request = extension.Request = request
    extension.note = types.FunctionType(sign_in.__code__, vars(extension), "note")
    monkeypatch.setitem(sys.modules, "flask", flask)
    monkeypatch.setitem(sys.modules, "flask_shop", extension)
    return extension


def test_extension_that_uses_the_installed_flask_is_found(extension, tmp_path):
    app = Carboy(__name__)
    assert findings_of("carboy.E007", app, tmp_path) == []
    app.extensions["shop"] = extension.note
    (found,) = findings_of("carboy.E007", app, tmp_path)
    assert found.place == "flask_shop"
    assert "uses objects of the installed Flask" in found.message
