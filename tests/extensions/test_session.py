"""Flask-Session: a session interface that stores sessions on the server."""

from __future__ import annotations

import flask
import pytest
from cachelib import SimpleCache
from flask_session import Session


@pytest.fixture
def store(app):
    store = SimpleCache()
    app.config.update(SESSION_TYPE="cachelib", SESSION_CACHELIB=store)
    Session(app)

    @app.post("/basket")
    def put():
        flask.session.setdefault("basket", []).append(flask.request.form["item"])
        flask.session.modified = True
        return ""

    @app.get("/basket")
    def look():
        return flask.session.get("basket", [])

    @app.delete("/basket")
    def empty():
        flask.session.clear()
        return ""

    return store


@pytest.mark.usefixtures("store")
def test_values_are_kept_between_requests(client):
    client.post("/basket", data={"item": "pear"})
    client.post("/basket", data={"item": "fig"})
    assert client.get("/basket").json == ["pear", "fig"]


def test_cookie_contains_only_the_key_of_the_store(client, store):
    client.post("/basket", data={"item": "pear"})
    key = client.get_cookie("session").value
    assert "pear" not in key
    assert store.has(f"session:{key}")


def test_emptied_session_is_deleted_in_store_and_browser(client, store):
    client.post("/basket", data={"item": "pear"})
    key = client.get_cookie("session").value
    client.delete("/basket")
    assert not store.has(f"session:{key}")
    assert client.get_cookie("session") is None
