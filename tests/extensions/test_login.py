"""Flask-Login: users are stored in the session."""

from __future__ import annotations

import pytest
from flask import request
from flask_login import (
    LoginManager,
    UserMixin,
    current_user,
    login_required,
    login_user,
    logout_user,
    user_logged_in,
)


class User(UserMixin):
    def __init__(self, name: str) -> None:
        self.id = name


@pytest.fixture
def app(app):
    manager = LoginManager(app)
    manager.login_view = "login"
    manager.user_loader(User)

    @app.post("/login")
    def login():
        login_user(User(request.form["name"]), remember="remember" in request.form)
        return "in"

    @app.get("/mine")
    @login_required
    def mine():
        return current_user.id

    @app.post("/logout")
    @login_required
    def logout():
        logout_user()
        return "out"

    return app


def test_anonymous_user_is_redirected_to_the_login_page(client):
    answer = client.get("/mine")
    assert answer.status_code == 302
    assert answer.location == "/login?next=%2Fmine"


def test_user_is_logged_in_until_logged_out(client):
    client.post("/login", data={"name": "ada"})
    assert client.get("/mine").text == "ada"
    client.post("/logout")
    assert client.get("/mine").status_code == 302


def test_remembered_user_outlives_the_session(client):
    client.post("/login", data={"name": "ada", "remember": "1"})
    client.delete_cookie("session")
    assert client.get("/mine").text == "ada"


def test_signal_is_sent_once_with_the_user(app, client):
    seen = []
    with user_logged_in.connected_to(lambda sender, user: seen.append((sender, user.id)), app):
        client.post("/login", data={"name": "ada"})
    assert seen == [(app, "ada")]


def test_template_can_use_the_current_user(app, client):
    @app.get("/hello")
    def hello():
        import flask

        return flask.render_template_string("{{ current_user.id or 'nobody' }}")

    client.post("/login", data={"name": "ada"})
    assert client.get("/hello").text == "ada"


def test_flask_login_client_logs_in(app):
    from flask_login import FlaskLoginClient

    app.test_client_class = FlaskLoginClient
    assert app.test_client(user=User("eve")).get("/mine").text == "eve"
