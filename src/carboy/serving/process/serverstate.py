"""The state of a running server, as the supervisor publishes it for other threads."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

if t.TYPE_CHECKING:
    import collections.abc as cabc

# The number of the field with the resident pages in /proc/PID/statm.
_RESIDENT_FIELD = 1


@dataclass(frozen=True, slots=True)
class FailedReload:
    """A reload whose code could not be loaded, so that the workers go on with the code they have.

    Attributes:
        at_s: when the reload failed, in seconds since the epoch.
        reason: why the app could not be loaded.
    """

    at_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class ProcessState:
    """The state of one worker process, or of a worker that waits for its next process.

    Attributes:
        number: the number of the worker. While a process replaces another, two have this number.
        pid: the process id; None if the worker waits for its next process.
        phase: "loading", "ready", "draining", "hanging", or "waiting" if there is no process.
        started_at_s: when the process was started, in seconds since the epoch; None without one.
        restarts: how many processes under this number were started after the first one.
        generation: how many reloads had been asked for when the process was started.
        info: what the process has reported of itself.
    """

    number: int
    pid: int | None
    phase: str
    started_at_s: float | None
    restarts: int
    generation: int
    info: cabc.Mapping[str, t.Any] = field(default_factory=dict)

    @property
    def resident_bytes(self) -> int | None:
        """The resident memory of the process at the moment; None if the system does not tell."""
        return resident_bytes(self.pid) if self.pid is not None else None


@dataclass(frozen=True, slots=True)
class ServerState:
    """The state of the server at one moment.

    Attributes:
        target: the import path of the app; None if it is looked for.
        addresses: the URLs on which the server listens.
        pid: the process id of the supervisor.
        started_at_s: when the supervisor was started, in seconds since the epoch.
        serving: whether all workers have been ready once.
        stopping: whether the server is stopping.
        reloading: whether the workers are being replaced by workers with new code.
        generation: how many reloads have been asked for.
        failed_reload: the last reload, if it has failed.
        processes: the worker processes.
    """

    target: str | None
    addresses: tuple[str, ...]
    pid: int
    started_at_s: float
    serving: bool = False
    stopping: bool = False
    reloading: bool = False
    generation: int = 0
    failed_reload: FailedReload | None = None
    processes: tuple[ProcessState, ...] = ()


def resident_bytes(pid: int | str = "self") -> int | None:
    """Return how much memory of a process is in RAM (RSS); None if the system does not tell (Linux
    only).
    """
    import resource

    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[_RESIDENT_FIELD]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return None
