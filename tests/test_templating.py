"""Templates: lookup, variables, signals, caching, and the message for a missing template."""

from __future__ import annotations

import logging
import pathlib
import pickle
import typing as t
from unittest import mock

import jinja2
import jinja2.nativetypes
import pytest

from carboy import (
    Blueprint,
    Carboy,
    before_render_template,
    get_template_attribute,
    render_template,
    render_template_string,
    request,
    session,
    stream_template,
    stream_template_string,
    template_rendered,
)
from carboy import g as g_proxy
from carboy import request as request_proxy
from carboy.globals import request_ctx
from carboy.templating import (
    MAX_COMPILED_STRINGS,
    DispatchingJinjaLoader,
    Environment,
    TemplateMissing,
    TemplatesMissing,
    _default_template_ctx_processor,
    _render,
)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "templates").mkdir()
    return tmp_path / "templates"


@pytest.fixture
def app(folder: pathlib.Path) -> Carboy:
    app = Carboy("pages", root_path=str(folder.parent))
    app.config.update(TESTING=True, SECRET_KEY="test key")
    return app


# --------------------------------------------------------------------------------------- variables


def test_arguments_override_processors_and_processors_override_globals(app: Carboy) -> None:
    app.jinja_env.globals.update(a="global", b="global", c="global")

    @app.context_processor
    def add() -> dict[str, str]:
        return {"a": "processor", "b": "processor"}

    with app.app_context():
        page = render_template_string("{{ a }} {{ b }} {{ c }}", a="given")
    assert page == "given processor global"


def test_later_processor_overrides_earlier(app: Carboy) -> None:
    app.context_processor(lambda: {"x": 1})
    app.context_processor(lambda: {"x": 2, "request": "own"})
    with app.test_request_context():
        assert render_template_string("{{ x }} {{ request }}") == "2 own"


def test_async_processor_is_awaited(app: Carboy) -> None:
    @app.context_processor
    async def add() -> dict[str, int]:
        return {"x": 7}

    with app.app_context():
        assert render_template_string("{{ x }}") == "7"


def test_blueprints_processor_applies_to_its_views_only(app: Carboy) -> None:
    parent, child = Blueprint("parent", __name__), Blueprint("child", __name__)
    parent.context_processor(lambda: {"who": "parent", "outer": True})
    child.context_processor(lambda: {"who": "child"})
    for owner, rule in ((app, "/app"), (parent, "/parent"), (child, "/child")):
        owner.add_url_rule(
            rule, "page", lambda: render_template_string("{{ who }} {{ outer is defined }}")
        )
    parent.register_blueprint(child)
    app.register_blueprint(parent)
    client = app.test_client()
    assert client.get("/app").text == " False"
    assert client.get("/parent").text == "parent True"
    assert client.get("/child").text == "child True"


def test_error_without_a_context_explains_how_to_push_one(app: Carboy) -> None:
    with pytest.raises(RuntimeError, match="outside of application context"):
        render_template_string("x")


def test_outside_of_a_request_there_is_g_but_no_request(app: Carboy) -> None:
    with app.app_context():
        g_proxy.name = "ada"
        assert render_template_string("{{ g.name }}") == "ada"
        with pytest.raises(RuntimeError, match="outside of request context"):
            render_template_string("{{ request.path }}")


def test_template_sees_the_real_objects(app: Carboy) -> None:
    seen: dict[str, t.Any] = {}
    app.jinja_env.filters["keep"] = lambda value, name: seen.update({name: value}) or ""
    source = "{{ request|keep('request') }}{{ g|keep('g') }}{{ session|keep('session') }}"
    with app.test_request_context():
        render_template_string(source)
        assert seen["request"] is request_proxy._get_current_object()  # type: ignore[attr-defined]
        assert seen["g"] is g_proxy._get_current_object()  # type: ignore[attr-defined]
        assert seen["session"] is session  # a proxy, so that reading the session is noticed


def test_undefined_attribute_of_g_names_its_class(app: Carboy) -> None:
    with (
        app.test_request_context(),
        pytest.raises(jinja2.UndefinedError, match=r"_AppCtxGlobals object' has no attribute"),
    ):
        render_template_string("{{ g.user.name }}")


@pytest.mark.parametrize(
    ("source", "made"), [("{{ x }}", False), ("{{ request.path }}{{ g.x }}", True)]
)
def test_request_and_g_are_created_only_for_templates_that_use_them(
    app: Carboy, source: str, made: bool
) -> None:
    seen: list[bool] = []

    @app.get("/")
    def page() -> str:
        render_template_string(source, x=1)
        seen.extend((request_ctx._request is not None, request_ctx._g is not None))
        return ""

    app.test_client().get("/")
    assert seen == [made, made]


def test_macro_imported_without_context_sees_the_current_request(
    app: Carboy, folder: pathlib.Path
) -> None:
    (folder / "m.html").write_text("{% macro path() %}{{ request.path }}{{ g.n }}{% endmacro %}")
    source = "{% from 'm.html' import path %}{{ path() }}"
    for n in (1, 2):
        with app.test_request_context(f"/{n}/"):
            g_proxy.n = n
            assert render_template_string(source) == f"/{n}/{n}"


@pytest.mark.parametrize(
    "source",
    ["{% include 'm.html' %}", "{% import 'm.html' as m with context %}{{ m }}"],
    ids=["include", "import with context"],
)
def test_template_imported_with_context_sees_the_variables(
    app: Carboy, folder: pathlib.Path, source: str
) -> None:
    (folder / "m.html").write_text("{{ request.path }}{{ g.n }}{{ x }}")
    with app.test_request_context("/p"):
        g_proxy.n = 5
        assert render_template_string(source, x=6) == "/p56"


def test_variable_set_by_a_template_is_visible_in_its_blocks(app: Carboy) -> None:
    with app.app_context():
        source = "{% set x = 2 %}{% block a %}{{ x }}{% endblock %}"
        assert render_template_string(source, x=1) == "2"


def test_render_without_a_request_runs_the_processors(app: Carboy) -> None:
    app.context_processor(lambda: {"x": 1})
    assert _render(app, app.jinja_env.from_string("{{ x }}"), {}) == "1"


def test_argument_named_request_is_not_replaced(app: Carboy) -> None:
    with app.test_request_context():
        assert render_template_string("{{ request }}{{ g }}", request=1, g=2) == "12"


def test_session_that_no_template_reads_is_not_accessed(app: Carboy) -> None:
    app.add_url_rule("/plain", "plain", lambda: render_template_string("{{ g }}{{ request }}"))
    app.add_url_rule("/reads", "reads", lambda: render_template_string("{{ session.x }}"))
    client = app.test_client()
    assert "Cookie" not in client.get("/plain").headers.get("Vary", "")
    assert "Cookie" in client.get("/reads").headers["Vary"]


def test_default_processor_returns_the_active_objects(app: Carboy) -> None:
    assert _default_template_ctx_processor() == {}
    with app.app_context():
        assert set(_default_template_ctx_processor()) == {"g"}
    with app.test_request_context():
        assert set(_default_template_ctx_processor()) == {"g", "request"}


def test_update_template_context_adds_real_objects(app: Carboy) -> None:
    with app.test_request_context() as ctx:
        context: dict[str, t.Any] = {"x": 1}
        app.update_template_context(context)
        assert context == {"x": 1, "g": ctx.g, "request": ctx.request}
        assert context["request"] is ctx.request


# --------------------------------------------------------------------------- overrides and signals


def test_overridden_update_template_context_is_called(folder: pathlib.Path) -> None:
    class Own(Carboy):
        def update_template_context(self, context: dict[str, t.Any]) -> None:
            super().update_template_context(context)
            context["x"] = "own"

    with Own("pages").test_request_context("/p"):
        assert render_template_string("{{ x }} {{ request.path }}") == "own /p"


def test_update_template_context_replaced_on_the_app_is_called(app: Carboy) -> None:
    app.update_template_context = lambda context: context.update(x=3)  # type: ignore[method-assign,assignment,misc]
    with app.app_context():
        assert render_template_string("{{ x }}") == "3"


def test_without_the_default_processor_request_and_g_are_undefined(app: Carboy) -> None:
    app.template_context_processors[None].clear()
    seen = []
    app.jinja_env.filters["keep"] = lambda value: seen.append(value) or ""
    with app.test_request_context():
        render_template_string("{{ g|keep }}")
        assert seen[0] is g_proxy


def test_signals_carry_template_and_real_context(app: Carboy) -> None:
    received: list[tuple[str, t.Any]] = []

    def before(sender: Carboy, template: t.Any, context: t.Any, **extra: t.Any) -> None:
        received.append(("before", context["request"]))
        context["x"] = "set by receiver"

    def after(sender: Carboy, template: t.Any, context: t.Any, **extra: t.Any) -> None:
        received.append(("after", template))

    with (
        before_render_template.connected_to(before, app),
        template_rendered.connected_to(after, app),
        app.test_request_context() as ctx,
    ):
        assert render_template_string("{{ x }}") == "set by receiver"
        assert received[0] == ("before", ctx.request)
        assert received[0][1] is ctx.request
    assert received[1][0] == "after"
    assert isinstance(received[1][1], jinja2.Template)


@pytest.mark.parametrize("method", ["get_template", "_load_template"])
def test_jinja_method_patched_by_a_tool_is_called(
    app: Carboy, folder: pathlib.Path, method: str
) -> None:
    (folder / "a.html").write_text("a")
    original = getattr(jinja2.Environment, method)
    with app.app_context():
        render_template("a.html")
        with mock.patch.object(jinja2.Environment, method, autospec=True) as patched:
            patched.side_effect = original
            render_template("a.html")
    assert patched.call_count == 1


def test_render_method_patched_by_a_tool_is_called(app: Carboy, folder: pathlib.Path) -> None:
    (folder / "a.html").write_text("a")
    with app.app_context(), mock.patch.object(jinja2.Template, "render", return_value="patched"):
        assert render_template("a.html") == "patched"


def test_environment_with_its_own_lookup_is_asked_each_time(
    app: Carboy, folder: pathlib.Path
) -> None:
    class Themed(Environment):
        theme = "light"

        def get_template(self, name: t.Any, *args: t.Any, **kwargs: t.Any) -> jinja2.Template:
            return super().get_template(f"{self.theme}/{name}", *args, **kwargs)

    for theme in ("light", "dark"):
        (folder / theme).mkdir()
        (folder / theme / "a.html").write_text(theme)
    app.jinja_environment = Themed
    with app.app_context():
        assert [render_template("a.html") for _ in "ab"] == ["light", "light"]
        app.jinja_env.theme = "dark"  # type: ignore[attr-defined]
        assert render_template("a.html") == "dark"


def test_custom_context_class_gets_real_objects(app: Carboy) -> None:
    class Own(jinja2.runtime.Context):
        pass

    class OwnEnvironment(Environment):
        context_class = Own

    app.jinja_environment = OwnEnvironment
    seen = []
    app.jinja_env.filters["keep"] = lambda value: seen.append(value) or ""
    with app.test_request_context() as ctx:
        render_template_string("{{ request|keep }}")
        assert seen[0] is ctx.request


def test_mixin_of_jinja_keeps_its_behaviour(app: Carboy) -> None:
    class Native(Environment, jinja2.nativetypes.NativeEnvironment):
        pass

    app.jinja_environment = Native
    with app.app_context():
        assert render_template_string("{{ [1, 2] }}") == [1, 2]  # type: ignore[comparison-overlap]


def test_template_of_another_environment_gets_real_objects(app: Carboy) -> None:
    seen = []
    foreign = jinja2.Environment()
    foreign.filters["keep"] = lambda value: seen.append(value) or ""
    with app.test_request_context() as ctx:
        render_template(foreign.from_string("{{ request|keep }}{{ g|keep }}"))
        assert seen == [ctx.request, ctx.g]
        assert seen[0] is ctx.request


# -------------------------------------------------------------------------- environment and loader


def test_apps_template_takes_precedence_over_a_blueprints(
    app: Carboy, folder: pathlib.Path, tmp_path: t.Any
) -> None:
    (tmp_path / "bp").mkdir()
    for place, names in ((folder, "a"), (tmp_path / "bp", "ab")):
        for name in names:
            (place / f"{name}.html").write_text(place.name)
    app.register_blueprint(Blueprint("bp", __name__, template_folder=str(tmp_path / "bp")))
    with app.app_context():
        assert render_template("a.html") == "templates"
        assert render_template("b.html") == "bp"
    assert sorted(app.jinja_env.list_templates()) == ["a.html", "b.html"]


def test_first_existing_template_of_a_list_is_used(app: Carboy, folder: pathlib.Path) -> None:
    (folder / "b.html").write_text("b")
    (folder / "c.html").write_text("c")
    with app.app_context():
        assert render_template(["a.html", "b.html", "c.html"]) == "b"


def test_loaded_template_is_found_again_without_jinjas_lookup(
    app: Carboy, folder: pathlib.Path
) -> None:
    (folder / "a.html").write_text("a")
    env = app.jinja_env
    first = env.get_or_select_template("a.html")
    with mock.patch.object(type(env.cache), "get", side_effect=AssertionError):
        assert env.get_or_select_template("a.html") is first


@pytest.mark.parametrize(
    "change",
    [
        lambda env: env.cache.clear(),
        lambda env: env.cache.pop(next(iter(env.cache.keys()))),
        lambda env: setattr(env, "cache", None),
        lambda env: setattr(env, "loader", jinja2.DictLoader({"a.html": "new"})),
        lambda env: setattr(env, "get_template", lambda *a: env.from_string("new")),
    ],
    ids=["cleared", "entry removed", "no cache", "other loader", "patched instance"],
)
def test_loaded_template_is_dropped_when_the_environment_changes(
    app: Carboy, folder: pathlib.Path, change: t.Callable[[t.Any], object]
) -> None:
    (folder / "a.html").write_text("old")
    with app.app_context():
        assert render_template("a.html") == "old"
        (folder / "a.html").write_text("new")
        assert render_template("a.html") == "old"
        try:
            change(app.jinja_env)
        except AttributeError:  # Jinja's cache has no `pop`
            del app.jinja_env.cache[next(iter(app.jinja_env.cache.keys()))]  # type: ignore[union-attr]
        assert render_template("a.html") == "new"


def test_auto_reload_switched_on_later_reloads(app: Carboy, folder: pathlib.Path) -> None:
    (folder / "a.html").write_text("old")
    with app.app_context():
        assert render_template("a.html") == "old"
        app.jinja_env.auto_reload = True
        (folder / "a.html").write_text("changed")
        assert render_template("a.html") == "changed"


def test_overlay_has_its_own_templates(app: Carboy, folder: pathlib.Path) -> None:
    (folder / "a.html").write_text("{{ '<' }}[[ 1 ]]")
    env = app.jinja_env
    overlay = env.overlay(variable_start_string="[[", variable_end_string="]]")
    for _ in range(2):
        assert env.get_or_select_template("a.html").render() == "&lt;[[ 1 ]]"
        assert overlay.get_or_select_template("a.html").render() == "{{ '<' }}1"
        assert env.from_string("{{ 1 }}[[ 1 ]]").render() == "1[[ 1 ]]"
        assert overlay.from_string("{{ 1 }}[[ 1 ]]").render() == "{{ 1 }}1"


def test_templates_can_be_dropped_after_an_overlay_was_made(
    app: Carboy, folder: pathlib.Path
) -> None:
    (folder / "a.html").write_text("old")
    with app.app_context():
        assert render_template("a.html") == "old"
        app.jinja_env.overlay(loader=jinja2.DictLoader({"a.html": "other"}))
        assert render_template("a.html") == "old"
        (folder / "a.html").write_text("new")
        app.jinja_env.cache.clear()
        assert render_template("a.html") == "new"


def test_small_cache_keeps_its_capacity(app: Carboy, folder: pathlib.Path) -> None:
    app.jinja_options = {"cache_size": 4}
    for n in range(8):
        (folder / f"{n}.html").write_text(str(n))
    with app.app_context():
        assert [render_template(f"{n}.html") for n in range(8)] == list("01234567")
        assert [render_template(f"{n}.html") for n in range(8)] == list("01234567")
    assert len(app.jinja_env.cache) == 4  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, -1], ids=["none", "unlimited"])
def test_other_kinds_of_cache_work(app: Carboy, folder: pathlib.Path, size: int) -> None:
    app.jinja_options = {"cache_size": size}
    (folder / "a.html").write_text("a")
    with app.app_context():
        assert [render_template("a.html") for _ in "ab"] == ["a", "a"]


def test_globals_changed_after_loading_are_visible(app: Carboy, folder: pathlib.Path) -> None:
    (folder / "a.html").write_text("{{ x }}")
    with app.app_context():
        app.jinja_env.globals["x"] = 1
        assert render_template("a.html") == "1"
        app.jinja_env.globals["x"] = 2
        assert render_template("a.html") == "2"
        own = app.jinja_env.get_template("a.html", globals={"x": 3})
        assert own.render() == "3"


# -------------------------------------------------------------------------- templates from strings


def test_string_template_is_compiled_once(app: Carboy) -> None:
    with app.app_context():
        render_template_string("{{ x }}", x=1)
        with mock.patch.object(jinja2.Environment, "_parse", side_effect=AssertionError):
            assert render_template_string("{{ x }}", x=2) == "2"


def test_each_rendering_of_a_string_has_its_own_template_object(app: Carboy) -> None:
    env = app.jinja_env
    assert env.from_string("a") is not env.from_string("a")


def test_changed_environment_compiles_strings_again(app: Carboy) -> None:
    env = app.jinja_env
    env.filters["f"] = lambda value: "old"
    assert env.from_string("{{ 'x'|f }}").render() == "old"
    env.filters["f"] = lambda value: "new"
    assert env.from_string("{{ 'x'|f }}").render() == "new"
    assert env.from_string("{{ '<'|e }}[[ 1 ]]").render() == "&lt;[[ 1 ]]"
    env.variable_start_string, env.variable_end_string = "[[", "]]"
    assert env.from_string("{{ '<'|e }}[[ 1 ]]").render() == "{{ '<'|e }}1"


def test_number_and_length_of_compiled_strings_are_bounded(app: Carboy) -> None:
    env = app.jinja_env
    for n in range(MAX_COMPILED_STRINGS * 2 + 3):
        assert env.from_string(f"{n}").render() == str(n)
    assert len(env._strings.codes) <= MAX_COMPILED_STRINGS
    env.from_string("x" * 100_000)
    assert max(map(len, env._strings.codes)) < 100_000


def test_environment_with_an_extension_compiles_each_time(app: Carboy) -> None:
    app.jinja_env.add_extension("jinja2.ext.do")
    app.jinja_env.from_string("a")
    assert not app.jinja_env._strings.codes


# ----------------------------------------------------------------------------------------- streams


def test_stream_keeps_the_request_and_ends_with_the_signal(
    app: Carboy, folder: pathlib.Path
) -> None:
    (folder / "a.html").write_text("{% for n in range(2) %}{{ request.path }}{{ n }} {% endfor %}")
    received = []
    app.add_url_rule("/s", "s", lambda: stream_template("a.html"))
    client = app.test_client()
    assert client.get("/s").text == "/s0 /s1 "

    def note(sender: Carboy, **extra: t.Any) -> None:
        received.append(extra["context"]["request"].path)

    with before_render_template.connected_to(note), template_rendered.connected_to(note):
        assert client.get("/s").text == "/s0 /s1 "
    assert received == ["/s", "/s"]


def test_stream_without_a_request_outlives_the_app_context(app: Carboy) -> None:
    with app.app_context():
        g_proxy.x = 4
        stream = stream_template_string("{{ g.x }}{{ y }}", y=5)
    assert "".join(stream) == "45"


# ------------------------------------------------------------------------------- missing templates


def test_message_for_a_missing_template_has_folders_and_close_matches(
    app: Carboy, folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (folder / "index.html").write_text("")
    app.register_blueprint(Blueprint("shop", "the.shop", root_path="/nowhere", template_folder="t"))
    with app.app_context(), pytest.raises(jinja2.TemplateNotFound) as info:
        render_template("indx.html")
    assert info.value.name == "indx.html"
    assert str(info.value) == (
        "Template 'indx.html' was not found. Searched in:\n"
        f"  - {folder} of application 'pages'\n"
        "  - /nowhere/t (does not exist) of blueprint 'shop' (the.shop)\n"
        "Did you mean 'index.html'?"
    )


def test_template_of_another_folder_is_a_close_match(app: Carboy, folder: pathlib.Path) -> None:
    (folder / "admin").mkdir()
    (folder / "admin" / "Users.html").write_text("")
    with app.app_context(), pytest.raises(jinja2.TemplateNotFound, match=r"admin/Users\.html"):
        render_template("users.html")


def test_message_for_a_missing_list_has_all_names(app: Carboy, folder: pathlib.Path) -> None:
    with app.app_context(), pytest.raises(jinja2.TemplatesNotFound) as info:
        render_template(["a.html", "b.html"])
    assert info.value.templates == ["a.html", "b.html"]
    assert str(info.value).startswith("Template 'a.html' or 'b.html' was not found.")
    assert "Did you mean" not in str(info.value)


def test_custom_loader_keeps_jinjas_message(app: Carboy) -> None:
    app.jinja_options = {"loader": jinja2.DictLoader({"a.html": "own"})}
    with app.app_context():
        assert render_template("a.html") == "own"
        with pytest.raises(jinja2.TemplatesNotFound, match="none of the templates given"):
            render_template(["b.html", "c.html"])


def test_folders_of_choice_and_prefix_loaders_are_listed(app: Carboy) -> None:
    one, two = jinja2.FileSystemLoader("/one"), jinja2.FileSystemLoader("/two")
    app.jinja_loader = jinja2.ChoiceLoader([one, jinja2.PrefixLoader({"p": two})])
    with app.app_context(), pytest.raises(jinja2.TemplateNotFound) as info:
        render_template("a.html")
    assert "- /one (does not exist) of application" in str(info.value)
    assert "- /two (does not exist) of application" in str(info.value)


def test_empty_list_keeps_jinjas_message(app: Carboy) -> None:
    with app.app_context(), pytest.raises(jinja2.TemplatesNotFound, match="empty list"):
        render_template([])


def test_message_of_an_app_without_any_template_folder() -> None:
    app = Carboy("bare", template_folder=None)
    with app.app_context(), pytest.raises(jinja2.TemplateNotFound, match="has a folder for"):
        render_template("a.html")


def test_loader_that_cannot_list_is_still_named(app: Carboy) -> None:
    app.jinja_loader = jinja2.ChoiceLoader([jinja2.FunctionLoader(lambda name: None)])
    with app.app_context(), pytest.raises(jinja2.TemplateNotFound, match="ChoiceLoader"):
        render_template("a.html")


def test_folders_are_not_read_for_an_ignored_template(app: Carboy) -> None:
    with app.app_context(), mock.patch("carboy.debughelpers.describe_missing_templates") as read:
        assert render_template_string("{% include 'x.html' ignore missing %}.") == "."
    assert not read.called


def test_missing_template_error_can_be_pickled(app: Carboy) -> None:
    error = TemplateMissing(DispatchingJinjaLoader(app), "x.html")
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, jinja2.TemplateNotFound)
    assert (copy.name, str(copy)) == ("x.html", str(error))
    several = TemplatesMissing(DispatchingJinjaLoader(app), ["x.html", "y.html"])
    copy = pickle.loads(pickle.dumps(several))
    assert isinstance(copy, jinja2.TemplatesNotFound)
    assert str(copy) == str(several)


def test_explained_loading_logs_every_loader_once(
    app: Carboy, folder: pathlib.Path, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bp").mkdir()
    for place in (folder, tmp_path / "bp"):
        (place / "a.html").write_text(place.name)
    app.register_blueprint(Blueprint("bp", "bp.mod", template_folder=str(tmp_path / "bp")))
    app.config["EXPLAIN_TEMPLATE_LOADING"] = True
    caplog.set_level(logging.INFO)
    with app.test_request_context():
        assert render_template("a.html") == "templates"
        with pytest.raises(jinja2.TemplateNotFound):
            render_template("b.html")
    found, missing = (
        record.getMessage() for record in caplog.records if record.name == app.logger.name
    )
    assert "1: trying loader of application 'pages'" in found
    assert "2: trying loader of blueprint 'bp' (bp.mod)" in found
    assert "more than one loader" in found
    assert missing.count("-> no match") == 2


def test_exported_macro_is_returned_and_a_missing_one_lists_the_others(
    app: Carboy, folder: pathlib.Path
) -> None:
    (folder / "m.html").write_text("{% macro hello(x) %}Hello {{ x }}{% endmacro %}")
    with app.app_context():
        assert get_template_attribute("m.html", "hello")("you") == "Hello you"
        with pytest.raises(AttributeError, match=r"'m.html' exports no 'helo'.*exports hello"):
            get_template_attribute("m.html", "helo")


def test_request_global_is_the_same_as_in_views(app: Carboy) -> None:
    with app.test_request_context("/x"):
        assert render_template_string("{{ request.path }}") == request.path
