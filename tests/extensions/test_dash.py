"""Dash: a whole program on the framework, called as its browser code calls it."""

from __future__ import annotations

import dash
import flask
import pytest


@pytest.fixture
def page(app):
    page = dash.Dash("shop", server=app)
    page.layout = dash.html.Div([dash.dcc.Input(id="name"), dash.html.P(id="greeting")])

    @page.callback(dash.Output("greeting", "children"), dash.Input("name", "value"))
    def greet(name):
        if name == "nobody":
            raise dash.exceptions.PreventUpdate
        return f"Hello, {name}, from {flask.request.method}"

    return page


@pytest.fixture
def client(page):
    return page.server.test_client()


def call(client, name: str):
    change = {
        "output": "greeting.children",
        "outputs": {"id": "greeting", "property": "children"},
        "inputs": [{"id": "name", "property": "value", "value": name}],
        "changedPropIds": ["name.value"],
        "state": [],
    }
    return client.post("/_dash-update-component", json=change)


def test_page_loads_with_its_scripts(client):
    page = client.get("/")
    assert page.status_code == 200
    assert "_dash-config" in page.text
    scripts = [part.split('"')[0] for part in page.text.split('<script src="')[1:]]
    assert scripts
    assert {client.get(script).status_code for script in scripts} == {200}


def test_layout_is_served(client):
    layout = client.get("/_dash-layout").json
    assert [child["props"]["id"] for child in layout["props"]["children"]] == ["name", "greeting"]


def test_callback_returns_the_changed_components(client):
    answer = call(client, "Ada").json
    assert answer["response"]["greeting"]["children"] == "Hello, Ada, from POST"


def test_callback_may_prevent_an_update(client):
    assert call(client, "nobody").status_code == 204


def test_dash_creates_its_own_app(app):
    page = dash.Dash("own")
    page.layout = dash.html.P("alone")
    assert type(page.server) is type(app)
    assert page.server.test_client().get("/").status_code == 200


def test_dash_works_beside_ordinary_views(app, client):
    @app.get("/plain")
    def plain():
        return "plain"

    assert client.get("/plain").text == "plain"
