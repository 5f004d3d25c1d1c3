"""Changes the version of a model in all workers, in the supervisor: one worker after the other, so
that at most one of them has two versions in memory.

    a worker's source has changed --.
    carboy models push | rollback --+--> refresh --> worker 1 --> worker 2 --> ... --> all serve it
                                                          `--> cannot: those before change back

A process may also die while it loads a version. Its replacement tries once more; if that dies as
well, the version is refused as one that cannot be loaded. A process that has only loaded versions
until then, as at the start of the server, has died of the version, so it is not tried again.
"""

from __future__ import annotations

import collections
import threading
import time
import typing as t

from ...errors import ControlRequestError
from ..log import logger
from .questions import answered_apart

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ...models.versions.versionset import RefusedVersion
    from ..process.serverstate import ProcessState, ServerState
    from ..process.workerprocess import WorkerProcess
    from .questions import Answering

    #: Asks one worker, and waits for its answer; None if its process has ended.
    AskWorker = cabc.Callable[..., t.Any]

REFRESH, SWITCH, REFUSE = "refresh-model", "switch-model", "refuse-version"
# How many refused versions a worker learns of: the latest, so that its command line stays short.
_MOST_REFUSED = 50
_REASON_FOLLOWS = "another worker could not serve it"
# How many processes may die while they load a version before it is refused.
_MOST_DEATHS = 2
# The states of a canary and a shadow that are loaded.
_TRIED = ("canary", "shadow")
# The interval at which a change that waits for the replacement of a worker looks for it.
_TURN_S = 0.1


class Tried(t.TypedDict):
    """What a worker does with a canary or shadow: its state, and why it could not be loaded."""

    state: str
    reason: str


class Refreshed(t.TypedDict):
    """A worker's answer when it was asked to look at the source of a model.

    Attributes:
        before: the version that it served before.
        now: the version that it serves now.
        refused: the version that the source says should be served, if this worker could not.
        trials: the canaries and shadows that its source has, by name.
        unloaded: whether a client has unloaded the model, so that it serves none.
    """

    before: str
    now: str
    refused: RefusedVersion | None
    trials: dict[str, Tried]
    unloaded: bool


class ModelRollout:
    """Changes versions in all workers, and knows which ones are served, for workers that are
    started later.

    Args:
        state: returns the state of the server.
        ask: asks a worker.
    """

    def __init__(self, state: cabc.Callable[[], ServerState], ask: AskWorker) -> None:
        self._state = state
        self._ask = ask
        # Held while the workers change versions.
        self._turn = threading.Lock()
        # For each model, the version that the workers serve, and those that one of them could not.
        self._serving: dict[str, str] = {}
        self._refused: dict[str, dict[str, RefusedVersion]] = {}
        # The newest code that a worker was started with: it may serve what other code could not.
        self._generation = 0
        # The model whose version is being changed, with the version that it had before.
        self._changing: dict[str, str] = {}
        # How many processes have died while they loaded a version, by model, version and
        # fingerprint; and by model why the last change has ended for that reason.
        self._deaths: collections.Counter[tuple[str, str, str]] = collections.Counter()
        self._killed: dict[str, str] = {}

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

    def known(self, generation: int) -> dict[str, dict[str, t.Any]]:
        """Return what a worker process must know of versions when it starts, by the models'
        names. It is a part of the command line, which other users can read, so the reasons why
        versions were refused follow by `prepare`.

        Args:
            generation: how many reloads had been asked for when the process is started. The first
                process with new code tries the versions again that were refused.
        """
        if generation > self._generation:
            self._generation = generation
            self._refused.clear()
        return {
            name: {
                "serving": version,
                "refused": [{**each, "reason": _REASON_FOLLOWS} for each in self._refused_of(name)],
            }
            for name, version in self._known_versions()
        }

    def _known_versions(self) -> list[tuple[str, str]]:
        """Return the models with the version that the workers serve; "" before one serves any."""
        return list({**dict.fromkeys(list(self._refused), ""), **self._serving}.items())

    def _refused_of(self, name: str) -> list[RefusedVersion]:
        return list(self._refused.get(name, {}).values())[-_MOST_REFUSED:]

    def refresh(self, name: str, *, retry: bool = False) -> list[Refreshed]:
        """Let all workers serve the version of a model that its source says.

        Args:
            retry: try a version again that a worker could not serve before.

        Returns:
            The answers of the workers; none if no worker is ready.

        Raises:
            ControlRequestError: a worker could not. All serve the version that they served before.
        """
        with self._turn:
            changed: dict[int, str] = {}
            self._killed.pop(name, None)
            self._changing = {name: self._serving.get(name, "")}
            try:
                answers = self._refresh_each(name, changed, retry=retry)
            except ControlRequestError:
                self._change_back(name, changed)
                raise
            finally:
                self._changing = {}
            if changed:
                logger.info("model %r: all workers serve %r", name, self._serving[name])
            return answers

    def _refresh_each(self, name: str, changed: dict[int, str], *, retry: bool) -> list[Refreshed]:
        """Let one worker after the other look at the source, and note in `changed` which version
        each of them served before, by its process id.
        """
        answers = []
        asked: set[int | None] = set()
        # A worker that becomes ready meanwhile may have begun with the version before.
        while left := [each for each in self._ready() if each.pid not in asked]:
            process, pid = left[0], t.cast("int", left[0].pid)
            asked.add(pid)
            refreshed = self._refresh_one(process, name, retry=retry)
            if refreshed is None:  # the process has ended
                self._await_replacement(process, name)
                continue
            if refreshed["refused"] and self._has_old_code(process):
                continue  # it is replaced by one that begins with what the others serve
            if refreshed["now"] != refreshed["before"]:
                changed[pid] = refreshed["before"]
            self._serving[name] = refreshed["now"]
            loaded = [
                each for each, tried in refreshed["trials"].items() if tried["state"] in _TRIED
            ]
            for version in (refreshed["now"], *loaded):
                self._refused.get(name, {}).pop(version, None)
            answers.append(refreshed)
        self._forget_deaths(name)
        return answers

    def _forget_deaths(self, name: str) -> None:
        """After all workers have answered, deaths from now on have another reason."""
        for key in [key for key in list(self._deaths) if key[0] == name]:
            del self._deaths[key]

    def _ready(self) -> list[ProcessState]:
        return [each for each in self._state().processes if each.phase == "ready"]

    def _has_old_code(self, process: ProcessState) -> bool:
        """Return whether a worker is about to be replaced by one with newer code, which serves
        already. After a reload that has failed, workers of both codes stay.
        """
        state = self._state()
        return state.reloading and any(
            each.phase == "ready" and each.generation > process.generation
            for each in state.processes
        )

    def _is_outdated(self, generation: int) -> bool:
        """Return whether a process of this generation says nothing about versions any more, because
        a process with newer code has been started in its place, which may load what older code
        could not.
        """
        return generation < self._generation and self._state().reloading

    def _await_replacement(self, ended: ProcessState, name: str) -> None:
        """Wait until another process serves in place of one that has ended, so that the next one
        to be asked does not die of a version while this one is missing. If processes of this
        worker die all the time, do not wait any longer.

        Raises:
            ControlRequestError: a version of this model is refused, because processes have died
                while they loaded it.
        """
        while not (state := self._state()).stopping:
            there = [each for each in state.processes if each.number == ended.number]
            if any(each.phase == "ready" and each.pid != ended.pid for each in there):
                break
            if any(each.restarts > ended.restarts + _MOST_DEATHS for each in there):
                break
            time.sleep(_TURN_S)
        if reason := self._killed.get(name):
            raise ControlRequestError(reason)

    def note_death(self, process: WorkerProcess, how: str) -> bool:
        """Note that a process has died that was not asked to stop: refuse the version that it was
        loading, if it has died of that. The thread of the supervisor's loop calls this.

        Args:
            how: how the process has ended, such as "was killed by SIGKILL".

        Returns:
            Whether a version is refused now that was not before: without it, the app may load.
        """
        refused = [
            self._note_death(process, name, loading["version"], loading["fingerprint"], how)
            for name, loading in process.loading_versions.items()
        ]
        return any(refused)

    def _note_death(
        self, process: WorkerProcess, name: str, version: str, fingerprint: str, how: str
    ) -> bool:
        if version == self._changing.get(name, self._serving.get(name)):
            return False  # all other workers have loaded it
        if self._is_outdated(process.generation):
            return False
        of_model = self._refused.setdefault(name, {})
        known = of_model.get(version)
        is_known = known is not None and known["fingerprint"] == fingerprint
        loaded = name, version, fingerprint
        self._deaths[loaded] += 1
        if process.was_ready and not is_known and self._deaths[loaded] < _MOST_DEATHS:
            return False  # it may have died of something else
        del self._deaths[loaded]
        reason = f"A worker process {how} while it loaded the version."
        refused: RefusedVersion = {
            "version": version,
            "fingerprint": fingerprint,
            "reason": reason,
        }
        of_model[version] = refused
        self._killed[name] = message = (
            f"{process} {how} while it loaded version {version!r} of model {name!r}, so no worker"
            " serves that version. It is tried again when its files change, or when somebody asks"
            f" for it: carboy models switch {name} {version}"
        )
        logger.error("%s", message)
        return not is_known

    def _refresh_one(self, process: ProcessState, name: str, *, retry: bool) -> Refreshed | None:
        refreshed = t.cast("Refreshed | None", self._ask(process, REFRESH, name=name, retry=retry))
        refused = refreshed and refreshed["refused"]
        if not refused or self._has_old_code(process):
            return refreshed
        if not self._is_outdated(process.generation):
            of_model = self._refused.setdefault(name, {})
            known, of_model[refused["version"]] = of_model.get(refused["version"]), refused
            # All workers know it already, and this one may have loaded another canary or shadow.
            if known and known["fingerprint"] == refused["fingerprint"] and not retry:
                return refreshed
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
        for name, version in self._known_versions():
            for refused in self._refused_of(name):
                put(REFUSE, name=name, refused=refused)
            if version:
                put(SWITCH, name=name, version=version)
