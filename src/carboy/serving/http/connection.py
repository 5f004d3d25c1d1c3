"""One client's connection: requests come in and responses go out, one after the other.

Its state and the steps between states are the table in `transitions`. A connection owns its socket,
its parser, and the events that the parser has returned and that wait, because one request is
answered at a time. The leading thread reads, except for a body that the application reads while it
comes; the thread that answers writes. Source: RFC 9112, 9
"""

from __future__ import annotations

import socket
import typing as t
from _thread import allocate_lock, get_ident
from collections import deque
from time import monotonic

from ..log import logger
from .exchange import CONTINUE, Exchange
from .limits import HEAD_TOO_SLOW, INTERNAL_ERROR
from .parser import BEGIN, END, EOF, Refused, RequestHead, RequestParser
from .poller import READ, WRITE, wait_for
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
)

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .exchange import Fault
    from .limits import Limits
    from .parser import InputEvent
    from .transitions import Step

# PERF: a body of 3 MB is read in larger pieces; a request of 1 kB needs no such buffer.
PIECE_BYTES = 64 * 1024
LARGE_PIECE_BYTES = 256 * 1024
_NEVER = float("inf")
# States in which events of the parser are acted on. In READING they belong to the body.
_TAKES_EVENTS = frozenset(
    {IDLE, HEAD, BODY, READING, DISCARDING},
)
_HANDED_OVER = frozenset({READING, ANSWERING})
_LONG_INPUT = frozenset({BODY, DISCARDING, LINGERING})


class Pool(t.Protocol):
    """The part of the threads that a connection uses."""

    @property
    def leader(self) -> int:
        """The leading thread's identifier."""


class Server(t.Protocol):
    """The part of the server that a connection uses. From any thread, but for `admit`.

    Attributes:
        unsent: connections that the leading thread will flush soon; for that thread only.
    """

    unsent: deque[Connection]

    @property
    def pool(self) -> Pool:
        """The threads of the server."""

    @property
    def draining(self) -> bool:
        """Whether clients are asked to connect anew."""

    @property
    def stopping(self) -> bool:
        """Whether connections end when they are idle."""

    def admit(self, exchange: Exchange) -> object:
        """Decide what becomes of a request's body, and who takes the request."""

    def call(self, work: cabc.Callable[[], object]) -> None:
        """Let the leading thread do some work."""

    def watch(self, fd: int, mask: int) -> None:
        """Report these events of the socket, and no others."""

    def ignore(self, fd: int) -> None:
        """Report nothing more of the socket."""

    def forget(self, fd: int) -> None:
        """The socket is about to be closed."""


class Connection:
    """A socket, the parser of its input, and the request that is being taken or answered.

    Attributes:
        state: see `carboy.serving.http.transitions`; changed under the connection's lock only.
        environ: the entries that all its requests have in their environ.
        deadline_s: when `expire` is to be called, on the clock of `time.monotonic`.
    """

    __slots__ = (
        "_events",
        "_exchange",
        "_fd",
        "_limits",
        "_lock",
        "_mask",
        "_out",
        "_parser",
        "_server",
        "_socket",
        "deadline_s",
        "environ",
        "state",
    )

    def __init__(
        self, server: Server, sock: socket.socket, environ: dict[str, t.Any], limits: Limits
    ) -> None:
        self._server = server
        self._socket = sock
        self._fd = sock.fileno()
        self._limits = limits
        self._lock = allocate_lock()
        self._parser = RequestParser(limits)
        self._mask = READ  # as the poller knows it
        self._events: deque[InputEvent] = deque()  # that wait; EOF and Refused stay at its end
        self._exchange: Exchange | None = None  # the latest request
        self._out: list[bytes | memoryview] = []  # what the client has not taken yet
        self.environ = environ
        self.state = IDLE
        self.deadline_s = monotonic() + limits.head_s

    # --- input, on the leading thread ----------------------------------------------------------

    def readable(self) -> None:
        """Take what has come, and hand a request over if one is due."""
        gone = due = None
        self._lock.acquire()  # PERF: `with` takes 0.15 us longer
        try:
            state = self.state
            if self._mask != READ:  # changed by another thread since the poller looked
                return
            data = self._receive(LARGE_PIECE_BYTES if state in _LONG_INPUT else PIECE_BYTES)
            if data is None:
                return
            if state is ANSWERING:
                gone = self._receive_early(data)
            elif state is not LINGERING:
                due = self._receive_next(data)
            elif not data:
                self._close()
        finally:
            self._lock.release()
        if gone is not None:
            gone.left()
        if due is not None:
            try:  # PERF: `_hand_over` takes 0.05 us longer
                due.taker(due)
            except BaseException:  # noqa: BLE001
                self._fail(due)

    def _hand_over(self, exchange: Exchange) -> None:
        try:
            exchange.taker(exchange)
        except BaseException:  # noqa: BLE001  # a failure here must not end the leading thread
            self._fail(exchange)

    def _fail(self, exchange: Exchange) -> None:
        """Answer with a 500: nobody else will."""
        logger.exception("error while serving %s %s", exchange.method, exchange.path)
        self.finish(exchange, INTERNAL_ERROR, keeps=False)

    def _receive(self, size: int) -> bytes | None:
        """Return what has come; None if nothing has, b"" at the end of input."""
        try:
            return self._socket.recv(size)
        except BlockingIOError:
            return None
        except OSError:  # reset
            return b""

    def _parse(self, data: bytes) -> None:
        if data:
            self._events.extend(self._parser.feed(data))
        else:
            self._events.append(EOF)

    def _receive_next(self, data: bytes) -> Exchange | None:
        """Act on what comes while no request is answered; the request that is due."""
        if not data:
            self._events.append(EOF)
            return self._advance()
        events = self._parser.feed(data)
        count = len(events)
        if 2 <= count <= 3 and self.state is IDLE and events[-1] is END:
            # PERF: a request that has come in one piece does not go through the queue: 1 us.
            exchange = self._admit(events[0])  # type: ignore[arg-type]
            if exchange is None:
                return None
            if count == 3:
                body: bytes = events[1]  # type: ignore[assignment]
                if exchange.claim is None and exchange.intake == "whole":
                    exchange.pieces.append(body)
                    exchange.size = len(body)
                else:
                    exchange.add(body)
            exchange.complete = True
            self.state = TRANSITIONS[IDLE, REQUEST_DUE]
            self.deadline_s = _NEVER
            return exchange
        self._events.extend(events)
        return self._advance()

    def _receive_early(self, data: bytes) -> Exchange | None:
        """Keep what comes while a request is answered; the request if its client has left."""
        self._parse(data)
        if self._events:
            self._watch(0)  # read no more: a client that sends on fills its own memory
        return None if data else self._exchange

    def _advance(self) -> Exchange | None:
        """Act on events until a request is due, which the caller hands over outside the lock."""
        events = self._events
        due: Exchange | None = None
        while events and self.state in _TAKES_EVENTS:
            event = events.popleft()
            if isinstance(event, RequestHead):
                due = self._begin(event)
            elif isinstance(event, bytes):
                due = self._add(event) or due
            elif event is END:
                due = self._end_request() or due
            elif event is BEGIN:
                self._step(HEAD_BEGUN)
                self.deadline_s = monotonic() + self._limits.head_s
            else:
                events.appendleft(event)  # it stays: nothing follows it
                due = self._end_input(event) or due
                break
        self._set_interest()
        return due

    def _begin(self, head: RequestHead) -> Exchange | None:
        """Let the server admit a request; the request if it is handed over at once."""
        exchange = self._admit(head)
        if exchange is None:
            return None
        events = self._events
        if events and events[0] is END:
            events.popleft()
            return self._hand_over_whole(exchange)
        if exchange.intake != "whole":
            return self._hand_over_unread(exchange)
        self._step(BODY_EXPECTED)
        self.deadline_s = monotonic() + exchange.patience_s
        if exchange.expects and not events:
            exchange.expects = False
            self._write(CONTINUE)
        return None

    def _admit(self, head: RequestHead) -> Exchange | None:
        exchange = self._exchange = Exchange(self, head)
        try:
            self._server.admit(exchange)
        except BaseException:  # noqa: BLE001  # as in `_hand_over`
            logger.exception("error while admitting %s %s", exchange.method, exchange.path)
            self._events = deque([Refused(INTERNAL_ERROR)])
            self._end_input(self._events[0])
            return None
        return exchange

    def _hand_over_whole(self, exchange: Exchange) -> Exchange:
        exchange.complete = True
        self.state = TRANSITIONS[self.state, REQUEST_DUE]
        self.deadline_s = _NEVER
        return exchange

    def _hand_over_unread(self, exchange: Exchange) -> Exchange:
        self._step(REQUEST_UNREAD)
        self.deadline_s = _NEVER
        return exchange

    def _add(self, piece: bytes) -> Exchange | None:
        """Take a piece of the body; the request if the body cannot be buffered."""
        exchange = self._current()
        exchange.add(piece)
        if exchange.fault is None or self.state is not BODY:
            return None
        return self._hand_over_unread(exchange)

    def _end_request(self) -> Exchange | None:
        exchange = self._current()
        if self.state is BODY:
            return self._hand_over_whole(exchange)
        exchange.complete = True
        self._step(BODY_ENDED)
        if self.state is IDLE:
            self._become_idle()
        return None

    def _end_input(self, event: InputEvent) -> Exchange | None:
        """Act on the end of all input, or on input that cannot be understood."""
        state = self.state
        if state is READING:
            self._current().keeps = False
            return None  # `receive` tells the application
        if state is BODY:
            return self._lose("cut")
        if not isinstance(event, Refused):
            self._close()
            return None
        self._step(REFUSED)
        # In the middle of a body that is discarded there is nothing left to answer.
        if state is DISCARDING or self._write(event.response):
            self._end()
        return None

    def _lose(self, fault: Fault) -> Exchange:
        exchange = self._current()
        exchange.lose(fault)
        exchange.keeps = False
        return self._hand_over_unread(exchange)

    def _current(self) -> Exchange:
        exchange = self._exchange
        assert exchange is not None
        return exchange

    # --- input, on the thread that answers -----------------------------------------------------

    def receive(self) -> bool:
        """Wait for more of a body that is read while it comes; False if no more will come.

        The leading thread does not read meanwhile.
        """
        with self._lock:
            if self.state is not READING or self._events:
                return False
        if not wait_for(self._socket, READ, self._limits.stall_s):
            return False
        with self._lock:
            if self.state is not READING:  # closed meanwhile
                return False
            data = self._receive(LARGE_PIECE_BYTES)
            if data is None:
                return True
            self._parse(data)
            self._advance()
            return self._current().complete or not self._events

    # --- output --------------------------------------------------------------------------------

    def write_through(self, data: bytes | memoryview) -> bool:
        """Wait on the calling thread until the client has taken all; False if it has left."""
        while True:
            with self._lock:
                if self.state is CLOSED:
                    return False
                try:
                    sent = self._socket.send(data)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    return False
            if sent == len(data):
                return True
            data = memoryview(data)[sent:]
            if not wait_for(self._socket, WRITE, self._limits.stall_s):
                return False

    def _write(self, data: bytes) -> bool:
        """Send what the client takes now, and keep the rest for `flush`; whether it took all."""
        if self._out:
            self._out.append(data)
            return False
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close()
            return False
        if sent == len(data):
            return True
        self._out.append(memoryview(data)[sent:])
        self.deadline_s = monotonic() + self._limits.stall_s
        self._watch(WRITE)
        return False

    def flush(self) -> None:
        """Send what is left as far as the client takes it; go on when it has taken all."""
        due = None
        self._lock.acquire()  # PERF: as in `readable`
        try:
            out = self._out
            if not out:
                return
            while out:
                data = out[0]
                try:
                    sent = self._socket.send(data)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    self._close()
                    return
                if sent < len(data):
                    self._keep(memoryview(data)[sent:], progress=sent > 0)
                    return
                del out[0]
            due = self._go_on()
        finally:
            self._lock.release()
        if due is not None:
            self._hand_over(due)

    def _keep(self, rest: memoryview, *, progress: bool) -> None:
        """Wait until the client takes more; each time it does, it has its time again."""
        self._out[0] = rest
        if progress or self._mask != WRITE:
            self.deadline_s = monotonic() + self._limits.stall_s
        self._watch(WRITE)

    # --- the end of an exchange ----------------------------------------------------------------

    def may_stay(self, exchange: Exchange) -> bool:
        """Whether another request may follow the response to this one."""
        events = self._events
        if events and events[0] is not BEGIN:
            return type(events[0]) is RequestHead
        if self._server.draining:
            return False
        if exchange.complete:
            return True
        # A short rest is discarded; it has probably come with the head.
        rest = None if exchange.length is None else exchange.length - exchange.size
        most = self._limits.discarded_body_bytes
        return rest is not None and rest <= most and not exchange.expects

    def finish(self, exchange: Exchange, data: bytes, *, keeps: bool) -> None:
        """Send the end of a response. From any thread; nothing if there was one already."""
        self._lock.acquire()  # PERF: as in `readable`
        try:
            if self._exchange is not exchange or self.state not in _HANDED_OVER:
                return
            step = RESPONDED if keeps else RESPONDED_LAST
            self.state = TRANSITIONS[self.state, step]
            if not exchange.complete:
                exchange.discard()
            if data:
                server = self._server
                if not self._out and get_ident() == server.pool.leader:
                    self._out.append(data)
                    server.unsent.append(self)
                    return
                if not self._write(data):
                    return
            if self._events and keeps:
                self._server.call(self._resume_sent)
            else:
                self._go_on()
        finally:
            self._lock.release()

    def abort(self, exchange: Exchange) -> None:
        """Close the connection in the middle of a response, so that the client notices."""
        with self._lock:
            if self._exchange is exchange and self.state in _HANDED_OVER:
                self._close()

    def _resume_sent(self) -> None:
        with self._lock:
            due = self._go_on() if self.state is SENDING else None
        if due is not None:
            self._hand_over(due)

    def _go_on(self) -> Exchange | None:
        """The client has taken all: take the next request, or end."""
        state = self.state
        if state is SENDING:
            exchange = self._exchange
            if exchange is None or exchange.complete:
                self.state = TRANSITIONS[state, SENT]
                self._become_idle()
            else:
                self._step(SENT_UNREAD)
                self.deadline_s = monotonic() + self._limits.linger_s
        elif state is CLOSING:
            self._end()
        if self._events:
            return self._advance()
        if self._mask != READ:
            self._set_interest()
        return None

    def _become_idle(self) -> None:
        self._exchange = None
        self.deadline_s = monotonic() + self._limits.keep_alive_s
        if self._server.stopping and not self._events:
            self._close()

    def _end(self) -> None:
        """The last response is out: close, or wait until the client has read it.

        Closing a connection on which bytes wait makes the server's system drop the response (RFC
        9112, 9.6).
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
        self._step(CLOSE)
        self._exchange = None
        self._events.clear()
        self._out.clear()
        self._parser.close()
        self._mask = 0
        self.deadline_s = _NEVER
        self._server.forget(self._fd)
        self._socket.close()

    # --- states and the poller -----------------------------------------------------------------

    def _step(self, step: Step) -> None:
        self.state = TRANSITIONS[self.state, step]

    def _set_interest(self) -> None:
        """Let the poller report what the state waits for."""
        state = self.state
        if state is ANSWERING:
            mask = 0 if self._events else READ
        elif state in _TAKES_EVENTS and state is not READING:
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

    def reset(self) -> None:
        """The system says that the connection is over, while nobody reads from it."""
        gone = None
        with self._lock:
            # Who reads sees the end there. So this is about another socket, closed just now, that
            # had the same number.
            if self.state is CLOSED or self._mask == READ:
                return
            if self.state in _HANDED_OVER:
                gone = self._exchange
                self._events = deque([EOF])
                self._server.ignore(self._fd)  # else it would be reported again and again
            else:
                self._close()
        if gone is not None:
            gone.left()

    def expire(self) -> None:
        """End what takes too long, if the deadline is still in the past."""
        due = None
        with self._lock:
            if self.deadline_s > monotonic():
                return
            state = self.state
            if state is BODY and not self._out:
                due = self._lose("late")
                self._set_interest()
            elif state is HEAD:
                self._step(REFUSED)
                if self._write(HEAD_TOO_SLOW):
                    self._end()
            else:
                self._close()
        if due is not None:
            self._hand_over(due)

    def close(self) -> None:
        """Close the connection, whatever happens on it."""
        with self._lock:
            self._close()

    def stop(self) -> None:
        """Close an idle connection; others end with their last response."""
        with self._lock:
            # What the client has sent already is read at the next turn.
            if self.state is IDLE and not self._has_more():
                self._close()

    def _has_more(self) -> bool:
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False


def flush_all(unsent: deque[Connection]) -> None:
    """Send the responses that were made on the leading thread.

    PERF: one after the other, without anything between: the first wakes the client's process, or
    the proxy's, which is then still awake for the others. A text view 1.4 times as often.
    """
    while unsent:
        try:
            connection = unsent.popleft()
        except IndexError:  # a leader that stepped aside took it
            return
        try:
            connection.flush()
        except BaseException:  # noqa: BLE001  # a failure here must not end the leading thread
            logger.exception("error while serving")
