"""Checks of the app's configuration: debug mode, and what `carboy config --check` finds."""

from __future__ import annotations

import typing as t

from ...cli.configuration import config_problems
from ...config import Config
from .checkregistry import Found, check
from .places import place_of_key

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..facts import Facts


@check(
    "carboy.E001",
    "Debug mode is on.",
    remedy="Do not set DEBUG in code or in files that reach production, nor CARBOY_DEBUG or"
    " FLASK_DEBUG there. For development, use 'carboy run --debug'.",
    deploy=True,
)
def find_debug_mode(facts: Facts) -> cabc.Iterator[Found]:
    if facts.app.debug:
        yield Found(
            place_of_key(facts, "DEBUG"),
            "Debug mode is on: users see tracebacks of errors, with lines of your code.",
        )


@check(
    "carboy.E002",
    "The configuration has a value of a wrong type, a misspelt key, or an environment variable that"
    " sets nothing ('carboy config --check' reports the same).",
    remedy="Correct the key or its value. 'carboy config' shows all values and their origins.",
)
def find_config_problems(facts: Facts) -> cabc.Iterator[Found]:
    if isinstance(facts.app.config, Config):
        for place, message in config_problems(facts.app):
            yield Found(place or "configuration", message)
