"""What a replica does with batches that it cannot compute at once, or not at all."""

from __future__ import annotations

import fcntl
import socket
import time
import typing as t

import pytest
from replicaprocesses import ReplicaThread

from carboy.models.replicas import process
from carboy.models.replicas.batches import pack_batch
from carboy.models.replicas.devicelock import DeviceLock
from carboy.models.replicas.frames import BATCH, BEGINS, ITEM, RESULTS, STALE, WAITS, FrameSocket
from carboy.models.replicas.replicaconnection import receive
from carboy.models.replicas.supervision import device_lock_path, socket_path
from carboy.models.replicas.tokens import NoTokens, Token, TokenReader

if t.TYPE_CHECKING:
    from carboy.models.queue.calls import Arguments

NO_TOKEN = Token(1, 1)


class Client:
    """A client of a replica that has a batch with one prediction."""

    def __init__(self, there: ReplicaThread, arguments: Arguments | None = None) -> None:
        self._batch = [arguments or {"x": 1}]
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(socket_path(there.folder, 1))
        self.frames = FrameSocket(self._socket)

    def send_batch(self, token: Token | None) -> None:
        assert token is not None
        meta, packer = pack_batch(self._batch)
        self.frames.send(BATCH, token.serial, meta, packer.buffers)


def break_device(there: ReplicaThread) -> None:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def drain(there: ReplicaThread) -> None:
    there.server.drain()


@pytest.mark.parametrize("end", [break_device, drain], ids=["broken device", "drained"])
def test_a_batch_that_waits_in_a_replica_that_ends_is_refused(monkeypatch, end):
    """So that another replica computes it, also with `retry=False`."""
    monkeypatch.setattr(process, "_LINGER_S", 0.0)
    there = ReplicaThread("echo")
    tokens = TokenReader(there.want({"key": "echo"}, None)[1])
    clients = [Client(there) for _ in range(2)]

    def compute(batch):
        there.server._tokens.write()  # as `TokenTimer` does
        clients[1].send_batch(tokens.take())
        end(there)
        return [1]

    monkeypatch.setattr(there.server, "_compute", compute)
    with there:
        clients[0].send_batch(tokens.take())
        assert clients[1].frames.receive().kind == STALE
        for each in clients:
            each.frames.close()


def without_tokens(name, **options):
    """Return a replica to which any client may send batches at any time, as on a Ray cluster."""
    there = ReplicaThread(name, **options)
    there.server._tokens = NoTokens()
    return there


@pytest.mark.parametrize("end", [break_device, drain], ids=["broken device", "drained"])
def test_all_batches_that_wait_in_a_replica_that_ends_are_refused(monkeypatch, end):
    """Also those of clients that it has not accepted yet."""
    there = without_tokens("echo")
    first, clients = Client(there), [Client(there)]

    def compute(batch):
        clients.extend(Client(there) for _ in range(5))
        for each in clients:
            each.send_batch(NO_TOKEN)
        end(there)
        return [1]

    monkeypatch.setattr(there.server, "_compute", compute)
    monkeypatch.setattr(process, "_LINGER_S", 0.0)
    with there:
        first.send_batch(NO_TOKEN)
        assert clients[0].frames.receive().kind == STALE
        assert [each.frames.receive().kind for each in clients[1:]] == [STALE] * 5
    for each in (first, *clients):
        each.frames.close()


def test_a_client_that_reads_nothing_stops_the_others_for_a_while_only(monkeypatch):
    monkeypatch.setattr(process, "_UNREAD_S", 1)
    there = without_tokens("echo")
    monkeypatch.setattr(there.server, "_compute", lambda batch: ["x" * 2_000_000])
    stopped, other = Client(there), Client(there)
    with there:
        stopped.send_batch(NO_TOKEN)
        other.send_batch(NO_TOKEN)
        assert other.frames.receive().kind == RESULTS
        stopped.frames.close()
        other.frames.close()


def test_the_wait_for_the_device_is_no_time_of_the_batch():
    there = without_tokens("echo", device="shared")
    client = Client(there)
    with open(device_lock_path(there.folder, "shared"), "w") as device:
        fcntl.flock(device, fcntl.LOCK_EX)
        with there:
            client.send_batch(NO_TOKEN)
            assert client.frames.receive().kind == WAITS
            assert there.server.computing_s() == 0
            fcntl.flock(device, fcntl.LOCK_UN)
            assert client.frames.receive().kind == BEGINS
            assert client.frames.receive().kind == RESULTS
            client.frames.close()


def test_a_stream_may_wait_for_its_device_several_times():
    ours, theirs = (FrameSocket(each) for each in socket.socketpair())
    for kind in (WAITS, BEGINS, WAITS, BEGINS, WAITS, BEGINS, ITEM):
        theirs.send(kind, 7)
    assert receive(ours, 7).kind == ITEM
    ours.close()
    theirs.close()


def test_a_client_that_reads_no_items_does_not_keep_the_device():
    """Others compute on it meanwhile."""
    there = without_tokens("chunks", device="shared")
    client = Client(there, {"n": 100, "size": 205 * 1024})
    device = DeviceLock(device_lock_path(there.folder, "shared"))
    with there:
        client.send_batch(NO_TOKEN)
        for _ in range(300):
            with device.hold(lambda: None, lambda: None):
                time.sleep(0.001)  # so that the replica waits for it
        client.frames.close()
    device.close()
