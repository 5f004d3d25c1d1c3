"""Flask-WTF: forms and their protection against cross-site request forgery."""

from __future__ import annotations

import io
import re

import pytest
from flask import render_template_string
from flask_wtf import CSRFProtect, FlaskForm
from flask_wtf.csrf import CSRFError
from flask_wtf.file import FileAllowed, FileField, FileRequired
from wtforms import StringField
from wtforms.validators import DataRequired


class Order(FlaskForm):
    name = StringField(validators=[DataRequired()])


class Picture(FlaskForm):
    file = FileField(validators=[FileRequired(), FileAllowed(["png"])])


@pytest.fixture
def app(app):
    CSRFProtect(app)

    @app.route("/order", methods=["GET", "POST"])
    def order():
        form = Order()
        if form.validate_on_submit():
            return f"ordered by {form.name.data}"
        return render_template_string("{{ form.csrf_token }} {{ form.errors }}", form=form)

    @app.post("/picture")
    def picture():
        form = Picture(meta={"csrf": False})
        return form.file.data.filename if form.validate() else form.errors

    @app.get("/token")
    def token():
        return render_template_string("{{ csrf_token() }}")

    @app.errorhandler(CSRFError)
    def forged(error):
        return f"refused: {error.description}", 400

    return app


def token_of(answer) -> str:
    return re.search(r'value="([^"]+)"', answer.text)[1]


def test_form_with_its_token_is_accepted(client):
    token = token_of(client.get("/order"))
    answer = client.post("/order", data={"name": "ada", "csrf_token": token})
    assert answer.text == "ordered by ada"


def test_form_without_token_reaches_the_error_handler(client):
    answer = client.post("/order", data={"name": "ada"})
    assert answer.status_code == 400
    assert answer.text == "refused: The CSRF token is missing."


def test_token_of_another_session_is_refused(app, client):
    token = token_of(app.test_client().get("/order"))
    client.get("/order")
    answer = client.post("/order", data={"name": "ada", "csrf_token": token})
    assert answer.status_code == 400


def test_token_may_be_sent_in_a_header(client):
    token = client.get("/token").text
    answer = client.post("/order", data={"name": "ada"}, headers={"X-CSRFToken": token})
    assert answer.status_code == 200


@pytest.mark.parametrize(("name", "accepted"), [("cat.png", True), ("cat.exe", False)])
def test_uploaded_file_is_checked_by_name(client, name, accepted):
    token = client.get("/token").text
    data = {"file": (io.BytesIO(b"picture"), name)}
    answer = client.post("/picture", data=data, headers={"X-CSRFToken": token})
    assert (answer.text == name) is accepted
