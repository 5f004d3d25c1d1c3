"""What an app does once in each process, at its first request, under any server."""

from __future__ import annotations

import typing as t

from ..logging import configure_by_keys
from .foreignservers import warning_of_fork
from .subinterpreters import warn_of_libraries

if t.TYPE_CHECKING:
    from ..sansio.app import App


def prepare_first_request(app: App) -> None:
    configure_by_keys(app)
    warn_of_libraries(app)
    if warning := warning_of_fork():
        app.logger.warning("%s", warning)
