"""The HTTP server: the sockets of all clients, and what the thread that serves them does.

One thread at a time leads (`carboy.serving.threads`): it waits for events on any connection, reads,
and hands requests to the handler, or lets another lead when that may take long. So no thread is
woken for a prediction, and all predictions that have come together are handed to their model
together, as a round.

    measured: twice as many predictions as a native HTTP server on two more threads brought
"""

from __future__ import annotations

import errno
import socket
import threading
import typing as t
from collections import deque
from time import monotonic

from ..log import logger
from .connection import Connection, flush_all
from .environ import always
from .listener import keep_asking, refuse_new
from .poller import READ, WRITE, SpinWait, make_poller

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .exchange import Exchange
    from .limits import Limits
    from .poller import Events, Poller

# Deadlines are checked this often.
SWEEP_S = 0.25
# Connections that are accepted before others have their turn.
ACCEPTED_AT_ONCE = 64
# Responses that wait for each other to be sent.
SENT_TOGETHER = 32
# How often one round looks for further requests, at most.
LOOKS = 4
# No descriptor or memory is left. Other errors of accept are those of clients that have left.
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Handler(t.Protocol):
    """What the server hands requests to. Called on the leading thread."""

    def admit(self, exchange: Exchange) -> object:
        """Decide, when its head has come, how a body is taken, and set the exchange's `taker`."""

    @property
    def after_round(self) -> cabc.Sequence[object]:
        """What waits for the end of the round; often empty."""

    def end_round(self) -> object:
        """All requests that came together have been handed over."""


class LeadingThread(t.Protocol):
    """The part of a pool's thread that the server uses.

    Attributes:
        aside: another thread leads now, and does the rest.
        turns: how many pieces of work the thread has begun.
    """

    aside: bool
    turns: int


class Pool(t.Protocol):
    """The threads of the server, one of which leads.

    Attributes:
        calls: work for the leading thread.
        leader: the leading thread's identifier.
    """

    calls: deque[cabc.Callable[[], object]]
    leader: int

    def start(self, loop: t.Any) -> object:
        """Call `poll` and `handle` of the server, again and again until `stop`."""

    def stop(self) -> object:
        """End the threads."""

    def call(self, work: cabc.Callable[[], object]) -> None:
        """Let the leading thread do some work soon."""


class HTTPServer:
    """Accepts connections and hands their requests to a handler until it is stopped.

    Args:
        host: an address, of IPv4 or IPv6.
        port: may be shared with other processes (SO_REUSEPORT).
        handler: answers the requests.
        pool: the threads that serve.
        limits: what clients may do.
        multiprocess: whether other processes serve the same application.
        spins: whether the leader may poll for a moment instead of sleeping, which pays if a
            processor is left for clients and other threads.
        poller: instead of the system's best.

    Attributes:
        draining: set it once, and clients are asked to connect anew.
        stopping: connections end when they are idle.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        handler: Handler,
        pool: Pool,
        limits: Limits,
        multiprocess: bool = False,
        spins: bool = False,
        poller: Poller | None = None,
    ) -> None:
        self.draining = self.stopping = False
        self.admit = handler.admit
        self.call = pool.call
        self.pool = pool
        self.unsent: deque[Connection] = deque()  # that have something to send
        self._host, self._port = host, port
        self._handler = handler
        self._limits = limits
        self._poller = make_poller() if poller is None else poller
        self.wake = self._poller.wake
        self._spin_wait = SpinWait(self._poller) if spins else None
        self._connections: dict[int, Connection] = {}
        self._listener: socket.socket | None = None
        self._listens = False
        self._sweeps_s = 0.0
        self._drained = threading.Event()
        self._environ = {**always(multiprocess=multiprocess), "wsgi.url_scheme": "http"}
        self._environ["SERVER_NAME"] = host
        self._environ["SERVER_PORT"] = str(port)

    # --- start and stop ------------------------------------------------------------------------

    def start(self) -> None:
        """Listen, and start the threads. On return the system accepts connections.

        Raises:
            OSError: the address cannot be listened on.
        """
        self.listen()
        self.pool.start(self)

    def listen(self) -> None:
        """Listen, without a thread that accepts; raises as `start`."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if hasattr(socket, "SO_REUSEPORT"):  # each worker listens
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            keep_asking(listener)
            listener.setblocking(False)
            listener.bind((self._host, self._port))
            listener.listen(self._limits.backlog)
        except OSError as exc:
            listener.close()
            self._poller.close()
            raise OSError(
                f"carboy cannot listen on {self._host}:{self._port}: {exc.strerror}"
            ) from None
        self._listener = listener
        self._listen(yes=True)

    def refuse_new(self) -> bool:
        """Let no new client connect; False if the system cannot do that."""
        return self._listener is not None and refuse_new(self._listener)

    def stop(self) -> None:
        """Accept nothing more, and finish what was accepted. Returns at once."""
        self.call(self._stop)

    def wait(self) -> None:
        """Return when the last response is sent and the threads have ended.

        Signals are handled meanwhile. A thread that still runs a view ends after it.
        """
        while not self._drained.wait(3600):
            pass
        self.close()

    def close(self) -> None:
        """Close all sockets, and end the threads."""
        self.pool.stop()
        for connection in self.connections:
            connection.close()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._poller.close()

    @property
    def drained(self) -> bool:
        """Whether the server was stopped, and has no connection left."""
        return self._drained.is_set()

    @property
    def connections(self) -> list[Connection]:
        return list(self._connections.values())

    @property
    def address(self) -> tuple[str, int] | None:
        """Where the server listens."""
        return None if self._listener is None else self._listener.getsockname()[:2]

    def _stop(self) -> None:
        self.stopping = self.draining = True
        if self._listener is not None:
            self._accept(self._listener, most=1 << 20)  # all whose clients have connected
            self._listen(yes=False)
            self._listener.close()
            self._listener = None
        for connection in self.connections:
            connection.stop()
        self._check_drained()

    def _check_drained(self) -> None:
        if self.stopping and not self._connections:
            self._drained.set()

    # --- the leading thread --------------------------------------------------------------------

    def poll(self) -> Events | None:
        """Return what has happened on the sockets; None if nothing has, and no work is left."""
        calls = self.pool.calls
        if calls or self.unsent:  # left by a leader that stepped aside
            return self._poller.wait(0)
        if self._spin_wait is not None and (events := self._spin_wait.wait()):
            return events
        idle = not self._connections and self._listens
        events = self._poller.wait(3600 if idle else SWEEP_S)
        return events if events or calls else None

    def handle(self, events: Events | None, me: LeadingThread) -> None:
        """Handle events, and send the responses; as far as `me` does not step aside meanwhile."""
        handler = self._handler
        if self.pool.calls:
            self._do_calls(me)
        if self.unsent:
            flush_all(self.unsent)
        for _ in range(LOOKS):
            if not events:
                break
            self._do_events(events, me)
            # While these requests were read, others have come: they join the round.
            events = self._poller.wait(0) if handler.after_round and not me.aside else None
        if self.unsent:
            flush_all(self.unsent)
        if handler.after_round:
            try:
                handler.end_round()
            except BaseException:  # noqa: BLE001  # as in `_safely`
                logger.exception("error while serving")
            flush_all(self.unsent)
        if me.aside:  # another thread leads, and does the rest
            if self.pool.calls:
                self.wake()
        elif monotonic() >= self._sweeps_s:
            _safely(self._sweep)

    def _do_calls(self, me: LeadingThread) -> None:
        calls = self.pool.calls
        for _ in range(len(calls)):  # work that these add is done in the next turn
            try:
                call = calls.popleft()
            except IndexError:  # a leader that stepped aside took it
                return
            _safely(call)
            if me.aside:
                return

    def _do_events(self, events: Events, me: LeadingThread) -> None:
        connections = self._connections
        for fd, mask in events:
            connection = connections.get(fd)
            try:
                if connection is None:
                    self._accept_at(fd)
                elif mask & WRITE:
                    connection.flush()
                elif mask & READ:
                    connection.readable()
                else:
                    connection.reset()
            except BaseException:  # noqa: BLE001  # as in `_safely`
                logger.exception("error while serving")
            me.turns += 1
            if me.aside:  # the poller reports the rest to the thread that leads now
                return
            if len(self.unsent) >= SENT_TOGETHER:
                flush_all(self.unsent)

    def _sweep(self) -> None:
        """End the connections whose deadline is over."""
        now_s = monotonic()
        self._sweeps_s = now_s + SWEEP_S
        for connection in self.connections:
            if connection.deadline_s < now_s:
                connection.expire()
        if not self._listens and self._listener is not None:
            self._listen(yes=len(self._connections) < self._limits.connections)

    def _accept_at(self, fd: int) -> None:
        if self._listener is not None and fd == self._listener.fileno():
            self._accept(self._listener, ACCEPTED_AT_ONCE)

    def _accept(self, listener: socket.socket, most: int) -> None:
        for _ in range(most):
            if len(self._connections) >= self._limits.connections:
                self._listen(yes=False)  # further clients wait in the backlog
                return
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as exc:
                if exc.errno in _FULL:
                    logger.error("cannot accept connections just now: %s", exc.strerror)
                    self._listen(yes=False)  # until the next sweep
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.add(sock, *address[:2])

    def add(self, sock: socket.socket, host: str, port: int) -> Connection:
        """Serve a client that has connected from an address."""
        sock.setblocking(False)
        environ = self._environ.copy()
        environ["REMOTE_ADDR"] = host
        environ["REMOTE_PORT"] = str(port)
        fd = sock.fileno()
        connection = self._connections[fd] = Connection(self, sock, environ, self._limits)
        self._poller.add(fd, READ)
        return connection

    def _listen(self, *, yes: bool) -> None:
        if self._listener is None or yes == self._listens:
            return
        self._listens = yes
        if yes:
            self._poller.add(self._listener.fileno(), READ)
        else:
            self._poller.remove(self._listener.fileno())

    # --- for connections, from any thread ------------------------------------------------------

    def watch(self, fd: int, mask: int) -> None:
        """Report these events of a socket, and no others."""
        try:
            self._poller.change(fd, mask)
        except OSError:  # it was ignored, since the system said that it is over
            pass

    def ignore(self, fd: int) -> None:
        """Report nothing more of a socket."""
        try:
            self._poller.remove(fd)
        except OSError:
            pass

    def forget(self, fd: int) -> None:
        """Forget a socket that the caller closes right after this."""
        self.ignore(fd)
        self._connections.pop(fd, None)
        if self.stopping:
            self.call(self._check_drained)


def _safely(work: cabc.Callable[[], object]) -> None:
    """Do some work whose failure must not end the leading thread."""
    try:
        work()
    except BaseException:  # noqa: BLE001  # a panic in Rust, SystemExit of what a model calls
        logger.exception("error while serving")
