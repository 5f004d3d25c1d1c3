"""Whether a model is ready, for probes: `Checkup` runs the `check` method of the model."""

from __future__ import annotations

import threading
import typing as t
from time import monotonic

from carboy.core.logmasking import get_masked_logger

if t.TYPE_CHECKING:
    from collections import abc as cabc

# If the last check ended at least this long ago, a readiness probe starts the next one. Kubernetes
# probes every 10 s by default (periodSeconds), so each of its probes starts a check.
# A supervisor lets its replicas check their model as often.
CHECK_EVERY_S = 5.0
# If a model's `check` method takes longer than this, the check has failed: the method should only
# look at a file, a device or a connection.
CHECK_LIMIT_S = 10.0

_logger = get_masked_logger("carboy.models")


class Health(t.NamedTuple):
    """Whether all models of an app are ready, and the reason for each model that is not."""

    ready: bool
    reasons: dict[str, str]


class Checkup:
    """Runs the `check` method of one model at most every few seconds, on a thread of its own, when
    a readiness probe asks for the result.

    The probe must not wait, so it gets the result of the last run. A check that does not return
    within `CHECK_LIMIT_S` has failed.
    """

    def __init__(self, check: cabc.Callable[[], object], *, owner: str) -> None:
        self._check = check
        self._owner = owner
        self._lock = threading.Lock()
        # When the check that is running now began; None while no check runs.
        self._begun_s: float | None = None
        # The time at which the latest check ended; None before that.
        self._ended_s: float | None = None
        self._failure = ""

    def reason(self) -> str:
        """Return why the model is not ready, or an empty string if it is ready. Never blocks."""
        now_s = monotonic()
        with self._lock:
            if self._begun_s is not None:
                if now_s - self._begun_s >= CHECK_LIMIT_S:
                    return f"its check has not returned for {CHECK_LIMIT_S:g} s"
            elif self._ended_s is None or now_s - self._ended_s >= CHECK_EVERY_S:
                self._begun_s = now_s
                threading.Thread(target=self._run, name=f"{self._owner} check", daemon=True).start()
            return "its check has not returned yet" if self._ended_s is None else self._failure

    def _run(self) -> None:
        failure = ""
        try:
            self._check()
        except Exception as exc:
            failure = f"its check failed: {type(exc).__name__}: {exc}"
            if failure != self._failure:  # if a check fails repeatedly, log it once
                _logger.exception("%s: the check failed", self._owner)
        with self._lock:
            self._failure = failure
            self._begun_s, self._ended_s = None, monotonic()

    def passed(self) -> None:
        """Note that the model was just checked, by somebody else, and is ready."""
        with self._lock:
            self._ended_s, self._failure = monotonic(), ""

    def forget(self) -> None:
        """Discard the result of the last health check, because the model has been unloaded."""
        with self._lock:
            self._ended_s, self._failure = None, ""
