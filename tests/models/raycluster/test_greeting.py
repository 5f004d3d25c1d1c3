"""What listens at an address is told apart from a head node of Ray, within a bounded time."""

import contextlib
import socket
import threading

import pytest

from carboy.errors import UnavailableError
from carboy.models.raycluster import greeting, rayconnection
from carboy.models.raycluster.rayconnection import RayPlace

# An empty SETTINGS frame of HTTP/2, with which a gRPC server begins.
GREETING = b"\0\0\0\4\0\0\0\0\0"


@contextlib.contextmanager
def server(answer):
    """Accept one connection, read what it says first, and call `answer` with its socket."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def run():
            with contextlib.suppress(OSError):
                sock, _ = listening.accept()
                with sock:
                    sock.recv(1024)
                    answer(sock)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


@pytest.fixture
def silent():
    """The address of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_a_server_that_greets_as_grpc_does_may_be_a_head_node():
    with server(lambda sock: sock.sendall(GREETING)) as address:
        assert greeting.fault_of(address, tls=False) == ""


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (b"HTTP/1.1 505 Not Supported\r\nServer: x\r\n", "answered b'HTTP/1.1 505 Not Supported'"),
        (b"220 mail.example\r\n", "answered b'220 mail.example'"),
        (b"\n", "answered b''"),
        (b"\x15\3\3\0\2\2F", "wants TLS: set RAY_USE_TLS=1"),
        (b"", "closed the connection"),
    ],
    ids=["http", "mail", "line", "tls", "closed"],
)
def test_another_server_is_named_by_what_it_answers(answer, fault):
    with server(lambda sock: sock.sendall(answer)) as address:
        assert fault in greeting.fault_of(address, tls=False)


def test_a_server_that_says_nothing_is_waited_for_no_longer_than_said(silent, monkeypatch):
    monkeypatch.setattr(greeting, "_GREET_S", 0.05)
    assert greeting.fault_of(silent, tls=False) == "it has not said anything for 0.05 s"


def test_with_tls_a_head_node_speaks_only_after_a_handshake(silent):
    assert greeting.fault_of(silent, tls=True) == ""


def test_what_is_no_head_node_is_refused_before_ray_is_asked(silent, monkeypatch):
    monkeypatch.setattr(greeting, "_GREET_S", 0.05)
    monkeypatch.setattr(rayconnection, "_init", pytest.fail)
    monkeypatch.setattr(rayconnection, "_LIMITS", {})
    with pytest.raises(UnavailableError) as caught:
        rayconnection.connect(RayPlace(silent, "shop"), "")
    for part in (silent, "not said anything for 0.05 s", "--ray-address HOST:6379"):
        assert part in str(caught.value)
