"""One request on its way to an answer, and whether its client still waits."""

from __future__ import annotations

import typing as t
from urllib.parse import unquote_to_bytes

from werkzeug.exceptions import ClientDisconnected

from .head import CONTINUE, LAST_CHUNK, Head

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from _typeshed.wsgi import WSGIApplication

    from ..wsgi.answers import Headers
    from .connection import Connection

Intake = t.Literal["whole", "pieces", "nothing"]
Fault = t.Literal["cut", "late", "long", "full"]


class Exchange:
    """A request, and the place for its answer. One thread at a time has it.

    Attributes:
        connection: on which it came.
        method: as the client wrote it.
        path: percent-decoded, each byte a character, as WSGI spells paths.
        query: as the client wrote it.
        version: `HTTP/1.1` or `HTTP/1.0`.
        headers: by their names in WSGI: `HTTP_ACCEPT`, `CONTENT_TYPE`.
        length: of the body, if the client told it.
        chunked: it did not.
        expects: it waits for leave to send ("100 Continue").
        keeps: it wants to send another request on the connection.
        intake: what is done with the body: it is collected before anybody is asked ("whole"), read
            by who is asked ("pieces"), or thrown away.
        claim: called with the bytes that are collected so far; False refuses more. None: they are
            few, and no more than allowed.
        limit: most bytes of it that are collected, where they are claimed.
        held_bytes: of it, that are counted with those of others.
        release: called with the exchange when nobody will be asked.
        patience_s: how long it may take to come.
        taker: called with the exchange when it is due, on a thread of the server.
        fault: why the body is not there though it was to be collected: it was "cut" short, is
            "late", is too "long", or there was no room ("full").
        complete: the body has come to its end.
        pieces: of the body, which have come and were not taken.
        size: of all that has come.
        gone: the client left, as far as was noticed.
        outcome: of a prediction, where the app is asked when it is there: `ways.OUTCOME`.
        app: who answers in the place of the server's app.
    """

    # PERF: what most requests do not need has its value here, and not in each of them: 0.5 us.
    length: int | None = None
    chunked = False
    expects = False
    intake: Intake = "whole"
    limit: int | None = None
    claim: cabc.Callable[[int], bool] | None = None
    held_bytes = 0
    release: cabc.Callable[[Exchange], object] | None = None
    patience_s = 0.0
    taker: cabc.Callable[[Exchange], object]
    fault: Fault | None = None
    complete = False
    size = 0
    gone = False
    outcome: t.Any = None
    app: WSGIApplication | None = None
    _leave: cabc.Callable[[], object] | None = None

    def __init__(
        self,
        connection: Connection,
        method: str,
        target: bytes,
        version: str,
        headers: dict[str, str],
        *,
        keeps: bool,
    ) -> None:
        self.connection = connection
        self.method = method
        path, _, query = target.partition(b"?")
        if b"%" in path:
            path = unquote_to_bytes(path)
        self.path = path.decode("latin-1")
        self.query = query.decode("latin-1")
        self.version = version
        self.headers = headers
        if "CONTENT_LENGTH" in headers:
            self.length = int(headers["CONTENT_LENGTH"])
        if "HTTP_TRANSFER_ENCODING" in headers:
            self.chunked = True
        if "HTTP_EXPECT" in headers and version != "HTTP/1.0":
            self.expects = headers["HTTP_EXPECT"].lower() == "100-continue"
        self.keeps = keeps
        self.pieces: list[bytes] = []

    # --- the body ------------------------------------------------------------------------------

    def body(self) -> bytes:
        """What was collected; once."""
        pieces, self.pieces = self.pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read(self, size: int) -> bytes:
        """`size` bytes of a body that comes in pieces; fewer only at its end.

        On the thread that answers, which waits for what has not come yet.

        Raises:
            ClientDisconnected: the client left before its end, or sent nothing for too long.
        """
        if self.expects and not self.complete:
            self.expects = False  # it gets its leave here
            self.connection.write_through(CONTINUE)
        pieces, have = self.pieces, 0
        for piece in pieces:
            have += len(piece)
        while have < size and not self.complete:
            before = len(pieces)
            if not self.connection.receive():
                self.gone = True
                raise ClientDisconnected
            for piece in pieces[before:]:
                have += len(piece)
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        rest = data[size:]
        self.pieces[:] = [rest] if rest else []
        return data[:size] if rest else data

    # --- the client ----------------------------------------------------------------------------

    def watch(self, leave: cabc.Callable[[], object]) -> None:
        """Call `leave` when the client leaves before its answer, perhaps twice; it must be quick.

        From a thread of the server, or from this one if it has left already.
        """
        self._leave = leave
        if self.gone:
            leave()

    def left(self) -> None:
        """The connection says so."""
        self.gone = True
        if self._leave is not None:
            self._leave()

    # --- the answer ----------------------------------------------------------------------------

    def respond(self, status: str | int, headers: Headers, body: bytes) -> None:
        """Answer, without waiting for the client to take it. From any thread.

        Raises:
            ValueError: a header cannot be sent.
        """
        self.answer(Head(status, headers), body)

    def answer(self, head: Head, body: bytes) -> None:
        """The same with a head that other answers may have too."""
        length, told, closes = len(body), head.length, head.closes
        if told is not None and told != length:
            if self.method != "HEAD" and not head.bodiless:
                # An answer that is not as long as it says would be read into the next.
                body = body[:told]
                closes = closes or told > length
            length = told
        keeps = self.keeps and not closes and self.connection.may_stay(self)
        usual = keeps and self.version == "HTTP/1.1"
        end = b"\r\n" if usual else self._end(keeps=keeps)
        if head.bodiless:
            data = head.data + end
        else:
            data = b"%bContent-Length: %d\r\n%b" % (head.data, length, end)
            if self.method != "HEAD":
                data += body
        self._leave = None
        self.connection.finish(self, data, keeps=keeps)

    def drop(self) -> None:
        """Nobody waits for an answer."""
        self.connection.abort(self)

    def stream(self, status: str | int, headers: Headers, chunks: cabc.Iterable[bytes]) -> None:
        """Answer with pieces as they come, at the pace at which the client takes them.

        On the calling thread. Ends when the client has left. Raises what `chunks` raises, after
        which the client sees that the answer is not whole; closing `chunks` is the caller's.
        """
        head = Head(status, headers)
        has_body = not head.bodiless and self.method != "HEAD"
        framing, chunked, closes = b"", False, head.closes
        if head.length is not None:
            framing = b"Content-Length: %d\r\n" % head.length
        elif not head.bodiless and self.version == "HTTP/1.1":
            framing, chunked = b"Transfer-Encoding: chunked\r\n", True
        elif has_body:
            closes = True  # its end is the end of the connection
        keeps = self.keeps and not closes and self.connection.may_stay(self)
        whole = False
        try:
            sent = self.connection.write_through(head.data + framing + self._end(keeps=keeps))
            whole = sent and (not has_body or self._write(chunks, head.length, chunked=chunked))
        finally:
            self._leave = None
            if whole:
                end = LAST_CHUNK if chunked and has_body else b""
                self.connection.finish(self, end, keeps=keeps)
            else:
                self.connection.abort(self)

    def _write(self, chunks: cabc.Iterable[bytes], told: int | None, *, chunked: bool) -> bool:
        """Whether the whole answer is out."""
        write = self.connection.write_through
        for chunk in chunks:
            if self.gone:
                return False
            if not chunk:
                continue
            piece = chunk
            if chunked:
                piece = b"%x\r\n%b\r\n" % (len(chunk), chunk)
            elif told is not None:
                piece = chunk[:told]
                told -= len(piece)
            if not write(piece):
                return False
        return not told

    def _end(self, *, keeps: bool) -> bytes:
        """The end of a head, which says whether the connection will take another request."""
        if not keeps:
            return b"Connection: close\r\n\r\n"
        return b"\r\n" if self.version == "HTTP/1.1" else b"Connection: keep-alive\r\n\r\n"
