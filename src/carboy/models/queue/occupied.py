"""Avoid deadlocks between models that ask one another, and share devices among models.

A prediction occupies a slot of its model (the permission to compute one batch), and its model's
device. Its `predict` may ask other models, on whose threads further models are asked; each slot
stays occupied until the answer is there. So predictions may wait for slots or devices that they
occupy themselves:

    one thread        detect asks classify, and waits for its slot
    another thread    classify asks detect, and waits for its slot

The prediction that would complete a deadlock is computed at once instead, on the thread that asks
for it, beside the slot whose own thread waits. All queues decide that under one lock, so that the
prediction that is asked for last finds each deadlock.
"""

from __future__ import annotations

import typing as t
from _thread import allocate_lock, get_ident
from collections import deque
from contextlib import contextmanager

from .ticket import held_lock

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from .state import Slot
    from .threads import BatchThreads


class Need(t.NamedTuple):
    """Occupied slots, and how many of them must become free before a prediction can go on."""

    slots: cabc.Sequence[Slot]
    missing: int = 1


#: Maps each computing thread to its slots, the innermost first: a thread may compute predictions
#: that it has asked for. PERF: a dict without a lock; each thread uses its own entry only.
COMPUTING: dict[int, tuple[Slot, ...]] = {}
#: Held while a prediction is asked for by another one, or waits for a device.
_asking = allocate_lock()


def slots_of_caller() -> tuple[Slot, ...]:
    """Return the slots in which the calling thread computes, the innermost first."""
    return COMPUTING.get(get_ident(), ())


def may_wait(queue: BatchThreads, admit: cabc.Callable[[], object]) -> bool:
    """Call `admit`, which lets a prediction of the calling thread wait in a queue.

    Returns False instead if the prediction would wait for ever.
    """
    slots = slots_of_caller()
    with _asking:
        if any(slot.queue is queue for slot in slots) or _is_deadlock(queue.needs(), slots):
            return False
        slots[0].asked |= {queue}
        admit()
        return True


def _is_deadlock(needs: cabc.Sequence[Need], occupied: tuple[Slot, ...]) -> bool:
    """Return whether a prediction would wait for ever.

    Args:
        needs: what the prediction needs.
        occupied: the slots that become free only after the prediction.
    """
    needs_of: dict[Slot, cabc.Sequence[Need]] = dict.fromkeys(occupied, ())
    found = [slot for need in needs for slot in need.slots]
    while found:
        slot = found.pop()
        if slot not in needs_of:
            needs_of[slot] = slot.queue.needs_of(slot)
            found += [each for need in needs_of[slot] for each in need.slots]
    # A slot becomes free if everything becomes free that its prediction needs.
    becoming_free: set[Slot] = set()
    left = needs_of.keys() - set(occupied)
    while more := {slot for slot in left if not _is_unmet(needs_of[slot], becoming_free)}:
        becoming_free |= more
        left -= more
    return _is_unmet(needs, becoming_free)


def _is_unmet(needs: cabc.Sequence[Need], free: set[Slot]) -> bool:
    return any(len(free.intersection(slots)) < missing for slots, missing in needs)


class Device:
    """A device on which one batch at a time computes, whichever model it belongs to. Thread-safe.

    Waiting threads get the device in the order of their arrival. With a plain lock, a busy model
    could take the device again and again, before the thread that it has just woken runs.

    Attributes:
        slot: the slot of the batch that computes on the device; None while it is free.
    """

    def __init__(self) -> None:
        self.slot: Slot | None = None
        # With the lock on which each thread waits.
        self._waiting: deque[tuple[Slot, t.Any]] = deque()

    @contextmanager
    def use(self, slot: Slot) -> cabc.Iterator[None]:
        """Wait for the device and hold it; if the wait would never end, go on without it."""
        turn, holds = None, True
        with _asking:
            if self.slot is None:
                self.slot = slot
            elif _is_deadlock(self.needs(), (slot, *slots_of_caller())):
                holds = False
            else:
                turn = held_lock()
                self._waiting.append((slot, turn))
        if turn is not None:
            turn.acquire()
        try:
            yield
        finally:
            if holds:
                self._pass_on()

    def _pass_on(self) -> None:
        with _asking:
            if self._waiting:
                self.slot, turn = self._waiting.popleft()
                turn.release()
            else:
                self.slot = None

    def needs(self) -> list[Need]:
        """Return what a batch needs to compute on the device."""
        return [] if self.slot is None else [Need([self.slot])]

    @property
    def waiting(self) -> int:
        """How many batches wait for the device."""
        return len(self._waiting)


_devices: dict[str, Device] = {}


def device_named(name: str) -> Device:
    """Return the device of this name, which all models of the process share."""
    return _devices.setdefault(name, Device())


def forget_all() -> None:
    """Forget all threads and devices: in a forked child, where no thread computes."""
    global _asking  # noqa: PLW0603 - another thread may have held it
    _asking = allocate_lock()
    COMPUTING.clear()
    _devices.clear()
