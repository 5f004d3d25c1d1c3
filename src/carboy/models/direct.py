"""Whether a prediction can be answered without its view, and so without a thread that waits.

`carboy serve` can hand a request directly to the model, and the result directly to the client. That
makes no difference as long as nothing else runs before the view: no hook, no signal receiver, no
overridden method, no decorator around the view. What runs after the view, such as `after_request`
functions, runs when the result is there. An app may change until its first request, so the server
asks when it starts, and `carboy routes` when it is called.

Teardown functions are no obstacle: they clean up after a context, and there is none.
"""

from __future__ import annotations

import typing as t

from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from carboy.helpers import _split_blueprint_path
from carboy.signals import request_started

if t.TYPE_CHECKING:
    from .host import ModelApp
    from .model import Model
    from .protocol import Endpoint


def obstacle(app: ModelApp, model: Model, endpoint: Endpoint | None = None) -> str | None:
    """Why predictions of a model must go through its view; None if they need not.

    Args:
        endpoint: of one protocol; by default that of the model's own rule.
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
    if app.config["TRUSTED_HOSTS"] is not None:
        return "TRUSTED_HOSTS must be checked"
    scopes = _scopes(model)
    for title, registry in (
        ("before_request", app.before_request_funcs),
        ("url_value_preprocessor", app.url_value_preprocessors),
    ):
        if any(registry.get(scope) for scope in scopes):
            return f"{title} functions must run first"
    if request_started.receivers:
        return "request_started has listeners"
    if not _is_matched(app, endpoint):
        return "another rule takes its URL"
    return None


def changes_responses(app: ModelApp, model: Model) -> bool:
    """Whether the app has functions that may change each response of a model."""
    return any(app.after_request_funcs.get(scope) for scope in _scopes(model))


def handles_errors_itself(app: ModelApp) -> bool:
    """Whether an overridden method makes the responses to errors."""
    if app.config["TRAP_HTTP_EXCEPTIONS"]:
        return True
    steps = (app.handle_user_exception, app.handle_http_exception, app.trap_http_exception)
    return any(step.__module__.partition(".")[0] != "carboy" for step in steps)


def _scopes(model: Model) -> list[str | None]:
    """The keys under which the app keeps the hooks for a model."""
    return [None, *blueprints_of(model)]


def blueprints_of(model: Model) -> list[str]:
    """The blueprints in which a model was declared, the innermost first."""
    blueprint = model.name.rpartition(".")[0]
    return _split_blueprint_path(blueprint) if blueprint else []


def _is_matched(app: ModelApp, endpoint: Endpoint) -> bool:
    try:
        name, _ = app.url_map.bind("localhost").match(endpoint.path, "POST")
    except (HTTPException, RequestRedirect):
        return False
    return bool(name == endpoint.name)
