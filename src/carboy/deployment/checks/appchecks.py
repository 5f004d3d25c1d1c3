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
