"""The options of `@app.model(...)`, which are validated when the model is registered."""

from __future__ import annotations

import dataclasses
import math
import re
import typing as t
from collections import abc as cabc

from .versions.versionoptions import check_version_options

# The default length of a model's queue. Waiting predictions hold their inputs in memory: 1,000
# photographs take some gigabytes, 1,000 rows almost nothing. At 30 ms each, a model computes about
# 1,000 predictions within the default deadline of 30 s, so those in a longer queue would come too
# late.
_QUEUE_ITEMS = 1024
_QUEUE_BATCHES = 8


_COUNTS = {
    "batch": "a whole number, at least 1",
    "concurrency": "a whole number, at least 1",
    "queue": "a whole number, at least 1",
    "max_body_bytes": (
        "a whole number of bytes, at least 1, such as 64 * 1024 * 1024, or None for the config"
        " key MODEL_MAX_BODY"
    ),
}
_MAY_BE_NONE = ("queue", "max_body_bytes")
_NAME = re.compile(r"[\w-]+")


def check_name(name: object, rule: str) -> None:
    """Refuse a name that cannot be an endpoint of the app or of a blueprint.

    `a.b` is the endpoint of the view `b` in the blueprint `a`, and `a:b` is an endpoint that
    belongs to the model `a` itself, so a name contains neither `.` nor `:`.

    Raises:
        ValueError: the name has other characters than letters, digits, `_` and `-`.
    """
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise ValueError(
            f"app.model({rule!r}): the name {name!r} cannot be used in `url_for` and `app.models`:"
            " expected letters, digits, '_' and '-'. Pass another one: name=..."
        )


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
    device: str | None = None
    max_body_bytes: int | None = None
    source: str | None = None
    canary: cabc.Mapping[str, float] = dataclasses.field(default_factory=dict)
    canary_key: str | None = None
    shadow: str | None = None
    max_hold_s: float = 0.0

    def __post_init__(self) -> None:
        # The type is Any, because users may have passed any object, which is checked here.
        examples: t.Any = self.examples
        if not isinstance(examples, cabc.Mapping) or not all(map(_is_title, examples)):
            raise ValueError(
                f"app.model(..., examples={examples!r}): expected a dict of inputs by their"
                " titles on the model's page, such as {'A red one': ..., 'A blue one': ...}."
            )
        for name, expected in _COUNTS.items():
            number = getattr(self, name)
            if number is None and name in _MAY_BE_NONE:
                continue
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise ValueError(f"app.model(..., {name}={number!r}): expected {expected}.")
        device: object = self.device
        if device is not None and not (isinstance(device, str) and len(device.split()) == 1):
            raise ValueError(
                f"app.model(..., device={device!r}): expected one word, such as 'cuda:0'. Models"
                " with the same word do not compute at the same time."
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
        check_version_options(self)

    @property
    def wait_s(self) -> float | t.Literal["auto"]:
        return "auto" if self.wait_ms == "auto" else self.wait_ms / 1000

    @property
    def queue_items(self) -> int:
        return self.queue or max(_QUEUE_ITEMS, _QUEUE_BATCHES * self.batch)

    @property
    def ahead(self) -> int:
        """How many predictions `model.map` keeps queued, so that the next batches can be formed."""
        return min(self.queue_items, self.batch * (self.concurrency + 2))


def _is_title(key: object) -> bool:
    return isinstance(key, str) and bool(key.strip())


def _is_duration(value: t.Any, *, above_zero: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return False
    return value > 0 if above_zero else value >= 0
