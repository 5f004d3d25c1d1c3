"""A table of counters in memory that a worker process shares with the supervisor.

The worker adds series (counters with labels) and writes their numbers; the supervisor only reads.
What was written stays when the worker is killed. The memory is a file without a name, whose
descriptor the worker inherits, so that no folder is needed.

    cell 0          how many bytes of names are valid
    other cells     the numbers of the series, one after another; each is a float64
    names           a JSON line per series: name of the metric, values of the labels, first cell
"""

from __future__ import annotations

import json
import mmap
import os
import tempfile
import typing as t
from _thread import allocate_lock
from collections.abc import MutableSequence

from .families import BY_NAME

if t.TYPE_CHECKING:
    from .families import Family

# Sizes of the two parts, enough for 4,000 series of the requests' histogram. The system gives
# memory only to those pages that are written to.
CELLS = 64 * 1024
NAMES_BYTES = 512 * 1024
_CELLS_BYTES = CELLS * 8

#: The values of a series' labels, in the order of `Family.labels`. None for the series that counts
#: what has no series of its own, because the table is full.
Labels = tuple[str, ...] | None
#: The numbers of a series. PERF: adding to an item takes 35 ns. An aligned item is read and written
#: at once, so that the other process never sees half of a number.
Cells = MutableSequence[float]


class Series(t.NamedTuple):
    """The numbers of one metric for one combination of labels."""

    family: Family
    labels: Labels
    cells: t.Sequence[float]


class SharedTable:
    """A table of counters, which its creator may share with one other process. Thread-safe.

    Args:
        fd: the descriptor of the shared memory; None for memory of this process alone.
    """

    def __init__(self, fd: int | None = None) -> None:
        size = _CELLS_BYTES + NAMES_BYTES
        memory = memoryview(mmap.mmap(-1 if fd is None else fd, size))
        self._cells = memory[:_CELLS_BYTES].cast("d")
        self._names = memory[_CELLS_BYTES:]
        self._used_cells = 1
        self._lock = allocate_lock()
        # The series that `series` has read already, and how many bytes of names these are.
        self._series: list[Series] = []
        self._read_bytes = 0

    def add(self, family: Family, *labels: Labels) -> Cells | None:
        """Add a series for each of `labels`, whose numbers are 0. Return the cells of all of them,
        one after another; None if the table is full.
        """
        size = family.cells
        with self._lock:
            first, begin = self._used_cells, int(self._cells[0])
            lines = [
                json.dumps([family.name, each, first + size * i]) for i, each in enumerate(labels)
            ]
            names = "".join(f"{line}\n" for line in lines).encode()
            end, used = begin + len(names), first + size * len(labels)
            if used > CELLS or end > NAMES_BYTES:
                return None
            self._names[begin:end] = names
            self._used_cells = used
            # Only now may the supervisor read the names, because they are complete.
            self._cells[0] = end
        return t.cast("Cells", self._cells[first:used])

    def series(self) -> list[Series]:
        """Return the series that have been added, by this process or by the other one."""
        with self._lock:
            end = int(self._cells[0])
            for line in bytes(self._names[self._read_bytes : end]).splitlines():
                name, labels, first = json.loads(line)
                # A worker that was started after an update may have metrics that this process does
                # not know.
                if (family := BY_NAME.get(name)) is not None:
                    cells = self._cells[first : first + family.cells]
                    self._series.append(
                        Series(family, None if labels is None else tuple(labels), cells)
                    )
            self._read_bytes = end
            return self._series[:]


def new_memory() -> int:
    """Return the descriptor of new memory for a `SharedTable`, filled with zeros. The caller closes
    it.
    """
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("carboy-metrics")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, _CELLS_BYTES + NAMES_BYTES)
    return fd
