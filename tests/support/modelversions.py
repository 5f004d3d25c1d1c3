"""Versions of a model for tests: folders with cards, and a model that says which version it is."""

from __future__ import annotations

import json
import pathlib
import tempfile
import typing as t

from carboy.models.sources import source_of


def write_version(source: pathlib.Path | str, name: str, **contents: t.Any) -> None:
    """Add a version with one file, of which `Counting` reads the members."""
    with tempfile.TemporaryDirectory() as build:
        pathlib.Path(build, "version.json").write_text(json.dumps({"name": name, **contents}))
        source_of(str(source)).push(build, name)


class Counting:
    """Answers with the version's name, and lists the objects of its class that are not closed.

    The file of a version may say where it `fails`: "init", "exit", "predict" or "check".
    """

    alive: t.ClassVar[list[str]] = []

    def __init__(self, path: pathlib.Path) -> None:
        content = json.loads((path / "version.json").read_text())
        self.fails, self.name = content.get("fails"), content["name"]
        if self.fails == "init":
            raise RuntimeError("the weights are missing")
        if self.fails == "exit":
            raise SystemExit(3)
        self.alive.append(self.name)

    def predict(self, x: int) -> str:
        if self.fails == "predict":
            raise RuntimeError("no answer")
        return f"{self.name}:{x}"

    def check(self) -> None:
        if self.fails == "check":
            raise RuntimeError("the device is lost")

    def close(self) -> None:
        self.alive.remove(self.name)
