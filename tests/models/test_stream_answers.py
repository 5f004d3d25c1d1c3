"""A `predict` that yields, asked by HTTP."""

from __future__ import annotations

import json
import threading
import typing as t

import msgspec
import pytest
from polling import PATIENCE_S

from carboy import g, request
from carboy.contract import framing
from carboy.models import InputError
from carboy.models.queue import stream as stream_module


class Token(msgspec.Struct):
    text: str


@pytest.fixture
def served(app):
    """As in production: the client gets a failure, and nothing is raised in the test."""
    app.config["PROPAGATE_EXCEPTIONS"] = False
    yield app
    assert app.models.close(PATIENCE_S) is None
    assert app.models["story"].statistics().computing == 0


def post(app, value: object, accept: str = "", **headers: str):
    return app.test_client().post(
        "/story", json=value, headers={"Accept": accept, **headers} if accept else headers
    )


def story(app, predict, **options) -> None:
    app.model("/story", **options)(predict)


def endless_story(app) -> threading.Event:
    """The event is set when its generator is closed."""
    closed = threading.Event()

    def predict(n: int) -> t.Iterator[int]:
        try:
            while True:
                yield n
        finally:
            closed.set()

    story(app, predict)
    return closed


def words(prompt: str) -> t.Iterator[Token]:
    for word in prompt.split():
        yield Token(word)


def test_json_lines_are_the_default(served):
    story(served, words)
    answer = post(served, "once upon a")
    assert (answer.status_code, answer.mimetype) == (200, "application/x-ndjson")
    assert answer.data == b'{"text":"once"}\n{"text":"upon"}\n{"text":"a"}\n'
    assert answer.headers["Vary"] == "Accept"
    assert "Content-Length" not in answer.headers
    assert post(served, "").data == b""


def test_accept_header_chooses_server_sent_events(served):
    story(served, words)
    answer = post(served, "once upon", "text/event-stream")
    assert answer.mimetype == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.data == b'data: {"text":"once"}\n\ndata: {"text":"upon"}\n\n'


def test_text_with_line_breaks_stays_one_event(served):
    def predict(prompt: str) -> t.Iterator[str]:
        yield "a\nb\r\n\n"

    story(served, predict)
    assert post(served, "", "text/event-stream").data == b'data: "a\\nb\\r\\n\\n"\n\n'


def before_the_first(prompt: str) -> t.Iterator[str]:
    if prompt == "empty":
        raise InputError("Say something.")
    if prompt == "bad":
        raise RuntimeError("secret")
    if prompt == "odd":
        yield object()
    yield "fine"


@pytest.mark.parametrize(
    ("prompt", "status"), [("empty", 422), ("bad", 500), ("odd", 500), ("x", 200)]
)
def test_failure_before_the_first_item_is_an_ordinary_response(served, prompt, status):
    story(served, before_the_first)
    answer = post(served, prompt)
    assert answer.status_code == status
    assert "secret" not in answer.text
    if status != 200:
        assert answer.mimetype == "application/problem+json"


def after_the_second(prompt: str) -> t.Iterator[object]:
    yield 1
    yield 2
    if prompt == "refused":
        raise InputError("No more of this.")
    if prompt == "odd":
        yield object()
    raise RuntimeError("secret")


@pytest.mark.parametrize("prompt", ["raised", "odd", "refused"])
@pytest.mark.parametrize("accept", ["", "text/event-stream"])
def test_failure_after_an_item_ends_the_stream_with_a_problem(served, prompt, accept, caplog):
    story(served, after_the_second)
    answer = post(served, prompt, accept, **{"X-Request-ID": "r-1"})
    assert answer.status_code == 200
    if accept:
        *items, last, rest = answer.text.split("\n\n")
        assert (items, rest) == (["data: 1", "data: 2"], "")
        head, _, data = last.partition("\n")
        assert head == "event: error"
        problem = json.loads(data.removeprefix("data: "))
    else:
        *items, last = answer.text.splitlines()
        assert items == ["1", "2"]
        problem = json.loads(last)["error"]
    assert "secret" not in answer.text
    if prompt == "refused":
        assert (problem["status"], problem["detail"]) == (422, "No more of this.")
        assert "failed on request" not in caplog.text
    else:
        assert (problem["status"], problem["request_id"]) == (500, "r-1")
        assert "failed on request r-1" in caplog.text


def test_client_that_leaves_ends_the_generator(served):
    closed, threads = threading.Event(), []

    def predict(n: int) -> t.Iterator[int]:
        threads.append(threading.current_thread())
        try:
            while True:
                yield n
        except GeneratorExit:
            threads.append(threading.current_thread())
            closed.set()
            raise

    story(served, predict)
    answer = served.test_client().post("/story", json=1, buffered=False)
    assert next(iter(answer.response)).startswith(b"1\n")
    answer.close()
    assert closed.wait(PATIENCE_S)
    assert threads[0] is threads[1]


def test_client_that_never_reads_ends_the_generator(served):
    closed = endless_story(served)
    served.test_client().post("/story", json=1, buffered=False).close()
    assert closed.wait(PATIENCE_S)


@pytest.mark.parametrize(
    ("accept", "beat"), [("", b" "), ("text/event-stream", b":\n\n")], ids=["lines", "events"]
)
def test_heartbeats_do_not_change_the_items(served, accept, beat, monkeypatch):
    monkeypatch.setattr(framing, "HEARTBEAT_S", 0.01)
    go = threading.Event()

    def predict(n: int) -> t.Iterator[int]:
        yield 1
        assert go.wait(PATIENCE_S)
        yield 2

    story(served, predict)
    answer = served.test_client().post(
        "/story", json=1, headers={"Accept": accept or "*/*"}, buffered=False
    )
    chunks = iter(answer.response)
    assert [next(chunks) for _ in range(3)][1:] == [beat, beat]
    go.set()
    rest = b"".join(chunks)
    if accept:
        assert rest.replace(beat, b"") == b"data: 2\n\n"
    else:
        assert json.loads(rest) == 2


def test_generator_sees_its_request_until_the_response_ends(served):
    over: list[str] = []

    @served.before_request
    def before() -> None:
        g.word = "hello"

    @served.teardown_request
    def teardown(exc: object) -> None:
        over.append("teardown")

    def predict(n: int) -> t.Iterator[list[str]]:
        for _ in range(3):
            yield [g.word, request.path]

    story(served, predict)
    assert [json.loads(line) for line in post(served, 1).text.splitlines()] == [
        ["hello", "/story"]
    ] * 3
    assert over == ["teardown"]


def test_reader_that_paused_too_long_gets_a_problem(served, monkeypatch, caplog):
    monkeypatch.setattr(stream_module, "READ_TIMEOUT_S", 0.01)
    closed = endless_story(served)
    answer = served.test_client().post("/story", json=1, buffered=False)
    assert closed.wait(PATIENCE_S)
    last = b"".join(answer.response).splitlines()[-1]
    assert json.loads(last)["error"]["code"] == "stream-unread"


def test_document_and_metadata_say_that_the_model_streams(served):
    story(served, words)
    said = served.test_client().get("/story", headers={"Accept": "application/json"}).json
    assert said["streams"]
    assert said["answers"] == ["application/x-ndjson", "text/event-stream"]
    assert said["output"]["$ref"]


def test_stream_that_fails_after_its_first_item_is_counted_as_failed(served):
    def predict(x: int) -> t.Iterator[int]:
        yield 1
        if x:
            raise ValueError

    story(served, predict)
    for x in (0, 1, 1):
        assert post(served, x).data.startswith(b"1\n")
    statistics = served.models["story"].statistics()
    assert (statistics.answered, statistics.failed) == (3, 2)
