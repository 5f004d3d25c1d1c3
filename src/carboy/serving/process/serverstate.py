"""The state of a running server, as the supervisor publishes it for other threads."""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass, field

from ...core.processmemory import resident_bytes

if t.TYPE_CHECKING:
    import collections.abc as cabc


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
class ChildState:
    """The state of one process of the server, or of a worker or replica that waits for its next
    process.

    Attributes:
        number: the number of the worker, or of the replica among those of the version, from 1.
            While a process replaces another, two have this number.
        pid: the process id; None if there is no process.
        phase: "loading", "ready", "draining", "hanging", or "waiting" if there is no process.
        started_at_s: when the process was started, in seconds since the epoch; None without one.
        restarts: how many processes under this number were started after the first one.
        generation: how many reloads of the code had been asked for when the process was started; of
            a replica, when the first process was started for its version.
    """

    number: int
    pid: int | None
    phase: str
    started_at_s: float | None
    restarts: int
    generation: int

    @property
    def resident_bytes(self) -> int | None:
        """The resident memory of the process at the moment; None if the system does not tell."""
        return resident_bytes(self.pid) if self.pid is not None else None

    def as_dict(self) -> dict[str, t.Any]:
        """Return plain JSON values."""
        return {**asdict(self), "resident_bytes": self.resident_bytes}


@dataclass(frozen=True, slots=True)
class ProcessState(ChildState):
    """The state of a worker.

    Attributes:
        info: what the process has reported of itself.
    """

    info: cabc.Mapping[str, t.Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReplicaState(ChildState):
    """The state of a replica.

    Attributes:
        model: the name of the model.
        version: its version; "" if it has none.
        label: what the version is called in the metrics.
        device: the device on which it computes; "" if the app has named none.
        serves: whether all replicas of this version have been ready once, so that clients use them.
        node: the address of the node of the cluster on which it computes; "" for a process of this
            server, or before it has a node.
        on_cluster: whether it is none of the processes of this server.
        reported_bytes: the memory of a process on a cluster, as it was last reported.
    """

    model: str
    version: str
    label: str
    device: str
    serves: bool = True
    node: str = ""
    on_cluster: bool = False
    reported_bytes: int | None = None

    @property
    def resident_bytes(self) -> int | None:
        if self.on_cluster:
            return self.reported_bytes
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
        replicas: the processes of replicas.
        capacity: what CPUs and memory there are, what a worker takes of them, and how many workers
            fit (`capacity.WorkerPlan.as_dict`); empty until the first worker has loaded the app.
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
    replicas: tuple[ReplicaState, ...] = ()
    capacity: cabc.Mapping[str, t.Any] = field(default_factory=dict)

    @property
    def pids(self) -> set[int]:
        """The process ids of all workers and replicas of this server."""
        replicas = [each.pid for each in self.replicas if not each.on_cluster]
        pids = [each.pid for each in self.processes] + replicas
        return {pid for pid in pids if pid is not None}

    def summary(self) -> str:
        """Return the state in one line, as `systemctl status` shows it."""
        if self.stopping:
            return f"stopping: {len(self.processes)} workers finish their requests"
        ready = [process for process in self.processes if process.phase == "ready"]
        if not self.serving:
            return f"loading {self.target or 'the app'}"
        text = f"{len(ready)} of {len({each.number for each in self.processes})} workers are ready"
        if self.reloading:
            new = sum(process.generation == self.generation for process in ready)
            return f"reloading: {text}, {new} with the new code"
        if self.failed_reload is not None:
            return f"{text}; the last reload has failed, see the log"
        return text
