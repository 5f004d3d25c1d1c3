"""The application object: its attributes, registration, URLs, and error messages."""

from __future__ import annotations

import datetime as dt
import os
import pathlib
import sys
import typing as t

import pytest
from werkzeug.routing import BuildError

from carboy import Blueprint, Carboy, Flask, current_app, url_for


def test_flask_is_an_alias_of_carboy() -> None:
    assert Flask is Carboy


_SETUP: dict[str, t.Callable[[Carboy], object]] = {
    "route": lambda app: app.route("/x"),
    "add_url_rule": lambda app: app.add_url_rule("/x"),
    "before_request": lambda app: app.before_request(lambda: None),
    "after_request": lambda app: app.after_request(lambda r: r),
    "teardown_request": lambda app: app.teardown_request(lambda e: None),
    "teardown_appcontext": lambda app: app.teardown_appcontext(lambda e: None),
    "errorhandler": lambda app: app.errorhandler(404),
    "register_blueprint": lambda app: app.register_blueprint(Blueprint("b", "b")),
    "context_processor": lambda app: app.context_processor(dict),
    "template_filter": lambda app: app.template_filter(),
    "template_test": lambda app: app.template_test(),
    "template_global": lambda app: app.template_global(),
    "url_defaults": lambda app: app.url_defaults(lambda e, v: None),
    "shell_context_processor": lambda app: app.shell_context_processor(dict),
}


@pytest.mark.parametrize("name", _SETUP)
def test_setup_after_the_first_request_raises(app: Carboy, name: str) -> None:
    app.test_client().get("/")
    with pytest.raises(AssertionError) as caught:
        _SETUP[name](app)
    message = str(caught.value)
    assert f"The setup method '{name}' can no longer be called" in message
    assert "'carboy_test'" in message
    assert "before it is served" in message


def test_error_for_a_taken_endpoint_names_both_views_and_their_locations(app: Carboy) -> None:
    def first() -> str:
        return ""

    def second() -> str:
        return ""

    app.add_url_rule("/1", endpoint="view", view_func=first)
    app.add_url_rule("/again", endpoint="view", view_func=first)
    with pytest.raises(AssertionError) as caught:
        app.add_url_rule("/2", endpoint="view", view_func=second)
    message = str(caught.value)
    for part in ("'/2'", "view", ".first", ".second", f"{__file__}:", "Rename one"):
        assert part in message


def test_methods_must_be_a_list(app: Carboy) -> None:
    with pytest.raises(TypeError, match=r'methods=\["POST"\]'):
        app.add_url_rule("/", methods="POST", endpoint="x")


def test_methods_of_a_view_class_apply_to_its_rule(app: Carboy) -> None:
    def view() -> str:
        return "view"

    view.methods = ["PUT"]  # type: ignore[attr-defined]
    view.required_methods = ["PATCH"]  # type: ignore[attr-defined]
    view.provide_automatic_options = False  # type: ignore[attr-defined]
    app.add_url_rule("/", view_func=view)
    (rule,) = [rule for rule in app.url_map.iter_rules() if rule.endpoint == "view"]
    assert rule.methods == {"PUT", "PATCH"}


def test_automatic_options_may_be_switched_off(app: Carboy) -> None:
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.add_url_rule("/", endpoint="view", view_func=lambda: "")
    assert app.test_client().options("/").status_code == 405


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"static_host": "a.example"}, "static_host='a.example', host_matching=False"),
        ({"host_matching": True}, "host_matching=True"),
    ],
)
def test_static_host_requires_host_matching(options: dict[str, t.Any], message: str) -> None:
    with pytest.raises(AssertionError, match="Invalid static_host/host_matching") as caught:
        Carboy("x", **options)
    assert message in str(caught.value)


def test_instance_path_must_be_absolute(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="must be absolute: 'relative'"):
        Carboy("x", instance_path="relative")
    app = Carboy("x", instance_path=str(tmp_path), instance_relative_config=True)
    (tmp_path / "a.txt").write_text("grün", encoding="utf-8")
    assert app.config.root_path == str(tmp_path)
    with app.open_instance_resource("a.txt") as file, app.open_instance_resource("a.txt") as binary:
        assert file is not binary
    with app.open_instance_resource("a.txt", "r") as file:
        assert file.read() == "grün"


def test_instance_path_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", "/nowhere")
    assert Carboy("no_such_module").instance_path == os.path.join(os.getcwd(), "instance")
    monkeypatch.setattr("carboy.app.find_package", lambda name: ("/usr", "/usr/lib"))
    assert Carboy("x").instance_path == "/usr/var/x-instance"


@pytest.mark.parametrize(("file", "name"), [("/path/to/program.py", "program"), (None, "__main__")])
def test_script_is_named_after_its_file(
    file: str | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = sys.modules["__main__"]
    if file is None:
        monkeypatch.delattr(main, "__file__", raising=False)
    else:
        monkeypatch.setattr(main, "__file__", file, raising=False)
    assert Carboy("__main__", root_path="/").name == name


@pytest.mark.parametrize(
    ("value", "expected"),
    [(60, dt.timedelta(minutes=1)), (dt.timedelta(1), dt.timedelta(1)), (None, None)],
)
def test_session_lifetime_is_a_timedelta(app: Carboy, value: t.Any, expected: t.Any) -> None:
    app.permanent_session_lifetime = value
    assert app.permanent_session_lifetime == expected


def test_debug_reloads_templates_unless_configured_otherwise(app: Carboy) -> None:
    assert not app.jinja_env.auto_reload
    app.debug = True
    assert app.jinja_env.auto_reload
    app.config["TEMPLATES_AUTO_RELOAD"] = False
    app.debug = False
    assert app.jinja_env.auto_reload  # the config decides when the environment is created
    assert not app.create_jinja_environment().auto_reload
    other = Carboy("x")
    other.config["TEMPLATES_AUTO_RELOAD"] = True
    assert other.create_jinja_environment().auto_reload
    other.jinja_options = {"auto_reload": False}
    assert not other.create_jinja_environment().auto_reload


def test_registered_filters_tests_and_globals_are_available_in_templates(app: Carboy) -> None:
    app.template_filter()(str.upper)
    app.template_filter("shout")(lambda s: s + "!")
    app.template_test("odd_one")(lambda n: n == 1)
    app.template_global("seven")(lambda: 7)
    template = app.jinja_env.from_string(
        "{{ 'a'|upper|shout }} {{ 1 is odd_one }} {{ seven() }} {{ config.TESTING }}"
    )
    assert template.render() == "A! True 7 True"


@pytest.mark.parametrize(
    ("name", "escaped"),
    [(None, True), ("a.html", True), ("a.svg", True), ("a.txt", False), ("html", False)],
)
def test_autoescaping_depends_on_the_file_name(
    app: Carboy, name: str | None, escaped: bool
) -> None:
    assert app.select_jinja_autoescape(name) is escaped


def test_shell_context_has_the_app_and_added_variables(app: Carboy) -> None:
    app.shell_context_processor(lambda: {"x": 1})
    context = app.make_shell_context()
    assert context["app"] is app
    assert context["x"] == 1


def test_blueprints_are_listed(app: Carboy) -> None:
    blueprint = Blueprint("b", "b")
    app.register_blueprint(blueprint)
    assert list(app.iter_blueprints()) == [blueprint]


# -------------------------------------------------------------------------------------------- URLs


@pytest.fixture
def urls(app: Carboy) -> Carboy:
    app.add_url_rule("/item/<n>", endpoint="item", view_func=lambda n: url_for(".item", n=2))
    blueprint = Blueprint("b", "b", url_prefix="/b")
    blueprint.add_url_rule("/<x>", endpoint="v", view_func=lambda x: url_for(".v", x=x + "2"))
    app.register_blueprint(blueprint)
    return app


@pytest.mark.parametrize(
    ("arguments", "url"),
    [
        ({"n": 1}, "/item/1"),
        ({"n": 1, "q": "a b"}, "/item/1?q=a+b"),
        ({"n": 1, "_anchor": "x y"}, "/item/1#x%20y"),
        ({"n": 1, "_external": True}, "http://localhost/item/1"),
        ({"n": 1, "_scheme": "https"}, "https://localhost/item/1"),
        ({"n": 1, "_method": "GET"}, "/item/1"),
    ],
    ids=["plain", "query", "anchor", "external", "scheme", "method"],
)
def test_url_is_built(urls: Carboy, arguments: dict[str, t.Any], url: str) -> None:
    with urls.test_request_context():
        assert url_for("item", **arguments) == url


def test_endpoint_with_a_leading_dot_is_relative_to_the_blueprint(urls: Carboy) -> None:
    assert urls.test_client().get("/b/1").text == "/b/12"
    assert urls.test_client().get("/item/1").text == "/item/2"


def test_scheme_requires_an_external_url(urls: Carboy) -> None:
    with urls.test_request_context(), pytest.raises(ValueError, match="'_external' must be True"):
        url_for("item", n=1, _scheme="https", _external=False)


def test_url_outside_of_a_request_needs_server_name(urls: Carboy) -> None:
    for use in (urls.app_context(), None):
        with pytest.raises(RuntimeError, match=r"url_for\('item'\)") as caught:
            if use is None:
                urls.url_for("item", n=1)
            else:
                with use:
                    url_for("item", n=1)
        assert "Set 'SERVER_NAME'" in str(caught.value)
    urls.config["SERVER_NAME"] = "example.com"
    with urls.app_context():
        assert url_for("item", n=1) == "http://example.com/item/1"
        assert url_for("item", n=1, _external=False) == "/item/1"


def test_url_defaults_of_the_app_run_before_the_blueprints(app: Carboy) -> None:
    blueprint = Blueprint("b", "b", url_prefix="/b/<lang>")
    blueprint.url_defaults(lambda endpoint, values: values.setdefault("lang", "de"))
    blueprint.add_url_rule("/", endpoint="v", view_func=lambda lang: lang)
    app.register_blueprint(blueprint)
    app.url_defaults(lambda endpoint, values: values.setdefault("extra", endpoint))
    with app.test_request_context():
        assert url_for("b.v") == "/b/de/?extra=b.v"


def test_build_error_handlers_are_called_for_unknown_endpoints(app: Carboy) -> None:
    asked: list[str] = []

    def decline(error: Exception, endpoint: str, values: dict[str, t.Any]) -> t.Any:
        asked.append(endpoint)

    def fail(error: Exception, endpoint: str, values: dict[str, t.Any]) -> str:
        raise t.cast("BuildError", error)

    def know(error: Exception, endpoint: str, values: dict[str, t.Any]) -> str:
        return f"/known/{endpoint}/{values['_anchor']}"

    app.url_build_error_handlers += [decline, fail]  # type: ignore[list-item]
    with app.test_request_context():
        with pytest.raises(BuildError):
            url_for("unknown")
        app.url_build_error_handlers.append(know)
        assert url_for("unknown", _anchor="a") == "/known/unknown/a"
    assert asked == ["unknown"] * 2


def test_redirect_is_an_instance_of_the_apps_response_class(app: Carboy) -> None:
    response = app.redirect("/x", 303)
    assert (type(response), response.status_code) == (app.response_class, 303)


# ----------------------------------------------------------------------------------------- servers


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[t.Any]:
    calls: list[t.Any] = []
    import carboy.cli

    monkeypatch.setattr(
        carboy.cli, "run_development", lambda app, *args, **kw: calls.append((*args, kw))
    )
    monkeypatch.setattr(carboy.cli, "show_server_banner", lambda debug, name: None)
    return calls


@pytest.mark.parametrize(
    ("server_name", "given", "expected"),
    [
        (None, {}, ("127.0.0.1", 5000)),
        ("example.com:80", {}, ("example.com", 80)),
        ("example.com", {}, ("example.com", 5000)),
        ("example.com:80", {"host": "0.0.0.0", "port": "0"}, ("0.0.0.0", 0)),
    ],
)
def test_run_reads_host_and_port_from_server_name(
    app: Carboy,
    served: list[t.Any],
    server_name: str | None,
    given: dict[str, t.Any],
    expected: tuple[str, int],
) -> None:
    app.config["SERVER_NAME"] = server_name
    app.run(load_dotenv=False, debug=True, **given)
    host, port, options = served[0]
    assert (host, port) == expected
    # Other machines can reach 0.0.0.0, so that the debugger does not start there.
    debugger = host != "0.0.0.0"
    assert options == {"use_reloader": True, "use_debugger": debugger, "threaded": True}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"FLASK_ENV": "development"}, ("development", True)),
        ({"CARBOY_ENV": "development", "FLASK_DEBUG": "0"}, ("development", False)),
        ({"FLASK_ENV": "testing"}, ("testing", False)),
        ({}, ("staging", False)),
    ],
)
def test_run_reads_the_environment_from_dotenv(
    app: Carboy,
    served: list[t.Any],
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    expected: tuple[str, bool],
) -> None:
    import carboy.cli

    def load() -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    monkeypatch.setattr(carboy.cli, "load_dotenv", load)
    app.config["ENV"] = "staging"
    app.run()
    assert (app.config["ENV"], app.debug) == expected
    assert served[0][2]["use_debugger"] is app.debug


@pytest.mark.parametrize("debug", [True, False])
def test_run_keeps_the_debug_mode_of_the_app_if_no_variable_decides(
    app: Carboy, served: list[t.Any], monkeypatch: pytest.MonkeyPatch, debug: bool
) -> None:
    monkeypatch.setenv("FLASK_ENV", "production")
    app.debug = debug
    app.run(load_dotenv=True)
    assert served[0][2]["use_reloader"] is debug


def test_run_reads_debug_mode_from_dotenv(
    app: Carboy, served: list[t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import carboy.cli

    monkeypatch.setattr(carboy.cli, "load_dotenv", lambda: os.environ.update(FLASK_DEBUG="1"))
    monkeypatch.setenv("FLASK_DEBUG", "0")
    app._got_first_request = True
    app.run()
    assert app.debug
    assert not app._got_first_request


def test_run_inside_the_run_command_is_ignored(
    app: Carboy, served: list[t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import carboy.cli

    said: list[str] = []
    monkeypatch.setattr(carboy.cli, "say_run_is_ignored", said.append)
    monkeypatch.setenv("FLASK_RUN_FROM_CLI", "true")
    app.run()
    assert (said, served) == (["run"], [])


def test_client_and_runner_classes_may_be_replaced(app: Carboy) -> None:
    from carboy.testing import FlaskClient, FlaskCliRunner

    class Client(FlaskClient):
        def __init__(self, *args: t.Any, extra: int = 0, **kwargs: t.Any) -> None:
            super().__init__(*args, **kwargs)
            self.extra = extra

    class Runner(FlaskCliRunner):
        pass

    app.test_client_class, app.test_cli_runner_class = Client, Runner
    client = app.test_client(extra=5)
    assert isinstance(client, Client)
    assert client.extra == 5
    assert isinstance(app.test_cli_runner(), Runner)


def test_app_can_be_freed() -> None:
    import weakref

    app = Carboy("x", static_folder="static")
    app.test_client().get("/static/none")
    gone = weakref.ref(app)
    del app
    import gc

    while gone() is not None:  # one collection is not enough while another thread collects
        gc.collect()
    assert not current_app
