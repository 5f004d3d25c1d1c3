"""Mistakes in the configuration: each check finds its mistake, and nothing in an app without it."""

from __future__ import annotations

import secrets
import types

import pytest
from checkfindings import findings_of

import carboy
from carboy import Carboy, session

RANDOM = secrets.token_hex()


def app_with(**config) -> Carboy:
    app = Carboy(__name__)
    app.config.update(config)
    return app


def app_without_sessions() -> Carboy:
    """Return an app whose only view is in a module that does not import `session`."""
    module = types.ModuleType("plain")
    exec("def index():\n    return 'ok'", vars(module))
    app = Carboy("plain")
    app.add_url_rule("/", view_func=module.index)
    return app


def read_session():
    return str(session.get("n"))


def app_with_sessions(**config) -> Carboy:
    app = app_with(**config)
    app.add_url_rule("/", view_func=read_session)
    return app


# By code: the smallest app that has the mistake, one that has not, and what the message says.
CASES = {
    "carboy.E001": (app_with(DEBUG=True), app_with(), "Debug mode is on"),
    "carboy.E002": (
        app_with(MAX_CONTENT_LENGTH="16M"),
        app_with(MAX_CONTENT_LENGTH=16),
        "MAX_CONTENT_LENGTH: expected int or None, got text",
    ),
    "carboy.E003": (app_with_sessions(), app_with_sessions(SECRET_KEY=RANDOM), "is not set"),
    "carboy.W001": (app_without_sessions(), app_with(SECRET_KEY=RANDOM), "is not set"),
    "carboy.E004": (app_with(SECRET_KEY="kT5-q"), app_with(SECRET_KEY=RANDOM), "fewer than 16"),
    "carboy.E005": (app_with(SECRET_KEY="dev"), app_with(SECRET_KEY=RANDOM), "placeholder"),
    "carboy.W002": (
        app_with(SECRET_KEY=RANDOM),
        app_with(SECRET_KEY=RANDOM, SESSION_COOKIE_SECURE=True),
        "behind TLS",
    ),
    "carboy.W003": (
        app_with(SECRET_KEY=RANDOM, SESSION_COOKIE_HTTPONLY=False),
        app_with(SECRET_KEY=RANDOM),
        "any script",
    ),
    "carboy.W004": (
        app_with(SECRET_KEY=RANDOM),
        app_with(SECRET_KEY=RANDOM, SESSION_COOKIE_SAMESITE="Lax"),
        "other sites",
    ),
}


@pytest.mark.parametrize("code", CASES)
def test_mistake_is_found_where_it_is(code, tmp_path):
    wrong, right, words = CASES[code]
    (found,) = findings_of(code, wrong, tmp_path)
    assert words in found.message
    assert findings_of(code, right, tmp_path) == []


def test_only_one_of_two_codes_reports_a_missing_key(tmp_path):
    assert findings_of("carboy.W001", app_with_sessions(), tmp_path) == []
    assert findings_of("carboy.E003", app_without_sessions(), tmp_path) == []


def test_session_of_the_imported_package_is_noticed(tmp_path):
    module = types.ModuleType("dotted")
    module.carboy = carboy
    exec("def index():\n    return carboy.session['n']", vars(module))
    app = Carboy("dotted")
    app.add_url_rule("/", view_func=module.index)
    assert findings_of("carboy.E003", app, tmp_path) != []


def test_key_made_for_development_counts_as_missing(tmp_path):
    app = Carboy(__name__, root_path=str(tmp_path), instance_path=str(tmp_path / "instance"))
    app.config.from_project(tmp_path, environment="development")
    app.add_url_rule("/", view_func=read_session)
    for read in (False, True):
        if read:
            assert app.config["SECRET_KEY"]
        (found,) = findings_of("carboy.E003", app, tmp_path)
        assert "for development only" in found.message


@pytest.mark.parametrize("code", ["carboy.E004", "carboy.E005"])
def test_fallback_keys_are_checked_and_no_key_is_shown(code, tmp_path):
    app = app_with(SECRET_KEY=RANDOM, SECRET_KEY_FALLBACKS=["kT5-q", "changeme"])
    (found,) = findings_of(code, app, tmp_path)
    assert "SECRET_KEY_FALLBACKS" in found.message
    assert not any(key in str(found) for key in ("kT5-q", "changeme", RANDOM))


def test_cookies_of_an_app_without_sessions_are_no_mistake(tmp_path):
    for code in ("carboy.W002", "carboy.W003", "carboy.W004"):
        app = app_without_sessions()
        app.config["SESSION_COOKIE_HTTPONLY"] = False
        assert findings_of(code, app, tmp_path) == []


def test_config_of_another_class_is_checked(tmp_path):
    class Own(Carboy):
        def make_config(self, instance_relative=False):
            return dict(super().make_config(instance_relative))

    app = Own(__name__)
    app.config["SECRET_KEY"] = "dev"
    (found,) = findings_of("carboy.E005", app, tmp_path)
    assert found.place.startswith("config key SECRET_KEY")
    assert findings_of("carboy.E002", app, tmp_path) == []


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("MAX_CONTENT_LENGTH", -1, "MAX_CONTENT_LENGTH from"),
        ("TRUSTED_HOSTS", "*", "TRUSTED_HOSTS from"),
        ("TRUSTED_HOSTS", "a.org,b.org", "TRUSTED_HOSTS from"),
        ("TRUSTED_HOSTS", 5, "TRUSTED_HOSTS: expected list[str] or str or None, got int 5."),
        ("UPLOAD_FOLDER", 5, "UPLOAD_FOLDER: expected str or None, got int 5."),
    ],
)
def test_value_that_generated_files_refuse_is_found_once(key, value, expected):
    (found,) = findings_of("carboy.E002", app_with(**{key: value}))
    assert found.message.startswith(expected)


def test_trusted_hosts_may_be_one_text():
    assert findings_of("carboy.E002", app_with(TRUSTED_HOSTS="a.org")) == []
