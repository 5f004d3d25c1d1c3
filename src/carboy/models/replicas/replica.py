"""The interface between the queue of a model and the place where its batches are computed."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from ..queue.calls import Arguments
    from ..queue.state import Slot
    from ..saved.card import Card


class Turns(t.Protocol):
    """The order in which threads, of this process and others, have their batches computed by
    replicas in other processes.
    """

    def wait(self) -> None:
        """Wait until a replica is free for a batch of the calling thread, which must then call
        `compute` or `give_back`.
        """

    def give_back(self) -> None:
        """Let another thread have the turn for which the calling thread has waited."""

    def give_up(self, slot: Slot, took_s: float) -> cabc.Callable[[], object] | None:
        """End the computation of the batch in a slot, because `predict` has not returned for
        `took_s` seconds. The caller holds the queue's lock, so this must not block.

        Returns:
            A function that reports the replica, so that it is replaced, and may block; None if no
            replica computes the batch at the moment.
        """


class Replica(t.Protocol):
    """One copy of a model, in this process or elsewhere. Any thread may call any method.

    Attributes:
        loaded: whether `compute` can begin at once. If not, the queue calls `load` first, so that
            the time of loading does not count against the deadline of `predict`.
        turns: what a thread waits for before it takes a batch, which fills meanwhile; None if a
            batch can be computed at any time.
    """

    loaded: bool
    turns: Turns | None

    def load(self) -> object:
        """Build the model's object unless it exists already. Raises ModelLoadError."""

    def compute(self, batch: cabc.Sequence[Arguments]) -> t.Any:
        """Compute a batch; load the model first if it is not loaded.

        Args:
            batch: the arguments of each prediction, by name. At most `concurrency` batches compute
                at the same time. If `predict` yields, a batch is a single prediction.

        Returns:
            One result per prediction, in the same order. An exception among the results fails that
            prediction alone. If `predict` yields, the only result is an iterator, and the caller
            reads it on the same thread.

        Raises:
            Exception: whatever `predict` raises. The queue splits the batch and computes the parts.
        """

    def close(self) -> None:
        """Release the model. Called while nothing is computed; the next `compute` loads the model
        again.
        """


class ModelReplica(Replica, t.Protocol):
    """What a `ModelVersion` needs of a replica, beside what the queue needs.

    Attributes:
        loading: whether the model is being built at the moment.
        loaded_bytes: how much memory the model takes, where it is loaded; 0 if that is unknown.
        load_s: how long loading the model took, in seconds.
        cards: the cards of the saved models that were opened while the model was built.
        is_ready: False while none of the processes that compute can do so.
        is_remote: whether other processes compute, so that the model takes no memory of this one.
    """

    is_ready: bool
    is_remote: bool
    loading: bool
    loaded_bytes: int
    load_s: float
    cards: tuple[Card, ...]

    def check(self) -> None:
        """Call the model's own `check` method, if it has one; raises what `check` raises."""
