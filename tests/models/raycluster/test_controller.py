"""What the controller's actor does with what Ray says. Ray itself is replaced."""

import asyncio

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


@pytest.fixture
def controller(without_ray):
    return without_ray("carboy.models.raycluster.controller")


def test_a_version_whose_actor_ray_refuses_is_refused_and_others_go_on(controller):
    async def told() -> Snapshot:
        actor = controller.ControllerActor(lambda _: None)
        report = Report("web-1", 0, Versions.here(), [WANTED], {})
        report.serial = decode_snapshot(await actor.watch(encode(report))).serial
        return decode_snapshot(await actor.watch(encode(report)))

    facts = asyncio.run(told()).pools[WANTED.key]
    assert facts.state == "refused"
    assert facts.reason == "Ray does not start a replica: no such resource"
