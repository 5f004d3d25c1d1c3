"""`OtherProcesses`: what a `ModelVersion` knows of replicas in other processes, and is told."""

from __future__ import annotations

import threading
import typing as t

import msgspec

from ..saved.card import Card
from .batches import BatchFormat
from .replica import ModelReplica

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from carboy.contract.operation import Operation

    from .supervision import WantedReplicas


class OtherProcesses(ModelReplica):
    """The replicas of one version of a model, which are other processes.

    Args:
        want: what has to be known to start them.
        operation: the types of one prediction.
        owner: the model's name in messages.
        streams: whether `predict` yields.
        retry: whether a batch may be computed again after its replica has died.

    Attributes:
        form: how batches and results are packed.
        trouble: why no process can be reached that computes; "" if that is not so.
        on_hold: called when the version must be held, with the longest time in seconds, or must go
            on (None). Must return at once.
        on_ready: called when the last replica has died, or one is ready again. Must return at once.
        demand: returns how many predictions of this process wait or are computed.
    """

    is_remote = True

    def __init__(
        self,
        want: WantedReplicas,
        operation: Operation,
        *,
        owner: str,
        streams: bool,
        retry: bool,
    ) -> None:
        self.want = want
        self.owner = owner
        self.form = BatchFormat.of(operation)
        self._streams = streams
        self._retry = retry
        self._loading = threading.Lock()
        self.trouble = ""
        self.loading = self.loaded = False
        self.loaded_bytes = 0
        self.load_s = 0.0
        self.cards: tuple[Card, ...] = ()
        self.is_ready = True
        self.on_hold: cabc.Callable[[float | None], object] = lambda _: None
        self.on_ready: cabc.Callable[[], object] = lambda: None
        self.demand: cabc.Callable[[], int] = lambda: 0

    def load_beside(self, served: OtherProcesses, hold_s: float | None) -> None:
        """Do as `load`, while another version is served.

        Args:
            served: the replicas of that version, which are of the same class.
            hold_s: how long predictions may wait while the other version ends first, if there is no
                room for both; None if they may not.

        Raises:
            ModelLoadError: the model could not be loaded, or there is no room for it.
            UnavailableError: nobody answers that could start the replicas.
        """
        self.want = {**self.want, "beside": served.want["key"], "hold_s": hold_s}
        self.load()

    def check(self) -> None:
        """Do nothing: who has started the replicas checks them, and replaces those that fail."""

    def _note_loaded(self, about: cabc.Mapping[str, t.Any]) -> None:
        """Note what the first replica has said of the model."""
        self.loaded_bytes, self.load_s = about["loaded_bytes"], about["took_s"]
        self.cards = tuple(msgspec.convert(about["cards"], list[Card]))
