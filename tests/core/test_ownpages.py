"""carboy's own pages lead to each other, wherever a proxy puts the app."""

from __future__ import annotations

import re
from urllib.parse import urljoin

import pytest

from carboy import Carboy
from carboy.cli.index import add_index
from carboy.openapi import ui

BROWSER = {"Accept": "text/html"}
PAGES = {"/", "/a/double", "/b/triple", "/docs", "/redoc", "/openapi.json"}


def double(x: float) -> float:
    return 2 * x


def app_with_pages(**config) -> Carboy:
    app = Carboy("pages", static_folder=None)
    app.config.update(config)
    app.model("/a/double")(double)
    app.model("/b/triple", name="triple")(double)
    add_index(app)
    return app


def links_of(client, url: str, base: str) -> set[str]:
    """Return the URLs below `base` to which a page leads."""
    page = client.get(url.removeprefix(base), base_url=base, headers=BROWSER)
    assert page.status_code == 200
    found = {urljoin(url, link) for link in re.findall(r'<a href="(.*?)"', page.text)}
    return {link.removeprefix(base) for link in found}


@pytest.mark.parametrize("base", ["http://localhost", "http://localhost/shop"])
@pytest.mark.parametrize("path", sorted(PAGES - {"/openapi.json"}))
def test_each_page_leads_to_all_others(base, path):
    client = app_with_pages().test_client()
    links = links_of(client, base + path, base)
    assert links - {path} == PAGES - {path}
    for link in links:
        assert client.get(link, base_url=base, headers=BROWSER).status_code == 200


def test_prefix_without_a_slash_is_redirected_so_that_links_work():
    """A server that mounts the app at `/shop` passes the URL `/shop` on with an empty path."""
    client = app_with_pages().test_client()
    answer = client.get("/", environ_overrides={"SCRIPT_NAME": "/shop", "PATH_INFO": ""})
    assert answer.location == "http://localhost/shop/"


@pytest.mark.parametrize(
    ("config", "gone"),
    [
        ({"OPENAPI_ENABLED": False}, ["/docs", "/redoc", "/openapi.json"]),
        ({"OPENAPI_DOCS_PATH": None}, ["/docs"]),
        ({"OPENAPI_REDOC_PATH": ""}, ["/redoc"]),
        # Without the document the other pages have nothing to show.
        ({"OPENAPI_JSON_PATH": None}, ["/docs", "/redoc", "/openapi.json"]),
    ],
    ids=str,
)
def test_page_that_is_switched_off_is_not_linked(config, gone):
    client = app_with_pages(**config).test_client()
    left = PAGES.difference(gone)
    for path in left - {"/openapi.json"}:
        links = links_of(client, f"http://localhost{path}", "http://localhost")
        assert links - {path} == left - {path}


def test_page_whose_files_are_not_installed_is_not_linked(monkeypatch):
    monkeypatch.setitem(ui.SWAGGER.files, "swagger-ui.js", ("offapi", "missing.js"))
    client = app_with_pages().test_client()
    assert client.get("/docs").status_code == 404
    links = links_of(client, "http://localhost/a/double", "http://localhost")
    assert "/docs" not in links
    assert "/redoc" in links


def test_page_leads_to_pages_of_its_own_host_only():
    app = Carboy("pages", static_folder=None, subdomain_matching=True)
    app.config["SERVER_NAME"] = "example.org"
    app.model("/double")(double)
    app.add_url_rule("/", "home", lambda: "home", subdomain="api")
    client = app.test_client()
    links = links_of(client, "http://example.org/double", "http://example.org")
    assert links == {"/docs", "/redoc", "/openapi.json"}


def test_view_of_the_app_at_the_root_is_linked_as_home():
    app = Carboy("pages", static_folder=None)
    app.add_url_rule("/", "home", lambda: "home")
    app.model("/a/double")(double)
    page = app.test_client().get("/docs")
    assert '<a href="./">Home</a>' in page.text
    assert '<a href="a/double">double</a>' in page.text
