"""The settings of the server that environment variables set where files are generated, for the
environment in which the app is going to run.
"""

from __future__ import annotations

import os
import typing as t

from ..serving.settings import SETTINGS

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..serving.declaration import Setting

# The settings of a container that other files decide: where the server listens, that HTTPS ends in
# front of it, and how it is watched.
_OF_THE_CONTAINER = frozenset(
    [
        *("host", "port", "bind", "socket_mode", "control", "management"),
        *("tls_cert", "tls_key", "tls_password_file", "tls_client_ca"),
    ]
)


def set_variable(setting: Setting) -> str | None:
    """Return the name of the environment variable from which the server reads a setting; None if no
    variable sets it.
    """
    return next((name for name in setting.variables if os.environ.get(name)), None)


def is_set(*fields: str) -> bool:
    """Return whether variables set one of these settings; those of hosting platforms do not
    count.
    """
    chosen = (each for each in SETTINGS if each.field in fields)
    return any(set_variable(each) not in {None, *each.platforms} for each in chosen)


def settings_for_container() -> dict[str, str]:
    """Return the settings that variables set and that mean the same in a container, by the names of
    their arguments. Variables of hosting platforms, such as WEB_CONCURRENCY, are left out.
    """
    found = ((each, set_variable(each)) for each in SETTINGS if each.field not in _OF_THE_CONTAINER)
    return {
        setting.argument: os.environ[name]
        for setting, name in found
        if name is not None and name not in setting.platforms
    }


def environment(settings: cabc.Mapping[str, str]) -> dict[str, str]:
    """Return settings of the server as environment variables."""
    variables = {setting.argument: setting.variable or setting.variables[0] for setting in SETTINGS}
    return {variables[name]: value for name, value in settings.items()}
