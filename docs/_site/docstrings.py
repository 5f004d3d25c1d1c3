"""Sphinx extension: docstrings as the source has them become reStructuredText.

Docstrings of carboy are written for readers of the source: an example stands between ``` or is
indented, without the `::` that reStructuredText asks for, and an asterisk (`*args`) is an asterisk.
"""

from __future__ import annotations

import re
import typing as t

if t.TYPE_CHECKING:
    from sphinx.application import Sphinx


def to_restructured(lines: list[str]) -> list[str]:
    """Return a docstring, already without its common indentation, with its examples marked."""
    adapted: list[str] = []
    fenced = literal = False
    for number, line in enumerate(lines):
        if line.lstrip().startswith("```"):
            fenced = not fenced
            margin = line[: len(line) - len(line.lstrip())]
            adapted.extend(["", f"{margin}::", ""] if fenced else [""])
        elif fenced:
            adapted.append(f"    {line}")
        else:
            if line.strip():
                indented = line.startswith("    ")
                if indented and number and not lines[number - 1].strip() and not literal:
                    adapted.extend(("::", ""))
                    literal = True
                literal = literal and indented
            adapted.append(line if literal else _escape(line))
    return adapted


def _escape(line: str) -> str:
    """Escape what would be markup outside of code."""
    parts = re.split(r"(`[^`]*`)", line)
    parts[::2] = [re.sub(r"(?<!\\)([*|]|_(?=\W|$))", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def _adapt(app: Sphinx, what: str, name: str, obj: t.Any, options: t.Any, lines: list[str]) -> None:
    lines[:] = to_restructured(lines)


def setup(app: Sphinx) -> dict[str, t.Any]:
    app.connect("autodoc-process-docstring", _adapt, priority=400)  # napoleon follows, at 500
    return {"parallel_read_safe": True, "parallel_write_safe": True}
