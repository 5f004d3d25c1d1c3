"""Find what is wrong with the configuration of a loaded app, for `carboy config --check` and
`carboy check`.

`from_project()` refuses wrong types and missing values itself. This module also checks the values
that code has assigned, and finds keys that may be misspelt. `from_project()` accepts unknown keys,
because they may belong to extensions or to the app's own code.
"""

from __future__ import annotations

import typing as t

from ..config import DEFAULT_CONFIG
from ..core.advice import did_you_mean
from ..core.masking import looks_secret, mask_text, masked
from ..errors import ConfigError
from . import DECLARED_SECRETS
from .keytypes import built_in_types, checked
from .origins import DEFAULT, Origin
from .secretkey import value_of
from .valuechecks import check_value

if t.TYPE_CHECKING:
    from ..config import Config

# How similar two names must be for one to be a misspelling of the other. The similarity of
# SECRET_KYE and SECRET_KEY is 0.9; that of LOG_FILENAME and LOG_FILE, which are different names, is
# 0.8.
_SIMILARITY = 0.85
_REMEDY = " Declare it there, or remove it."


class ConfigProblem(t.NamedTuple):
    """A mistake in a config key or an environment variable, and the place that has set it."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


def origin_of(config: Config, key: str) -> Origin:
    """Return where the value of a key comes from."""
    origins = config._origins or {}
    return origins.get(key, DEFAULT if key in DEFAULT_CONFIG else Origin("code", "code"))


def problems_of(config: Config) -> list[ConfigProblem]:
    """Return the problems in the configuration of an app."""
    declared = _declared_types(config)
    known = {**built_in_types(), **declared}
    problems = []
    for key in sorted(config):
        if key in known:
            problems += _wrong_type(config, key, known[key])
        else:
            problems += _unknown_key(config, key, known, declared)
    return problems + _unused_variables(config, known)


def wrong_values(config: Config) -> list[ConfigProblem]:
    """Return the problems of the values of known keys."""
    known = {**built_in_types(), **_declared_types(config)}
    keys = sorted(known.keys() & config.keys())
    return [each for key in keys for each in _wrong_type(config, key, known[key])]


def _declared_types(config: Config) -> dict[str, t.Any]:
    if config.project is None or config.project.declared is None:
        return {}
    from .declaredkeys import fields_of

    return {field.key: field.type for field in fields_of(config.project.declared)}


def _wrong_type(config: Config, key: str, annotation: t.Any) -> list[ConfigProblem]:
    try:
        checked(value_of(config, key), annotation)
    except ValueError as exc:
        message = f"{key}: {exc}, got {description(config, key)}."
        return [ConfigProblem(str(origin_of(config, key)), message)]
    return _refused_value(config, key)


def _refused_value(config: Config, key: str) -> list[ConfigProblem]:
    """Return the problem of a value of the right type that the part of carboy refuses which uses
    it. (The keys `LOG_*` are checked together, by `carboy.observability`.)
    """
    if key.startswith("LOG_"):
        return []
    try:
        check_value(key, value_of(config, key), str(origin_of(config, key)))
    except ConfigError as exc:
        return [ConfigProblem("", str(exc))]
    return []


def description(config: Config, key: str) -> str:
    """Return, for a message, the type of a key's value and, unless it may be secret, the value."""
    from .declaredkeys import keys_with_secrets

    secrets = keys_with_secrets(config.project.declared) if config.project else ()
    return describe_value(key, value_of(config, key), secrets)


def describe_value(key: str, value: t.Any, secrets: t.Collection[str]) -> str:
    kind = "text" if isinstance(value, str) else type(value).__name__
    if value is None or key in {*secrets, *DECLARED_SECRETS} or looks_secret(key):
        return kind
    return f"{kind} {mask_text(repr(masked(value)))[:80]}"


def _unknown_key(
    config: Config, key: str, known: t.Mapping[str, t.Any], declared: t.Mapping[str, t.Any]
) -> list[ConfigProblem]:
    origin = origin_of(config, key)
    near = nearest(key, known)
    if near is None and origin.source == "variable":
        # Keys that are only similar, such as REGION_1 and REGION_2, may both be right.
        near = _same_letters(key, config.keys() - {key})
    advice = f" Did you mean {near!r}?" if near else ""
    if declared and origin.source in {"file", "variable", "option"}:
        advice = advice or did_you_mean(key, declared)
        message = f"{key} is not declared by the project's class.{advice or _REMEDY}"
        return [ConfigProblem(str(origin), message)]
    if near is None or "site-packages" in origin.place:
        return []
    return [ConfigProblem(str(origin), f"{key} is not a known key.{advice}")]


def _unused_variables(config: Config, known: t.Mapping[str, t.Any]) -> list[ConfigProblem]:
    """Return a problem for each variable of a `.env` file that has the name of a config key,
    exactly or nearly, and sets no key because it lacks a prefix.
    """
    if config.project is None:
        return []
    problems = []
    for name, origin in config.project.unused.items():
        # A key that still has its default lacks the value of the variable. If a file or code has
        # set the key, it has probably read the variable.
        if origin_of(config, name) is DEFAULT:
            advice = f"Write CARBOY_{name}."
        elif name not in config and (near := nearest(name, {*known, *config})):
            advice = f"If {near} is meant, write CARBOY_{near}."
        else:
            continue
        problems.append(ConfigProblem(str(origin), f"{name} sets no config key. {advice}"))
    return problems


def nearest(name: str, known: t.Iterable[str]) -> str | None:
    """Return the known name that `name` probably misspells; None if there is none."""
    import difflib

    known = list(known)
    if (same := _same_letters(name, known)) is not None:
        return same
    found = difflib.get_close_matches(name, known, n=1, cutoff=_SIMILARITY)
    return found[0] if found else None


def _same_letters(name: str, known: t.Iterable[str]) -> str | None:
    """Return the known name that differs from `name` in underscores and case only."""
    plain = {each.replace("_", ""): each for each in known}
    return plain.get(name.upper().replace("_", ""))
