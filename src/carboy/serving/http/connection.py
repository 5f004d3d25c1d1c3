"""One client's connection: requests come in, answers go out, one after the other.

    idle --first byte--> its head --its end--> its body --> due: an exchange is handed over
      ^                                                             |
      |<--answered, the client wants to go on-----------------------|
    closed <--lingers until the client has read <--answered early---'

The bytes are read by the thread that leads, except for a body that somebody reads while it comes;
they are written by whoever answers. What comes in too early (pipelined requests) waits in `line`,
and nothing more is read meanwhile. What the bytes mean is `reading`'s. Source: RFC 9112, 9
"""

from __future__ import annotations

import socket
import typing as t
from _thread import allocate_lock
from collections import deque
from time import monotonic

from ..log import logger
from ..wsgi.answers import KEEP_ALIVE_REST_BYTES, LINGER_S
from .head import CONTINUE
from .parser import OUR_FAULT, Reader
from .poller import READ, WRITE, wait_for

if t.TYPE_CHECKING:
    from .exchange import Exchange
    from .server import Front

PIECE_BYTES = 64 * 1024
LARGE_PIECE_BYTES = 256 * 1024
# From the first byte of a head to its end: nginx has 60 s.
HEAD_S = 30.0
# Between two pieces of a body that somebody reads, or of an answer.
PIECE_S = 60.0
_NEVER = float("inf")
_HEAD_TOO_SLOW = b"HTTP/1.1 408 REQUEST TIMEOUT\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Connection:
    """A socket, the reader of what comes from it, and what is being answered.

    Attributes:
        environ: what stands in the environ of each of its requests.
        exchange: that is being answered.
        deadline_s: when `expire` is to be called.
    """

    __slots__ = (
        "_closed",
        "_closes",
        "_ended",
        "_fd",
        "_front",
        "_line",
        "_lingers",
        "_lock",
        "_mask",
        "_out",
        "_reader",
        "_socket",
        "_spoilt",
        "deadline_s",
        "environ",
        "exchange",
    )

    def __init__(self, front: Front, sock: socket.socket, environ: dict[str, t.Any]) -> None:
        self._front = front
        self._socket = sock
        self._fd = sock.fileno()
        self._lock = allocate_lock()
        self._mask = READ
        self._line: deque[Exchange] = deque()  # nothing is read while somebody is in it
        self._reader = Reader(self, front, self._line)
        self._out: list[bytes | memoryview] = []  # what the client has not taken yet
        self._ended = False  # nothing more comes from it
        self._spoilt = False  # what comes is not understood
        self._closes = False  # when all is out
        self._lingers = False
        self._closed = False
        self.environ = environ
        self.exchange: Exchange | None = None
        self.deadline_s = monotonic() + HEAD_S

    # --- reading, on the thread that leads -----------------------------------------------------

    def readable(self) -> None:
        """Take what has come, and hand over what is due."""
        self._lock.acquire()  # PERF: `with` takes 0.15 us longer
        try:
            if self._closed or self._mask != READ:
                return
            # PERF: a body of 3 MB in larger pieces; a request of 1 kB needs no such buffer.
            size = PIECE_BYTES if self._reader.incoming is None else LARGE_PIECE_BYTES
            data = self._receive(size)
            if data is None:
                return
            if self._lingers:
                if not data:
                    self._close()
                return
            gone = None
            if data:
                self._feed(data)
            else:
                gone = self._end_of_input()
            due = self._next()
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
        except BaseException:  # noqa: BLE001  # what fails here must not end the thread that leads
            self._fail(exchange)

    def _fail(self, exchange: Exchange) -> None:
        """Nobody will answer: its client would wait for ever."""
        logger.exception("error while serving %s %s", exchange.method, exchange.path)
        self.finish(exchange, OUR_FAULT, keeps=False)

    def _receive(self, size: int) -> bytes | None:
        """b"" at the end; None: there is nothing."""
        try:
            return self._socket.recv(size)
        except BlockingIOError:
            return None
        except OSError:  # reset
            return b""

    def _feed(self, data: bytes) -> None:
        reader = self._reader
        before = reader.incoming
        refusal = reader.feed(data)
        incoming = reader.incoming
        if incoming is not before or reader.headers is not None:
            self._expect(before, incoming)
        if refusal is not None:
            self._refuse_rest(refusal)

    def _expect(self, before: Exchange | None, incoming: Exchange | None) -> None:
        """How long what has begun may take to come, unless somebody is being answered."""
        if self.exchange is not None or self._line or self._ended:
            return
        if incoming is not None:
            if incoming.intake == "whole":
                self.deadline_s = monotonic() + incoming.patience_s
                if incoming.expects:
                    self._write(CONTINUE)
        elif self._reader.headers is not None:
            if self._reader.begins:
                self.deadline_s = monotonic() + HEAD_S
        elif before is not None:  # nobody had waited for its rest
            self.deadline_s = monotonic() + self._front.keep_alive_s

    def _refuse_rest(self, answer: bytes) -> None:
        """Nothing that comes from here on can be understood; what was understood is answered."""
        self._ended = self._spoilt = True
        incoming = self._reader.incoming
        if incoming is not None:  # in the middle of its body
            incoming.gone = incoming.intake != "whole"
            self._reader.cut_off("cut")
        if self.exchange is not None or self._line:
            self._watch(0)
            return
        if incoming is None:
            self._write(answer)
        self._linger()

    def _end_of_input(self) -> Exchange | None:
        """The client has left, or half of it. Returns whom it leaves waiting."""
        self._ended = True
        self._reader.cut_off("cut")
        self._watch(0)
        if self.exchange is None and not self._line:
            if self._out:
                self._closes = True
                self._watch(WRITE)
            else:
                self._close()
        return self.exchange

    def _next(self) -> Exchange | None:
        """Who is to be answered now; the calling thread hands it over, outside the lock."""
        if not self._line or self._out or self._closed:
            return None
        if self.exchange is not None:
            self._watch(0)  # there is enough to do
            return None
        exchange = self.exchange = self._line.popleft()
        self.deadline_s = _NEVER
        reads_itself = exchange.intake == "pieces" and not exchange.complete
        mask = 0 if self._line or reads_itself or self._ended else READ
        if mask != self._mask:
            self._watch(mask)
        return exchange

    def resume(self) -> None:
        """Hand over what waits in line, on the thread that leads."""
        with self._lock:
            due = self._next()
        if due is not None:
            self._hand_over(due)

    # --- reading, on the thread that answers ---------------------------------------------------

    def receive(self) -> bool:
        """Wait for the next piece of a body that is read while it comes; False: it will not come.

        The thread that leads does not read meanwhile.
        """
        with self._lock:
            if self._ended or self._closed:
                return False
        if not wait_for(self._socket, READ, PIECE_S):
            return False
        with self._lock:
            data = self._receive(LARGE_PIECE_BYTES)
            if data is None:
                return True
            if not data:
                self._ended = True
                self._reader.incoming = None
                return False
            self._feed(data)
            exchange = self.exchange
            return exchange is not None and not exchange.gone

    # --- writing -------------------------------------------------------------------------------

    def write_through(self, data: bytes | memoryview) -> bool:
        """Wait until the client has taken it, on the calling thread; False: it has left."""
        while True:
            with self._lock:
                if self._closed:
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
            if not wait_for(self._socket, WRITE, PIECE_S):
                return False

    def _write(self, data: bytes) -> bool:
        """Send what the client takes now, and keep the rest for when it takes more.

        False: there is a rest, and the connection goes on when that is out.
        """
        if not self._out:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._ended = self._closes = True
                return True
            if sent == len(data):
                return True
            self._out.append(memoryview(data)[sent:])
            self.deadline_s = monotonic() + PIECE_S
            self._watch(WRITE)
        else:
            self._out.append(data)
        return False

    def flush(self) -> None:
        """Send what the client takes of what is left, and go on if that is all."""
        with self._lock:
            if self._closed or not self._out:
                return
            while self._out:
                data = self._out[0]
                try:
                    sent = self._socket.send(data)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    self._close()
                    return
                if sent < len(data):
                    if sent or self._mask != WRITE:
                        self.deadline_s = monotonic() + PIECE_S
                    self._out[0] = memoryview(data)[sent:]
                    self._watch(WRITE)
                    return
                del self._out[0]
            due = self._next()
            if due is None:
                self._rest()
        if due is not None:
            self._hand_over(due)

    # --- the end of an exchange ----------------------------------------------------------------

    def may_stay(self, exchange: Exchange) -> bool:
        """Whether another request may come after the answer to this one."""
        if not self._line and (self._ended or self._front.draining):
            return False
        if exchange.complete:
            return True
        # A short rest is read away; it is likely to have arrived with the head.
        rest = None if exchange.length is None else exchange.length - exchange.size
        return rest is not None and rest <= KEEP_ALIVE_REST_BYTES and not exchange.expects

    def finish(self, exchange: Exchange, data: bytes, *, keeps: bool) -> None:
        """Send the end of an answer. From any thread; a second time for one exchange is nothing."""
        self._lock.acquire()  # PERF: as in `readable`
        try:
            if self.exchange is not exchange:
                return
            self.exchange = None
            if self._closed:
                return
            if not data:
                out = not self._out
            elif not self._out and self._front.flush_later(self):
                self._out.append(data)
                out = False
            else:
                out = self._write(data)
            if keeps and not self._closes:
                if not exchange.complete:
                    exchange.intake = "nothing"
                    exchange.pieces.clear()
            else:
                self._closes = True
                unread = self._line or self._reader.amid
                self._lingers = bool(unread) and not self._ended
                self._forgo()
            if not out:
                return
            if self._line:
                self._front.call(self.resume)
            else:
                self._rest()
        finally:
            self._lock.release()

    def abort(self, exchange: Exchange) -> None:
        """End in the middle of an answer, so that its client sees that."""
        with self._lock:
            if self.exchange is exchange:
                self.exchange = None
                if not self._closed:
                    self._close()

    def _rest(self) -> None:
        """All is out, and nobody in line: part, or wait for what comes."""
        if self._lingers or self._spoilt:
            # Closing a connection on which bytes wait makes its system drop the answer (RFC 9112,
            # 9.6): the client shall come to read it first.
            self._linger()
            return
        incoming = self._reader.incoming
        fresh = not self._reader.amid
        if self._closes or self._ended or (fresh and self._front.stopping):
            self._close()
            return
        if incoming is None:
            limit_s = self._front.keep_alive_s if fresh else HEAD_S
        elif incoming.intake == "whole":
            limit_s = incoming.patience_s
            if incoming.expects and not incoming.size:  # it came while another was answered
                incoming.expects = False
                self._write(CONTINUE)
        else:
            limit_s = LINGER_S
        self.deadline_s = monotonic() + limit_s
        mask = WRITE if self._out else READ
        if mask != self._mask:
            self._watch(mask)

    def _linger(self) -> None:
        self._lingers = self._closes = True
        if self._out:
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._close()
            return
        self.deadline_s = monotonic() + LINGER_S
        self._watch(READ)

    def _watch(self, mask: int) -> None:
        if mask != self._mask and not self._closed:
            self._mask = mask
            self._front.watch(self._fd, mask)

    def _forgo(self) -> None:
        """Nobody will answer those in line."""
        incoming = self._reader.incoming
        if incoming is not None and incoming.intake == "whole":
            self._line.append(incoming)
            self._reader.incoming = None
        for exchange in self._line:
            if exchange.release is not None:
                exchange.release(exchange)
        self._line.clear()

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._forgo()
        self._reader.close()
        self._out.clear()
        self.deadline_s = _NEVER
        self._front.forget(self._fd)
        self._socket.close()

    # --- from outside --------------------------------------------------------------------------

    def reset(self) -> None:
        """The system says that the connection is over, while nobody reads from it."""
        with self._lock:
            # While it is read the end is read as well: this was told of another, closed just now,
            # of the same number.
            if self._closed or self._mask == READ:
                return
            self._ended = True
            gone = self.exchange
            if gone is None:
                self._close()
            else:
                self._front.ignore(self._fd)  # it would be told again and again
        if gone is not None:
            gone.left()

    def expire(self) -> None:
        """Its time may be over. On the thread that leads."""
        with self._lock:
            if self._closed or self.deadline_s > monotonic() or self.exchange is not None:
                return
            self.deadline_s = _NEVER
            incoming = self._reader.incoming
            if self._out or self._lingers:
                self._close()
            elif incoming is not None and incoming.intake == "whole":
                self._ended = self._spoilt = True
                self._reader.cut_off("late")
            elif self._reader.headers is not None:
                self._ended = self._closes = True
                if self._write(_HEAD_TOO_SLOW):
                    self._rest()
            else:
                self._close()
            due = self._next()
        if due is not None:
            self._hand_over(due)

    def stop(self) -> None:
        """Close it if nothing has begun on it; else when that is answered."""
        with self._lock:
            idle = self.exchange is None and not self._reader.amid
            if not idle or self._out or self._line or self._lingers or self._closed:
                return
            # What its client has sent already is read at the next turn.
            if self._mask != READ or not self._has_more():
                self._close()

    def _has_more(self) -> bool:
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False
