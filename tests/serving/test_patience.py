"""Who takes too long is given up, once, and nobody else."""

from __future__ import annotations

import threading

import pytest

from carboy.serving import patience as module
from carboy.serving.patience import Patience

PATIENCE_S = 20.0
LONG_S = 1000.0


class Late:
    """Called when it is given up."""

    def __init__(self) -> None:
        self.given_up = threading.Event()
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        self.given_up.set()


def test_what_takes_too_long_is_given_up_once():
    patience, late = Patience(), Late()
    patience.begin(late, 0.01)
    assert late.given_up.wait(PATIENCE_S)
    assert not patience.end(late)
    assert late.calls == 1


def test_what_comes_in_time_is_left_alone():
    patience, early, late = Patience(), Late(), Late()
    patience.begin(early, 0.05)
    assert patience.end(early)
    assert not patience.end(early)
    patience.begin(late, 0.06)
    assert late.given_up.wait(PATIENCE_S)
    assert early.calls == 0


def test_a_shorter_limit_is_kept_although_a_longer_one_began_first():
    patience, long, short = Patience(), Late(), Late()
    patience.begin(long, LONG_S)
    while patience._wakes_s < LONG_S / 2 or patience._wakes_s == float("inf"):
        pass  # until its thread sleeps for that
    patience.begin(short, 0.01)
    assert short.given_up.wait(PATIENCE_S)
    assert patience.end(long)


def test_a_limit_that_begins_while_the_thread_looks_is_kept():
    """Between its look and its sleep: it would sleep until the limit that it saw."""
    patience, first, long, short = Patience(), Late(), Late(), Late()
    begun = []

    class Limits(dict):
        def copy(self):
            found = super().copy()
            sees_long_alone = long in found and first not in found
            if patience._changed._is_owned() and sees_long_alone and not begun:
                begun.append(threading.Thread(target=patience.begin, args=(short, 0.01)))
                begun[0].start()
                # It decides now whether to wake us, and must wait for us if it does.
                begun[0].join(0.05)
            return found

    patience._limits_s = Limits()
    patience.begin(long, LONG_S)
    patience.begin(first, 0.01)
    assert short.given_up.wait(PATIENCE_S)
    assert patience.end(long)


@pytest.mark.parametrize("failure", [ZeroDivisionError(), SystemExit()], ids=repr)
def test_a_failure_stops_nobody_else_from_being_given_up(failure, caplog):
    patience, late = Patience(), Late()

    def fail():
        raise failure

    patience.begin(fail, 0.01)
    patience.begin(late, 0.02)
    assert late.given_up.wait(PATIENCE_S)
    assert "error while giving up a client" in caplog.text


def test_its_thread_ends_when_nothing_is_left_and_comes_again(monkeypatch):
    monkeypatch.setattr(module, "IDLE_S", 0.01)
    monkeypatch.setattr(module, "SHORTEST_S", 0.01)
    patience = Patience()
    for _ in range(3):
        late = Late()
        patience.begin(late, 0.01)
        assert late.given_up.wait(PATIENCE_S)
        while patience._running:
            pass


def test_many_threads_that_begin_and_end_lose_no_limit(monkeypatch):
    monkeypatch.setattr(module, "IDLE_S", 0.0)
    monkeypatch.setattr(module, "SHORTEST_S", 0.0)
    patience = Patience()

    def work():
        for _ in range(50):
            early, late = Late(), Late()
            patience.begin(early, LONG_S)
            patience.begin(late, 0.0)
            assert late.given_up.wait(PATIENCE_S)
            assert patience.end(early)
            done.append(late.calls)

    done: list[int] = []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert done == [1] * 200
    assert not patience._limits_s
