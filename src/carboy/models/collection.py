"""The models of one app by name, and the protocols by which they are served."""

from __future__ import annotations

import difflib
import typing as t
from collections import abc as cabc

from carboy.helpers import _is_rewritten

from .model import Model as Model
from .protocol import JsonProtocol
from .replicas import Health

if t.TYPE_CHECKING:
    from .protocol import ModelProtocol

# How long a model that a notebook has redefined may still compute: its user waits at the prompt.
_REPLACED_S = 1.0


class Models(cabc.Mapping[str, Model]):
    """`app.models`: the models by name, in the order of registration."""

    def __init__(self) -> None:
        self._by_name: dict[str, Model] = {}
        #: By which all models are served.
        self.protocols: list[ModelProtocol] = [JsonProtocol()]

    def __getitem__(self, name: str) -> Model:
        try:
            return self._by_name[name]
        except KeyError:
            raise KeyError(self._unknown(name)) from None

    def __iter__(self) -> cabc.Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __repr__(self) -> str:
        return f"<Models {', '.join(self._by_name) or 'none'}>"

    def add_protocol(self, protocol: ModelProtocol) -> None:
        """Note a protocol for the models to come; see `carboy.models.view.add_protocol`."""
        if any(known.name == protocol.name for known in self.protocols):
            raise ValueError(f"There is a protocol {protocol.name!r} already. Rename this one.")
        self.protocols.append(protocol)

    def add(self, model: Model) -> None:
        self.refuse_twice(model)
        self._by_name[model.name] = model

    def refuse_twice(self, model: Model) -> None:
        """Raise ValueError if the name is taken."""
        if model.name in self._by_name:
            there = self._by_name[model.name]
            raise ValueError(
                f"There is a model {model.name!r} already, at {there.rule!r}. Give this one"
                f" another name: app.model({model.rule!r}, name=...)."
            )

    def is_redefined(self, model: Model) -> bool:
        """Whether this model is a known one, written anew: a notebook's cell that ran again."""
        known = self._by_name.get(model.name)
        if known is None or known.rule != model.rule:
            return False
        return _is_rewritten(known.target, model.target)

    def replace(self, model: Model) -> None:
        """Replace the model of the same name, and close it."""
        known = self._by_name[model.name]
        self._by_name[model.name] = model
        known.close(_REPLACED_S)

    def load(self) -> None:
        """Load every model, in order, until one fails."""
        for model in self._by_name.values():
            model.load()

    def close(self, timeout_s: float | None = None) -> None:
        """Close every model in order: compute what waits within `timeout_s` each, and unload."""
        for model in self._by_name.values():
            model.close(timeout_s)

    def health(self) -> Health:
        """Whether all models are ready, for readiness probes. Never waits.

        A model is not ready while it is not loaded, hangs past its deadline, or its own `check`
        fails, which is asked every few seconds on a thread beside `predict`.
        """
        reasons = {model.name: model.not_ready() for model in self._by_name.values()}
        reasons = {name: reason for name, reason in reasons.items() if reason}
        return Health(not reasons, reasons)

    def _unknown(self, name: object) -> str:
        if not self._by_name:
            return f"No model {name!r}: this app has none. Register one by @app.model(rule)."
        near = difflib.get_close_matches(str(name), self._by_name, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"No model {name!r} among {', '.join(self._by_name)}.{hint}"
