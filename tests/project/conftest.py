"""A project in a temporary folder."""

from __future__ import annotations

import os
import pathlib
import textwrap

import pytest

from carboy import Carboy


class ProjectFolder:
    """A project's folder: write files into it, then load an app."""

    def __init__(self, root: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self._monkeypatch = monkeypatch

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")

    def setenv(self, **variables: str) -> None:
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)

    def app(self) -> Carboy:
        return Carboy("shop", root_path=str(self.root), instance_path=str(self.root / "instance"))

    def load(self, **options: object) -> Carboy:
        app = self.app()
        app.config.from_project(**options)
        return app

    def origin(self, app: Carboy, key: str) -> str:
        return str(app.config.project.origins[key])


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("LOG_", "SECRET_")):
            monkeypatch.delenv(name)
    return ProjectFolder(tmp_path, monkeypatch)
