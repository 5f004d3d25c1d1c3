"""`RayItems`: a stream of predictions that a replica on a Ray cluster computes."""

from __future__ import annotations

import typing as t

from ..replicas.replicaitems import ReplicaItems
from .messages import Parcel

if t.TYPE_CHECKING:
    from collections import abc as cabc
    from contextlib import AbstractContextManager

    from .rayreplicas import KnownActor, RayReplicas


class RayItems(ReplicaItems[Parcel]):
    """The items of a stream, which Ray sends.

    Args:
        items: the generator of Ray that yields the parcels after the first one.
        name: the name of the stream at the replica.
        on_end: called when the stream is over.
    """

    def __init__(
        self,
        replicas: RayReplicas,
        actor: KnownActor,
        items: t.Any,
        first: Parcel,
        name: bytes,
        *,
        on_end: cabc.Callable[[], object],
    ) -> None:
        super().__init__(first)
        self._replicas = replicas
        self._actor = actor
        self._items = items
        self._name = name
        self._on_end = on_end

    def _waiting(self) -> AbstractContextManager[None]:
        return self._replicas.waiting_on(self._actor)

    def _receive(self) -> Parcel:
        return self._replicas.next_parcel(self._actor, self._items)

    def _read(self, message: Parcel) -> t.Any:
        return self._replicas.results_of(message, 1)

    def _stop(self) -> None:
        self._actor.handle.stop.remote(self._name)

    def _release(self, *, is_lost: bool) -> None:
        self._on_end()
