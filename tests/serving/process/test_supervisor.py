"""The delay before a worker that died is started again, and heartbeats."""

from __future__ import annotations

import socket

from hypothesis import given
from hypothesis import strategies as st

from carboy.serving.process.supervisor import MAX_UNANSWERED
from carboy.serving.process.workerprocess import (
    MAX_DELAY_S,
    STEADY_S,
    RestartBackoff,
    WorkerProcess,
)


def test_first_restart_is_immediate():
    assert RestartBackoff().delay_s(lived_s=0.1) == 0


def test_delay_doubles_up_to_its_maximum():
    backoff = RestartBackoff()
    delays = [backoff.delay_s(lived_s=0) for _ in range(10)]
    assert delays[:5] == [0, 0.5, 1, 2, 4]
    assert delays[-1] == MAX_DELAY_S


@given(st.lists(st.floats(0, STEADY_S * 0.99), max_size=20))
def test_steady_worker_resets_the_delay(short_lives):
    backoff = RestartBackoff()
    for lived_s in short_lives:
        backoff.delay_s(lived_s)
    assert backoff.delay_s(STEADY_S) == 0


def test_worker_is_asked_for_a_heartbeat_once_until_it_answers():
    """So a machine that was suspended for hours looks like one question without an answer."""
    worker = WorkerProcess(1)
    worker.channel, theirs = socket.socketpair()
    worker.channel.setblocking(False)
    with theirs:
        for asked in range(1, MAX_UNANSWERED):
            worker.ask_for_heartbeat()
            assert worker.unanswered == asked
        assert theirs.recv(100) == b'["alive?", null]\n'
        theirs.send(b'["alive", null]\n')
        assert worker.read_messages()
        assert worker.unanswered == 0
        worker.close()
