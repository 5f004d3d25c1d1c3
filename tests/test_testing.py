"""The test client, the runner of commands, and the builder of requests."""

from __future__ import annotations

import importlib.metadata
import typing as t

import click
import pytest
from werkzeug.test import EnvironBuilder as PlainBuilder
from werkzeug.wrappers import Request as PlainRequest

from carboy import Carboy, appcontext_popped, g, redirect, request, session
from carboy.globals import _cv_request
from carboy.json.provider import DefaultJSONProvider
from carboy.sessions import SecureCookieSessionInterface
from carboy.testing import EnvironBuilder, FlaskClient, FlaskCliRunner


def show_url() -> str:
    return request.url


# -------------------------------------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    ("config", "kwargs", "url"),
    [
        ({}, {}, "http://localhost/"),
        ({"SERVER_NAME": "a.example:81"}, {}, "http://a.example:81/"),
        ({"APPLICATION_ROOT": "/app"}, {}, "http://localhost/app/"),
        ({"PREFERRED_URL_SCHEME": "https"}, {}, "https://localhost/"),
        ({}, {"url_scheme": "https"}, "https://localhost/"),
        ({"SERVER_NAME": "a.example"}, {"subdomain": "b"}, "http://b.a.example/"),
        ({}, {"path": "https://b.example/x?q=1"}, "https://b.example/x?q=1"),
        ({}, {"path": "/x?q=1"}, "http://localhost/x?q=1"),
        ({}, {"path": "/x", "query_string": {"q": 1}}, "http://localhost/x?q=1"),
        ({"SERVER_NAME": "a.example"}, {"base_url": "http://c.example/r"}, "http://c.example/r/"),
    ],
    ids=str,
)
def test_url_follows_config_and_arguments(
    app: Carboy, config: dict[str, t.Any], kwargs: dict[str, t.Any], url: str
) -> None:
    app.config.update(config)
    with app.test_request_context(**kwargs):
        assert request.url == url


@pytest.mark.parametrize("extra", [{"subdomain": "a"}, {"url_scheme": "https"}], ids=str)
def test_base_url_excludes_its_parts(app: Carboy, extra: dict[str, str]) -> None:
    with pytest.raises(AssertionError, match='"subdomain" or "url_scheme" with "base_url"'):
        EnvironBuilder(app, "/", "http://localhost", **extra)  # type: ignore[arg-type]


def test_json_argument_is_written_by_the_apps_provider(app: Carboy, client: FlaskClient) -> None:
    class Provider(DefaultJSONProvider):
        def dumps(self, obj: t.Any, **kwargs: t.Any) -> str:
            return '"own"'

    app.json = Provider(app)
    app.add_url_rule("/", "echo", lambda: request.get_data(), methods=["POST"])
    response = client.post("/", json={"a": 1})
    assert response.data == b'"own"'
    assert EnvironBuilder(app).json_dumps({}) == '"own"'


def test_response_json_is_read_by_the_apps_provider(app: Carboy, client: FlaskClient) -> None:
    class Provider(DefaultJSONProvider):
        def loads(self, s: t.Any, **kwargs: t.Any) -> t.Any:
            return "own"

    app.add_url_rule("/", "page", lambda: {"a": 1})
    app.json = Provider(app)
    assert client.get("/").json == "own"


def test_environ_base_is_sent_and_may_be_changed(app: Carboy, client: FlaskClient) -> None:
    app.add_url_rule("/", "who", lambda: f"{request.remote_addr} {request.user_agent}")
    version = importlib.metadata.version("werkzeug")
    assert client.get("/").text == f"127.0.0.1 Werkzeug/{version}"
    client.environ_base.update(REMOTE_ADDR="10.0.0.1", HTTP_USER_AGENT="own")
    assert client.get("/").text == "10.0.0.1 own"
    assert client.get("/", environ_base={"REMOTE_ADDR": "10.0.0.2"}).text == "10.0.0.2 own"


@pytest.mark.parametrize("kind", ["own builder", "plain builder", "environ", "request"])
def test_builders_environs_and_requests_can_be_sent(
    app: Carboy, client: FlaskClient, kind: str
) -> None:
    app.add_url_rule("/x", "x", lambda: f"{request.method} {request.remote_addr}", methods=["PUT"])
    builder: PlainBuilder = (
        EnvironBuilder(app, "/x", method="PUT")
        if kind == "own builder"
        else PlainBuilder("/x", method="PUT")
    )
    given: t.Any = builder
    if kind == "environ":
        given = builder.get_environ()
    elif kind == "request":
        given = PlainRequest(builder.get_environ())
    assert client.open(given).text == "PUT 127.0.0.1"
    builder.close()


def test_redirects_are_followed(app: Carboy, client: FlaskClient) -> None:
    app.add_url_rule("/a", "a", lambda: redirect("/b"))
    app.add_url_rule("/b", "b", lambda: request.path)
    response = client.get("/a", follow_redirects=True)
    assert response.text == "/b"
    assert [earlier.status_code for earlier in response.history] == [302]
    assert client.get("/a").status_code == 302


# ---------------------------------------------------------------------------------------- contexts


def test_context_of_the_latest_request_stays_in_a_with_block(
    app: Carboy, client: FlaskClient
) -> None:
    @app.get("/<int:n>")
    def page(n: int) -> str:
        g.n = session["n"] = n
        return ""

    with client:
        for n in (1, 2):
            client.get(f"/{n}")
            assert (request.path, g.n, session["n"]) == (f"/{n}", n, n)
    assert not request
    with client:  # again with the same client
        assert client.get("/3").status_code == 200
        assert g.n == 3


def test_context_does_not_stay_without_a_with_block(app: Carboy, client: FlaskClient) -> None:
    app.add_url_rule("/", "index", show_url)
    client.get("/")
    assert not request


def test_contexts_stay_over_redirects(app: Carboy, client: FlaskClient) -> None:
    app.add_url_rule("/a", "a", lambda: redirect("/b"))
    app.add_url_rule("/b", "b", show_url)
    with client:
        client.get("/a", follow_redirects=True)
        assert request.path == "/b"


def test_context_stays_after_an_error(app: Carboy, client: FlaskClient) -> None:
    app.testing = False
    app.add_url_rule("/", "broken", lambda: 1 / 0)
    with client:
        assert client.get("/").status_code == 500
        assert request.path == "/"


def test_client_cannot_be_entered_twice(client: FlaskClient) -> None:
    with client, pytest.raises(RuntimeError, match="Cannot nest client invocations"):
        client.__enter__()


def test_outer_context_is_active_again_after_the_block(app: Carboy, client: FlaskClient) -> None:
    app.add_url_rule("/inner", "inner", show_url)
    with app.test_request_context("/outer") as outer:
        with client:
            client.get("/inner")
            assert request.path == "/inner"
        assert _cv_request.get(None) is outer


# ---------------------------------------------------------------------------------------- sessions


def test_session_can_be_read_and_changed_between_requests(app: Carboy, client: FlaskClient) -> None:
    @app.get("/")
    def count() -> str:
        session["n"] = session.get("n", 0) + 1
        return str(session["n"])

    assert client.get("/").text == "1"
    with client.session_transaction() as own:
        assert own["n"] == 1
        own["n"] = 40
    assert client.get("/").text == "41"


def test_session_transaction_accepts_arguments_of_a_request(
    app: Carboy, client: FlaskClient
) -> None:
    app.config["SESSION_COOKIE_PATH"] = "/in"
    app.add_url_rule("/in/x", "inside", lambda: str(session.get("n")))
    app.add_url_rule("/out", "outside", lambda: str(session.get("n")))
    with client.session_transaction("/in/x") as own:
        own["n"] = 1
    assert (client.get("/in/x").text, client.get("/out").text) == ("1", "None")


def test_session_is_not_stored_when_the_block_fails(app: Carboy, client: FlaskClient) -> None:
    app.add_url_rule("/", "show", lambda: str(session.get("n")))
    with pytest.raises(ZeroDivisionError), client.session_transaction() as own:
        own["n"] = 1 // 0
    assert client.get("/").text == "None"


def test_null_session_is_not_stored(app: Carboy, client: FlaskClient) -> None:
    class NoSessions(SecureCookieSessionInterface):
        def open_session(self, app: t.Any, request: t.Any) -> t.Any:
            return self.make_null_session(app)

    app.session_interface = NoSessions()
    with client.session_transaction() as own:
        assert "n" not in own
    assert client.get_cookie("session") is None


def test_session_transaction_does_not_change_the_current_request(
    app: Carboy, client: FlaskClient
) -> None:
    with app.test_request_context("/mine"), client.session_transaction() as own:
        assert request.path == "/mine"
        own["n"] = 1


def test_session_transaction_requires_a_key_and_cookies(app: Carboy) -> None:
    with (
        pytest.raises(TypeError, match=r"Cookies are disabled.*use_cookies=True"),
        app.test_client(use_cookies=False).session_transaction(),
    ):
        pass
    app.secret_key = None
    with (
        pytest.raises(RuntimeError, match=r"did not open a session.*secret_key"),
        app.test_client().session_transaction(),
    ):
        pass


# ---------------------------------------------------------------------------- classes and commands


def test_app_context_is_pushed_once_per_request(app: Carboy, client: FlaskClient) -> None:
    popped: list[Carboy] = []
    app.add_url_rule("/", "index", show_url)
    with appcontext_popped.connected_to(popped.append, app):
        client.get("/", json={"a": 1})
    assert popped == [app]


def test_client_and_runner_classes_may_be_replaced(app: Carboy) -> None:
    class Client(FlaskClient):
        def __init__(self, *args: t.Any, token: str, **kwargs: t.Any) -> None:
            super().__init__(*args, **kwargs)
            self.token = token

    class Runner(FlaskCliRunner):
        pass

    app.test_client_class = Client
    app.test_cli_runner_class = Runner
    client: t.Any = app.test_client(token="x")
    assert (client.token, client.application) == ("x", app)
    assert isinstance(app.test_cli_runner(), Runner)


@pytest.mark.parametrize("by", ["name", "object"])
def test_command_is_run_with_the_app(app: Carboy, by: str) -> None:
    @app.cli.command("greet")
    @click.argument("name")
    def greet(name: str) -> None:
        from carboy import current_app

        click.echo(f"{current_app.name} greets {name}")

    runner = app.test_cli_runner()
    result = runner.invoke(args=["greet", "ada"]) if by == "name" else runner.invoke(greet, ["ada"])
    assert (result.exit_code, result.output) == (0, "carboy_test greets ada\n")


def test_command_may_get_another_object(app: Carboy) -> None:
    from carboy.cli import ScriptInfo

    asked = []

    def create_app() -> Carboy:
        asked.append(True)
        return app

    app.cli.command("nothing")(lambda: None)
    result = app.test_cli_runner().invoke(args=["nothing"], obj=ScriptInfo(create_app=create_app))
    assert result.exit_code == 0
    assert asked
