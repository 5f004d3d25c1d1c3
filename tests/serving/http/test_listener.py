"""Settings of a listening socket, and that its connections have them."""

from __future__ import annotations

import socket
import sys

import pytest
from polling import PATIENCE_S

from carboy.serving.http.listener import enable_keepalive, refuse_new

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux hands these settings on")


@linux
def test_accepted_connections_have_keep_alive_probes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mine:
        enable_keepalive(mine)
        with socket.create_connection(mine.getsockname()), mine.accept()[0] as connection:
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 10
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3


@linux
def test_client_in_the_backlog_is_accepted_after_new_clients_are_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mine:
        mine.settimeout(PATIENCE_S)
        with socket.create_connection(mine.getsockname()) as early:
            assert refuse_new(mine)
            with socket.socket() as late:
                late.setblocking(False)
                assert late.connect_ex(mine.getsockname())  # it is on its way
                connection, address = mine.accept()
                with connection:
                    assert address == early.getsockname()
                mine.setblocking(False)
                with pytest.raises(BlockingIOError):
                    mine.accept()


@linux
def test_client_in_its_handshake_is_accepted_after_new_clients_are_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mine:
        mine.settimeout(PATIENCE_S)
        # The system completes a handshake at the client's first bytes, as it does on a slow network
        # when the packet before them is on its way.
        mine.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 20)
        with socket.create_connection(mine.getsockname()) as early:
            assert refuse_new(mine)
            early.sendall(b"GET /")
            with mine.accept()[0] as connection:
                assert connection.recv(100) == b"GET /"
                early.sendall(b"1")
                assert connection.recv(100) == b"1"


def test_refuse_new_is_false_on_other_systems(monkeypatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with socket.create_server(("127.0.0.1", 0)) as mine:
        assert not refuse_new(mine)
        enable_keepalive(mine)
        assert mine.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
