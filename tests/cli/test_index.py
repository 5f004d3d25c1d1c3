"""In development, an app with models and without a view for `/` gets a list of its URLs there."""

from __future__ import annotations

import pytest

from carboy import Blueprint, Carboy
from carboy.cli.development import load_models_beside
from carboy.cli.index import add_index


def predict(x: float) -> float:
    """Double a number."""
    return 2 * x


@pytest.fixture
def page(app, client):
    app.model("/double")(predict)
    app.add_url_rule("/items/<int:key>", "item", lambda key: "", methods=["GET", "PUT"])

    @app.get("/hello")
    def hello() -> str:
        """Say <hello>."""
        return "hi"

    add_index(app)
    return client.get("/")


def test_index_links_models_views_and_documents(page):
    text = page.text
    for line in (
        '<a href="double"><code>/double</code></a> <small>POST</small> Double a number.',
        '<a href="hello"><code>/hello</code></a> Say &lt;hello&gt;.',
        "<code>/items/&lt;int:key&gt;</code> <small>PUT</small>",
        '<a href="docs"><code>/docs</code></a> API documentation',
        '<a href="openapi.json"><code>/openapi.json</code></a> OpenAPI document',
    ):
        assert f"<li>{line}" in text
    assert "_page" not in text
    assert "static" not in text


def test_style_of_the_index_is_allowed_by_its_policy(page):
    nonce = page.text.partition('<style nonce="')[2].partition('"')[0]
    assert f"style-src 'self' 'nonce-{nonce}'" in page.headers["Content-Security-Policy"]


def test_index_is_left_out_of_the_document(page, app):
    assert "/" not in app.openapi()["paths"]


def test_view_of_the_app_for_the_root_is_kept(app, client):
    app.model("/double")(predict)
    app.add_url_rule("/", view_func=lambda: "mine")
    add_index(app)
    assert client.get("/").text == "mine"


def test_app_without_models_gets_no_index(app, client):
    app.register_blueprint(Blueprint("shop", __name__))
    add_index(app)
    add_index(lambda environ, start_response: [])
    assert client.get("/").status_code == 404


def test_models_are_loaded_beside_the_server_and_a_failure_is_shown(app, capsys):
    @app.model("/bad")
    class Bad:
        def __init__(self):
            raise KeyError("weights")

        def predict(self, x: float) -> float:
            return x

    app.model("/good", example=1)(predict)
    load_models_beside(app).join()
    assert app.models["good"].loaded
    assert capsys.readouterr().err.startswith(
        " * Model 'bad' could not be loaded: KeyError: 'weights' ("
    )
    assert load_models_beside(Carboy("without")) is None
