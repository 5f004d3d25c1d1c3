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

if t.TYPE_CHECKING:
    import collections.abc as cabc

DEFAULT_NAMES = (".flaskenv", ".env")
# Variables `CARBOY_X` that are not copied to `FLASK_X`, because they are not set by users: carboy
# sets them for its own child processes.
_NOT_SHARED = frozenset({"CARBOY_AS_FLASK"})


def share_prefixes(environ: cabc.MutableMapping[str, t.Any] = os.environ) -> dict[str, t.Any]:
    """Set each variable `FLASK_X` to the value of `CARBOY_X`; return the old value of each
    `FLASK_X` (None if it was not set).
    """
    before: dict[str, t.Any] = {}
    for key in [key for key in environ if key.startswith("CARBOY_")]:
        name = _with_other_prefix(key)
        if name is not None:
            before[name] = environ.get(name)
            environ[name] = environ[key]
    return before


def restore_prefixes(before: dict[str, t.Any]) -> None:
    """Set the environment variables `FLASK_X` to the values that `share_prefixes` returned."""
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _with_other_prefix(key: str) -> str | None:
    """Return the name that an environment variable has with the other prefix: `FLASK_X` for
    `CARBOY_X`, and vice versa; None if it has neither prefix.
    """
    if key.startswith("CARBOY_") and key not in _NOT_SHARED:
        return "FLASK_" + key[len("CARBOY_") :]
    if key.startswith("FLASK_"):
        return "CARBOY_" + key[len("FLASK_") :]
    return None


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

    files: list[str | os.PathLike[str]] = []
    if load_defaults:
        found = (dotenv.find_dotenv(name, usecwd=True) for name in DEFAULT_NAMES)
        files += [file for file in found if file]
    if path is not None and os.path.isfile(path):
        files.append(path)

    values: dict[str, str | None] = {}
    for file in files:
        values |= dotenv.dotenv_values(file, encoding="utf-8")
    share_prefixes(values)
    present = set(os.environ)
    for key, value in values.items():
        if value is not None and not present & {key, _with_other_prefix(key)}:
            os.environ[key] = value
    return bool(values)
