"""Flask-SocketIO in threading mode: its event handlers run inside the app's contexts."""

from __future__ import annotations

import flask
import pytest
from flask_socketio import SocketIO, emit


@pytest.fixture
def sockets(app):
    sockets = SocketIO(app, async_mode="threading")

    @app.get("/name/<name>")
    def name(name):
        flask.session["name"] = name
        return ""

    @sockets.on("say")
    def say(text):
        emit(
            "said", {"who": flask.session.get("name"), "text": text, "app": flask.current_app.name}
        )

    return sockets


def test_event_sees_the_session_of_the_browser(app, sockets):
    client = app.test_client()
    client.get("/name/ada")
    socket = sockets.test_client(app, flask_test_client=client)
    assert socket.is_connected()
    socket.emit("say", "hello")
    (event,) = socket.get_received()
    assert event["name"] == "said"
    assert event["args"] == [{"who": "ada", "text": "hello", "app": "shop"}]
    socket.disconnect()


def test_handshake_goes_through_the_wrapped_wsgi_app(app, sockets):
    answer = app.test_client().get("/socket.io/?EIO=4&transport=polling")
    assert answer.status_code == 200
    assert answer.text.startswith("0{")
    assert '"sid"' in answer.text
