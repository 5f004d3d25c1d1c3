"""Load `.env` files, and let users name environment variables by either prefix, `FLASK_` or
`CARBOY_`.

The command line reads variables `FLASK_X`. Each may also be named `CARBOY_X`, which takes
precedence. click reads variables of one prefix only, as does much code written for Flask. Therefore
each `CARBOY_X` is copied to `FLASK_X` while a command runs.
"""

from __future__ import annotations

import os
import typing as t

import click

from ..project.dotenvfile import (
    DEFAULT_NAMES,
    ENCODING,
    files_read,
    parse_env_file,
    restore_variable,
    set_missing_variables,
    with_other_prefix,
)
from ..project.reloading import forget_inherited_variables, watch

if t.TYPE_CHECKING:
    import collections.abc as cabc


def share_prefixes(environ: cabc.MutableMapping[str, t.Any] = os.environ) -> dict[str, t.Any]:
    """Set each variable `FLASK_X` to the value of `CARBOY_X`; return the old value of each
    `FLASK_X` (None if it was not set). An empty variable counts as not set.
    """
    before: dict[str, t.Any] = {}
    for key in [key for key, value in environ.items() if key.startswith("CARBOY_") and value]:
        name = with_other_prefix(key)
        if name is not None:
            before[name] = environ.get(name)
            environ[name] = environ[key]
    return before


def restore_prefixes(before: dict[str, t.Any]) -> None:
    """Set the environment variables `FLASK_X` to the values that `share_prefixes` returned."""
    for name, value in before.items():
        restore_variable(name, value)


def refuse_unparsable_files(path: str | None, load_defaults: bool) -> None:
    """Check the files that `load_dotenv` is about to read.

    python-dotenv skips a line that it cannot parse. The program would run without that variable,
    and if a quote is not closed, without all that follow.

    Raises:
        ProjectError: a line cannot be parsed.
    """
    for file in _files(path, load_defaults):
        for _ in parse_env_file(file):
            pass


def load_dotenv(path: str | os.PathLike[str] | None = None, load_defaults: bool = True) -> bool:
    """Set environment variables from `.env` files, which python-dotenv reads.

    The file at `path` overrides `.env`, which overrides `.flaskenv`. Variables that are set already
    are kept. `.env` and `.flaskenv` are searched from the current folder upwards.

    Returns:
        Whether a file set a variable.
    """
    try:
        import dotenv
    except ImportError:
        if path or any(os.path.isfile(name) for name in DEFAULT_NAMES):
            click.secho(
                " * Tip: here is a .env file, but python-dotenv, which reads it, is not"
                " installed: pip install python-dotenv.",
                fg="yellow",
                err=True,
            )
        return False

    forget_inherited_variables()
    files = _files(path, load_defaults)
    watch(files)
    values: dict[str, str | None] = {}
    for file in files:
        values |= dotenv.dotenv_values(file, encoding=ENCODING)
    share_prefixes(values)
    set_missing_variables(values)
    files_read[:] = files
    return bool(values)


def _files(path: str | os.PathLike[str] | None, load_defaults: bool) -> list[str]:
    """Return the files to read; a later one takes precedence."""
    import dotenv

    files: list[str] = []
    if load_defaults:
        files += [dotenv.find_dotenv(name, usecwd=True) for name in DEFAULT_NAMES]
    if path is not None and os.path.isfile(path):
        files.append(os.path.abspath(path))
    return [file for file in files if file]
