"""carboy's HTTP server without threads: real connections and poller, one turn per call of the test.

The test's thread leads, so nothing happens between two of its lines. Other threads (of a model, of
a view that steps aside) are waited for by `until`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import typing as t
from _thread import get_ident
from dataclasses import replace

from polling import PATIENCE_S

from carboy.observability.access import AccessLog
from carboy.serving.http.address import Address
from carboy.serving.http.connection import Connection
from carboy.serving.http.forwarded import TrustedProxies
from carboy.serving.http.limits import Limits
from carboy.serving.http.listener import Listener
from carboy.serving.http.poller import make_poller
from carboy.serving.http.server import HTTPServer
from carboy.serving.metrics.workermetrics import WorkerMetrics
from carboy.serving.threads.leader import PoolThread
from carboy.serving.threads.pool import LeaderPool
from carboy.serving.wsgi.gateway import Gateway

# What a socket takes though nobody reads from the other one.
AT_ONCE = 64 * 1024

Pairs = list[tuple[str, str]]


class Answer(t.NamedTuple):
    """What a client got. `status` is None if there was no head, `whole` says that it had its end.

    `streamed`: the length was not announced.
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
    """The head of a request, to the host `localhost`."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in [("Host", "localhost"), *headers])
    return f"{method} {target} HTTP/{version}\r\n{lines}\r\n".encode("latin-1")


def post(body: bytes, target: str = "/", headers: t.Iterable[tuple[str, str]] = ()) -> bytes:
    return head("POST", target, [*headers, ("Content-Length", str(len(body)))]) + body


def chunked(body: bytes, size: int = 8000) -> bytes:
    """The same as a body of unknown length."""
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"


class Client:
    """Sends what the test says, and collects what arrives.

    Attributes:
        received: what came and was not taken by `answer`.
        ended: nothing more will come.
        was_reset: because the server closed before it had read all.
    """

    def __init__(self, sock: socket.socket, stage: Stage) -> None:
        self.received = b""
        self.ended = self.was_reset = False
        self._socket = sock
        self._stage = stage
        self._senders: list[threading.Thread] = []
        self._reader: threading.Thread | None = None

    def send(self, data: bytes) -> None:
        """Returns at once, also when the server does not read."""
        if len(data) <= AT_ONCE:
            self._socket.sendall(data)
            return
        self._senders.append(_begun(self._send_slowly, data))

    def _send_slowly(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self._socket.sendall(data)

    @property
    def sent(self) -> bool:
        """Whether the system has taken all."""
        return not any(each.is_alive() for each in self._senders)

    def read_along(self) -> None:
        """Collect on a thread, for answers that are longer than what the system takes at once."""
        self._reader = _begun(self._read_along)

    def _read_along(self) -> None:
        while not self.ended:
            self._collect()

    def collect(self) -> bool:
        """Take what is there."""
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
        """The next one, which the server makes while this waits."""
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
        """What comes until the server closes."""

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
    """The first answer and what follows it; None: it is not there yet."""
    top, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        return None
    first, *lines = top.decode("latin-1").split("\r\n")
    status = int(first.split(" ", 2)[1])
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    sent = {name.lower(): value for name, value in headers}
    streamed = "transfer-encoding" in sent
    length: int | None = None
    if method == "HEAD" or status in {100, 204, 304}:
        length = 0
    elif "content-length" in sent:
        length = int(sent["content-length"])
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


class StagePoller:
    """A poller that waits as long as the stage decides.

    Attributes:
        timeout_s: how long it waits.
        wishes_s: how long the server asked it to wait.
    """

    def __init__(self, poller: t.Any) -> None:
        self.poller = poller
        self.timeout_s = 0.0
        self.wishes_s: list[float] = []

    def wait(self, timeout_s: float) -> list[tuple[int, int]]:
        self.wishes_s.append(timeout_s)
        events: list[tuple[int, int]] = self.poller.wait(self.timeout_s)
        return events

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self.poller, name)


class StageHandler:
    """Hands requests to whatever the test puts in.

    Attributes:
        on_admit: is called with each request when its head is there.
        on_upgrade: is called afterwards with each request that asks for a WebSocket.
        after_round: what is called at the end of the round.
    """

    def __init__(self) -> None:
        self.on_admit: t.Callable[[t.Any], object]
        self.on_upgrade: t.Callable[[t.Any], object] = lambda exchange: None
        self.after_round: list[t.Callable[[], object]] = []

    def admit(self, exchange: t.Any) -> object:
        return self.on_admit(exchange)

    def upgrade(self, exchange: t.Any) -> object:
        return self.on_upgrade(exchange)


class Stage:
    """A server without threads. As a context manager it closes whatever is left open.

    Args:
        limits: of the server.
        host, port: where it listens, if it does.
        poller: replaces the system's best poller.
        threads: most views of its pool.
        access_log, metrics: of the server.
        proxies: those that the server trusts.

    Attributes:
        handler: takes the requests.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 80,
        poller: t.Any = None,
        threads: int = 4,
        proxies: TrustedProxies | None = None,
        access_log: AccessLog | None = None,
        metrics: WorkerMetrics | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.pool = LeaderPool(threads, self.limits.websockets)
        self.handler = StageHandler()
        self.poller = StagePoller(poller or make_poller())
        self.server = HTTPServer(
            [Listener(Address(host, port))],
            handler=self.handler,
            pool=self.pool,
            limits=self.limits,
            poller=t.cast("t.Any", self.poller),
            proxies=proxies,
            access_log=access_log,
            metrics=metrics,
        )
        self.metrics = metrics
        self.clients: list[Client] = []

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in list(self.clients):
            client.leave()
        self.server.close()

    # --- who is on it --------------------------------------------------------------------------

    def serve(
        self,
        app: t.Any,
        *,
        threads: int = 4,
        max_body_bytes: int | None = 10**6,
        routes: t.Any = None,
        **limits: t.Any,
    ) -> Gateway:
        """Serve an application."""
        gateway = Gateway(
            app,
            limits=replace(self.limits, body_bytes=max_body_bytes, **limits),
            threads=threads,
            pool=self.pool,
            timed=self.server.access_log is not None,
            routes=routes,
        )
        self.handler.on_admit = gateway.admit
        self.handler.on_upgrade = gateway.upgrade
        self.handler.after_round = gateway.after_round
        return gateway

    def lead_view(self, gateway: Gateway, path: str = "/") -> None:
        """Let the leading thread run the next calls of a view, as it does with quick ones."""
        gateway._timings.of("GET", path).quick_calls = 7

    def listen(self) -> None:
        """Do what `start` does, without threads."""
        self.server.listen()

    def connect(self) -> Client:
        """As if it had been accepted."""
        here, there = socket.socketpair()
        self.server.add(there, "127.0.0.1", 50000)
        return self._welcome(here)

    def knock(self) -> Client:
        """Connect to the listening socket; the server accepts the connection in its next turn."""
        address = self.server.address
        assert address is not None
        return self._welcome(socket.create_connection(address))

    def _welcome(self, sock: socket.socket) -> Client:
        sock.settimeout(None)  # else MSG_DONTWAIT waits all the same
        client = Client(sock, self)
        self.clients.append(client)
        return client

    def forget(self, client: Client) -> None:
        if client in self.clients:
            self.clients.remove(client)

    @property
    def connections(self) -> list[Connection]:
        return self.server.connections

    # --- what happens --------------------------------------------------------------------------

    def turn(self, timeout_s: float = 0.0) -> PoolThread:
        """Do once, on the calling thread, what a leading thread of the pool does all the time."""
        me = self.pool.join()
        self.pool.leader = get_ident()
        self.poller.timeout_s = timeout_s
        try:
            events = self.server.poll()
            if events is not None:
                me.turns, me.at_work = 1, True
            self.server.handle(events, me)
        finally:
            me.at_work = False
            self.pool.leave(me)
        return me

    def settle(self) -> None:
        """Turns until nothing is left to do."""
        quiet = 0
        while quiet < 2:
            turns = self.turn().turns
            quiet = quiet + 1 if turns <= 1 and not self.pool.calls else 0

    def until(self, condition: t.Callable[[], object]) -> None:
        """Turns until something is so, perhaps by what another thread does."""
        end_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end_s, "it did not happen"
            self.turn(0.002)
