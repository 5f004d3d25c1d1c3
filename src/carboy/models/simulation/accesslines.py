"""Read from an access log of `carboy serve` when the requests for a model have arrived.

A line has the time at which the response was sent, and how long the request took. Lines as text
have whole seconds, so a request is put at a random moment of its second. Lines as JSON have
milliseconds.
"""

from __future__ import annotations

import re
import typing as t
from datetime import datetime

import msgspec

if t.TYPE_CHECKING:
    from collections import abc as cabc
    from random import Random

_TEXT = re.compile(r"\[(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d:\d\d:\d\d [+-]\d{4})\] ")
_MS = re.compile(r" ms=([\d.]+)(?: |$)")
_MODEL = re.compile(r' model=("[^"]*"|\S+)')
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class _JsonLine(msgspec.Struct):
    time: str
    ms: float
    model: str = ""


class LoggedArrivals(t.NamedTuple):
    """When the requests for a model have arrived.

    Attributes:
        times_s: the times in seconds since 1970, in no order.
        models: how many requests there are of each model, also of others.
        unread: how many lines are no lines of an access log.
        is_exact: False if the times have whole seconds only.
    """

    times_s: list[float]
    models: dict[str, int]
    unread: int
    is_exact: bool


def read_arrivals(lines: cabc.Iterable[str], model: str, chance: Random) -> LoggedArrivals:
    """Read when the requests for a model have arrived.

    Args:
        lines: those of the log, as text or JSON.
        model: the name of the model.
        chance: chooses the moment within a second.
    """
    times_s: list[float] = []
    models: dict[str, int] = {}
    unread, is_exact = 0, True
    for line in lines:
        is_json = line.startswith("{")
        found = _read_json(line) if is_json else _read_text(line, chance)
        if found is None:
            unread += bool(line.strip())
            continue
        name, time_s = found
        if name:
            models[name] = models.get(name, 0) + 1
        if name == model:
            times_s.append(time_s)
            is_exact = is_exact and is_json
    return LoggedArrivals(times_s, models, unread, is_exact)


def _read_json(line: str) -> tuple[str, float] | None:
    """Return the model that a line names, and when the request arrived."""
    try:
        read = _decode(line)
        sent_s = datetime.fromisoformat(read.time).timestamp()
    except (msgspec.DecodeError, ValueError):
        return None
    return read.model, sent_s - read.ms / 1e3


_decode: cabc.Callable[[str], _JsonLine] = msgspec.json.Decoder(_JsonLine).decode


def _read_text(line: str, chance: Random) -> tuple[str, float] | None:
    stamp, ms = _TEXT.search(line), _MS.search(line)
    if stamp is None or ms is None or stamp[2] not in _MONTHS:
        return None
    month = _MONTHS.index(stamp[2]) + 1
    try:
        # Not by the names of months, which `strptime` reads in the language of the program.
        second = datetime.strptime(
            f"{stamp[3]}-{month:02}-{stamp[1]} {stamp[4]}", "%Y-%m-%d %H:%M:%S %z"
        )
        took_s = float(ms[1]) / 1e3
    except ValueError:
        return None
    name = _MODEL.search(line, ms.end() - 1)
    return (
        "" if name is None else name[1].strip('"'),
        second.timestamp() + chance.random() - took_s,
    )
