"""Convert the arguments of a Python call, such as `model.predict(1, top=3)`, to a dict of arguments
by parameter name.
"""

from __future__ import annotations

import typing as t
from collections import abc as cabc

if t.TYPE_CHECKING:
    from carboy.contract.operation import BodySpec


class Binder:
    """Binds call arguments to the parameters of one model. Error messages name the model."""

    def __init__(self, name: str, interface: BodySpec) -> None:
        self._name = name
        self._names = [p.name for p in interface.parameters]
        self._required = {p.name for p in interface.parameters if p.required}

    def bind(self, values: tuple[t.Any, ...], named: cabc.Mapping[str, t.Any]) -> dict[str, t.Any]:
        names = self._names
        if len(values) > len(names):
            raise TypeError(
                f"Model {self._name!r} takes {len(names)} value(s) ({', '.join(names)}), got"
                f" {len(values)}."
            )
        arguments = dict(zip(names, values, strict=False))
        twice = sorted(arguments.keys() & named.keys())
        if twice:
            raise TypeError(
                f"Model {self._name!r} got two values for {twice[0]!r}, one by position and one by"
                " name. Leave out one of them."
            )
        arguments |= named
        missing = self._required - arguments.keys()
        unknown = arguments.keys() - set(names)
        if missing or unknown:
            raise TypeError(
                f"Model {self._name!r} takes {', '.join(names)};"
                f" missing: {', '.join(sorted(missing)) or 'none'},"
                f" unknown: {', '.join(sorted(unknown)) or 'none'}."
            )
        return arguments

    def bind_one(self, value: t.Any) -> dict[str, t.Any]:
        """Convert one input of `model.map` to a dict of arguments. The input is the value of the
        only parameter, or a dict if there are several parameters.
        """
        if len(self._names) == 1:
            return {self._names[0]: value}
        if not isinstance(value, cabc.Mapping):
            raise TypeError(
                f"Model {self._name!r} takes {len(self._names)} values ({', '.join(self._names)}):"
                f" give a dict by these names, got {type(value).__name__}."
            )
        return self.bind((), value)
