"""A replica for tests of the queue: one function computes its batches."""

from __future__ import annotations

import typing as t


class FunctionReplica:
    """Computes batches by a function of a list; the entries may be anything, and not arguments."""

    loaded = True
    turns = posts = None

    def __init__(self, compute: t.Callable[[t.Any], t.Any]) -> None:
        self.compute = compute

    def load(self) -> None:
        """Nothing is to be loaded."""

    def close(self) -> None:
        """Nothing is held."""
