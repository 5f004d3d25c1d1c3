"""`carboy gunicorn` and `carboy uwsgi` write the configurations of other WSGI servers."""

from __future__ import annotations

import configparser
import os
import runpy
import sys
import types

import pytest
from click.testing import CliRunner

from carboy.cli import cli

PLAIN = "from carboy import Carboy\napp = Carboy(__name__)\n"
MODEL = f"{PLAIN}\n@app.model('/double')\ndef double(x: int) -> int:\n    return 2 * x\n"
FACTORY = "from carboy import Carboy\ndef create_app():\n    return Carboy(__name__)\n"
FIXED = f"""{PLAIN}
from werkzeug.middleware.proxy_fix import ProxyFix
app.wsgi_app = ProxyFix(app.wsgi_app)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Writes an app into a project's folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def write(text: str, path: str = "app.py") -> None:
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)

    yield write
    for name in {"app", "shop"} - before:
        sys.modules.pop(name, None)


def run(*line: str, code: int = 0) -> str:
    result = CliRunner().invoke(cli, line)
    assert result.exit_code == code, result.output
    return result.output


def gunicorn(*options: str) -> dict[str, object]:
    """Write gunicorn.conf.py, and return what gunicorn reads from it."""
    run("gunicorn", *options)
    with open("gunicorn.conf.py") as file:
        module = types.ModuleType("conf")
        exec(compile(file.read(), "gunicorn.conf.py", "exec"), vars(module))
    return vars(module)


def uwsgi(*options: str) -> configparser.SectionProxy:
    """Write uwsgi.ini, and return its section."""
    run("uwsgi", *options)
    parser = configparser.ConfigParser(interpolation=None, delimiters=["="])
    parser.read("uwsgi.ini")
    return parser["uwsgi"]


def test_app_with_models_gets_one_worker_with_threads_and_loads_models_in_the_worker(project):
    project(MODEL)
    found = gunicorn()
    assert (found["wsgi_app"], found["workers"], found["threads"]) == ("app:app", 1, 16)
    assert found["preload_app"] is False
    assert callable(found["post_worker_init"])
    ini = uwsgi()
    assert (ini["processes"], ini["threads"]) == ("1", "16")
    assert ini["eval"] == "from app import app; application = app; application.load_models()"
    assert "module" not in ini
    assert ini["lazy-apps"] == ini["enable-threads"] == ini["single-interpreter"] == "true"


def test_app_without_models_gets_a_worker_per_cpu(project):
    project(PLAIN)
    found = gunicorn()
    assert found["workers"] == os.cpu_count()
    assert "post_worker_init" not in found
    assert uwsgi()["processes"] == "%k"


def test_number_of_workers_follows_the_platform_s_variable(project, monkeypatch):
    project(MODEL)
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    assert gunicorn()["workers"] == 3


def test_empty_number_of_workers_counts_as_none(project, monkeypatch):
    project(MODEL)
    monkeypatch.setenv("WEB_CONCURRENCY", "")
    assert gunicorn()["workers"] == 1


def test_factory_is_called_by_the_server(project):
    project(FACTORY)
    assert gunicorn()["wsgi_app"] == "app:create_app()"
    assert uwsgi()["module"] == "app:create_app()"


def test_app_in_another_folder_is_found_by_the_server(project):
    project(PLAIN, "src/shop.py")
    assert gunicorn("src/shop.py")["pythonpath"] == "src"
    assert uwsgi("src/shop.py")["pythonpath"] == "%dsrc"


@pytest.mark.parametrize(
    ("options", "bind", "http", "socket"),
    [
        ([], "127.0.0.1:8000", ("http", "127.0.0.1:8000"), "127.0.0.1:8000"),
        (["--bind", "0.0.0.0:80"], "0.0.0.0:80", ("http", "0.0.0.0:80"), "0.0.0.0:80"),
        (["-b", "[::1]:8001"], "[::1]:8001", ("http", "[::1]:8001"), "[::1]:8001"),
        (["-b", "unix:/run/a.sock"], "unix:/run/a.sock", ("http-socket", "/run/a.sock"),
         "/run/a.sock"),
    ],
)  # fmt: skip
def test_addresses_are_written_as_each_server_reads_them(project, options, bind, http, socket):
    project(PLAIN)
    assert gunicorn(*options)["bind"] == [bind]
    assert uwsgi(*options)[http[0]] == http[1]
    assert uwsgi(*options, "--protocol", "uwsgi", "--force")["socket"] == socket


def test_percent_sign_is_no_variable_of_uwsgi(project):
    project(PLAIN)
    assert uwsgi("--bind", "unix:/run/100%n.sock")["http-socket"] == "/run/100%%n.sock"


@pytest.mark.parametrize("path", ["/run/a\nmount = b.sock", "/run/$(HOME).sock"])
def test_value_that_uwsgi_would_read_as_something_else_is_refused(project, path):
    project(PLAIN)
    assert "uWSGI cannot read a value" in run("uwsgi", "--bind", f"unix:{path}", code=2)
    assert not os.path.exists("uwsgi.ini")


def test_settings_of_the_environment_go_into_the_files(project, monkeypatch):
    project(PLAIN)
    for name, value in {
        "BIND": "unix:/run/a.sock", "WORKERS": "5", "THREADS": "3", "GRACE_S": "7",
        "KEEP_ALIVE_S": "11", "WORKER_TIMEOUT_S": "13", "MAX_REQUESTS": "1000",
        "MAX_HEADERS": "50", "SOCKET_MODE": "640", "BACKLOG": "77", "MAX_RSS": "1.5G",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"CARBOY_SERVE_{name}", value)
    found = gunicorn()
    names = [
        *("bind", "workers", "threads", "graceful_timeout", "keepalive", "timeout"),
        *("max_requests", "limit_request_fields", "backlog", "umask"),
    ]
    values = [["unix:/run/a.sock"], 5, 3, 7, 11, 13, 1000, 50, 77, 0o137]
    assert [found[name] for name in names] == values
    ini = uwsgi()
    names = ["processes", "threads", "worker-reload-mercy", "max-requests", "chmod-socket"]
    assert [ini[name] for name in names] == ["5", "3", "7", "1000", "640"]
    assert (ini["listen"], ini["reload-on-rss"]) == ("77", "1536")


def test_files_without_settings_have_the_defaults_of_the_server(project):
    project(PLAIN)
    found, ini = gunicorn("--bind", "unix:/run/a.sock"), uwsgi()
    assert (found["backlog"], found["umask"]) == (2048, 0o117)
    assert not {"listen", "reload-on-rss"} & set(ini)
    assert "umask" not in gunicorn("--force")


def test_time_limits_of_less_than_a_second_are_no_missing_limits(project, monkeypatch):
    """gunicorn takes whole seconds, and 0 for no limit."""
    project(PLAIN)
    names = {
        "WORKER_TIMEOUT_S": "timeout",
        "GRACE_S": "graceful_timeout",
        "KEEP_ALIVE_S": "keepalive",
    }
    for name in names:
        monkeypatch.setenv(f"CARBOY_SERVE_{name}", "0.4")
    found = gunicorn()
    assert [found[name] for name in names.values()] == [1, 1, 1]
    monkeypatch.setenv("CARBOY_SERVE_WORKER_TIMEOUT_S", "0")
    assert gunicorn("--force")["timeout"] == 0


@pytest.mark.parametrize(
    ("variables", "options", "follows"),
    [
        ({}, [], True),
        ({"PORT": "8001"}, [], True),
        ({}, ["--bind", "127.0.0.1:9000"], False),
        ({"CARBOY_SERVE_PORT": "9000"}, [], False),
        ({"FLASK_SERVE_BIND": "unix:/run/a.sock"}, [], False),
    ],
)
def test_port_of_a_platform_counts_unless_an_address_is_set(
    project, monkeypatch, variables, options, follows
):
    project(PLAIN)
    with monkeypatch.context() as here:
        for name, value in variables.items():
            here.setenv(name, value)
        run("gunicorn", *options)
    monkeypatch.setenv("PORT", "5005")
    assert (runpy.run_path("gunicorn.conf.py")["bind"] == ["0.0.0.0:5005"]) == follows


def test_options_override_the_environment(project, monkeypatch):
    project(PLAIN)
    monkeypatch.setenv("CARBOY_SERVE_WORKERS", "5")
    assert gunicorn("--workers", "2", "--threads", "4")["workers"] == 2


@pytest.mark.parametrize("command", ["gunicorn", "uwsgi"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--workers", "many"], "expected a whole number, at least 0, got 'many'"),
        (["--workers", "0"], "Setting 'workers': expected at least 1, got 0."),
        (["--threads", "0"], "'threads': expected"),
        (["--bind", "nowhere"], "'nowhere' is not an address"),
        (["--bind", "127.0.0.1:0"], "would listen on 127.0.0.1:0"),
        (["x.wsgi"], "x.wsgi is not a module"),
    ],
)
def test_wrong_options_are_refused_and_nothing_is_written(project, command, options, words):
    project(PLAIN)
    project("from app import app as application", "x.wsgi")
    assert words in run(command, *options, code=2)
    assert sorted(os.listdir()) == ["app.py", "x.wsgi"]


@pytest.mark.parametrize("command", ["gunicorn", "uwsgi"])
def test_setting_for_proxies_that_would_have_no_effect_is_named(project, monkeypatch, command):
    project(PLAIN)
    monkeypatch.setenv("CARBOY_PROXY", "1")
    assert "The setting 'proxy' (1) has no effect under" in run(command)


def test_websockets_that_do_not_work_under_a_server_are_named(project):
    project(f"{PLAIN}app.add_url_rule('/chat', 'chat', str, websocket=True)\n")
    message = "WebSockets, such as '/chat', do not work under"
    assert f"{message} uWSGI" in run("uwsgi")
    assert f"{message} mod_wsgi" in run("apache", "--mod-wsgi")
    assert "WebSockets" not in run("gunicorn")
    sys.modules.pop("app")
    project(PLAIN)
    assert "WebSockets" not in run("uwsgi", "--force")


def test_setting_for_proxies_is_not_named_if_the_app_has_proxyfix(project, monkeypatch):
    project(FIXED)
    monkeypatch.setenv("CARBOY_PROXY", "1")
    assert "proxy" not in run("gunicorn")


def test_program_for_flask_is_started_with_carboy_in_its_place(project, monkeypatch):
    project(PLAIN)
    assert "this folder: gunicorn\n" in run("gunicorn")
    assert "env" not in uwsgi()
    monkeypatch.setenv("CARBOY_AS_FLASK", "1")
    assert "this folder: carboy --as-flask -m gunicorn\n" in run("gunicorn")
    assert uwsgi("--force")["env"] == "CARBOY_AS_FLASK=1"


@pytest.fixture
def tls(monkeypatch):
    for name in ("cert", "key", "client_ca"):
        monkeypatch.setenv(f"CARBOY_SERVE_TLS_{name.upper()}", f"/etc/{name}.pem")


def test_tls_is_set_for_gunicorn(project, tls):
    project(PLAIN)
    found = gunicorn()
    assert (found["certfile"], found["keyfile"]) == ("/etc/cert.pem", "/etc/key.pem")
    assert (found["ca_certs"], found["cert_reqs"]) == ("/etc/client_ca.pem", 2)


def test_tls_is_set_for_uwsgi(project, tls, monkeypatch):
    project(PLAIN)
    assert "'tls_client_ca': uWSGI has no such setting" in run("uwsgi", code=2)
    monkeypatch.delenv("CARBOY_SERVE_TLS_CLIENT_CA")
    assert uwsgi()["https"] == "127.0.0.1:8000,/etc/cert.pem,/etc/key.pem"
    said = run("uwsgi", "--protocol", "uwsgi", "--force", code=2)
    assert "'tls_cert': uWSGI has no such setting" in said


@pytest.mark.parametrize("command", ["gunicorn", "uwsgi"])
def test_password_of_a_key_is_refused(project, tls, monkeypatch, command):
    project(PLAIN)
    monkeypatch.setenv("CARBOY_SERVE_TLS_PASSWORD_FILE", "/etc/password")
    assert "'tls_password_file'" in run(command, code=2)
