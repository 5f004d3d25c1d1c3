"""The metrics of one worker process: what it writes to its table."""

from __future__ import annotations

import typing as t

from ..log import logger
from . import families
from .requestcounts import RequestCounts, added
from .sharedtable import SharedTable

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from carboy.models.model import Model

    from ..threads.slots import ViewSlots
    from .sharedtable import Cells

# The metrics of a model apart from the outcomes, which have one series each.
_OF_MODEL = (
    *(families.QUEUE_TIME, families.COMPUTE_TIME, families.BATCH_SIZE),
    *(families.QUEUE_DEPTH, families.COMPUTING_PREDICTIONS),
    *(families.REPLICAS, families.MODEL_MEMORY),
)


class WorkerMetrics:
    """Counts the requests and predictions of a worker, and notes the current values of the gauges
    when the server calls `sample`.

    Args:
        table: where the numbers are written; by default memory of this process alone.
    """

    def __init__(self, table: SharedTable | None = None) -> None:
        self.table = table = table or SharedTable()
        self.count = RequestCounts(table).count
        self._connections = added(table, families.CONNECTIONS, ())
        self._active_requests = added(table, families.ACTIVE_REQUESTS, ())
        self._active_views = added(table, families.ACTIVE_VIEWS, ())
        self._waiting_views = added(table, families.WAITING_VIEWS, ())
        self._slots: ViewSlots | None = None
        # Each model with the cells of its gauges.
        self._models: list[tuple[Model, list[Cells]]] = []

    def follow_views(self, slots: ViewSlots) -> None:
        """Note from now on how many views run and wait."""
        self._slots = slots

    def follow_models(self, models: cabc.Iterable[Model]) -> None:
        """Count from now on the predictions of models in the table. A model for which the table has
        no room is left out.
        """
        from carboy.models.queue.state import OUTCOMES, Counters

        for model in models:
            labels = model.name, "" if model.version is None else str(model.version)
            outcomes = [(*labels, outcome) for outcome in OUTCOMES]
            cells = [self.table.add(families.PREDICTIONS, *outcomes)]
            cells += [self.table.add(family, labels) for family in _OF_MODEL]
            given = [each for each in cells if each is not None]
            if len(given) < len(cells):
                logger.warning("the metrics have no room for the model %r", model.name)
                continue
            number = len(Counters._fields)
            model.queue.count_in(Counters(*given[:number]))
            self._models.append((model, given[number:]))

    def sample(self, connections: int, active: int) -> None:
        """Note the current values of the gauges. The server calls this several times a second.

        Args:
            connections: how many connections are open.
            active: how many of them have a request that is being handled.
        """
        self._connections[0], self._active_requests[0] = connections, active
        if self._slots is not None:
            self._active_views[0] = self._slots.busy
            self._waiting_views[0] = self._slots.waiting
        for model, gauges in self._models:
            for cells, value in zip(gauges, _gauges_of(model), strict=True):
                cells[0] = value


def _gauges_of(model: Model) -> tuple[float, ...]:
    """Return the current values of the gauges of a model, in their order in `_OF_MODEL`."""
    statistics, is_loaded = model.statistics(), model.loaded
    memory_bytes = model.loaded_bytes if is_loaded else 0
    return statistics.waiting, statistics.computing, is_loaded, memory_bytes
