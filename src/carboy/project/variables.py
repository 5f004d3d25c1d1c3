"""The environment variables that set config keys.

`CARBOY_X` or `FLASK_X` sets the key `X`, and `CARBOY_X__Y` the member `Y` of a dict. Keys that a
project or carboy declares are also set by variables without a prefix.
"""

from __future__ import annotations

import os
import typing as t

from .dotenvfile import EnvLine, with_other_prefix
from .layers import Layer, Loaded
from .origins import Origin, shortened

_PREFIXES = ("CARBOY_", "FLASK_")
# Variables with a prefix that do not set a key: they choose the app and the environment, are
# settings of the server, or carboy sets them for its own child processes. (`FLASK_DEBUG` sets the
# key `DEBUG`.)
_NOT_KEYS = frozenset(
    {
        *("APP", "AS_FLASK", "ENV", "ENV_FILE", "FULL_TRACEBACK"),
        *("MODEL_CACHE", "MODELS_SOCKET"),
        *("PROXY", "PROXY_HEADERS", "RUN_FROM_CLI", "SKIP_DOTENV"),
    }
)
# Variables such as FLASK_RUN_PORT set options of `carboy run`, and no config key unless a project
# declares it. `carboy serve` warns of all names with its prefix that it does not know.
_OF_RUN = "RUN_"
_OF_SERVE = "SERVE_"
# The variables that the command line of this process has set, with the reason: an option, or the
# default of FLASK_ENV.
set_by_command: dict[str, Origin] = {}
_RANKS = {"file": 0, "variable": 1, "option": 2}


class _Candidate(t.NamedTuple):
    """An environment variable that sets a config key. If several set the same key, the one with the
    highest rank is used.
    """

    rank: int
    loaded: Loaded


class Variables:
    """The environment variables of a process, and which of them come from `.env` files.

    Args:
        files: the variables of each `.env` file that was read, lowest precedence first.
    """

    def __init__(self, files: dict[str, dict[str, EnvLine]]) -> None:
        self._lines = {
            name: (each.value, f"{shortened(path)}:{each.line}")
            for path, variables in files.items()
            for name, each in variables.items()
        }

    def layer(self, declared: t.Collection[str]) -> Layer:
        """Return a layer of the config keys that environment variables set, and of members such as
        `DB__HOST`, unless a variable of higher rank sets the whole key. An empty variable counts as
        not set.

        Args:
            declared: the keys that variables without a prefix may set.
        """
        found: dict[str, _Candidate] = {}
        for name, text in os.environ.items():
            key = key_of(name, declared)
            if key is None or not text or self._is_copy(name):
                continue
            candidate = self._candidate(name, text)
            if key not in found or candidate.rank > found[key].rank:
                found[key] = candidate
        return {key: found[key].loaded for key in sorted(found) if not _is_replaced(key, found)}

    def without_key(self, declared: t.Collection[str]) -> dict[str, Origin]:
        """Return the variables of `.env` files that have no prefix and set no key, with their
        origins.
        """
        return {
            name: Origin("file", place)
            for name, (_, place) in self._lines.items()
            if key_of(name, declared) is None and not name.startswith(_PREFIXES)
        }

    def _candidate(self, name: str, text: str) -> _Candidate:
        """Return an environment variable as a candidate with its rank: options of the command line
        take precedence over the environment, and the environment over `.env` files. Within each of
        these, `CARBOY_X` takes precedence over `FLASK_X`, and `FLASK_X` over `X`.
        """
        by_prefix = 2 if name.startswith("CARBOY_") else int(name.startswith("FLASK_"))
        origin = self.origin_of(name)
        by_source = _RANKS.get(origin.source, 0)
        return _Candidate(3 * by_source + by_prefix, Loaded(text, origin, is_text=True))

    def origin_of(self, name: str) -> Origin:
        """Return where the value of an environment variable comes from."""
        if (origin := set_by_command.get(name)) is not None:
            return origin
        if self._is_of_file(name):
            return Origin("file", self._lines[name][1])
        return Origin("variable", name)

    def _is_of_file(self, name: str) -> bool:
        """Return whether a variable has the value that a `.env` file gives it."""
        return name in self._lines and self._lines[name][0] == os.environ[name]

    def _is_copy(self, name: str) -> bool:
        """Return whether a variable is the copy `FLASK_X` that the command line has made of
        `CARBOY_X`.
        """
        if not name.startswith("FLASK_") or self._is_of_file(name):
            return False
        original = with_other_prefix(name) or ""
        return os.environ.get(original) == os.environ[name]


def _is_replaced(key: str, found: t.Mapping[str, _Candidate]) -> bool:
    """Return whether a key is a member, and a variable of higher rank sets what contains it."""
    names = key.split("__")
    owners = ["__".join(names[:count]) for count in range(1, len(names))]
    return any(each in found and found[each].rank > found[key].rank for each in owners)


def key_of(name: str, declared: t.Collection[str]) -> str | None:
    """Return the config key that a variable sets; None if it sets none."""
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            key = name.removeprefix(prefix)
            owner = key.partition("__")[0]
            is_key = (
                owner.isupper()
                and key not in _NOT_KEYS
                and not key.startswith(_OF_SERVE)
                and (owner in declared or not key.startswith(_OF_RUN))
            )
            return key if is_key else None
    return name if name in declared else None
