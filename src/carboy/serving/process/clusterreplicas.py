"""The supervisor's part that concerns replicas on a cluster: it shows what its workers report."""

from __future__ import annotations

import logging
import time
import typing as t
from functools import partial

from .. import log
from .serverstate import ReplicaState

if t.TYPE_CHECKING:
    from .workerprocess import WorkerProcess


class ClusterReplicas:
    """Keeps what the workers have said of the replicas that they share with other machines. All
    methods are called on the thread of the supervisor's loop.
    """

    def __init__(self) -> None:
        self._reported: dict[WorkerProcess, list[ReplicaState]] = {}
        # By the controller that has counted them, the number of the last event that was logged.
        self._logged: dict[str, int] = {}
        self._begun_s = time.monotonic()
        self._lines = log.Notices()

    def watch(self, process: WorkerProcess) -> None:
        """Note what a worker reports."""
        process.handlers["cluster"] = partial(self._note, process)

    def states(self) -> tuple[ReplicaState, ...]:
        """Return the state of each replica, once although several workers use it."""
        for process in [each for each in self._reported if each.exit_code is not None]:
            del self._reported[process]
        found = {
            (each.model, each.version, each.number, each.started_at_s): each
            for states in self._reported.values()
            for each in states
        }
        return tuple(found.values())

    def _note(self, process: WorkerProcess, payload: dict[str, t.Any]) -> None:
        if line := payload.get("line"):
            self._lines.note(line, logging.INFO, "%s", line)
            return
        self._reported[process] = [
            ReplicaState(generation=0, device="", **each) for each in payload["replicas"]
        ]
        controller = payload["controller"]
        for number, level, text, age_s in payload["events"]:
            if number > self._logged.get(controller, 0):
                self._logged[controller] = number
                if age_s <= time.monotonic() - self._begun_s:  # else other servers have logged it
                    log.logger.log(level, "%s", text)
