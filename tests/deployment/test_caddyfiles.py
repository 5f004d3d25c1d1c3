"""`carboy caddy` writes what the app and the options say. (tests/deployed/webservers/test_caddy.py
serves an app through Caddy.)
"""

from __future__ import annotations

import pytest

from carboy import Carboy
from carboy.deployment.caddyfiles import _is_automatic, caddyfile_text, quote
from carboy.deployment.facts import Facts
from carboy.deployment.website import Website, make_website
from carboy.errors import DeploymentError
from carboy.serving.settings import make_settings


@pytest.fixture
def app(tmp_path):
    (tmp_path / "static").mkdir()
    return Carboy("shop", root_path=str(tmp_path))


def website_of(app, settings=None, **options) -> Website:
    facts = Facts(app, "shop:app", app.root_path, make_settings(settings or {}, {}))
    return make_website(facts, **options)


def words(website, *, automatic=False) -> list[str]:
    """Return the lines of the file, without indentation."""
    return [line.strip() for line in caddyfile_text(website, automatic=automatic).splitlines()]


def blocks(lines: list[str]) -> list[str]:
    """Return what stands before the sites and the upstream."""
    return [line for line in lines if line.endswith("{") and ("http" in line or ".ex" in line)]


# ------------------------------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("options", "sites"),
    [
        ({}, ["http://:80 {"]),
        ({"listen": "8080"}, ["http://:8080 {"]),
        ({"names": ["shop.example"]}, ["http://shop.example:80, http://:80 {"]),
        (
            {"names": [".shop.example"]},
            ["http://shop.example:80, http://*.shop.example:80, http://:80 {"],
        ),
        ({"tls_cert": "c.pem"}, ["http://:80 {", "https://:443 {"]),
    ],
)
def test_site_has_the_names_and_ports_of_the_options(app, options, sites):
    found = blocks(words(website_of(app, **options)))
    assert [line for line in found if line.startswith("http") and ":" in line] == sites


def test_site_with_certificates_of_caddy_has_its_names_alone(app):
    website = website_of(app, names=["shop.example", "b.example"], listen="81", listen_tls="444")
    lines = words(website, automatic=True)
    assert "shop.example, b.example {" in lines
    assert {"http_port 81", "https_port 444"} <= set(lines)
    assert "redir https://{host}:444{uri} 308" in lines
    assert "auto_https off" not in lines
    assert "auto_https off" in words(website)


def test_clients_of_http_are_redirected_to_the_port_of_https(app):
    lines = words(website_of(app, tls_cert="c.pem", tls_key="k.pem", listen_tls="127.0.0.1:8443"))
    assert "redir https://{host}:8443{uri} 308" in lines
    assert f"tls {app.root_path}/c.pem {app.root_path}/k.pem" in lines
    assert "bind 127.0.0.1" in lines
    assert "redir https://{host}{uri} 308" in words(website_of(app, tls_cert="c.pem"))


@pytest.mark.parametrize(
    ("options", "wanted", "automatic"),
    [
        ({}, None, False),
        ({"names": ["shop.example"]}, None, True),
        ({"names": ["shop.example"]}, False, False),
        ({"names": ["shop.example"], "tls_cert": "c.pem"}, None, False),
    ],
)
def test_caddy_gets_certificates_for_names_by_default(app, options, wanted, automatic):
    assert _is_automatic(website_of(app, **options), wanted) is automatic


@pytest.mark.parametrize(
    ("options", "wanted", "message"),
    [
        ({}, True, "needs the host names"),
        ({"names": ["a.example"], "tls_cert": "c.pem"}, True, "exclude each other"),
        ({"names": ["*.shop.example"]}, True, r"as in '\*\.shop\.example'"),
        ({"names": [".shop.example"]}, None, "--no-auto-https"),
    ],
)
def test_certificates_that_caddy_cannot_get_are_refused(app, options, wanted, message):
    with pytest.raises(DeploymentError, match=message):
        _is_automatic(website_of(app, **options), wanted)


# -------------------------------------------------------------------------------------------- facts


@pytest.mark.parametrize(
    ("bind", "upstream"),
    [
        ("unix:/run/shop/app.sock", "unix//run/shop/app.sock"),
        ("0.0.0.0:9000", "127.0.0.1:9000"),
        ("[::1]:9000", "`[::1]:9000`"),
    ],
)
def test_app_is_reached_where_the_settings_say(app, bind, upstream):
    assert f"reverse_proxy {upstream} {{" in words(website_of(app, {"bind": bind}))


def test_several_servers_share_the_requests(app):
    upstreams = ["10.0.0.1:8000", "unix:/run/a.sock"]
    text = words(website_of(app, upstreams=upstreams))
    assert "reverse_proxy 10.0.0.1:8000 unix//run/a.sock {" in text
    assert {"lb_policy round_robin", "lb_retries 1", "fail_duration 10s"} <= {*text}
    assert "lb_policy round_robin" not in words(website_of(app))


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        ({}, ["header_up X-Forwarded-Port 80", "header_up -X-Forwarded-Prefix"]),
        ({"proxy": "2"}, ["trusted_proxies 0.0.0.0/0 ::/0"]),
        ({"proxy": "10.0.0.0/8,127.0.0.1"}, ["trusted_proxies 10.0.0.0/8 127.0.0.1"]),
        (
            {"proxy": "1", "proxy_headers": "forwarded"},
            ['header_up Forwarded "for={remote_host};proto={scheme}"'],
        ),
        (
            {"proxy": "2", "proxy_headers": "forwarded"},
            ['header_up Forwarded "{header.Forwarded}, for={remote_host};proto={scheme}"'],
        ),
    ],
)
def test_headers_about_the_client_are_those_that_the_app_trusts(app, settings, lines):
    found = words(website_of(app, settings))
    for line in lines:
        assert line in found
    is_only = settings.get("proxy", "1") == "1"
    assert any("trusted_proxies" in line for line in found) is not is_only


def test_body_limit_is_that_of_the_app(app):
    assert "max_size 1000" in words(website_of(app, {"max_body": "1000"}))
    assert "request_body {" not in words(website_of(app, {"max_body": "0"}))


def test_static_files_at_the_root_have_no_prefix(tmp_path):
    (tmp_path / "static").mkdir()
    app = Carboy("shop", root_path=str(tmp_path), static_url_path="/")
    lines = words(website_of(app))
    assert "@static1 path_regexp static1 `^/(.*[^/])$`" in lines
    assert not any("strip_prefix" in line for line in lines)
    assert "file_server {" not in words(website_of(app, static=False))


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("/srv/shop", "/srv/shop"),
        ("/srv/my shop", "`/srv/my shop`"),
        ("a`b", '"a`b"'),
        ('a"b', '`a"b`'),
        ("#a", "`#a`"),
        ("", "``"),
    ],
)
def test_words_are_quoted_as_caddy_reads_them(text, quoted):
    assert quote(text) == quoted


def test_word_with_both_quotes_is_refused():
    with pytest.raises(DeploymentError, match="cannot read a text with both"):
        quote('a`b"c')
