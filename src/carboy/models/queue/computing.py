"""From what waits in the queue to calls of `predict`.

With `batch=1` that is arguments by name, and the context of the request that they came with, in
which `predict` runs. A batch belongs to no request: its items are values alone, in the order of the
parameters.
"""

from __future__ import annotations

import typing as t
from contextvars import copy_context
from functools import partial

from .stream import begin

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from .calls import Columns


class Computation:
    """How one model computes. Thread-safe.

    Args:
        call: calls `predict` with arguments by name.
        columns: of a `predict` that takes batches.
        streams: `predict` gives items, one after the other.

    Attributes:
        run: computes a list of items, as the scheduler wants it.
    """

    def __init__(
        self,
        call: cabc.Callable[[cabc.Mapping[str, t.Any]], t.Any],
        *,
        columns: Columns | None,
        streams: bool,
    ) -> None:
        self._call = call
        self._columns = columns
        self.run: cabc.Callable[[list[t.Any]], t.Any]
        if columns is not None:
            self.run = partial(columns.run, call)
        else:
            self.run = self._begin_one if streams else self._run_one

    def item(self, arguments: cabc.Mapping[str, t.Any]) -> t.Any:
        """What waits for these arguments."""
        if self._columns is None:
            return copy_context(), arguments
        return tuple([arguments[name] for name in self._columns.names])

    def _run_one(self, items: list[t.Any]) -> list[t.Any]:
        ((context, arguments),) = items
        return [context.run(self._call, arguments)]

    def _begin_one(self, items: list[t.Any]) -> list[t.Any]:
        ((context, arguments),) = items
        return [begin(partial(self._call, arguments), context)]
