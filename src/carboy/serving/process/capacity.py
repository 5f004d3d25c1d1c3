"""How many workers the CPUs and the memory of this machine, or of its container, carry.

The first worker loads the app alone and is measured before it listens. Then `make_plan` decides how
many workers there will be.
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

from ...core.cgroups import ResourceLimit
from ...core.processmemory import MIB, in_mib, memory_of
from .. import machine
from .computethreads import set_by_user, threads_of_each

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ...core.processmemory import ProcessMemory
    from ..settings import Settings


def wanted_workers(asked: int | None, cpus: int, *, has_models: bool) -> int:
    """Return how many workers there should be if memory were not limited.

    Args:
        asked: the number that the user has set; None if the server chooses.
        cpus: the number of CPUs.
        has_models: whether the app has models. Each worker loads those that it computes itself, and
            a model computes on several CPUs by itself; for models with replicas, each worker forms
            batches of its own, which are smaller. So one worker is enough.
    """
    if asked is not None:
        return asked
    return 1 if has_models else min(cpus, machine.MAX_DEFAULT_WORKERS)


class LoadedApp(t.TypedDict):
    """A worker's report when it has loaded the app.

    Attributes:
        models: of each model that computes in the worker, how many bytes the worker's resident
            memory grew by while it was loaded, by its name. What the app's modules loaded when they
            were imported belongs to no model.
        replicated: the names of the models that compute in replicas.
        versions: the version that is loaded, by the name of the model, of models that declare
            versions.
        libraries: the numerical libraries that the app has imported.
    """

    models: dict[str, int]
    replicated: list[str]
    versions: dict[str, str]
    libraries: list[str]


def limit_of(settings: Settings) -> ResourceLimit | None:
    """Return the memory that the server may use; None if there is no limit."""
    stated = settings.memory_limit_bytes
    if stated is None:
        return machine.memory_limit()
    return ResourceLimit(stated, "--memory-limit") if stated else None


@dataclass(frozen=True, slots=True)
class Measurement:
    """The memory of the first worker, measured when it had loaded the app and its models.

    Attributes:
        worker: the memory of the worker; None if the system does not tell.
        supervisor: likewise of the supervisor.
        models: the memory of each model that computes in the worker (`LoadedApp`).
        replicated: the names of the others.
        replicas: the memory of each process of a replica. However many workers there are, they
            share these processes.
    """

    worker: ProcessMemory | None = None
    supervisor: ProcessMemory | None = None
    models: cabc.Mapping[str, int] = field(default_factory=dict)
    replicas: cabc.Sequence[ProcessMemory] = ()
    replicated: cabc.Sequence[str] = ()

    @property
    def has_models(self) -> bool:
        return bool(self.models or self.replicated)

    def needed_bytes(self, workers: int) -> int:
        """Return how much memory the supervisor and a number of workers need together. Files that
        are mapped count once, because all workers map the same.
        """
        own = self.worker.own_bytes if self.worker else 0
        files = self.worker.file_bytes if self.worker else 0
        supervisor = self.supervisor.own_bytes if self.supervisor else 0
        return supervisor + files + self.replica_bytes + workers * own

    @property
    def replica_bytes(self) -> int:
        """How much memory the processes of all replicas need together."""
        files = max((each.file_bytes for each in self.replicas), default=0)
        return files + sum(each.own_bytes for each in self.replicas)

    def fitting(self, limit_bytes: float) -> int | None:
        """Return how many workers fit into the memory; None if the memory is not known."""
        if self.worker is None or self.worker.own_bytes <= 0:
            return None
        return max(0, int((limit_bytes - self.needed_bytes(0)) // self.worker.own_bytes))


def measure(pid: int, loaded: LoadedApp, replicas: cabc.Iterable[int] = ()) -> Measurement:
    """Measure the memory of a worker and of replicas, with their process ids, and of this process,
    the supervisor.
    """
    measured = [memory for each in replicas if (memory := memory_of(each)) is not None]
    own, names = memory_of(os.getpid()), loaded["replicated"]
    return Measurement(memory_of(pid), own, loaded["models"], measured, names)


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """How many workers there are, and what this was computed from.

    Attributes:
        workers: the number of workers.
        asked: the number that the user has set; None if the server has chosen.
        cpus: the CPUs that the server may use.
        limit: the memory that the server may use; None if it is not limited, or not known.
        measured: the memory of the first worker.
        fits: how many workers fit into the memory; None if that is not known.
    """

    workers: int
    asked: int | None
    cpus: machine.Cpus
    limit: ResourceLimit | None
    measured: Measurement
    fits: int | None

    @property
    def threads(self) -> int:
        """On how many threads the numerical libraries of each worker compute."""
        return threads_of_each(self.cpus.number, self.workers)

    @property
    def refused(self) -> bool:
        """Whether the user has asked for more workers than fit. A single worker is never refused,
        because the one that was measured runs.
        """
        return self.fits is not None and self.workers > max(1, self.fits)

    @property
    def has_room_for_successor(self) -> bool:
        """Whether another worker fits while all of them run, as when one of them is replaced."""
        return self.fits is None or self.workers < self.fits

    def as_dict(self) -> dict[str, t.Any]:
        """Return the plan as values that JSON can express, and as the lines of the log."""
        worker, limit = self.measured.worker, self.limit
        return {
            "workers": self.workers,
            "asked": self.asked,
            "cpus": self.cpus._asdict(),
            "threads": self.threads,
            "memory_limit": limit and {"bytes": int(limit.amount), "source": limit.source},
            "worker_memory": worker and worker._asdict(),
            "models": dict(self.measured.models),
            "fits": self.fits,
            "text": describe(self),
        }


def make_plan(
    asked: int | None, cpus: machine.Cpus, limit: ResourceLimit | None, measured: Measurement
) -> WorkerPlan:
    """Decide how many workers there will be.

    A number that the user has asked for is kept, even if it does not fit (`WorkerPlan.refused`). A
    number that the server chooses leaves room for one worker more, because a worker is replaced
    only when its successor has loaded the app; but there is at least one worker.
    """
    fits = measured.fitting(limit.amount) if limit is not None else None
    workers = wanted_workers(asked, cpus.number, has_models=measured.has_models)
    if asked is None and fits is not None:
        workers = max(1, min(workers, fits - 1))
    return WorkerPlan(workers, asked, cpus, limit, measured, fits)


# ------------------------------------------------------------------------------ texts for the log


def describe(plan: WorkerPlan) -> list[str]:
    """Return the lines for the log that say what the server has and what its workers take."""
    lines = [_about_cpus(plan), _about_memory(plan), *describe_replicas(plan)]
    if plan.asked is None:
        lines.append(_about_choice(plan))
    return [line for line in lines if line]


def _about_cpus(plan: WorkerPlan) -> str:
    by_user = ", ".join(f"{name}={value}" for name, value in set_by_user().items())
    return (
        f"CPUs: {plan.cpus.number} ({plan.cpus.source}); numerical libraries compute on"
        f" {_count(plan.threads, 'thread')} in each worker"
        + (f", except for what is set: {by_user}" if by_user else " (OMP_NUM_THREADS and the like)")
    )


def _about_memory(plan: WorkerPlan) -> str:
    worker, models = plan.measured.worker, plan.measured.models
    if worker is None:
        return ""
    # Models that take less than half a MiB would be shown as 0 MiB.
    large = [f"model {name} {in_mib(size)}" for name, size in models.items() if size > MIB / 2]
    of_it = f" (of it {', '.join(large)})" if large else ""
    return (
        f"memory: {in_mib(worker.own_bytes)} in each worker{of_it}, and"
        f" {in_mib(worker.file_bytes)} of files that workers share; "
        + (
            f"the {in_mib(plan.limit.amount)} of {plan.limit.source} have room for"
            f" {_count(plan.fits or 0, 'worker')}"
            if plan.limit is not None
            else "no limit"
        )
    )


def describe_replicas(plan: WorkerPlan) -> list[str]:
    """Return the line for the log that says what replicas take; none if there are none."""
    replicas = plan.measured.replicas
    if not replicas:
        return []
    processes, memory = _count(len(replicas), "process"), in_mib(plan.measured.replica_bytes)
    return [f"replicas: {processes} with {memory}, which all clients share"]


def _about_choice(plan: WorkerPlan) -> str:
    """Return why there are as many workers as there are."""
    worker, models = plan.measured.worker, plan.measured.models
    wanted = wanted_workers(None, plan.cpus.number, has_models=plan.measured.has_models)
    if plan.workers < wanted:
        return (
            f"{_count(plan.workers, 'worker')} instead of {wanted}, because no more fit into the"
            f" memory with room for a successor: {sum_of(plan.measured, wanted + 1)}"
        )
    if plan.measured.replicated and not models:
        return (
            "1 worker forms the batches of all models. With further ones (--workers), which views"
            " may need, batches are smaller"
        )
    if not models:
        return ""
    cost = f" and takes {in_mib(worker.own_bytes)} more" if worker is not None else ""
    return (
        "1 worker holds a replica of each model. Each further one (--workers) loads replicas of its"
        f" own{cost}"
    )


def warning(plan: WorkerPlan) -> str:
    """Return a warning for the log if more than what runs does not fit into the memory; else ""."""
    if plan.limit is None or plan.has_room_for_successor:
        return ""
    of_limit = f"the {in_mib(plan.limit.amount)} of {plan.limit.source}"
    if plan.fits is not None and plan.fits < plan.workers:
        return (
            f"the memory limit is too low: {sum_of(plan.measured, plan.workers)}, more than"
            f" {of_limit}. Raise the limit; or, if it is not true, state it by --memory-limit"
        )
    return (
        f"no memory for a successor: {sum_of(plan.measured, plan.workers + 1)}, more than"
        f" {of_limit}. A worker is replaced only when its successor has loaded the app: raise the"
        f" limit{', or use fewer workers' if plan.workers > 1 else ''}"
    )


def explain_refusal(plan: WorkerPlan) -> str:
    """Return the error message for a number of workers that does not fit into the memory."""
    limit = t.cast("ResourceLimit", plan.limit)
    fits = max(1, plan.fits or 0)
    return (
        f"Setting 'workers': {plan.workers} workers do not fit into the memory:"
        f" {sum_of(plan.measured, plan.workers)}, more than the {in_mib(limit.amount)} of"
        f" {limit.source}. Set --workers to {fits}{' or less' if fits > 1 else ''}, or leave it"
        " out, or raise the limit. If the limit is not true, state it by --memory-limit; 0 means no"
        " limit."
    )


def sum_of(measured: Measurement, workers: int) -> str:
    """Return the sum of the memory of a number of workers as a text."""
    worker, supervisor = measured.worker, measured.supervisor
    parts = [f"{in_mib(supervisor.own_bytes)} (supervisor)"] if supervisor else []
    if worker is not None:
        parts += [
            f"{in_mib(worker.file_bytes)} (files that workers share)",
            f"{workers} x {in_mib(worker.own_bytes)} (a worker)",
        ]
    if measured.replicas:
        parts.append(f"{in_mib(measured.replica_bytes)} (replicas)")
    return f"{' + '.join(parts)} = {in_mib(measured.needed_bytes(workers))}"


def _count(number: int, noun: str) -> str:
    plural = "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{plural if number != 1 else ''}"
