"""The options of `@app.model(...)`, validated at registration."""

from __future__ import annotations

import dataclasses
import math
import typing as t
from collections import abc as cabc

# Waiting predictions hold their inputs in memory: 1,000 photographs take some gigabytes, 1,000 rows
# almost nothing. At 30 ms each, a model computes about as many within the default deadline.
_QUEUE_ITEMS = 1024
_QUEUE_BATCHES = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """The options of one model, as documented at `Carboy.model`."""

    batch: int = 1
    wait_ms: float | t.Literal["auto"] = 0
    deadline_s: float | None = 30.0
    queue: int | None = None
    concurrency: int = 1
    example: t.Any = None
    examples: cabc.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        examples: t.Any = self.examples  # whatever the user has written
        if not isinstance(examples, cabc.Mapping) or not all(map(_is_title, examples)):
            raise ValueError(
                f"app.model(..., examples={examples!r}): expected a dict of inputs by their"
                " titles on the model's page, such as {'A red one': ..., 'A blue one': ...}."
            )
        for name, least in (("batch", 1), ("concurrency", 1), ("queue", 1)):
            number = getattr(self, name)
            if name == "queue" and number is None:
                continue
            if not isinstance(number, int) or number < least:
                raise ValueError(
                    f"app.model(..., {name}={number!r}): expected a whole number, at least {least}."
                )
        if self.wait_ms != "auto" and not _is_duration(self.wait_ms, above_zero=False):
            raise ValueError(
                f"app.model(..., wait_ms={self.wait_ms!r}): expected milliseconds, at least 0, or"
                " 'auto'."
            )
        if self.deadline_s is not None and not _is_duration(self.deadline_s, above_zero=True):
            raise ValueError(
                f"app.model(..., deadline_s={self.deadline_s!r}): expected seconds above 0, or None"
                " for no limit."
            )

    @property
    def wait_s(self) -> float | t.Literal["auto"]:
        return "auto" if self.wait_ms == "auto" else self.wait_ms / 1000

    @property
    def queue_items(self) -> int:
        return self.queue or max(_QUEUE_ITEMS, _QUEUE_BATCHES * self.batch)

    @property
    def ahead(self) -> int:
        """How many predictions a bulk run keeps queued, so that the next batches are ready."""
        return min(self.queue_items, self.batch * (self.concurrency + 2))


def _is_title(key: object) -> bool:
    return isinstance(key, str) and bool(key.strip())


def _is_duration(value: t.Any, *, above_zero: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return False
    return value > 0 if above_zero else value >= 0
