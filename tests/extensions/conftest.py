"""Make `flask` mean carboy before any extension is imported.

With `EXTENSIONS_ON=flask` the tests run on Flask itself; a test that fails there too fails because
of the extension.
"""

from __future__ import annotations

import os
import typing as t

import pytest

ON_FLASK = os.environ.get("EXTENSIONS_ON") == "flask"

if not ON_FLASK:
    import carboy

    carboy.install_as_flask()

import flask

if t.TYPE_CHECKING:
    from flask.testing import FlaskClient


@pytest.fixture(autouse=True)
def _flask_is_carboy() -> None:
    if ON_FLASK:
        return
    assert flask.Flask is carboy.Carboy
    assert flask.Flask.__module__.startswith("carboy")


@pytest.fixture
def app() -> flask.Flask:
    app = flask.Flask("shop", root_path=os.path.dirname(__file__))
    app.config.update(TESTING=True, SECRET_KEY="a key that is long enough for every extension")
    return app


@pytest.fixture
def client(app: flask.Flask) -> FlaskClient:
    return app.test_client()
