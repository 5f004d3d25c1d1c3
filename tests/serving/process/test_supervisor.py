"""The supervisor's loop and its worker processes: restarts, successors, heartbeats, state."""

from __future__ import annotations

import os
import signal
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from polling import wait_until

from carboy.serving.process.childprocess import MAX_DELAY_S, STEADY_S, RestartBackoff
from carboy.serving.process.messagesocket import MessageSocket
from carboy.serving.process.serverstate import FailedReload, ProcessState, ServerState
from carboy.serving.process.supervisor import MAX_UNANSWERED, Supervisor
from carboy.serving.process.workerprocess import (
    Worker,
    WorkerProcess,
)
from carboy.serving.settings import make_settings


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
    ours, theirs = socket.socketpair()
    worker.channel = MessageSocket(ours)
    with theirs:
        for asked in range(1, MAX_UNANSWERED):
            worker.ask_for_heartbeat()
            assert worker.unanswered == asked
        assert theirs.recv(100) == b'["alive?", null]\n'
        theirs.send(b'["alive", null]\n')
        worker.read_messages()
        assert worker.unanswered == 0
        worker.close()


def test_message_calls_the_handler_of_its_word(caplog):
    process = WorkerProcess(1)
    ours, theirs = socket.socketpair()
    process.channel = MessageSocket(ours)
    got = []
    process.handlers["models"] = got.append
    with theirs:
        theirs.send(b'["models", {"a": 1}]\n["info", {"b": 2}]\n["nonsense", 1]\n["leave", "why')
        process.read_messages()
        assert (got, process.info, process.leave_because) == ([{"a": 1}], {"b": 2}, "")
        theirs.send(b'"]\n')
        process.read_messages()
        assert process.leave_because == "why"
    process.read_messages()
    assert process.channel is None, "the process has closed the socket"
    assert "has sent an unknown message 'nonsense'" in caplog.text
    process.close()


def test_successor_takes_the_place_of_the_process_that_ends():
    worker = Worker(1)
    first, second, third = (WorkerProcess(1) for _ in range(3))
    worker.current, worker.successor = first, second
    worker.remove(first)
    assert (worker.current, worker.successor) == (second, None)
    worker.successor = third
    worker.remove(third)
    assert (worker.current, worker.successor) == (second, None)
    worker.remove(second)
    assert worker.processes == []


@pytest.mark.parametrize(
    ("changes", "summary"),
    [
        ({"serving": False}, "loading shop:app"),
        ({}, "1 of 2 workers are ready"),
        ({"stopping": True}, "stopping: 3 workers finish their requests"),
        ({"reloading": True}, "reloading: 1 of 2 workers are ready, 0 with the new code"),
        (
            {"failed_reload": FailedReload(0, "no module")},
            "1 of 2 workers are ready; the last reload has failed, see the log",
        ),
    ],
)
def test_state_is_summarized_in_a_line(changes, summary):
    processes = tuple(
        ProcessState(number, 4711, phase, 0, restarts=0, generation=0)
        for number, phase in ((1, "ready"), (1, "draining"), (2, "loading"))
    )
    state = {"serving": True, "generation": 1, "processes": processes, **changes}
    assert ServerState("shop:app", (), 1, 0, **state).summary() == summary


@pytest.mark.integration
def test_other_threads_read_the_state_and_ask_the_loop(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.py").write_text("from carboy import Carboy\napp = Carboy(__name__)\n")
    settings = make_settings({"port": 0, "workers": 2, "drain_s": 0}, {})
    supervisor = Supervisor("shop:app", settings)
    states, threads = [supervisor.state()], []

    def ask() -> None:
        wait_until(lambda: supervisor.state().serving)
        states.append(supervisor.state())
        supervisor.ask(lambda: 1 / 0)
        supervisor.ask(lambda: threads.append(threading.current_thread()))
        wait_until(lambda: threads)
        os.kill(os.getpid(), signal.SIGTERM)

    asking = threading.Thread(target=ask)
    asking.start()
    assert supervisor.run() == 0
    asking.join()
    assert threads == [threading.main_thread()]
    assert "ZeroDivisionError" in caplog.text
    before, serving = states
    assert (before.serving, before.processes) == (False, ())
    assert (serving.pid, serving.generation, serving.reloading) == (os.getpid(), 0, False)
    assert [(each.number, each.phase, each.restarts) for each in serving.processes] == [
        (1, "ready", 0),
        (2, "ready", 0),
    ]
    assert supervisor.state().stopping
