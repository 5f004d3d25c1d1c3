"""The series of models in the table of a worker: one set for each version of a model."""

from __future__ import annotations

import typing as t
import weakref

from ..log import logger
from . import families

if t.TYPE_CHECKING:
    from carboy.models.model import Model
    from carboy.models.versions.modelversion import ModelVersion

    from .sharedtable import Cells, SharedTable

# The metrics of a version apart from the outcomes, which have one series each: first those in which
# its queue counts, then the gauges.
_COUNTED = (families.QUEUE_TIME, families.COMPUTE_TIME, families.BATCH_SIZE)
_GAUGES = (
    *(families.QUEUE_DEPTH, families.COMPUTING_PREDICTIONS),
    *(families.REPLICAS, families.MODEL_MEMORY),
)


class ModelSeries:
    """Counts the predictions of versions of models, and notes the values of their gauges.
    Thread-safe.

    A version keeps its series after it is unloaded, because a counter must not decrease, and goes
    on with them when it is loaded again. The table has room for several hundred versions.
    """

    def __init__(self, table: SharedTable) -> None:
        self._table = table
        # The cells of the gauges of each version that exists.
        self._gauges: dict[weakref.ref[ModelVersion], list[Cells]] = {}
        # By model and version, the cells of all series, and which object counts in them.
        self._cells: dict[tuple[str, str], tuple[list[Cells], weakref.ref[ModelVersion]]] = {}
        self._models: list[Model] = []
        # The cells of each version that has failed, by the names of the model and the version.
        self._failed: dict[tuple[str, str], Cells] = {}

    def follow(self, model: Model) -> None:
        """Count from now on what the versions of a model compute."""
        for version in model.versions.served():
            self.added(model, version)
        model.versions.observers.append(self)
        self._models.append(model)

    def added(self, model: Model, version: ModelVersion) -> None:
        """Count from now on what a version computes. If the table has no room, the version is left
        out.
        """
        from carboy.models.queue.state import Counters

        labels = model.name, version.label
        cells = self._free_cells(labels) or self._add_cells(labels)
        if not cells:
            logger.warning("the metrics have no room for the model %r, version %r", *labels)
            return
        counted = 1 + len(_COUNTED)
        version.queue.count_in(Counters(*cells[:counted]))
        self._gauges[weakref.ref(version)] = cells[counted:]
        self._cells[labels] = cells, weakref.ref(version)

    def _free_cells(self, labels: tuple[str, str]) -> list[Cells]:
        """Return the cells of a version that was unloaded; an empty list if there are none."""
        cells, last = self._cells.get(labels, ([], None))
        if last is None or last() is not None:  # it computes its last predictions
            return []
        self._gauges.pop(last, None)
        return cells

    def _add_cells(self, labels: tuple[str, str]) -> list[Cells]:
        """Return new cells for a version; an empty list if the table has no room."""
        from carboy.models.queue.state import OUTCOMES

        outcomes = [(*labels, outcome) for outcome in OUTCOMES]
        cells = [self._table.add(families.PREDICTIONS, *outcomes)]
        cells += [self._table.add(family, labels) for family in (*_COUNTED, *_GAUGES)]
        given = [each for each in cells if each is not None]
        return given if len(given) == len(cells) else []

    def sample(self) -> None:
        """Note the current values of the gauges. Those of a version that is unloaded are 0, and its
        counters stay.
        """
        for reference, gauges in list(self._gauges.items()):
            version = reference()
            values = (0.0,) * len(gauges) if version is None else _values_of(version)
            for cells, value in zip(gauges, values, strict=True):
                cells[0] = value
            if version is None:
                del self._gauges[reference]
        failed = {
            (model.name, str(state["version"]))
            for model in self._models
            for state in model.versions.states()
            if state["state"] == "failed"
        }
        for labels in failed - self._failed.keys():
            if (added := self._table.add(families.FAILED_VERSIONS, labels)) is not None:
                self._failed[labels] = added
        for labels, cells in self._failed.items():
            cells[0] = labels in failed


def _values_of(version: ModelVersion) -> tuple[float, ...]:
    """Return the current values of the gauges of a version, in the order of `_GAUGES`."""
    # The supervisor counts the replicas that are processes of their own.
    statistics = version.statistics()
    copies = version.is_loaded_here
    return statistics.waiting, statistics.computing, copies, version.memory_bytes
