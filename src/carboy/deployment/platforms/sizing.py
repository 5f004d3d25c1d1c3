"""How much memory a container of an app needs."""

from __future__ import annotations

import math
import typing as t

from ...core.processmemory import MIB, in_mib
from ...errors import DeploymentError

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ...serving.process.capacity import Measurement

GIB_IN_MIB = 1024


class Room(t.NamedTuple):
    """How much memory an app needs, and why."""

    mib: int
    reason: str


class MachineSize(t.NamedTuple):
    """A size of a machine that a platform offers."""

    name: str
    mib: int


def room_for(measured: Measurement) -> Room:
    """Return how much memory an app with one worker needs: that of the server with a second worker
    beside it, because a worker is replaced only when its successor has loaded the app, and half of
    that again for requests.
    """
    # The figures are not in the text, because they differ a little each time, so that the files
    # would differ from those that were generated before.
    reason = (
        "measured, with room for the successor of the worker, and half of it again for requests"
    )
    return Room(math.ceil(measured.needed_bytes(2) * 1.5 / MIB), reason)


def describe(measured: Measurement) -> str:
    """Return what was measured, as a part of a sentence."""
    worker, supervisor = measured.worker, measured.supervisor
    parts = [
        f"{in_mib(worker.own_bytes)} in each worker" if worker else "",
        f"{in_mib(worker.file_bytes)} of files that workers share" if worker else "",
        f"{in_mib(supervisor.own_bytes)} in the supervisor" if supervisor else "",
        f"{in_mib(measured.replica_bytes)} in replicas" if measured.replicas else "",
    ]
    return ", ".join(filter(None, parts))


def stated_room(size_bytes: int) -> Room:
    """Return the memory that the user has stated."""
    return Room(math.ceil(size_bytes / MIB), "as stated by --memory")


def round_up(mib: int, step_mib: int, least_mib: int) -> int:
    """Return the next multiple of a step, at least `least_mib`."""
    return max(least_mib, math.ceil(mib / step_mib) * step_mib)


def smallest(room: Room, sizes: cabc.Sequence[MachineSize], platform: str) -> MachineSize:
    """Return the smallest size that has enough memory.

    Args:
        room: the memory that the app needs.
        sizes: the sizes that a platform offers, in ascending order.
        platform: the platform's name, for the error.

    Raises:
        DeploymentError: no size has enough memory.
    """
    for size in sizes:
        if size.mib >= room.mib:
            return size
    raise DeploymentError(
        f"{platform} offers at most {sizes[-1].mib} MiB, and the app needs {room.mib} MiB"
        f" ({room.reason}). Let the app load less, or choose another platform by --to."
    )
