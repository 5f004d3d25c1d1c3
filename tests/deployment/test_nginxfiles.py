"""The text of nginx's configuration; tests/deployed/webservers runs nginx with it."""

from __future__ import annotations

import re

import pytest

from carboy import Carboy
from carboy.deployment.facts import Facts
from carboy.deployment.nginxfiles import nginx_text
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
    return nginx_text(make_website(facts, **options))


def directives(text: str, name: str) -> list[str]:
    return re.findall(rf"^ *{name} (.*?)[;{{]?$", text, re.MULTILINE)


def test_limits_are_those_of_the_app(app):
    app.config["MAX_CONTENT_LENGTH"] = 1000
    settings = {"head_timeout_s": 7, "stall_timeout_s": 40, "keep_alive_s": 20}
    text = text_of(app, settings, timeout=90)
    assert directives(text, "client_max_body_size") == ["1000"]
    assert directives(text, "client_header_timeout") == ["7000ms"]
    assert directives(text, "client_body_timeout") == ["40s"]
    assert directives(text, "proxy_read_timeout") == ["90s"]
    assert directives(text, "keepalive_timeout") == ["15s"]
    app.config["MAX_CONTENT_LENGTH"] = None
    assert directives(text_of(app, {"max_body": "0"}), "client_max_body_size") == ["0"]


def test_several_servers_share_the_requests(app):
    text = text_of(app, upstreams=["10.0.0.1:8000", "unix:/run/a.sock"])
    assert directives(text, "server")[:2] == ['"10.0.0.1:8000"', '"unix:/run/a.sock"']
    assert directives(text, "zone") == ["carboy_my_shop 64k"]
    assert directives(text_of(app), "zone") == []


def test_time_limits_are_those_of_the_routes(app):
    app.model("/slow", deadline_s=200)(lambda_of_float)
    app.add_url_rule("/chat/<room>", "chat", lambda room: "", websocket=True)
    text = text_of(app)
    assert directives(text, "location")[1:3] == ['~ "^/chat/[^/]+$" ', '= "/slow" ']
    assert directives(text, "proxy_read_timeout") == ["60s", "3605s", "205s"]


def lambda_of_float(x: float) -> float:
    return x


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"proxy": "1"},
            {
                "X-Forwarded-For": '"$remote_addr"',
                "X-Forwarded-Proto": '"$scheme"',
                "X-Forwarded-Prefix": '""',
                "Forwarded": '""',
            },
        ),
        (
            {"proxy": "2"},
            {
                "X-Forwarded-For": '"$http_x_forwarded_for, $remote_addr"',
                "X-Forwarded-Proto": '"$http_x_forwarded_proto, $scheme"',
                "X-Forwarded-Prefix": None,
                "Forwarded": None,
            },
        ),
        (
            {"proxy": "1", "proxy_headers": "forwarded"},
            {"Forwarded": '"for=$remote_addr;proto=$scheme"', "X-Forwarded-Prefix": '""'},
        ),
    ],
)
def test_headers_about_clients_are_those_that_the_app_trusts(app, settings, expected):
    headers = dict(
        line.split(" ", 1) for line in directives(text_of(app, settings), "proxy_set_header")
    )
    assert {name: headers.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("max_age", "value"), [(None, '"no-cache"'), (3600, '"public, max-age=3600"')]
)
def test_time_in_caches_is_that_of_the_app(app, max_age, value):
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = max_age
    assert directives(text_of(app), "add_header Cache-Control") == [value]


def test_redirect_to_https_names_a_port_that_is_not_the_usual_one(app):
    assert "return 308 https://$host$request_uri;" in text_of(app, tls_cert="a.pem")
    text = text_of(app, tls_cert="a.pem", listen="8080", listen_tls="8443")
    assert "return 308 https://$host:8443$request_uri;" in text
    assert directives(text, "listen") == [
        "8080",
        "[::]:8080",
        "8443 ssl http2",
        "[::]:8443 ssl http2",
    ]


def test_folder_that_nginx_cannot_name_is_refused(app, tmp_path):
    (tmp_path / "$home").mkdir()
    app.static_folder = str(tmp_path / "$home")
    with pytest.raises(DeploymentError, match=r"nginx cannot use a path that contains '\$'"):
        text_of(app)


def test_files_sent_by_a_header_that_nginx_does_not_know_are_refused(app):
    app.config["USE_X_SENDFILE"] = True
    with pytest.raises(DeploymentError, match="USE_X_SENDFILE is set, but nginx"):
        text_of(app)


def test_command_writes_the_file_and_says_what_to_do(tmp_path, monkeypatch):
    from click.testing import CliRunner

    from carboy.cli import cli

    tmp_path = tmp_path / "my shop"
    tmp_path.mkdir()
    (tmp_path / "nginxed.py").write_text("from carboy import Carboy\napp = Carboy(__name__)\n")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["nginx", "nginxed:app", "--upstream", "unix:/run/x.sock"])
    assert done.exit_code == 0, done.output
    assert "deploy/nginx.conf: created" in done.output
    assert "carboy serve nginxed:app --bind unix:/run/x.sock --proxy 1" in done.output
    assert f"ln -s '{tmp_path}/deploy/nginx.conf' /etc" in done.output  # for a shell
    assert 'server "unix:/run/x.sock";' in (tmp_path / "deploy" / "nginx.conf").read_text()
    for seconds in ("nan", "inf", "1e30", "0"):  # of which nginx can read none
        done = CliRunner().invoke(cli, ["nginx", "nginxed:app", "--timeout", seconds])
        assert done.exit_code == 2
        assert "Invalid value for '--timeout'" in done.output
    done = CliRunner().invoke(cli, ["nginx", "nginxed:app", "--listen", "80x"])
    assert done.exit_code == 2
    assert "--listen" in done.output
