"""The models of one app, by name, as views, scripts and notebooks use them."""

from __future__ import annotations

import difflib
import inspect
import typing as t
from collections import abc as cabc

from .codec import Codec
from .replicas import InProcess, Source
from .schema import Interface, compile_interface


class Model:
    """One registered model: its interface, its codec, and the replica that computes."""

    def __init__(self, name: str, rule: str, target: t.Any) -> None:
        owner = f"Model {name!r}"
        source = self._source = Source(target, owner=owner)
        self.name = name
        self.rule = rule
        self.target = target
        self.interface: Interface = compile_interface(source.predict, owner=owner)
        self.codec = Codec(self.interface)
        self._replica = InProcess(source, owner=owner)

    def __repr__(self) -> str:
        state = "loaded" if self.loaded else "not loaded"
        return f"<Model {self.name!r} at {self.rule!r}, {state}>"

    @property
    def loaded(self) -> bool:
        return self._replica.loaded

    @property
    def doc(self) -> str:
        """What the author wrote about it."""
        own = self.target.__dict__.get("__doc__") if inspect.isclass(self.target) else None
        return inspect.cleandoc(own or getattr(self._source.predict, "__doc__", None) or "")

    def load(self) -> None:
        """Build the model now. Does nothing when that is done. Thread-safe."""
        self._replica.load()

    def close(self) -> None:
        """Unload; the next prediction loads again."""
        self._replica.close()

    def predict(self, *values: t.Any, **named: t.Any) -> t.Any:
        """Predict in this process, from any view, script or notebook.

        Values are handed over as they are: a picture is a PIL image, a record is the type that
        `predict` names. Raises what `predict` raises. Thread-safe if `predict` is.
        """
        return self.run(self._bind(values, named))

    def run(self, arguments: cabc.Mapping[str, t.Any]) -> t.Any:
        """Predict from arguments by name, as `codec.decode` returns them."""
        return self._replica.run(arguments)

    def metadata(self) -> dict[str, t.Any]:
        """What a program needs to know to call the model."""
        return {
            "name": self.name,
            "doc": self.doc,
            "accepts": self.codec.media_types,
            "parameters": [p.name for p in self.interface.parameters],
            "input": self.interface.input_schema(),
            "output": self.interface.output_schema(),
        }

    def _bind(self, values: tuple[t.Any, ...], named: dict[str, t.Any]) -> dict[str, t.Any]:
        names = [p.name for p in self.interface.parameters]
        if len(values) > len(names):
            raise TypeError(
                f"Model {self.name!r} takes {len(names)} value(s) ({', '.join(names)}), got"
                f" {len(values)}."
            )
        arguments = dict(zip(names, values, strict=False))
        twice = sorted(arguments.keys() & named.keys())
        if twice:
            raise TypeError(f"Model {self.name!r} got {twice[0]!r} twice.")
        return arguments | named


class Models(cabc.Mapping[str, Model]):
    """`app.models`: every model by its name, in the order of registration."""

    def __init__(self) -> None:
        self._by_name: dict[str, Model] = {}

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

    def load(self) -> None:
        """Load every model, in order; the first that fails stops it."""
        for model in self._by_name.values():
            model.load()

    def close(self) -> None:
        for model in self._by_name.values():
            model.close()

    def _unknown(self, name: object) -> str:
        if not self._by_name:
            return f"No model {name!r}: this app has none. Register one by @app.model(rule)."
        near = difflib.get_close_matches(str(name), self._by_name, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"No model {name!r} among {', '.join(self._by_name)}.{hint}"
