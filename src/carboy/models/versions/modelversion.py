"""One version of a model: the place where it is computed, and the queue in which predictions wait
for it.
"""

from __future__ import annotations

import typing as t

from ..queue import CLOSING
from ..replicas.checkup import Checkup
from ..saved.card import cards_in

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from ..queue import PredictionQueue
    from ..queue.state import Statistics
    from ..replicas.replica import ModelReplica
    from ..saved.card import Card

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
        self.replica.load()
        if self._is_unloaded:
            self._open()

    def _open(self) -> None:
        self._is_unloaded = False
        self.queue.open()

    def prepare(self) -> None:
        """Load the version before it gets predictions: build it, warm it up, and call its `check`
        method, if there is one.

        Raises:
            Exception: one of these failed. The version is unloaded.
        """
        try:
            self.load()
            self.replica.check()
            self._checkup.passed()
        except BaseException:
            self.replica.close()
            raise

    def retire(self, successor: cabc.Callable[[], PredictionQueue], timeout_s: float) -> bool:
        """Pass new predictions on to another version, compute the waiting ones, and unload.

        Args:
            successor: returns the queue of the other version.

        Returns:
            False if predictions were left after `timeout_s` seconds, or if `predict` hangs.
        """
        self.queue.retire(successor)
        drained = self.queue.close(timeout_s)
        if self.loaded:  # it may have been closed before
            self.replica.close()
        return drained

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
        if not self.loaded:
            return "loading" if self.replica.loading else "not loaded"
        if self.queue.stuck:
            return "hangs past its deadline"
        return self._checkup.reason() if self._has_check else ""

    def statistics(self) -> Statistics:
        """Return the queue's counters since the version was first used."""
        return self.queue.statistics()
