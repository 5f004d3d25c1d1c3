"""Write the first secret key of a project, or replace its key, in `.env` or in a file that
contains the key alone.

A rotation keeps the old key in `SECRET_KEY_FALLBACKS`, so that sessions that it has signed stay
valid. A key that can be guessed is not kept: whoever guesses it could sign sessions. The functions
that rotate a key return a text for each such key, which says how the key can be guessed
(`carboy.core.weakkeys`). Neither these texts nor errors contain a key.
"""

from __future__ import annotations

import json
import os
import re
import typing as t

from ..core.weakkeys import weakness_of
from ..errors import ConfigError
from .dotenvfile import ENCODING, files_read, read_env_file
from .origins import Origin, shortened
from .privatefiles import create_private, replace_private
from .secretkey import KEY_NAME, new_key
from .variables import Variables

FALLBACKS_NAME = "SECRET_KEY_FALLBACKS"
# The ending of a file with the old keys. The rest of its name is that of the file with the key.
FALLBACKS_ENDING = ".fallbacks"
_PREFIXES = ("CARBOY_", "FLASK_", "")
# Matches what may stand before the name of a variable in a `.env` file: blank lines, and `export`,
# which shells need.
_START = re.compile(r"\s*(?:export[^\S\r\n]+)?")


def add_to_env_file(path: str) -> None:
    """Write a new key into a `.env` file, which is created if there is none.

    Raises:
        ConfigError: the file sets a key already, or cannot be written.
    """
    variables = _read_variables(path)
    for name in (KEY_NAME, f"{KEY_NAME}_FILE"):
        if found := _find(variables, name):
            raise ConfigError(
                f"{shortened(path)} has {found} already. To replace the key, and keep sessions"
                " valid, use 'carboy secret rotate'."
            )
    _change_env_file(path, {_name_in(variables, KEY_NAME): new_key()})


def rotate_env_file(path: str, keep: int) -> list[str]:
    """Replace the key in a `.env` file, and keep the newest `keep` old keys in
    `SECRET_KEY_FALLBACKS`. Old keys that can be guessed are not kept; return how they can be
    guessed.

    Raises:
        ConfigError: the file has no key, or cannot be read or written.
    """
    variables = _read_variables(path)
    found = _find(variables, KEY_NAME)
    if not found:
        raise ConfigError(_no_key_to_rotate(path, variables))
    name = _name_in(variables, FALLBACKS_NAME)
    place = f"{name} in {shortened(path)}"
    old = [variables[found], *_parse_fallbacks(variables.get(name, ""), place)]
    kept, weaknesses = _choose(old, keep)
    _change_env_file(path, {found: new_key(), name: json.dumps(kept)})
    return weaknesses


def create_key_file(path: str) -> None:
    """Write a new secret key into a new file.

    Raises:
        ConfigError: there is a file already, or it cannot be written.
    """
    try:
        create_private(path, f"{new_key()}\n")
    except FileExistsError:
        raise ConfigError(
            f"The file {path!r} exists already. To replace the key in it, and keep sessions valid,"
            " use 'carboy secret rotate --file'."
        ) from None
    except OSError as exc:
        raise _unusable(path, "written", exc) from None


def rotate_key_file(path: str, keep: int) -> list[str]:
    """Replace the key in a file, and keep the newest `keep` old keys in a second file beside it.
    Old keys that can be guessed are not kept; return how they can be guessed.

    Raises:
        ConfigError: the first file has no key, or a file cannot be read or written.
    """
    beside = path + FALLBACKS_ENDING
    key = _read(path).strip()
    if not key:
        raise ConfigError(f"The file {path!r} contains no key. Use 'carboy secret new --file'.")
    text = _read(beside) if os.path.exists(beside) else ""
    kept, weaknesses = _choose([key, *_parse_fallbacks(text, beside)], keep)
    # The old keys are written first, so that a process that starts between the two writes accepts
    # the sessions that the old key has signed.
    # The app must be able to read both files, also if root runs the command.
    _write(beside, f"{json.dumps(kept)}\n", like=path)
    _write(path, f"{new_key()}\n")
    return weaknesses


def rotated_variables(keep: int) -> tuple[dict[str, str], list[str]]:
    """Return two environment variables with their new values: the secret key, and the list of
    fallbacks, which contains the old key. Old keys that can be guessed are left out; also return
    how they can be guessed.

    Raises:
        ConfigError: the environment has no key.
    """
    found = _find(os.environ, KEY_NAME)
    if not found:
        raise ConfigError(
            f"The environment has no {KEY_NAME} to rotate. Use 'carboy secret new --print'."
        )
    name = _name_in(os.environ, FALLBACKS_NAME)
    old = [os.environ[found], *_parse_fallbacks(os.environ.get(name, ""), name)]
    kept, weaknesses = _choose(old, keep)
    return {found: new_key(), name: json.dumps(kept)}, weaknesses


def _choose(old: list[str], keep: int) -> tuple[list[str], list[str]]:
    """Return the newest `keep` of those old keys that cannot be guessed. Also return how the other
    keys can be guessed, or nothing if no key is to be kept.
    """
    weaknesses = [weakness_of(key) for key in old]
    kept = [key for key, weakness in zip(old, weaknesses, strict=True) if weakness is None]
    return kept[:keep], [each for each in weaknesses if each is not None] if keep else []


def origin_in_environment() -> Origin | None:
    """Return what sets the key for this process: an environment variable, or a line of a `.env`
    file that was read; None if nothing does.

    Raises:
        ConfigError: a `.env` file that was read before cannot be read any more.
    """
    variables = Variables({path: read_env_file(path) for path in files_read})
    found = variables.layer((KEY_NAME,)).get(KEY_NAME)
    return found.origin if found else None


def env_line(name: str, value: str) -> str:
    """Return the line that sets a variable in a `.env` file. The value is in quotes unless it has
    only letters and digits.
    """
    # In JSON, "$" is written as an escape, because python-dotenv would replace "${NAME}" even
    # within quotes.
    value = value.replace("${", "\\u0024{") if value.startswith("[") else value
    if value.isalnum():
        return f"{name}={value}\n"
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}='{escaped}'\n"


def _read_variables(path: str) -> dict[str, str]:
    if not os.path.lexists(path):
        return {}
    return {name: each.value for name, each in read_env_file(path).items()}


def _find(variables: t.Mapping[str, str], key: str) -> str | None:
    """Return the name of the variable, with or without a prefix, that sets a key; None if no such
    variable is set, or if it is empty.
    """
    return next((prefix + key for prefix in _PREFIXES if variables.get(prefix + key)), None)


def _name_in(variables: t.Mapping[str, str], key: str) -> str:
    """Return the name of the variable with which to set a key `X`: the one of `CARBOY_X`, `FLASK_X`
    and `X` that `variables` contains already, or else `X`.
    """
    return next((prefix + key for prefix in _PREFIXES if prefix + key in variables), key)


def _no_key_to_rotate(path: str, variables: t.Mapping[str, str]) -> str:
    if named := _find(variables, f"{KEY_NAME}_FILE"):
        return f"{named} in {shortened(path)} names a file: use 'carboy secret rotate --file'."
    origin = origin_in_environment()
    if origin is not None and origin.source == "variable":
        return (
            f"The environment sets {KEY_NAME}, and {shortened(path)} does not. A command cannot"
            " change the environment: 'carboy secret rotate --print' prints both variables."
        )
    if origin is not None:
        return (
            f"{shortened(path)} has no {KEY_NAME} to rotate, but {origin} has one. Use 'carboy"
            " secret rotate --env-file' with that file."
        )
    return f"{shortened(path)} has no {KEY_NAME} to rotate. Use 'carboy secret new'."


def _parse_fallbacks(text: str, place: str) -> list[str]:
    """Parse a JSON list of keys. Errors show no part of the text, because it may contain a key."""
    try:
        keys = json.loads(text or "[]")
    except ValueError:
        keys = None
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ConfigError(f'{place} is not a list of keys in JSON, such as ["old", "older"].')
    return keys


def _change_env_file(path: str, values: dict[str, str]) -> None:
    """Set variables in a `.env` file; all other lines are left as they are."""
    from dotenv.parser import parse_stream

    left = dict(values)
    text = ""
    if os.path.lexists(path):
        with open(path, encoding=ENCODING, newline="") as file:
            for binding in parse_stream(file):
                original = binding.original.string
                if binding.key not in values:
                    text += original
                elif binding.key in left:
                    start = _START.match(original)
                    text += start[0] if start else ""
                    text += env_line(binding.key, left.pop(binding.key))
    if text and not text.endswith("\n"):
        text += "\n"
    _write(path, text + "".join(env_line(name, value) for name, value in left.items()))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as exc:
        raise _unusable(path, "read", exc) from None


def _write(path: str, text: str, like: str | None = None) -> None:
    try:
        replace_private(path, text, like)
    except OSError as exc:
        raise _unusable(path, "written", exc) from None


def _unusable(path: str, verb: str, exc: OSError | UnicodeDecodeError) -> ConfigError:
    reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
    return ConfigError(f"The file {path!r} cannot be {verb}: {reason}.")
