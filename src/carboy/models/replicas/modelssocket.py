"""Find the models' socket of `carboy models serve` in a process that another server has started."""

from __future__ import annotations

import os

from carboy.core.runtimefolders import runtime_folders, served_sockets, user_name
from carboy.errors import UnavailableError

from .modelssocketclient import ModelsSocketClient
from .supervision import VARIABLE

#: The value by which each process of another server loads the models itself.
OFF = "off"
SUFFIX = ".models"


def named_directory() -> ModelsSocketClient | None:
    """Return the directory of the replicas of `carboy models serve`; None if this process shall
    compute itself.
    """
    if os.environ.get(VARIABLE, "").strip().lower() == OFF:
        return None
    # Who names the socket knows whose it is. The name of the app may be another one, by the module
    # from which it is imported, and the folder, such as that of the next release, or of a
    # container.
    is_named = bool(os.environ.get(VARIABLE, "").strip())
    return ModelsSocketClient(find_models_socket, compares_app=not is_named)


def find_models_socket() -> str:
    """Return the path of the socket to use: the one that the environment names, or else the only
    one of this user.

    Raises:
        UnavailableError: there is none, or there are several.
    """
    if path := os.environ.get(VARIABLE, "").strip():
        return os.path.abspath(os.path.expanduser(path))
    found = served_sockets(SUFFIX)
    if len(found) == 1:
        return found[0]
    user = user_name(os.geteuid())
    if not found:
        raise UnavailableError(
            f"The app has models with replicas, and no `carboy models serve` of {user} is running"
            f" (no *{SUFFIX} in {', '.join(runtime_folders())}). Start it beside this server, or"
            f" name its socket by {VARIABLE}. {VARIABLE}={OFF} loads the models in each process"
            " instead."
        )
    raise UnavailableError(
        f"{len(found)} of `carboy models serve` of {user} are running. Choose one by {VARIABLE}:"
        f" {', '.join(found)}."
    )
