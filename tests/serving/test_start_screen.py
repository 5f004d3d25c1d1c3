"""What `carboy serve` and `app.serve()` say at the start, and where the access log goes."""

from __future__ import annotations

import logging
import re
import signal
import sys

import pytest
import requests
from rootlogger import new_root_logger

from carboy import Carboy
from carboy.serving.accesslog import access_log_of
from carboy.serving.settings import make_settings
from carboy.serving.startscreen import about, advice_on_other_flask

APP = """
import logging
from carboy import Carboy

logging.basicConfig(filename="shop.log", level=logging.INFO, format="%(asctime)s %(message)s")
app = Carboy(__name__)

@app.get("/")
def index():
    return "hello"

@app.model("/next")
def next_(x: int) -> int:
    return x + 1
"""


def lines(app, **arguments):
    settings = make_settings({"port": 8000, **arguments}, {})
    return about(app, settings, access_log_of(app, settings))


def with_models(*rules):
    app = Carboy("shop")
    for rule in rules:

        @app.model(rule, name=rule.strip("/"))
        def predict(x: int) -> int:
            return x

    return app


def test_all_models_and_the_docs_have_urls():
    rules = [f"/m{number}" for number in range(30)]
    with new_root_logger():
        models, docs, _ = lines(with_models(*rules))
    assert models.split() == ["models:", *(f"http://127.0.0.1:8000{rule}" for rule in rules)]
    assert docs == "docs: http://127.0.0.1:8000/docs"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"OPENAPI_ENABLED": False}, None),
        ({"OPENAPI_DOCS_PATH": None}, "docs: http://127.0.0.1:8000/redoc"),
        ({"OPENAPI_DOCS_PATH": None, "OPENAPI_REDOC_PATH": None}, None),
        ({"OPENAPI_DOCS_PATH": "/api"}, "docs: http://127.0.0.1:8000/api"),
    ],
)
def test_docs_are_named_where_they_are(config, expected):
    app = with_models("/sum")
    app.config.update(config)
    with new_root_logger():
        found = [line for line in lines(app) if line.startswith("docs:")]
    assert found == ([] if expected is None else [expected])


def test_environment_of_a_project_is_named_with_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("FLASK_ENV", "dev")
    (tmp_path / "config.toml").write_text("[development]\n[production]\n[staging]\n")
    app = Carboy("shop", root_path=str(tmp_path))
    app.config.from_project()
    with new_root_logger():
        assert lines(app)[0] == (
            "environment: development (FLASK_ENV selects another: production, staging)"
        )


def test_app_without_models_and_types_has_neither():
    with new_root_logger():
        assert lines(Carboy("shop")) == ["log: stderr; access log: off (--access-log)"]
        assert lines(lambda environ, start_response: []) == [
            "log: stderr; access log: off (--access-log)"
        ]


def test_logs_are_named_where_they_go(tmp_path):
    path = tmp_path / "shop.log"
    app = Carboy("shop")
    with new_root_logger():
        handlers = [logging.FileHandler(path), logging.StreamHandler(sys.stdout)]
        logging.basicConfig(handlers=handlers)
        log = logging.getLogger("carboy.access")
        log.addHandler(logging.StreamHandler())
        assert lines(app) == [
            f"log: {path}, stdout; access log: text, to stderr, {path}, stdout",
        ]
        handlers[0].close()


def test_access_log_without_a_handler_goes_to_stderr():
    with new_root_logger():
        assert lines(Carboy("shop"), access_log="json") == [
            "log: stderr; access log: json, to stderr"
        ]


# ------------------------------------------------------------------------------ the other Flask

FLASK = """
from werkzeug.local import LocalProxy
request = current_app = LocalProxy(lambda: None)
class Blueprint: ...
"""
EXTENSION = """
class Cors:
    def __init__(self, app):
        app.after_request_funcs.setdefault(None, []).append(self.after)

    def after(self, response):
        from flaskish_cors.core import path
        return response
"""


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """Import an extension that uses a package `flask` which is not carboy."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names = ["flask", "flaskish_cors", "flaskish_cors.core", "flaskish_other"]
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "flask.py").write_text(FLASK)
    (tmp_path / "flaskish_cors").mkdir()
    (tmp_path / "flaskish_cors/__init__.py").write_text(EXTENSION)
    (tmp_path / "flaskish_cors/core.py").write_text("from flask import request\npath = 1")
    (tmp_path / "flaskish_other.py").write_text("from flask import request")
    yield
    for name in names:
        sys.modules.pop(name, None)


def test_extension_that_uses_the_other_flask_is_named(imported):
    import flaskish_cors.core
    import flaskish_other  # noqa: F401

    app = Carboy("shop")
    assert advice_on_other_flask(app) == ""
    flaskish_cors.Cors(app)
    advice = advice_on_other_flask(app)
    assert "are used in flaskish_cors.core, so that" in advice
    assert "carboy --as-flask" in advice


def test_no_extension_is_named_without_the_other_flask():
    assert advice_on_other_flask(Carboy("shop")) == ""
    assert advice_on_other_flask(lambda environ, start_response: []) == ""


# ------------------------------------------------------------------------------- real processes


@pytest.mark.integration
def test_basic_config_of_a_tutorial_receives_each_request(spawn, carboy_command, tmp_path):
    (tmp_path / "shop.py").write_text(APP)
    server = spawn(carboy_command, "serve", "shop:app", "--port", "{port}", "--workers", "2")
    server.wait_until_it_prints("serving shop:app")
    assert re.search(r"2 workers with \d+ MiB and 16 threads each", server.output)
    assert f"models: {server.url}/next\n" in server.output
    assert f"docs: {server.url}/docs\n" in server.output
    path = tmp_path / "shop.log"
    assert f"log: {path}; access log: text, to {path}\n" in server.output
    with requests.Session() as session:
        ids = [session.get(f"{server.url}/?n={n}").headers["X-Request-ID"] for n in range(100)]
        assert session.post(f"{server.url}/next", json=1).text == "2"
        headers = {"X-Request-ID": "mine", "Content-Type": "application/json"}
        refused = session.post(f"{server.url}/next", data=b"{", headers=headers)
    assert refused.headers["X-Request-ID"] == refused.json()["request_id"] == "mine"
    assert server.stop(signal.SIGTERM) == 0
    text = path.read_text()
    assert re.findall(r'"GET / HTTP/1\.1" 200 5 "-" "python-requests/[\d.]+" id=(\S+)', text) == ids
    assert len(re.findall(r'"POST /next HTTP/1\.1" 200 .* model=next batch=1 queue_ms=', text)) == 1
    assert len(re.findall(r'"POST /next HTTP/1\.1" 400 .* id=mine .* model=next$', text, re.M)) == 1


@pytest.mark.integration
@pytest.mark.parametrize("option", ["text", "json", "off"])
def test_access_log_may_be_set_by_an_option(spawn, carboy_command, tmp_path, option):
    (tmp_path / "shop.py").write_text(APP.replace("logging.basicConfig", "dict"))
    options = ("--workers", "1", "--access-log", option)
    server = spawn(carboy_command, "serve", "shop:app", "--port", "{port}", *options)
    server.wait_until_it_prints("serving shop:app")
    assert requests.get(f"{server.url}/?secret=1", timeout=30).text == "hello"
    assert server.stop(signal.SIGTERM) == 0
    assert ('"GET / HTTP/1.1" 200 5 ' in server.output) is (option == "text")
    assert ('"path":"/","protocol":"HTTP/1.1","status":200' in server.output) is (option == "json")
    assert "secret" not in server.output


@pytest.mark.integration
@pytest.mark.parametrize("text", ["loud", "yes", "", "text,json"])
def test_other_value_of_the_option_is_refused(carboy_command, text):
    import subprocess

    done = subprocess.run(
        [carboy_command, "serve", "shop:app", "--access-log", text],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"expected auto, off, text or json, got '{text}'" in done.stderr
