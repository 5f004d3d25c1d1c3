"""Sphinx extension: a code block of a file, ```python app.py, has its name as a caption.

Code hosts show such a block as one of Python and leave out the name, so the text around it says
which file it is.
"""

from __future__ import annotations

import re
import typing as t

if t.TYPE_CHECKING:
    from sphinx.application import Sphinx

_FENCE = re.compile(r"^```(\w+) ([\w./-]+)$", re.MULTILINE)


def _add_captions(app: Sphinx, page: str, source: list[str]) -> None:
    source[0] = _FENCE.sub(r"```{code-block} \1\n:caption: \2", source[0])


def setup(app: Sphinx) -> dict[str, t.Any]:
    app.connect("source-read", _add_captions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
