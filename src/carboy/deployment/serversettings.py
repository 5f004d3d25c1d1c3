"""The settings of the server that environment variables set where files are generated, for the
environment in which the app is going to run.
"""

from __future__ import annotations

import os
import typing as t

from ..errors import DeploymentError
from ..serving.settings import SETTINGS

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..serving.declaration import Setting
    from ..serving.http.address import Address

# The settings of a container that other files decide: where the server listens, that HTTPS ends in
# front of it, and how it is watched.
_OF_THE_CONTAINER = frozenset(
    [
        *("host", "port", "bind", "socket_mode", "control", "management"),
        *("tls_cert", "tls_key", "tls_password_file", "tls_client_ca"),
    ]
)
# What one machine can do. Its numbers would be wrong on another one: the memory of a container is
# that of one worker, and the server finds out there what it has.
_OF_THE_MACHINE = frozenset({"workers", "memory_limit_bytes", "connections"})
_LEFT_OUT = _OF_THE_CONTAINER | _OF_THE_MACHINE


def set_variable(setting: Setting) -> str | None:
    """Return the name of the environment variable from which the server reads a setting; None if no
    variable sets it.
    """
    return next((name for name in setting.variables if os.environ.get(name)), None)


def chosen_variable(setting: Setting) -> str | None:
    """Return what `set_variable` returns; None also for a variable of a hosting platform, such as
    WEB_CONCURRENCY.
    """
    name = set_variable(setting)
    return None if name in setting.platforms else name


def is_set(*fields: str) -> bool:
    """Return whether variables set one of these settings; those of hosting platforms do not
    count.
    """
    return any(chosen_variable(each) for each in SETTINGS if each.field in fields)


def settings_for_container() -> dict[str, str]:
    """Return the settings that variables set and that mean the same in a container on another
    machine, by the names of their arguments. Variables of hosting platforms are left out.
    """
    found = ((each, chosen_variable(each)) for each in SETTINGS if each.field not in _LEFT_OUT)
    return {setting.argument: os.environ[name] for setting, name in found if name is not None}


def variables_left_out() -> frozenset[str]:
    """Return the variables, except for those of hosting platforms, that set what
    `settings_for_container` leaves out.
    """
    return frozenset(
        name
        for setting in SETTINGS
        for name in setting.variables
        if setting.field in _LEFT_OUT and name not in setting.platforms
    )


def hints_at_settings_of_machine() -> list[str]:
    """Return what to say about the settings that `settings_for_container` leaves out because they
    fit this machine only.
    """
    found = (chosen_variable(each) for each in SETTINGS if each.field in _OF_THE_MACHINE)
    names = list(filter(None, found))
    if not names:
        return []
    hint = (
        f"Not in the files, because another machine has other CPUs and memory: {', '.join(names)}."
        " The server chooses for the machine on which it runs; set them there to choose yourself."
    )
    return [hint]


def environment(settings: cabc.Mapping[str, str]) -> dict[str, str]:
    """Return settings of the server as environment variables."""
    variables = {setting.argument: setting.variable or setting.variables[0] for setting in SETTINGS}
    return {variables[name]: value for name, value in settings.items()}


def refuse_changing_port(address: Address) -> None:
    """Raise DeploymentError if an address of the app's server has the port 0."""
    if not address.path and not address.port:
        raise DeploymentError(
            f"The app's server would listen on {address}: the system chooses another port than 0 at"
            " each start, and no web server could find it. Name a port, such as"
            " CARBOY_SERVE_PORT=8000."
        )
