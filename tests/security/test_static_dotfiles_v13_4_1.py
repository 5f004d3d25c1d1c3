"""Static dotfiles: hidden files of a static folder are sent neither by the app nor by web servers.

ASVS 5.0: 13.4.1, 13.4.3
Also tested in: tests/deployed/webservers/test_nginx.py, tests/deployed/webservers/test_apache.py,
tests/deployed/webservers/test_caddy.py, tests/deployment/checks/test_folderchecks.py
"""

from __future__ import annotations

import pathlib

import pytest

from carboy import Blueprint, Carboy
from carboy.deployment.apachefiles import apache_text
from carboy.deployment.caddyfiles import caddyfile_text
from carboy.deployment.facts import Facts
from carboy.deployment.nginxfiles import nginx_text
from carboy.deployment.website import make_website
from carboy.serving.settings import make_settings

HIDDEN = [".env", ".git/config", "css/.style.css.swp", ".well-known/.private", "a/.b/c.txt"]
SENT = ["style.css", "a..b", "css/a.b.css", ".well-known/security.txt", "x/.well-known/y"]


@pytest.fixture
def site(tmp_path: pathlib.Path) -> Carboy:
    for name in (*HIDDEN, *SENT):
        path = tmp_path / "static" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return Carboy("site", root_path=str(tmp_path))


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_hidden_file_is_404(site: Carboy, name: str, method: str):
    assert site.test_client().open(f"/static/{name}", method=method).status_code == 404


def test_encoded_path_of_a_hidden_file_is_404(site: Carboy):
    assert site.test_client().get("/static/%2egit/config").status_code == 404
    assert site.test_client().get("/static/css/%2e%2e/%2eenv").status_code == 404


@pytest.mark.parametrize("name", SENT)
def test_other_file_is_sent(site: Carboy, name: str):
    assert _text_of(site, f"/static/{name}") == name


def _text_of(site: Carboy, path: str) -> str:
    with site.test_client().get(path) as response:
        return response.text


@pytest.mark.parametrize("path", ["/static/", "/static/css", "/static/css/", "/static/."])
def test_folder_is_not_listed(site: Carboy, path: str):
    assert site.test_client().get(path).status_code == 404


def test_blueprint_sends_no_hidden_file(site: Carboy):
    site.register_blueprint(
        Blueprint("shop", "shop", root_path=site.root_path, static_folder="static", url_prefix="/b")
    )
    assert site.test_client().get("/b/static/.env").status_code == 404
    assert _text_of(site, "/b/static/style.css") == "style.css"


@pytest.mark.parametrize("write", [nginx_text, apache_text, caddyfile_text])
def test_config_key_lets_the_app_and_web_servers_send_hidden_files(site: Carboy, write):
    facts = Facts(site, "site:app", site.root_path, make_settings({}, {}))
    assert "well-known" in write(make_website(facts))
    site.config["STATIC_DOTFILES"] = True
    assert _text_of(site, "/static/.env") == ".env"
    assert "well-known" not in write(make_website(facts))
