"""Every change that a user can make takes effect on the next request, and so does undoing it."""

from __future__ import annotations

import gc
import tracemalloc
import types
import typing as t

import pytest
import werkzeug.routing
from alone import measured_alone
from sidebyside import call

import carboy
from carboy import Carboy, Request, Response
from carboy.config import Config
from carboy.core.changetracking import ChangeTracked
from carboy.core.overrides import _STEPS, TRACKED_ATTRIBUTES, find_overrides
from carboy.ctx import AppContext, RequestContext, _AppCtxGlobals
from carboy.json.provider import DefaultJSONProvider
from carboy.sessions import SecureCookieSessionInterface


class _Globals(_AppCtxGlobals):
    pass


def test_plain_app_skips_all_steps(app: Carboy) -> None:
    found = find_overrides(app)
    assert found.fast_path
    assert found.match
    assert found.one_context
    assert found.lazy_request
    assert found.lazy_session
    assert found.json


def test_subclass_without_own_steps_skips_them_too() -> None:
    class Plain(Carboy):
        extra = 1

        def helper(self) -> None: ...

    assert find_overrides(Plain("x")).fast_path


@pytest.mark.parametrize("name", _STEPS)
@pytest.mark.parametrize("where", ["class", "instance"])
def test_replaced_method_disables_the_fast_path(
    app: Carboy, name: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert app.find_overrides().fast_path
    original = getattr(Carboy, name)
    with monkeypatch.context() as patch:
        if where == "class":
            patch.setattr(Carboy, name, lambda *args: original(*args))
        else:
            patch.setattr(app, name, lambda *args: original(app, *args))
        assert not app.find_overrides().fast_path
    assert app.find_overrides().fast_path


_ON_CLASSES: list[tuple[type, str, t.Any, str]] = [
    (AppContext, "push", lambda self: None, "one_context"),
    (AppContext, "g", None, "one_context"),
    (RequestContext, "match_request", lambda self: None, "fast_path"),
    (RequestContext, "session", None, "fast_path"),
    (Request, "__init__", lambda self, environ: None, "lazy_request"),
    (Request, "close", lambda self: None, "lazy_request"),
    (Response, "__call__", lambda self, environ, start: [], "fast_path"),
    (Response, "close", lambda self: None, "fast_path"),
    (Response, "default_mimetype", "text/plain", "fast_path"),
    (Response, "default_status", 204, "fast_path"),
    (SecureCookieSessionInterface, "open_session", lambda *args: None, "lazy_session"),
    (SecureCookieSessionInterface, "session_class", dict, "lazy_session"),
    (DefaultJSONProvider, "response", lambda self, obj: None, "json"),
    (Carboy, "session_interface", SecureCookieSessionInterface, "lazy_session"),
    (Carboy, "app_ctx_globals_class", _Globals, "one_context"),
]


@pytest.mark.parametrize(
    ("cls", "name", "value", "flag"),
    _ON_CLASSES,
    ids=[f"{cls.__name__}.{name}" for cls, name, *_ in _ON_CLASSES],
)
def test_method_patched_on_the_class_is_noticed(
    app: Carboy,
    cls: type,
    name: str,
    value: t.Any,
    flag: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert getattr(app.find_overrides(), flag)
    with monkeypatch.context() as patch:
        patch.setattr(cls, name, value)
        assert not getattr(app.find_overrides(), flag)
    assert getattr(app.find_overrides(), flag)


@pytest.mark.parametrize(
    ("name", "value", "flag"),
    [
        ("request_class", type("R", (Request,), {}), "fast_path"),
        ("response_class", type("R", (Response,), {}), "fast_path"),
        ("session_interface", type("S", (SecureCookieSessionInterface,), {})(), "lazy_session"),
        ("app_ctx_globals_class", _Globals, "fast_path"),
        ("subdomain_matching", True, "match"),
        ("url_map", werkzeug.routing.Map(), "match"),
    ],
)
def test_changed_attribute_is_noticed(app: Carboy, name: str, value: t.Any, flag: str) -> None:
    assert name in TRACKED_ATTRIBUTES
    before = getattr(app, name)
    assert getattr(app.find_overrides(), flag)
    setattr(app, name, value)
    assert not getattr(app.find_overrides(), flag)
    setattr(app, name, before)
    assert getattr(app.find_overrides(), flag)


def test_methods_set_on_session_interface_or_json_provider_are_noticed(app: Carboy) -> None:
    app.session_interface = SecureCookieSessionInterface()
    assert app.find_overrides().lazy_session
    app.session_interface.open_session = lambda app, request: None  # type: ignore[method-assign]
    assert not app.find_overrides().lazy_session
    del app.session_interface.open_session
    assert app.find_overrides().lazy_session
    app.json.response = lambda *args: carboy.Response("x")  # type: ignore[method-assign]
    assert not app.find_overrides().json
    del app.json.response
    assert app.find_overrides().json


_TRUSTED = {"TRUSTED_HOSTS": ["example.org"]}
_CONFIG_CHANGES: dict[str, t.Callable[[Config], object]] = {
    "[]=": lambda config: config.__setitem__("TRUSTED_HOSTS", ["example.org"]),
    "update": lambda config: config.update(_TRUSTED),
    "update by keyword": lambda config: config.update(**_TRUSTED),
    "|=": lambda config: config.__ior__(_TRUSTED),
    "pop and setdefault": lambda config: (
        config.pop("TRUSTED_HOSTS"),
        config.setdefault("TRUSTED_HOSTS", ["example.org"]),
    ),
    "del and from_mapping": lambda config: (
        config.__delitem__("TRUSTED_HOSTS"),
        config.from_mapping(_TRUSTED),
    ),
    "clear and update": lambda config: (
        [old := dict(config)],
        config.clear(),
        config.update(old | _TRUSTED),
    ),
    "from_object": lambda config: config.from_object(types.SimpleNamespace(**_TRUSTED)),
}


@pytest.mark.parametrize("change", _CONFIG_CHANGES.values(), ids=_CONFIG_CHANGES)
def test_config_key_that_decides_about_a_step_may_change_at_any_time(
    app: Carboy, change: t.Callable[[Config], object]
) -> None:
    app.add_url_rule("/", view_func=lambda: "")
    client = app.test_client()
    assert client.get("/").status_code == 200
    change(app.config)
    assert client.get("/").status_code == 400
    app.config["TRUSTED_HOSTS"] = None
    assert client.get("/").status_code == 200


def test_config_may_be_replaced_at_any_time(app: Carboy) -> None:
    app.add_url_rule("/", view_func=lambda: "")
    client = app.test_client()
    assert client.get("/").status_code == 200
    app.config = Config(app.root_path, {**app.config, **_TRUSTED})
    assert client.get("/").status_code == 400


def test_config_class_may_compute_its_values() -> None:
    values: dict[str, t.Any] = {}

    class Computed(Config):
        def __getitem__(self, key: str) -> t.Any:
            return values.get(key) or super().__getitem__(key)

    class App(Carboy):
        config_class = Computed

    app = App("x")
    app.add_url_rule("/", view_func=lambda: {"a": "é"})
    client = app.test_client()
    assert client.get("/").get_data(as_text=True) == '{"a":"\\u00e9"}\n'
    values["JSONIFY_MIMETYPE"] = "application/vnd.api+json"
    assert client.get("/").mimetype == "application/vnd.api+json"
    values.update(_TRUSTED)
    assert client.get("/").status_code == 400


def test_overrides_are_cached_while_nothing_changes(app: Carboy) -> None:
    found = app.find_overrides()
    app.config["X"] = 1
    app.custom = 1  # type: ignore[attr-defined]
    app.before_request_funcs[None].append(lambda: None)
    assert app.find_overrides() is found


def test_assignments_and_deletions_on_subclasses_are_counted() -> None:
    class Sub(Carboy):
        pass

    before = ChangeTracked.changes
    Sub.extra = 1  # type: ignore[attr-defined]
    del Sub.extra  # type: ignore[attr-defined]
    assert ChangeTracked.changes == before + 2


# ------------------------------------------------------------------------------------------ memory


def _every_kind_of_app(cls: type[Carboy]) -> Carboy:
    app = cls("memory", static_folder=None)
    app.secret_key = "key"

    def touch() -> dict[str, t.Any]:
        carboy.session["x"] = carboy.g.x = 1
        return {"path": carboy.request.path, "args": carboy.request.args}

    app.add_url_rule("/", view_func=lambda: "plain", endpoint="plain")
    app.add_url_rule("/touch", view_func=touch)
    app.add_url_rule("/abort", view_func=lambda: carboy.abort(404), endpoint="abort")
    app.add_url_rule("/fails", view_func=lambda: 1 / 0, endpoint="fails")
    app.add_url_rule("/slash/", view_func=lambda: "", endpoint="slash")
    app.add_url_rule("/url", view_func=lambda: carboy.url_for("touch"), endpoint="url")
    app.add_url_rule(
        "/post", view_func=lambda: str(carboy.request.form), endpoint="post", methods=["POST"]
    )
    return app


class _Chained(Carboy):
    def full_dispatch_request(self) -> Response:
        return super().full_dispatch_request()


_WAYS: dict[str, type[Carboy]] = {"fast_path": Carboy, "chain": _Chained}
_STEPS_TAKEN: list[t.Any] = [
    "GET /",
    "GET /touch",
    "GET /none",
    "POST /",
    "GET /slash",
    "GET /abort",
    "GET /fails",
    "GET /url",
    "OPTIONS /",
    "HEAD /touch",
    {"method": "POST", "path": "/post", "data": {"a": "b"}},
]


def what_lives_after_each_step() -> dict[str, int]:
    """Count the requests, responses, contexts and frames that three runs leave, by path and
    step.
    """

    def alive() -> int:
        kinds = (Request, Response, RequestContext, types.FrameType)
        return sum(isinstance(thing, kinds) for thing in gc.get_objects())

    gc.freeze()  # the collector need not look at what was imported
    left = {}
    for way, cls in _WAYS.items():
        app = _every_kind_of_app(cls)
        app.logger.disabled = True
        assert app.find_overrides().fast_path is (way == "fast_path")
        for step in _STEPS_TAKEN:
            call(app, step, lambda *args: None)
            gc.collect()
            gc.disable()
            before = alive()
            for _ in range(3):
                call(app, step, lambda *args: None)
            left[f"{way} {step}"] = alive() - before
            gc.enable()
    return left


@pytest.fixture(scope="module")
def left() -> dict[str, int]:
    return t.cast("dict[str, int]", measured_alone(what_lives_after_each_step))


@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize("step", _STEPS_TAKEN, ids=str)
def test_no_object_of_a_request_is_left_after_it(
    left: dict[str, int], way: str, step: t.Any
) -> None:
    assert left[f"{way} {step}"] == 0


def what_floods_leave() -> int:
    """Return the bytes that 300 requests leave, each for another host, path or method."""
    app = _every_kind_of_app(Carboy)
    app.logger.disabled = True

    def flood(start: int) -> None:
        for i in range(start, start + 150):
            environ = {"HTTP_HOST": f"host{i}.example", "HTTP_COOKIE": f"c{i}=1"}
            step = {"path": f"/none/{i}", "method": f"M{i % 50}", "environ": environ}
            call(app, step, lambda *args: None)
            call(app, {**step, "path": "/touch", "method": "GET"}, lambda *args: None)

    flood(0)
    gc.collect()
    tracemalloc.start()
    flood(1000)  # fill the bounded caches
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    flood(2000)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    return after - before


def test_many_different_paths_hosts_and_methods_leave_no_memory() -> None:
    assert measured_alone(what_floods_leave) < 40_000
