"""The only worker of `carboy models serve`: keeps the replicas of the app's models loaded, and
answers no request itself.
"""

from __future__ import annotations

import contextlib
import typing as t
from _thread import allocate_lock
from functools import partial

from ...errors import ConfigError
from ..mainthread import wait_on_main_thread
from ..management.workertopics import models_of, versions_of

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from _typeshed.wsgi import WSGIApplication

    from ...models.model import Model
    from .capacity import LoadedApp


class ModelKeeper:
    """Wants the replicas of all models of an app until it is stopped. It has the methods of
    `Service` that `Control` calls.
    """

    def __init__(self, app: WSGIApplication) -> None:
        models: cabc.Mapping[str, Model] = models_of(app) or {}
        self._models = [model for model in models.values() if model.options.replicas]
        # Held until `stop` is called. A lock, and not an event, because the handler of a signal may
        # call `stop` on the thread that waits.
        self._goes_on = allocate_lock()
        self._goes_on.acquire()
        if not self._models:
            raise ConfigError(
                f"The app has no models with replicas (models: {', '.join(models) or 'none'}), and"
                " `carboy models serve` serves these alone. Declare them by"
                " @app.model(..., replicas=1) or more."
            )

    def about(self) -> list[str]:
        return []

    def load(self) -> None:
        for model in self._models:
            model.load()

    def loaded(self) -> LoadedApp:
        return {
            "models": {},
            "replicated": [model.name for model in self._models],
            "versions": versions_of(self._models),
            "libraries": [],
        }

    def limit(self, leave: cabc.Callable[[str], object]) -> None:
        """Do nothing: this process computes nothing, so it has no limits."""

    def listen(self) -> None:
        """Do nothing: clients connect to the replicas, which listen themselves."""

    def call(self, work: cabc.Callable[[], object]) -> None:
        work()

    def stop(self, *, has_successor: bool = False) -> None:
        with contextlib.suppress(RuntimeError):  # it was released already
            self._goes_on.release()

    def wait(self) -> bool:
        wait_on_main_thread(partial(self._goes_on.acquire, True))
        for model in self._models:
            model.close(0)
        return True
