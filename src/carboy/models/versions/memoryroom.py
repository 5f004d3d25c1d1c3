"""Whether a further version of a model fits into the memory beside those that are loaded."""

from __future__ import annotations

import typing as t

from carboy.core.cgroups import ResourceLimit, memory_left
from carboy.core.processmemory import available_bytes, in_mib
from carboy.errors import ModelFileError

if t.TYPE_CHECKING:
    from .modelversion import ModelVersion

# How many times its files a version takes in memory at most, as far as the current version shows.
# The first version that a process loads is measured together with the libraries that it imports,
# which a further one does not load again.
_MOST_FACTOR = 3.0


def refuse_without_room(new: ModelVersion, current: ModelVersion) -> None:
    """Refuse to load a version for which there is too little memory, because the system would end
    the process that serves the current version.

    Args:
        new: the version that is to be loaded.
        current: the version that serves meanwhile. What it takes in memory, and on disk, says how
            much a version with files of another size will take.

    Raises:
        ModelFileError: the text says how much memory is needed and left.
    """
    needed, left = _expected_bytes(new, current), _left()
    if left is not None and needed > left.amount:
        raise ModelFileError(
            f"It needs about {in_mib(needed)} of memory beside version {current.name!r}, and"
            f" {in_mib(left.amount)} are left ({left.source}). Give the server more memory, or"
            " restart it, so that it loads the new version alone."
        )


def _expected_bytes(new: ModelVersion, current: ModelVersion) -> float:
    """Return how much memory a version will take: as much as its files, or more if the current
    version takes more than its own.
    """
    files, known = _file_bytes(new), _file_bytes(current)
    factor = current.replica.loaded_bytes / known if known else 1.0
    return min(max(1.0, factor), _MOST_FACTOR) * files


def _file_bytes(version: ModelVersion) -> int:
    return sum(card.size_bytes for card in version.cards)


def _left() -> ResourceLimit | None:
    """Return how much memory is left for this process; None if the system does not tell."""
    machine = available_bytes()
    limits = [memory_left(), None if machine is None else ResourceLimit(machine, "this machine")]
    return min((limit for limit in limits if limit is not None), default=None)
