"""Sphinx extension: the navigation of the site is the map in index.md.

Each heading of the second level there, with a list of links to pages, becomes a part of the
navigation. So there is one list of all pages, and it can be read on a code host, where directives
of Sphinx cannot.
"""

from __future__ import annotations

import re
import typing as t

if t.TYPE_CHECKING:
    from sphinx.application import Sphinx

_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_ENTRY = re.compile(r"^- \[(.+?)\]\((?!https?:)([^)#]+)\.md\)", re.MULTILINE)


def parts(index: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the headings of a map, each with the titles and pages of its list."""
    _, *rest = _HEADING.split(index)
    found = [
        (title.strip(), _ENTRY.findall(body))
        for title, body in zip(rest[::2], rest[1::2], strict=True)
    ]
    return [(title, entries) for title, entries in found if entries]


def _toctree(title: str, entries: list[tuple[str, str]]) -> str:
    lines = "\n".join(f"{name} <{page}>" for name, page in entries)
    return f"```{{toctree}}\n:hidden:\n:caption: {title}\n\n{lines}\n```\n"


def _add_navigation(app: Sphinx, page: str, source: list[str]) -> None:
    if page == app.config.root_doc:
        source[0] += "\n" + "\n".join(_toctree(*part) for part in parts(source[0]))


def setup(app: Sphinx) -> dict[str, t.Any]:
    app.connect("source-read", _add_navigation)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
