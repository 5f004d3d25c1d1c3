"""The interface between the queue of a model and the place where its batches are computed."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from carboy.contract.operation import Operation

    from ..options import Options
    from ..queue.calls import Arguments, Compute
    from ..queue.state import Slot
    from ..saved.card import Card
    from .otherprocesses import OtherProcesses
    from .supervision import WantedReplicas

    #: Called with the slot of a batch and what has become of the batch: the results, an exception,
    #: or None if no replica has computed it.
    Done: t.TypeAlias = cabc.Callable[[Slot, t.Any], object]


class Turns(t.Protocol):
    """The order in which threads, of this process and others, have their batches computed by
    replicas in other processes.

    Attributes:
        batches: how many batches the replicas compute at the same time, if there are all of them.
        replicas: how many replicas there are at the moment; at least 1.
        sends_ahead: whether a replica takes a batch before it has sent the results of the last one.
    """

    batches: int
    sends_ahead: bool

    @property
    def replicas(self) -> int: ...

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


class LoopUser(t.Protocol):
    """An object that uses an event loop, and is told when it ends."""

    def loop_ended(self) -> object:
        """Note that an event loop calls no function any more. Must return soon."""


class ResultLoop(t.Protocol):
    """The event loop of a server. Thread-safe."""

    @property
    def is_running(self) -> bool:
        """Whether it will call the functions that it gets."""

    def call_when_readable(self, fd: int, call: cabc.Callable[[], object] | None) -> object:
        """Let the event loop call a function whenever a file descriptor is readable; None ends
        that, and must be passed before the descriptor is closed.

        Two threads may call the function at the same time, if the event loop moves to another
        thread meanwhile.

        Raises:
            OSError: the descriptor cannot be watched, or the event loop has ended. Not for None.
        """

    def tell_at_end(self, user: LoopUser) -> object:
        """Call `loop_ended` of a user when the event loop has ended. The loop has no reference to
        it.
        """


class Posts(t.Protocol):
    """Sends batches to replicas in other processes without waiting for a replica or for the
    results, which an event loop receives. Any thread may call any method.
    """

    @property
    def is_possible(self) -> bool:
        """Whether batches can be posted at the moment. If not, threads must wait: see `Turns`."""

    def try_turn(self, loop: ResultLoop) -> t.Any:
        """Return a turn if a replica is free, which must be passed to `post` or `return_turn`; else
        None.
        """

    def return_turn(self, turn: t.Any) -> None:
        """Let another thread have the turn."""

    def call_when_free(self, loop: ResultLoop, call: cabc.Callable[[], object]) -> bool:
        """Let the event loop call a function once, when a replica may be free. Returns False if
        that is not possible.
        """

    def post(self, turn: t.Any, slot: Slot, batch: cabc.Sequence[Arguments], done: Done) -> bool:
        """Send a batch. Returns False if it was not sent, so that a thread must do that.

        Args:
            turn: what `try_turn` has returned.
            slot: the slot of the batch.
            batch: the arguments of each prediction.
            done: called by the event loop, or a thread, with the slot and what has become of the
                batch.

        Raises:
            Exception: the batch cannot be sent at all.
        """

    def loop_ended(self) -> None:
        """Let a thread receive the results that an event loop was to receive, because it has ended.
        Returns at once.
        """

    def compute_after(self, outcome: BaseException | None) -> Compute:
        """Return a function that computes batches as `Replica.compute` does. But its first call
        continues with the batch of which this has become.
        """


class Replica(t.Protocol):
    """One copy of a model, in this process or elsewhere. Any thread may call any method.

    Attributes:
        loaded: whether `compute` can begin at once. If not, the queue calls `load` first, so that
            the time of loading does not count against the deadline of `predict`.
        turns: what a thread waits for before it takes a batch, which fills meanwhile; None if a
            batch can be computed at any time.
        posts: sends batches without a thread that waits for the results; None if the replica is in
            this process.
    """

    loaded: bool
    turns: Turns | None
    posts: Posts | None

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
    """The members of a replica that a `ModelVersion` uses, beside those that the queue uses.

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


class ReplicaMaker(t.Protocol):
    """Where the replicas of this process are: those of a supervisor, or of a cluster."""

    def make(
        self,
        want: WantedReplicas,
        options: Options,
        operation: Operation,
        *,
        owner: str,
        streams: bool,
    ) -> OtherProcesses:
        """Return the replicas of a version of a model, which are not started yet.

        Args:
            want: what has to be known to start them.
            options: those of the model.
            operation: the types of one prediction.
            owner: the model's name in messages.
            streams: whether `predict` yields.
        """
