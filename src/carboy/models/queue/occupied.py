"""Avoid deadlocks between models that ask one another, and share devices among models.

While a prediction is computed, it occupies a slot of its model (the permission to compute one
batch) and the model's device. Its `predict` may ask other models for predictions, which may ask
further models on other threads; each slot stays occupied until the answer is there. So predictions
may wait for slots or devices that become free only after these predictions have ended:

    one thread        detect asks classify, and waits for a slot of classify
    another thread    classify asks detect, and waits for a slot of detect

The prediction that would complete such a deadlock does not wait. It is computed at once, on the
thread that asks for it, even if all slots are occupied: the thread that occupies the slot only
waits meanwhile. All queues decide under one lock, so whichever prediction is asked for last finds
the deadlock.
"""

from __future__ import annotations

import typing as t
from _thread import allocate_lock, get_ident
from collections import deque
from contextlib import contextmanager

from .ticket import held_lock

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from .state import Slot, WaitsFor
    from .threads import BatchThreads
    from .ticket import Ticket


class Need(t.NamedTuple):
    """Slots (permissions to compute a batch) for which a batch waits: at least `missing` of them
    must become free before the batch can begin or end.
    """

    slots: cabc.Sequence[Slot]
    missing: int = 1


# The slots that each thread occupies, by the thread's identifier. A thread occupies several if it
# computes predictions that its own `predict` has asked for; the innermost comes first. PERF: a dict
# without a lock, because each thread changes its own entry only.
COMPUTING: dict[int, tuple[Slot, ...]] = {}
# Held while it is decided whether a prediction may wait for a slot or a device. Otherwise two
# threads that complete a deadlock together would not notice it.
_asking = allocate_lock()


def slots_of_caller() -> tuple[Slot, ...]:
    """Return the slots (permissions to compute a batch) that the calling thread occupies, the
    innermost first.
    """
    return COMPUTING.get(get_ident(), ())


@contextmanager
def occupying(slot: Slot) -> cabc.Iterator[Slot]:
    """Let the calling thread occupy one more slot (permission to compute a batch) during a `with`
    block.
    """
    ident = get_ident()
    before = COMPUTING.get(ident, ())
    COMPUTING[ident] = (slot, *before)
    try:
        yield slot
    finally:
        if before:
            COMPUTING[ident] = before
        else:
            del COMPUTING[ident]


def computes_for(asker: Slot | None) -> bool:
    """Return whether the calling thread computes what was asked for in the slot `asker`, directly
    or by way of further models, or occupies that slot itself.
    """
    found, seen = list(slots_of_caller()), set()
    while found:
        slot = found.pop()
        if slot is asker:
            return True
        if slot not in seen:
            seen.add(slot)
            askers = [slot.asker, *(ticket.asker for ticket in slot.tickets)]
            found += [each for each in askers if each is not None]
    return False


@contextmanager
def paused(waits_for: WaitsFor) -> cabc.Iterator[None]:
    """Let the time of this block not count as time of the `predict` for which the calling thread
    waits.
    """
    slots = slots_of_caller()
    if not slots:
        yield
        return
    slot = slots[0]
    slot.queue.pause(slot, waits_for)
    try:
        yield
    finally:
        slot.queue.resume(slot)


def may_wait(queue: BatchThreads, admit: cabc.Callable[[], object]) -> bool:
    """Call `admit`, which queues a prediction that another prediction, on this thread, needs.

    Returns False, and does not call `admit`, if the new prediction would wait for ever: for a slot
    that does not become free before the new prediction has ended.
    """
    slots = slots_of_caller()
    with _asking:
        if any(slot.queue is queue for slot in slots) or _is_deadlock(queue.needs(), slots):
            return False
        slots[0].asked |= {queue}
        admit()
        return True


@contextmanager
def passing_on(queue: BatchThreads) -> cabc.Iterator[cabc.Callable[[Ticket], None]]:
    """Let predictions be passed on to a queue during a `with` block. The function that it yields is
    called with each of them.
    """

    def note(ticket: Ticket) -> None:
        if ticket.asker is not None:
            ticket.asker.asked |= {queue}

    with _asking:
        yield note


def _is_deadlock(needs: cabc.Sequence[Need], occupied: tuple[Slot, ...]) -> bool:
    """Return whether a prediction would wait for ever.

    Args:
        needs: what must become free before the prediction can be computed.
        occupied: the slots that do not become free before the prediction has ended.
    """
    needs_of: dict[Slot, cabc.Sequence[Need]] = dict.fromkeys(occupied, ())
    found = [slot for need in needs for slot in need.slots]
    while found:
        slot = found.pop()
        if slot not in needs_of:
            needs_of[slot] = slot.queue.needs_of(slot)
            found += [each for need in needs_of[slot] for each in need.slots]
    # Find all slots that will become free. A slot will, if everything that its batch waits for is
    # free or among the slots that will become free.
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

    Waiting threads get the device in the order of their arrival. With a plain lock, the thread of a
    busy model could take the device again and again, before the waiting thread that it has woken
    begins to run.

    Attributes:
        slot: the slot of the batch that computes on the device; None while it is free.
    """

    def __init__(self) -> None:
        self.slot: Slot | None = None
        # The slots of the batches that wait for the device, each with the lock on which its thread
        # sleeps.
        self._waiting: deque[tuple[Slot, t.Any]] = deque()

    @contextmanager
    def use(self, slot: Slot) -> cabc.Iterator[None]:
        """Wait until the device is free, and hold it during a `with` block. If it would never
        become free (a deadlock), run the block without holding it.
        """
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
        """Return what must become free before another batch can compute on the device."""
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
    """Forget all threads and devices. Called in a forked child process, in which none of the
    parent's threads runs.
    """
    global _asking  # noqa: PLW0603 - another thread may have held it
    _asking = allocate_lock()
    COMPUTING.clear()
    _devices.clear()
