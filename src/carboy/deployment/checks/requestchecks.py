"""Checks of what requests of other sites may do with the sessions of the app's users."""

from __future__ import annotations

import dis
import inspect
import sys
import typing as t

from ...core.annotations import declared, innermost
from .appcode import (
    code_of,
    functions_of,
    has_sessions,
    place_of_session_use,
    post_forms,
    protects_forms,
    texts_in,
)
from .checkregistry import Found, check
from .places import place_of_function

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import types

    from ...contract.operation import BodySpec, Operation
    from ..facts import Facts

_FORM_TYPES = {"application/x-www-form-urlencoded", "multipart/form-data"}
_WRITING = {"POST", "PUT", "PATCH", "DELETE"}
_ALLOW_ORIGIN = "access-control-allow-origin"
_ALLOW_CREDENTIALS = "access-control-allow-credentials"


@check(
    "carboy.E006",
    "Any site may send requests with the user's cookies and read the responses (CORS: origin `*`"
    " with credentials).",
    remedy="List the origins that may do so: origins=['https://shop.example'] of Flask-CORS,"
    " cors_allowed_origins of Flask-SocketIO. Or leave the credentials out"
    " (supports_credentials=False, cors_credentials=False).",
)
def find_open_cors(facts: Facts) -> cabc.Iterator[Found]:
    places = {
        _place_of_cors(function)
        for function in functions_of(facts)
        if _lets_any_origin_in(facts, function)
    }
    if _lets_any_origin_into_socketio(facts):
        places.add("extension Flask-SocketIO")
    for place in sorted(places):
        yield Found(
            place,
            "Responses allow credentials to every origin: any page that a user visits can read what"
            " the app shows to that user.",
        )


def _lets_any_origin_in(facts: Facts, function: types.FunctionType) -> bool:
    if _is_of_flask_cors(function):
        options = _flask_cors_options(facts, function)
        return any(each.supports_credentials and each.allow_all_origins for each in options)
    texts = {text.lower() for text in texts_in(function)}
    if not {_ALLOW_ORIGIN, _ALLOW_CREDENTIALS} <= texts:
        return False
    return "*" in texts or (_reads_origin(function, texts) and not _compares(function))


def _is_of_flask_cors(function: types.FunctionType) -> bool:
    # `function.__module__` names the module of the view, because `functools.wraps` copies it.
    return str(function.__globals__.get("__name__")).startswith("flask_cors.")


def _place_of_cors(function: types.FunctionType) -> str:
    view = innermost(function)
    return "extension Flask-CORS" if _is_of_flask_cors(view) else place_of_function(view)


def _flask_cors_options(facts: Facts, function: types.FunctionType) -> list[t.Any]:
    """Return the options of Flask-CORS that one of its functions uses: the hook that `CORS(app)`
    registers, or the function that `@cross_origin` puts in the place of a view.
    """
    variables = inspect.getclosurevars(function).nonlocals
    if "resources" in variables:
        return [options for _, options in variables["resources"]]
    if "_options" in variables:
        core = sys.modules["flask_cors.core"]
        return [core.get_cors_options(facts.app, variables["_options"])]
    return []


def _lets_any_origin_into_socketio(facts: Facts) -> bool:
    """Return whether Flask-SocketIO has `cors_allowed_origins="*"`. It allows credentials unless it
    is told otherwise.
    """
    server = getattr(facts.app.extensions.get("socketio"), "server", None)
    engine = getattr(server, "eio", None)
    origins = getattr(engine, "cors_allowed_origins", None)
    return origins in ("*", ["*"]) and bool(getattr(engine, "cors_credentials", False))


def _reads_origin(function: types.FunctionType, texts: set[str]) -> bool:
    names = {name for code in code_of(function) for name in code.co_names}
    return bool({"origin", "http_origin"} & {*texts, *names})


def _compares(function: types.FunctionType) -> bool:
    """Return whether a function compares values, as it does if it looks up an origin in a list."""
    return any(
        instruction.opname in {"COMPARE_OP", "CONTAINS_OP"}
        for code in code_of(function)
        for instruction in dis.get_instructions(code)
    )


@check(
    "carboy.W008",
    'A form with `method="post"` is not protected against requests that other sites forge (CSRF).',
    remedy="Set SESSION_COOKIE_SAMESITE = 'Lax', so that browsers do not send the session with"
    " forms of other sites. If other apps run on subdomains, or for old browsers, use CSRFProtect"
    " of Flask-WTF, too.",
)
def find_unprotected_forms(facts: Facts) -> cabc.Iterator[Found]:
    if not has_sessions(facts) or protects_forms(facts):
        return
    for form in post_forms(facts):
        if not any(word in form.text.lower() for word in _TOKEN_WORDS):
            yield Found(
                form.place,
                "The form has no token, and browsers may send the session with it from pages of"
                " other sites: such a page can act as the user who visits it.",
            )


# Words in a form with a token, or with a macro of an extension that writes a token.
_TOKEN_WORDS = ("csrf", "xsrf", "hidden_tag", "quick_form", "render_form")


@check(
    "carboy.W009",
    "A view whose record is meant to come as JSON takes forms, too, so that other sites can forge"
    " its requests by the user's cookies (CSRF).",
    remedy="Mark the parameter: Annotated[Flower, Body()] takes no forms. Or set"
    " SESSION_COOKIE_SAMESITE = 'Lax'.",
)
def find_records_from_forms(facts: Facts) -> cabc.Iterator[Found]:
    if place_of_session_use(facts) is None or protects_forms(facts):
        return
    for view, methods in _views_and_methods(facts):
        for operation in _operations(view, methods):
            if operation.body is not None and _takes_json_and_forms(operation.body):
                yield Found(
                    place_of_function(operation.function),
                    f"{operation.function.__name__} reads its record from JSON and from forms."
                    " Browsers refuse JSON for another site (CORS), but send a form, with the"
                    " user's session.",
                )


def _operations(view: t.Any, methods: set[str]) -> list[Operation]:
    """Return the operations of a typed view for some methods; none if the view has no types."""
    contract = declared(view, "contract")
    if contract is None or not methods:
        return []
    return [each for name, each in contract.operations.items() if name in {"*", *methods}]


def _views_and_methods(facts: Facts) -> cabc.Iterator[tuple[t.Any, set[str]]]:
    """Yield each view with those of its methods that may change data. Views of models are left out,
    because predictions change nothing.
    """
    predicting = facts.model_endpoints
    found: dict[str, set[str]] = {}
    for rule in facts.app.url_map.iter_rules():
        if rule.endpoint not in predicting:
            found.setdefault(rule.endpoint, set()).update((rule.methods or set()) & _WRITING)
    for endpoint, methods in found.items():
        yield facts.app.view_functions.get(endpoint), methods


def _takes_json_and_forms(body: BodySpec) -> bool:
    return "application/json" in body.media_types and bool(_FORM_TYPES & {*body.media_types})
