"""What only the gateway of apps with models does; what both do stands in test_gateways."""

from __future__ import annotations

import json
import threading
import weakref

import pytest
from polling import PATIENCE_S, wait_until
from stage import Stage, chunked, head, post

from carboy.serving.http.limits import Limits

AT_ONCE_BYTES = Limits().buffered_body_bytes


class SlowApp:
    """An app that lets nobody out of `/slow` until it is opened."""

    def __init__(self):
        self.inside, self.opened = threading.Semaphore(0), threading.Event()
        self.seen = []

    def __call__(self, environ, start_response):
        self.seen.append(environ["PATH_INFO"])
        self.inside.release()
        if environ["PATH_INFO"] == "/slow":
            assert self.opened.wait(PATIENCE_S)
        start_response("200 OK", [])
        return [b"done " + environ["wsgi.input"].read()]


@pytest.fixture
def slow_app():
    slow_app = SlowApp()
    yield slow_app
    slow_app.opened.set()


@pytest.fixture
def stage():
    with Stage() as stage:
        yield stage


@pytest.fixture
def gateway(stage, slow_app):
    return stage.serve(slow_app, threads=1, max_body_bytes=200_000)


@pytest.fixture
def busy(stage, gateway, slow_app):
    """The only slot is taken."""
    client = stage.connect()
    client.send(head(target="/slow"))
    thread = threading.Thread(target=stage.turn)
    thread.start()
    assert slow_app.inside.acquire(timeout=PATIENCE_S)
    assert gateway.slots.full
    yield gateway
    slow_app.opened.set()
    thread.join(PATIENCE_S)
    assert client.answer().body == b"done "


def send(stage, raw):
    client = stage.connect()
    client.send(raw)
    stage.settle()
    return client


# ---------------------------------------------------------------------------------------- slots


def test_requests_without_a_slot_hold_no_thread_and_are_answered_in_order(stage, busy, slow_app):
    clients = [send(stage, post(b"%d" % i, f"/{i}")) for i in range(3)]
    assert not any(client.collect() for client in clients)
    slow_app.opened.set()
    assert [client.answer().body for client in clients] == [b"done 0", b"done 1", b"done 2"]
    assert slow_app.seen == ["/slow", "/0", "/1", "/2"]


def test_request_whose_client_left_before_its_slot_is_not_answered(stage, busy, slow_app):
    leaving, staying = (send(stage, head(target=path)) for path in ("/leaving", "/staying"))
    leaving.leave()
    stage.settle()
    slow_app.opened.set()
    assert staying.answer().status == 200
    assert slow_app.seen == ["/slow", "/staying"]


LEAVING = [
    pytest.param(head(target="/leaving"), id="no body"),
    pytest.param(post(b"x" * 1000, "/leaving"), id="body"),
    pytest.param(head(target="/leaving") * 2, id="two requests"),
    pytest.param(post(b"x" * (AT_ONCE_BYTES + 2), "/leaving")[:-1], id="upload"),
]


@pytest.mark.parametrize("raw", LEAVING)
@pytest.mark.parametrize("in_round", [False, True], ids=["alone", "with predictions"])
def test_request_whose_client_left_before_its_slot_is_removed_at_once(
    stage, busy, slow_app, raw, in_round
):
    leaving = []
    for _ in range(3):
        if in_round:
            busy.after_round.append(bool)
        leaving.append(send(stage, raw))
    staying = send(stage, head(target="/staying"))
    stage.until(lambda: busy.slots.waiting == 4)
    assert len(stage.connections) == 5
    exchanges = [weakref.ref(each._exchange) for each in stage.connections[1:4]]
    for client in leaving:
        client.leave()
    stage.until(lambda: len(stage.connections) == 2)
    assert busy.slots.waiting == 1
    assert [exchange() for exchange in exchanges] == [None] * 3
    slow_app.opened.set()
    assert staying.answer().status == 200
    assert slow_app.seen == ["/slow", "/staying"]


def test_request_whose_client_is_found_to_have_left_by_a_failed_write_is_removed(stage, busy):
    leaving = send(stage, head(target="/leaving"))
    stage.until(lambda: busy.slots.waiting)
    connection = stage.connections[-1]
    leaving.leave()
    connection.readable()
    connection.deadline_s = 0.0
    connection.expire()  # before the event loop calls `reset`
    assert (busy.slots.waiting, len(stage.connections)) == (0, 1)


def test_request_whose_client_left_before_it_was_queued_is_removed(stage, busy, slow_app):
    leaving = stage.connect()
    admit, exchanges = stage.handler.on_admit, []

    def admit_and_leave(exchange):
        admit(exchange)
        exchanges.append(exchange)
        exchange.disconnected = True

    stage.handler.on_admit = admit_and_leave
    leaving.send(head(target="/leaving"))
    stage.settle()
    assert (busy.slots.waiting, len(stage.connections)) == (0, 1)


def test_client_that_sends_no_more_keeps_its_place(stage, busy, slow_app):
    client = send(stage, head(target="/staying"))
    client.send_no_more()
    stage.settle()
    assert busy.slots.waiting == 1
    slow_app.opened.set()
    assert client.answer().status == 200


def test_client_that_leaves_while_its_view_runs_is_not_waited_for_in_the_queue(
    stage, busy, slow_app
):
    """Its place is out of date."""
    first, second = (send(stage, head(target="/slow")) for _ in range(2))
    stage.settle()
    assert busy.slots.waiting == 2
    slow_app.opened.set()
    stage.until(lambda: first.has_answer() and second.has_answer())
    assert [client.answer().body for client in (first, second)] == [b"done "] * 2
    first.leave()
    stage.settle()
    assert len(stage.connections) == 2


def test_upload_whose_client_left_before_its_slot_is_dropped(stage, busy, slow_app):
    body = b"x" * (AT_ONCE_BYTES + 1)
    leaving = send(stage, post(body, "/leaving")[:-1])
    leaving.leave()
    stage.settle()
    slow_app.opened.set()
    assert send(stage, head(target="/staying")).answer().status == 200
    stage.until(lambda: len(stage.connections) == 2)  # of the busy one and the last


LONG = b"x" * (AT_ONCE_BYTES + 1)
UNSIZED = [("Transfer-Encoding", "chunked")]
EXPECTS = ("Expect", "100-continue")
EXPECTING = head("POST", headers=[("Content-Length", "5"), EXPECTS])


@pytest.mark.parametrize(
    ("sent", "rest", "body"),
    [
        pytest.param(post(b"12345")[:-5], b"12345", b"12345", id="short"),
        pytest.param(head("POST", headers=UNSIZED), chunked(b"12345"), b"12345", id="chunked"),
        pytest.param(
            head("POST", headers=UNSIZED) + b"2\r\n12\r\n", chunked(b"345"), b"12345", id="chunks"
        ),
        pytest.param(EXPECTING, b"12345", b"12345", id="expects"),
        pytest.param(post(LONG)[: -len(LONG)], LONG, LONG, id="long"),
        pytest.param(post(LONG)[:-1000], LONG[:1000], LONG, id="end of a long one"),
        pytest.param(head("POST", headers=UNSIZED), chunked(LONG), LONG, id="long in chunks"),
    ],
)
def test_body_of_which_the_beginning_is_arriving_holds_no_slot(stage, gateway, sent, rest, body):
    slow = send(stage, sent)
    assert not gateway.slots.full
    assert send(stage, head()).answer().body == b"done "
    if sent is EXPECTING:
        assert slow.answer().status == 100
    slow.send(rest)
    assert slow.answer().body == b"done " + body


def test_app_may_refuse_a_long_body_before_the_client_sends_it(stage):
    def app(environ, start_response):
        start_response("401 UNAUTHORIZED", [])
        return [b""]

    stage.serve(app)
    client = send(stage, head("POST", headers=[("Content-Length", "100000"), EXPECTS]))
    answer = client.answer()
    assert (answer.status, answer.closes) == (401, True)


def test_body_of_single_bytes_takes_little_memory(stage, gateway):
    client = send(stage, head("POST", headers=UNSIZED))
    (connection,) = stage.connections
    for _ in range(50):
        client.send(b"1\r\nx\r\n" * 1000)
        stage.settle()
    assert len(connection._exchange.pieces) <= 50_000 // 1024 + 1
    client.send(chunked(b""))
    assert client.answer().body == b"done " + b"x" * 50_000


# ------------------------------------------------------------------- responses that nobody reads


LARGE = 3_000_000  # more than one `recv` of a client takes


def large(environ, start_response):
    start_response("200 OK", [])
    return [b"x" * LARGE]


@pytest.fixture
def two_fit():
    with Stage(Limits(held_responses_bytes=2 * LARGE + 1000)) as stage:
        stage.serve(large)
        yield stage


def test_responses_that_nobody_reads_are_counted_until_they_are_read_or_the_client_leaves(two_fit):
    reading, leaving = (send(two_fit, head()) for _ in range(2))
    assert 2 * LARGE <= two_fit.server.responses.held_bytes <= 2 * LARGE + 1000
    assert reading.answer().body == b"x" * LARGE
    leaving.leave()
    two_fit.settle()
    assert two_fit.server.responses.held_bytes == 0


def test_response_beyond_the_memory_for_them_waits_on_its_thread(two_fit):
    clients = [send(two_fit, head()) for _ in range(2)]
    late = two_fit.connect()
    late.send(head())
    turns = []
    thread = threading.Thread(target=lambda: turns.append(two_fit.turn()))
    thread.start()
    wait_until(late.collect)
    assert two_fit.server.responses.held_bytes <= 2 * LARGE + 1000
    assert [client.answer().body for client in clients] == [b"x" * LARGE] * 2
    assert thread.is_alive()
    late.read_along()
    thread.join(PATIENCE_S)
    assert late.answer().body == b"x" * LARGE
    assert late.ask(head()).status == 200
    assert two_fit.server.responses.held_bytes == 0


def test_small_responses_are_not_counted():
    with Stage(Limits(held_responses_bytes=1)) as stage:
        stage.serve(lambda environ, start: [(start("200 OK", []) and b"") or b"x" * 1000])
        assert stage.connect().ask(head()).body == b"x" * 1000


@pytest.mark.parametrize("answers", ["at once", "in pieces"])
@pytest.mark.parametrize("failure", [SystemExit(3), KeyboardInterrupt(), ZeroDivisionError()])
def test_app_that_exits_is_500_and_frees_its_slot(stage, caplog, failure, answers):
    def leave(environ, start_response):
        if answers == "in pieces":
            yield b"a"
        raise failure

    def app(environ, start_response):
        start_response("200 OK", [])
        return leave(environ, start_response) if answers == "in pieces" else next(leave(0, 0))

    gateway = stage.serve(app, threads=1)
    answer = stage.connect().ask(head())
    assert answer.status == (500 if answers == "at once" else 200)
    assert answer.whole is (answers == "at once")
    assert not gateway.slots.full
    assert "error while answering GET /" in caplog.text


class BrokenMap:
    """A URL map that fails before the application is called."""

    def fast_match(self, path, method):
        raise AssertionError

    def iter_rules(self):
        raise RuntimeError("dictionary changed size during iteration")


def test_request_whose_view_cannot_be_found_is_500_and_frees_its_slot(stage, slow_app, caplog):
    slow_app.url_map = BrokenMap()
    gateway = stage.serve(slow_app, threads=1)
    answer = stage.connect().ask(head())
    assert (answer.status, answer.closes) == (500, True)
    assert not gateway.slots.full
    assert "dictionary changed size" in caplog.text


def test_response_of_a_view_that_may_block_is_sent_before_its_body_is_closed(stage):
    """The functions of `Response.call_on_close` may take long."""
    received = []

    class Body:
        def __iter__(self):
            return iter([b"done"])

        def close(self):
            client.collect()
            received.append(client.received)

    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "4")])
        return Body()

    stage.serve(app)
    client = stage.connect()
    client.send(head())
    assert stage.turn().stepped_aside
    assert received[0].endswith(b"\r\n\r\ndone")


# ---------------------------------------------------------------------------------------- bodies


def test_small_body_that_does_not_come_is_408(stage, gateway, slow_app):
    client = send(stage, post(b"12345")[:-1])
    (connection,) = stage.connections
    connection.deadline_s = 0.0
    answer = client.answer()
    assert (answer.status, answer.closes) == (408, True)
    assert slow_app.seen == []
    assert client.see_end() == b""


@pytest.mark.parametrize("size", [1, AT_ONCE_BYTES, AT_ONCE_BYTES + 1, 150_000])
@pytest.mark.parametrize("unsized", [False, True], ids=["sized", "unsized"])
def test_view_reads_the_whole_body(stage, gateway, size, unsized):
    body = bytes(i % 251 for i in range(size))
    unknown = head("POST", headers=[("Transfer-Encoding", "chunked")]) + chunked(body)
    client = stage.connect()
    for _ in range(2):
        client.send(unknown if unsized else post(body))
        assert client.answer().body == b"done " + body


def test_view_that_reads_a_long_body_steps_aside(stage, slow_app):
    """It may wait for its client."""
    aside = []

    def app(environ, start_response):
        me = stage.pool.current()
        aside.append(me.stepped_aside)
        start_response("200 OK", [])
        return [b"%d" % len(environ["wsgi.input"].read())]

    stage.serve(app)
    assert stage.connect().ask(post(b"x" * 100_000)).body == b"100000"
    assert aside == [True]


def test_body_beyond_the_limit_is_413_while_no_slot_is_free(stage, busy, slow_app):
    client = stage.connect()
    client.send(post(b"x" * 200_001))
    answer = client.answer()
    assert (answer.status, answer.closes) == (413, True)
    stage.until(lambda: client.sent)
    assert not client.was_reset
    assert slow_app.seen == ["/slow"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "text/plain; charset=utf-8"),
        ("application/json", "application/problem+json"),
        ("text/html, application/problem+json;q=0.5", "application/problem+json"),
    ],
)
def test_refusal_of_a_body_names_the_limit_and_is_json_if_the_client_accepts_it(
    stage, slow_app, caplog, accept, kind
):
    stage.serve(slow_app, max_body_bytes=64 * 2**20)
    client = stage.connect()
    head = f"POST / HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\nContent-Length: 70000000\r\n\r\n"
    client.send(head.encode())
    answer = client.answer()
    assert (answer.status, answer.header("content-type")) == (413, kind)
    detail = "The body has 70000000 bytes, which exceeds the 64 MiB that this server takes."
    if kind.endswith("json"):
        body = json.loads(answer.body)
        assert (body["detail"], body["status"]) == (detail, 413)
        assert body["request_id"] == answer.header("x-request-id")
    else:
        assert answer.body.decode() == f"413 Content Too Large: {detail}\n"
    (record,) = [each for each in caplog.records if "refused a body" in each.message]
    assert record.levelname == "WARNING"
    assert "--max-body is 64 MiB" in record.message


# ------------------------------------------------------------------------------------- shortcuts


def test_route_needs_no_slot(stage, busy):
    taken = []

    def admit(exchange):
        exchange.handler = taken.append

    busy.routes = {"/short": admit}
    send(stage, post(b"a", "/short"))
    assert [each.path for each in taken] == ["/short"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/short"), ("POST", "/short/")])
def test_route_takes_posts_to_its_path_only(stage, gateway, method, path):
    gateway.routes = {"/short": lambda _: pytest.fail("called")}
    assert stage.connect().ask(head(method, path)).body == b"done "


def test_round_ends_before_a_view_runs(stage, gateway, slow_app):
    done = []
    for raw in (head(), post(b"x" * 100_000)):
        gateway.after_round.append(lambda: done.append(len(slow_app.seen)))
        assert stage.connect().ask(raw).status == 200
    assert done == [0, 1]


def test_view_is_answered_by_the_next_leader_while_the_end_of_its_round_hangs(
    stage, gateway, slow_app
):
    """A model that computes on the leading thread hangs there."""
    client, answered = stage.connect(), []

    def hang():
        stage.pool.step_aside()  # as the monitor does for it
        next_leader = threading.Thread(target=stage.turn)
        next_leader.start()
        next_leader.join(PATIENCE_S)
        client.collect()
        answered.append(client.received.endswith(b"done "))

    gateway.after_round.append(hang)
    client.send(head())
    stage.turn()
    assert answered == [True]


def test_thread_that_steps_aside_leaves_the_end_of_the_round_to_the_next_leader(stage, gateway):
    """It holds a request, which would wait for a model that hangs at the end of the round."""
    ended = []
    asides = []

    def take(exchange):
        gateway.step_aside()
        asides.append(list(ended))
        exchange.respond(200, [], b"")

    def admit(exchange):
        exchange.handler = take

    gateway.routes = {"/long": admit}
    gateway.after_round.append(lambda: ended.append("round"))
    client = stage.connect()
    client.send(post(b"x", "/long"))
    stage.turn()
    assert asides == [[]]
    stage.turn()
    assert ended == ["round"]
