"""Change the levels of loggers of a running process, and restore them."""

from __future__ import annotations

import logging
import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
# The name by which users call the root logger, as in `LOG_LEVELS`.
ROOT = "root"
_OWN = "carboy.serving"


class LogLevels:
    """Remembers the levels that loggers had before `carboy ctl log-level` changed them."""

    def __init__(self) -> None:
        self._before: dict[str, int] = {}

    def apply(
        self,
        app_logger: str | None,
        *,
        level: str | None = None,
        logger: str | None = None,
        reset: bool = False,
    ) -> dict[str, str]:
        """Set the level of a logger, or of the loggers that `LOG_LEVEL` is about; return the levels
        that hold afterwards, by the name of the logger.

        Args:
            app_logger: the name of the app's logger; None if there is no app.
            level: the new level; None changes nothing.
            logger: the name of the logger. None means the root logger, the app's and the server's.
            reset: whether all loggers get back the levels that they had at first.
        """
        names = [logger] if logger is not None else _main_loggers(app_logger)
        if reset:
            self._restore()
        elif level is not None:
            for name in names:
                self._set(name, level)
        shown = dict.fromkeys([*names, *self._before])
        return {name: _describe(logging.getLogger(_name(name))) for name in shown}

    def _set(self, name: str, level: str) -> None:
        logger = logging.getLogger(_name(name))
        self._before.setdefault(name, logger.level)
        logger.setLevel(level)

    def _restore(self) -> None:
        for name, level in self._before.items():
            logging.getLogger(_name(name)).setLevel(level)
        self._before.clear()


def _main_loggers(app_logger: str | None) -> cabc.Sequence[str]:
    return [ROOT, *([app_logger] if app_logger else []), _OWN]


def _name(name: str) -> str | None:
    return None if name == ROOT else name


def _describe(logger: logging.Logger) -> str:
    effective = logging.getLevelName(logger.getEffectiveLevel())
    return effective if logger.level else f"{effective} (inherited)"
