"""Blueprints: names, prefixes, what they register on an app, and errors of registration."""

from __future__ import annotations

import typing as t

import pytest

from carboy import Blueprint, Carboy, render_template_string, request


def _view() -> str:
    return f"{request.endpoint} {request.blueprints} {request.view_args}"


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda: Blueprint("", "x"), ValueError, "may not be empty"),
        (lambda: Blueprint("a.b", "x"), ValueError, "dot.*'a.b'"),
        (
            lambda: Blueprint("b", "x").add_url_rule("/", "a.b"),
            ValueError,
            "'endpoint' may not contain a dot.*'a.b'",
        ),
        (
            lambda: Blueprint("b", "x").add_url_rule("/", view_func=type("a.b", (), {})),
            ValueError,
            "'view_func' name may not contain a dot.*'a.b'",
        ),
    ],
    ids=["empty name", "dotted name", "dotted endpoint", "dotted view"],
)
def test_invalid_names_raise(act: t.Any, error: t.Any, message: str) -> None:
    with pytest.raises(error, match=message):
        act()


def test_blueprint_cannot_be_registered_on_itself() -> None:
    blueprint = Blueprint("b", "x")
    with pytest.raises(ValueError, match="on itself: 'b'"):
        blueprint.register_blueprint(blueprint)


@pytest.mark.parametrize("same", [True, False])
def test_name_can_be_registered_once(app: Carboy, same: bool) -> None:
    first = Blueprint("b", "x")
    app.register_blueprint(first)
    which = "this" if same else "a different"
    with pytest.raises(
        ValueError, match=f"'b' is already registered for {which} blueprint"
    ) as caught:
        app.register_blueprint(first if same else Blueprint("b", "x"))
    assert "'name='" in str(caught.value)
    app.register_blueprint(first, name="other")
    assert list(app.blueprints) == ["b", "other"]


def test_nested_name_can_be_registered_once_per_parent(app: Carboy) -> None:
    parent, child = Blueprint("p", "x"), Blueprint("c", "x")
    parent.register_blueprint(child)
    parent.register_blueprint(child)
    with pytest.raises(ValueError, match=r"'c' is already registered for this blueprint 'p\.c'"):
        app.register_blueprint(parent)


def test_setup_after_registration_raises(app: Carboy) -> None:
    blueprint = Blueprint("late", "x")
    app.register_blueprint(blueprint)
    with pytest.raises(AssertionError, match=r"'before_request' can no longer.*'late'") as caught:
        blueprint.before_request(lambda: None)
    assert "before `register_blueprint`" in str(caught.value)


@pytest.mark.parametrize(
    ("parent", "child", "url"),
    [
        (None, None, "/v"),
        ("/p", None, "/p/v"),
        (None, "/c", "/c/v"),
        ("/p", "/c", "/p/c/v"),
        ("/p/", "c", "/p/c/v"),
        ("/", "/", "/v"),
    ],
)
def test_prefixes_are_joined(app: Carboy, parent: str | None, child: str | None, url: str) -> None:
    outer, inner = Blueprint("p", "x", url_prefix=parent), Blueprint("c", "x", url_prefix=child)
    inner.add_url_rule("/v", endpoint="v", view_func=_view)
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    assert app.test_client().get(url).text == "p.c.v ['p.c', 'p'] {}"


def test_empty_rule_is_the_prefix_itself(app: Carboy) -> None:
    blueprint = Blueprint("b", "x", url_prefix="/b")
    blueprint.add_url_rule("", endpoint="v", view_func=_view)
    app.register_blueprint(blueprint)
    assert app.test_client().get("/b").text == "b.v ['b'] {}"


def test_options_of_registration_override_the_blueprints_own(app: Carboy) -> None:
    blueprint = Blueprint("b", "x", url_prefix="/b", url_defaults={"a": 1, "c": 3})
    blueprint.add_url_rule("/v", endpoint="v", view_func=lambda **kw: _view(), defaults={"c": 4})
    app.register_blueprint(blueprint, name="n", url_prefix="/n", url_defaults={"a": 2})
    assert app.test_client().get("/n/v").text == "n.v ['n'] {'a': 2, 'c': 4}"


@pytest.mark.parametrize(
    ("parent", "child", "host"),
    [("p", "c", "c.p.example.com"), ("p", None, "p.example.com"), (None, "c", "c.example.com")],
)
def test_subdomains_are_joined(parent: str | None, child: str | None, host: str) -> None:
    app = Carboy("x", subdomain_matching=True)
    app.config["SERVER_NAME"] = "example.com"
    outer, inner = Blueprint("p", "x", subdomain=parent), Blueprint("c", "x", subdomain=child)
    inner.add_url_rule("/", endpoint="v", view_func=_view)
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    assert app.test_client().get("/", base_url=f"http://{host}").text.startswith("p.c.v")


def test_deferred_functions_run_at_each_registration_or_once(app: Carboy) -> None:
    ran: list[tuple[str, bool]] = []
    blueprint = Blueprint("b", "x")
    blueprint.record(lambda state: ran.append((f"each {state.name}", state.first_registration)))
    blueprint.record_once(lambda state: ran.append((f"once {state.name}", True)))
    app.register_blueprint(blueprint)
    app.register_blueprint(blueprint, name="again")
    assert ran == [("each b", True), ("once b", True), ("each again", False)]


def test_setup_state_class_may_be_replaced(app: Carboy) -> None:
    class Own(Blueprint):
        def make_setup_state(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
            state = super().make_setup_state(*args, **kwargs)
            state.url_prefix = "/own"
            return state

    blueprint = Own("b", "x")
    blueprint.add_url_rule("/v", endpoint="v", view_func=_view)
    app.register_blueprint(blueprint)
    assert app.test_client().get("/own/v").status_code == 200


def test_hooks_for_the_whole_app_are_registered_on_the_app(app: Carboy) -> None:
    seen: list[str] = []
    blueprint = Blueprint("b", "x")
    blueprint.before_app_request(lambda: seen.append("before"))
    blueprint.after_app_request(lambda r: (seen.append("after"), r)[1])
    blueprint.teardown_app_request(lambda e: seen.append("teardown"))
    blueprint.app_context_processor(lambda: {"processed": "p"})
    blueprint.app_errorhandler(404)(lambda e: ("lost", 404))
    blueprint.app_url_value_preprocessor(lambda e, v: seen.append("values"))
    blueprint.app_url_defaults(lambda e, v: v.setdefault("q", 1))
    blueprint.app_template_filter()(str.upper)
    blueprint.app_template_filter("twice")(lambda s: s * 2)
    blueprint.app_template_test("seven")(lambda n: n == 7)
    blueprint.app_template_global("one")(lambda: 1)
    app.register_blueprint(blueprint)
    app.add_url_rule(
        "/",
        endpoint="index",
        view_func=lambda: render_template_string(
            "{{ 'a'|upper|twice }}{{ 7 is seven }}{{ one() }}{{ processed }}{{ url_for('index') }}"
        ),
    )
    assert app.test_client().get("/").text == "AATrue1p/?q=1"
    assert seen == ["values", "before", "after", "teardown"]
    assert app.test_client().get("/none").text == "lost"


@pytest.mark.parametrize(
    ("options", "command"),
    [
        ({}, ["b", "hello"]),
        ({"cli_group": None}, ["hello"]),
        ({"cli_group": "group"}, ["group", "hello"]),
    ],
    ids=["own name", "app's", "named"],
)
def test_commands_are_added_in_the_blueprints_group(
    app: Carboy, options: dict[str, t.Any], command: list[str]
) -> None:
    blueprint = Blueprint("b", "x", **options)

    @blueprint.cli.command("hello")
    def hello() -> None:
        print("hello")

    app.register_blueprint(blueprint)
    assert app.test_cli_runner().invoke(args=command).output == "hello\n"


def test_command_group_can_be_given_at_registration(app: Carboy) -> None:
    blueprint = Blueprint("b", "x")
    blueprint.cli.command("hello")(lambda: print("hello"))
    app.register_blueprint(blueprint, cli_group="given")
    assert app.test_cli_runner().invoke(args=["given", "hello"]).output == "hello\n"
    app.register_blueprint(Blueprint("none", "x"))


def test_error_handlers_of_a_nested_blueprint_do_not_apply_to_its_parent(app: Carboy) -> None:
    outer, inner = Blueprint("p", "x", url_prefix="/p"), Blueprint("c", "x", url_prefix="/c")
    for name, blueprint in (("outer", outer), ("inner", inner)):
        blueprint.errorhandler(KeyError)(lambda e, name=name: name)
        blueprint.add_url_rule("/v", endpoint="v", view_func=lambda: {}["x"])
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    client = app.test_client()
    assert (client.get("/p/v").text, client.get("/p/c/v").text) == ("outer", "inner")


def test_remaining_registration_methods_work() -> None:
    blueprint = Blueprint("b", "x", static_folder="s", template_folder="t")
    assert blueprint.jinja_loader is not None
    assert blueprint.static_url_path == "/s"
