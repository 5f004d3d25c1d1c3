"""Which properties of an app make predictions go through their view, and which do not."""

from __future__ import annotations

import functools

import pytest

from carboy import Blueprint, Carboy, Response
from carboy.models.direct import changes_responses, handles_errors_itself, obstacle
from carboy.sessions import SecureCookieSessionInterface
from carboy.signals import got_request_exception, request_finished, request_started


def declare(app: Carboy, name: str = "m"):
    app.model(f"/{name}", name=name)(predict)
    return app.models[name]


def predict(x: int) -> int:
    return x


def wrap_view(app):
    view = app.view_functions["m"]
    app.view_functions["m"] = functools.wraps(view)(lambda: view())


def wrap_app(app):
    app.wsgi_app = lambda environ, start: Carboy.wsgi_app(app, environ, start)


def override(name):
    def change(app):
        method = getattr(app, name)
        setattr(app, name, lambda *args: method(*args))

    return change


def own_response(app):
    app.response_class = type("Own", (Response,), {})


def own_session(app):
    app.session_interface = type("Own", (SecureCookieSessionInterface,), {})()


def match_hosts(app):
    app.url_map.host_matching = True


OBSTACLES = {
    "view wrapped": (wrap_view, "its view is wrapped or replaced"),
    "middleware": (wrap_app, "the app, or something around it, changes how requests are handled"),
    **{
        name: (override(name), "the app, or something around it, changes")
        for name in ("full_dispatch_request", "preprocess_request", "make_response")
    },
    "response class": (own_response, "the app, or something around it, changes"),
    "session": (own_session, "sessions of another kind open with each request"),
    "hosts": (match_hosts, "rules depend on the host"),
    "before_request": (
        lambda app: app.before_request(lambda: None),
        "before_request functions must run first",
    ),
    "url_value_preprocessor": (
        lambda app: app.url_value_preprocessor(lambda *_: None),
        "url_value_preprocessor functions must run first",
    ),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_obstacle_is_named(app, name):
    change, reason = OBSTACLES[name]
    model = declare(app)
    assert obstacle(app, model) is None
    change(app)
    assert obstacle(app, model).startswith(reason)


@pytest.mark.parametrize(
    "change",
    [
        lambda app: app.after_request(lambda response: response),
        lambda app: app.teardown_request(lambda exc: None),
        lambda app: app.teardown_appcontext(lambda exc: None),
        lambda app: app.errorhandler(422)(lambda error: ("", 422)),
        lambda app: app.context_processor(dict),
        lambda app: app.config.update(TRUSTED_HOSTS=["shop.example"]),
        lambda app: app.add_url_rule("/<path:rest>", "rest", view_func=lambda rest: ""),
    ],
    ids=[
        "after_request",
        "teardown",
        "teardown_appcontext",
        "handler",
        "templates",
        "trust",
        "catch-all",
    ],
)
def test_what_the_server_does_itself_is_no_obstacle(app, change):
    model = declare(app)
    change(app)
    assert obstacle(app, model) is None


def test_hooks_of_another_blueprint_are_no_obstacle(app):
    blueprints = []
    for name in ("ours", "other"):
        blueprint = Blueprint(name, __name__, url_prefix=f"/{name}")
        blueprint.model("/m", name="m")(predict)
        blueprints.append(blueprint)
    blueprints[0].before_request(lambda: None)
    blueprints[1].after_request(lambda response: response)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    ours, other = (app.models[f"{name}.m"] for name in ("ours", "other"))
    assert obstacle(app, ours) == "before_request functions must run first"
    assert obstacle(app, other) is None
    assert not changes_responses(app, ours)
    assert changes_responses(app, other)


@pytest.mark.parametrize(
    ("signal", "is_obstacle"),
    [(request_started, True), (request_finished, False), (got_request_exception, False)],
    ids=lambda each: getattr(each, "name", None),
)
def test_receivers_of_request_started_are_an_obstacle(app, signal, is_obstacle):
    model = declare(app)

    def receive(*_, **__):
        pytest.fail("there is no request")

    with signal.connected_to(receive, app):
        assert (obstacle(app, model) is not None) is is_obstacle
    assert obstacle(app, model) is None


@pytest.mark.parametrize(
    "name", ["handle_user_exception", "handle_http_exception", "trap_http_exception"]
)
def test_overridden_error_methods_are_noticed(app, name):
    assert not handles_errors_itself(app)
    own = type("Own", (Carboy,), {name: lambda self, e: getattr(Carboy, name)(self, e)})
    own_app = own("own")
    # As a class statement of the user's module would have it.
    assert handles_errors_itself(own_app)
    override(name)(app)
    assert handles_errors_itself(app)


def test_trap_http_exceptions_is_noticed(app):
    app.config["TRAP_HTTP_EXCEPTIONS"] = True
    assert handles_errors_itself(app)
