"""A model whose versions are in a folder of the test."""

from __future__ import annotations

import typing as t

import pytest
from modelversions import Counting
from polling import PATIENCE_S


@pytest.fixture(autouse=True)
def _only_changes_when_told(monkeypatch):
    """Let tests call `refresh`, unless they call `watched`."""
    monkeypatch.setattr("carboy.models.sources.localsource.FolderSource.poll_s", 3600.0)


@pytest.fixture
def watched(monkeypatch):
    monkeypatch.setattr("carboy.models.sources.localsource.FolderSource.poll_s", 0.01)


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "models" / "m"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def declare(app, store):
    """Return a function that declares a model whose versions are in `store`."""

    def declare(target: t.Any = None, **options: t.Any):
        target = target or type("Counted", (Counting,), {"alive": []})
        app.model("/m", name="m", source=str(store), **options)(target)
        return app.models["m"]

    yield declare
    app.models.close(PATIENCE_S)
