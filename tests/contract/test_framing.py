"""The frames of a stream, and how views and models end a stream that fails."""

from __future__ import annotations

import json
import typing as t

import msgspec
import pytest

from carboy.contract.framing import (
    LINES,
    SERVER_SENT,
    Chunks,
    failure_frame,
    framing_of,
    last_problem,
)


class Row(msgspec.Struct):
    n: int


class Items:
    """A fake source of a stream; each turn is a list of items, "silence" or an exception."""

    def __init__(self, *turns: t.Any) -> None:
        self.turns = list(turns)
        self.closed = 0

    def take(self, timeout_s: float | None = 0) -> list[t.Any] | None:
        turn = self.turns.pop(0) if self.turns else None
        if isinstance(turn, Exception):
            raise turn
        return turn

    def close(self) -> None:
        self.closed += 1


def encode(item: t.Any) -> bytes:
    if item == "odd":
        raise TypeError("no JSON form")
    return json.dumps(item).encode()


def explain(exc: BaseException) -> dict[str, t.Any]:
    return {"status": 500, "why": type(exc).__name__}


def written(items: Items, framing: t.Any) -> list[bytes]:
    return list(Chunks(items, framing, encode, explain))


@pytest.mark.parametrize(
    ("turns", "lines", "events"),
    [
        ([[1], [2, 3]], [b"1\n", b"2\n3\n"], [b"data: 1\n\n", b"data: 2\n\ndata: 3\n\n"]),
        ([], [], []),
        (
            [[1], [], [2]],
            [b"1\n", b" ", b"2\n"],
            [b"data: 1\n\n", b":\n\n", b"data: 2\n\n"],
        ),
        (
            [[1], ValueError()],
            [b"1\n", b'{"error": {"status": 500, "why": "ValueError"}}\n'],
            [b"data: 1\n\n", b'event: error\ndata: {"status": 500, "why": "ValueError"}\n\n'],
        ),
        (
            [[1, "odd", 2], [3]],
            [b'1\n{"error": {"status": 500, "why": "TypeError"}}\n'],
            [b'data: 1\n\nevent: error\ndata: {"status": 500, "why": "TypeError"}\n\n'],
        ),
    ],
    ids=["items", "nothing", "silence", "a failure", "an item without a form"],
)
def test_items_silence_and_an_error_are_framed(turns, lines, events):
    assert written(Items(*turns), LINES) == lines
    assert written(Items(*turns), SERVER_SENT) == events


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"", None),
        (b"1\n2\n", None),
        (b'{"error": {"status": 500}}\n', 500),
        (b'1\n  {"error": {"status": 504}}\n', 504),
        (b'1\n{"error":{"status":500}}\n', None),
        (b'{"error": {"status": 500}}\n2\n', None),
    ],
    ids=["nothing", "items", "at once", "after silence", "an item like it", "not the last"],
)
def test_problem_at_the_end_of_a_stream_is_found(lines, status):
    problem = last_problem(lines)
    assert (problem and problem["status"]) == status


def test_failing_first_item_raises_and_closes():
    for turn in (["odd"], ValueError()):
        items = Items(turn)
        with pytest.raises((TypeError, ValueError)):
            Chunks(items, LINES, encode, explain)
        assert items.closed == 1


@pytest.mark.parametrize("begun", [False, True])
def test_closing_the_response_closes_the_stream(begun):
    items = Items([1], [2])
    chunks = Chunks(items, LINES, encode, explain)
    if begun:
        next(chunks)
    chunks.close()
    assert items.closed == 1
    assert list(chunks) == []


def test_each_media_type_has_its_framing():
    assert framing_of("text/event-stream") is SERVER_SENT
    assert framing_of("application/x-ndjson") is LINES


@pytest.mark.parametrize("accept", ["", "text/event-stream"])
def test_exception_in_a_stream_is_its_last_item_in_production(app, client, accept, caplog):
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.get("/")
    def view() -> t.Iterator[Row]:
        yield Row(1)
        raise RuntimeError("secret")

    answer = client.get("/", headers={"Accept": accept or "*/*"})
    assert answer.status_code == 200
    last = answer.text.rstrip().splitlines()[-1].removeprefix("data: ")
    problem = json.loads(last)
    assert (problem if accept else problem["error"])["status"] == 500
    assert "secret" not in answer.text
    assert "RuntimeError: secret" in caplog.text


def test_exception_in_a_stream_propagates_in_tests(app, client):
    @app.get("/")
    def view() -> t.Iterator[Row]:
        yield Row(1)
        raise RuntimeError("secret")

    with pytest.raises(RuntimeError, match="secret"):
        client.get("/").get_data()


@pytest.mark.parametrize("framing", [LINES, SERVER_SENT])
@pytest.mark.parametrize("text", ["a\u2028b", "a\u2029b", "a\x85b", "\u2014 \u20ac"])
def test_characters_that_break_lines_are_escaped(framing, text):
    def encode_text(item: t.Any) -> bytes:
        return msgspec.json.encode(item)

    frames = [
        *Chunks(Items([text]), framing, encode_text, explain),
        failure_frame(framing, {"detail": text}),
    ]
    lines = [line for line in b"".join(frames).decode().splitlines() if line]
    assert len(lines) == (2 if framing is LINES else 3)
    assert json.loads(lines[0].removeprefix("data: ")) == text
    problem = json.loads(lines[-1].removeprefix("data: "))
    assert problem.get("error", problem) == {"detail": text}
