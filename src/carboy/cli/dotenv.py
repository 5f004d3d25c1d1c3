"""`.env` files, and the two prefixes of carboy's environment variables.

Each setting of the command line may be written `CARBOY_X` or, as for Flask, `FLASK_X`. click knows
one prefix, and so does much code written for Flask, hence `CARBOY_X` is handed on under the second
name; where both are set, `CARBOY_X` wins.
"""

from __future__ import annotations

import os
import typing as t

import click

if t.TYPE_CHECKING:
    import collections.abc as cabc

DEFAULT_NAMES = (".flaskenv", ".env")
# Not settings but messages between carboy's own processes.
_NOT_SHARED = frozenset({"CARBOY_AS_FLASK"})


def share_prefixes(environ: cabc.MutableMapping[str, t.Any] = os.environ) -> dict[str, t.Any]:
    """Write each `CARBOY_X` as `FLASK_X` too, and tell what stood there before (None: nothing)."""
    before: dict[str, t.Any] = {}
    for key in [key for key in environ if key.startswith("CARBOY_")]:
        name = _twin(key)
        if name is not None:
            before[name] = environ.get(name)
            environ[name] = environ[key]
    return before


def take_back(before: dict[str, t.Any]) -> None:
    """Undo what `share_prefixes` did to the environment."""
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _twin(key: str) -> str | None:
    """The same setting's name with the other prefix."""
    if key.startswith("CARBOY_") and key not in _NOT_SHARED:
        return "FLASK_" + key[len("CARBOY_") :]
    if key.startswith("FLASK_"):
        return "CARBOY_" + key[len("FLASK_") :]
    return None


def load_dotenv(path: str | os.PathLike[str] | None = None, load_defaults: bool = True) -> bool:
    """Set environment variables from files; python-dotenv reads them.

    The file at `path` overrides `.env`, which overrides `.flaskenv`; what the environment has
    already stays. The default files are looked for from the current folder upwards.

    Returns:
        Whether any variable was found.
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
        if value is not None and not present & {key, _twin(key)}:
            os.environ[key] = value
    return bool(values)
