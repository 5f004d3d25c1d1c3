"""Modules that import Ray, without Ray."""

import importlib
import sys
import types

import pytest
from fakeray import replace_ray

MODULES = [f"carboy.models.raycluster.{name}" for name in ("replicaactor", "controller")]


def refuse(*_):
    raise ValueError("no such resource")


@pytest.fixture
def without_ray(monkeypatch):
    """A function that imports a module, with a Ray that starts no actor."""
    ray = types.ModuleType("ray")
    ray.method = lambda **_: lambda function: function
    ray.remote = lambda **_: lambda _: types.SimpleNamespace(remote=refuse)
    ray.util = types.SimpleNamespace(list_named_actors=list)
    ray.exceptions = types.ModuleType("ray.exceptions")
    ray.exceptions.RayError = type("RayError", (Exception,), {})
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.exceptions", ray.exceptions)
    before = {name: sys.modules.pop(name, None) for name in MODULES}
    yield importlib.import_module
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


@pytest.fixture
def actors(monkeypatch):
    """The actors by name, which `ray.get_actor` finds."""
    return replace_ray(monkeypatch)
