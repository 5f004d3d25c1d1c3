"""Probes of a running server never wait for a worker or for the supervisor's loop."""

from __future__ import annotations

import pytest

from carboy.serving.management import health
from carboy.serving.management.health import LoopPulse, ServerHealth
from carboy.serving.management.questions import Questions
from carboy.serving.process.serverstate import ProcessState, ServerState


class FakeServer:
    """A server whose workers answer when the test wants."""

    def __init__(self):
        self.processes = [10]
        self.answers = {}
        self.unread = []
        self.questions = Questions(self._send)
        self.health = ServerHealth(self.state, self.questions, lambda call: call())

    def state(self):
        processes = tuple(
            ProcessState(number, pid, "ready", 0.0, 0, 0)
            for number, pid in enumerate(self.processes, 1)
        )
        return ServerState(None, (), 1, 0.0, serving=True, processes=processes)

    def _send(self, pid, payload):
        if pid in self.answers:
            self.questions.receive((payload[0], "", self.answers[pid]))
        else:
            self.unread.append((pid, payload[0]))


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(health, "WAIT_S", 0.001)
    return FakeServer()


def test_answer_of_the_worker_decides(server):
    server.answers[10] = {"digits": ""}
    assert server.health.ready().status == 200
    server.answers[10] = {"digits": "hangs past its deadline"}
    assert server.health.ready().status == 503


def test_worker_that_does_not_answer_counts_as_it_did_last(server):
    server.answers[10] = {"digits": ""}
    assert server.health.ready().status == 200
    del server.answers[10]
    assert server.health.ready().status == 200


def test_worker_that_does_not_answer_is_not_ready_after_a_while(server, monkeypatch):
    server.answers[10] = {}
    server.health.ready()
    del server.answers[10]
    now_s = 1000.0
    monkeypatch.setattr(health, "monotonic", lambda: now_s)
    server.health.ready()
    now_s += 60
    (reason,) = server.health.ready().reasons
    assert reason.reason == "has shown no sign of life for 60 s"


def test_worker_is_asked_again_only_after_it_has_answered(server):
    for _ in range(5):
        server.health.ready()
    assert len(server.unread) == 1


def test_late_answer_counts_at_the_next_probe(server):
    assert server.health.ready().status == 503
    ((_, number),) = server.unread
    server.questions.receive((number, "", {}))
    assert server.health.ready().status == 200


def test_startup_stays_successful(server):
    server.answers[10] = {"digits": ""}
    assert server.health.started().status == 200
    server.answers[10] = {"digits": "hangs past its deadline"}
    assert server.health.started().status == 200
    assert server.health.ready().status == 503


def test_process_that_has_ended_is_forgotten(server):
    server.answers = {10: {"digits": "loading"}, 20: {"digits": ""}}
    assert server.health.ready().status == 503
    server.processes = [20]
    assert server.health.ready().status == 200
    assert server.health._last.keys() == {20}


# ----------------------------------------------------------------------------- the loop


def test_loop_that_runs_is_alive():
    pulse = LoopPulse(lambda call: call())
    assert [pulse.check().status for _ in range(3)] == [200, 200, 200]


def test_loop_that_is_blocked_is_not_alive(monkeypatch):
    asked, now_s = [], 1000.0
    monkeypatch.setattr(health, "monotonic", lambda: now_s)
    pulse = LoopPulse(asked.append)
    assert pulse.check().status == 200
    now_s += 11
    verdict = pulse.check()
    assert verdict.status == 503
    assert verdict.reasons[0].reason == "the supervisor's loop has been blocked for 11 s"
    asked.pop()()
    assert pulse.check().status == 200
