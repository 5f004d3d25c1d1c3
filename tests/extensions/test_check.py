"""`carboy check` recognises what extensions do: CORS, and CSRFProtect of Flask-WTF."""

from __future__ import annotations

import flask
import pytest
from checkfindings import findings_of
from flask_cors import CORS, cross_origin
from flask_socketio import SocketIO
from flask_wtf import CSRFProtect

if flask.Flask.__module__.partition(".")[0] != "carboy":
    pytest.skip("the command is carboy's", allow_module_level=True)


@pytest.mark.parametrize(
    ("options", "is_open"),
    [
        ({"supports_credentials": True}, True),
        ({"supports_credentials": True, "origins": "https://shop.example"}, False),
        ({}, False),
        ({"resources": {r"/api/*": {"supports_credentials": True, "origins": "*"}}}, True),
    ],
)
def test_any_origin_with_credentials_is_found(app, tmp_path, options, is_open):
    CORS(app, **options)
    places = [each.place for each in findings_of("carboy.E006", app, tmp_path)]
    assert places == ["extension Flask-CORS"] * is_open


def test_options_of_the_configuration_are_found(app, tmp_path):
    app.config.update(CORS_SUPPORTS_CREDENTIALS=True)
    CORS(app)
    assert len(findings_of("carboy.E006", app, tmp_path)) == 1


@pytest.mark.parametrize(
    ("options", "is_open"),
    [
        ({"supports_credentials": True}, True),
        ({"supports_credentials": True, "origins": ["https://shop.example"]}, False),
        ({}, False),
    ],
)
def test_view_with_cross_origin_is_found(app, tmp_path, options, is_open):
    @app.get("/api")
    @cross_origin(**options)
    def api():
        return "api"

    places = [each.place for each in findings_of("carboy.E006", app, tmp_path)]
    assert ["test_check.py:" in place for place in places] == [True] * is_open


@pytest.mark.parametrize(
    ("options", "is_open"),
    [
        ({"cors_allowed_origins": "*"}, True),
        ({"cors_allowed_origins": "*", "cors_credentials": False}, False),
        ({}, False),
    ],
)
def test_sockets_for_any_origin_are_found(app, tmp_path, options, is_open):
    SocketIO(app, async_mode="threading", **options)
    places = [each.place for each in findings_of("carboy.E006", app, tmp_path)]
    assert places == ["extension Flask-SocketIO"] * is_open


@pytest.mark.parametrize(("enabled", "count"), [(True, 0), (False, 1)])
def test_protection_of_flask_wtf_counts_unless_it_is_switched_off(app, tmp_path, enabled, count):
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "page.html").write_text('<form method="post"></form>')
    app = flask.Flask("pages", root_path=str(tmp_path))
    app.config.update(SECRET_KEY="a key that is long enough", WTF_CSRF_ENABLED=enabled)
    CSRFProtect(app)
    assert len(findings_of("carboy.W008", app, tmp_path)) == count
