"""Decide whether the server may bypass a model's view, so that predictions need no waiting thread.

`carboy serve` can pass a request directly to the model's queue, and the result to the client. This
is equivalent to calling the view as long as nothing else runs before the view: no hook, no signal
receiver, no overridden method, no decorator. `after_request` functions still run when the result is
ready. An app may change until its first request, so this is decided as late as possible: when the
server starts, and when the command `carboy routes` runs. The bypass itself is in
`carboy.serving.predictions`.

Teardown functions are no obstacle. They run when a request context ends: if predictions are not
batched, the server pushes such a context around `predict`; a batch has no context.
"""

from __future__ import annotations

import typing as t

from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from carboy.helpers import _split_blueprint_path
from carboy.signals import request_started

if t.TYPE_CHECKING:
    from werkzeug.routing import Rule

    from carboy.access.guard import RouteGuard

    from .host import ModelApp
    from .model import Model
    from .protocol import Endpoint


def obstacle(app: ModelApp, model: Model, endpoint: Endpoint | None = None) -> str | None:
    """Return the reason why predictions must go through the model's view; None if they may bypass
    it.

    Args:
        endpoint: the URL of one protocol; by default the model's own URL, which takes plain JSON.
    """
    endpoint = endpoint or model.endpoints.get("json")
    if endpoint is None or app.view_functions.get(endpoint.name) is not endpoint.view:
        return "its view is wrapped or replaced"
    if app.is_wrapped or not app.find_overrides().fast_path:
        return "the app, or something around it, changes how requests are handled"
    if not app.find_overrides().lazy_session:
        return "sessions of another kind open with each request"
    if app.url_map.host_matching or app.subdomain_matching:
        return "rules depend on the host"
    scopes = _scopes(model)
    for title, registry in (
        ("before_request", app.before_request_funcs),
        ("url_value_preprocessor", app.url_value_preprocessors),
    ):
        if any(registry.get(scope) for scope in scopes):
            return f"{title} functions must run first"
    if request_started.receivers:
        return "request_started has listeners"
    if app._user_finder() is not None and _asks_users(app, endpoint):
        return "its rate limit asks the app who the user is"
    if not _is_matched(app, endpoint):
        return "another rule takes its URL"
    return None


def changes_responses(app: ModelApp, model: Model) -> bool:
    """Whether the app has `after_request` functions that run for the responses of a model."""
    return any(app.after_request_funcs.get(scope) for scope in _scopes(model))


def handles_errors_itself(app: ModelApp) -> bool:
    """Whether the app overrides a method that creates error responses."""
    if app.config["TRAP_HTTP_EXCEPTIONS"]:
        return True
    steps = (app.handle_user_exception, app.handle_http_exception, app.trap_http_exception)
    return any(step.__module__.partition(".")[0] != "carboy" for step in steps)


def _scopes(model: Model) -> list[str | None]:
    """Return the keys under which the app stores the hooks that run for requests to a model: None
    for hooks of the whole app, and the names of the model's blueprints.
    """
    return [None, *blueprints_of(model)]


def blueprints_of(model: Model) -> list[str]:
    """Return the names of the nested blueprints that a model belongs to, innermost first."""
    blueprint = model.name.rpartition(".")[0]
    return _split_blueprint_path(blueprint) if blueprint else []


def _asks_users(app: ModelApp, endpoint: Endpoint) -> bool:
    guard = guard_of(app, endpoint)
    return guard is not None and guard.asks_users()


def guard_of(app: ModelApp, endpoint: Endpoint) -> RouteGuard | None:
    """Return what decides about the requests to the URL of a model; None if all may pass."""
    access, rule = app.find_overrides().access, _matched_rule(app, endpoint)
    return None if access is None or rule is None else access.guard_of(rule)


def _is_matched(app: ModelApp, endpoint: Endpoint) -> bool:
    rule = _matched_rule(app, endpoint)
    return rule is not None and bool(rule.endpoint == endpoint.name)


def _matched_rule(app: ModelApp, endpoint: Endpoint) -> Rule | None:
    urls = app.url_map.bind("localhost")
    try:
        return t.cast("Rule", urls.match(endpoint.path, "POST", return_rule=True)[0])
    except (HTTPException, RequestRedirect):
        return None
