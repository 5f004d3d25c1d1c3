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
    *(families.WAITING_PREDICTIONS, families.COMPUTING_PREDICTIONS),
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
        # Each model with the cells of its two gauges.
        self._models: list[tuple[Model, Cells, Cells]] = []

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
            *counters, waiting, computing = given
            model.queue.count_in(Counters(*counters))
            self._models.append((model, waiting, computing))

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
        for model, waiting, computing in self._models:
            statistics = model.statistics()
            waiting[0], computing[0] = statistics.waiting, statistics.computing
