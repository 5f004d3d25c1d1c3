"""The health of a running server, for probes: asks the workers for the health of their models, and
answers by what they said last if they do not answer at once.
"""

from __future__ import annotations

import threading
import typing as t
from concurrent.futures import Future, wait
from functools import partial
from time import monotonic

from .probes import LIVE, READY, STARTED, Reason, Verdict, WorkerHealth, readiness, startup

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..process.serverstate import ServerState
    from .questions import Questions

# How long a probe waits for the workers. A worker whose threads are busy answers after a few
# switches of the GIL (5 ms each); a probe must be answered within 100 ms.
WAIT_S = 0.03
# The supervisor's loop does nothing that takes long. If it has not done for so many seconds what it
# was asked to do, it is blocked, and replaces no worker that dies.
LOOP_S = 10.0


class ServerHealth:
    """Answers the probes of a running server. Thread-safe; no method waits longer than `WAIT_S`.

    Args:
        state: returns the state of the server.
        questions: asks the workers.
        call: lets the supervisor's loop call a function soon.
        least_models: how many models the app must have to be ready.
        current: returns the version of each model that answers requests, if it has versions.
    """

    def __init__(
        self,
        state: cabc.Callable[[], ServerState],
        questions: Questions,
        call: cabc.Callable[[cabc.Callable[[], object]], object],
        least_models: int = 0,
        current: cabc.Callable[[], cabc.Mapping[str, str]] = dict,
    ) -> None:
        self._state = state
        self._questions = questions
        self._loop = LoopPulse(call)
        self._least_models = least_models
        self._current = current
        # Reentrant, because a question may have been answered before its callback is added.
        self._lock = threading.RLock()
        self._asked: dict[int, tuple[float, Future[t.Any]]] = {}
        self._last: dict[int, dict[str, str]] = {}
        self._has_started = False

    def probes(self) -> dict[str, cabc.Callable[[], Verdict]]:
        """Return the functions that answer the probes, by URL path."""
        return {LIVE: self._loop.check, READY: self.ready, STARTED: self.started}

    def ready(self) -> Verdict:
        state = self._state()
        return readiness(state, self.of_workers(state), self._least_models, self._current())

    def started(self) -> Verdict:
        """Return whether all workers have been ready at the same time, at any time so far."""
        if self._has_started:
            return Verdict()
        state = self._state()
        verdict = startup(state, self.of_workers(state), self._least_models)
        self._has_started = not verdict.reasons
        return verdict

    def of_workers(self, state: ServerState) -> dict[int, WorkerHealth]:
        """Return what is known of the models of each process that accepts connections, by its
        process id.
        """
        pids = state.pids
        self._questions.forget_all_but(pids)
        ready = [each.pid for each in state.processes if each.phase == "ready" and each.pid]
        wait([self.ask(pid) for pid in ready], WAIT_S)
        now_s = monotonic()
        with self._lock:
            for known in self._asked, self._last:
                for pid in known.keys() - pids:
                    del known[pid]
            return {pid: self._known(pid, now_s) for pid in ready}

    def ask(self, pid: int) -> Future[t.Any]:
        """Ask a worker process, unless it has not answered the last question yet."""
        with self._lock:
            _, question = self._asked.get(pid, (0.0, None))
            if question is None or question.done():
                question = self._questions.put(pid, "health")
                self._asked[pid] = monotonic(), question
                question.add_done_callback(partial(self._keep, pid))
            return question

    def _keep(self, pid: int, question: Future[t.Any]) -> None:
        if not question.exception():
            with self._lock:
                self._last[pid] = question.result()

    def _known(self, pid: int, now_s: float) -> WorkerHealth:
        asked_s, question = self._asked.get(pid, (now_s, None))
        silent = question is not None and not question.done()
        return WorkerHealth(self._last.get(pid), now_s - asked_s if silent else 0.0)


class LoopPulse:
    """Finds out whether the supervisor's loop runs: lets it call a function, and looks at the next
    probe whether it has.

    Args:
        call: lets the loop call a function soon.
    """

    def __init__(self, call: cabc.Callable[[cabc.Callable[[], object]], object]) -> None:
        self._call = call
        self._lock = threading.Lock()
        # When the loop was asked to call the function that it has not called yet.
        self._asked_s: float | None = None

    def check(self) -> Verdict:
        with self._lock:
            asked_s = self._asked_s
            if asked_s is None:
                self._asked_s = monotonic()
        if asked_s is None:
            self._call(self._beat)
            return Verdict()
        blocked_s = monotonic() - asked_s
        if blocked_s < LOOP_S:
            return Verdict()
        return Verdict([Reason(f"the supervisor's loop has been blocked for {blocked_s:.0f} s")])

    def _beat(self) -> None:
        with self._lock:
            self._asked_s = None
