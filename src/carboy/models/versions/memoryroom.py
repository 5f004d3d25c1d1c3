"""Whether a further version of a model fits into the memory beside the one that is served."""

from __future__ import annotations

import dataclasses
import typing as t

from carboy.core.cgroups import ResourceLimit, memory_left
from carboy.core.processmemory import available_bytes, in_mib
from carboy.errors import ModelFileError

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from ..saved.card import Card

# How many times its files a version takes in memory at most, as far as the one before shows. The
# first version that a process loads is measured together with the libraries that it imports, which
# a further one does not load again.
_MOST_FACTOR = 3.0


@dataclasses.dataclass(frozen=True, slots=True)
class ServedVersion:
    """The version that is served while another one is to be loaded.

    Attributes:
        name: its name.
        files_bytes: the size of its files; 0 if that is unknown.
        loaded_bytes: how much memory a process took more when it had loaded the version.
        load_s: how long that took, in seconds.
        process_bytes: how much memory a process of the version takes, if each version has processes
            of its own; None if one process loads several versions.
        copies: how many processes have loaded it.
    """

    name: str
    files_bytes: int
    loaded_bytes: int
    load_s: float
    process_bytes: int | None = None
    copies: int = 1

    @property
    def freed_bytes(self) -> int:
        """How much memory is free again when the version is unloaded."""
        return self.copies * (self.process_bytes or self.loaded_bytes)

    def expected_bytes(self, files_bytes: int) -> float:
        """Return how much memory as many copies of a version with files of this size will take: as
        much as the files, or more if this version takes more than its own.
        """
        factor = 1.0
        if self.files_bytes:
            factor = min(max(1.0, self.loaded_bytes / self.files_bytes), _MOST_FACTOR)
        alike = self.process_bytes or factor * self.files_bytes
        is_known = files_bytes and self.files_bytes
        growth = factor * (files_bytes - self.files_bytes) if is_known else 0.0
        return self.copies * max(files_bytes, alike + growth)


def files_bytes(cards: cabc.Iterable[Card]) -> int:
    """Return the size of the files of saved models; 0 without cards."""
    return sum(card.size_bytes for card in cards)


def must_hold(served: ServedVersion, files_bytes: int, hold_s: float | None) -> bool:
    """Return whether the version that is served must be unloaded before another one is loaded,
    because both do not fit into the memory: the system would end the process that serves.

    Args:
        files_bytes: the size of the files of the other version.
        hold_s: how long predictions may wait meanwhile; None if they may not.

    Raises:
        ModelFileError: they may not wait, or would wait in vain. The text says how much memory is
            needed and left, and what to do.
    """
    needed, left = served.expected_bytes(files_bytes), _left()
    if left is None or needed <= left.amount:
        return False
    what = (
        f"It needs about {in_mib(needed)} of memory beside version {served.name!r}, and"
        f" {in_mib(left.amount)} are left ({left.source})."
    )
    if needed > (most := left.amount + served.freed_bytes):
        raise ModelFileError(
            f"{what} Without that version, {in_mib(most)} would be left. Give the server more"
            " memory."
        )
    if hold_s is None:
        raise ModelFileError(
            f"{what} Give the server more memory; or let predictions wait while version"
            f" {served.name!r} is unloaded first, by app.model(..., hold_s=30)."
        )
    if served.load_s > hold_s:
        raise ModelFileError(
            f"{what} Predictions may wait for {hold_s:g} s (hold_s) while version {served.name!r}"
            f" is unloaded first, but loading that one took {served.load_s:.3g} s. Give the server"
            " more memory, or raise hold_s."
        )
    return True


def no_end_of(served: str, hold_s: float) -> str:
    """Return why a version was not loaded in place of another one."""
    return (
        f"There is no memory for it beside version {served!r}, whose predictions had not ended"
        f" within {hold_s:g} s (hold_s)."
    )


def _left() -> ResourceLimit | None:
    """Return how much memory is left for this process; None if the system does not tell."""
    machine = available_bytes()
    limits = [memory_left(), None if machine is None else ResourceLimit(machine, "this machine")]
    return min((limit for limit in limits if limit is not None), default=None)
