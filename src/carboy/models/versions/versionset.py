"""The versions of one model in this process: which of them are loaded, and how one takes the place
of another.

    refresh --> look at the source --> load the new version beside the old one, warm up, check
                                           | it works         `--> it fails: the old one stays
                                           v
                                   Model.current = new
                                           |
                                           `--> old: compute the waiting predictions, unload
"""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
import typing as t

from carboy.core.forks import change_in_child
from carboy.core.logmasking import get_masked_logger
from carboy.errors import (
    ModelFileError,
    ModelLoadError,
    NoRoomError,
    UnavailableError,
    UnreachableSourceError,
)

from ..queue.occupied import computes_for
from ..sources import without_source
from .canaries import CanaryRouter
from .shadow import ShadowComparison
from .sourcewatch import SourceWatch
from .versionstate import VersionState

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from ..model import Model
    from ..options import Trial
    from ..protocol import PredictionRequest
    from ..queue.state import Slot
    from ..sources import VersionSource
    from ..sources.versionlist import SourceVersion, VersionList
    from .modelversion import ModelVersion

# How long a version that was replaced may compute the predictions that it has accepted, unless
# their deadline is later. Streams and predictions of Python code may take long.
DRAIN_S = 60.0
# How long after a failure that is not due to a version's files the version is tried again.
RETRY_S = 30.0

_logger = get_masked_logger("carboy.models")


class RefusedVersion(t.TypedDict):
    """A version that could not be served, for other processes that serve the same model."""

    version: str
    fingerprint: str
    reason: str


class Loading(t.TypedDict):
    """A version that a process begins to load."""

    version: str
    fingerprint: str


class VersionObserver(t.Protocol):
    """Learns which versions of a model there are. The metrics use it to count by version."""

    def added(self, model: Model, version: ModelVersion) -> None:
        """A version is loaded, and will get predictions."""


class VersionSet:
    """The versions of one model. Thread-safe.

    Args:
        model: the model, whose attribute `current` this object sets.
        source: where the versions are stored; None if the model has no `source`.
    """

    def __init__(self, model: Model, source: VersionSource | None) -> None:
        self.source = source
        #: Called when the source has changed. A worker of `carboy serve` asks the supervisor
        #: instead, which lets all workers change versions one after the other.
        self.request_refresh: cabc.Callable[[], object] = self.refresh
        self.observers: list[VersionObserver] = []
        #: Whether `unload` was called, and not `load` since. No version is loaded meanwhile.
        self.unloaded = False
        # Called before a version is loaded, and with None when that has ended.
        self._report_loading: cabc.Callable[[Loading | None], object] = lambda _: None
        # The version that other processes serve. This one begins with the same.
        self._served_elsewhere = ""
        options = model.options
        #: The versions that compute a share of the requests; None if there are none.
        self.canaries: CanaryRouter | None = None
        if options.canary:
            self.canaries = CanaryRouter(model.name, options.canary, options.canary_key)
        #: Compares the answers of a version with those of the current one; None if there is none.
        self.shadow: ShadowComparison | None = None
        self._model = model
        self._states: dict[str, VersionState] = {}
        self._list: VersionList | None = None
        # The versions that could not be used when the source was last looked at.
        self._faulty: set[str] = set()
        # The canaries and the shadow that are loaded, by name.
        self._on_trial: dict[str, ModelVersion] = {}
        self._reset()
        if source is not None:
            # The source is not looked at when the model is declared, so it is not known yet which
            # version is served. The first prediction finds out.
            model.current.queue.retire(lambda: self._started().queue)
            change_in_child(self, VersionSet._restart_in_child)

    def _reset(self) -> None:
        # Held while versions are loaded, which may take minutes.
        self._changing = threading.Lock()
        # The version that is being loaded, and the slot in which that is done.
        self._loading: tuple[ModelVersion, Slot] | None = None
        self._is_started = False
        self._watch: SourceWatch | None = None

    def version_for(self, request: PredictionRequest) -> ModelVersion:
        """Return the version that computes a request."""
        return self.canary_for(request) or self._model.current

    def canary_for(self, request: PredictionRequest) -> ModelVersion | None:
        """Return the canary that computes a request; None if the current version does, also in
        place of a canary whose replicas have all died.
        """
        canary = self.canaries and self.canaries.find(request)
        return canary if canary and canary.replica.is_ready else None

    def served(self) -> list[ModelVersion]:
        """Return the versions that compute predictions: the current one, and those on trial."""
        return [self._model.current, *self._on_trial.values()]

    def loaded(self, name: str) -> ModelVersion | None:
        """Return a version that computes predictions, or is compared; None if there is none of this
        name.
        """
        current = self._model.current
        return current if name == current.name else self._on_trial.get(name)

    # --- starting ------------------------------------------------------------------------------

    def load(self) -> None:
        """Load the version that should be served, unless one is loaded. Thread-safe.

        If it cannot be loaded, the version before it is served instead, and so on: the restart of a
        server must not fail because of a bad version that was refused while the server ran.

        Raises:
            ModelLoadError: no version can be loaded.
        """
        if self.source is not None or self.unloaded:
            with self._changing:
                self._start().load()
                self.unloaded = False
        else:
            self._model.current.load()

    def _started(self) -> ModelVersion:
        """Return the version that computes predictions, after it was found out which it is."""
        if (loading := self._loading) is not None:
            version, slot = loading
            if computes_for(slot):  # its example asks the model for further predictions
                return version
        with self._changing:
            return self._start()

    def _start(self) -> ModelVersion:
        source = self.source
        if source is not None and not self._is_started:
            found = self._look(source)
            if found.is_fixed:
                self._warn_of_no_versions(source)
                version = self._model.make_version("", source.folder(found.versions[0].name))
                for observer in self.observers:
                    observer.added(self._model, version)
                self._model.current = version
            else:
                # `close` may have been called during a change, whose version is loaded by now.
                current = self._model.current
                if not (current.name and current.loaded):
                    self._swap(self._load_first(source, found))
                self._load_trials(source, found)
                self._warn_of_missing_trials(source, found)
                self._watch = SourceWatch(self, source.poll_s)
                self._watch.start()
            self._is_started = True
        return self._model.current

    def _load_first(self, source: VersionSource, found: VersionList) -> ModelVersion:
        """Load the first version that can be loaded: the one that other processes serve, if there
        is one, and those last that other processes could not serve.
        """
        reasons = []
        candidates = self._candidates(found)
        candidates.sort(
            key=lambda each: (self._is_refused(each), each.name != self._served_elsewhere)
        )
        for candidate in candidates:
            try:
                return self._load_beside(source, candidate)
            except ModelLoadError as exc:
                _logger.error("%s", exc)  # noqa: TRY400  # the message has the reason
                reasons.append(str(exc))
        if not reasons:
            raise ModelLoadError(
                f"{self._owner}: {source.location!r} has no other versions than those that"
                " canary=... and shadow=... name, and none that all clients may get."
            )
        if len(reasons) == 1:
            raise ModelLoadError(reasons[0])
        raise ModelLoadError(
            f"{self._owner}: none of the {len(reasons)} versions in {source.location!r} can be"
            f" loaded. {' '.join(reasons)}"
        )

    def _is_refused(self, version: SourceVersion) -> bool:
        known = self._states.get(version.name)
        return (
            known is not None and known.state == "failed" and known.was_tried(version.fingerprint)
        )

    def _look(self, source: VersionSource) -> VersionList:
        for version in self.served():
            if version.loaded and version.folder:
                source.keep(version.folder)
        try:
            found = source.look()
            found.refuse_none(source.location)
        except (OSError, ModelFileError) as exc:
            raise ModelLoadError(f"{self._owner}: {_reason(exc)}") from exc
        self._list = found
        self._log_faults(found)
        return found

    def _log_faults(self, found: VersionList) -> None:
        """Log why versions cannot be used; once for each, although the reason changes while a
        folder is being copied.
        """
        faults = {each.name: each.fault for each in found.versions if each.fault}
        for name in faults.keys() - self._faulty:
            _logger.warning("%s: version %r cannot be used: %s", self._owner, name, faults[name])
        self._faulty = set(faults)

    # --- changing ------------------------------------------------------------------------------

    def refresh(self, *, retry: bool = False) -> None:
        """Look at the source, and change to the version that should be served.

        Blocks until the version that was served before is unloaded.

        Args:
            retry: try a version again that could not be served, although its files have not
                changed.

        Raises:
            ModelLoadError: the source cannot be read, or that version cannot be served. The version
                that is served does not change.
        """
        source = self.source
        if self.unloaded:
            return
        if source is None or not self._is_started:
            self.load()
            return
        with self._changing, self._closing_what_was_closed():
            found = self._look(source)
            try:
                if wanted := self._wanted(found, retry=retry):
                    self._change_to(source, wanted)
            finally:
                self._load_trials(source, found, retry=retry)

    def switch(self, name: str) -> None:
        """Change to a version, whether or not the source says that it should be served.

        Raises:
            ModelLoadError: there is no such version, or it cannot be served.
        """
        source = self.source
        if source is None:
            raise ModelLoadError(without_source(self._model.name, self._model.rule))
        if self.unloaded:
            raise ModelLoadError(
                f"{self._owner} is unloaded, as a client has asked for. Load it first: POST"
                f" /v2/repository/models/{self._model.name}/load"
            )
        with self._changing, self._closing_what_was_closed():
            if name == self._model.current.name:
                return
            try:
                wanted = self._look(source).find(name, source.location)
            except ModelFileError as exc:
                raise ModelLoadError(f"{self._owner}: {exc}") from None
            self._change_to(source, wanted)

    def follow(
        self,
        request_refresh: cabc.Callable[[], object],
        report_loading: cabc.Callable[[Loading | None], object],
        *,
        serving: str = "",
        refused: cabc.Iterable[RefusedVersion] = (),
    ) -> None:
        """Let another process decide when versions change, as long as this process lives.

        Args:
            request_refresh: asks that process to look at the source.
            report_loading: tells that process which version is about to be loaded, which may kill
                this one; None when that has ended.
            serving: the version that other processes serve; empty if that is unknown.
            refused: the versions that other processes could not serve.
        """
        self.request_refresh = request_refresh
        self._report_loading = report_loading
        self._served_elsewhere = serving
        for each in refused:
            self.refuse(each)

    def refuse(self, version: RefusedVersion) -> None:
        """Do not serve a version until its files change, because another process could not. One
        that this process serves, tries or loads is left as it is, and not replaced by those files.
        """
        name = version["version"]
        known = self._states.get(name)
        if name in self._on_trial and known is not None:
            known.fingerprint = version["fingerprint"]
        elif name != self._model.current.name and (known is None or known.state != "loading"):
            self._states[name] = VersionState(
                name, "failed", version["fingerprint"], version["reason"]
            )

    def refused(self) -> RefusedVersion | None:
        """Return the version that the source says should be served, if it could not be and its
        files are the reason.
        """
        candidates = self._candidates(self._list) if self._list is not None else ()
        known = self._states.get(candidates[0].name) if candidates else None
        if known is None or known.state != "failed" or known.is_passing:
            return None
        return {"version": known.name, "fingerprint": known.fingerprint, "reason": known.reason}

    def is_outdated(self) -> bool:
        """Look at the source, and return whether another version should be loaded now.

        Raises:
            ModelLoadError: the source cannot be read.
        """
        if self.source is None:
            return False
        found = self._look(self.source)
        wanted = self._wanted(found)
        if wanted is not None and self._is_due(wanted):
            return True
        return any(map(self._is_due, self._new_trials(found)))

    def _is_due(self, version: SourceVersion) -> bool:
        known = self._states.get(version.name)
        return known is None or not known.waits(version.fingerprint)

    def _wanted(self, found: VersionList, *, retry: bool = False) -> SourceVersion | None:
        """Return the version that should be served instead of the current one; None if there is
        none, or if it has been tried.
        """
        candidates = self._candidates(found)
        if found.is_fixed or not candidates:
            return None
        wanted = candidates[0]
        known = self._states.get(wanted.name)
        is_tried = (
            known is not None
            and known.state in ("failed", "loading")
            and known.was_tried(wanted.fingerprint, retry=retry)
        )
        return None if wanted.name == self._model.current.name or is_tried else wanted

    def _candidates(self, found: VersionList) -> list[SourceVersion]:
        return found.for_all_clients(self._trials)

    # --- canaries and shadows ------------------------------------------------------------------

    @property
    def _trials(self) -> cabc.Mapping[str, Trial]:
        return self._model.options.trials

    def _new_trials(self, found: VersionList, *, retry: bool = False) -> list[SourceVersion]:
        """Return the versions on trial that could be loaded."""
        if found.is_fixed:
            return []
        known = dict(self._states)
        return [
            each
            for each in found.versions
            if each.name in self._trials
            and not each.fault
            and each.name != self._model.current.name
            and not (
                (state := known.get(each.name)) and state.was_tried(each.fingerprint, retry=retry)
            )
        ]

    def _load_trials(
        self, source: VersionSource, found: VersionList, *, retry: bool = False
    ) -> None:
        """Load the versions on trial that are new, and unload those that are gone."""
        there = {each.name for each in found.versions}
        for name in [*self._on_trial]:
            if name not in there or name == self._model.current.name:
                self._end_trial(name)
        for each in self._new_trials(found, retry=retry):
            if not retry and not self._is_due(each):
                continue
            # Processes of replicas are found by the name of the version, so those with other files
            # of the same name end first.
            self._end_trial(each.name)
            try:
                version = self._load_beside(source, each)
            except ModelLoadError as exc:
                _logger.error("%s", exc)  # noqa: TRY400  # the message has the reason
                continue
            self._begin_trial(version)

    def _warn_of_missing_trials(self, source: VersionSource, found: VersionList) -> None:
        for name in self._trials.keys() - {each.name for each in found.versions}:
            _logger.warning(
                "%s: there is no version %r in %r, which is its %s: it is loaded when it appears",
                *(self._owner, name, source.location, self._trials[name]),
            )

    def _warn_of_no_versions(self, source: VersionSource) -> None:
        for name in ("canary", "shadow", "hold_s"):
            if value := getattr(self._model.options, name):
                _logger.warning(
                    "%s: %s=%r has no effect: %r is the folder of a single version. Name the folder"
                    " above it as the source of the model.",
                    *(self._owner, name, value, source.location),
                )

    def _begin_trial(self, version: ModelVersion) -> None:
        self._on_trial[version.name] = version
        self._states[version.name].become(self._trials[version.name])
        if self.canaries is not None and version.name in self.canaries.shares:
            self.canaries.loaded[version.name] = version
            version.fall_back_on(lambda: self._model.current.queue)
        else:
            self.shadow = ShadowComparison(self._model, version)

    def _end_trial(self, name: str, timeout_s: float | None = None) -> None:
        if (version := self._take_from_trial(name)) is not None:
            self._retire(version, timeout_s)

    # --- loading and unloading -----------------------------------------------------------------

    def _change_to(self, source: VersionSource, wanted: SourceVersion) -> None:
        """Serve another version. It may have been on trial until now.

        Raises:
            ModelLoadError: it cannot be loaded. The current version goes on.
        """
        version = self._take_from_trial(wanted.name)
        if version is None:
            version = self._load_beside(source, wanted, hold_s=self._model.options.hold_s)
        self._swap(version)

    def _take_from_trial(self, name: str) -> ModelVersion | None:
        """End the trial of a version, and return it; None if it is not on trial."""
        version = self._on_trial.pop(name, None)
        if version is None:
            return None
        if self.canaries is not None and self.canaries.loaded.pop(name, None) is not None:
            version.fall_back_on(None)
        if self.shadow is not None and name == self._model.options.shadow:
            self.shadow.stop()
            self.shadow = None
        return version

    def _load_beside(
        self, source: VersionSource, wanted: SourceVersion, *, hold_s: float | None = None
    ) -> ModelVersion:
        """Load a version, warm it up and check it, while another one computes predictions.

        Args:
            hold_s: how long predictions may wait instead, while the other version is unloaded first
                because both do not fit into the memory; None if they may not.

        Raises:
            ModelLoadError: one of these failed.
        """
        name = wanted.name
        state = self._states[name] = VersionState(name, "loading", wanted.fingerprint)
        current = self._model.current
        self._report_loading({"version": name, "fingerprint": wanted.fingerprint})
        try:
            version = self._prepare(source, wanted, state, hold_s)
        # `SystemExit` is an error, too: a library may call `sys.exit`.
        except (Exception, SystemExit) as exc:
            is_passing = _is_passing(exc, was_made=state.version is not None)
            if is_passing:
                state.retry_at_s = time.monotonic() + RETRY_S
            reason, state.version = _reason(exc), None
            state.become("failed", reason)
            kept = f" Version {current.name!r} is still served." if current.name else ""
            if kept and is_passing:
                kept += f" Version {name!r} is tried again later."
            self._resume(exc)
            raise ModelLoadError(
                f"{self._owner}: version {name!r} is not served. {reason}{kept}"
            ) from exc
        finally:
            self._loading = None
            self._report_loading(None)
        for observer in self.observers:
            observer.added(self._model, version)
        return version

    def _prepare(
        self,
        source: VersionSource,
        wanted: SourceVersion,
        state: VersionState,
        hold_s: float | None,
    ) -> ModelVersion:
        """Load a version, from another copy of its files if that on this machine is damaged."""
        try:
            return self._prepare_once(source, wanted, state, hold_s)
        except (Exception, SystemExit) as exc:
            folder = state.version.folder if state.version is not None else None
            if folder is None or _is_passing(exc, was_made=True):
                raise
            if not source.discard_damaged(folder):
                raise
        _logger.warning(
            "%s: the files of version %r in %r were damaged. They are fetched again.",
            *(self._owner, wanted.name, folder),
        )
        state.version = None
        return self._prepare_once(source, wanted, state, hold_s)

    def _prepare_once(
        self,
        source: VersionSource,
        wanted: SourceVersion,
        state: VersionState,
        hold_s: float | None,
    ) -> ModelVersion:
        current = self._model.current
        state.version = version = self._make(source, wanted)
        with version.queue.loading() as slot:
            self._loading = version, slot
            version.prepare(beside=current if current.loaded else None, hold_s=hold_s)
        return version

    def _make(self, source: VersionSource, wanted: SourceVersion) -> ModelVersion:
        if wanted.fault:
            raise ModelFileError(wanted.fault)
        return self._model.make_version(wanted.name, source.folder(wanted.name))

    def _resume(self, failure: BaseException) -> None:
        """Let the current version go on if it was unloaded for one that cannot be loaded."""
        current = self._model.current
        if not current.is_held:
            return
        _free_frames(failure)
        try:
            current.resume()
        except (ModelLoadError, UnavailableError) as exc:
            _logger.error("%s", exc)  # noqa: TRY400  # the message has the reason

    def _swap(self, version: ModelVersion) -> None:
        """Let a loaded version compute all predictions from now on, and unload the one before."""
        model = self._model
        self._states[version.name].become("serving")
        before, model.current = model.current, version
        if not before.name:
            return
        if before.name != version.name:
            _logger.info(
                "%s: version %r is served instead of %r", self._owner, version.name, before.name
            )
        self._retire(before)

    def _retire(self, version: ModelVersion, timeout_s: float | None = None) -> None:
        """Let a version compute the predictions that it has accepted, and unload it."""
        state = self._states.get(version.name)
        if state is not None and state.version is version:
            state.become("draining")
        if timeout_s is None:
            timeout_s = max(DRAIN_S, self._model.options.deadline_s or 0.0)
        if not version.retire(lambda: self._model.current.queue, timeout_s):
            _logger.warning(
                "%s: version %r has not computed its last predictions within %g s",
                *(self._owner, version.name, timeout_s),
            )
        # Meanwhile files of the same name may have been loaded again.
        if state is not None and state.version is version:
            self._states.pop(version.name, None)

    # --- ending --------------------------------------------------------------------------------

    def unload(self, timeout_s: float | None = None) -> None:
        """Compute the waiting predictions, then unload. Predictions are refused until `load` is
        called.
        """
        model = self._model
        with self._changing:
            self.unloaded = True
            # `load` begins with the version that is served now, as other processes do.
            self._served_elsewhere = model.current.name or self._served_elsewhere
            is_started = self._is_started
            self._stop(timeout_s)
            if self.source is not None and not is_started:
                # The queue refuses predictions, instead of finding out which version is served.
                model.current = model.make_version("", model.options.source)
            state = self._states.get(model.current.name)
            is_its_own = state is not None and state.version is model.current
            if state is not None and is_its_own:
                state.become("draining")
            model.current.unload(timeout_s)
            if is_its_own:
                del self._states[model.current.name]

    def close(self, timeout_s: float | None = None) -> bool:
        """Compute the waiting predictions, then unload; the next prediction loads the version again
        that should then be served.

        Returns:
            False if predictions were left after `timeout_s` seconds, or if `predict` hangs.
        """
        self._stop(timeout_s)
        return True if self.unloaded else self._close_current(timeout_s)

    def _close_current(self, timeout_s: float | None = None) -> bool:
        current = self._model.current
        drained = current.close(timeout_s)
        if self.source is not None and not self._is_started:
            current.queue.retire(lambda: self._started().queue)
        return drained

    @contextlib.contextmanager
    def _closing_what_was_closed(self) -> cabc.Iterator[None]:
        """Close the versions that were loaded during a `with` block if `close` was called then,
        which does not wait until a version is loaded.
        """
        was_started = self._is_started
        try:
            yield
        finally:
            if was_started and not self._is_started:
                self._stop(None)
                self._close_current()

    def _stop(self, timeout_s: float | None) -> None:
        """Do not look at the source any more, and end all trials. `load` begins anew."""
        if self._watch is not None:
            self._watch.stop()
            self._watch, self._is_started = None, False
        for name in [*self._on_trial]:
            self._end_trial(name, timeout_s)

    # --- looking -------------------------------------------------------------------------------

    def states(self) -> list[dict[str, t.Any]]:
        """Return what this process does with each version, as plain JSON values."""
        found = {name: state.to_dict() for name, state in list(self._states.items())}
        for name, share in (self.canaries.shares if self.canaries is not None else {}).items():
            if name in found and found[name]["state"] == "canary":
                found[name]["share"] = share
        for each in self._list.versions if self._list is not None else ():
            if each.fault and each.name not in found:
                state = VersionState(each.name, "failed", each.fingerprint, each.fault)
                found[each.name] = state.to_dict()
        return list(found.values())

    @property
    def is_changing(self) -> bool:
        """Whether a version is being loaded or unloaded."""
        return self._changing.locked()

    @property
    def _owner(self) -> str:
        return f"Model {self._model.name!r}"

    def _restart_in_child(self) -> None:
        """Watch the source in a forked process, and compare with the shadow, too, and hold no
        predictions: threads are not copied.
        """
        for version in self.served():
            version.forget_parent()
        for name in [name for name, each in self._states.items() if each.state == "loading"]:
            del self._states[name]
        if self.shadow is not None:
            self.shadow = ShadowComparison(self._model, self.shadow.version)
        watch = self._watch
        is_started = self._is_started
        self._reset()
        self._is_started = is_started
        if watch is not None and self.source is not None:
            self._watch = SourceWatch(self, self.source.poll_s)
            self._watch.start()


def _reason(exc: BaseException) -> str:
    if isinstance(exc, (ModelLoadError, ModelFileError)):
        return str(exc)
    return f"{type(exc).__name__}: {exc}"


def _is_passing(failure: BaseException, *, was_made: bool) -> bool:
    """Return whether a version may be loaded at another time although its files are the same.

    Args:
        was_made: whether its files were there, so that the model's code may have raised the error.
    """
    if isinstance(failure, OSError):
        return not was_made
    return isinstance(failure, (NoRoomError, UnreachableSourceError, UnavailableError))


def _free_frames(failure: BaseException | None) -> None:
    """Free what the frames of a failure refer to, such as a model that was loaded in part."""
    while failure is not None:
        traceback.clear_frames(failure.__traceback__)
        failure = failure.__cause__ or failure.__context__
