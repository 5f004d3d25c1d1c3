"""`ReplicaItems`: a stream of predictions that a replica computes in another process."""

from __future__ import annotations

import typing as t
from abc import ABC, abstractmethod
from collections import abc as cabc

from carboy.errors import DeadlineError, ReplicaLostError

from .batches import decode_failure
from .frames import END, FAILED, ITEM, ConnectionLost

if t.TYPE_CHECKING:
    from contextlib import AbstractContextManager


class Message(t.Protocol):
    """What a replica has sent, on a socket (`Frame`) or through Ray (`Parcel`)."""

    @property
    def kind(self) -> int: ...

    @property
    def meta(self) -> bytes: ...

    @property
    def region(self) -> memoryview: ...


_Message = t.TypeVar("_Message", bound=Message)


class ReplicaItems(cabc.Iterator[t.Any], ABC, t.Generic[_Message]):
    """The items of a stream that a replica computes; each subclass has its own way to the replica.
    Used by one thread at a time.

    Args:
        first: the first message of the replica: an item, or the end of the stream.
    """

    def __init__(self, first: _Message) -> None:
        self._next: _Message | None = first
        self._is_over = False

    @abstractmethod
    def _waiting(self) -> AbstractContextManager[None]:
        """Let another thread end the wait in a `with` block, because the replica hangs."""

    @abstractmethod
    def _receive(self) -> _Message:
        """Wait for the next message."""

    @abstractmethod
    def _read(self, message: _Message) -> t.Any:
        """Return a list with the item of a message; or an exception if this process cannot read the
        item.
        """

    @abstractmethod
    def _stop(self) -> None:
        """Ask the replica to close the generator. It then sends the end of the stream."""

    @abstractmethod
    def _release(self, *, is_lost: bool) -> None:
        """Let another batch use the replica.

        Args:
            is_lost: whether the stream has no end, because the replica has died, is replaced, or
                has sent something that is no message.
        """

    def __next__(self) -> t.Any:
        if self._is_over:
            raise StopIteration
        try:
            with self._waiting():
                message, self._next = self._next or self._receive(), None
                is_item = message.kind == ITEM
                outcome = self._read(message) if is_item else _failure_at_end(message)
        except ConnectionLost as exc:
            self._end(is_lost=True)
            raise ReplicaLostError(f"The replica has ended while it produced items: {exc}") from exc
        except BaseException:
            self._end(is_lost=True)
            raise
        if is_item and type(outcome) is list:
            return outcome[0]
        if not is_item:
            self._end(is_lost=False)
        if outcome is None:
            raise StopIteration
        try:
            raise outcome
        finally:
            del outcome  # break a reference cycle: its traceback refers to this frame

    def _end(self, *, is_lost: bool) -> None:
        self._is_over = True
        self._release(is_lost=is_lost)

    def close(self) -> None:
        """Let the replica close the generator, and wait until it has."""
        if self._is_over:
            return
        is_lost = True
        try:
            with self._waiting():
                self._stop()
                message = self._next or self._receive()
                while message.kind == ITEM:
                    message = self._receive()
                _failure_at_end(message)
            is_lost = False
        except (ConnectionLost, DeadlineError):
            pass
        finally:
            self._end(is_lost=is_lost)


def _failure_at_end(message: Message) -> BaseException | None:
    """Return the exception that has ended a stream; None if the stream is complete.

    Raises:
        ConnectionLost: the message is not the end of a stream.
    """
    if message.kind not in (END, FAILED):
        raise ConnectionLost(f"an unexpected message {message.kind}", is_garbage=True)
    return decode_failure(message.meta) if message.meta else None
