"""The keys `LOG_*`: their names, and where their values come from.

Each is a config key of the app, or an environment variable with the prefix `CARBOY_`; the app's
config takes precedence. This module is imported with every app, the other modules of the package
only with apps that set one of the keys.
"""

from __future__ import annotations

import os
import typing as t

from ..core.flasknames import is_flask_installed_as_us

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..project import Project
    from ..sansio.app import App

KEYS = ("LOG_LEVEL", "LOG_FILE", "LOG_FORMAT", "LOG_MAX_BYTES", "LOG_BACKUP_COUNT", "LOG_LEVELS")
PREFIX = "CARBOY_"


class GivenKey(t.NamedTuple):
    """The value of a key as the user wrote it, and the place where it is written."""

    key: str
    value: t.Any
    source: str


def find_key(
    key: str, app: App | None, environ: cabc.Mapping[str, str] = os.environ
) -> GivenKey | None:
    """Return the value of a key; None if neither the app nor the environment sets it.

    A program that imports carboy under the name `flask` may use config keys of these names for
    purposes of its own. So its config is not read, unless the program has called `from_project()`,
    a method that Flask does not have.

    Args:
        key: one of `KEYS`.
        app: None for a WSGI application that is not a carboy app.
        environ: the environment variables.
    """
    if app is not None and (not is_flask_installed_as_us() or _project_of(app) is not None):
        value = app.config.get(key)
        if value is not None and value != "":
            return GivenKey(key, value, _origin(key, app))
    variable = PREFIX + key
    if text := environ.get(variable):
        return GivenKey(key, text, f"the environment variable {variable}")
    return None


def _project_of(app: App) -> Project | None:
    return getattr(app.config, "project", None)


def _origin(key: str, app: App) -> str:
    project = _project_of(app)
    origin = project.origins.get(key) if project is not None else None
    return str(origin or f"the config key {key}")


def is_any_set(app: App | None) -> bool:
    """Return whether the app or the environment sets one of the keys."""
    return any(find_key(key, app) is not None for key in KEYS)
