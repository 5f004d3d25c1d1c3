"""The requests of `carboy ctl`, in the supervisor: what each does, and what it returns.

Each function of `ControlRequests.commands` takes the arguments of the request and returns a value
for JSON. They run on threads of the management server, and reach workers by questions.
"""

from __future__ import annotations

import platform
import signal
import threading
import time
import typing as t
from concurrent.futures import Future, wait
from dataclasses import asdict
from functools import partial

from ...errors import ControlRequestError, WorkerAnswerError
from ..process.serverstate import ReplicaState
from ..threads.stacks import stacks_of_others
from .loglevels import LEVELS, LogLevels
from .versionrequests import VersionRequests

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..process.childprocess import ChildProcess
    from ..process.serverstate import ChildState, ProcessState, ServerState
    from .health import ServerHealth
    from .managementserver import Command
    from .modelrollout import ModelRollout
    from .questions import Questions

# How long a request waits for a worker. A worker that does not answer within this time is busy with
# native code that holds the GIL, or is stopped.
ANSWER_S = 2.0
# The interval at which a request that waits for workers looks whether they still exist.
TURN_S = 0.1
# How long a request waits for the supervisor's loop.
LOOP_S = 5.0

PREFIX = "/control/"

Child = t.TypeVar("Child", bound="ChildState")


class Managed(t.Protocol):
    """The methods of the supervisor that its management uses. `state` and `ask` may be called on
    any thread, the others only by functions that `ask` lets the supervisor's loop call.
    """

    def state(self) -> ServerState: ...

    def ask(self, function: cabc.Callable[[], object]) -> None: ...

    def find_process(self, pid: int) -> ChildProcess | None: ...

    def reload(self, asked_by: str) -> int: ...


class ControlRequests:
    """Carries out the requests of `carboy ctl`."""

    def __init__(
        self,
        server: Managed,
        questions: Questions,
        health: ServerHealth,
        rollout: ModelRollout,
    ) -> None:
        self._server = server
        self._questions = questions
        self._health = health
        self._log_levels = LogLevels()
        self._versions = VersionRequests(
            lambda topic, **arguments: self._ask(self._workers(), topic, **arguments),
            partial(rollout.refresh, retry=True),
        )
        self._lock = threading.Lock()
        # The levels that were asked for, by the name of the logger, for workers that start later.
        self._levels: dict[str | None, str] = {}

    def commands(self) -> dict[str, Command]:
        """Return the functions of the control requests, by URL path."""
        functions: dict[str, Command] = {
            "status": self.status,
            "models": self.models,
            "stacks": self.stacks,
            "reload": self.reload,
            "log-level": self.log_level,
            **self._versions.commands(),
        }
        return {PREFIX + name: function for name, function in functions.items()}

    # --- what there is ------------------------------------------------------------------------

    def status(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        from importlib.metadata import version

        state, ready = self._server.state(), self._health.ready()
        return {
            **asdict(state),
            "processes": [each.as_dict() for each in state.processes],
            "replicas": [each.as_dict() for each in state.replicas],
            "now_s": time.time(),
            "ready": not ready.reasons,
            "reasons": [reason.as_dict() for reason in ready.reasons],
            "version": version("carboy"),
            "python": platform.python_version(),
        }

    def models(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        answers = self._ask(self._workers(), "models")
        return {
            "processes": [_named(each, "models", answer) for each, answer in answers],
            "replicas": [each.as_dict() for each in self._server.state().replicas],
            "now_s": time.time(),
        }

    def stacks(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        """Return the stacks of all threads of the processes `pids`, or of all processes."""
        state, pids = self._server.state(), arguments.get("pids") or []
        processes = {each.pid: each for each in self._children()}
        for pid in pids:
            if pid != state.pid and pid not in processes:
                raise ControlRequestError(_foreign_pid(pid, state))
        found = [processes[pid] for pid in pids if pid in processes]
        answers = self._ask(found if pids else self._children(), "stacks")
        shown = [_named(each, "stacks", answer) for each, answer in answers]
        for each in shown:
            if "error" in each:
                each["error"] += self._dump(each["pid"])
        if not pids or state.pid in pids:
            shown.insert(0, {"worker": None, "pid": state.pid, "stacks": stacks_of_others()})
        return {"processes": shown}

    def _dump(self, pid: int) -> str:
        """Let a process that cannot answer write its stacks to the log, as it does for SIGQUIT even
        while native code holds the GIL. Return what to tell the user.
        """
        process = self._call(lambda: self._server.find_process(pid))
        if process is None or not process.was_ready:
            return ""
        self._call(lambda: process.popen and process.popen.send_signal(signal.SIGQUIT))
        return "; it writes its stacks to the server's stderr (SIGQUIT), unless it is stopped"

    # --- what to do ---------------------------------------------------------------------------

    def reload(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        """Begin a reload; return the generation of the workers with the new code."""
        if self._server.state().stopping:
            raise ControlRequestError("The server is stopping, so that it loads no new code.")
        return {"generation": self._call(lambda: self._server.reload("carboy ctl reload"))}

    def log_level(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        """Set the level of a logger in all processes, or reset all levels; return the levels that
        hold.
        """
        level, logger = arguments.get("level"), arguments.get("logger")
        reset = bool(arguments.get("reset"))
        if level is not None and level not in LEVELS:
            raise ControlRequestError(f"expected a level of {', '.join(LEVELS)}, got {level!r}")
        wanted: dict[str, t.Any] = {"level": level, "logger": logger, "reset": reset}
        with self._lock:
            if reset:
                self._levels.clear()
            elif level is not None:
                self._levels[logger] = level
        own = self._log_levels.apply(None, **wanted)
        answers = self._ask(self._children(), "log-level", **wanted)
        shown = [_named(each, "levels", answer) for each, answer in answers]
        own_state = {"worker": None, "pid": self._server.state().pid, "levels": own}
        return {"processes": [own_state, *shown]}

    def prepare(self, pid: int) -> None:
        """Give a worker process that has just become ready the log levels that were asked for."""
        with self._lock:
            levels = list(self._levels.items())
        for logger, level in levels:
            self._questions.put(pid, "log-level", level=level, logger=logger)

    # --- workers ------------------------------------------------------------------------------

    def _workers(self) -> list[ProcessState]:
        """Return the worker processes, also those that load the app or drain."""
        return [each for each in self._server.state().processes if each.pid is not None]

    def _children(self) -> list[ChildState]:
        """Return the processes of workers and of replicas of this server."""
        replicas = [each for each in self._server.state().replicas if not each.on_cluster]
        return [*self._workers(), *(each for each in replicas if each.pid is not None)]

    def _ask(
        self, processes: cabc.Sequence[Child], topic: str, **arguments: t.Any
    ) -> list[tuple[Child, Future[t.Any]]]:
        """Ask processes at the same time, and wait for their answers, at most `ANSWER_S`."""
        asked = [
            (each, self._questions.put(t.cast("int", each.pid), topic, **arguments))
            for each in processes
        ]
        until_s = time.monotonic() + ANSWER_S
        while wait([question for _, question in asked], TURN_S).not_done:
            self._questions.forget_all_but(self._server.state().pids)
            if time.monotonic() >= until_s:
                break
        return asked

    def _call(self, function: cabc.Callable[[], t.Any]) -> t.Any:
        """Let the supervisor's loop call a function, and return its result."""
        done: Future[t.Any] = Future()

        def call() -> None:
            try:
                done.set_result(function())
            except Exception as exc:  # noqa: BLE001  # the caller gets it
                done.set_exception(exc)

        self._server.ask(call)
        try:
            return done.result(LOOP_S)
        except TimeoutError:
            raise ControlRequestError(
                f"The supervisor's loop has not reacted for {LOOP_S:g} s. 'carboy ctl stacks"
                f" {self._server.state().pid}' shows where it is."
            ) from None


def _named(process: ChildState, name: str, answer: Future[t.Any]) -> dict[str, t.Any]:
    """Return the answer of a process, or why there is none, with the names of the process."""
    shown: dict[str, t.Any] = {"worker": process.number, "pid": process.pid}
    if isinstance(process, ReplicaState):
        shown |= {"worker": None, "replica": process.number, "model": process.model}
    if not answer.done():
        shown["error"] = f"has not answered within {ANSWER_S:g} s: native code may hold the GIL"
        return shown
    try:
        shown[name] = answer.result()
    except WorkerAnswerError as exc:
        shown["error"] = str(exc)
    return shown


def _foreign_pid(pid: object, state: ServerState) -> str:
    workers = [f"{each.pid} (worker {each.number})" for each in state.processes if each.pid]
    return (
        f"{pid} is not a process of this server. Its processes are {state.pid} (supervisor),"
        f" {', '.join(workers) or 'and no worker'}."
    )
