"""The examples other than digits: their folders, their models, their modules."""

from __future__ import annotations

import importlib.util
import pathlib
import subprocess
import sys
import typing as t

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


def home(name: str) -> pathlib.Path:
    return EXAMPLES / name


def make(name: str) -> None:
    """Run the example's train.py, if it has one; it does nothing if nothing has changed."""
    train = home(name) / "train.py"
    if train.exists():
        subprocess.run([sys.executable, train], check=True, stdout=subprocess.DEVNULL)


def module(example: str, name: str) -> t.Any:
    """Import a module of an example that imports no other module of the example."""
    path = home(example) / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{example}_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found
