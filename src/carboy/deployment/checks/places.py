"""Where a mistake is, as findings name it."""

from __future__ import annotations

import inspect
import typing as t

from ...config import Config
from ...project.configproblems import origin_of
from ...project.origins import shortened

if t.TYPE_CHECKING:
    from ..facts import Facts


def place_of_key(facts: Facts, key: str) -> str:
    """Return what has set a config key: a line of code or of a file, a variable, an option."""
    config = facts.app.config
    if not isinstance(config, Config):  # the app has a config class of its own, without origins
        return f"config key {key}"
    origin = origin_of(config, key)
    return f"config key {key} ({origin})" if origin.source == "default" else str(origin)


def place_of_function(function: t.Callable[..., t.Any]) -> str:
    """Return the file and line of a function, or its name if it has no file."""
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    if code is None:
        return f"{function.__module__}.{getattr(function, '__qualname__', function)}"
    return f"{shortened(code.co_filename)}:{code.co_firstlineno}"
