"""`RayItems`: a stream of predictions that a replica on a Ray cluster computes."""

from __future__ import annotations

import typing as t
from collections import abc as cabc

from carboy.errors import DeadlineError, ReplicaLostError

from ..replicas.batches import decode_failure
from ..replicas.frames import END, FAILED, ITEM, ConnectionLost

if t.TYPE_CHECKING:
    from .messages import Parcel
    from .rayreplicas import KnownActor, RayReplicas


class RayItems(cabc.Iterator[t.Any]):
    """The items of a stream that a replica produces. Used by one thread at a time."""

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
        self._replicas = replicas
        self._actor = actor
        self._items = items
        self._next: Parcel | None = first
        self._name = name
        self._on_end = on_end
        self._is_over = False

    def __next__(self) -> t.Any:
        if self._is_over:
            raise StopIteration
        try:
            with self._replicas.waiting_on(self._actor):
                parcel, self._next = self._next or self._next_parcel(), None
                if parcel.kind == ITEM:
                    return self._replicas.read_item(parcel)
                failure = _end_of(parcel)
        except ConnectionLost as exc:
            self._end()
            raise ReplicaLostError(f"The replica has ended while it produced items: {exc}") from exc
        except BaseException:
            self._end()
            raise
        self._end()
        if failure is None:
            raise StopIteration
        try:
            raise failure
        finally:
            del failure  # break a reference cycle: its traceback refers to this frame

    def _next_parcel(self) -> Parcel:
        return self._replicas.next_parcel(self._actor, self._items)

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._on_end()

    def close(self) -> None:
        """Let the replica close the generator, and wait until it has."""
        if self._is_over:
            return
        try:
            with self._replicas.waiting_on(self._actor):
                self._actor.handle.stop.remote(self._name)
                parcel = self._next or self._next_parcel()
                while parcel.kind == ITEM:
                    parcel = self._next_parcel()
        except (ConnectionLost, DeadlineError):
            pass
        finally:
            self._end()


def _end_of(parcel: Parcel) -> BaseException | None:
    if parcel.kind not in (END, FAILED):
        raise ConnectionLost(f"an unexpected message {parcel.kind}", is_garbage=True)
    return decode_failure(parcel.meta) if parcel.meta else None
