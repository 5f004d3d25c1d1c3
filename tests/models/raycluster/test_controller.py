"""What the controller's actor does with what Ray says. Ray itself is replaced."""

import asyncio
import importlib
import sys
import types

import pytest

from carboy.models.raycluster.messages import (
    Code,
    Report,
    Snapshot,
    Versions,
    WantedVersion,
    decode_snapshot,
    encode,
)

WANT = {
    "key": "m",
    "model": "m",
    "version": "",
    "replicas": 1,
    "start_timeout_s": 30.0,
    "max_rss_bytes": None,
    "beside": "",
    "hold_s": None,
}
WANTED = WantedVersion(WANT, Code("shop:app", "/app", "digest"), 1, 4, {"num_cpus": 1.0})
MODULES = [f"carboy.models.raycluster.{name}" for name in ("replicaactor", "controller")]


def refuse(*_):
    raise ValueError("no such resource")


@pytest.fixture
def controller(monkeypatch):
    """The module, with a Ray that starts no actor."""
    ray = types.ModuleType("ray")
    ray.method = lambda **_: lambda function: function
    ray.remote = lambda **_: lambda _: types.SimpleNamespace(remote=refuse)
    ray.util = types.SimpleNamespace(list_named_actors=list)
    ray.exceptions = types.ModuleType("ray.exceptions")
    ray.exceptions.RayError = type("RayError", (Exception,), {})
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.exceptions", ray.exceptions)
    before = {name: sys.modules.pop(name, None) for name in MODULES}
    yield importlib.import_module(MODULES[-1])
    for name, module in before.items():
        sys.modules.pop(name)
        if module is not None:
            sys.modules[name] = module


def test_a_version_whose_actor_ray_refuses_is_refused_and_others_go_on(controller):
    async def told() -> Snapshot:
        actor = controller.ControllerActor(lambda _: None)
        report = Report("web-1", 0, Versions.here(), [WANTED], {})
        report.serial = decode_snapshot(await actor.watch(encode(report))).serial
        return decode_snapshot(await actor.watch(encode(report)))

    facts = asyncio.run(told()).pools[WANTED.key]
    assert facts.state == "refused"
    assert facts.reason == "Ray does not start a replica: no such resource"
