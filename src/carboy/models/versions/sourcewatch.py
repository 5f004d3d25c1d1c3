"""A thread that looks at the source of a model now and then, to notice new versions."""

from __future__ import annotations

import threading
import typing as t

from carboy.core.logmasking import get_masked_logger

if t.TYPE_CHECKING:
    from .versionset import VersionSet

# If the versions cannot be changed, although no version has failed, the time until the next try is
# doubled each time, up to this number of looks: each try may load a model in several processes.
_MOST_LOOKS = 32

_logger = get_masked_logger("carboy.models")


class SourceWatch:
    """Watches the source of one model from `start` to `stop`.

    Args:
        every_s: the time between two looks, in seconds.
    """

    def __init__(self, versions: VersionSet, every_s: float) -> None:
        self._versions = versions
        self._every_s = every_s
        self._stopped = threading.Event()
        self._problem = ""

    def start(self) -> None:
        threading.Thread(target=self._run, name="model versions", daemon=True).start()

    def stop(self) -> None:
        """Do not look again. A version that is being loaded is loaded, though."""
        self._stopped.set()

    def _run(self) -> None:
        looks = 1
        while not self._stopped.wait(self._every_s * looks):
            try:
                looks = 1 if self._look() else min(2 * looks, _MOST_LOOKS)
            except Exception as exc:  # noqa: BLE001  # the thread must look again
                self._log_once(str(exc))

    def _look(self) -> bool:
        """Change versions if the source has changed. Returns False if that failed."""
        if not self._versions.is_outdated():
            self._problem = ""
            return True
        try:
            self._versions.request_refresh()
        except Exception as exc:  # noqa: BLE001  # the thread must look again
            self._log_once(str(exc))
            return False
        return True

    def _log_once(self, problem: str) -> None:
        """Log why the version has not changed; once, although each look may find the same."""
        if problem != self._problem:
            _logger.error("%s", problem)
        self._problem = problem
