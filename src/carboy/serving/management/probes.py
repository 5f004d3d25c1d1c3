"""Probes: is the server alive, has it started, is it ready for requests?

    /livez      the supervisor (or the worker that is asked) works; if not, restart the server
    /startupz   all workers have been ready at the same time, with all their models
    /readyz     whoever accepts a connection at this moment can answer: a worker is ready, each
                worker that accepts connections is, with all its models, and the server does not
                stop

The functions decide only: they get the state of the server and the last report of each worker, and
never wait.
"""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..process.serverstate import ProcessState, ReplicaState, ServerState

LIVE, READY, STARTED = "/livez", "/readyz", "/startupz"
PATHS = (LIVE, READY, STARTED)
STOPPING = "stopping: it finishes its requests and accepts no new ones"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a probe fails, and which worker process and which model it is about."""

    reason: str
    worker: int | None = None
    pid: int | None = None
    model: str | None = None

    def as_dict(self) -> dict[str, t.Any]:
        named = {"worker": self.worker, "pid": self.pid, "model": self.model}
        known = {name: value for name, value in named.items() if value is not None}
        return {**known, "reason": self.reason}

    def __str__(self) -> str:
        worker = "" if self.worker is None else f"worker {self.worker} (pid {self.pid or '-'}): "
        model = "" if self.model is None else f"model {self.model!r}: "
        return f"{worker}{model}{self.reason}"


class Verdict(t.NamedTuple):
    """The result of a probe: it succeeds if there is no reason why not."""

    reasons: cabc.Sequence[Reason] = ()

    @property
    def status(self) -> int:
        return 503 if self.reasons else 200

    def body(self) -> bytes:
        content: dict[str, t.Any] = {"status": "failing" if self.reasons else "ok"}
        if self.reasons:
            content["reasons"] = [reason.as_dict() for reason in self.reasons]
        return json.dumps(content).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """The health of the models of one worker process, as far as the supervisor knows.

    Attributes:
        models: for each model, why it is not ready, or ""; None if the process has not told yet.
        silent_s: for how many seconds a question about it has been unanswered.
    """

    models: cabc.Mapping[str, str] | None = None
    silent_s: float = 0.0


# If a worker has not answered for this long, it is not ready: native code in it may hold the GIL,
# and then it answers no request either.
SILENT_S = 10.0
NOT_TOLD = "has not said yet whether its models are ready"


def model_reasons(
    models: cabc.Mapping[str, str], least: int, **where: t.Any
) -> cabc.Iterator[Reason]:
    """Yield why a worker with these models is not ready.

    Args:
        models: for each model, why it is not ready, or "".
        least: how many models the app must have.
        **where: the worker and its process, for `Reason`.
    """
    if len(models) < least:
        yield Reason(
            f"the app has {len(models)} models, and at least {least} are expected (--min-models)",
            **where,
        )
    for name, reason in models.items():
        if reason:
            yield Reason(reason, model=name, **where)


def _process_reasons(
    process: ProcessState, health: WorkerHealth, least: int
) -> cabc.Iterator[Reason]:
    where: dict[str, t.Any] = {"worker": process.number, "pid": process.pid}
    if process.phase != "ready":
        yield Reason(process.phase, **where)
    elif health.silent_s >= SILENT_S:
        yield Reason(f"has shown no sign of life for {health.silent_s:.0f} s", **where)
    elif health.models is None:
        yield Reason(NOT_TOLD, **where)
    else:
        yield from model_reasons(health.models, least, **where)


def _replica_reasons(
    replicas: cabc.Iterable[ReplicaState], current: cabc.Mapping[str, str]
) -> cabc.Iterator[Reason]:
    """Yield the versions of models of which clients use the replicas, and none is ready. Versions
    on trial do not count: a canary that fails must not stop the requests that others answer.
    """
    phases: dict[tuple[str, str, int], list[str]] = {}
    for each in replicas:
        if each.serves and each.version == current.get(each.model, each.version):
            key = each.model, each.version, each.generation
            phases.setdefault(key, []).append(each.phase)
    for (model, version, _), found in phases.items():
        if "ready" not in found:
            of_version = f" of version {version!r}" if version else ""
            yield Reason(f"no replica{of_version} is ready: {', '.join(found)}", model=model)


def readiness(
    state: ServerState,
    health: cabc.Mapping[int, WorkerHealth],
    least_models: int,
    current: cabc.Mapping[str, str],
) -> Verdict:
    """Return whether requests that arrive now can be answered.

    A worker that loads the app does not accept connections, so it counts only if no other worker is
    ready.

    Args:
        current: the version of each model that answers requests; others are on trial.
    """
    if state.stopping:
        return Verdict([Reason(STOPPING)])
    accepting = [each for each in state.processes if each.phase in ("ready", "hanging")]
    verdict = _verdict(accepting or state.processes, health, least_models)
    return Verdict([*_replica_reasons(state.replicas, current), *verdict.reasons])


def startup(
    state: ServerState, health: cabc.Mapping[int, WorkerHealth], least_models: int
) -> Verdict:
    """Return whether all workers are ready. The others are started after the first is ready, so the
    processes that exist now may not be all. A worker is ready after the replicas of its models, so
    those are not looked at.
    """
    verdict = _verdict(state.processes, health, least_models)
    if not verdict.reasons and not state.serving:
        return Verdict([Reason("not all workers have been started yet")])
    return verdict


def _verdict(
    processes: cabc.Sequence[ProcessState],
    health: cabc.Mapping[int, WorkerHealth],
    least_models: int,
) -> Verdict:
    if not processes:
        return Verdict([Reason("no worker has been started yet")])
    reasons: list[Reason] = []
    for process in processes:
        known = health.get(process.pid or 0, WorkerHealth())
        reasons += _process_reasons(process, known, least_models)
    return Verdict(reasons)
