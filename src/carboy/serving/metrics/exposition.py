"""Write metrics in Prometheus' text format, version 0.0.4.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import typing as t
from itertools import accumulate

from .families import OVERFLOW

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .families import Family
    from .sharedtable import Labels

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def write_family(family: Family, series: cabc.Mapping[Labels, cabc.Sequence[float]]) -> str:
    """Return the lines of one metric.

    Args:
        series: the numbers by the values of the labels.
    """
    lines = [f"# HELP {family.name} {_escape(family.help)}", f"# TYPE {family.name} {family.kind}"]
    for labels, cells in sorted(series.items(), key=lambda item: item[0] or ()):
        if labels is None and not any(cells):
            continue  # the table is not full
        lines += _lines(family, _pairs(family, labels), cells)
    return "".join(f"{line}\n" for line in lines)


def _lines(family: Family, pairs: list[str], cells: cabc.Sequence[float]) -> cabc.Iterator[str]:
    name = family.name
    if family.kind == "histogram":
        *counts, total = cells
        bounds = [*map(_number, family.bounds), "+Inf"]
        for bound, count in zip(bounds, accumulate(counts), strict=True):
            yield _line(f"{name}_bucket", [*pairs, f'le="{bound}"'], count)
        yield _line(f"{name}_sum", pairs, total)
        yield _line(f"{name}_count", pairs, sum(counts))
    else:
        yield _line(name, pairs, cells[0])


def _line(name: str, pairs: list[str], value: float) -> str:
    labels = f"{{{','.join(pairs)}}}" if pairs else ""
    return f"{name}{labels} {_number(value)}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _pairs(family: Family, labels: Labels) -> list[str]:
    named = OVERFLOW if labels is None else dict(zip(family.labels, labels, strict=True))
    return [f'{name}="{_escape(value, quote=True)}"' for name, value in named.items()]


def _escape(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text
