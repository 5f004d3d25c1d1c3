"""The server's side of WSGI (PEP 3333): call an application, and collect its response.

Source: https://peps.python.org/pep-3333/
"""

from __future__ import annotations

import typing as t
from itertools import chain

from werkzeug.exceptions import HTTPException

from carboy.observability.environkeys import REQUEST_ID

from ..http.exchange import BODILESS
from ..http.sendfile import section_of
from ..log import logger

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from _typeshed import OptExcInfo
    from _typeshed.wsgi import WSGIApplication

    from ..http.exchange import Headers
    from ..http.sendfile import FileSection

INTERNAL_ERROR = b"500 Internal Server Error\n"
_NO_CHUNKS: cabc.Iterator[bytes] = iter(())  # exhausted, so that all responses can share it


class NoResponseError(RuntimeError):
    """Raised if an application answers without calling `start_response`."""


class Result:
    """Status, headers and body of the response that an application gives to one request.

    If the body is a list, or its Content-Length is small, `body` holds all of it. Otherwise `body`
    is None: iterate over the `Result` for the chunks, in the order in which the application yielded
    or wrote them. `file` is set if the operating system can send the body from a file. `close` must
    be called after the response, unless `on_close` is None; it may be called twice. It raises
    nothing: the response is then on its way, and the connection that sends a file calls it between
    two changes of its own state.

    Args:
        app: the application.
        environ: the WSGI environ of the request.
        joined_bytes: if the Content-Length is at most this, the chunks are joined to one `body`.

    Raises:
        NoResponseError: the application answered without calling `start_response`.
        Exception: whatever else the application raises before the first byte of the body.
    """

    # PERF: in CPython 3.11, to read a slot takes less time than to read an attribute whose default
    # value is on the class.
    __slots__ = (
        *("_chunks", "_request", "_sent", "_written"),
        *("body", "file", "headers", "on_close", "status"),
    )

    headers: Headers
    _chunks: cabc.Iterator[bytes]

    def __init__(self, app: WSGIApplication, environ: dict[str, t.Any], joined_bytes: int) -> None:
        self.status = ""
        self.body: bytes | None = None
        self.on_close: cabc.Callable[[], object] | None = None
        self._sent = False  # becomes True when the body begins; then status and headers are final
        self._written: list[bytes] | None = None
        try:
            chunks = app(environ, self.start_response)
        # An exception of Werkzeug's, which `wsgi.input` has raised and the application has not
        # handled, is the response.
        except HTTPException as exc:
            self.status = ""
            chunks = exc(environ, self.start_response)
        # PERF: a shortcut for a list of one chunk, which most applications return.
        if type(chunks) is list and len(chunks) == 1 and self.status and not self._written:
            self.body = chunks[0]
            return
        self.on_close = getattr(chunks, "close", None)
        # Not the environ itself: it would keep the request's body while a file is sent.
        request_id = environ.get(REQUEST_ID, "")
        self._request = environ["REQUEST_METHOD"], environ["PATH_INFO"], request_id
        try:
            self.file = self._find_file(chunks, joined_bytes, environ["REQUEST_METHOD"])
            if self.file is not None:
                return
            self._chunks = self._begin(iter(chunks))
            if isinstance(chunks, list) or self._is_short(joined_bytes):
                self.body = b"".join(self._chunks)
        except BaseException:
            self.close()
            raise

    def start_response(
        self, status: str, headers: Headers, exc_info: OptExcInfo | None = None
    ) -> cabc.Callable[[bytes], object]:
        """Store status and headers; the application must not change the list `headers` afterwards.

        Args:
            exc_info: the error because of which the application replaces the status and headers of
                an earlier call.

        Raises:
            AssertionError: this is the second call, and has no `exc_info`.
            BaseException: the exception of `exc_info`, if status and headers can no longer be
                replaced.
        """
        if exc_info is None:
            if self.status:
                raise AssertionError(
                    "start_response was called twice, the second time not with"
                    " the exc_info of an error."
                )
        elif self._sent or self._written:
            try:
                raise t.cast("BaseException", exc_info[1]).with_traceback(exc_info[2])
            finally:
                # Break a reference cycle: the error's traceback refers to this frame.
                exc_info = None
        self.status = status
        self.headers = headers
        return self.write

    def write(self, data: bytes) -> None:
        """Add data to the body. `start_response` returns this function for frameworks that are
        older than WSGI (PEP 3333).
        """
        if self._written is None:
            self._written = []
        self._written.append(data)

    def __iter__(self) -> Result:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        """Close the iterable that the application returned. Afterwards, no chunks are left. If the
        iterable raises an exception, it is logged.
        """
        # Break a reference cycle: a suspended `_in_order` refers to this object, which holds it in
        # `_chunks`.
        self._chunks = _NO_CHUNKS
        close, self.on_close = self.on_close, None
        if close is None:
            return
        try:
            close()
        except BaseException:  # noqa: BLE001  # the callers go on, see the class
            method, path, request_id = self._request
            logger.exception(
                "error in close() of the response to %s %s",
                method,
                path,
                extra={"request_id": request_id},
            )

    def _begin(self, chunks: cabc.Iterator[bytes]) -> cabc.Iterator[bytes]:
        """Read the chunks up to the first byte of the body, because the application may change
        status and headers until then; return an iterator over all chunks.
        """
        first = b""
        while not (first or self._written):
            try:
                first = next(chunks)
            except StopIteration:
                break
        if not self.status:
            raise NoResponseError("The application answered without calling start_response.")
        self._sent = True
        return self._in_order(chain([first], chunks))

    def _in_order(self, chunks: cabc.Iterator[bytes]) -> cabc.Iterator[bytes]:
        """Yield the chunks of the body in order: data that the application has passed to `write`
        comes before the chunk that it yields next.
        """
        for chunk in chunks:
            if self._written:
                yield self._take_written() + chunk
            else:
                yield chunk
        if self._written:
            yield self._take_written()

    def _take_written(self) -> bytes:
        written, self._written = self._written, None
        return b"".join(written or ())

    def _is_short(self, most_bytes: int) -> bool:
        length = self._content_length()
        return length is not None and length <= most_bytes

    def _content_length(self) -> int | None:
        for name, value in self.headers:
            if name.lower() == "content-length":
                return int(value)
        return None

    def _find_file(self, chunks: object, least_bytes: int, method: str) -> FileSection | None:
        if type(chunks) is list or not self.status or self._written or method == "HEAD":
            return None
        if self.status[:3] in BODILESS:
            return None
        length = self._content_length()
        if length is None or length <= least_bytes:
            return None
        return section_of(chunks, length, self.close)
