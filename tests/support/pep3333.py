"""WSGI applications that use PEP 3333 in each allowed way, and in some that are not.

python pep3333.py      serves them, and prints the port
"""

from __future__ import annotations

import signal
import socket
import sys
import time

CLOSED: dict[str, int] = {}
LONG = 300_000  # more than is joined


class Chunks:
    """An iterable that counts how often it is closed."""

    def __init__(self, name, chunks, fails_at=None):
        self.name, self.chunks, self.fails_at = name, chunks, fails_at
        CLOSED[name] = 0

    def __iter__(self):
        for i, chunk in enumerate(self.chunks):
            if i == self.fails_at:
                raise ZeroDivisionError
            yield chunk
        if self.fails_at == len(self.chunks):
            raise ZeroDivisionError

    def close(self):
        CLOSED[self.name] += 1


def returning(make, status="200 OK", headers=()):
    def app(environ, start_response):
        start_response(status, list(headers))
        return make()

    return app


def closing(name, chunks, fails_at=None, headers=()):
    return returning(lambda: Chunks(name, chunks, fails_at), headers=headers)


def late_start(environ, start_response):
    start_response("201 CREATED", [("X-Late", "1")])
    yield b"a"
    yield b"b"


def start_after_an_empty_chunk(environ, start_response):
    yield b""
    yield b""
    start_response("201 CREATED", [("X-Late", "1")])
    yield b"a"


def write_before_a_list(environ, start_response):
    start_response("200 OK", [])(b"written ")
    return [b"returned"]


def write_twice_before_a_generator(environ, start_response):
    write = start_response("200 OK", [])
    write(b"one ")
    write(b"two ")
    return iter([b"three"])


def write_and_return_nothing(environ, start_response):
    start_response("200 OK", [])(b"written")
    return []


def write_inside(environ, start_response):
    write = start_response("200 OK", [])
    write(b"1 ")
    yield b"2 "
    write(b"3 ")
    yield b"4 "
    write(b"5")


def write_inside_and_yield_nothing(environ, start_response):
    start_response("200 OK", [])(b"written")
    yield from ()


def write_after_the_start_was_late(environ, start_response):
    yield b""
    start_response("200 OK", [])(b"written ")
    yield b"yielded"


def error():
    try:
        raise KeyError("of the application")
    except KeyError:
        return sys.exc_info()


def start_again_with_an_error(environ, start_response):
    start_response("200 OK", [("X-First", "1")])
    start_response("503 SERVICE UNAVAILABLE", [("X-Second", "1")], error())
    return [b"replaced"]


def start_again_in_the_generator(environ, start_response):
    start_response("200 OK", [("X-First", "1")])
    yield b""
    start_response("503 SERVICE UNAVAILABLE", [("X-Second", "1")], error())
    yield b"replaced"


def start_again_after_the_first_chunk(environ, start_response):
    start_response("200 OK", [("X-First", "1")])
    yield b"a" * 1000
    start_response("503 SERVICE UNAVAILABLE", [("X-Second", "1")], error())
    yield b"replaced"


def start_again_after_a_write(environ, start_response):
    start_response("200 OK", [])(b"written")
    start_response("503 SERVICE UNAVAILABLE", [], error())
    return [b"replaced"]


def start_twice(environ, start_response):
    start_response("200 OK", [])
    start_response("404 NOT FOUND", [])
    return [b"body"]


def leave(environ, start_response):
    raise SystemExit(3)


def sized(size):
    return [("Content-Length", str(size))]


APPS = {
    "list": returning(lambda: [b"ab"]),
    "list of two": returning(lambda: [b"a", b"b"], "404 NOT FOUND", [("X-A", "1")]),
    "empty list": returning(list),
    "tuple": returning(lambda: (b"a", b"b")),
    "generator": returning(lambda: (each for each in (b"a", b"", b"b"))),
    "empty generator": returning(lambda: iter(())),
    "generator of empty chunks": returning(lambda: iter([b"", b""])),
    "generator with a length": returning(lambda: iter([b"a", b"b"]), headers=sized(2)),
    "long generator with a length": returning(
        lambda: iter([b"x" * 100_000] * 3), headers=sized(LONG)
    ),
    "long generator": returning(lambda: iter([b"x" * 100_000] * 3)),
    "no content": returning(list, "204 NO CONTENT"),
    "not modified": returning(list, "304 NOT MODIFIED"),
    "late start": late_start,
    "start after an empty chunk": start_after_an_empty_chunk,
    "write before a list": write_before_a_list,
    "write twice before a generator": write_twice_before_a_generator,
    "write and return nothing": write_and_return_nothing,
    "write inside": write_inside,
    "write inside and yield nothing": write_inside_and_yield_nothing,
    "write after the start was late": write_after_the_start_was_late,
    "start again with an error": start_again_with_an_error,
    "start again in the generator": start_again_in_the_generator,
    "start again after the first chunk": start_again_after_the_first_chunk,
    "start again after a write": start_again_after_a_write,
    "start twice": start_twice,
    "closed": closing("closed", [b"a", b"b"]),
    "closed, joined": closing("closed, joined", [b"a", b"b"], headers=sized(2)),
    "closed, empty": closing("closed, empty", []),
    "closed, fails at once": closing("closed, fails at once", [], 0),
    "closed, fails after an empty chunk": closing("closed, fails after an empty chunk", [b""], 1),
    "closed, fails later": closing("closed, fails later", [b"a" * 1000, b"b"], 1),
    "closed, fails when joined": closing("closed, fails when joined", [b"a"], 1, sized(2)),
    "closed, long": closing("closed, long", [b"x" * 100_000] * 3),
    "closed, long and fails": closing(
        "closed, long and fails", [b"x" * 100_000] * 3, 3, sized(LONG + 1)
    ),
    "raises": lambda environ, start_response: 1 / 0,
    "leaves": leave,
    "no start": lambda environ, start_response: [b"body"],
    "no start, generator": lambda environ, start_response: iter([b"body"]),
    "no start, empty": lambda environ, start_response: [],
    "line break in a header": returning(lambda: [b"a"], headers=[("X-A", "1\r\nX-B: 2")]),
}


def app(environ, start_response):
    kind, _, name = environ["PATH_INFO"][1:].partition("/")
    if kind == "closed":
        until_s = time.monotonic() + 1  # a server may close after the client has the response
        while not CLOSED.get(name) and time.monotonic() < until_s:
            time.sleep(0.01)
        text = str(CLOSED.get(name)).encode()
        start_response("200 OK", [("Content-Length", str(len(text)))])
        return [text]
    return APPS[name](environ, start_response)


def main() -> None:
    from carboy.serving.http.address import Address
    from carboy.serving.http.limits import Limits
    from carboy.serving.http.listener import Listener
    from carboy.serving.http.server import HTTPServer
    from carboy.serving.threads.pool import LeaderPool
    from carboy.serving.wsgi.gateway import Gateway

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    limits, pool = Limits(), LeaderPool(4)
    gateway = Gateway(app, limits=limits, threads=4, pool=pool)
    server = HTTPServer(
        [Listener(Address("127.0.0.1", port))], handler=gateway, pool=pool, limits=limits
    )
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    server.start()
    print(port, flush=True)
    server.wait()


if __name__ == "__main__":
    main()
