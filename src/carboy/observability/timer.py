"""`with app.timer("model"):` measures how long a block takes, and logs it."""

from __future__ import annotations

import time
import typing as t

from ..globals import _cv
from .environkeys import FIELDS

if t.TYPE_CHECKING:
    import logging
    from types import TracebackType

    import typing_extensions as te


class Timer:
    """A context manager that measures how long its block takes. After the block, `seconds` and `ms`
    have the time that it took; inside of the block, the time since its beginning.
    """

    def __init__(self, name: str, logger: logging.Logger) -> None:
        self.name = name
        self._logger = logger
        self._started_s = self._ended_s = 0.0

    @property
    def seconds(self) -> float:
        return (self._ended_s or time.perf_counter()) - self._started_s

    @property
    def ms(self) -> float:
        return self.seconds * 1000

    def __enter__(self) -> te.Self:
        self._started_s, self._ended_s = time.perf_counter(), 0.0
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended_s = time.perf_counter()
        _add_to_request(self.name, self.ms)
        failed = f", then {kind.__name__}" if kind is not None else ""
        extra = {"timer": self.name, "ms": round(self.ms, 3)}
        # `stacklevel` lets the record name the line of the program that ends the block, and not
        # this one.
        self._logger.info(
            "%s took %.1f ms%s", self.name, self.ms, failed, extra=extra, stacklevel=2
        )


def _add_to_request(name: str, ms: float) -> None:
    """Add a time to the fields of the current request, which the access log writes. Times of the
    same name are added up.
    """
    active = _cv.get(None)
    request = active[1] if active else None
    if request is not None:
        environ = request._environ
        fields = environ[FIELDS] = environ.get(FIELDS) or {}
        timings = fields.setdefault("timings", {})
        timings[name] = round(timings.get(name, 0.0) + ms, 3)
