"""Values of config keys for checks, and the places of mistakes, as findings name them."""

from __future__ import annotations

import os
import typing as t

from ...config import Config
from ...project.configproblems import origin_of
from ...project.origins import Origin, shortened
from ...project.secretkey import value_of
from ...serving.settings import SETTINGS

if t.TYPE_CHECKING:
    from ..facts import Facts


def value_of_key(facts: Facts, key: str) -> t.Any:
    """Return the value of a config key, without making a secret key for development."""
    config = facts.app.config
    return value_of(config, key) if key in config else None


def origin_of_key(facts: Facts, key: str) -> Origin:
    config: object = facts.app.config
    if isinstance(config, Config):
        return origin_of(config, key)
    return Origin("default", "")  # a class of the user, which does not record origins


def place_of_key(facts: Facts, key: str) -> str:
    """Return what has set a config key: a line of code or of a file, a variable, an option."""
    origin = origin_of_key(facts, key)
    if origin.source in {"default", "generated"}:
        return f"config key {key} ({origin})"
    return str(origin)


def place_of_setting(field: str) -> str:
    """Return what has set a setting of the server: an environment variable, or the default."""
    (setting,) = (each for each in SETTINGS if each.field == field)
    names = [name for name in setting.variables if os.environ.get(name)]
    return f"environment variable {names[0]}" if names else f"setting {setting.option} (default)"


def place_of_function(function: t.Any) -> str:
    """Return the file and line of a function, or its name if it has no code in Python."""
    code = getattr(function, "__code__", None)
    if code is None:
        return f"{function.__module__}.{getattr(function, '__qualname__', function)}"
    return f"{shortened(code.co_filename)}:{code.co_firstlineno}"
