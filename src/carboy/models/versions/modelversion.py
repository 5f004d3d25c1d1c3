"""One version of a model: the place where it is computed, and the queue in which predictions wait
for it.
"""

from __future__ import annotations

import threading
import typing as t
import weakref
from functools import partial

from carboy.core.logmasking import get_masked_logger
from carboy.errors import ModelFileError, ModelLoadError, UnavailableError

from ..queue import CLOSING
from ..replicas.checkup import Checkup
from ..saved.card import cards_in
from .memoryroom import ServedVersion, files_bytes, must_hold, no_end_of

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from ..queue import PredictionQueue
    from ..queue.state import Statistics
    from ..replicas.otherprocesses import OtherProcesses
    from ..replicas.replica import ModelReplica
    from ..saved.card import Card

_logger = get_masked_logger("carboy.models")

_UNLOADED = "has been unloaded. Retry the request when it is loaded again."


class ModelVersion:
    """One version of a model. A model that declares no versions has one, whose name is empty.

    A request reads `Model.current` once and submits all of its predictions to the queue of the
    version that it finds there, so that no answer mixes versions.

    Attributes:
        name: the name of the version; empty if the model declares no versions.
        label: what the version is called in the metrics: its name, or else what the class of the
            model or the card in its folder says; empty if nothing does.
        folder: the folder of its files; None if the model has no `source`.
        replica: computes the batches.
        queue: where predictions wait for `replica`.
    """

    def __init__(
        self,
        name: str,
        folder: str | None,
        replica: ModelReplica,
        queue: PredictionQueue,
        *,
        label: str = "",
        has_check: bool,
    ) -> None:
        self.name = name
        self.label = label
        self.folder = folder
        self.replica = replica
        self.queue = queue
        self._has_check = has_check
        self._checkup = Checkup(replica.check, owner=queue.owner)
        self._is_unloaded = False
        # Held while the version begins or ends to hold predictions.
        self._holding = threading.Lock()
        self._hold: _Hold | None = None
        # What the supervisor of replicas has asked for last: how long to hold predictions; None to
        # go on.
        self._asked_s: float | None = None
        self._asking = threading.Lock()
        # Held while predictions are diverted. Reentrant, because a callback that gets the failed
        # ones may close the model.
        self._diverting = threading.RLock()
        # Returns the queue that computes the predictions while no replica can; None without one.
        self._fallback: cabc.Callable[[], PredictionQueue] | None = None
        if replica.is_remote:
            remote, this = t.cast("OtherProcesses", replica), weakref.ref(self)
            remote.on_hold = partial(_ask_to_hold, this)
            remote.on_ready = partial(_note_ready, this)
            remote.demand = partial(_demand_for, this)

    @property
    def loaded(self) -> bool:
        return self.replica.loaded

    @property
    def is_loaded_here(self) -> bool:
        """Whether this process holds a copy of the model, and not others."""
        return self.replica.loaded and not self.replica.is_remote

    @property
    def memory_bytes(self) -> int:
        """How much the memory of this process grew by while the version was loaded; 0 if it is not
        loaded, or in other processes.
        """
        return self.replica.loaded_bytes if self.is_loaded_here else 0

    @property
    def cards(self) -> tuple[Card, ...]:
        """The cards of the saved models that this version was built from. Before it is loaded, only
        the card in its folder is known.
        """
        return self.replica.cards if self.loaded else cards_in(self.folder)

    def load(self) -> None:
        """Build the model now, unless it is loaded. Thread-safe.

        Raises:
            ModelLoadError: the model's `__init__` or its example failed.
        """
        with self.queue.loading():
            self.replica.load()
        if self._is_unloaded:
            self._open()

    def _open(self) -> None:
        self._is_unloaded = False
        self.queue.open()

    def prepare(self, *, beside: ModelVersion | None = None, hold_s: float | None = None) -> None:
        """Load the version before it gets predictions: build it, warm it up, and call its `check`
        method, if there is one.

        Args:
            beside: the version that is served meanwhile; None if there is none.
            hold_s: how long predictions may wait while that version is unloaded first, if there is
                no memory for both; None if they may not.

        Raises:
            Exception: one of these failed, or there is no memory. The version is unloaded.
        """
        try:
            if beside is not None:
                self._find_room(beside, hold_s)
            self.load()
            with self.queue.loading():  # as the example, `check` may ask for predictions
                self.replica.check()
            self._checkup.passed()
        except BaseException:
            self.replica.close()
            raise

    def _find_room(self, beside: ModelVersion, hold_s: float | None) -> None:
        """Unload another version if this one does not fit into the memory beside it. All workers
        share replicas, so their supervisor does that.
        """
        if self.replica.is_remote:
            remote = t.cast("OtherProcesses", self.replica)
            remote.load_beside(t.cast("OtherProcesses", beside.replica), hold_s)
            return
        replica = beside.replica
        served = ServedVersion(
            name=beside.name,
            files_bytes=files_bytes(beside.cards),
            loaded_bytes=replica.loaded_bytes,
            load_s=replica.load_s,
        )
        if must_hold(served, files_bytes(self.cards), hold_s) and hold_s is not None:
            _logger.info(
                "%s: predictions wait for at most %g s while version %r is unloaded first: there is"
                " no memory for both",
                *(self.queue.owner, hold_s, beside.name),
            )
            if not beside.hold(hold_s):
                raise ModelFileError(no_end_of(beside.name, hold_s))

    def retire(self, successor: cabc.Callable[[], PredictionQueue], timeout_s: float) -> bool:
        """Pass new predictions on to another version, compute the waiting ones, and unload.

        Args:
            successor: returns the queue of the other version.

        Returns:
            False if predictions were left after `timeout_s` seconds, or if `predict` hangs.
        """
        with self._holding:
            self._end_hold(successor())
        with self._diverting:
            self._fallback = None
            self.queue.retire(successor)
        drained = self.queue.close(timeout_s)
        if self.loaded:  # it may have been closed before
            self.replica.close()
        return drained

    # --- holding predictions -------------------------------------------------------------------

    @property
    def is_held(self) -> bool:
        """Whether predictions wait, because another version is to take the place of this one."""
        return self._hold is not None

    def hold(self, limit_s: float) -> bool:
        """Let new predictions wait, compute those that were accepted before, and unload, so that
        another version can be loaded. `retire` or `resume` ends that. Thread-safe.

        Args:
            limit_s: how long the predictions may wait; after this time they are refused.

        Returns:
            False if predictions were still computed after this time. The version goes on then.
        """
        with self._holding:
            if self._hold is None:
                self._hold = _Hold(self.queue, limit_s)
                if not self.queue.wait_until_idle(limit_s):
                    self._end_hold(self.queue)
                    return False
                self.replica.close()
            return True

    def resume(self) -> None:
        """Compute the predictions that wait since `hold`, and load the version again for that. Does
        nothing without `hold`. Thread-safe.

        Raises:
            ModelLoadError: the version cannot be loaded. The next prediction tries that again.
        """
        with self._holding:
            if self._hold is not None:
                try:
                    self.load()
                finally:
                    self._end_hold(self.queue)

    def ask_to_hold(self, limit_s: float | None) -> None:
        """Let a thread call `hold` or, if the time is None, `resume`. Returns at once."""
        self._asked_s = limit_s
        threading.Thread(target=self._do_asked, name="carboy hold", daemon=True).start()

    def _do_asked(self) -> None:
        with self._asking:  # whichever thread is the last does what was asked last
            if (limit_s := self._asked_s) is not None:
                self.hold(limit_s)
                return
            try:
                self.resume()
            except (ModelLoadError, UnavailableError) as exc:
                _logger.error("%s", exc)  # noqa: TRY400  # the message has the reason

    def _end_hold(self, target: PredictionQueue) -> None:
        if self._hold is not None:
            self._hold.end(target)
            self._hold = None

    def forget_parent(self) -> None:
        """Forget in a forked child process that predictions are held: no thread there ends that.
        The queue forgets it by itself.
        """
        self._holding, self._asking = threading.Lock(), threading.Lock()
        self._diverting = threading.RLock()
        self._hold = None
        if self._fallback is not None:  # the child asks for replicas of its own
            self.queue.take_back()

    # --- without replicas ----------------------------------------------------------------------

    def fall_back_on(self, fallback: cabc.Callable[[], PredictionQueue] | None) -> None:
        """Let another queue compute the predictions while all replicas are dead. Thread-safe.

        Args:
            fallback: returns that queue; None if there is none, so that predictions wait.
        """
        with self._diverting:
            if self._fallback is not None:
                self.queue.take_back()
            self._fallback = fallback
            self.note_ready()

    def note_ready(self) -> None:
        """Note that the last replica has died, or that one is ready again. Thread-safe."""
        with self._diverting:
            if self._fallback is None:
                return
            if self.replica.is_ready:
                self.queue.take_back()
            else:
                self.queue.divert(self._fallback, "all of its replicas have died.")

    # --- unloading -----------------------------------------------------------------------------

    def close(self, timeout_s: float | None = None) -> bool:
        """Compute the waiting predictions, then unload; the next prediction loads the version
        again.

        Returns:
            False if predictions were left after `timeout_s` seconds, or if `predict` hangs.
        """
        drained = self.unload(timeout_s, because=CLOSING)
        self._open()
        return drained

    def unload(self, timeout_s: float | None = None, *, because: str = _UNLOADED) -> bool:
        """Compute the waiting predictions, then unload. Predictions are refused until `load` is
        called.

        Args:
            because: why they are refused, for the error; the model's name stands before it.

        Returns:
            False if predictions were left after `timeout_s` seconds, or if `predict` hangs.
        """
        self._is_unloaded = True
        drained = self.queue.close(timeout_s, because=because)
        self.replica.close()
        self._checkup.forget()
        return drained

    def not_ready(self) -> str:
        """Return why the version is not ready, or an empty string if it is. Never blocks."""
        if (hold := self._hold) is not None:
            return hold.not_ready()
        if self.replica.is_remote and (trouble := t.cast("OtherProcesses", self.replica).trouble):
            return trouble
        if not self.loaded:
            return "loading" if self.replica.loading else "not loaded"
        if self.queue.stuck:
            return "hangs past its deadline"
        return self._checkup.reason() if self._has_check else ""

    def statistics(self) -> Statistics:
        """Return the queue's counters since the version was first used."""
        return self.queue.statistics()


def _ask_to_hold(version: weakref.ref[ModelVersion], limit_s: float | None) -> None:
    if (found := version()) is not None:
        found.ask_to_hold(limit_s)


def _demand_for(version: weakref.ref[ModelVersion]) -> int:
    if (found := version()) is None:
        return 0
    counts = found.queue.statistics()
    return counts.waiting + counts.computing


def _note_ready(version: weakref.ref[ModelVersion]) -> None:
    if (found := version()) is not None:
        found.note_ready()


class _Hold:
    """The predictions of a version wait, for a time at most, until another version takes its
    place.
    """

    def __init__(self, queue: PredictionQueue, limit_s: float) -> None:
        self._queue = queue
        self._limit_s = limit_s
        self._is_over = False
        queue.hold()
        self._timer = threading.Timer(limit_s, self._refuse)
        self._timer.daemon = True
        self._timer.start()

    def _refuse(self) -> None:
        self._is_over = True
        self._queue.refuse_held(
            f"is being replaced by another version, which takes longer than the {self._limit_s:g} s"
            " for which predictions wait. Retry the request."
        )

    def not_ready(self) -> str:
        """Return why predictions are refused; an empty string while they wait."""
        return "another version takes its place" if self._is_over else ""

    def end(self, target: PredictionQueue) -> None:
        """Let a queue compute the predictions that wait."""
        self._timer.cancel()
        self._queue.release(target)
