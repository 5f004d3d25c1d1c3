"""Warn about code in this process that uses the installed Flask and not carboy.

Such code fails late, with "Working outside of application context": its `request`, `session` and
`current_app` belong to the installed Flask, which handles no request. This module does nothing
unless Flask itself is loaded.
"""

from __future__ import annotations

import sys
import types
import typing as t
import warnings

if t.TYPE_CHECKING:
    from ..sansio.app import App

_ADVICE = (
    "They belong to another framework than this app: its `request`, `session` and `current_app`"
    " are never set by carboy. Call carboy.install_as_flask() before anything imports Flask, or"
    " start the program by `carboy --as-flask`."
)
_warned: set[str] = set()


def other_flask() -> types.ModuleType | None:
    """Return Flask's own module if it is loaded; None if it is not, or if `import flask` gives
    carboy.
    """
    flask = sys.modules.get("flask")
    return None if flask is sys.modules.get("carboy") else flask


def users_of(flask: types.ModuleType, modules: t.Iterable[str]) -> list[str]:
    """Return the names of those `modules` that use the installed Flask: one of their global
    variables is the module `flask`, another module of Flask, or an object from them.
    """
    held = {id(flask)}
    held |= {id(value) for value in vars(flask).values() if _is_flasks(value)}
    found = []
    for name in modules:
        module = sys.modules.get(name)
        if name.partition(".")[0] not in {"flask", "carboy"} and module is not None:
            values = list(getattr(module, "__dict__", {}).values())
            if any(id(value) in held for value in values):
                found.append(name)
    return found


def _is_flasks(value: t.Any) -> bool:
    if isinstance(value, types.ModuleType):
        return value.__name__.startswith("flask.")
    if type(value).__name__ == "LocalProxy":
        # This is a proxy of Flask, such as `request`. Its attributes cannot be read here, because
        # that is allowed only during a request.
        return True
    return str(getattr(value, "__module__", "")).partition(".")[0] == "flask"


def warn_before_install() -> None:
    """Warn of modules that imported Flask before `install_as_flask` was called: they keep Flask's
    objects.
    """
    flask = other_flask()
    if flask is not None and (users := users_of(flask, list(sys.modules))):
        warnings.warn(
            f"install_as_flask() comes too late for {', '.join(sorted(users))}: objects of the"
            f" installed Flask were imported there before. {_ADVICE}",
            RuntimeWarning,
            stacklevel=4,
        )


def warn_of_registered(flask: types.ModuleType, registered: t.Iterable[t.Any]) -> None:
    """Warn once of each module that registers a function or blueprint with carboy but uses real
    Flask. The first warning says what to do.
    """
    for each in registered:
        name = str(getattr(each, "import_name", None) or getattr(each, "__module__", None))
        if name in _warned or not (callable(each) or hasattr(each, "deferred_functions")):
            continue
        if users_of(flask, [name]):
            advice = "" if _warned else f" {_ADVICE}"
            _warned.add(name)
            warnings.warn(
                f"{name} registers {each!r} with carboy, and uses objects of the installed Flask."
                f"{advice}",
                RuntimeWarning,
                stacklevel=4,
            )


def explain_use_by_extensions(app: App) -> str:
    """Return a sentence that names the modules that use the installed Flask, of all packages that
    have added something to an app; "" if there are none.
    """
    users = users_in_extensions(app)
    if not users:
        return ""
    return (
        f"objects of the installed Flask are used in {', '.join(users)}, so that requests may fail"
        f' with "Working outside of request context". {_ADVICE}'
    )


def users_in_extensions(app: App) -> list[str]:
    """Return the names of the modules that use the installed Flask, of all packages that have added
    something to an app.

    `warn_of_registered` does not find them all: it only looks at the module of a function or
    blueprint that is passed to a method of the app. But extensions also write directly into
    attributes such as `app.extensions`, and may use Flask in another of their modules.
    """
    flask = other_flask()
    if flask is None:
        return []
    packages = packages_of(app)
    modules = [name for name in sys.modules if name.partition(".")[0] in packages]
    return sorted(users_of(flask, modules))


def packages_of(app: App) -> set[str]:
    """Return the names of all top-level modules and packages that have added something to an app,
    such as "shop" and "flask_login".
    """
    return {_module_of(each).partition(".")[0] for each in added_to(app)}


def _module_of(added: t.Any) -> str:
    function = getattr(added, "func", added)  # a `functools.partial` has its function as `func`
    name = getattr(added, "import_name", None) or getattr(function, "__module__", None)
    return str(name or type(added).__module__)


def added_to(app: App) -> t.Iterator[t.Any]:
    """Yield all objects that modules have added to an app: views, hooks, error handlers,
    blueprints, extensions, and a middleware that is assigned to `app.wsgi_app`.
    """
    yield from app.view_functions.values()
    yield from app.blueprints.values()
    yield from app.extensions.values()
    yield from app.teardown_appcontext_funcs
    if "wsgi_app" in vars(app):
        yield vars(app)["wsgi_app"]
    registries: tuple[t.Mapping[t.Any, t.Iterable[t.Any]], ...] = (
        app.before_request_funcs,
        app.after_request_funcs,
        app.teardown_request_funcs,
        app.template_context_processors,
        app.url_value_preprocessors,
        app.url_default_functions,
    )
    for registry in registries:
        for functions in registry.values():
            yield from functions
    for by_code in app.error_handler_spec.values():
        for handlers in by_code.values():
            yield from handlers.values()
