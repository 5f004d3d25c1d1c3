"""The URLs of the document and its pages, access to them, and their security headers."""

from __future__ import annotations

import json
import re
import sys
import typing as t
from urllib.parse import urljoin

import msgspec
import pytest

from carboy import Blueprint, Carboy
from carboy.errors import ConfigError
from carboy.openapi import ui

PATHS = ["/openapi.json", "/openapi.yaml", "/docs", "/redoc"]


class Flower(msgspec.Struct):
    name: str


def typed_app(**config) -> Carboy:
    app = Carboy("typed", static_folder=None)
    app.config.update(config)

    @app.post("/flowers")
    def add(flower: Flower) -> Flower:
        return flower

    return app


def plain_app(**config) -> Carboy:
    app = Carboy("plain", static_folder=None)
    app.config.update(config)
    app.add_url_rule("/", "index", lambda: "hello")
    return app


def statuses(app: Carboy) -> list[int]:
    client = app.test_client()
    return [client.get(path).status_code for path in PATHS]


# --- which apps have the URLs ------------------------------------------------------------------


def test_app_with_types_has_the_urls():
    assert statuses(typed_app()) == [200] * 4


def test_app_with_a_model_has_the_urls():
    app = Carboy("m", static_folder=None)
    app.model("/double")(lambda_with_types)
    assert statuses(app) == [200] * 4


def lambda_with_types(number: float) -> float:
    return number * 2


def test_app_without_types_or_models_has_no_documentation_urls():
    app = plain_app()
    assert statuses(app) == [404] * 4
    assert [rule.rule for rule in app.url_map.iter_rules()] == ["/"]


@pytest.mark.parametrize(
    ("app", "status"),
    [(plain_app(OPENAPI_ENABLED=True), 200), (typed_app(OPENAPI_ENABLED=False), 404)],
    ids=["wanted", "unwanted"],
)
def test_config_enables_and_disables_the_urls(app, status):
    assert statuses(app) == [status] * 4


def test_each_url_can_be_moved_or_disabled():
    app = typed_app(
        OPENAPI_JSON_PATH="/api/v1.json",
        OPENAPI_YAML_PATH=None,
        OPENAPI_DOCS_PATH="/api/",
        OPENAPI_REDOC_PATH="",
    )
    assert statuses(app) == [404] * 4
    client = app.test_client()
    assert client.get("/api/v1.json").json["openapi"] == "3.1.1"
    page = client.get("/api/")
    assert 'data-url="v1.json"' in page.text
    assert 'src="assets/start.js"' in page.text
    with client.get("/api/assets/start.js") as asset:
        assert asset.status_code == 200


# --- precedence of the user's views ------------------------------------------------------------


@pytest.mark.parametrize("rule", ["/docs", "/docs/"])
def test_apps_own_view_takes_precedence(rule):
    app = typed_app()
    app.add_url_rule(rule, "mine", lambda: "mine")
    client = app.test_client()
    assert client.get("/docs", follow_redirects=True).text == "mine"
    assert client.get("/redoc").status_code == 200


WIKI = ["/<slug>", "/<slug>/", "/<path:page>", "/<any(docs, redoc):name>", "/<name>.<suffix>"]


def wiki_page(**names):
    return f"page {names}"


@pytest.mark.parametrize("rule", WIKI)
def test_page_of_a_rule_with_variables_is_not_hidden(rule, caplog):
    """Whatever an untyped app answers at these URLs, it answers when a view gets a type."""

    def answers(app):
        app.add_url_rule(rule, "wiki", wiki_page)
        client = app.test_client()
        found = [client.get(path, follow_redirects=True) for path in PATHS]
        return [answer.text if answer.status_code == 200 else None for answer in found]

    before, after = answers(plain_app()), answers(typed_app())
    assert any(before)
    for path, page, now in zip(PATHS, before, after, strict=True):
        assert now == page or page is None
        if page is not None:
            assert f"{path} by {rule!r}" in caplog.text
    assert len(caplog.records) == 1


def test_page_whose_document_is_hidden_is_not_there(caplog):
    app = typed_app()
    app.add_url_rule("/<name>.<suffix>", "wiki", wiki_page)
    assert app.test_client().get("/docs").status_code == 404
    assert "/docs by '/<name>.<suffix>'" in caplog.text


def test_pages_of_assets_are_not_hidden():
    app = typed_app()
    app.add_url_rule("/docs/<path:page>", "wiki", wiki_page)
    client = app.test_client()
    assert client.get("/docs/assets/start.js").text.startswith("page")
    assert client.get("/docs").status_code == 404


def test_enabled_document_precedes_rules_with_variables(caplog):
    app = typed_app(OPENAPI_ENABLED=True)
    app.add_url_rule("/<slug>", "wiki", wiki_page)
    assert statuses(app) == [200] * 4
    assert not app.test_client().get("/docs").text.startswith("page")
    assert not caplog.records


def test_view_for_another_method_does_not_hide_the_page():
    app = typed_app()
    app.add_url_rule("/docs", "mine", lambda: "mine", methods=["POST"])
    client = app.test_client()
    assert client.post("/docs").text == "mine"
    assert client.get("/docs").status_code == 200


def test_static_files_at_the_root_win_if_they_exist(tmp_path):
    (tmp_path / "openapi.json").write_text('{"mine": 1}')
    app = Carboy("typed", static_folder=str(tmp_path), static_url_path="")
    app.post("/flowers")(lambda_with_types)
    client = app.test_client()
    with client.get("/openapi.json") as answer:
        assert answer.json == {"mine": 1}
    assert client.get("/docs").status_code == 200


def test_views_that_are_registered_late_take_precedence_too():
    app = typed_app()
    with app.test_request_context():
        pass
    blueprint = Blueprint("own", __name__)
    blueprint.add_url_rule("/openapi.json", view_func=lambda: "mine", endpoint="document")
    app.register_blueprint(blueprint)
    assert app.test_client().get("/openapi.json").text == "mine"


def test_endpoint_of_the_same_name_takes_precedence():
    app = typed_app()
    app.add_url_rule("/elsewhere", "openapi_docs", lambda: "mine")
    client = app.test_client()
    assert client.get("/elsewhere").text == "mine"
    assert client.get("/docs").status_code == 404


def test_hooks_of_the_app_protect_the_pages():
    app = typed_app()
    app.before_request(lambda: ("no", 401))
    assert statuses(app) == [401] * 4


def test_url_for_builds_their_urls():
    app = typed_app()
    app.add_url_rule("/where", "where", lambda: t.cast("str", app.url_for("openapi_docs")))
    assert app.test_client().get("/where").text == "/docs"


# --- the document ------------------------------------------------------------------------------


def test_json_and_yaml_are_the_same_document():
    import yaml

    app = typed_app()
    client = app.test_client()
    as_json, as_yaml = client.get("/openapi.json"), client.get("/openapi.yaml")
    assert (as_json.mimetype, as_yaml.mimetype) == ("application/json", "application/yaml")
    document = json.loads(as_json.text)
    assert document == yaml.safe_load(as_yaml.text)
    assert {**document, "servers": []} == {**app.openapi(), "servers": []}
    assert "&id" not in as_yaml.text


def test_pages_are_not_part_of_the_document():
    app = typed_app()
    app.test_client().get("/openapi.json")
    assert list(app.openapi()["paths"]) == ["/flowers"]


@pytest.mark.parametrize("path", ["/openapi.json", "/api/v1/shop.json"])
@pytest.mark.parametrize("prefix", ["", "/shop", "/a/b"])
@pytest.mark.parametrize("told", [True, False], ids=["told", "stripped in silence"])
def test_server_is_the_apps_root_below_any_prefix(path, prefix, told):
    client = typed_app(OPENAPI_JSON_PATH=path).test_client()
    base = f"http://localhost{prefix}" if told else "http://localhost"
    [server] = client.get(path, base_url=base).json["servers"]
    asked = urljoin(f"http://localhost{prefix}{path}", f"{server['url']}/flowers")
    assert asked == f"http://localhost{prefix}/flowers"


@pytest.mark.parametrize("key", ["OPENAPI_JSON_PATH", "OPENAPI_REDOC_PATH", "OPENAPI_DOCS_PATH"])
def test_path_without_a_slash_is_refused_by_the_name_of_its_key(key):
    with pytest.raises(ConfigError, match=f"{key} from the configuration.*got 'docs'"):
        typed_app(**{key: "docs"}).test_client().get("/docs")


def test_servers_of_the_author_are_kept():
    servers = [{"url": "https://api.example.org"}]
    app = typed_app(OPENAPI_TEMPLATE={"servers": servers})
    assert app.test_client().get("/openapi.json").json["servers"] == servers


def test_document_without_a_request_names_no_server():
    assert "servers" not in typed_app().openapi()


def test_yaml_without_pyyaml_explains_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    answer = typed_app().test_client().get("/openapi.yaml")
    assert answer.status_code == 404
    assert "pip install 'carboy[docs]'" in answer.text


# --- the pages ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_page_has_a_strict_policy(path):
    page = typed_app().test_client().get(path)
    policy = dict(
        part.split(" ", 1) for part in page.headers["Content-Security-Policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["connect-src"] == "'self'"
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert re.search(r"<script(?![^>]*\ssrc=)|<style|\son\w+=|style=", page.text) is None
    assert not re.search(r"https?://", page.text)


def test_each_response_has_its_own_nonce():
    client = typed_app().test_client()
    policies = {client.get("/redoc").headers["Content-Security-Policy"] for _ in range(2)}
    assert len(policies) == 2


def test_policy_allows_requests_to_the_documents_servers():
    servers = [{"url": "https://api.example.org/v1"}, {"url": "/here"}, {"url": "https://{x}.org"}]
    page = typed_app(OPENAPI_TEMPLATE={"servers": servers}).test_client().get("/docs")
    assert "connect-src 'self' https://api.example.org;" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_every_file_of_a_page_is_served(path):
    client = typed_app().test_client()
    names = re.findall(r'(?:src|href)="([^":]+)"', client.get(path).text)
    files = [f"/{name}" for name in names if "assets" in name]
    assert len(files) >= 2
    for file in files:
        with client.get(file) as answer:
            assert answer.status_code == 200, file
            assert answer.headers["Cache-Control"].endswith("max-age=86400")
            assert "ETag" in answer.headers
            assert answer.mimetype in {"text/css", "text/javascript"}


@pytest.mark.parametrize("name", ["x", "..%2Fhost.py", "swagger_bundle.js", "%2e%2e%2fui.py"])
def test_other_files_are_404(name):
    assert typed_app().test_client().get(f"/docs/assets/{name}").status_code == 404


def test_title_is_escaped():
    app = typed_app(OPENAPI_INFO={"title": "<script>alert(1)</script>"})
    assert "<title>&lt;script&gt;" in app.test_client().get("/docs").text


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_page_without_its_files_explains_what_to_install(path, monkeypatch):
    monkeypatch.setattr(ui, "_find", lambda package, name: None)
    answer = typed_app().test_client().get(path)
    assert (answer.status_code, answer.mimetype) == (404, "text/plain")
    assert "pip install 'carboy[docs]'" in answer.text


def test_page_without_a_document_explains_the_setting():
    answer = typed_app(OPENAPI_JSON_PATH=None).test_client().get("/docs")
    assert answer.status_code == 404
    assert "OPENAPI_JSON_PATH" in answer.text


def test_package_with_the_files_is_not_imported():
    app = typed_app()
    app.test_client().get("/docs")
    assert "offapi" not in sys.modules
