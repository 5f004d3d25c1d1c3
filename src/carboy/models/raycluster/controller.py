"""The actor that decides which replicas an app has; there is one in the namespace of the app.

It runs on the head node, and Ray starts it again if its process dies. Its replicas are detached, so
that they go on meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import typing as t

import ray
from ray.exceptions import RayError

from carboy.core.logmasking import get_masked_logger

from .controllerstate import ControllerState
from .messages import (
    LoadedReplica,
    Versions,
    decode_condition,
    decode_loaded,
    decode_report,
    decode_wanted,
    encode,
)
from .replicaactor import CONTROL, ReplicaActor

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from .messages import WantedVersion
    from .replicaactor import LoadApp

#: The name of the actor.
CONTROLLER = "controller"
REPLICA_PREFIX = "replica-"
# How long a web worker waits for a change; it then reports again.
WATCH_S = 1.0
_TICK_S = 0.5
# How long a replica of an earlier controller may take to say what it is.
_DESCRIBE_S = 10.0
# How many batches of other nodes may wait in a replica at the same time.
_CALLS = 8
# How long a replica may take to write its stacks before it is killed.
_DUMP_S = 1.0

_logger = get_masked_logger("carboy.models")


class ControllerActor:
    """Runs a `ControllerState` on the event loop of the actor.

    Args:
        load_app: imports the app in the processes of replicas.
    """

    def __init__(self, load_app: LoadApp) -> None:
        self._load_app = load_app
        self._handles: dict[str, t.Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._versions = Versions.here()
        self._changed = asyncio.Event()
        self._state: ControllerState | None = None
        self._starting = asyncio.Lock()

    async def _started(self) -> ControllerState:
        """Return the state, after the replicas of an earlier controller were found."""
        async with self._starting:
            if self._state is None:
                state = ControllerState(self)
                state.on_change = self._wake
                await self._adopt(state)
                self._state = state
                self._go(self._run(state))
        return self._state

    async def _adopt(self, state: ControllerState) -> None:
        for name in ray.util.list_named_actors():
            if not name.startswith(REPLICA_PREFIX):
                continue
            with contextlib.suppress(RayError, ValueError):  # it has just ended
                handle = ray.get_actor(name)
                try:
                    described = await asyncio.wait_for(handle.describe.remote(), _DESCRIBE_S)
                except TimeoutError:  # it still loads the model, or its node is lost
                    ray.kill(handle)
                    continue
                wanted, number, loaded, node, pid = described
                self._handles[name] = handle
                state.adopt(name, decode_wanted(wanted), number, decode_loaded(loaded), node, pid)

    async def _run(self, state: ControllerState) -> None:
        while not state.is_unused():
            try:
                state.tick()
            except Exception:
                _logger.exception("The controller has failed, and goes on")
            await asyncio.sleep(_TICK_S)
        _logger.info("no web worker needs the controller any more")
        ray.kill(ray.get_actor(CONTROLLER))

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _go(self, work: cabc.Coroutine[t.Any, t.Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- for web workers and replicas ----------------------------------------------------------

    async def watch(self, data: bytes) -> bytes:
        """Take a `Report`; return a `Snapshot` when there is a newer one, or after a while."""
        state = await self._started()
        report = decode_report(data)
        state.report(report)
        if report.serial == state.serial and not report.leaves:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), WATCH_S)
        return encode(state.snapshot(report))

    async def hangs(self, name: str, took_s: float) -> None:
        (await self._started()).hangs(name, took_s)

    async def placed(self, name: str, node: str, pid: int) -> None:
        (await self._started()).placed(name, node, pid)

    async def end(self) -> None:
        """End all replicas at once."""
        await self._started()
        for name in [*self._handles]:
            self.kill(name)

    # --- for the state -------------------------------------------------------------------------

    def start(self, name: str, wanted: WantedVersion, number: int) -> None:
        try:
            self._handles[name] = handle = _actor_class(wanted, name).remote(
                encode(wanted),
                (self._versions.carboy, self._versions.python),
                number,
                CONTROLLER,
                self._load_app,
            )
        except Exception as exc:  # such as a resource that Ray does not take
            _logger.exception("A replica could not be started")
            self._go(self._refuse(name, f"Ray does not start a replica: {exc}"))
            return
        self._go(self._await_loaded(name, handle))

    async def _refuse(self, name: str, reason: str) -> None:
        """Note that a replica cannot start, after the decision during which it was to start."""
        t.cast("ControllerState", self._state).loaded(name, LoadedReplica({}, reason))

    async def _await_loaded(self, name: str, handle: t.Any) -> None:
        state = t.cast("ControllerState", self._state)
        try:
            loaded = await handle.loaded.remote()
        except RayError as exc:
            state.died(name, _reason(exc))
            return
        state.loaded(name, decode_loaded(loaded))

    def examine(self, name: str) -> None:
        self._go(self._examine(name))

    async def _examine(self, name: str) -> None:
        state = t.cast("ControllerState", self._state)
        try:
            condition = await self._handles[name].examine.remote()
        except KeyError:
            return
        except RayError as exc:
            if _has_ended(exc):
                state.died(name, _reason(exc))
            return
        state.examined(name, decode_condition(condition))

    def drain(self, name: str) -> None:
        self._go(self._drain(name))

    async def _drain(self, name: str) -> None:
        handle, state = self._handles[name], t.cast("ControllerState", self._state)
        with contextlib.suppress(RayError):
            await handle.refuse.remote()
            await handle.drain.remote()
        state.drained(name)

    def kill(self, name: str) -> None:
        if (handle := self._handles.pop(name, None)) is not None:
            self._go(self._kill(handle))

    async def _kill(self, handle: t.Any) -> None:
        with contextlib.suppress(RayError, TimeoutError):
            await asyncio.wait_for(handle.dump.remote(), _DUMP_S)
        ray.kill(handle)

    def lacking(self, wanted: WantedVersion) -> str:
        return _lacking(wanted.resources)


def _actor_class(wanted: WantedVersion, name: str) -> t.Any:
    """Return the class of a replica's actor, with the options of this one."""
    known = ("num_cpus", "num_gpus", "memory")
    resources = wanted.resources
    options: dict[str, t.Any] = {each: resources[each] for each in known if each in resources}
    options["resources"] = {each: resources[each] for each in resources if each not in known}
    if wanted.code.package:
        options["runtime_env"] = {"working_dir": wanted.code.package}
    return ray.remote(
        name=name,
        lifetime="detached",
        max_restarts=0,
        max_task_retries=0,
        concurrency_groups={CONTROL: 2},
        # Batches of other nodes that wait for the thread that computes: with one at a time, all of
        # them would get as few turns as a single connection of this node.
        max_concurrency=_CALLS,
        # Otherwise each call is recorded for Ray's dashboard, which takes a tenth of its time.
        enable_task_events=False,
        **options,
    )(ReplicaActor)


def _lacking(resources: dict[str, float]) -> str:
    """Return which resources no node has left, for a message."""
    names = {"num_cpus": "CPU", "num_gpus": "GPU"}
    wanted = ", ".join(f"{name}={amount:g}" for name, amount in resources.items())
    total, free = ray.cluster_resources(), ray.available_resources()
    if all(free.get(names.get(each, each), 0) >= amount for each, amount in resources.items()):
        return f"a replica with {wanted} is being started, or no single node has room for it"
    shown = ", ".join(
        f"{name}: {free.get(names.get(name, name), 0):g} of"
        f" {total.get(names.get(name, name), 0):g} free"
        for name in resources
    )
    return f"no node has room for a replica with {wanted} (the cluster has {shown or 'no nodes'})"


def _has_ended(exc: RayError) -> bool:
    from ray.exceptions import ActorDiedError

    return isinstance(exc, ActorDiedError)


def _reason(exc: RayError) -> str:
    """Return the part of Ray's message that says why an actor has ended."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    kept = [
        line
        for line in lines
        if not line.startswith(("class_name", "actor_id", "pid", "namespace", "ip", "name"))
    ]
    text = " ".join(kept).partition(" Some common causes")[0]
    return text[:500].removesuffix(".") or type(exc).__name__


def find_or_start(namespace: str, load_app: LoadApp) -> t.Any:
    """Return the controller of a namespace; start it if there is none."""
    actor = ray.remote(
        name=CONTROLLER,
        namespace=namespace,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        # The head node, whose end is the end of the cluster.
        resources={"node:__internal_head__": 0.001},
        max_restarts=-1,
        max_task_retries=0,
        max_concurrency=1000,
    )(ControllerActor)
    return actor.remote(load_app)
