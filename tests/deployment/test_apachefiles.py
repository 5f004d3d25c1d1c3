"""The text of Apache's configuration; tests/deployed/webservers runs Apache with it."""

from __future__ import annotations

import re
import sys

import pytest
from click.testing import CliRunner

from carboy import Carboy
from carboy.cli import cli
from carboy.deployment.apachefiles import apache_text
from carboy.deployment.facts import Facts
from carboy.deployment.website import make_website
from carboy.errors import DeploymentError
from carboy.serving.settings import make_settings


@pytest.fixture
def app(tmp_path):
    root = tmp_path / "my shop"
    (root / "static").mkdir(parents=True)
    return Carboy("shop", root_path=str(root))


def text_of(app, settings=None, **options) -> str:
    facts = Facts(app, "shop:app", app.root_path, make_settings(settings or {}, {}))
    return apache_text(make_website(facts, **options))


def directives(text: str, name: str) -> list[str]:
    return re.findall(rf"^ *{name} (.*?)>?$", text, re.MULTILINE)


def test_limits_are_those_of_the_app(app):
    app.config["MAX_CONTENT_LENGTH"] = 1000
    settings = {"head_timeout_s": 7, "stall_timeout_s": 40, "keep_alive_s": 20}
    text = text_of(app, settings, timeout=90)
    assert directives(text, "<If") == ["\"req_novary('Content-Length') -gt 1000\""]
    assert directives(text, "RequestReadTimeout") == ["header=7 body=40,MinRate=500"]
    assert directives(text, "Timeout") == ["40"]
    assert directives(text, "ProxyPass") == [
        '"/" "http://127.0.0.1:8000/" nocanon timeout=90 ttl=15 retry=0'
    ]
    app.config["MAX_CONTENT_LENGTH"] = None
    assert directives(text_of(app, {"max_body": "0"}), "<If") == []


def test_time_limits_are_those_of_the_beginnings_of_paths_the_longest_first(app):
    app.model("/slow", deadline_s=200)(of_float)
    app.add_url_rule("/chat/<room>", "chat", lambda room: "", websocket=True)
    app.add_url_rule("/chat/<room>/log", "log", lambda room: (yield ""))
    app.add_url_rule("/chat", "all", lambda: "", websocket=True)
    text = text_of(app, {"websocket_idle_s": 100}, upstreams=["unix:/run/shop.sock"])
    base = "unix:/run/shop.sock|http://my-shop"
    assert directives(text, "<Proxy") == [
        f'"{base}/slow"',
        f'"{base}/chat/"',
        f'"{base}/chat"',
    ]
    assert directives(text, "ProxySet") == [
        "timeout=205 ttl=60 retry=0",
        "timeout=3600 ttl=60 retry=0 upgrade=websocket",
        "timeout=105 ttl=60 retry=0 upgrade=websocket",
    ]
    assert text.index("ProxySet") < text.index("ProxyPass")


def test_rule_that_begins_with_a_variable_counts_for_all_paths(app):
    app.add_url_rule("/<room>/chat", "chat", lambda room: "", websocket=True)
    (line,) = directives(text_of(app, {"websocket_idle_s": 100}), "ProxyPass")
    assert line.endswith("timeout=105 ttl=60 retry=0 upgrade=websocket")


def of_float(x: float) -> float:
    return x


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        (
            {"proxy": "1"},
            [
                'set X-Forwarded-For "expr=%{REMOTE_ADDR}"',
                'set X-Forwarded-Proto "expr=%{REQUEST_SCHEME}"',
                "unset X-Forwarded-Prefix",
                "unset Forwarded",
            ],
        ),
        ({"proxy": "2"}, ['append X-Forwarded-For "expr=%{REMOTE_ADDR}"']),
        (
            {"proxy": "1", "proxy_headers": "forwarded"},
            [
                'set Forwarded "expr=for=%{REMOTE_ADDR};proto=%{REQUEST_SCHEME}"',
                "unset X-Forwarded-Prefix",
            ],
        ),
    ],
)
def test_headers_about_clients_are_those_that_the_app_trusts(app, settings, lines):
    found = directives(text_of(app, settings), "RequestHeader")
    assert set(lines) <= set(found)
    assert ("unset X-Forwarded-Prefix" in found) is (settings["proxy"] == "1")


@pytest.mark.parametrize(
    ("max_age", "value"), [(None, '"no-cache"'), (3600, '"public, max-age=3600"')]
)
def test_time_in_caches_is_that_of_the_app(app, max_age, value):
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = max_age
    assert directives(text_of(app), "Header set Cache-Control") == [value]


def test_names_are_written_as_server_name_and_aliases(app):
    text = text_of(app, names=("*.b.example", ".a.example"))
    assert directives(text, "ServerName") == ['"a.example"']
    assert directives(text, "ServerAlias") == ['"*.b.example"', '"*.a.example"']
    # Apache refuses a wildcard as the name of a server.
    text = text_of(app, names=("*.b.example",))
    assert directives(text, "ServerName") == []
    assert directives(text, "ServerAlias") == ['"*.b.example"']
    # It compares IPv6 addresses without brackets.
    text = text_of(app, names=("a.example", "[2001:db8::5]"))
    assert directives(text, "ServerAlias") == ['"2001:db8::5"']


def test_ports_on_which_debian_listens_anyway_are_not_named_again(app):
    assert directives(text_of(app, tls_cert="a.pem"), "Listen") == []
    text = text_of(app, tls_cert="a.pem", listen="8080", listen_tls="127.0.0.1:8443")
    assert directives(text, "Listen") == ["8080", "127.0.0.1:8443"]
    assert directives(text, "<VirtualHost") == ["*:8080", "127.0.0.1:8443"]
    (rule,) = directives(text, "RewriteRule")
    assert rule.startswith('"^" "https://%{SERVER_NAME}:8443%1" ')


odd_name = pytest.mark.parametrize(
    "name", ["$home", 'a "quoted" one', "100%", "a\nListen 81", "[a]*"]
)


@odd_name
def test_folder_that_apache_cannot_name_is_refused(app, tmp_path, name):
    (tmp_path / name).mkdir()
    app.static_folder = str(tmp_path / name)
    with pytest.raises(DeploymentError, match="Apache cannot use a path that contains"):
        text_of(app)


@odd_name
def test_url_of_static_files_that_apache_cannot_name_is_refused(app, tmp_path, name):
    app = Carboy("shop", root_path=app.root_path, static_url_path=f"/{name}")
    with pytest.raises(DeploymentError, match="Apache cannot use a path that contains"):
        text_of(app)


# --------------------------------------------------------------------------------------- commands


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a command of carboy in the folder of an app."""
    (tmp_path / "apached.py").write_text("from carboy import Carboy\napp = Carboy(__name__)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda *arguments: CliRunner().invoke(cli, arguments)
    sys.modules.pop("apached", None)


def test_command_writes_the_file_and_says_what_to_do(run, tmp_path):
    done = run("apache", "apached:app", "--upstream", "unix:/run/x.sock")
    assert done.exit_code == 0, done.output
    assert "deploy/apache.conf: created" in done.output
    assert "carboy serve apached:app --bind unix:/run/x.sock --proxy 1" in done.output
    assert "a2enmod alias deflate filter headers mime proxy proxy_http" in done.output
    assert '"unix:/run/x.sock|http://' in (tmp_path / "deploy" / "apache.conf").read_text()


def test_app_that_apache_runs_itself_needs_a_wsgi_file_too(run, tmp_path):
    done = run("apache", "apached:app", "--mod-wsgi", "--timeout", "100")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "deploy" / "apache.conf").read_text()
    (script,) = tmp_path.glob("*.wsgi")
    assert directives(text, "WSGIApplicationGroup") == ["%{GLOBAL}"]
    assert directives(text, "WSGIScriptAlias") == [f'"/" "{script}"']
    (process,) = directives(text, "WSGIDaemonProcess")
    assert f'home="{tmp_path}"' in process
    is_venv = sys.prefix != sys.base_prefix
    assert (f'python-home="{sys.prefix}"' in process) == is_venv
    assert process.endswith("socket-timeout=100")
    assert "from apached import app as application" in script.read_text()
    assert "Proxy" not in text


def test_options_that_exclude_each_other_are_refused(run, tmp_path):
    done = run("apache", "apached:app", "--mod-wsgi", "--upstream", "127.0.0.1:80")
    assert done.exit_code == 2
    assert "--mod-wsgi and --upstream exclude each other" in done.output
    several = ("--upstream", "127.0.0.1:80", "--upstream", "127.0.0.1:81")
    done = run("apache", "apached:app", *several)
    assert done.exit_code == 2
    assert "for several servers of an app: pass one --upstream" in done.output
    assert not (tmp_path / "deploy").exists()
