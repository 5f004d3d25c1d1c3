"""Web workers on one node, replicas on two: nodes and processes are lost under load.

The tests leave the cluster as they found it, with a replica on each node. Where a batch was lost
with its replica, another replica has computed it again: no client gets anything but its answer.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import typing as t
import urllib.error
import urllib.request

import nginxserver
import pytest
import spawning
import website
from polling import wait_until
from steadyload import SteadyLoad, ask, steady_load

if t.TYPE_CHECKING:
    import pathlib
    from collections import abc as cabc

    from raynodes import NodeProgram
    from twonodes import Cluster

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

CLIENTS = 6

# Until Ray has noticed that a node is lost, and a replica has started elsewhere.
wait_long = functools.partial(wait_until, pause_s=0.05, within_s=120.0)


def readiness(program: NodeProgram) -> int:
    try:
        with urllib.request.urlopen(f"{program.management_url}/readyz", timeout=30) as found:
            return found.status
    except urllib.error.HTTPError as exc:
        return exc.code


def status(program: NodeProgram) -> int:
    """Return the status of the response to a prediction."""
    return ask(program.url, 1.0)[0]


def both_compute(load: SteadyLoad, cluster: Cluster) -> None:
    """Wait until replicas on both nodes have computed answers from now on."""
    number = len(load.answers)
    both = {cluster.head.address, cluster.other.address}
    wait_long(lambda: load.nodes_since(number) == both)


def go_on(load: SteadyLoad) -> None:
    """Wait until there are a hundred more answers."""
    number = len(load.answers)
    wait_long(lambda: len(load.answers) > number + 100)


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as found:
        return t.cast("str", found.read().decode())


@contextlib.contextmanager
def nginx_in_front_of(
    servers: list[str], project: pathlib.Path, folder: pathlib.Path
) -> cabc.Iterator[str]:
    """Run nginx on this machine with the configuration of `carboy nginx`, and yield its URL."""
    port = spawning.free_port()
    upstreams = [part for server in servers for part in ("--upstream", server)]
    listen = ("--listen", f"127.0.0.1:{port}")
    file = website.generate("nginx", project, *upstreams, *listen, app="app:app")
    program = nginxserver.start(website.Ports(port, 0), folder, file)
    try:
        yield program.url
    finally:
        program.stop()


@pytest.fixture(autouse=True)
def _replicas_are_on_both_nodes(cluster, served):
    with steady_load(served.url) as load:
        both_compute(load, cluster)


@pytest.fixture
def load(served):
    """Clients of the app, all of whose requests must be answered."""
    with steady_load(served.url, clients=CLIENTS) as load:
        yield load
    assert load.failures == []


def test_killed_replica_loses_nothing(cluster, served, load):
    both_compute(load, cluster)
    (before,) = {each.pid for each in load.answers if each.node == cluster.other.address}
    cluster.other.kill("ray::ReplicaActor")
    wait_long(lambda: any(
        each.node == cluster.other.address and each.pid != before for each in load.answers
    ))  # fmt: skip


def test_killed_controller_is_started_again(cluster, served, load):
    killed = [
        *cluster.head.pids("ray::ControllerActor"),
        *cluster.other.pids("ray::ControllerActor"),
    ]
    (controller,) = killed
    os.kill(controller, signal.SIGKILL)
    go_on(load)
    # A replica that dies now is replaced, which only the controller does.
    cluster.other.kill("ray::ReplicaActor")
    both_compute(load, cluster)


def test_lost_node_loses_nothing_and_its_capacity_comes_back(cluster, served, load):
    cluster.other.cut_power()
    go_on(load)
    assert readiness(served) == 200  # the other replica suffices
    cluster.other.start()
    cluster.start_ray(cluster.other)
    both_compute(load, cluster)


def test_node_without_network_loses_nothing(cluster, served, load):
    cluster.other.unplug()
    go_on(load)
    assert readiness(served) == 200
    cluster.other.cut_power()
    cluster.other.start()
    cluster.start_ray(cluster.other)
    both_compute(load, cluster)


def test_killed_raylet_of_another_node_loses_nothing(cluster, served, load):
    cluster.other.kill("raylet/raylet")
    go_on(load)
    cluster.start_ray(cluster.other)
    both_compute(load, cluster)


def test_killed_web_worker_loses_only_what_it_had(cluster, served):
    with steady_load(served.url, clients=CLIENTS) as load:
        both_compute(load, cluster)
        first, *others = cluster.head.pids("carboy.serving.process.worker")
        assert others
        os.kill(first, signal.SIGKILL)
        go_on(load)
        both_compute(load, cluster)
    assert len(load.failures) <= CLIENTS


def test_web_nodes_behind_nginx_share_the_replicas(cluster, served, tmp_path):
    second = cluster.serve(cluster.other)
    try:
        servers = [f"{each.host}:{each.port}" for each in (served, second)]
        with nginx_in_front_of(servers, cluster.project, tmp_path) as url:
            assert {read(f"{url}/server") for _ in range(4)} == {"head", "other"}
            with steady_load(url) as load:
                both_compute(load, cluster)
                os.kill(second.pid, signal.SIGTERM)
                go_on(load)
                assert second.process.wait(60) == 0
                go_on(load)
            assert load.failures == []
            # There were no replicas beside those of the first server.
            assert len({(each.node, each.pid) for each in load.answers}) == 2
            assert {read(f"{url}/server") for _ in range(4)} == {"head"}
    finally:
        second.stop()


def test_sigterm_answers_what_has_begun(cluster):
    program = cluster.serve(cluster.other)
    try:
        with steady_load(program.url, clients=4) as load:
            wait_long(lambda: len(load.answers) > 20)
            os.kill(program.pid, signal.SIGTERM)
            assert program.process.wait(60) == 0
    finally:
        program.stop()
    # Afterwards nobody listens.
    assert {type(each) for each in load.failures} <= {ConnectionRefusedError, ConnectionResetError}


def test_without_ray_predictions_are_refused_until_it_is_back(cluster, served):
    """The node of the server, with all of Ray's own services, ends and starts again."""
    assert status(served) == 200
    cluster.head.kill_ray()
    cluster.other.cut_power()
    seen = set()

    def is_refused() -> bool:
        seen.add(status(served))
        return 503 in seen

    wait_long(is_refused)
    assert seen <= {200, 503}
    assert readiness(served) == 503
    assert served.process.poll() is None
    cluster.other.start()
    for node in (cluster.head, cluster.other):
        cluster.start_ray(node)
    wait_long(lambda: status(served) == 200)
    assert readiness(served) == 200
    with steady_load(served.url) as load:
        both_compute(load, cluster)
    assert load.failures == []
