"""Tokens of replicas: which one a reader gets, and that none is lost."""

import os

import pytest

from carboy.models.replicas import tokens as module
from carboy.models.replicas.tokens import Token, TokenReader, TokenWriter, make_pipe


class Pipe:
    """A pipe with one token of each of some replicas, in this order."""

    def __init__(self, *replicas):
        reading, self.writing = make_pipe()
        self.reader = TokenReader(reading)
        for each in replicas:
            TokenWriter(self.writing, each).write()
        if self.reader.fileno() is None:
            pytest.skip("the system has no /proc")

    def rest(self):
        """Return the replicas whose tokens are left."""
        found = []
        while True:
            try:
                found.append(self.reader.try_take().replica)
            except BlockingIOError:
                return found

    def close(self):
        os.close(self.writing)


@pytest.fixture
def pipe():
    made = []

    def make(*replicas):
        made.append(Pipe(*replicas))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("method", ["take", "try_take"])
@pytest.mark.parametrize(
    ("replicas", "preferred", "taken"),
    [
        ((1, 2, 3), None, 1),
        ((1, 2, 3), 1, 1),
        ((1, 2, 3), 2, 2),
        ((1, 2, 3), 3, 3),
        ((1, 2, 3), 4, 1),  # it is busy, or has ended
        ((1,), 2, 1),
        (tuple(range(1, 20)), 19, 1),  # too far behind
    ],
)
def test_a_reader_gets_the_token_of_the_preferred_replica(pipe, method, replicas, preferred, taken):
    made = pipe(*replicas)
    assert getattr(made.reader, method)(preferred) == Token(taken, 1)
    assert sorted(made.rest()) == sorted(set(replicas) - {taken})


def test_tokens_are_not_lost_if_the_pipe_is_filled_meanwhile(pipe, monkeypatch):
    made = pipe(1, 2, 3)
    write = os.write
    fails = [True]

    def fail_once(fd, data):
        if fd != made.writing and fails:
            fails.clear()
            raise BlockingIOError
        return write(fd, data)

    monkeypatch.setattr(module.os, "write", fail_once)
    assert made.reader.take(3).replica == 3
    assert not fails
    assert sorted(made.rest()) == [1, 2]


def test_without_a_descriptor_the_first_token_is_taken(pipe, monkeypatch):
    made = pipe(1, 2)

    def refuse(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(module, "_open_again", refuse)
    assert made.reader.take(2).replica == 1
    assert made.rest() == [2]


def test_the_end_of_all_replicas_is_noticed_after_a_preference(pipe):
    made = pipe(1, 2)
    assert made.reader.take(2).replica == 2
    assert made.reader.take(2).replica == 1
    made.writing, writing = os.open(os.devnull, os.O_WRONLY), made.writing
    os.close(writing)
    assert made.reader.take(2) is None
