"""What the code of an app uses: sessions, templates with forms, protection against forged requests.

Checks learn this from the functions that are registered with the app, from the modules that are
imported, and from the templates. No code of the app is called.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import types
import typing as t

from ...core.annotations import layers
from ...core.otherflask import added_to, packages_of
from ...globals import session
from ...helpers import flash
from ...project.origins import shortened
from ..projectfiles import read_text
from .places import value_of_key

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..facts import Facts

_FORM = re.compile(
    r"<form\b[^>]*?\bmethod\s*=\s*[\"']?post\b.*?(?:</form\s*>|\Z)", re.IGNORECASE | re.DOTALL
)


class PostForm(t.NamedTuple):
    """An HTML form with `method="post"` in a template or in Python code."""

    place: str
    text: str


def functions_of(facts: Facts) -> cabc.Iterator[types.FunctionType]:
    """Yield all functions that are registered with the app (views, hooks, error handlers) and the
    functions that they wrap.
    """
    for added in added_to(facts.app):
        for layer in layers(added):
            if isinstance(layer, types.FunctionType) and not _is_carboys(layer.__module__):
                yield layer


def code_of(function: types.FunctionType) -> cabc.Iterator[types.CodeType]:
    """Yield the code of a function, and that of the functions that are defined inside it."""
    found = [function.__code__]
    while found:
        code = found.pop()
        yield code
        found += [each for each in code.co_consts if isinstance(each, types.CodeType)]


def texts_in(function: types.FunctionType) -> set[str]:
    """Return the texts that are written in the code of a function."""
    return {each for code in code_of(function) for each in _texts(code.co_consts)}


def _texts(constants: cabc.Iterable[object]) -> cabc.Iterator[str]:
    for constant in constants:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, (tuple, frozenset)):
            yield from _texts(constant)


def modules_of(facts: Facts) -> list[types.ModuleType]:
    """Return the imported modules of the project, and those of all packages that have added
    something to the app.
    """
    packages = packages_of(facts.app) - {"carboy", "flask"}
    return [
        module
        for name, module in list(sys.modules.items())
        if not _is_carboys(name)
        if name.partition(".")[0] in packages or is_in_project(facts, file_of(module))
    ]


def modules_of_project(facts: Facts) -> list[types.ModuleType]:
    """Return the imported modules of the project."""
    return [each for each in list(sys.modules.values()) if is_in_project(facts, file_of(each))]


def file_of(module: types.ModuleType) -> str:
    return getattr(module, "__file__", None) or ""


def is_in_project(facts: Facts, path: str) -> bool:
    """Return whether a file belongs to the project, and not to an environment inside of it."""
    # Modules may have been imported by the path of the project with or without its symbolic links.
    # Resolving the links in the path of each module instead would take a second.
    inside = tuple(os.path.join(each, "") for each in (facts.root, os.path.realpath(facts.root)))
    of_environment = os.path.join(sys.prefix, "")
    return (
        path.startswith(inside)
        and not path.startswith(of_environment)
        and "site-packages" not in path
    )


def _is_carboys(module: str | None) -> bool:
    return (module or "").partition(".")[0] == "carboy"


def place_of_session_use(facts: Facts) -> str | None:
    """Return the file of code that uses `session` or `flash`; None if no code of the app does."""
    for module in modules_of(facts):
        if any(
            value is session or value is flash
            for value in list(getattr(module, "__dict__", {}).values())
        ):
            return shortened(file_of(module)) if file_of(module) else module.__name__
    for function in functions_of(facts):
        if any(_is_session_of_module(function, code) for code in code_of(function)):
            return shortened(function.__code__.co_filename)
    return None


def _is_session_of_module(function: types.FunctionType, code: types.CodeType) -> bool:
    """Return whether code reads `session` or `flash` from the module, as in `flask.session`."""
    modules = (function.__globals__.get(name) for name in code.co_names)
    return bool({"session", "flash"} & {*code.co_names}) and any(
        isinstance(each, types.ModuleType) and _is_carboys(each.__name__) for each in modules
    )


def has_sessions(facts: Facts) -> bool:
    """Return whether users probably have sessions: the app has a secret key, or uses sessions."""
    return bool(value_of_key(facts, "SECRET_KEY")) or place_of_session_use(facts) is not None


def post_forms(facts: Facts) -> cabc.Iterator[PostForm]:
    """Yield the forms with `method="post"` in the templates and modules of the project."""
    for path, text in _sources(facts):
        for form in _FORM.finditer(text):
            line = text.count("\n", 0, form.start()) + 1
            yield PostForm(f"{shortened(path)}:{line}", form[0])


def _sources(facts: Facts) -> cabc.Iterator[tuple[str, str]]:
    """Yield the paths and texts of the templates, and those of the imported modules."""
    yield from _templates(facts)
    for module in modules_of(facts):
        path = file_of(module)
        if path.endswith(".py") and is_in_project(facts, path):
            yield path, read_text(path)


def _templates(facts: Facts) -> cabc.Iterator[tuple[str, str]]:
    environment = facts.app.jinja_env
    loader = environment.loader
    if loader is None:
        return
    try:
        names = loader.list_templates()
    except TypeError:  # a loader of the user that cannot list its templates
        return
    for name in names:
        try:
            text, path, _ = loader.get_source(environment, name)
        except (LookupError, OSError, UnicodeDecodeError):  # removed meanwhile, or not text
            continue
        if path is None or is_in_project(facts, path):
            yield path or name, text


def protects_forms(facts: Facts) -> bool:
    """Return whether something protects the app from requests that other sites forge (CSRF): an
    extension, a hook that reads a token or the headers in which browsers name the origin of a
    request, or the SameSite attribute of the session's cookie.
    """
    config = facts.app.config
    if config.get("SESSION_COOKIE_SAMESITE") in {"Lax", "Strict"}:
        return True
    if "csrf" in facts.app.extensions and config.get("WTF_CSRF_ENABLED", True):
        return True
    hooks = [
        layer
        for functions in facts.app.before_request_funcs.values()
        for function in functions
        for layer in layers(function)
        if inspect.isfunction(layer)
    ]
    return any(map(_mentions_origin, hooks))


_ORIGIN_WORDS = ("csrf", "xsrf", "origin", "referer", "referrer", "sec-fetch-site")


def _mentions_origin(hook: types.FunctionType) -> bool:
    module = str(hook.__module__)
    if module.startswith("flask_wtf"):  # `protects_forms` has read its configuration
        return False
    names = {name for code in code_of(hook) for name in code.co_names}
    words = " ".join({hook.__name__, module, *names, *texts_in(hook)}).lower()
    return any(word in words for word in _ORIGIN_WORDS)
