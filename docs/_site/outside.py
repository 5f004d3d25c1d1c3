"""Sphinx extension: links to Markdown files outside of docs/ offer the file.

On a code host they lead to the file. The site has no page for it, and Sphinx would call it unknown.
"""

from __future__ import annotations

import pathlib
import re
import typing as t

if t.TYPE_CHECKING:
    from sphinx.application import Sphinx

_LINK = re.compile(r"\]\((\.\./[^)#:]+\.md)(#[^)]*)?\)")


def _adapt(app: Sphinx, page: str, source: list[str]) -> None:
    docs = pathlib.Path(app.srcdir)
    folder = (docs / page).parent

    def offer(link: re.Match[str]) -> str:
        is_outside = not (folder / link[1]).resolve().is_relative_to(docs)
        return f"](path:{link[1]})" if is_outside else link[0]

    source[0] = _LINK.sub(offer, source[0])


def setup(app: Sphinx) -> dict[str, t.Any]:
    app.connect("source-read", _adapt)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
