"""Checks of the hooks and extensions that are registered with the app."""

from __future__ import annotations

import sys
import typing as t

from ...core.annotations import innermost
from ...core.otherflask import users_in_extensions
from ...project.origins import shortened
from .appcode import file_of
from .checkregistry import Found, check
from .places import place_of_function

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ...models.host import ModelApp
    from ...models.model import Model
    from ..facts import Facts


@check(
    "carboy.E007",
    "An extension uses the installed Flask, and not carboy.",
    remedy="Call carboy.install_as_flask() before anything imports Flask, or start the program by"
    " `carboy --as-flask`.",
)
def find_other_flask(facts: Facts) -> cabc.Iterator[Found]:
    for name in users_in_extensions(facts.app):
        path = file_of(sys.modules[name])
        yield Found(
            shortened(path) if path else name,
            f"The module {name} uses objects of the installed Flask, whose `request`, `session` and"
            ' `current_app` carboy never sets: "Working outside of request context".',
        )


@check(
    "carboy.W007",
    "Predictions wait on a thread each, because something must run before the view of the model.",
    remedy="Register a hook with the blueprint that needs it, and not with the app. Let 'carboy"
    " serve --proxy' do what ProxyFix does. Or silence this code, if no more predictions come at"
    " the same time than --threads says (16 by default).",
)
def find_predictions_on_threads(facts: Facts) -> cabc.Iterator[Found]:
    found: dict[tuple[str, str], list[str]] = {}
    for model in facts.models:
        for path, reason in _obstacles(facts, model):
            found.setdefault((_place_before(facts, model), reason), []).append(path)
    for (place, reason), paths in found.items():
        yield Found(
            place,
            f"Predictions of {', '.join(paths)} wait on a thread each (at most --threads), because"
            f" {reason}.",
        )


@check(
    "carboy.W011",
    "Models need an API key only because there is a file of keys beside the app. On a machine, or"
    " in an image, without this file they are open to everybody.",
    remedy='Declare that they need a key, also while there is none: ACCESS_DEFAULT = "key", or'
    ' access="key" for each of them. Or pass the keys by ACCESS_KEYS or ACCESS_KEYS_FILE.',
    deploy=True,
)
def find_models_closed_by_a_file_alone(facts: Facts) -> cabc.Iterator[Found]:
    access = facts.app.find_overrides().access
    if access is None or not access.store.is_closed_by_file_alone:
        return
    for model in facts.models:
        endpoints = [endpoint.name for endpoint in model.endpoints.values()]
        guards = filter(None, map(access.guard_at, endpoints))
        if any(guard.policy.access is None for guard in guards):
            yield Found(
                f"model {model.name}",
                f"The model {model.name!r} declares nothing about access, so that it needs a key as"
                f" long as there is {shortened(access.store.path)}.",
            )


def _obstacles(facts: Facts, model: Model) -> cabc.Iterator[tuple[str, str]]:
    from ...models.direct import obstacle

    app = t.cast("ModelApp", facts.app)
    # Let the app add the URLs of protocols that its configuration switches on.
    app.find_overrides()
    for endpoint in model.endpoints.values():
        reason = obstacle(app, model, endpoint)
        if reason is not None:
            yield endpoint.path, reason


def _place_before(facts: Facts, model: Model) -> str:
    """Return the place of the first hook that runs before a model's view; the name of the model if
    there is no such hook.
    """
    from ...models.direct import blueprints_of

    for scope in (None, *blueprints_of(model)):
        for hook in facts.app.before_request_funcs.get(scope, ()):
            return place_of_function(innermost(hook))
    return f"model {model.name}"
