"""Loads and unloads models in all workers, in the supervisor, when a client of one worker asks for
it. `modelrollout` changes their versions.
"""

from __future__ import annotations

import threading
import typing as t
from concurrent.futures import wait
from functools import partial

from ...errors import ControlRequestError
from .modelrollout import ModelRollout
from .questions import answered_apart

if t.TYPE_CHECKING:
    from ..process.serverstate import ProcessState
    from .controlrequests import Managed
    from .questions import Answering, Questions

LOAD, UNLOAD = "load-model", "unload-model"
# The interval at which a request that waits for a worker looks whether the worker still exists.
TURN_S = 0.1


class ModelControl:
    """Loads and unloads models in all workers, and knows which of them are unloaded, for workers
    that are started later.

    Args:
        server: the supervisor.
        questions: asks the workers.
    """

    def __init__(self, server: Managed, questions: Questions) -> None:
        self._server = server
        self._questions = questions
        self.rollout = ModelRollout(server.state, self._ask)
        # Held while a model is loaded or unloaded in all workers.
        self._turn = threading.Lock()
        # Whether a model is unloaded, by its name, if that was ever asked for.
        self._unloaded: dict[str, bool] = {}

    def topics(self) -> dict[str, Answering]:
        """Return what a worker may ask for, by topic. Each function returns when all workers have
        done it.
        """
        own = {LOAD: answered_apart(self._load), UNLOAD: answered_apart(self._unload)}
        return {**own, **self.rollout.topics()}

    def unloaded(self) -> list[str]:
        """Return the models that a worker process must not load when it starts."""
        return [name for name, is_unloaded in list(self._unloaded.items()) if is_unloaded]

    def prepare(self, pid: int) -> None:
        """Let a worker process that has just become ready load or unload what the others have
        loaded or unloaded since it was started.
        """
        for name, is_unloaded in list(self._unloaded.items()):
            self._questions.put(pid, UNLOAD if is_unloaded else LOAD, name=name)
        self.rollout.prepare(partial(self._questions.put, pid))

    def _load(self, arguments: dict[str, t.Any]) -> None:
        """Load a model. If a worker cannot load it, it is unloaded again in those that could."""
        name = arguments["name"]
        with self._turn:
            was_unloaded = self._unloaded.get(name, False)
            try:
                self._set(name, unloaded=False)
            except ControlRequestError:
                if was_unloaded:
                    self._set(name, unloaded=True)
                raise

    def _unload(self, arguments: dict[str, t.Any]) -> None:
        with self._turn:
            self._set(arguments["name"], unloaded=True)

    def _set(self, name: str, *, unloaded: bool) -> None:
        # Record the state before asking the ready processes: one that becomes ready meanwhile gets
        # it from `prepare`.
        self._unloaded[name] = unloaded
        for process in self._ready():
            self._ask(process, UNLOAD if unloaded else LOAD, name=name)

    def _ready(self) -> list[ProcessState]:
        return [each for each in self._server.state().processes if each.phase == "ready"]

    def _ask(self, process: ProcessState, topic: str, **arguments: t.Any) -> t.Any:
        """Let a worker do something that takes long, and return its answer. None if its process has
        ended: the one that replaces it learns of it when it starts.

        Raises:
            ControlRequestError: the worker could not do it.
        """
        question = self._questions.put(t.cast("int", process.pid), topic, **arguments)
        while wait([question], TURN_S).not_done:
            self._questions.forget_all_but(self._pids())
        failure = question.exception()
        if failure is None:
            return question.result()
        if process.pid in self._pids():
            raise ControlRequestError(f"worker {process.number} (pid {process.pid}): {failure}")
        return None

    def _pids(self) -> set[int]:
        return self._server.state().pids
