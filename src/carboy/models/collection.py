"""The container `app.models`: all models of an app by name, and the HTTP protocols by which clients
call them.
"""

from __future__ import annotations

import difflib
import typing as t
from collections import abc as cabc
from functools import partial

from carboy.helpers import _is_redefined

from .model import Model as Model
from .protocol import JsonProtocol
from .replicas.checkup import Health

if t.TYPE_CHECKING:
    from .protocol import ModelProtocol
    from .versions.versionset import Loading

# How long a model may finish its predictions when a notebook cell that defines it is run again. The
# user waits meanwhile.
_REPLACE_TIMEOUT_S = 1.0


class ModelLifecycle(t.Protocol):
    """Loads and unloads models at the request of a client, and changes their versions. Each method
    returns when it is done.
    """

    def load(self, name: str) -> None:
        """Load a model. Raises ModelLoadError."""

    def unload(self, name: str) -> None:
        """Unload a model, which then refuses predictions until it is loaded."""

    def refresh(self, name: str, *, retry: bool = False) -> None:
        """Change to the version that the source of a model says. Raises ModelLoadError.

        Args:
            retry: try a version again that could not be served before.
        """


class _LifecycleHere:
    """Loads and unloads models, and changes their versions, in this process alone."""

    def __init__(self, models: cabc.Mapping[str, Model]) -> None:
        self._models = models

    def load(self, name: str) -> None:
        self._models[name].load()

    def unload(self, name: str) -> None:
        self._models[name].unload()

    def refresh(self, name: str, *, retry: bool = False) -> None:
        self._models[name].versions.refresh(retry=retry)


class Models(cabc.Mapping[str, Model]):
    """`app.models`: the models by name, in the order of registration."""

    def __init__(self) -> None:
        self._by_name: dict[str, Model] = {}
        #: Loads and unloads models at the request of a client. A server with several processes
        #: replaces it, so that all of them do.
        self.lifecycle: ModelLifecycle = _LifecycleHere(self._by_name)
        #: The HTTP protocols by which clients can call every model, such as plain JSON.
        self.protocols: list[ModelProtocol] = [JsonProtocol()]
        #: The names of the protocols that `carboy.models.wires` has added.
        self.installed: set[str] = set()

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
        """Serve all models that are registered later over one more protocol.
        `models.view.add_protocol` includes the models that are registered already.
        """
        if any(known.name == protocol.name for known in self.protocols):
            raise ValueError(f"There is a protocol {protocol.name!r} already. Rename this one.")
        self.protocols.append(protocol)

    def add(self, model: Model) -> None:
        self.refuse_twice(model)
        self._by_name[model.name] = model

    def refuse_twice(self, model: Model) -> None:
        """Raise ValueError if another model is registered under the same name."""
        if model.name in self._by_name:
            there = self._by_name[model.name]
            raise ValueError(
                f"There is a model {model.name!r} already, at {there.rule!r}. Give this one"
                f" another name: app.model({model.rule!r}, name=...)."
            )

    def is_redefined(self, model: Model) -> bool:
        """Return whether a model is a new definition of a registered one, as when a notebook cell
        is run twice.
        """
        known = self._by_name.get(model.name)
        if known is None or known.rule != model.rule:
            return False
        return _is_redefined(known.target, model.target)

    def replace(self, model: Model) -> None:
        """Replace the registered model of the same name by `model`, and close the replaced one."""
        known = self._by_name[model.name]
        self._by_name[model.name] = model
        known.close(_REPLACE_TIMEOUT_S)

    def load(self) -> None:
        """Load all models in the order of registration, except those that a client has unloaded.
        Raises ModelLoadError at the first failure.
        """
        for model in self._by_name.values():
            if not model.unloaded:
                model.load()

    def withhold(self, names: cabc.Iterable[str]) -> None:
        """Let those of these models that the app has be unloaded from the beginning."""
        for name in self._by_name.keys() & set(names):
            self._by_name[name].unload()

    def follow(
        self,
        known: cabc.Mapping[str, cabc.Mapping[str, t.Any]],
        report_loading: cabc.Callable[[str, Loading | None], object],
    ) -> None:
        """Change versions only when `lifecycle` says so, and begin with the versions that other
        processes serve.

        Args:
            known: the arguments of `VersionSet.follow` by the names of the models.
            report_loading: is called with the name of a model and what is about to be loaded, and
                with None when that has ended.
        """
        for name, model in self._by_name.items():
            refresh, report = partial(self.lifecycle.refresh, name), partial(report_loading, name)
            model.versions.follow(refresh, report, **known.get(name, {}))

    def close(self, timeout_s: float | None = None) -> None:
        """Close all models one after the other. Each gets `timeout_s` seconds to compute the
        predictions that wait in its queue.
        """
        for model in self._by_name.values():
            model.close(timeout_s)

    def refuse_waiting(self) -> None:
        """Refuse the predictions that wait, and new ones, because the process is about to end.
        Those that are being computed go on, and streams end. Returns at once.
        """
        for model in self._by_name.values():
            for version in model.versions.served():
                version.queue.close(0.0)

    def health(self) -> Health:
        """Return whether all models are ready, for readiness probes. Never blocks.

        A model is not ready while it is not loaded, while `predict` runs longer than its deadline,
        or if the model's own `check` method fails, which a separate thread calls every few seconds.
        A model that a client has unloaded does not count, because that was asked for.
        """
        wanted = [model for model in self._by_name.values() if not model.unloaded]
        reasons = {model.name: model.not_ready() for model in wanted}
        reasons = {name: reason for name, reason in reasons.items() if reason}
        return Health(not reasons, reasons)

    def _unknown(self, name: object) -> str:
        if not self._by_name:
            return f"No model {name!r}: this app has none. Register one by @app.model(rule)."
        near = difflib.get_close_matches(str(name), self._by_name, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"No model {name!r} among {', '.join(self._by_name)}.{hint}"
