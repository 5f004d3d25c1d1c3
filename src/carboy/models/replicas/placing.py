"""Where the models of this process compute: in this process, or in replicas of a supervisor or of
a cluster.

The choice is made when a model is declared, while the app is imported. A worker of `carboy serve`
calls `use_directory` before; a process of another server finds `carboy models serve` by its name.
"""

from __future__ import annotations

import os
import typing as t

from carboy.core.foreignservers import preforking_server
from carboy.core.logmasking import get_masked_logger

from .supervision import VARIABLE

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from ..options import Options
    from .replica import ReplicaMaker

_logger = get_masked_logger("carboy.models")

_connect: cabc.Callable[[], ReplicaMaker] | None = None
_directory: ReplicaMaker | None = None
_is_replica = False


def use_directory(connect: cabc.Callable[[], ReplicaMaker]) -> None:
    """Let models that are declared later, and have replicas, compute in other processes.

    Args:
        connect: returns what makes the replicas; called when a model needs it.
    """
    global _connect  # noqa: PLW0603  # a process has one place for replicas
    _connect = connect


def compute_here() -> None:
    """Let all models of this process compute in it, because it is the process of a replica."""
    global _is_replica  # noqa: PLW0603
    _is_replica = True


def directory_for(options: Options, owner: str) -> ReplicaMaker | None:
    """Return what makes the replicas that compute a model; None if this process computes it
    itself.
    """
    global _directory  # noqa: PLW0603
    if options.replicas is None or _is_replica:
        return None
    if _directory is None and _connect is not None:
        _directory = _connect()
    if _directory is not None:
        return _directory
    if preforking_server() or os.environ.get(VARIABLE):
        from .modelssocket import named_directory

        _directory = named_directory()
        return _directory
    _logger.info(
        "%s: replicas=%s needs `carboy serve` or `carboy models serve`: this process computes the"
        " predictions itself",
        owner,
        options.replicas,
    )
    return None
