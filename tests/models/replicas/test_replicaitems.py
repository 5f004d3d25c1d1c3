"""How the stream of a replica ends, whatever the replica sends."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import NamedTuple

import pytest

from carboy.errors import AnswerError, DeadlineError, ReplicaLostError
from carboy.models.replicas.batches import encode_failure
from carboy.models.replicas.frames import END, ITEM, RESULTS, ConnectionLost
from carboy.models.replicas.replicaitems import ReplicaItems


class Sent(NamedTuple):
    kind: int
    meta: bytes = b""
    region: memoryview = memoryview(b"")


class ScriptedItems(ReplicaItems[Sent]):
    """A stream of what the test says: messages, and exceptions that a wait for one raises."""

    def __init__(self, *script):
        super().__init__(script[0])
        self.script = deque(script[1:])
        self.events = []

    def _waiting(self):
        return contextlib.nullcontext()

    def _receive(self):
        sent = self.script.popleft()
        if isinstance(sent, Exception):
            raise sent
        return sent

    def _read(self, message):
        return AnswerError("unreadable") if message.meta == b"?" else [message.meta]

    def _stop(self):
        self.events.append("stop")

    def _release(self, *, is_lost):
        self.events.append("lost" if is_lost else "free")


A, B, UNREADABLE = Sent(ITEM, b"a"), Sent(ITEM, b"b"), Sent(ITEM, b"?")
FAILURE = Sent(END, encode_failure(ValueError("no")))


@pytest.mark.parametrize(
    ("script", "items", "failure", "event"),
    [
        ([A, B, Sent(END)], [b"a", b"b"], None, "free"),
        ([Sent(END)], [], None, "free"),
        ([A, FAILURE], [b"a"], ValueError, "free"),
        ([FAILURE], [], ValueError, "free"),
        ([A, ConnectionLost("gone")], [b"a"], ReplicaLostError, "lost"),
        ([A, DeadlineError("late")], [b"a"], DeadlineError, "lost"),
        ([A, Sent(RESULTS)], [b"a"], ReplicaLostError, "lost"),
        ([A, Sent(END, b"garbage")], [b"a"], ReplicaLostError, "lost"),
    ],
    ids=["two items", "no item", "fails", "fails at once", "dies", "hangs", "results", "garbage"],
)
def test_stream_yields_its_items_and_frees_the_replica_once(script, items, failure, event):
    stream = ScriptedItems(*script)
    found = []
    with pytest.raises(failure) if failure else contextlib.nullcontext():
        for item in stream:
            found.append(item)  # noqa: PERF402  # an exception must not lose the items before it
    assert stream.events == [event]
    assert list(stream) == []
    stream.close()
    assert stream.events == [event]
    assert found == items


def test_item_that_cannot_be_read_leaves_the_replica_usable():
    stream = ScriptedItems(A, UNREADABLE, B, Sent(END))
    assert next(stream) == b"a"
    with pytest.raises(AnswerError):
        next(stream)
    assert stream.events == []
    stream.close()
    assert stream.events == ["stop", "free"]


@pytest.mark.parametrize(
    ("rest", "event"),
    [
        ([Sent(END)], "free"),
        ([A, B, FAILURE], "free"),
        ([A, ConnectionLost("gone")], "lost"),
        ([DeadlineError("late")], "lost"),
        ([Sent(RESULTS)], "lost"),
    ],
    ids=["ends", "fails", "dies", "hangs", "results"],
)
def test_closing_waits_until_the_replica_has_closed_the_generator(rest, event):
    stream = ScriptedItems(A, *rest)
    assert next(stream) == b"a"
    stream.close()
    assert stream.events == ["stop", event]
    assert not stream.script
    assert list(stream) == []
