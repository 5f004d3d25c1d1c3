"""A worker's limits on requests, memory and the time of views: `--max-requests`, `--max-rss` and
`--view-timeout`.

A thread of the worker compares them with what the worker has used. It tells the supervisor when the
worker must be replaced. Until the successor is ready, the worker goes on.
"""

from __future__ import annotations

import random
import threading
import typing as t

from ...core.bytesizes import format_size
from ...core.processmemory import in_mib, resident_bytes
from ...errors import ConfigError
from .. import log
from ..threads.stacks import format_stacks

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..settings import Settings
    from ..wsgi.viewwatch import RunningView, ViewWatch

# The longest time between two checks, in seconds.
CHECK_S = 1.0
# A view is found after at most this part of `--view-timeout` more than the timeout.
VIEW_PART = 4
# The part of a limit by which it is lowered at most, by chance.
JITTER = 0.1


def lower_by_chance(most: float, least: float = 0.0) -> float:
    """Return a limit between `most` and, at the least, a tenth of the way from it to `least`.

    Workers that were started together would otherwise reach their limits together.
    """
    return most - (most - least) * JITTER * random.random()  # noqa: S311  # no secret


class WorkerLimits:
    """Checks the limits of this process regularly, on a thread of its own.

    Args:
        settings: the limits.
        count_requests: returns how many requests this process has answered.
        watch: knows how long views have been running; None without a limit.
        leave: is called once, with the reason, when a limit is reached.

    Raises:
        ConfigError: the process already uses more memory than it may.
    """

    def __init__(
        self,
        settings: Settings,
        count_requests: cabc.Callable[[], int],
        watch: ViewWatch | None,
        leave: cabc.Callable[[str], object],
    ) -> None:
        self._settings = settings
        self._count_requests = count_requests
        self._watch = watch
        self._leave = leave
        self._is_leaving = False
        self._logged: set[RunningView] = set()
        self._most_requests, self._most_bytes = settings.max_requests, settings.max_rss_bytes
        if self._most_requests is not None:
            self._most_requests = round(lower_by_chance(self._most_requests))
        if self._most_bytes is not None:
            loaded_bytes = resident_bytes() or 0
            _refuse_small(self._most_bytes, loaded_bytes)
            self._most_bytes = round(lower_by_chance(self._most_bytes, loaded_bytes))

    def start(self) -> None:
        """Start the thread, if there is any limit."""
        if self._most_requests or self._most_bytes or self._watch:
            threading.Thread(target=self._run, name="carboy-limits", daemon=True).start()

    def _run(self) -> None:
        pause = threading.Event()
        pause_s = CHECK_S
        if self._watch is not None:
            pause_s = min(CHECK_S, self._settings.view_timeout_s / VIEW_PART)
        while not pause.wait(pause_s):
            self.check()

    def check(self) -> None:
        """Check all limits once."""
        self._check_requests()
        self._check_memory()
        if self._watch is not None:
            self._check_views(self._watch.overdue(self._settings.view_timeout_s))

    def _check_requests(self) -> None:
        most = self._most_requests
        if most is not None and (count := self._count_requests()) >= most:
            self._ask_to_leave(f"it has answered {count} requests (--max-requests)")

    def _check_memory(self) -> None:
        if self._most_bytes is not None and (used := resident_bytes() or 0) >= self._most_bytes:
            limit = format_size(self._settings.max_rss_bytes)
            self._ask_to_leave(f"it uses {in_mib(used)} of resident memory (--max-rss is {limit})")

    def _check_views(self, overdue: list[RunningView]) -> None:
        limit_s, threads = self._settings.view_timeout_s, self._settings.threads
        if len(overdue) >= threads:
            if not self._is_leaving:
                log.logger.error(
                    "all %d threads hang: each runs a view that has taken more than %g s"
                    " (--view-timeout), the longest %s. The stacks of all threads:\n%s",
                    *(threads, limit_s, overdue[0].request, format_stacks()),
                )
                self._ask_to_leave(f"its {threads} threads all hang (--view-timeout)")
        else:
            for view in set(overdue) - self._logged:
                log.logger.warning(
                    "%s has taken more than %g s (--view-timeout):\n%s",
                    *(view.request, limit_s, format_stacks({view.thread})),
                )
        self._logged = set(overdue)

    def _ask_to_leave(self, reason: str) -> None:
        if not self._is_leaving:
            self._is_leaving = True
            self._leave(reason)


def _refuse_small(limit_bytes: int, loaded_bytes: int) -> None:
    if loaded_bytes >= limit_bytes:
        raise ConfigError(
            f"Setting 'max_rss': a worker uses {in_mib(loaded_bytes)} of resident memory"
            f" when it has loaded the app, which is not below the limit of"
            f" {format_size(limit_bytes)}: it would be replaced for ever. Raise --max-rss, or leave"
            " it out."
        )
