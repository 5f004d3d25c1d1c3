"""CPUs, open files and addresses of this machine."""

from __future__ import annotations

import os
import resource
import selectors
import socket

import pytest

from carboy.serving import machine


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        pytest.param({}, None, id="no cgroups"),
        pytest.param({"cpu.max": "max 100000"}, None, id="no quota"),
        pytest.param({"cpu.max": "150000 100000"}, 1.5, id="v2"),
        pytest.param(
            {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5, id="v1"
        ),
        pytest.param(
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            None,
            id="v1 no quota",
        ),
    ],
)
def test_quota_of_a_container_is_read(tmp_path, files, cpus):
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert machine.cgroup_cpus(str(tmp_path)) == cpus


@pytest.mark.parametrize(
    ("affinity", "quota", "workers"), [(4, None, 4), (4, 1.5, 2), (4, 0.2, 1), (64, None, 8)]
)
def test_default_workers_follow_affinity_and_quota(monkeypatch, affinity, quota, workers):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(affinity)))
    monkeypatch.setattr(machine, "cgroup_cpus", lambda: quota)
    assert machine.default_workers() == workers


@pytest.mark.parametrize(
    ("hard", "connections"),
    [(4096, 4096 - 256), (128, 64), (resource.RLIM_INFINITY, 2**31)],
    ids=["limit", "low limit", "no limit"],
)
def test_connections_fit_into_the_limit_of_open_files(monkeypatch, hard, connections):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (64, hard))
    assert machine.affordable_connections() == connections


def test_connections_fit_into_what_select_can_wait_for(monkeypatch):
    monkeypatch.setattr(selectors, "DefaultSelector", selectors.SelectSelector)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (64, resource.RLIM_INFINITY))
    assert machine.affordable_connections() == 500
    monkeypatch.setattr(resource, "getrlimit", lambda which: (64, 600))
    assert machine.affordable_connections() == 344


def test_system_that_cannot_share_ports_has_no_workers(monkeypatch):
    monkeypatch.setattr(machine, "HAS_WORKERS", False)
    assert machine.default_workers() == 0
    assert machine.usable_cpus() >= 1


def test_port_that_another_server_has_left_can_be_bound_but_not_one_in_use():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        client = socket.create_connection(address)
        accepted, _ = listener.accept()
        accepted.close()  # the server closes first, so that its side remains in TIME_WAIT
        client.close()
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            machine.bind_exclusively(other, address)
    with socket.socket() as other:
        machine.bind_exclusively(other, address)


def test_soft_limit_of_open_files_is_raised_only(monkeypatch):
    made = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 9000))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: made.append(limits))
    machine.raise_descriptor_limit(300)
    machine.raise_descriptor_limit(4096)
    assert made == [(2 * 4096 + 256, 9000)]


def test_soft_limit_of_open_files_is_raised_to_a_hard_limit_that_is_low(monkeypatch):
    made = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (200, 300))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: made.append(limits))
    machine.raise_descriptor_limit(machine.affordable_connections())
    assert made == [(300, 300)]


def test_ipv4_address_of_a_host_is_preferred():
    assert machine.resolve("localhost") == "127.0.0.1"
