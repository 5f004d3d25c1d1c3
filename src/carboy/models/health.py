"""Whether models can be asked: for probes, which want an answer at once, whatever the models do.

A model is well when it is loaded, does not hang, and its own `check` found nothing. `check` runs on
a thread of its own, beside `predict`, at most every few seconds; a probe gets what it said last. A
check that does not come back is a bad sign, too.
"""

from __future__ import annotations

import logging
import threading
import typing as t
from time import monotonic

if t.TYPE_CHECKING:
    from collections import abc as cabc

# Kubernetes probes every 10 s where nothing else is said (periodSeconds).
CHECK_EVERY_S = 5.0
# A check looks at a file, a device, a connection; what takes longer does not work.
CHECK_LIMIT_S = 10.0

_logger = logging.getLogger("carboy.models")


class Health(t.NamedTuple):
    """Of all models of an app; `reasons` says by name why one is not ready."""

    ready: bool
    reasons: dict[str, str]


class Checkup:
    """The own check of one model, asked again when a probe comes and the last is old."""

    def __init__(self, check: cabc.Callable[[], object], *, owner: str) -> None:
        self._check = check
        self._owner = owner
        self._lock = threading.Lock()
        self._begun_s: float | None = None  # of the one that runs
        self._ended_s: float | None = None  # of the last
        self._failure = ""

    def reason(self) -> str:
        """Why the model is not well; empty if it is. Never waits."""
        now_s = monotonic()
        with self._lock:
            if self._begun_s is not None:
                if now_s - self._begun_s >= CHECK_LIMIT_S:
                    return f"its check has not come back for {CHECK_LIMIT_S:g} s"
            elif self._ended_s is None or now_s - self._ended_s >= CHECK_EVERY_S:
                self._begun_s = now_s
                threading.Thread(target=self._run, name=f"{self._owner} check", daemon=True).start()
            return "its check has not come back yet" if self._ended_s is None else self._failure

    def _run(self) -> None:
        failure = ""
        try:
            self._check()
        except Exception as exc:
            failure = f"its check failed: {type(exc).__name__}: {exc}"
            if failure != self._failure:  # not again at each probe
                _logger.exception("%s: the check failed", self._owner)
        with self._lock:
            self._failure = failure
            self._begun_s, self._ended_s = None, monotonic()

    def forget(self) -> None:
        """The model was unloaded; what its check said is of no use to the next."""
        with self._lock:
            self._ended_s, self._failure = None, ""
