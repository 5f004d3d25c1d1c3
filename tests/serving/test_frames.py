"""Bodies that come piece by piece: read by a thread, collected by nobody, thrown away."""

from __future__ import annotations

import threading

import pytest
import rsgiend
from werkzeug.exceptions import ClientDisconnected

from carboy.serving import frames as module
from carboy.serving.answers import AT_ONCE_BYTES
from carboy.serving.frames import FrameReader, collect
from carboy.serving.patience import Patience

PATIENCE_S = 20.0

# ------------------------------------------------------------------------------ read by a thread


@pytest.mark.parametrize("sizes", [[100], [1] * 12, [3, 100], [7, 1, 100], [0, 4, 100]], ids=repr)
def test_reads_what_is_asked_for_across_pieces(sizes):
    reader = FrameReader(rsgiend.Protocol([b"abc", b"d", b"efghijk"]))
    data = [reader.read(size) for size in sizes]
    assert b"".join(data) == b"abcdefghijk"
    assert [len(each) for each in data[:-1]] == sizes[:-1]


def test_the_end_stays_the_end():
    reader = FrameReader(rsgiend.Protocol([b"abc"]))
    assert [reader.read(2), reader.read(2), reader.read(2)] == [b"ab", b"c", b""]


def test_waits_for_what_has_not_come():
    protocol = rsgiend.Protocol([b"abc", b"def"], waits=True)
    reader, got = FrameReader(protocol), []
    thread = threading.Thread(target=lambda: got.append(reader.read(5)))
    thread.start()
    for piece in (b"abc", b"def"):
        while not protocol.arrivals:
            pass
        protocol.arrivals.pop().end(piece)
    thread.join(PATIENCE_S)
    assert got == [b"abcde"]


def test_the_end_of_the_connection_is_no_end_of_the_body():
    reader = FrameReader(rsgiend.Protocol([b"abc"], cut=True))
    assert reader.read(3) == b"abc"
    with pytest.raises(ClientDisconnected):
        reader.read(1)
    assert reader.read(1) == b""


def test_trailers_that_were_announced_are_an_end():
    """granian gives them as an empty piece before the end."""
    reader = FrameReader(rsgiend.Protocol([b"abc", b""]), trailers=True)
    assert reader.read(10) == b"abc"


# ------------------------------------------------------------------------------- collected


class Receiver:
    """Who wants the body."""

    def __init__(self, *, room=10**9):
        self.room = room
        self.told = []

    def hold(self, size_bytes):
        self.held = size_bytes
        return size_bytes <= self.room

    def begin(self, data):
        self.told.append(data)

    def refuse_length(self, length, limit, *, unread):
        self.told.append((length, unread))

    def refuse_more(self, *, unread):
        self.told.append(("busy", unread))

    def body_is_lost(self, *, in_time):
        self.told.append("cut" if in_time else "late")


def collected(protocol, *, limit=1000, trailers=False, receiver=None):
    receiver, patience = receiver or Receiver(), Patience()
    collect(protocol, limit, patience, receiver, trailers=trailers)
    return receiver, patience


@pytest.mark.parametrize(
    ("given", "options", "told"),
    [
        pytest.param({"frames": []}, {}, b"", id="empty"),
        pytest.param({"frames": [b"ab", b"c"]}, {}, b"abc", id="whole"),
        pytest.param({"frames": [b"x" * 500] * 2}, {}, b"x" * 1000, id="as long as allowed"),
        pytest.param({"frames": [b"ab"], "cut": True}, {}, "cut", id="cut short"),
        pytest.param({"frames": [b"ab", b""]}, {"trailers": True}, b"ab", id="trailers"),
        pytest.param(
            {"frames": [b"x" * 600] * 5}, {}, ("more than 1000 bytes", False), id="too long"
        ),
    ],
)
def test_a_body_is_collected_or_refused_once(given, options, told):
    protocol = rsgiend.Protocol(**given)
    receiver, patience = collected(protocol, **options)
    assert receiver.told == [told]
    assert protocol.frames == []  # what is too long is taken, too
    assert not patience._limits_s


def test_a_long_body_is_counted_and_refused_where_there_is_no_room():
    protocol = rsgiend.Protocol([b"x" * 50_000] * 4)
    receiver, patience = collected(protocol, limit=10**6, receiver=Receiver(room=2 * AT_ONCE_BYTES))
    assert receiver.told == [("busy", False)]
    assert receiver.held == 150_000
    assert protocol.frames == []
    assert not patience._limits_s


def test_a_body_that_does_not_come_is_given_up(monkeypatch):
    monkeypatch.setattr(module, "COLLECT_S", 0.01)
    protocol = rsgiend.Protocol([b"ab"], waits=True)
    receiver, _ = collected(protocol)
    while not receiver.told:
        pass
    assert receiver.told == ["late"]
    assert protocol.arrivals[0].cancelled()


# ------------------------------------------------------------------------------- thrown away


def test_a_client_that_sends_on_is_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(module, "LINGER_S", 0.01)
    protocol, patience = rsgiend.Protocol([b"ab"], waits=True), Patience()
    FrameReader(protocol).discard(patience)
    while not protocol.arrivals[0].cancelled():
        pass
    assert not patience._limits_s


def test_what_comes_in_time_is_thrown_away():
    protocol, patience = rsgiend.Protocol([b"ab"] * 10, cut=True), Patience()
    reader = FrameReader(protocol)
    reader.read(3)
    reader.discard(patience)
    assert protocol.frames == []
    assert not patience._limits_s


def test_a_body_that_is_over_is_left_alone():
    protocol = rsgiend.Protocol([b"ab"])
    reader = FrameReader(protocol)
    assert reader.read(5) == b"ab"
    reader.discard(Patience())
