"""Changes the version of a model in all workers, in the supervisor: one worker after the other, so
that at most one of them has two versions in memory.

    a worker's source has changed --.
    carboy models push | rollback --+--> refresh --> worker 1 --> worker 2 --> ... --> all serve it
                                                          `--> cannot: those before change back
"""

from __future__ import annotations

import threading
import typing as t

from ...errors import ControlRequestError
from ..log import logger
from .questions import answered_apart

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ...models.versions.versionset import RefusedVersion
    from ..process.serverstate import ProcessState
    from .questions import Answering

    #: Asks one worker, and waits for its answer; None if its process has ended.
    AskWorker = cabc.Callable[..., t.Any]

REFRESH, SWITCH, REFUSE = "refresh-model", "switch-model", "refuse-version"
# How many refused versions a worker learns of: the latest, so that its command line stays short.
_MOST_REFUSED = 50
_REASON_FOLLOWS = "another worker could not serve it"


class Refreshed(t.TypedDict):
    """A worker's answer when it was asked to look at the source of a model.

    Attributes:
        before: the version that it served before.
        now: the version that it serves now.
        refused: the version that the source says should be served, if this worker could not.
    """

    before: str
    now: str
    refused: RefusedVersion | None


class ModelRollout:
    """Changes versions in all workers, and knows which ones are served, for workers that are
    started later.

    Args:
        ready: returns the workers that serve.
        ask: asks one of them.
    """

    def __init__(self, ready: cabc.Callable[[], list[ProcessState]], ask: AskWorker) -> None:
        self._ready = ready
        self._ask = ask
        # Held while the workers change versions.
        self._turn = threading.Lock()
        # For each model, the version that the workers serve, and those that one of them could not.
        self._serving: dict[str, str] = {}
        self._refused: dict[str, dict[str, RefusedVersion]] = {}

    def topics(self) -> dict[str, Answering]:
        """Return what a worker may ask for, by topic."""
        return {REFRESH: answered_apart(lambda arguments: self.refresh(**arguments))}

    def note_loaded(self, versions: cabc.Mapping[str, str]) -> None:
        """Note which versions a worker serves that has loaded the app, by the models' names. The
        first worker decides for the others.
        """
        for name, version in versions.items():
            self._serving.setdefault(name, version)

    def current(self) -> dict[str, str]:
        """Return the version of each model that the workers serve."""
        return dict(self._serving)

    def known(self) -> dict[str, dict[str, t.Any]]:
        """Return what a worker process must know of versions when it starts, by the models'
        names. It is a part of the command line, which other users can read, so the reasons why
        versions were refused follow by `prepare`.
        """
        return {
            name: {
                "serving": version,
                "refused": [{**each, "reason": _REASON_FOLLOWS} for each in self._refused_of(name)],
            }
            for name, version in list(self._serving.items())
        }

    def _refused_of(self, name: str) -> list[RefusedVersion]:
        return list(self._refused.get(name, {}).values())[-_MOST_REFUSED:]

    def refresh(self, name: str, *, retry: bool = False) -> None:
        """Let all workers serve the version of a model that its source says.

        Args:
            retry: try a version again that a worker could not serve before.

        Raises:
            ControlRequestError: a worker could not. All serve the version that they served before.
        """
        with self._turn:
            changed: dict[int, str] = {}
            asked: set[int] = set()
            # A worker that becomes ready meanwhile may have begun with the version before.
            while left := [each for each in self._ready() if each.pid not in asked]:
                process, pid = left[0], t.cast("int", left[0].pid)
                asked.add(pid)
                try:
                    refreshed = self._refresh_one(process, name, retry=retry)
                except ControlRequestError:
                    self._change_back(name, changed)
                    raise
                if refreshed is None:  # the process has ended
                    continue
                if refreshed["now"] != refreshed["before"]:
                    changed[pid] = refreshed["before"]
                self._serving[name] = refreshed["now"]
                self._refused.get(name, {}).pop(refreshed["now"], None)
            if changed:
                logger.info("model %r: all workers serve %r", name, self._serving[name])

    def _refresh_one(self, process: ProcessState, name: str, *, retry: bool) -> Refreshed | None:
        refreshed = t.cast("Refreshed | None", self._ask(process, REFRESH, name=name, retry=retry))
        refused = refreshed and refreshed["refused"]
        if not refused:
            return refreshed
        self._refused.setdefault(name, {})[refused["version"]] = refused
        raise ControlRequestError(
            f"worker {process.number} (pid {process.pid}) does not serve version"
            f" {refused['version']!r} of model {name!r}, so no worker does. {refused['reason']}"
        )

    def _change_back(self, name: str, changed: dict[int, str]) -> None:
        """Let all workers serve the version that they served before, and not try another one that
        is refused.
        """
        for process in self._ready():
            try:
                if before := changed.get(t.cast("int", process.pid)):
                    self._serving[name] = before
                    self._ask(process, SWITCH, name=name, version=before)
                for refused in self._refused_of(name):
                    self._ask(process, REFUSE, name=name, refused=refused)
            except ControlRequestError as exc:
                logger.error("%s", exc)

    def prepare(self, put: cabc.Callable[..., object]) -> None:
        """Let a worker process that has just become ready serve what the others have changed to
        since it was started.

        Args:
            put: asks the worker, without waiting for its answer.
        """
        for name, version in list(self._serving.items()):
            for refused in self._refused_of(name):
                put(REFUSE, name=name, refused=refused)
            put(SWITCH, name=name, version=version)
