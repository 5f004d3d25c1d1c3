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
    """Return those of `modules` in which a global variable is Flask, one of its modules or one of
    its objects.
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
        return True  # one of Flask's proxies; its attributes can be read only during a request
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
    Flask.
    """
    for each in registered:
        name = str(getattr(each, "import_name", None) or getattr(each, "__module__", None))
        if name in _warned or not (callable(each) or hasattr(each, "deferred_functions")):
            continue
        if users_of(flask, [name]):
            _warned.add(name)
            warnings.warn(
                f"{name} registers {each!r} with carboy, and uses objects of the installed Flask."
                f" {_ADVICE}",
                RuntimeWarning,
                stacklevel=4,
            )
