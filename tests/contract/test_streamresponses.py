"""Streams of typed views: framing, request context and end."""

import typing as t

import msgspec

from carboy import g, request


class Row(msgspec.Struct):
    n: int


def test_items_are_sent_as_json_lines(app, client):
    @app.get("/<int:count>")
    def view(count: int) -> t.Iterator[Row]:
        for n in range(count):
            yield Row(n)

    answer = client.get("/2")
    assert answer.mimetype == "application/x-ndjson"
    assert answer.data == b'{"n":0}\n{"n":1}\n'
    assert "Content-Length" not in answer.headers
    assert client.get("/0").data == b""


def test_items_are_sent_as_server_sent_events(app, client):
    @app.get("/")
    def view() -> t.Generator[Row, None, None]:
        yield Row(1)

    answer = client.get("/", headers={"Accept": "text/event-stream"})
    assert answer.mimetype == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.data == b'data: {"n":1}\n\n'


def test_request_context_lasts_until_the_last_item(app, client):
    @app.get("/")
    def view(n: int) -> t.Iterator[Row]:
        g.n = n
        yield Row(g.n)
        yield Row(int(request.args["n"]) + g.n)

    assert client.get("/?n=3").data == b'{"n":3}\n{"n":6}\n'
    assert client.get("/?n=x").status_code == 422


def test_generator_is_closed_when_the_client_disconnects(app):
    closed = []

    @app.get("/")
    def view() -> t.Iterator[Row]:
        try:
            n = 0
            while True:
                yield Row(n)
                n += 1
        finally:
            closed.append(n)

    answer = app.test_client().get("/", buffered=False)
    next(answer.iter_encoded())
    assert not closed
    answer.close()
    assert closed == [0]


def test_items_are_sent_one_by_one(app):
    made = []

    @app.get("/")
    def view() -> t.Iterator[Row]:
        for n in range(3):
            made.append(n)
            yield Row(n)

    answer = app.test_client().get("/")
    chunks = answer.iter_encoded()
    next(chunks)
    assert made == [0]
    answer.close()


def test_list_with_a_status_is_streamed(app, client):
    @app.get("/")
    def view() -> t.Iterable[Row]:
        return [Row(1)], 203

    answer = client.get("/")
    assert (answer.status_code, answer.data) == (203, b'{"n":1}\n')


def test_asynchronous_generator_is_streamed(app, client):
    closed = []

    @app.get("/")
    async def view(count: int = 2) -> t.AsyncIterator[Row]:
        try:
            for n in range(count):
                yield Row(n)
        finally:
            closed.append(True)

    assert client.get("/").data == b'{"n":0}\n{"n":1}\n'
    assert closed == [True]
    answer = app.test_client().get("/?count=99")
    next(answer.iter_encoded())
    answer.close()
    assert closed == [True, True]
