"""The supervisor of `carboy models serve`: replicas, and no worker that answers requests."""

from __future__ import annotations

import typing as t

from . import capacity
from .sockets import NoSockets
from .supervisor import Supervisor

if t.TYPE_CHECKING:
    from ..settings import Settings
    from .sockets import ServerSockets


class ModelsSupervisor(Supervisor):
    """Keeps the replicas of an app's models for clients on the models' socket. Its only worker
    knows which models the app has, wants their replicas, and answers no request.

    Args:
        path: the models' socket that processes of other servers use.
    """

    _serves_http = False

    def __init__(self, target: str | None, settings: Settings, path: str) -> None:
        self._path = path
        super().__init__(target, settings)

    def _open_sockets(self) -> ServerSockets:
        self._replicas.open_named(self._path)
        return NoSockets(self._settings)

    def _addresses(self) -> tuple[str, ...]:
        return (f"unix:{self._path}",)

    def _describe_plan(self) -> list[str]:
        """Its worker takes little; only the replicas matter."""
        return capacity.describe_replicas(t.cast("capacity.WorkerPlan", self._plan))

    def _describe(self) -> str:
        return f"serving the models of {self._target or 'the app'} on unix:{self._path}"
