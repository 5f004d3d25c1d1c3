"""One client's HTTP/1.1 connection: it reads requests and writes their responses in order.

The module `transitions` defines the states of a connection, and which event leads to which state.
The server's handler decides how a request is answered. A client may send several requests at once,
but one is answered at a time; what the parser has found of the others waits in the connection.

One thread of the server runs the event loop, which waits for events on all sockets and reads from
them. Only a body that the application reads while it arrives is read from the socket by the
application's own thread. A response may be written by any thread.

A client may close its sending side after its request and still read the response (RFC 9112, 9.6),
so the response is sent although the client's input has ended; only a reset or a failed write means
that the client has left. A client that has closed its whole socket looks the same at first. To find
out, the server sends "100 Continue" if the response is late: a client that waits ignores it (RFC
9110, 15.2), and the operating system of a client that has left answers it with a TCP reset. Source:
RFC 9112, 9
"""

from __future__ import annotations

import logging
import socket
import typing as t
from _thread import allocate_lock, get_ident
from collections import deque
from time import monotonic

from ..log import logger
from .exchange import CONTINUE, Exchange, completed
from .limits import HEAD_TOO_SLOW, INTERNAL_ERROR
from .parser import BEGIN, END, EOF, Refused, RequestHead, RequestParser, Upgrade
from .poller import READ, WRITE, wait_for
from .sendfile import FileSection
from .transitions import (
    ANSWERING,
    BODY,
    BODY_ENDED,
    BODY_EXPECTED,
    CLOSE,
    CLOSED,
    CLOSING,
    DISCARDING,
    HEAD,
    HEAD_BEGUN,
    IDLE,
    LINGER,
    LINGERING,
    READING,
    REFUSED,
    REQUEST_DUE,
    REQUEST_UNREAD,
    RESPONDED,
    RESPONDED_LAST,
    SENDING,
    SENT,
    SENT_UNREAD,
    TRANSITIONS,
    UPGRADE,
    UPGRADED,
)
from .websocket import CLOSE_S, FAILED, GOING_AWAY, NORMAL, WebSocketSocket

if t.TYPE_CHECKING:
    from .exchange import Fault
    from .interfaces import Server
    from .limits import Limits
    from .parser import InputEvent
    from .transitions import Step

# How many bytes one read from a socket asks for: usually READ_BYTES, for bodies LARGE_READ_BYTES.
# PERF: larger reads need fewer system calls for a body of 3 MB; a request of 1 kB needs only a
# small buffer.
READ_BYTES = 64 * 1024
LARGE_READ_BYTES = 256 * 1024
# The access log contains this status for a request whose client disconnected before there was a
# response. The server sends no response with it. nginx writes the same number to its log.
CLIENT_CLOSED = "499"
# If the client's input has ended and the response takes longer than this many seconds, the server
# finds out whether the client has left.
PROBE_S = 2.0
_NEVER = float("inf")
# The states of a connection in which parser events are handled at once. In the other states, they
# wait until the current response is sent. In the state READING, the events are pieces of the body.
_EVENT_STATES = frozenset(
    {IDLE, HEAD, BODY, READING, DISCARDING},
)
HANDED_OVER = frozenset({READING, ANSWERING})
_NOT_WATCHED = frozenset({UPGRADED, CLOSED})
# The states in which the body of a request is arriving, or the response is not complete.
ACTIVE = frozenset({BODY, READING, ANSWERING})
_LARGE_READ_STATES = frozenset({BODY, DISCARDING, LINGERING})


class Connection:
    """A client's socket, the parser of its input, and the request that is being answered.

    Attributes:
        state: one of the states in `carboy.serving.http.transitions`; changed only while the
            connection's lock is held.
        half_closes: whether the socket can still receive when its sending side is closed.
        environ: the WSGI environ entries that all requests of the connection share.
        deadline_s: the time after which the server calls `expire`, on the clock of
            `time.monotonic`.
    """

    __slots__ = (
        "_events",
        "_exchange",
        "_fd",
        "_held_bytes",
        "_limits",
        "_lock",
        "_mask",
        "_out",
        "_parser",
        "_server",
        "_socket",
        "_websocket",
        "deadline_s",
        "environ",
        "state",
    )

    half_closes = True

    def __init__(
        self, server: Server, sock: socket.socket, environ: dict[str, t.Any], limits: Limits
    ) -> None:
        self._server = server
        self._socket = sock
        self._fd = sock.fileno()
        self._limits = limits
        self._lock = allocate_lock()
        self._parser = RequestParser(limits)
        # Which events the poller is to report for the socket: READ, WRITE or both.
        self._mask = READ
        # The parser events that are not handled yet; `EOF`, `Refused` or `Upgrade` can only be the
        # last one.
        self._events: deque[InputEvent] = deque()
        # The request that is arriving or being answered; None between two requests.
        self._exchange: Exchange | None = None
        # The parts of the current response that were not sent yet.
        self._out: list[bytes | memoryview | FileSection] = []
        # How many bytes of memory are reserved for the current response.
        self._held_bytes = 0
        # The socket as the application sees it, which has taken it; None in all states but
        # UPGRADED and CLOSED.
        self._websocket: WebSocketSocket | None = None
        self.environ = environ
        self.state = IDLE
        self.deadline_s = monotonic() + limits.head_s

    # --- input, on the leading thread ----------------------------------------------------------

    def readable(self) -> None:
        """Read from the socket, and queue the next request for its handler if it is ready."""
        disconnected = None
        self._lock.acquire()  # PERF: `with self._lock` would take 0.15 us longer
        try:
            state = self.state
            # Ignore an event that is out of date: the poller had reported it before another thread
            # changed which events of this socket are wanted.
            if self._mask != READ:
                return
            if state is ANSWERING:
                disconnected = self._receive_early()
            else:
                size = LARGE_READ_BYTES if state in _LARGE_READ_STATES else READ_BYTES
                try:  # PERF: does the same as `_receive`, without a call, which takes 0.06 us
                    data = self._socket.recv(size)
                except BlockingIOError:
                    return
                except OSError:  # the client has reset the connection
                    data = b""
                if state is not LINGERING:
                    self._receive_next(data)
                elif not data:
                    self._close()
        except BaseException:
            # Nothing more may be parsed: the parser may take the rest of a body for a request.
            self._close()
            raise
        finally:
            self._lock.release()
        if disconnected is not None:
            disconnected.note_disconnect()

    def _receive(self, size: int) -> bytes | None:
        """Read from the socket. Returns None if no data is available now, b"" at the end of the
        input.
        """
        try:
            return self._socket.recv(size)
        except BlockingIOError:
            return None
        except OSError:  # the client has reset the connection
            return b""

    def _parse(self, data: bytes) -> None:
        if data:
            self._events.extend(self._parser.feed(data))
        else:
            self._events.append(EOF)

    def _receive_next(self, data: bytes) -> None:
        """Parse data that arrives while no request is being answered, and queue the request that it
        completes.
        """
        if not data:
            self._events.append(EOF)
            self._advance()
            return
        events = self._parser.feed(data)
        count = len(events)
        if 2 <= count <= 3 and self.state is IDLE and events[-1] is END:
            # PERF: a request that arrives in one piece does not enter the queue of parser events,
            # which saves 1 us.
            exchange = self._admit(events[0])  # type: ignore[arg-type]
            if exchange is None:
                return
            if count == 3:
                body: bytes = events[1]  # type: ignore[assignment]
                if exchange.reserve is None and exchange.body_mode == "buffered":
                    exchange.pieces.append(body)
                    exchange.size = len(body)
                else:
                    exchange.add(body)
            # PERF: does the same as `_hand_over_whole`, without the cost of a call
            exchange.complete = True
            self.state = TRANSITIONS[IDLE, REQUEST_DUE]
            self.deadline_s = _NEVER
            self._server.due.append(exchange)
            return
        self._events.extend(events)
        self._advance()

    def _receive_early(self) -> Exchange | None:
        """Read data that arrives while a request is being answered, and keep it until the response
        is sent.

        Returns the current request if its client has reset the connection.
        """
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            self._events.append(EOF)
            self._watch(0)
            return self._exchange
        self._parse(data)
        if self._events:
            self._watch(0)  # stop reading, so that TCP slows down a client that keeps sending
        if not data:
            self.deadline_s = monotonic() + PROBE_S
        return None

    def _probe(self) -> Exchange | None:
        """Send "100 Continue" to a client whose input has ended, to find out if it has closed its
        socket.

        If it has, its operating system answers with a TCP reset, and the event loop then calls
        `reset`. If it has reset the connection before, returns the current request.
        """
        self.deadline_s = _NEVER
        exchange = self._current()
        if exchange.version == "HTTP/1.1" and not exchange.begun and not self._out:
            self._write(CONTINUE)
        return exchange if self.state is CLOSED else None

    def _advance(self) -> None:
        """Handle the parser events that wait in the connection, until a request is ready for its
        handler. If that fails, close the connection: the event that failed is lost, and the next
        ones may be the body of its request.
        """
        events = self._events
        try:
            while events and self.state in _EVENT_STATES:
                event = events.popleft()
                if isinstance(event, RequestHead):
                    self._begin(event)
                elif isinstance(event, bytes):
                    self._add(event)
                elif event is END:
                    self._end_request()
                elif event is BEGIN:
                    self._step(HEAD_BEGUN)
                    self.deadline_s = monotonic() + self._limits.head_s
                else:
                    # Leave `EOF`, `Refused` or `Upgrade` in the queue: other methods look for it
                    # there to find out that the client's input has ended.
                    events.appendleft(event)
                    self._end_input(event)
                    break
            self._set_interest()
        except BaseException:
            self._close()
            raise

    def _begin(self, head: RequestHead) -> None:
        """Make the request with this head the current request, and queue it for its handler, unless
        the rest of its body must be collected first.
        """
        arrived_s = self._head_arrived_s()
        exchange = self._admit(head)
        if exchange is None:
            return
        exchange.began_s = arrived_s
        events = self._events
        if events and events[0] is END:
            events.popleft()
            self._hand_over_whole(exchange)
            return
        if exchange.body_mode != "buffered":
            self._hand_over_unread(exchange)
            return
        if events and type(events[0]) is Upgrade:
            self._server.upgrade(exchange)
            self._hand_over_whole(exchange)
            return
        self._step(BODY_EXPECTED)
        self.deadline_s = monotonic() + exchange.body_timeout_s
        if exchange.expects_continue and not events:
            exchange.expects_continue = False
            self._write(CONTINUE)

    def _admit(self, head: RequestHead) -> Exchange | None:
        exchange = self._exchange = Exchange(self, head)
        server = self._server
        exchange.began_s = server.round_s
        try:
            server.admit(exchange)
        except BaseException:  # noqa: BLE001  # it must not end the leading thread
            logger.exception(
                "error while admitting %s %s",
                exchange.method,
                exchange.path,
                extra={"request_id": exchange.request_id},
            )
            refused = Refused(INTERNAL_ERROR, head)
            self._events = deque([refused])
            self._end_input(refused)
            return None
        return exchange

    def _hand_over_whole(self, exchange: Exchange) -> None:
        exchange.complete = True
        self.state = TRANSITIONS[self.state, REQUEST_DUE]
        self.deadline_s = _NEVER
        self._server.due.append(exchange)

    def _hand_over_unread(self, exchange: Exchange) -> None:
        self._step(REQUEST_UNREAD)
        self.deadline_s = _NEVER
        self._server.due.append(exchange)

    def _add(self, piece: bytes) -> None:
        """Add a piece to the body of the current request. If the body is refused, or is so long
        that the application must read the rest itself, queue the request for its handler.
        """
        exchange = self._current()
        exchange.add(piece)
        if self.state is not BODY:
            return
        if exchange.stream_above is not None and exchange.size > exchange.stream_above:
            exchange.body_mode = "streamed"
        elif exchange.fault is None:
            return
        self._hand_over_unread(exchange)

    def _end_request(self) -> None:
        exchange = self._current()
        if self.state is BODY:
            self._hand_over_whole(exchange)
            return
        exchange.complete = True
        self._step(BODY_ENDED)
        if self.state is IDLE:
            self._become_idle(monotonic())

    def _end_input(self, event: InputEvent) -> None:
        """Handle the last parser event: the client sends no more, or the parser has refused its
        input.
        """
        state = self.state
        if state is READING:
            # The client sends no more, so the connection closes after this response. `receive`
            # reports the end of the body to the application.
            self._current().keep_alive = False
        elif state is BODY:
            self._fail_body("truncated")
        elif isinstance(event, Refused):
            self._refuse(event)
        else:
            self._close()

    def _refuse(self, event: Refused) -> None:
        """Send an error response, because the client's input is invalid or too slow, and close the
        connection afterwards.
        """
        discarding, arrived_s = self.state is DISCARDING, self._head_arrived_s()
        self._step(REFUSED)
        self._note_refusal(event.response[9:].partition(b"\r\n")[0].decode())
        if discarding:
            # The client has received a response already, so send it no second one.
            self._end()
            return
        exchange = self._exchange = self._exchange or Exchange(self, event.head)
        exchange.began_s = arrived_s
        exchange.complete = True
        exchange.status = event.response[9:12].decode()
        exchange.body_bytes = len(event.response.partition(b"\r\n\r\n")[2])
        self._count(exchange)
        if self._write(completed(event.response, exchange.request_id)):
            self._continue()

    def _head_arrived_s(self) -> float:
        """Return when the first bytes of the current request head arrived."""
        return self.deadline_s - self._limits.head_s if self.state is HEAD else self._server.round_s

    def _note_refusal(self, reason: str) -> None:
        client = self.environ["REMOTE_ADDR"]
        self._server.notices.note(
            reason, logging.INFO, "refused a request from %s: %s", client, reason
        )

    def _fail_body(self, fault: Fault) -> None:
        exchange = self._current()
        self._note_refusal(f"its body is incomplete ({fault})")
        exchange.fail_body(fault)
        exchange.keep_alive = False
        self._hand_over_unread(exchange)

    def _current(self) -> Exchange:
        exchange = self._exchange
        assert exchange is not None
        return exchange

    # --- input, on the thread that answers -----------------------------------------------------

    def receive(self) -> bool:
        """Wait for more of a body that the application reads while it arrives; returns False if no
        more will arrive.

        The application's thread calls this method, which reads from the socket; until the body
        ends, the event loop does not. Only the time that is spent in this method counts towards the
        limit on the time that a body may take.
        """
        limits = self._limits
        with self._lock:
            if self.state is not READING or self._events:
                return False
            exchange = self._current()
            left_s = limits.body_time_s(exchange.size) - exchange.waited_s
        began_s = monotonic()
        if left_s <= 0 or not wait_for(self._socket, READ, min(limits.stall_s, left_s)):
            return False
        exchange.waited_s += monotonic() - began_s
        with self._lock:
            if self.state is not READING:  # the connection was closed during the wait
                return False
            data = self._receive(LARGE_READ_BYTES)
            if data is None:
                return True
            try:
                self._parse(data)
            except BaseException:
                self._close()  # as in `readable`
                raise
            self._advance()
            return self._current().complete or not self._events

    # --- output --------------------------------------------------------------------------------

    def write_through(self, data: bytes | memoryview) -> bool:
        """Send all of `data`, blocking the calling thread; returns False if the client has
        disconnected.
        """
        while True:
            with self._lock:
                if self.state not in HANDED_OVER:
                    return False
                try:
                    sent = self._socket.send(data)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    break
            if sent == len(data):
                return True
            data = memoryview(data)[sent:]
            if not wait_for(self._socket, WRITE, self._limits.stall_s):
                break
        exchange = self._exchange
        if exchange is not None:
            exchange.unsent_bytes = len(data)
        return False

    def _write(self, data: bytes) -> bool:
        """Send as much of `data` as the socket accepts, and queue the rest; returns True if all was
        sent.
        """
        if self._out:
            self._out.append(data)
            return False
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._out.append(data)  # `_close` counts the data in `_out` as not sent
            self._close()
            return False
        if sent == len(data):
            return True
        self._out.append(memoryview(data)[sent:])
        self.deadline_s = monotonic() + self._limits.stall_s
        self._watch(WRITE)
        return False

    def flush(self) -> None:
        """Send the queued parts of the response. After the last one, continue with the next
        request.
        """
        self._lock.acquire()  # PERF: `with self._lock` would take 0.15 us longer
        try:
            out = self._out
            if not out:
                return
            while out:
                data = out[0]
                if data.__class__ is FileSection:
                    if not self._send_section(data):
                        return
                    continue
                try:
                    sent = self._socket.send(data)  # type: ignore[arg-type]
                except BlockingIOError:
                    sent = 0
                except OSError:
                    self._close()
                    return
                if sent < len(data):  # type: ignore[arg-type]
                    self._out[0] = memoryview(data)[sent:]  # type: ignore[arg-type]
                    self._await_writable(progress=sent > 0)
                    return
                del out[0]
            self._continue()
        finally:
            self._lock.release()

    def _send_section(self, section: FileSection) -> bool:
        """Send as much of the file as the socket accepts; returns True if all of it was sent."""
        sent = 0
        try:
            sent = self._send_file(section)
        except BlockingIOError:
            pass
        except OSError:
            self._close()
            return False
        if section.left:
            self._await_writable(progress=sent > 0)
            return False
        del self._out[0]
        section.close()
        return True

    def _send_file(self, section: FileSection) -> int:
        return section.send_to(self._fd)

    def _await_writable(self, *, progress: bool) -> None:
        """Let the event loop call `flush` when the socket accepts more. `progress` says whether
        some data was sent just now; then the client's timeout begins anew.
        """
        if progress or self._mask != WRITE:
            self.deadline_s = monotonic() + self._limits.stall_s
        self._watch(WRITE)

    # --- the end of an exchange ----------------------------------------------------------------

    @property
    def draining(self) -> bool:
        """Whether the server stops soon."""
        return self._server.draining

    def may_keep_alive(self, exchange: Exchange) -> bool:
        """Whether the connection can serve another request after the response to this one."""
        events = self._events
        if events and events[0] is not BEGIN:
            return type(events[0]) is RequestHead
        if self._server.draining:
            return False
        if exchange.complete:
            return True
        # If the application has not read the whole body, the rest must be discarded before the next
        # request. A short rest is worth it, because it has probably arrived together with the head.
        rest = None if exchange.length is None else exchange.length - exchange.size
        most = self._limits.discarded_body_bytes
        return rest is not None and rest <= most and not exchange.expects_continue

    def awaits(self, exchange: Exchange) -> bool:
        """Whether the response to this request is not complete yet. If so, and if the caller does
        not hold the lock, another thread may complete it at any time.
        """
        return self._exchange is exchange and self.state in HANDED_OVER

    def finish(
        self, exchange: Exchange, data: bytes, *, keep_alive: bool, file: FileSection | None = None
    ) -> None:
        """Send the last bytes of a response, unless the response was completed already.
        Thread-safe.

        Args:
            keep_alive: whether the head of the response says that the connection stays open.
            file: a part of a file, which the event loop sends after `data` and then closes.
        """
        self._lock.acquire()  # PERF: `with self._lock` would take 0.15 us longer
        try:
            if self._exchange is not exchange or self.state not in HANDED_OVER:
                if file is not None:
                    file.close()
                return
            step = RESPONDED if keep_alive else RESPONDED_LAST
            self.state = TRANSITIONS[self.state, step]
            if not exchange.complete:
                exchange.discard()
            server = self._server
            if data and file is None and not self._out and get_ident() == server.pool.leader:
                if (ended := server.ended) is not None:
                    ended.append(exchange)
                self._out.append(data)
                server.unsent.append(self)
                return
            self._count(exchange)
            if file is not None:
                self._out += (data, file)
                self._await_writable(progress=True)
                return
            if data and not self._write(data):
                return
            if self._events and keep_alive:
                self._server.call(self._resume_sent)
            else:
                self._continue()
        finally:
            self._lock.release()

    def hold(self, size: int) -> bool:
        """Reserve memory for a response, until it is sent or the connection closes.

        Returns False if the memory for responses that clients have not read is used up.
        """
        with self._lock:
            if self.state not in HANDED_OVER:
                # If the connection is closed, no memory is needed, because `finish` will drop the
                # response.
                return True
            if not self._server.responses.reserve(size):
                self._server.notices.note(
                    "responses",
                    logging.WARNING,
                    "clients have not read too many responses (--max-held-responses)",
                )
                return False
            self._held_bytes += size
        return True

    def _release(self) -> None:
        self._server.responses.release(self._held_bytes)
        self._held_bytes = 0

    def step_aside(self) -> None:
        """If the calling thread runs the event loop, let another thread run it, because the caller
        may block from now on.
        """
        self._server.pool.step_aside()

    def abort(self, exchange: Exchange) -> None:
        """Close the connection in the middle of a response, so that the client sees that the
        response is incomplete.
        """
        with self._lock:
            if self.awaits(exchange):
                self._close()

    def _resume_sent(self) -> None:
        with self._lock:
            if self.state is SENDING:
                self._continue()

    def _continue(self) -> None:
        """Continue after the whole response was sent: with the next request, or by closing the
        connection.
        """
        state, exchange = self.state, self._exchange
        if self._held_bytes:
            self._release()
        if state is SENDING or state is CLOSING:
            now_s = monotonic()
            if (access_log := self._server.access_log) is not None and exchange is not None:
                exchange.logged = True
                access_log.pending.append(access_log.line(exchange, now_s))
            if state is CLOSING:
                self._end()
            elif exchange is None or exchange.complete:
                self.state = TRANSITIONS[state, SENT]
                self._become_idle(now_s)
            else:
                self._step(SENT_UNREAD)
                self.deadline_s = now_s + self._limits.linger_s
        if self._events:
            self._advance()
        elif self._mask != READ:
            self._set_interest()

    def _become_idle(self, now_s: float) -> None:
        self._exchange = None
        self.deadline_s = now_s + self._limits.keep_alive_s
        if self._server.stopping and not self._events:
            self._close()

    def _end(self) -> None:
        """Close the connection after the last response; if the client may still be sending, close
        only the sending side, and discard the client's input for a while (linger).

        If a socket is closed while it has unread input, the kernel discards the response (RFC 9112,
        9.6).
        """
        events, exchange = self._events, self._exchange
        unread = bool(events) or (exchange is not None and not exchange.complete)
        if not unread or (events and events[-1] is EOF):
            self._close()
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._close()
            return
        self._step(LINGER)
        self.deadline_s = monotonic() + self._limits.linger_s
        self._watch(READ)

    def _close(self) -> None:
        if self.state is CLOSED:
            return
        exchange = self._exchange
        if self.state is BODY and exchange is not None and exchange.release is not None:
            exchange.release(exchange)
        if self._server.access_log is not None or self._server.ended is not None:
            self._end_aborted()
        self._step(CLOSE)
        self._exchange = None
        self._events.clear()
        if self._held_bytes:
            self._release()
        while self._out:
            data = self._out.pop()
            if isinstance(data, FileSection):
                data.close()
        self._parser.close()
        self._mask = 0
        self.deadline_s = _NEVER
        self._server.forget(self._fd)
        if self._websocket is None:
            self._socket.close()
        else:
            self._websocket.shut()

    def _count(self, exchange: Exchange) -> None:
        """Count a request in the metrics, if there are any, before its response is sent. So no
        client knows of a response that is lost in the counts if this process is killed.
        """
        if (ended := self._server.ended) is not None:
            ended.append(exchange)
            self._server.count(ended, monotonic())

    def _end_aborted(self) -> None:
        """Log and count a request that ends because its connection is closed before the whole
        response was sent. Do nothing if there is no such request.
        """
        exchange = self._exchange
        if exchange is None and self.state is HEAD:
            exchange = Exchange(self, self._parser.begun_head())
            exchange.began_s = self._head_arrived_s()
        if exchange is None or exchange.logged:
            return
        for part in self._out:
            exchange.unsent_bytes += part.left if isinstance(part, FileSection) else len(part)
        exchange.body_bytes = max(0, exchange.body_bytes - exchange.unsent_bytes)
        exchange.status = exchange.status or CLIENT_CLOSED
        if self.state is HEAD or self.state in ACTIVE:  # else it was counted with its response
            self._count(exchange)
        if (access_log := self._server.access_log) is None:
            return
        exchange.fields = {**(exchange.fields or {}), "aborted": True}
        exchange.logged = True
        access_log.pending.append(access_log.line(exchange, monotonic()))

    # --- WebSockets ----------------------------------------------------------------------------

    def offer_socket(self) -> WebSocketSocket:
        """Return the socket for an application that answers a request for a WebSocket. It belongs
        to the application as soon as the application uses it.
        """
        with self._lock:
            event = self._events[0] if self._events else None
            early = event.received if isinstance(event, Upgrade) else b""
        return WebSocketSocket(self._socket, early, self, stall_s=self._limits.stall_s)

    def hand_over(self, sock: WebSocketSocket) -> bool:
        """Let the application have the socket from now on. Returns False if it is too late: the
        client has disconnected, or a response has begun.
        """
        with self._lock:
            exchange = self._exchange
            if self.state is not ANSWERING or exchange is None or exchange.begun:
                return False
            self._step(UPGRADE)
            self._websocket = sock
            self._events.clear()
            self._mask = 0
            self._server.ignore(self._fd)
            exchange.upgraded = True
            # `end_websocket` logs and counts the request.
            exchange.logged = True
            self._await_idle(sock)
            return True

    def end_websocket(self, exchange: Exchange, sock: WebSocketSocket) -> None:
        """Close a WebSocket whose view has ended, when its client has received what was sent, and
        log and count its request. Do nothing if the application has not taken the socket.
        """
        if exchange.upgraded:
            code = FAILED if exchange.status[:1] == "5" else NORMAL
            closed = sock.sent.closing
            with self._lock:
                if self.state is UPGRADED:
                    self._end_websocket(sock, code, self._limits.linger_s)
            sock.drain()
            self.close()
            exchange.status = sock.sent.status or CLIENT_CLOSED
            exchange.body_bytes = sock.sent.sent_bytes
            if not (closed or sock.received.closing):
                exchange.fields = {**(exchange.fields or {}), "aborted": True}
            self._count(exchange)
            if (access_log := self._server.access_log) is not None:
                access_log.pending.append(access_log.line(exchange, monotonic()))
        sock.detach()

    def go_away(self, within_s: float) -> None:
        """End the WebSocket, if the connection is one, because the server stops. Its client has
        `within_s` seconds to answer.
        """
        with self._lock:
            sock = self._websocket
            if self.state is UPGRADED and sock is not None and not sock.closes:
                self._end_websocket(sock, GOING_AWAY, within_s)

    def _expire_websocket(self) -> None:
        sock = self._websocket
        assert sock is not None
        if sock.closes:
            self._close()
            return
        self._await_idle(sock)
        if self.deadline_s <= monotonic():
            self._end_websocket(sock, GOING_AWAY, CLOSE_S)

    def _await_idle(self, sock: WebSocketSocket) -> None:
        idle_s = self._limits.websocket_idle_s
        self.deadline_s = sock.active_s + idle_s if idle_s else _NEVER

    def _end_websocket(self, sock: WebSocketSocket, code: int, wait_s: float) -> None:
        """Send the client a Close frame, unless the application has sent one, and close the
        connection after `wait_s` seconds, if the application has not closed it by then.
        """
        sock.send_close(code)
        self.deadline_s = min(self.deadline_s, monotonic() + wait_s)

    # --- states and the poller -----------------------------------------------------------------

    def _step(self, step: Step) -> None:
        self.state = TRANSITIONS[self.state, step]

    def _set_interest(self) -> None:
        """Tell the poller which events of the socket to report in the current state."""
        state = self.state
        if state is ANSWERING:
            mask = 0 if self._events else READ
        elif state in _EVENT_STATES and state is not READING:
            mask = WRITE if self._out else READ
        elif state is READING:
            mask = 0
        else:
            return
        if mask != self._mask:
            self._watch(mask)

    def _watch(self, mask: int) -> None:
        if mask != self._mask and self.state is not CLOSED:
            self._mask = mask
            self._server.watch(self._fd, mask)

    # --- from outside, on the leading thread ---------------------------------------------------

    def refuse(self, response: bytes) -> None:
        """Send an error response and close the connection, instead of reading a request."""
        with self._lock:
            self._events.append(Refused(response, self._parser.begun_head()))
            self._advance()

    def reset(self) -> None:
        """Handle an error or hang-up that the poller reports for the socket."""
        disconnected = None
        with self._lock:
            # If the poller watches this socket for input, a read finds its errors, so ignore the
            # report. It may even be about another socket, closed by now, that had the same file
            # descriptor.
            if self.state in _NOT_WATCHED or self._mask == READ:
                return
            if self.state in HANDED_OVER:
                disconnected = self._exchange
                self._events = deque([EOF])
                # Let the poller ignore the socket: it is level-triggered, and would report the
                # error again and again.
                self._server.ignore(self._fd)
            else:
                self._close()
        if disconnected is not None:
            disconnected.note_disconnect()

    def expire(self) -> None:
        """Refuse the request or close the connection because `deadline_s` has passed; do nothing if
        the deadline was extended in the meantime.
        """
        disconnected = None
        with self._lock:
            if self.deadline_s > monotonic():
                return
            state = self.state
            if state is BODY and not self._out:
                self._fail_body("timeout")
                self._set_interest()
            elif state is ANSWERING:
                disconnected = self._probe()
            elif state is HEAD:
                self._refuse(Refused(HEAD_TOO_SLOW, self._parser.begun_head()))
            elif state is UPGRADED:
                self._expire_websocket()
            else:
                self._close()
        if disconnected is not None:
            disconnected.note_disconnect()

    def close(self) -> None:
        """Close the connection at once, whatever its state."""
        with self._lock:
            self._close()

    def stop(self) -> None:
        """Close the connection if it is idle; otherwise it closes after its current response,
        because the server is stopping.
        """
        with self._lock:
            # If the client has already sent the next request, answer it before the connection
            # closes.
            if self.state is IDLE and not self._has_input():
                self._close()

    def _has_input(self) -> bool:
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False


def flush_all(server: Server) -> None:
    """Send the responses that the event loop's thread has collected in `server.unsent` while it
    handled requests. Before that, count the requests in the metrics, all at once.

    PERF: the first response wakes the process of the client or proxy; the others, sent immediately
    after it, find that process still awake: a text view answers 1.4 times as many requests per
    second.
    """
    unsent = server.unsent
    if server.ended:
        server.count(server.ended, monotonic())
    while unsent:
        try:
            connection = unsent.popleft()
        except IndexError:  # another thread has taken the last connection from `unsent`
            return
        try:
            connection.flush()
        except BaseException:  # noqa: BLE001  # an exception must not end the leading thread
            server.close_failed(connection._fd, connection)
