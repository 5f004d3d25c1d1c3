"""The options that the commands of all web servers have."""

from __future__ import annotations

import pytest

from carboy import Carboy
from carboy.deployment.facts import Facts
from carboy.deployment.website import CertificateFiles, make_website
from carboy.errors import DeploymentError
from carboy.serving.settings import make_settings


@pytest.fixture
def app(tmp_path):
    (tmp_path / "static").mkdir()
    return Carboy("shop", root_path=str(tmp_path))


def facts_of(app, **settings) -> Facts:
    return Facts(app, "shop:app", app.root_path, make_settings(settings, {}))


def test_website_without_options_is_what_the_app_says(app):
    website = make_website(facts_of(app, bind=["unix:/run/shop.sock"], proxy="1"))
    assert str(*website.upstreams) == "unix:/run/shop.sock"
    assert (website.listen.host, website.listen.port, website.listen_tls.port) == ("", 80, 443)
    assert website.hosts == ()
    assert website.certificate is None
    assert website.wait_s == 60
    assert website.serve_command == "carboy serve shop:app"


def test_command_that_serves_the_app_has_what_the_settings_lack(app):
    website = make_website(facts_of(app), upstreams=["127.0.0.1:8080"])
    assert website.serve_command == "carboy serve shop:app --bind 127.0.0.1:8080 --proxy 1"
    assert make_website(facts_of(app)).serve_command == "carboy serve shop:app --proxy 1"


def test_each_of_several_servers_has_a_command(app):
    website = make_website(facts_of(app), upstreams=["10.0.0.1:8000", "10.0.0.2:8000"])
    assert website.serve_command == (
        "carboy serve shop:app --bind 10.0.0.1:8000 --proxy 1, and with:"
        " carboy serve shop:app --bind 10.0.0.2:8000 --proxy 1"
    )


def test_names_are_those_of_the_option_or_else_the_trusted_hosts(app):
    app.config["TRUSTED_HOSTS"] = ["shop.example:443", ".shop.example", "[::1]:80"]
    app.config["TRUSTED_HOSTS"] += ["2001:DB8::5", "[::1]"]
    assert make_website(facts_of(app)).hosts == (
        *("shop.example", ".shop.example", "[::1]", "[2001:db8::5]"),
    )
    names = ("a.example", "*.b.example", "192.0.2.1", "[2001:db8::5]")
    assert make_website(facts_of(app), names=names).hosts == names


def test_names_are_written_as_browsers_send_them(app):
    app.config["TRUSTED_HOSTS"] = ["bücher.example:443", ".bücher.example", "no host"]
    hosts = ("xn--bcher-kva.example", ".xn--bcher-kva.example")
    assert make_website(facts_of(app)).hosts == hosts
    assert make_website(facts_of(app), names=["*.bücher.example"]).hosts == ("*" + hosts[1],)
    with pytest.raises(DeploymentError, match="'bü cher': expected a host name"):
        make_website(facts_of(app), names=["bü cher"])


@pytest.mark.parametrize("name", ["straße.example", ".STRAẞE.example", "a\u200db.example"])
def test_name_that_programs_write_differently_is_refused(app, name):
    with pytest.raises(DeploymentError, match=r"^--server-name: .*has a letter"):
        make_website(facts_of(app), names=["a.example", name])
    app.config["TRUSTED_HOSTS"] = ["a.example", f"{name}:443"]
    with pytest.raises(DeploymentError, match=r"^TRUSTED_HOSTS: .*has a letter"):
        make_website(facts_of(app))
    assert make_website(facts_of(app), names=["a.example"]).hosts == ("a.example",)


def test_paths_of_certificates_are_absolute(app):
    root = app.root_path
    website = make_website(facts_of(app), tls_cert="a.pem", tls_key="/etc/a.key")
    assert website.certificate == CertificateFiles(f"{root}/a.pem", "/etc/a.key")
    website = make_website(facts_of(app), tls_cert="a.pem")
    assert website.certificate == CertificateFiles(f"{root}/a.pem", f"{root}/a.pem")


def test_static_files_can_be_left_to_the_app(app):
    assert len(make_website(facts_of(app)).static_folders) == 1
    assert make_website(facts_of(app), static=False).static_folders == ()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"names": ["a b"]}, "--server-name 'a b': expected a host name"),
        ({"names": ["x;}"]}, "--server-name 'x;}': expected a host name"),
        ({"names": [""]}, "--server-name '': expected a host name"),
        ({"upstreams": ["8000"]}, "--upstream: '8000' is not an address"),
        # These would begin another word or line of the configuration.
        ({"upstreams": ["a:80", "b:80", "a:80"]}, "--upstream a:80 is given twice"),
        ({"upstreams": ["a;b:80"]}, "--upstream 'a;b:80': expected an address"),
        (
            {"upstreams": ["x:1", "unix:/run/a\nb"]},
            "expected an address, such as 127.0.0.1:8000 or",
        ),
        ({"upstreams": ["127.0.0.1:0"]}, "--upstream '127.0.0.1:0': expected a port from 1"),
        ({"listen": "a b:80"}, "--listen 'a b:80': expected an address"),
        ({"listen_tls": "a\nb:80"}, "expected an address, such as 127.0.0.1:8000 or"),
        ({"listen": "http"}, "--listen: 'http' is not an address"),
        ({"listen": "unix:/run/x"}, "--listen 'unix:/run/x': expected a port"),
        ({"listen_tls": "0"}, "--listen-tls '0': expected a port"),
        ({"listen": "65536"}, "--listen: the port 65536 is larger than 65535"),
        ({"tls_key": "a.key"}, "--tls-key needs --tls-cert"),
    ],
)
def test_option_that_is_not_valid_is_refused_by_name(app, options, words):
    with pytest.raises(DeploymentError) as info:
        make_website(facts_of(app), **options)
    assert words in str(info.value)


def test_port_that_changes_at_each_start_is_refused_unless_an_upstream_is_named(app):
    facts = facts_of(app, port=0)
    with pytest.raises(
        DeploymentError, match=r"would listen on 127\.0\.0\.1:0: the system chooses"
    ):
        make_website(facts)
    assert make_website(facts, upstreams=["127.0.0.1:8000"])


def test_app_whose_server_speaks_https_itself_is_refused(app, tmp_path):
    (tmp_path / "cert.pem").write_text("")
    facts = facts_of(app, tls_cert=str(tmp_path / "cert.pem"))
    with pytest.raises(DeploymentError, match="speaks HTTPS itself"):
        make_website(facts)
    assert make_website(facts, upstreams=["unix:/run/shop.sock"])


@pytest.mark.parametrize("upstream", ["127.0.0.1:8000", "[::1]:8000"])
def test_proxy_that_the_app_would_not_believe_is_refused(app, upstream):
    facts = facts_of(app, proxy="10.0.0.0/8")
    with pytest.raises(DeploymentError, match=r"CARBOY_PROXY=10\.0\.0\.0/8 does not contain"):
        make_website(facts, upstreams=[upstream])
    assert make_website(facts, upstreams=["unix:/run/shop.sock"])
    assert make_website(facts, upstreams=["10.0.0.5:8000"])
    assert make_website(facts_of(app, proxy="127.0.0.0/8,::1"), upstreams=[upstream])
