"""Whether a prediction can be answered without its view, and so without a thread that waits.

`carboy serve` can hand what came straight to the model, and the answer straight back. Nobody sees a
difference as long as nothing else comes before: no hook, no listener, no method that somebody has
overridden, no decorator around the view. What comes after, such as `after_request` functions, is
done to the answer when it is there. What is set up may change until the first request, so this is
asked when a server begins, and by `carboy routes`.

Teardown functions are no obstacle: they clean up after a context, and there is none.
"""

from __future__ import annotations

import typing as t

from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from carboy.helpers import _split_blueprint_path
from carboy.signals import request_finished, request_started

if t.TYPE_CHECKING:
    from .model import Model

# In the environ, from a server that has the outcome of a prediction already and lets the app answer
# for it: a settled ticket, or what failed before there was one.
OUTCOME = "carboy.outcome"


def obstacle(app: t.Any, model: Model) -> str | None:
    """Why predictions of a model must go through the app; None if they need not."""
    if model.site is None or app.view_functions.get(model.name) is not model.site.view:
        return "its view is wrapped or replaced"
    if app._is_wrapped or not app._find_overrides().fast_path:
        return "the app, or something around it, changes how requests are handled"
    if not app._find_overrides().lazy_session:
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
    if is_listened_to():
        return "request_started has listeners"
    if not _leads_to(app, model):
        return "another rule takes its URL"
    return None


def is_listened_to() -> bool:
    """Whether somebody wants to hear of every request. This may change at any time."""
    return bool(request_started.receivers)


def has_last_word(app: t.Any, model: Model) -> bool:
    """Whether the app has something to do to each answer. It may do so when that is there."""
    return any(app.after_request_funcs.get(scope) for scope in _scopes(model))


def is_heard() -> bool:
    """Whether somebody wants to see every answer. This may change at any time."""
    return bool(request_finished.receivers)


def handles_errors_itself(app: t.Any) -> bool:
    """Whether a method that makes answers of errors is the user's own."""
    if app.config["TRAP_HTTP_EXCEPTIONS"]:
        return True
    steps = (app.handle_user_exception, app.handle_http_exception, app.trap_http_exception)
    return any(step.__module__.partition(".")[0] != "carboy" for step in steps)


def _scopes(model: Model) -> list[str | None]:
    """The keys of the hooks for a model: the app, and its blueprints."""
    return [None, *blueprints_of(model)]


def blueprints_of(model: Model) -> list[str]:
    """The blueprints in which a model was declared, the innermost first."""
    blueprint = model.name.rpartition(".")[0]
    return _split_blueprint_path(blueprint) if blueprint else []


def _leads_to(app: t.Any, model: Model) -> bool:
    try:
        endpoint, _ = app.url_map.bind("localhost").match(model.rule, "POST")
    except (HTTPException, RequestRedirect):
        return False
    return bool(endpoint == model.name)
