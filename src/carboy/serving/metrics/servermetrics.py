"""The metrics of the whole server: the sums over all worker processes, those that have ended
included.
"""

from __future__ import annotations

import os
import typing as t
from _thread import allocate_lock
from collections import Counter

from . import families
from .exposition import write_family
from .families import FAMILIES, Family
from .sharedtable import Series, SharedTable, new_memory

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..process.serverstate import ReplicaState, ServerState
    from .sharedtable import Labels

    #: The numbers of the series, by metric and the values of the labels.
    Numbers = dict[Family, dict[Labels, list[float]]]


class ServerMetrics:
    """Holds the tables of the worker processes, and the totals of those that have ended.
    Thread-safe.

    Because each process has a table of its own, no number ever decreases: neither when a process is
    replaced by another, nor while both serve.
    """

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._tables: dict[int, SharedTable] = {}
        self._ended: Numbers = {}

    def open_table(self) -> int:
        """Make the table for a new worker process. Return the descriptor of its memory, which the
        process must inherit. The descriptor also identifies the table.
        """
        fd = new_memory()
        with self._lock:
            self._tables[fd] = SharedTable(fd)
        return fd

    def close_table(self, fd: int) -> None:
        """Keep what a process has counted, and free the memory of its table, after the process has
        ended.
        """
        with self._lock:
            add_up(self._tables.pop(fd).series(), self._ended, gauges=False)
        os.close(fd)

    def render(self, state: ServerState) -> bytes:
        """Return all metrics in Prometheus' text format.

        Args:
            state: the state of the server, with its worker processes.
        """
        with self._lock:
            numbers: Numbers = {
                family: {labels: cells[:] for labels, cells in series.items()}
                for family, series in self._ended.items()
            }
            for table in self._tables.values():
                add_up(table.series(), numbers, gauges=True)
        add_up(_series_of_replicas(state.replicas), numbers, gauges=True)
        numbers.update(_describe_processes(state))
        return render(numbers)


def render(numbers: cabc.Mapping[Family, cabc.Mapping[Labels, cabc.Sequence[float]]]) -> bytes:
    """Return metrics in Prometheus' text format, without those that have no series."""
    found = ((family, numbers.get(family)) for family in FAMILIES)
    return "".join(write_family(family, series) for family, series in found if series).encode()


def add_up(series: cabc.Iterable[Series], numbers: Numbers, *, gauges: bool) -> None:
    """Add the numbers of a table to those of others. With `gauges=False`, leave out the gauges,
    because a process that has ended has no current values.
    """
    for family, labels, cells in series:
        if family.kind == "gauge" and not gauges:
            continue
        of_family = numbers.setdefault(family, {})
        before = of_family.get(labels)
        of_family[labels] = (
            list(cells) if before is None else [a + b for a, b in zip(before, cells, strict=True)]
        )


def _series_of_replicas(replicas: cabc.Iterable[ReplicaState]) -> cabc.Iterator[Series]:
    """Yield the copies of models in processes of their own, and the memory of these processes."""
    for each in replicas:
        labels = each.model, each.label
        yield Series(families.REPLICAS, labels, [each.phase == "ready"])
        yield Series(families.MODEL_MEMORY, labels, [float(each.resident_bytes or 0)])


def _describe_processes(state: ServerState) -> Numbers:
    phases = dict.fromkeys(("loading", "ready", "draining", "hanging", "waiting"), 0)
    phases |= Counter(process.phase for process in state.processes)
    restarts = {process.number: process.restarts for process in state.processes}
    memory: dict[Labels, list[float]] = {}
    for process in state.processes:
        if (used := process.resident_bytes) is not None:
            memory[str(process.number), str(process.pid)] = [float(used)]
    return {
        families.WORKERS: {(phase,): [float(number)] for phase, number in phases.items()},
        families.RESTARTS: {(): [float(sum(restarts.values()))]},
        families.MEMORY: memory,
    }
