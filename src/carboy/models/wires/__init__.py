"""Protocols of other model servers, by which their clients call the models of an app.

    openinference    Open Inference Protocol V2 (Triton, KServe, Seldon): `"v2"`

The config key `MODEL_PROTOCOLS` switches protocols on. Their modules are imported only then. Each
module has a function `install(app)`.
"""

from __future__ import annotations

import typing as t
from importlib import import_module

from carboy.core.advice import did_you_mean
from carboy.errors import ConfigError

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from ..host import ModelApp

CONFIG_KEY = "MODEL_PROTOCOLS"
_MODULES = {
    "v2": "openinference",
}


def add_configured(app: ModelApp) -> None:
    """Serve the models by the protocols that the configuration switches on.
    Later calls do nothing.

    Raises:
        ConfigError: a protocol is not known, or cannot serve the models of the app.
    """
    added = app.models.installed
    if added:
        return
    for name in _wanted(app.config.get(CONFIG_KEY)):
        added.add(name)
        import_module(f"{__name__}.{_MODULES[name]}").install(app)


def _wanted(configured: t.Any) -> cabc.Iterator[str]:
    """Yield the names of the protocols, each once."""
    names = [] if configured is None else configured
    if not isinstance(names, (list, tuple)) or not all(isinstance(each, str) for each in names):
        raise ConfigError(
            f"{CONFIG_KEY} is {configured!r}: expected a list of names, such as ['v2']."
        )
    for name in dict.fromkeys(names):
        if name not in _MODULES:
            raise ConfigError(
                f"{CONFIG_KEY} has the unknown protocol {name!r}.{did_you_mean(name, _MODULES)} The"
                f" protocols are {', '.join(_MODULES)}."
            )
        yield name
