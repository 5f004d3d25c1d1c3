"""The metrics of one worker process: what it writes to its table."""

from __future__ import annotations

import typing as t

from . import families
from .modelseries import ModelSeries
from .requestcounts import RequestCounts, added
from .sharedtable import SharedTable

if t.TYPE_CHECKING:
    from carboy.models.collection import Models

    from ..threads.slots import ViewSlots


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
        self._models = ModelSeries(table)

    def follow_views(self, slots: ViewSlots) -> None:
        """Note from now on how many views run and wait."""
        self._slots = slots

    def follow_models(self, models: Models) -> None:
        """Count from now on the predictions of models in the table."""
        for model in models.values():
            self._models.follow(model)

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
        self._models.sample()
