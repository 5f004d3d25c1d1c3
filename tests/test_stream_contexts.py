"""A stream keeps the context of its request, whoever iterates over it or closes it, and where."""

from __future__ import annotations

import gc
import io
import itertools
import json
import pathlib
import sys
import textwrap
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from polling import wait_until
from werkzeug.test import create_environ

from carboy import (
    Carboy,
    Response,
    g,
    has_app_context,
    has_request_context,
    request,
    stream_template_string,
    stream_with_context,
)
from carboy.testing import FlaskClient


class Threads:
    """Two threads that call functions one at a time, as a server's pool calls an application."""

    def __init__(self, app: Carboy) -> None:
        self.app = app
        self._pools = [ThreadPoolExecutor(1), ThreadPoolExecutor(1)]

    def call(self, number: int, function: t.Callable[..., t.Any], *args: t.Any) -> t.Any:
        return self._pools[number].submit(function, *args).result()

    def get(self, number: int, path: str) -> t.Any:
        """Return the response body as the application returns it to the server."""
        environ = create_environ(path)
        return self.call(number, self.app.wsgi_app, environ, lambda *_: None)


def call_next(stream: t.Iterable[bytes]) -> bytes:
    return next(iter(stream))


@pytest.fixture
def threads(app: Carboy) -> t.Iterator[Threads]:
    made = Threads(app)
    yield made
    for pool in made._pools:
        pool.shutdown()


@pytest.fixture
def ended(app: Carboy) -> list[str]:
    """What has ended, while the app has streams of a user and says who the user is."""
    ended: list[str] = []
    app.teardown_appcontext(lambda _: ended.append("app"))
    app.teardown_request(lambda _: ended.append(request.path))

    def rows() -> t.Iterator[str]:
        try:
            for number in range(9):
                yield f"{g.user} {request.path} {number};"
        finally:
            ended.append(f"closed for {g.user}")

    @app.before_request
    def log_in() -> None:
        if request.path != "/who":
            g.user = "alice"

    @app.get("/call")
    def call() -> Response:
        return Response(stream_with_context(rows()))

    @app.get("/function")
    def function() -> Response:
        return Response(stream_with_context(rows)())

    @app.get("/typed")
    def typed() -> t.Iterator[dict[str, str]]:
        return ({"row": row} for row in rows())

    @app.get("/async")
    async def coroutine() -> Response:
        return Response(stream_with_context(rows()))

    @app.get("/template")
    def template() -> t.Iterator[str]:
        source = "{% for row in rows %}{{ row }}{% endfor %}"
        return stream_template_string(source, rows=rows())

    @app.get("/who")
    def who() -> dict[str, t.Any]:
        return {"user": g.get("user"), "path": request.path}

    return ended


STREAMS = ["/call", "/function", "/typed", "/async", "/template"]


@pytest.mark.parametrize("path", STREAMS)
@pytest.mark.parametrize("closing", ["this thread", "other thread", "collector"])
def test_abandoned_stream_leaves_no_context_and_is_torn_down_once(
    threads: Threads, ended: list[str], path: str, closing: str
) -> None:
    stream = threads.get(0, path)
    assert b"alice" in threads.call(0, call_next, stream)
    del ended[:]
    assert threads.get(0, "/who") == [b'{"path":"/who","user":null}\n']
    assert not threads.call(0, has_app_context)
    assert ended == ["/who", "app"]
    del ended[:]
    if closing == "collector":
        del stream
        gc.collect()
    else:
        threads.call(0 if closing == "this thread" else 1, stream.close)
    assert ended == ["closed for alice", path, "app"]
    for number in (0, 1):
        assert threads.get(number, "/who") == [b'{"path":"/who","user":null}\n']
        assert not threads.call(number, has_app_context)


@pytest.mark.parametrize("path", STREAMS)
def test_items_of_a_stream_may_be_made_in_several_threads(
    threads: Threads, ended: list[str], path: str
) -> None:
    stream = threads.get(0, path)
    items = iter(stream)
    made = []
    for number in itertools.cycle([1, 0]):
        item = threads.call(number, next, items, None)
        if item is None:
            break
        made.append(item)
        assert not threads.call(number, has_app_context)
    expected = "".join(f"alice {path} {number};" for number in range(9))
    text = b"".join(made).decode()
    if path == "/typed":  # one JSON text per line
        text = "".join(json.loads(line)["row"] for line in text.splitlines())
    assert text == expected
    assert ended[-3:] == ["closed for alice", path, "app"]


def test_two_streams_of_one_thread_keep_their_own_g(threads: Threads, ended: list[str]) -> None:
    first, second = iter(threads.get(0, "/call")), iter(threads.get(0, "/function"))
    for number in range(9):
        assert threads.call(0, next, first) == f"alice /call {number};".encode()
        assert threads.call(0, next, second) == f"alice /function {number};".encode()


def test_stream_in_a_client_block_ends_before_the_context_of_its_request(
    app: Carboy, client: FlaskClient
) -> None:
    ended = []
    app.teardown_request(lambda exc: ended.append(request.path))

    @app.get("/letters")
    def letters() -> Response:
        return Response(stream_with_context(letter + request.path for letter in "ab"))

    with app.app_context():
        with client:
            for _ in range(2):
                assert client.get("/letters").text == "a/lettersb/letters"
                assert request.path == "/letters"
        assert not has_request_context()
    assert not has_app_context()
    assert set(ended) == {"/letters"}


def test_stream_whose_first_item_the_view_reads_leaves_no_context(
    app: Carboy, threads: Threads
) -> None:
    torn_down = []
    app.teardown_appcontext(torn_down.append)

    @app.get("/first/<user>")
    def first(user: str) -> Response:
        g.user = user
        items = stream_with_context(g.user for _ in "ab")
        return Response(itertools.chain([next(items)], items))

    @app.get("/user")
    def user() -> str:
        return str(g.get("user"))

    unread = threads.get(0, "/first/ann")
    assert threads.call(0, has_app_context) is False
    assert b"".join(threads.get(0, "/user")) == b"None"
    assert b"".join(unread) == b"annann"
    assert torn_down == [None, None]


def test_stream_closed_before_its_first_item_closes_what_it_iterates_over(
    app: Carboy, client: FlaskClient
) -> None:
    source = io.BytesIO(b"row\n")
    app.get("/")(lambda: Response(stream_with_context(source)))
    assert client.head("/").data == b""
    assert source.closed


@pytest.mark.integration
def test_client_that_leaves_a_stream_leaves_no_context_under_gunicorns_threads(
    spawn: t.Any, tmp_path: pathlib.Path
) -> None:
    pytest.importorskip("gunicorn")
    (tmp_path / "shop.py").write_text(
        textwrap.dedent(
            """
            import itertools
            from carboy import Carboy, Response, g, has_app_context, stream_with_context

            app = Carboy(__name__)
            ended = []
            app.teardown_appcontext(lambda error: ended.append(g.get("user")))

            @app.get("/stream")
            def stream():
                g.user = "alice"
                return Response(stream_with_context(str(n) * 1000 for n in itertools.count()))

            @app.get("/who")
            def who():
                return {"user": g.get("user"), "streams ended": ended.count("alice")}
            """
        )
    )
    server = spawn(
        *(sys.executable, "-m", "gunicorn", "--threads", "2", "-w", "1"),
        *("-b", "127.0.0.1:{port}", "shop:app"),
    )
    for _ in range(2):
        with requests.get(f"{server.url}/stream", stream=True, timeout=30) as response:
            next(response.iter_content(10))

    def answer() -> t.Any:
        return requests.get(f"{server.url}/who", timeout=30).json()

    # Each context ends with its request and again with its stream, as in Flask.
    wait_until(lambda: answer()["streams ended"] == 4)
    assert {answer()["user"] for _ in range(8)} == {None}
