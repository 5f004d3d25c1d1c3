"""The interfaces between the parts of the HTTP server, and to the rest of carboy.

    HTTPServer --Client--> Connection --Server--> HTTPServer
        |                      ^
        | Handler              | Transport
        v                      |
    gateway  --responds by--> Exchange

The pool of threads (`Pool`, `LeadingThread`), the access log (`RequestLog`) and the metrics
(`ServerMonitor`) are outside of this package, which imports none of them.
"""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc
    from collections import deque

    from ..log import Notices
    from .budget import Budget
    from .connection import Connection
    from .exchange import Exchange
    from .sendfile import FileSection
    from .transitions import State
    from .websocket import WebSocketSocket


# --- within the server ---------------------------------------------------------------------------


class Transport(t.Protocol):
    """The methods and attributes of a connection that an exchange uses. Thread-safe."""

    @property
    def environ(self) -> cabc.Mapping[str, t.Any]:
        """The WSGI environ entries that all requests of the connection share."""

    @property
    def draining(self) -> bool:
        """Whether the server stops soon."""

    def receive(self) -> bool:
        """Block until more of the request body arrives; returns False if no more will arrive."""

    def hold(self, size: int) -> bool:
        """Reserve memory for a response that the client may be slow to read.

        Returns False if the memory for such responses is used up. The response must then be sent by
        `write_through`, which needs no memory but blocks the calling thread.
        """

    def step_aside(self) -> None:
        """If the calling thread runs the event loop, let another thread run it, because the caller
        may block from now on.
        """

    def write_through(self, data: bytes | memoryview) -> bool:
        """Send all of `data`, blocking the calling thread; returns False if the client has
        disconnected.
        """

    def may_keep_alive(self, exchange: Exchange) -> bool:
        """Whether the connection can serve another request after the response to this one."""

    def finish(
        self, exchange: Exchange, data: bytes, *, keep_alive: bool, file: FileSection | None = None
    ) -> None:
        """Send the last bytes of the response, and then the file if there is one.

        Args:
            keep_alive: whether the head of the response says that the connection stays open.
        """

    def awaits(self, exchange: Exchange) -> bool:
        """Whether the response to this request is not complete yet."""

    def abort(self, exchange: Exchange) -> None:
        """Close the connection before the response is complete."""

    def offer_socket(self) -> WebSocketSocket:
        """Return the socket for an application that answers a request for a WebSocket. It belongs
        to the application as soon as the application uses it.
        """

    def end_websocket(self, exchange: Exchange, sock: WebSocketSocket) -> None:
        """Close a WebSocket whose view has ended, when its client has received what was sent, and
        write its request to the access log. Do nothing if the application has not taken the socket.
        """


class Server(t.Protocol):
    """The methods and attributes of the server that a connection uses. Thread-safe, except for
    `admit` and `unsent`.

    Attributes:
        due: requests that the event loop will pass to their handlers next.
        unsent: connections with a response that the event loop will send next.
        access_log: the access log, which gets a line for each request that has ended; None if
            there is no access log.
        ended: requests whose responses are complete, and that are not counted yet; None without
            metrics.
        count: counts and removes the requests in `ended`; called with `ended` and the current time.
        round_s: when the requests that the event loop now reads have arrived; only with an access
            log or metrics.
        responses: the limit on the memory for responses that clients have not read yet.
        notices: logs what clients do wrong, at a limited rate.
    """

    due: deque[Exchange]
    unsent: deque[Connection]
    access_log: RequestLog | None
    ended: list[Exchange] | None
    count: cabc.Callable[[list[Exchange], float], object]
    round_s: float
    responses: Budget
    notices: Notices

    @property
    def pool(self) -> Pool:
        """The threads of the server."""

    @property
    def draining(self) -> bool:
        """Whether the server will stop soon: each response asks its client to open a new
        connection.
        """

    @property
    def stopping(self) -> bool:
        """Whether the server is stopping: connections close when they have no request to answer."""

    def admit(self, exchange: Exchange) -> object:
        """Choose how the body of a request is read, and which function handles the request."""

    def upgrade(self, exchange: Exchange) -> object:
        """Choose which function handles a request that asks for a WebSocket."""

    def close_failed(self, fd: int, connection: Connection) -> None:
        """Log the exception that is being handled, and close the connection with the socket `fd`
        that it has interrupted.
        """

    def call(self, work: cabc.Callable[[], object]) -> None:
        """Let the thread that runs the event loop call a function soon. Return at once."""

    def watch(self, fd: int, mask: int) -> None:
        """From now on, report only the events in `mask` (READ, WRITE) for the socket `fd`."""

    def ignore(self, fd: int) -> None:
        """From now on, report no events for the socket `fd`."""

    def forget(self, fd: int) -> None:
        """Remove a connection from the server, because its socket `fd` is about to be closed."""


class Client(t.Protocol):
    """The methods and attributes that the server uses of a client's connection, or of the TLS
    handshake that precedes it. The methods are called on the leading thread.
    """

    @property
    def state(self) -> State: ...

    @property
    def deadline_s(self) -> float:
        """The time after which the server calls `expire`, on the clock of `time.monotonic`."""

    def readable(self) -> None: ...

    def flush(self) -> None:
        """Continue to send, because the socket accepts more data."""

    def reset(self) -> None:
        """Handle an error or hang-up that the poller reports for the socket."""

    def expire(self) -> None: ...

    def stop(self) -> None:
        """Close the connection as soon as it has no request to answer, because the server stops."""

    def close(self) -> None: ...


# --- the rest of carboy ---------------------------------------------------------------------------


class Handler(t.Protocol):
    """Decides how requests are answered. The HTTP server calls the methods of this class on the
    thread that runs the event loop.
    """

    def admit(self, exchange: Exchange) -> object:
        """Choose how the body of a request is read, and set `exchange.handler` to the function that
        answers the request.
        """

    def upgrade(self, exchange: Exchange) -> object:
        """Set `exchange.handler` to the function that answers a request for a WebSocket, after
        `admit`.
        """

    @property
    def after_round(self) -> list[cabc.Callable[[], object]]:
        """Functions that the server calls and removes, the latest first, when all requests that
        were read together have been passed to their handlers.
        """


class Pool(t.Protocol):
    """The threads of the server. One thread at a time runs the event loop.

    Attributes:
        calls: functions that the thread that runs the event loop must call.
        leader: the identifier of the thread that runs the event loop; 0 from the moment that this
            thread steps aside until another one takes over.
    """

    calls: deque[cabc.Callable[[], object]]
    leader: int

    def start(self, loop: t.Any) -> object:
        """Start the threads. One thread at a time calls `loop.poll`, then `loop.handle`,
        repeatedly.
        """

    def stop(self) -> object:
        """Stop the threads."""

    def call(self, work: cabc.Callable[[], object]) -> None:
        """Let the thread that runs the event loop call a function soon. Return at once.
        Thread-safe.
        """

    def step_aside(self) -> None:
        """If the calling thread runs the event loop, let another thread run it from now on."""


class LeadingThread(t.Protocol):
    """The attributes of a pool's thread that the server uses.

    Attributes:
        stepped_aside: whether another thread has taken over the event loop.
        turns: how many requests and other events the thread has handled. The pool considers a
            thread blocked if this number stays the same.
    """

    stepped_aside: bool
    turns: int


class RequestLog(t.Protocol):
    """The methods and attributes of an access log that the server uses. Thread-safe.

    Attributes:
        pending: lines that were made and are not written yet.
    """

    pending: list[t.Any]

    @property
    def line(self) -> cabc.Callable[[Exchange, float], object]:
        """A function that makes the log line of a request that has ended, from the exchange and the
        time of its end (by `time.monotonic`).
        """

    def flush(self, *, wait_s: float = 0.0) -> None:
        """Write the lines in `pending`. If another thread is writing lines, wait for it up to
        `wait_s` seconds; if it is still writing then, write nothing.
        """


class ServerMonitor(t.Protocol):
    """The methods of the metrics that the server uses. Thread-safe."""

    def count(self, ended: list[Exchange], now_s: float) -> None:
        """Count and remove requests whose responses are about to be sent, or that end without a
        response.
        """

    def sample(self, connections: int, active: int) -> None:
        """Note how many connections are open and how many requests are being handled."""
