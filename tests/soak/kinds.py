"""The kinds of request that the soak test sends, each with the answer that it must get.

A request has a number of its own, which is in its path or body and in the header `X-Request-ID`,
and its answer depends on that number. So an answer that belongs to another request is noticed.
"""

from __future__ import annotations

import json
import random
import typing as t
import zlib

from contents import FILE_BYTES, words

if t.TYPE_CHECKING:
    from client import Answer

Make = t.Callable[[int, random.Random], "Request"]


class Request(t.NamedTuple):
    number: int
    raw: bytes  # the request as it is sent
    status: int
    body: bytes | None  # the body of the answer; None: any

    def problem(self, answer: Answer) -> str:
        """Return what is wrong with the answer to this request; "" if it is right."""
        if answer.headers.get("x-request-id") != str(self.number):
            return f"is the answer to request {answer.headers.get('x-request-id')}"
        if answer.status != self.status:
            return f"has status {answer.status}, not {self.status}: {answer.body[:200]!r}"
        if self.body is not None and answer.body != self.body:
            return f"has the body {answer.body[:100]!r}, not {self.body[:100]!r}"
        return ""


def _get(number: int, path: str, body: bytes | None, status: int = 200) -> Request:
    head = f"GET {path}/{number} HTTP/1.1\r\nHost: soak\r\nX-Request-ID: {number}\r\n\r\n"
    return Request(number, head.encode(), status, body)


def _post(number: int, path: str, sent: bytes, content_type: str, body: bytes) -> Request:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: soak\r\nX-Request-ID: {number}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(sent)}\r\n\r\n"
    )
    return Request(number, head.encode() + sent, 200, body)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def text(number: int, rng: random.Random) -> Request:
    return _get(number, "/text", b"text %d" % number)


def json_(number: int, rng: random.Random) -> Request:
    return _get(number, "/json", _json({"double": 2 * number, "number": number}) + b"\n")


def echo(number: int, rng: random.Random) -> Request:
    sent = {"items": [rng.randrange(1000) for _ in range(rng.randrange(20))], "n": number}
    body = _json({"echo": sent, "number": number}) + b"\n"
    return _post(number, f"/echo/{number}", _json(sent), "application/json", body)


def wait(number: int, rng: random.Random) -> Request:
    return _get(number, "/wait", b"%d %d %d" % (number, number, number))


def upload(number: int, rng: random.Random) -> Request:
    content = rng.randbytes(rng.choice((1, 1000, 20_000, 200_000)))
    sent = (
        b'--edge\r\nContent-Disposition: form-data; name="note"\r\n\r\n%d\r\n--edge\r\n'
        b'Content-Disposition: form-data; name="file"; filename="a.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n%b\r\n--edge--\r\n" % (number, content)
    )
    answer = {"bytes": len(content), "crc": zlib.crc32(content), "note": str(number)}
    content_type = "multipart/form-data; boundary=edge"
    return _post(number, f"/upload/{number}", sent, content_type, _json(answer) + b"\n")


def raw(number: int, rng: random.Random) -> Request:
    """Send a chunked body."""
    chunks = [rng.randbytes(rng.randrange(1, 30_000)) for _ in range(rng.randrange(1, 6))]
    head = (
        f"POST /raw/{number} HTTP/1.1\r\nHost: soak\r\nX-Request-ID: {number}\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    sent = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    body = b"%d %d" % (number, zlib.crc32(b"".join(chunks)))
    return Request(number, head.encode() + sent + b"0\r\n\r\n", 200, body)


def stream(number: int, rng: random.Random) -> Request:
    return _get(number, "/stream", words(number, 20))


def page(number: int, rng: random.Random) -> Request:
    return _get(number, "/page", words(number, 30_000))


def file(number: int, rng: random.Random) -> Request:
    return _get(number, "/file", FILE_BYTES)


def missing(number: int, rng: random.Random) -> Request:
    return _get(number, "/missing", None, status=404)


def broken(number: int, rng: random.Random) -> Request:
    return _get(number, "/broken", None, status=500)


def prediction(number: int, rng: random.Random) -> Request:
    return _post(number, "/double", b"%d" % number, "application/json", b"%d" % (2 * number))


def predicted_stream(number: int, rng: random.Random) -> Request:
    body = b"".join(_json({"number": number, "step": step}) + b"\n" for step in range(5))
    return _post(number, "/steps", b"%d" % number, "application/json", body)


class Kind(t.NamedTuple):
    make: Make
    weight: float  # how often it is sent, relative to the others
    is_logged: bool = True  # whether the view writes a line to the log
    is_short: bool = False  # whether it may be pipelined


KINDS: dict[str, Kind] = {
    "text": Kind(text, 30, is_short=True),
    "JSON": Kind(json_, 15, is_short=True),
    "JSON, posted": Kind(echo, 12, is_short=True),
    "view that waits": Kind(wait, 5),
    "upload": Kind(upload, 6),
    "chunked body": Kind(raw, 5),
    "stream": Kind(stream, 4),
    "page of 300 kB": Kind(page, 0.5),
    "file of 1 MB": Kind(file, 0.5),
    "404": Kind(missing, 2, is_logged=False, is_short=True),
    "500": Kind(broken, 0.1),
    "prediction": Kind(prediction, 17, is_logged=False),
    "stream of a model": Kind(predicted_stream, 3, is_logged=False),
}
NAMES = list(KINDS)
_WEIGHTS = [kind.weight for kind in KINDS.values()]
_SHORT = [name for name, kind in KINDS.items() if kind.is_short]


def choose(rng: random.Random) -> str:
    return rng.choices(NAMES, _WEIGHTS)[0]


def choose_short(rng: random.Random) -> str:
    return rng.choice(_SHORT)
