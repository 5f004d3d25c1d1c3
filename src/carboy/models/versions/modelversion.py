"""One version of a model: the place where it is computed, and the queue in which predictions wait
for it.
"""

from __future__ import annotations

import typing as t

from carboy.errors import ModelFileError

from ..replicas.checkup import Checkup
from ..saved.card import read_card

if t.TYPE_CHECKING:
    from ..queue import PredictionQueue
    from ..queue.state import Statistics
    from ..replicas.replica import ModelReplica
    from ..saved.card import Card


class ModelVersion:
    """One version of a model. A model that declares no versions has one, whose name is empty.

    A request reads `Model.current` once and submits all of its predictions to the queue of the
    version that it finds there, so that no answer mixes versions.

    Attributes:
        name: the name of the version; empty if the model declares no versions.
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
        has_check: bool,
    ) -> None:
        self.name = name
        self.folder = folder
        self.replica = replica
        self.queue = queue
        self._has_check = has_check
        self._checkup = Checkup(replica.check, owner=queue.owner)

    @property
    def loaded(self) -> bool:
        return self.replica.loaded

    @property
    def cards(self) -> tuple[Card, ...]:
        """The cards of the saved models that this version was built from. Before it is loaded, only
        the card in its folder is known.
        """
        if self.loaded or self.folder is None:
            return self.replica.cards
        try:
            return (read_card(self.folder),)
        except (OSError, ModelFileError):  # loading the version says why
            return ()

    def load(self) -> None:
        """Build the model now, unless it is loaded. Thread-safe.

        Raises:
            ModelLoadError: the model's `__init__` or its example failed.
        """
        self.replica.load()

    def close(self, timeout_s: float | None = None) -> bool:
        """Compute the waiting predictions, then unload; the next prediction loads the version
        again.

        Returns:
            False if predictions were left after `timeout_s` seconds, or if `predict` hangs.
        """
        drained = self.queue.close(timeout_s)
        self.replica.close()
        self._checkup.forget()
        self.queue.open()
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
