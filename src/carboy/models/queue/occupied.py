"""What a prediction occupies while it is computed: a slot of its model, and its model's device.

A slot is the permission to compute one batch. `predict` may call other models, which may call
further ones, on other threads. If such a call waited for the slot or device of the first call, both
would wait for ever. So a prediction for a model or a device that its own callers occupy is computed
at once, on the calling thread.
"""

from __future__ import annotations

import typing as t
from _thread import allocate_lock, get_ident
from collections import deque

from .ticket import held_lock

#: Maps each computing thread to what its prediction occupies, and what the callers of that
#: prediction occupy. PERF: a dict without a lock; each thread uses its own entry only.
OCCUPIED: dict[int, tuple[object, ...]] = {}


def occupied_by_callers() -> tuple[object, ...]:
    """Return the slots and devices of the predictions that wait for the calling thread."""
    return OCCUPIED.get(get_ident(), ())


class Device:
    """A device on which one batch at a time computes, whichever model it belongs to. Thread-safe.

    Waiting threads get the device in the order of their arrival. With a plain lock, a busy model
    could take the device again and again, before the thread that it has just woken runs.
    """

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._is_taken = False
        self._waiting: deque[t.Any] = deque()  # a held lock for each thread that waits

    def __enter__(self) -> None:
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return
            turn = held_lock()
            self._waiting.append(turn)
        turn.acquire()

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_taken = False


_devices: dict[str, Device] = {}


def device_named(name: str) -> Device:
    """Return the device of this name, which all models of the process share."""
    return _devices.setdefault(name, Device())


def forget_all() -> None:
    """Forget all threads and devices: in a forked child, where no thread computes."""
    OCCUPIED.clear()
    _devices.clear()
