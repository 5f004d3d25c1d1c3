"""granian's end of RSGI, played by a test."""

from __future__ import annotations

import threading
import typing as t
from asyncio import CancelledError

Pairs = list[tuple[str, str]]


class Future:
    """Ends when the test says so; one callback, called by whoever ends it."""

    def __init__(self) -> None:
        self._callback: t.Any = None
        self._done = self._cancelled = False
        self._result: t.Any = None

    def add_done_callback(self, callback: t.Any) -> None:
        if self._done:
            callback(self)
        else:
            self._callback = callback

    def end(self, result: t.Any) -> t.Self:
        if not self._done:
            self._done, self._result = True, result
            if self._callback is not None:
                self._callback(self)
        return self

    def cancel(self) -> bool:
        if self._done:
            return False
        self._cancelled = True
        self.end(CancelledError())
        return True

    def cancelled(self) -> bool:
        return self._cancelled

    def result(self) -> t.Any:
        assert self._done
        if isinstance(self._result, BaseException):
            raise self._result
        return self._result


class Headers:
    def __init__(self, pairs: Pairs) -> None:
        self._pairs = [(name.lower(), value) for name, value in pairs]

    def __contains__(self, name: str) -> bool:
        return any(name == each for each, _ in self._pairs)

    def get(self, name: str, default: t.Any = None) -> t.Any:
        return next((value for each, value in self._pairs if each == name), default)

    def items(self) -> Pairs:
        return list(self._pairs)


class Scope:
    """The head of a request; every attribute may be given."""

    method = "GET"
    path = "/"
    query_string = ""
    scheme = "http"
    http_version = "1.1"
    authority: str | None = None
    client = "127.0.0.1:50000"
    server = "127.0.0.1:80"

    def __init__(self, headers: Pairs = (), **given: t.Any) -> None:  # type: ignore[assignment]
        vars(self).update(given)
        self.headers = Headers([("host", "localhost"), *headers])


class Answered(Exception):
    """Twice."""


class Protocol:
    """A client that sends `frames`, and takes the first answer.

    Attributes:
        frames: what is still to come.
        cut: after the frames the connection ends, and not the body.
        waits: nothing comes by itself; the test ends the futures in `arrivals`.
        leaves: the watches that were begun.
    """

    def __init__(self, frames: t.Iterable[bytes] = (), *, cut: bool = False, waits: bool = False):
        self.frames = list(frames)
        self.cut = cut
        self.waits = waits
        self.arrivals: list[Future] = []
        self.leaves: list[Future] = []
        self.status: int | None = None
        self.headers: Pairs = []
        self.streamed = False
        self._body = b""
        self._reader: threading.Thread | None = None
        self._taken = self._over = False
        self.answered = threading.Event()

    # --- the body

    def _take(self) -> None:
        if self._taken:
            raise RuntimeError("RSGI protocol error")  # as granian has it
        self._taken = True

    def __call__(self) -> Future:
        self._take()
        whole: t.Any = RuntimeError("stream") if self.cut else b"".join(self.frames)
        self.frames.clear()
        return self._arrive(whole)

    def _arrive(self, value: t.Any) -> Future:
        future = Future()
        self.arrivals.append(future)
        return future if self.waits else future.end(value)

    def __aiter__(self) -> Protocol:
        self._take()
        return self

    def __anext__(self) -> Future:
        if self._over:
            raise StopAsyncIteration
        if self.frames:
            return self._arrive(self.frames.pop(0))
        if self.cut:
            self.cut = False
        else:
            self._over = True
        return self._arrive(b"")

    # --- the answer

    def client_disconnect(self) -> Future:
        self.leaves.append(Future())
        return self.leaves[-1]

    def leave(self) -> None:
        for each in self.leaves:
            each.end(None)

    @property
    def watched(self) -> bool:
        """Whether granian keeps something that nobody will end."""
        return not all(each._done for each in self.leaves)

    def _answer(self, status: int, headers: Pairs) -> bool:
        if self.status is not None:
            return False
        self.status, self.headers = status, headers
        return True

    def response_bytes(self, status: int, headers: Pairs, body: bytes) -> None:
        if self._answer(status, headers):
            self._body = bytes(body)
            self.answered.set()

    def response_file(self, status: int, headers: Pairs, path: str) -> None:
        assert self._answer(status, headers)
        self.streamed = True

        def read() -> None:
            with open(path, "rb") as file:
                self._body = file.read()
            self.answered.set()

        self._reader = threading.Thread(target=read)
        self._reader.start()

    @property
    def body(self) -> bytes:
        if self._reader is not None:
            self._reader.join(20)
        return self._body
