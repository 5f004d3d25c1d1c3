"""A lock on a device that processes share."""

from __future__ import annotations

import contextlib
import threading

import pytest

from carboy.models.replicas.devicelock import DeviceLock


def fail() -> None:
    raise ConnectionError


def nothing() -> None:
    """Tell nobody."""


@pytest.fixture
def locks(tmp_path):
    found = [DeviceLock(str(tmp_path / "device")) for _ in range(3)]
    yield found
    for each in found:
        each.close()


def test_the_device_has_one_holder(locks):
    first, second, _ = locks
    told = []
    held = threading.Event()

    def other() -> None:
        with second.hold(lambda: told.append("waits"), lambda: told.append("begins")):
            held.set()

    thread = threading.Thread(target=other)
    with first.hold(nothing, nothing):
        thread.start()
        assert not held.wait(0.05)
    thread.join()
    assert told == ["waits", "begins"]


def test_a_failure_while_it_waits_leaves_the_device_to_others(locks):
    first, second, third = locks
    with (
        first.hold(nothing, nothing),
        contextlib.suppress(ConnectionError),
        second.hold(fail, nothing),
    ):
        pytest.fail("the device is held by another")
    with third.hold(fail, fail):
        """The device is free."""
