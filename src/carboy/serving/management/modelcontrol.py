"""Loads and unloads models in all workers, in the supervisor, when a client of one worker asks for
it.
"""

from __future__ import annotations

import threading
import typing as t
from concurrent.futures import wait

from ...errors import ControlRequestError
from .questions import answered_apart

if t.TYPE_CHECKING:
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
        # Held while a model is loaded or unloaded in all workers.
        self._turn = threading.Lock()
        # Whether a model is unloaded, by its name, if that was ever asked for.
        self._unloaded: dict[str, bool] = {}

    def topics(self) -> dict[str, Answering]:
        """Return what a worker may ask for, by topic. Each function returns when all workers have
        done it.
        """
        return {LOAD: answered_apart(self._load), UNLOAD: answered_apart(self._unload)}

    def unloaded(self) -> list[str]:
        """Return the models that a worker process must not load when it starts."""
        return [name for name, is_unloaded in list(self._unloaded.items()) if is_unloaded]

    def prepare(self, pid: int) -> None:
        """Let a worker process that has just become ready load or unload what the others have
        loaded or unloaded since it was started.
        """
        for name, is_unloaded in list(self._unloaded.items()):
            self._questions.put(pid, UNLOAD if is_unloaded else LOAD, name=name)

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
        # Note it first, so that it reaches a worker process that becomes ready meanwhile.
        self._unloaded[name] = unloaded
        ask_in_turn(self._server, self._questions, UNLOAD if unloaded else LOAD, name=name)


def ask_in_turn(server: Managed, questions: Questions, topic: str, **arguments: t.Any) -> None:
    """Let each worker that is ready do something that takes long, one after the other.

    Raises:
        ControlRequestError: a worker could not do it. The others are not asked any more.
    """
    for each in server.state().processes:
        if each.phase != "ready":
            continue
        question = questions.put(t.cast("int", each.pid), topic, **arguments)
        while wait([question], TURN_S).not_done:
            questions.forget_all_but(_pids(server))
        failure = question.exception()
        # A process that has ended is replaced by another one, which learns of it when it starts.
        if failure is not None and each.pid in _pids(server):
            raise ControlRequestError(f"worker {each.number} (pid {each.pid}): {failure}")


def _pids(server: Managed) -> set[int | None]:
    return {process.pid for process in server.state().processes}
