"""Jinja templates of text files that carboy writes for a project and for its deployment."""

from __future__ import annotations

import typing as t


def text_environment(**options: t.Any) -> t.Any:
    """Return a Jinja environment for files that are no HTML: nothing is escaped, a line that holds
    only a block tag leaves no empty line, and an undefined variable is an error.

    Args:
        options: further arguments of `jinja2.Environment`.
    """
    from jinja2 import Environment, StrictUndefined

    return Environment(  # noqa: S701  # these files are no HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        **options,
    )
