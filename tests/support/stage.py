"""carboy's HTTP server without threads: real connections and poller, one turn per call of the test.

The test's thread is the leader, so nothing happens between two lines of a test. `until` waits for
other threads (of a model, or of a view that left the lead).
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import typing as t

from carboy.serving.http.connection import Connection
from carboy.serving.http.poller import READ
from carboy.serving.http.server import Front
from carboy.serving.settings import Settings
from carboy.serving.threads.leader import Crew, Member
from carboy.serving.wsgi.gateway import Gateway

PATIENCE_S = 20.0
# The bytes that a socket accepts although the other end does not read.
AT_ONCE = 64 * 1024

Pairs = list[tuple[str, str]]


class Answer(t.NamedTuple):
    """A response as its client got it.

    `status` is None if there was no head. `whole` means that the response is complete, `streamed`
    that
    its length was not known beforehand.
    """

    status: int | None
    headers: Pairs
    body: bytes
    whole: bool
    streamed: bool

    def header(self, name: str) -> str | None:
        return {key.lower(): value for key, value in self.headers}.get(name)

    @property
    def closes(self) -> bool:
        return self.header("connection") == "close"


def head(
    method: str = "GET", target: str = "/", headers: Pairs = (), version: str = "1.1"
) -> bytes:  # type: ignore[assignment]
    """Return the head of a request to the host `localhost`."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in [("Host", "localhost"), *headers])
    return f"{method} {target} HTTP/{version}\r\n{lines}\r\n".encode("latin-1")


def post(body: bytes, target: str = "/", headers: t.Iterable[tuple[str, str]] = ()) -> bytes:
    return head("POST", target, [*headers, ("Content-Length", str(len(body)))]) + body


def chunked(body: bytes, size: int = 8000) -> bytes:
    """Return the same request with a chunked body."""
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"


class Client:
    """A client that sends what the test gives it and collects the responses.

    Attributes:
        received: the bytes that arrived and were not yet returned by `answer`.
        ended: whether the server has closed the connection.
        was_reset: whether the server closed before it had read everything.
    """

    def __init__(self, sock: socket.socket, stage: Stage) -> None:
        self.received = b""
        self.ended = self.was_reset = False
        self._socket = sock
        self._stage = stage
        self._senders: list[threading.Thread] = []
        self._reader: threading.Thread | None = None

    def send(self, data: bytes) -> None:
        """Send without waiting, also when the server does not read."""
        if len(data) <= AT_ONCE:
            self._socket.sendall(data)
            return
        self._senders.append(_begun(self._send_slowly, data))

    def _send_slowly(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self._socket.sendall(data)

    @property
    def sent(self) -> bool:
        """Whether the system has accepted all bytes."""
        return not any(each.is_alive() for each in self._senders)

    def read_along(self) -> None:
        """Collect on another thread, for responses longer than the system's buffers."""
        self._reader = _begun(self._read_along)

    def _read_along(self) -> None:
        while not self.ended:
            self._collect()

    def collect(self) -> bool:
        """Read everything that has arrived."""
        return self._reader is None and self._collect(socket.MSG_DONTWAIT)

    def _collect(self, flags: int = 0) -> bool:
        try:
            data = self._socket.recv(1 << 20, flags)
        except BlockingIOError:
            return False
        except OSError:
            self.was_reset = True
            data = b""
        self.received += data
        self.ended = self.ended or not data
        return bool(data)

    def answer(self, method: str = "GET") -> Answer:
        """Return the next response; the server makes it meanwhile."""
        self._stage.until(lambda: self.has_answer(method))
        found, self.received = _parse(self.received, method, ended=self.ended) or (NOTHING, b"")
        return found

    def has_answer(self, method: str = "GET") -> bool:
        while self.collect():
            pass
        return self.ended or _parse(self.received, method, ended=False) is not None

    def ask(self, data: bytes) -> Answer:
        self.send(data)
        return self.answer(data[: data.index(b" ")].decode())

    def see_end(self) -> bytes:
        """Return everything that arrives until the server closes."""

        def over() -> bool:
            while self.collect():
                pass
            return self.ended

        self._stage.until(over)
        found, self.received = self.received, b""
        return found

    def send_no_more(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def leave(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for each in self._senders:
            each.join(PATIENCE_S)
        if self._reader is not None:
            self._reader.join(PATIENCE_S)
        self._stage.forget(self)
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()


def _begun(work: t.Callable[..., object], *args: t.Any) -> threading.Thread:
    thread = threading.Thread(target=work, args=args)
    thread.start()
    return thread


NOTHING = Answer(None, [], b"", whole=False, streamed=False)


def _parse(data: bytes, method: str, *, ended: bool) -> tuple[Answer, bytes] | None:
    """Return the first response and the bytes after it; None if it is incomplete."""
    top, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        return None
    first, *lines = top.decode("latin-1").split("\r\n")
    status = int(first.split(" ", 2)[1])
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    fields = {name.lower(): value for name, value in headers}
    streamed = "transfer-encoding" in fields
    length: int | None = None
    if method == "HEAD" or status in {100, 204, 304}:
        length = 0
    elif "content-length" in fields:
        length = int(fields["content-length"])
    if length is not None:
        whole, body, rest = len(rest) >= length, rest[:length], rest[length:]
    elif streamed:
        whole, body, rest = _join(rest)
    else:
        whole, body, rest = ended, rest, b""
    if not (whole or ended):
        return None
    return Answer(status, headers, body, whole, streamed), rest


def _join(data: bytes) -> tuple[bool, bytes, bytes]:
    body = b""
    while True:
        size, found, rest = data.partition(b"\r\n")
        if not found or len(rest) < int(size, 16) + 2:
            return False, body, b""
        length = int(size, 16)
        assert rest[length : length + 2] == b"\r\n"
        body, data = body + rest[:length], rest[length + 2 :]
        if not length:
            return True, body, data


class _Poller:
    """A poller that waits as long as the stage decides, and records how long the server would
    have.
    """

    def __init__(self, poller: t.Any) -> None:
        self._poller = poller
        self.timeout_s = 0.0
        self.wishes_s: list[float] = []

    def wait(self, timeout_s: float) -> list[tuple[int, int]]:
        self.wishes_s.append(timeout_s)
        events: list[tuple[int, int]] = self._poller.wait(self.timeout_s)
        return events

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._poller, name)


class Stage:
    """A server without threads. As a context manager it closes whatever is left open.

    Args:
        settings: the server's settings.
        poller: replaces the system's best poller.
    """

    def __init__(self, settings: Settings | None = None, *, poller: t.Any = None) -> None:
        self.settings = settings or Settings(port=80)
        self.crew = Crew()
        self.front = Front(self.settings, crew=self.crew)
        if poller is not None:
            self.front._poller.close()
        self.poller = _Poller(poller or self.front._poller)
        self.front._poller = t.cast("t.Any", self.poller)
        self.front.after_round = lambda: None
        self.clients: list[Client] = []

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.front._woken = True  # late events wake no thread
        for client in list(self.clients):
            client.leave()
        for connection in list(self.front._connections.values()):
            connection._socket.close()
        if self.front._listener is not None:
            self.front._listener.close()
        self.poller.close()

    # --- clients -------------------------------------------------------------------------------

    def serve(self, app: t.Any, *, threads: int = 4, max_body_bytes: int | None = 10**6) -> Gateway:
        """Serve an application."""
        gateway = Gateway(
            app,
            max_body_bytes=max_body_bytes,
            threads=threads,
            crew=self.crew,
            call=self.front.call,
            leads=self.front.leads,
        )
        self.front.admit = gateway.admit
        self.front.in_round, self.front.after_round = gateway.in_round, gateway.end_round
        return gateway

    def listen(self) -> None:
        """Do what `start` does, without threads."""
        self.front.add_thread = lambda: None  # type: ignore[method-assign]
        self.crew.start = lambda more=None: None  # type: ignore[method-assign]
        self.front.start()

    def connect(self) -> Client:
        """Return a client whose connection the server has accepted."""
        here, there = socket.socketpair()
        there.setblocking(False)
        environ = {**self.front._always, "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "50000"}
        self.front._connections[there.fileno()] = Connection(self.front, there, environ)
        self.front._poller.add(there.fileno(), READ)
        return self._welcome(here)

    def knock(self) -> Client:
        """Connect to the listening socket; the server accepts the connection in its next turn."""
        listener = self.front._listener
        assert listener is not None
        return self._welcome(socket.create_connection(listener.getsockname()[:2]))

    def _welcome(self, sock: socket.socket) -> Client:
        sock.settimeout(None)  # otherwise MSG_DONTWAIT waits as well
        client = Client(sock, self)
        self.clients.append(client)
        return client

    def forget(self, client: Client) -> None:
        if client in self.clients:
            self.clients.remove(client)

    @property
    def connections(self) -> list[Connection]:
        return list(self.front._connections.values())

    # --- turns ---------------------------------------------------------------------------------

    def turn(self, timeout_s: float = 0.0) -> Member:
        """Run one turn of the leader, which is the calling thread."""
        me = Member()
        with self.crew._lock:
            self.crew._members[threading.get_ident()] = me
            self.crew._leading = 1
        self.poller.timeout_s = timeout_s
        self.front._turn(me)
        me.at_work = False
        return me

    def settle(self) -> None:
        """Run turns until nothing is left to do."""
        quiet = 0
        while quiet < 2:
            turns = self.turn().turns
            quiet = quiet + 1 if turns <= 1 and not self.front._calls else 0

    def until(self, condition: t.Callable[[], object]) -> None:
        """Run turns until a condition holds, perhaps because of another thread."""
        end_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end_s, "it did not happen"
            self.turn(0.002)
