"""What workers report of a Ray cluster is in the log of the server, once for all of them."""

import pytest

from carboy.serving.process.clusterreplicas import ClusterReplicas


@pytest.fixture
def logged(caplog):
    caplog.set_level("INFO", "carboy.serving")
    return lambda: [each.getMessage() for each in caplog.records]


class Process:
    exit_code = None

    def __init__(self):
        self.handlers = {}


def worker_of(replicas):
    process = Process()
    replicas.watch(process)
    return process.handlers["cluster"]


def test_a_line_that_each_worker_reports_is_logged_once(logged):
    replicas = ClusterReplicas()
    for report in (worker_of(replicas), worker_of(replicas)):
        report({"line": "connecting to Ray at 10.0.0.5:6379"})
    assert logged() == ["connecting to Ray at 10.0.0.5:6379"]
    assert replicas.states() == ()


def test_an_event_of_the_controller_is_logged_once(logged):
    replicas = ClusterReplicas()
    for report in (worker_of(replicas), worker_of(replicas)):
        event = [1, 20, "model 'm': 2 replicas ready", 0.0]
        report({"replicas": [], "controller": "c", "events": [event]})
    assert logged() == ["model 'm': 2 replicas ready"]
