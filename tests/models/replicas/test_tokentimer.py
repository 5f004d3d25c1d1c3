"""A replica asks for its next batch shortly before it has finished the current one."""

from __future__ import annotations

import os

import pytest
from polling import wait_until

from carboy.models.replicas import tokentimer
from carboy.models.replicas.tokens import TokenReader, TokenWriter, make_pipe
from carboy.models.replicas.tokentimer import TokenTimer


class Replica:
    """A replica on a clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0
        reading, self._writing = make_pipe()
        self._reader = TokenReader(reading)
        self._writer = TokenWriter(self._writing, 1)
        self.timer = TokenTimer(self._writer)

    def compute(self, *times_s: float) -> None:
        """Compute batches that take these times."""
        for each in times_s:
            self.timer.begin(8)
            self.now_s += each
            self.timer.end()

    def try_token(self) -> bool:
        """Take the token and use it, if there is one."""
        try:
            token = self._reader.try_take()
        except BlockingIOError:
            return False
        assert token is not None
        assert self._writer.use(token.serial)
        return True

    def close(self) -> None:
        os.close(self._writing)


@pytest.fixture
def replica(monkeypatch):
    found = Replica()
    monkeypatch.setattr(tokentimer, "monotonic", lambda: found.now_s)
    yield found
    found.close()


def test_the_next_token_is_written_before_the_end_of_a_batch(replica):
    replica.compute(*[0.01] * 9)
    for _ in range(3):
        replica.timer.begin(8)
        assert not replica.try_token()
        replica.now_s += 0.0096
        wait_until(replica.try_token)
        replica.now_s += 0.0004
        replica.timer.end()
    assert not replica.try_token()


def test_one_long_batch_changes_nothing(replica):
    """Such as one during which the process was stopped."""
    replica.compute(*[0.01] * 8, 4.0)
    replica.timer.begin(8)
    assert not replica.try_token()
    replica.now_s += 0.0096
    wait_until(replica.try_token)


@pytest.mark.parametrize(
    "times_s",
    [[0.01, 0.02] * 10, [0.001] * 20, [0.01] * 8],
    ids=["unpredictable", "short", "unknown"],
)
def test_no_token_is_written_before_the_end_of_batches(replica, times_s):
    replica.compute(*times_s)
    replica.timer.begin(8)
    assert replica.timer._thread is None


def test_the_time_of_a_batch_of_another_size_is_unknown(replica):
    replica.compute(*[0.01] * 9)
    replica.timer.begin(4)
    assert replica.timer._thread is None


def test_the_timer_writes_no_token_after_the_end_of_a_batch(replica):
    replica.compute(*[0.01] * 9, 0.009)
    replica.now_s += 1.0
    assert replica.timer.write_if_due() is None
    assert not replica.try_token()


def test_batches_are_computed_if_the_system_allows_no_further_thread(replica, monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    replica.compute(*[0.01] * 20)
