"""Before any extension is imported, `flask` is made to mean carboy.

`EXTENSIONS_ON=flask` leaves Flask in its place: what fails there too is the extension's own doing.
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
