"""The HTTP server: it runs the event loop on the sockets of all clients.

One thread at a time, the leading thread (`carboy.serving.threads`), runs the event loop: it waits
for events on all sockets, reads requests and calls their handlers. Before a handler that may block,
another thread takes over the event loop. So a prediction needs no thread switch, and the
predictions of a round (the requests that were read together) are submitted to their model together.
The handler decides how requests are answered.

Measured: twice as many predictions per second as with an HTTP server in native code that had two
threads of its own.
"""

from __future__ import annotations

import logging
import os
import threading
import typing as t
from collections import deque
from functools import partial
from time import monotonic

from carboy.observability.environkeys import FIELDS

from ..log import Notices, logger
from ..mainthread import wait_on_main_thread
from .acceptor import Acceptor
from .budget import Budget
from .connection import ACTIVE, Connection, flush_all
from .environ import base_environ
from .exchange import CLOSE, TEXT
from .forwarded import ForwardedError
from .limits import plain_text
from .poller import READ, WRITE, SpinWait, make_poller
from .sendfile import FileWrapper

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import socket

    from .exchange import Exchange
    from .forwarded import TrustedProxies
    from .interfaces import Client, Handler, LeadingThread, Pool, RequestLog, ServerMonitor
    from .limits import Limits
    from .listener import Listener
    from .poller import Events, Poller

# Seconds between two checks of all connections for expired deadlines.
SWEEP_S = 0.25
# Maximum number of responses that are collected before they are sent.
MAX_UNSENT = 32
# When the access log has collected this many lines, it writes them. If it has fewer, it writes them
# in the next `_sweep`. PERF: lines are written together, because writing one line takes longer than
# making it.
MAX_LINES = 256
# When the server stops, it writes the last lines of the access log. If another thread is writing
# lines then, the server waits for it at most so many seconds.
LAST_LINES_S = 1.0
# How often in a row the event loop may poll the sockets without sleeping before the requested
# predictions are computed: requests that arrive in the meantime join the same batch.
MAX_POLLS = 4


class HTTPServer:
    """Accepts connections and hands their requests to a handler until it is stopped.

    Args:
        listeners: the addresses to listen on; at least one.
        handler: decides how requests are answered.
        pool: the threads that run the server.
        limits: sizes and timeouts.
        multiprocess: whether other processes serve the same application.
        spins: whether the event loop polls for a moment before its thread sleeps (busy-polling);
            useful if a processor remains for clients and other threads.
        poller: watches the sockets; by default the best poller for the operating system.
        access_log: gets the requests that have ended; None for no access log.
        metrics: counts the requests, and is told the state of the server regularly; None for no
            metrics.
        timed: whether to note when requests arrive although there is neither log nor metrics.
        proxies: the trusted proxies, whose headers say who the client is.

    Attributes:
        draining: set this to True to make responses ask clients to open a new connection.
        stopping: whether connections close as soon as they have no request to answer.
        drained: whether the server was stopped and all connections are closed.
        requests: how many requests were passed to the handler.
        responses: the limit on the memory for responses that clients have not read yet.
        notices: logs what clients do wrong, at a limited rate.
    """

    def __init__(
        self,
        listeners: cabc.Sequence[Listener],
        *,
        handler: Handler,
        pool: Pool,
        limits: Limits,
        multiprocess: bool = False,
        spins: bool = False,
        poller: Poller | None = None,
        access_log: RequestLog | None = None,
        metrics: ServerMonitor | None = None,
        timed: bool = False,
        proxies: TrustedProxies | None = None,
    ) -> None:
        self.draining = self.stopping = self.drained = False
        self.requests = 0
        self.admit = handler.admit if proxies is None else self._admit_behind_proxy
        self.upgrade = handler.upgrade
        self._proxies = proxies
        self.call = pool.call
        self.pool = pool
        # Requests that the event loop passes to their handlers next.
        self.due: deque[Exchange] = deque()
        # Connections with responses that were not sent yet.
        self.unsent: deque[Connection] = deque()
        self.access_log = access_log
        self._metrics = metrics
        self.ended: list[Exchange] | None = None
        self.count: cabc.Callable[[list[Exchange], float], object] = lambda ended, now_s: None
        if metrics is not None:
            self.ended, self.count = [], metrics.count
        self._is_timed = timed or access_log is not None or metrics is not None
        self.round_s = 0.0
        self.responses = Budget(limits.held_responses_bytes)
        self.notices = Notices()
        self._handler = handler
        self._limits = limits
        self._poller = make_poller() if poller is None else poller
        self.wake = self._poller.wake
        self._spin_wait = SpinWait(self._poller) if spins else None
        self._connections: dict[int, Client] = {}
        self._acceptor = Acceptor(
            listeners,
            poller=self._poller,
            limits=limits,
            clients=self._connections,
            add=self.add,
            notices=self.notices,
        )
        # The functions for other descriptors; see `call_when_readable`.
        self._others: dict[int, cabc.Callable[[], object]] = {}
        self._others_lock = threading.Lock()
        self._sweeps_s = 0.0
        self._ended = threading.Event()
        environ = base_environ(multiprocess=multiprocess)
        if hasattr(os, "sendfile"):
            environ["wsgi.file_wrapper"] = FileWrapper
        if access_log is not None:
            environ[FIELDS] = None
        for listener in listeners:
            listener.environ = environ | listener.environ

    # --- start and stop ------------------------------------------------------------------------

    def start(self) -> None:
        """Listen and start the threads. When this returns, clients can connect.

        Raises:
            OSError: the address cannot be used.
        """
        self.listen()
        self.pool.start(self)

    def listen(self) -> None:
        """Open the listening sockets, but start no threads. Raises OSError, as `start` does."""
        try:
            self._acceptor.open()
        except OSError:
            self._poller.close()
            raise

    def call_when_readable(self, fd: int, call: cabc.Callable[[], object] | None) -> None:
        """Let the event loop call a function whenever a file descriptor is readable; None ends
        that, and must be passed before the descriptor is closed. Thread-safe.

        Raises:
            OSError: the descriptor cannot be watched. Not for None.
        """
        with self._others_lock:
            was_watched = self._others.pop(fd, None) is not None
            try:
                if call is None:
                    if was_watched:
                        self.ignore(fd)
                    return
                if not was_watched:
                    self._poller.add(fd, READ)
                self._others[fd] = call
            except ValueError as exc:  # the poller was closed just now
                if call is not None:
                    raise OSError("the event loop has ended") from exc

    def refuse_new(self) -> bool:
        """Let the kernel drop new connections, so that those in the backlog can be accepted before
        the listening sockets are closed. Returns False if it cannot do that for any of them.
        """
        return self._acceptor.refuse_new()

    def drain(self, *, has_successor: bool = False) -> None:
        """From now on, let responses ask clients to open a new connection, and leave the clients of
        shared sockets to the other processes that listen on them. Returns at once.

        The clients that wait in the backlog of a shared socket are accepted first: if this process
        is the last one, nobody else will. They have the time until `stop` to send a request.

        Args:
            has_successor: whether another process listens on all sockets of this one.
        """
        self.draining = True
        self.call(partial(self._acceptor.leave_shared, all_are=has_successor))

    def stop(self) -> None:
        """Accept no more connections, and close each open one after its current response. Returns
        at once.
        """
        self.call(self._stop)

    def end_websockets(self, within_s: float) -> None:
        """End all WebSockets, because the server stops; each client has `within_s` seconds to
        answer. Returns at once.
        """
        self.call(partial(self._end_websockets, within_s))

    def cut_off(self) -> None:
        """Let `wait` end now, although requests are not finished. Thread-safe; a signal handler
        must call this on another thread, because it may have interrupted `wait`.
        """
        self._ended.set()

    def wait(self) -> bool:
        """Block until the last response is sent and the threads have stopped.

        Signal handlers run during the wait, on the main thread. A thread that still runs a view
        stops after that view.

        Returns:
            False if `cut_off` was called before the last response was sent.
        """
        wait_on_main_thread(self._ended.wait)
        was_drained = self.drained
        self.close()
        return was_drained

    def close(self) -> None:
        """Close all sockets and stop the threads."""
        self.pool.stop()
        for connection in self.connections:
            connection.close()
        if self.access_log is not None:
            self.access_log.flush(wait_s=LAST_LINES_S)
        self._acceptor.close()
        self._others.clear()
        self._poller.close()

    def await_end(self, timeout_s: float) -> bool:
        """Wait until the server was stopped and all connections are closed, or until `cut_off`.
        Returns False at the timeout.
        """
        return self._ended.wait(timeout_s)

    @property
    def connections(self) -> list[Client]:
        return list(self._connections.values())

    @property
    def address(self) -> tuple[str, int] | str | None:
        """Return the host and port, or the path, of the first socket on which the server listens;
        None if it does not listen.
        """
        return self._acceptor.address

    def _stop(self) -> None:
        self.stopping = self.draining = True
        self._acceptor.leave_all()
        for connection in self.connections:
            connection.stop()
        self._check_drained()

    def _end_websockets(self, within_s: float) -> None:
        for connection in self.connections:
            if isinstance(connection, Connection):
                connection.go_away(within_s)

    def _check_drained(self) -> None:
        if self.stopping and not self._connections:
            self.drained = True
            self._ended.set()

    # --- the leading thread --------------------------------------------------------------------

    def poll(self) -> Events | None:
        """Wait for events on the sockets and return them. Returns None if no event arrived until a
        timeout and there is no other work.
        """
        calls, due = self.pool.calls, self.due
        # Do not block if work is left: functions, requests or responses that another thread has not
        # finished, or a pipelined request that became due when the response before it was sent.
        if calls or due or self.unsent or self._handler.after_round:
            return self._poller.wait(0)
        if self._spin_wait is not None and (events := self._spin_wait.wait()):
            return events
        # While this thread polled without sleeping, another thread has added work and woken it.
        if calls or due:
            return self._poller.wait(0)
        idle = not self._connections and self._acceptor.listens
        if idle:
            # Do this now: without connections, this thread will not `_sweep` for an hour.
            self._report()
        events = self._poller.wait(3600 if idle else SWEEP_S)
        return events if events or calls or due else None

    def handle(self, events: Events | None, thread: LeadingThread) -> None:
        """Handle events, pass requests to their handlers, and send the responses.

        Args:
            events: what `poll` has returned.
            thread: the calling thread. If another thread takes over the event loop in the meantime,
                that thread does the rest.
        """
        after_round = self._handler.after_round
        if self.pool.calls:
            self._do_calls(thread)
        if self.unsent:
            flush_all(self)
        for _ in range(MAX_POLLS):
            if events:
                self._do_events(events, thread)
            if self.due:
                self._answer(thread)
            if not (events and after_round) or thread.stepped_aside:
                break
            # If predictions are to be submitted, first read the requests that have arrived in the
            # meantime, so that their predictions are submitted together with them.
            events = self._poller.wait(0)
        if self.unsent:
            flush_all(self)
        while after_round:
            try:
                call = after_round.pop()
            except IndexError:  # another thread has taken the last function from `after_round`
                break
            try:  # PERF: `_run_safely` would be one more call per prediction
                call()
            except BaseException:  # noqa: BLE001  # it must not end the leading thread
                self._note_error()
            flush_all(self)
        if not thread.stepped_aside and monotonic() >= self._sweeps_s:
            self._run_safely(self._sweep)
        # If another thread runs the event loop by now, it may have begun to wait for events before
        # this thread left work to it: wake it.
        if thread.stepped_aside and (self.pool.calls or self.due or self.unsent or after_round):
            self.wake()

    def _do_calls(self, thread: LeadingThread) -> None:
        calls = self.pool.calls
        # Count the functions before the loop: those that are added during the loop must be called
        # later.
        for _ in range(len(calls)):
            try:
                call = calls.popleft()
            except IndexError:  # another thread has taken the last function from `calls`
                return
            self._run_safely(call)
            if thread.stepped_aside:
                return

    def _do_events(self, events: Events, thread: LeadingThread) -> None:
        """Read from the sockets that are readable, and write to those that accept more data, until
        another thread takes over the event loop.

        PERF: all requests are read before the first is answered, and all are answered before the
        first response is sent: this serves 3 to 6 % more requests per second than answering each
        request when it is read.
        """
        connections = self._connections
        if self._is_timed:
            self.round_s = monotonic()
            if (access_log := self.access_log) is not None and len(access_log.pending) >= MAX_LINES:
                access_log.flush()
        for fd, mask in events:
            connection = connections.get(fd)
            try:
                if connection is None:
                    self._on_readable(fd)
                elif mask & WRITE:
                    connection.flush()
                elif mask & READ:
                    connection.readable()
                else:
                    connection.reset()
            except BaseException:  # noqa: BLE001  # it must not end the leading thread
                if connection is None:
                    self._note_error()
                else:
                    self.close_failed(fd, connection)
            thread.turns += 1
            # The new leading thread will get the remaining events from the poller.
            if thread.stepped_aside:
                return

    def close_failed(self, fd: int, connection: Client) -> None:
        """Log the exception that is being handled, and close the connection that it has
        interrupted, because its state is unknown.
        """
        self._note_error()
        # If closing it fails, too, nothing more must be read from it. If it is closed already,
        # another client may have got its descriptor.
        if self._connections.get(fd) is connection:
            self.forget(fd)
        self._run_safely(connection.close)

    def _run_safely(self, work: cabc.Callable[[], object]) -> None:
        """Call a function. If it raises an exception, log it, because the event loop must go on."""
        try:
            work()
        except BaseException:  # noqa: BLE001  # also a panic of a Rust extension, or SystemExit
            self._note_error()

    def _note_error(self) -> None:
        """Log the exception that is being handled, at a limited rate, because a client may be able
        to cause it often.
        """
        self.notices.note_error("error while serving")

    def _answer(self, thread: LeadingThread) -> None:
        """Pass the requests in `due` to their handlers, until another thread takes over the event
        loop.

        A client may send several requests at once (pipelining). The next of them is added to `due`
        when the response before it is sent; it is left there until the sockets of other clients
        have been read.
        """
        due, unsent = self.due, self.unsent
        for _ in range(len(due)):
            if thread.stepped_aside:
                return
            try:
                exchange = due.popleft()
            except IndexError:  # another thread has taken the last request from `due`
                return
            self.requests += 1
            try:
                exchange.handler(exchange)
            except BaseException:  # noqa: BLE001  # it must not end the leading thread
                logger.exception(
                    "error while serving %s %s",
                    exchange.method,
                    exchange.path,
                    extra={"request_id": exchange.request_id},
                )
                exchange.fail()
            thread.turns += 1
            if len(unsent) >= MAX_UNSENT:
                flush_all(self)

    def _sweep(self) -> None:
        """Call `expire` for the connections whose deadline has passed. If new connections are not
        accepted at the moment, but there is room for one, accept them again.
        """
        now_s = monotonic()
        self._sweeps_s = now_s + SWEEP_S
        for fd, connection in list(self._connections.items()):
            if connection.deadline_s < now_s:
                try:
                    connection.expire()
                except BaseException:  # noqa: BLE001  # the deadlines of others must hold
                    self.close_failed(fd, connection)
        self._report()
        self._acceptor.resume()

    def _report(self) -> None:
        """Write the lines of the access log, and let the metrics note the state of the server."""
        if self.access_log is not None:
            self.access_log.flush()
        if self._metrics is not None:
            clients = self.connections
            active = sum(client.state in ACTIVE for client in clients)
            self._metrics.sample(len(clients), active)

    def _on_readable(self, fd: int) -> None:
        """Handle an event on a descriptor that is no client's."""
        if (call := self._others.get(fd)) is not None:
            call()
        else:
            self._acceptor.accept_from(fd)

    def _admit_behind_proxy(self, exchange: Exchange) -> None:
        """Store in `exchange.origin` what trusted proxies say about the client, then let the
        handler admit the request. If a proxy has written an invalid value, refuse the request.
        """
        assert self._proxies is not None
        peer = exchange.transport.environ["REMOTE_ADDR"]
        try:
            exchange.origin = self._proxies.origin(exchange.headers, peer)
        except ForwardedError as exc:
            self.notices.note("forwarded", logging.WARNING, "refused requests of %s: %s", peer, exc)
            exchange.discard()
            exchange.handler = partial(_refuse, str(exc))
        else:
            self._handler.admit(exchange)

    def add(
        self, sock: socket.socket, host: str, port: int, listener: Listener | None = None
    ) -> Client:
        """Add a connection that was accepted from the client address `host` and `port` by
        `listener`, or by the first listener.
        """
        sock.setblocking(False)
        listener = listener or self._acceptor.listeners[0]
        environ = listener.environ.copy()
        # A server that listens on `::` sees the client 192.0.2.1 as `::ffff:192.0.2.1`: remove the
        # prefix.
        environ["REMOTE_ADDR"] = host.removeprefix("::ffff:") if "." in host else host
        environ["REMOTE_PORT"] = str(port)
        fd = sock.fileno()
        client: Client
        if listener.tls is None:
            client = Connection(self, sock, environ, self._limits)
        else:
            from .handshake import Handshake

            client = Handshake(listener.tls, self, sock, environ, self._limits)
        self._connections[fd] = client
        self._poller.add(fd, READ)
        return client

    # --- for connections, from any thread ------------------------------------------------------

    def watch(self, fd: int, mask: int) -> None:
        """From now on, report only the events in `mask` (READ, WRITE) for the socket `fd`, and its
        errors.
        """
        try:
            self._poller.change(fd, mask)
        except OSError:
            # `ignore` has removed the socket from the poller, because the system had reported an
            # error. The poller must report the error again, so that the connection, which now waits
            # for the socket, is closed.
            self._poller.add(fd, mask)

    def ignore(self, fd: int) -> None:
        """From now on, report no events for the socket `fd`."""
        try:
            self._poller.remove(fd)
        except OSError:
            pass

    def replace(self, fd: int, client: Client) -> None:
        """Let `client` handle the events of the socket `fd` from now on."""
        self._connections[fd] = client

    def forget(self, fd: int) -> None:
        """Remove the connection whose socket `fd` its caller is about to close."""
        self.ignore(fd)
        self._connections.pop(fd, None)
        if self.stopping:
            self.call(self._check_drained)


def _refuse(reason: str, exchange: Exchange) -> None:
    exchange.respond(400, [TEXT, CLOSE], plain_text("400 Bad Request", reason))
