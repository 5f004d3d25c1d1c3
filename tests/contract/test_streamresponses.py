"""Streams of typed views: framing, request context and end."""

import typing as t

import msgspec
import pytest

from carboy import abort, g, request
from carboy.errors import AnswerError


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


@pytest.mark.parametrize("kind", ["generator", "async generator"])
def test_error_before_the_first_item_has_an_ordinary_status(app, client, kind):
    app.testing = False

    def rows(n: int) -> t.Iterator[Row]:
        if n == 0:
            abort(404, "No such table.")
        if n == 1:
            raise ValueError("inside")
        yield Row(n)

    async def async_rows(n: int) -> t.AsyncIterator[Row]:
        for row in rows(n):
            yield row

    app.get("/")(rows if kind == "generator" else async_rows)
    missing = client.get("/?n=0")
    assert (missing.status_code, missing.json["detail"]) == (404, "No such table.")
    broken = client.get("/?n=1")
    assert broken.status_code == 500
    assert "inside" not in broken.text
    assert client.get("/?n=2").data == b'{"n":2}\n'


def test_error_after_the_first_item_is_the_last_item(app, client):
    app.testing = False

    @app.get("/")
    def view() -> t.Iterator[Row]:
        yield Row(1)
        raise ValueError("inside")

    answer = client.get("/")
    assert answer.status_code == 200
    first, last = answer.data.splitlines()
    assert first == b'{"n":1}'
    assert msgspec.json.decode(last)["error"]["status"] == 500


def test_error_after_the_first_item_is_raised_in_tests(app, client):
    app.testing = True

    @app.get("/")
    def view() -> t.Iterator[Row]:
        yield Row(1)
        raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        client.get("/").data


def test_generator_is_closed_in_its_context_when_nobody_reads(app, client):
    closed = []

    @app.get("/")
    def view() -> t.Iterator[Row]:
        try:
            yield Row(1)
            yield Row(2)
        finally:
            closed.append(request.method)

    answer = client.head("/")
    assert answer.data == b""
    answer.close()
    assert closed == ["HEAD"]


@pytest.mark.parametrize("value", [None, {"n": 1}, Row(1), 5], ids=repr)
def test_value_without_items_is_an_error(app, client, value):
    @app.get("/")
    def view() -> t.Iterator[Row]:
        return value

    with pytest.raises(AnswerError, match=r"view returned .*, but its type says that it gives"):
        client.get("/")
