"""CPUs, open files and addresses of this machine."""

from __future__ import annotations

import os
import resource
import selectors
import socket

import pytest

from carboy.serving import machine


@pytest.fixture
def container(tmp_path, monkeypatch):
    """Write the files of a container with limits below a folder that takes the place of `/`."""

    def write(*, affinity=4, cpu_max="max 100000", memory_max="max"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(affinity)))
        for name, text in {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": "3 2 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "sys/fs/cgroup/cpu.max": cpu_max,
            "sys/fs/cgroup/memory.max": memory_max,
        }.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return str(tmp_path)

    return write


@pytest.mark.parametrize(
    ("affinity", "quota", "cpus"),
    [
        (4, "max", (4, "CPU affinity")),
        (4, "900000", (4, "CPU affinity")),
        (4, "150000", (2, "quota of 1.5 in cgroup /")),
        (4, "20000", (1, "quota of 0.2 in cgroup /")),
        (4, "1", (1, "quota of 1e-05 in cgroup /")),
        (64, "max", (64, "CPU affinity")),
    ],
)
def test_cpus_follow_affinity_and_quota(container, affinity, quota, cpus):
    root = container(affinity=affinity, cpu_max=f"{quota} 100000")
    assert machine.find_cpus(root) == cpus


def test_memory_limit_is_that_of_the_container_or_the_memory_of_the_machine(container):
    assert machine.memory_limit(container(memory_max="1048576")) == (2**20, "cgroup /")
    of_machine = machine.memory_limit(container(memory_max="max"))
    assert of_machine.source == "this machine"
    assert of_machine.amount > 2**28
    more = str(int(of_machine.amount) + 4096)
    assert machine.memory_limit(container(memory_max=more)) == of_machine


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
