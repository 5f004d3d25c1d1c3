"""What a replica does with a batch that it has received and does not compute."""

from __future__ import annotations

import socket

import pytest
from replicaprocesses import ReplicaThread

from carboy.models.replicas import process
from carboy.models.replicas.batches import pack_batch
from carboy.models.replicas.frames import BATCH, STALE, FrameSocket
from carboy.models.replicas.supervision import socket_path
from carboy.models.replicas.tokens import Token, TokenReader


class Client:
    """A client of a replica that has a batch with one prediction."""

    def __init__(self, there: ReplicaThread) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(socket_path(there.folder, 1))
        self.frames = FrameSocket(self._socket)

    def send_batch(self, token: Token | None) -> None:
        assert token is not None
        meta, packer = pack_batch([{"x": 1}])
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
