"""Jinja templates of text files that carboy writes for a project and for its deployment."""

from __future__ import annotations

import json
import typing as t


def text_environment(**options: t.Any) -> t.Any:
    """Return a Jinja environment for files that are no HTML: nothing is escaped, a line that holds
    only a block tag leaves no empty line, and an undefined variable is an error. The filter
    `tojson` makes literals that mean the same in Python, YAML and TOML.

    Args:
        options: further arguments of `jinja2.Environment`.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(  # noqa: S701  # these files are no HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        **options,
    )
    environment.policies["json.dumps_function"] = _literal
    return environment


def _literal(value: t.Any, **options: t.Any) -> str:
    # JSON writes a character beyond U+FFFF as two surrogates, which the other languages take for
    # two characters or refuse. Raw characters such as U+2028 would be line breaks in YAML.
    text = json.dumps(value, ensure_ascii=False, **options)
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
