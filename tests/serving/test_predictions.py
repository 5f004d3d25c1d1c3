"""Predictions that wait without a thread: their responses are those of the view.

The test makes the turns of the server; `test_predictions_served` does the same from outside.
"""

from __future__ import annotations

import functools
import gc
import io
import itertools
import json
import threading
import typing as t

import numpy as np
import pytest
from polling import PATIENCE_S, wait_until
from stage import Stage, chunked, head, post
from werkzeug.exceptions import HTTPException

from carboy import Carboy, after_this_request, flash, g, request, session
from carboy.models import InputError
from carboy.models.queue import PredictionQueue
from carboy.serving import predictions
from carboy.serving.http.limits import Limits
from carboy.serving.predictions import PendingPrediction
from carboy.signals import got_request_exception, request_finished, request_started


@pytest.fixture
def app():
    app = Carboy("served")
    app.config.update(SECRET_KEY="key", PROPAGATE_EXCEPTIONS=False)
    yield app
    app.models.close(PATIENCE_S)


def declare(app):
    """Models of each kind: alone, in batches, streaming, heavy to write."""

    @app.model("/alone")
    def alone(x: int) -> dict[str, t.Any]:
        act(app, x)
        return {"x": x, "path": request.path, "token": request.headers.get("X-Token")}

    @app.model("/many", batch=4)
    def many(xs: list[int]) -> list[int]:
        for x in xs:
            act(app, x, alone=False)
        return xs

    @app.model("/array")
    def array(x: int) -> np.ndarray:
        return np.arange(x)

    @app.model("/upload", max_body_bytes=200_000)
    def upload(data: bytes) -> int:
        return len(data)

    @app.model("/stream")
    def stream(x: int) -> t.Iterator[int]:
        act(app, x)
        yield 1
        if x == 5:
            raise RuntimeError("inside")
        yield 2


def act(app, x, *, alone=True):
    if x == 1:
        raise RuntimeError("inside")
    if x == 2:
        raise InputError("2 is no number for this.")
    if x == 3:
        raise SystemExit(3)
    if not alone:
        return
    g.seen = x
    if x == 11:
        session["x"] = x
        flash("hello")
    if x == 12:
        after_this_request(lambda response: response.headers.update({"X-Own": "1"}) or response)


def serve(stage, app, **options):
    """With predictions that wait without a thread."""
    return stage.serve(app, routes=functools.partial(predictions.routes, app), **options)


def by_front(app, rule, data, headers, *, directly):
    with Stage() as stage:
        gateway = serve(stage, app) if directly else stage.serve(app)
        assert not directly or rule in gateway.routes
        client = stage.connect()
        if "x-request-id" not in dict(headers):
            headers = [*headers, ("x-request-id", "same-in-both")]
        if "transfer-encoding" in dict(headers):
            data = chunked(data)
        else:
            headers = [*headers, ("content-length", str(len(data)))]
        client.send(head("POST", rule, headers) + data)
        answer = client.answer()
        if answer.status == 100:
            answer = client.answer()
        assert answer.whole
        stage.until(lambda: client.sent)
        client.leave()
        assert not client.was_reset
        stage.until(lambda: not stage.connections)
        stage.until(lambda: not gateway.slots.busy)
    return answer


# What differs from response to response.
VARYING = {"server-timing", "date", "x-request-id"}


def shape(answer):
    headers = sorted((k.lower(), v) for k, v in answer.headers if k.lower() not in VARYING)
    # It is signed with the second.
    headers = [(k, "" if k == "set-cookie" else v) for k, v in headers]
    body = answer.body
    if answer.status in {413, 418, 500}:
        # It stays if the rest of the body came before the answer was made.
        headers = [(k, v) for k, v in headers if k != "connection"]
    if answer.status == 413 and body.startswith(b"{"):
        # The view says it in other words.
        headers = [(k, v) for k, v in headers if k != "content-length"]
        body = b""
    return answer.status, headers, body


JSON = ("content-type", "application/json")
OCTETS = ("content-type", "application/octet-stream")
CASES = {
    "plain": ("/alone", b"7", [JSON]),
    "header": ("/alone", b"7", [JSON, ("x-token", "t")]),
    "session": ("/alone", b"11", [JSON]),
    "after this request": ("/alone", b"12", [JSON]),
    "fails": ("/alone", b"1", [JSON]),
    "fails with an id": ("/alone", b"1", [JSON, ("x-request-id", "abc")]),
    "refuses": ("/alone", b"2", [JSON]),
    "exits": ("/alone", b"3", [JSON]),
    "batch": ("/many", b"7", [JSON]),
    "batch fails": ("/many", b"1", [JSON]),
    "batch refuses": ("/many", b"2", [JSON]),
    "does not fit": ("/many", b'"7"', [JSON]),
    "malformed": ("/many", b"{", [JSON]),
    "empty": ("/many", b"", [JSON]),
    "unknown type": ("/many", b"7", [("content-type", "text/strange")]),
    "no type": ("/many", b"7", []),
    "chunked": ("/many", b"7", [JSON, ("transfer-encoding", "chunked")]),
    "form": ("/alone", b"x=7", [("content-type", "application/x-www-form-urlencoded")]),
    "multipart without boundary": ("/alone", b"x=7", [("content-type", "multipart/form-data")]),
    "array as JSON": ("/array", b"3", [JSON]),
    "array as CSV": ("/array", b"3", [JSON, ("accept", "text/csv")]),
    "array as npy": ("/array", b"3", [JSON, ("accept", "application/x-npy")]),
    "too long": ("/upload", b"x" * 200_001, [("content-type", "application/octet-stream")]),
    "long": ("/upload", b"x" * 200_000, [("content-type", "application/octet-stream")]),
    "stream": ("/stream", b"7", [JSON]),
    "events": ("/stream", b"7", [JSON, ("accept", "text/event-stream")]),
    "stream refuses": ("/stream", b"2", [JSON]),
    "stream fails": ("/stream", b"1", [JSON]),
    "stream fails after an item": ("/stream", b"5", [JSON, ("x-request-id", "abc")]),
    "expects": ("/many", b"7", [JSON, ("expect", "100-continue")]),
    "two hosts": ("/alone", b"7", [JSON, ("host", "evil")]),
    "session cookie": ("/many", b"7", [JSON, ("cookie", "session=x")]),
}


def plain(app):
    pass


def with_after_request(app):
    app.after_request(lambda response: response.headers.update({"X-After": "1"}) or response)

    @app.after_request
    def tell(response):
        response.headers["X-Seen"] = str(g.get("seen"))
        return response


def with_handlers(app):
    @app.errorhandler(RuntimeError)
    def failed(error):
        return f"handled {error} {g.get('seen')}", 500

    @app.errorhandler(422)
    @app.errorhandler(413)
    def refused(error):
        return f"mine: {error.code}", error.code


def with_all(app):
    app.errorhandler(Exception)(lambda error: (f"any {type(error).__name__}", 418))


def with_traps(app):
    app.config["TRAP_HTTP_EXCEPTIONS"] = True


def with_trusted_hosts(app):
    app.config["TRUSTED_HOSTS"] = ["localhost"]


def with_other_trusted_hosts(app):
    app.config["TRUSTED_HOSTS"] = ["shop.example"]
    app.errorhandler(400)(lambda error: (f"mine: {error.description}", 400))


@pytest.mark.parametrize(
    "setting",
    [
        *(plain, with_after_request, with_handlers, with_all, with_traps),
        *(with_trusted_hosts, with_other_trusted_hosts),
    ],
)
@pytest.mark.parametrize("case", CASES)
def test_response_is_that_of_the_view(case, setting):
    rule, data, headers = CASES[case]
    shapes, ends = [], []
    for directly in (False, True):
        app = Carboy("served")
        app.config.update(SECRET_KEY="key", PROPAGATE_EXCEPTIONS=False)
        declare(app)
        setting(app)
        count = []
        app.teardown_request(lambda exc, count=count: count.append(type(exc).__name__))
        shapes.append(shape(by_front(app, rule, data, headers, directly=directly)))
        app.models.close(PATIENCE_S)
        ends.append(count)
    assert shapes[1] == shapes[0]
    # Batches have no context unless the app answers, nor has what could not be read.
    assert ends[1] == ends[0] or (ends[1] == [] and rule != "/alone") or shapes[1][0] == 400


# ---------------------------------------------------------------------------------- where it runs


@pytest.mark.parametrize("served", [None, 10**6], ids=["no limit", "limit of the server"])
@pytest.mark.parametrize("unsized", [False, True], ids=["sized", "chunked"])
def test_bodies_of_models_without_a_limit_have_the_limit_of_the_server(app, stage, served, unsized):
    app.config["MODEL_MAX_BODY"] = None

    @app.model("/length")
    def length(data: bytes) -> int:
        return len(data)

    serve(stage, app, max_body_bytes=served)
    for size in (999_999, 1_000_001):
        client, data = stage.connect(), b"x" * size
        top = head("POST", "/length", [OCTETS, UNSIZED]) if unsized else b""
        client.send(top + chunked(data) if unsized else post(data, "/length", [OCTETS]))
        answer = client.answer()
        is_taken = served is None or size <= served
        assert answer.status == (200 if is_taken else 413)
        assert not is_taken or answer.body == str(size).encode()


def test_error_handler_does_not_run_on_the_models_thread(app):
    names = []

    @app.model("/m", batch=2)
    def m(xs: list[int]) -> list[int]:
        names.append(threading.current_thread().name)
        raise RuntimeError

    app.errorhandler(RuntimeError)(
        lambda error: (names.append(threading.current_thread().name), ("", 500))[1]
    )
    by_front(app, "/m", b"1", [JSON], directly=True)
    assert names == ["Model 'm' batches", "views"]


@pytest.mark.parametrize("failure", [SystemExit(1), KeyboardInterrupt()], ids=repr)
def test_predict_that_exits_does_not_end_the_thread(app, failure):
    @app.model("/m")
    def m(x: int) -> int:
        if x:
            raise failure
        return x

    assert by_front(app, "/m", b"1", [JSON], directly=True).status == 500
    assert by_front(app, "/m", b"0", [JSON], directly=True).body == b"0"


def test_failure_is_signalled_and_logged_once(app, caplog):
    declare(app)
    seen = []
    with got_request_exception.connected_to(lambda _, exception: seen.append(exception), app):
        answer = by_front(app, "/many", b"1", [JSON], directly=True)
    assert [str(each) for each in seen] == ["inside"]
    assert caplog.text.count("Model 'many' failed on request") == 1
    assert b"inside" not in answer.body


class Unwritable(HTTPException):
    code = 400

    def get_headers(self, *_: t.Any) -> t.NoReturn:
        raise RuntimeError("no headers")


def test_failure_whose_response_cannot_be_created_is_500_and_logged(app, caplog):
    @app.model("/m")
    def m(x: int) -> int:
        raise Unwritable

    assert by_front(app, "/m", b"1", [JSON], directly=True).status == 500
    assert "error while responding to a request of model 'm'" in caplog.text
    assert "no headers" in caplog.text


def test_exception_that_propagates_is_500_and_logged(app, caplog):
    declare(app)
    app.config["PROPAGATE_EXCEPTIONS"] = True
    assert by_front(app, "/alone", b"1", [JSON], directly=True).status == 500
    assert "RuntimeError: inside" in caplog.text


def test_receivers_of_request_started_make_predictions_go_through_the_view(app):
    declare(app)
    seen = []
    with (
        request_started.connected_to(lambda *_: seen.append("started"), app),
        request_finished.connected_to(lambda *_, response: seen.append(response.status_code), app),
    ):
        with Stage() as stage:
            assert serve(stage, app).routes == {}  # they are an obstacle
        by_front(app, "/many", b"7", [JSON], directly=False)
    assert seen == ["started", 200]


def test_receiver_that_connects_later_is_called(app, stage):
    declare(app)
    serve(stage, app)
    seen = []
    with request_started.connected_to(lambda *_: seen.append(1), app):
        answer = stage.connect().ask(number(7, "/many"))
    assert (answer.body, seen) == (b"7", [1])


# --------------------------------------------------------------------------------- who leaves


@pytest.fixture
def stage():
    with Stage() as stage:
        yield stage


def number(x, rule):
    return post(b"%d" % x, rule, [JSON])


class Waiting:
    """A model that is busy, and what was asked of it since."""

    def __init__(self, app, stage, **options):
        self.entered, self.opened = threading.Event(), threading.Event()
        self.computed = []

        def busy(xs: list[int]) -> list[int]:
            self.computed.append(xs)
            self.entered.set()
            assert self.opened.wait(PATIENCE_S)
            return xs

        app.model("/busy", batch=4, **options)(busy)
        statistics = app.models["busy"].statistics
        app.add_url_rule("/waiting", view_func=lambda: f"{statistics().waiting}")
        self.stage = stage
        serve(stage, app, threads=1)
        self.first = self.ask(0)
        stage.settle()
        assert self.entered.wait(PATIENCE_S)

    def ask(self, x):
        """Sends it; nobody looks before the next turn."""
        client = self.stage.connect()
        client.send(number(x, "/busy"))
        return client


@pytest.fixture
def waiting(app, stage):
    waiting = Waiting(app, stage, queue=5)
    yield waiting
    waiting.opened.set()


def test_client_that_leaves_before_its_turn_is_not_computed(app, stage, waiting):
    leaving, staying = waiting.ask(1), waiting.ask(2)
    stage.settle()
    leaving.leave()
    stage.settle()
    assert app.models["busy"].statistics().waiting == 1
    waiting.opened.set()
    assert staying.answer().body == b"2"
    assert waiting.computed == [[0], [2]]


def test_client_that_leaves_while_its_batch_computes_does_not_disturb_the_others(stage, waiting):
    leaving, staying = waiting.ask(1), waiting.ask(2)
    stage.settle()
    waiting.first.leave()
    stage.settle()
    waiting.opened.set()
    assert leaving.answer().body == b"1"
    assert staying.answer().body == b"2"
    assert len(stage.connections) == 2


def test_client_that_leaves_drops_all_its_pipelined_requests(app, stage, waiting):
    client = stage.connect()
    client.send(number(1, "/busy") * 2)
    stage.settle()
    assert app.models["busy"].statistics().waiting == 1
    client.leave()
    waiting.opened.set()
    assert waiting.first.answer().body == b"0"
    stage.until(lambda: len(stage.connections) == 1)


def test_prediction_that_is_done_before_submit_returns_is_not_cancelled(app, stage, monkeypatch):
    declare(app)
    serve(stage, app)
    submit_round = PredictionQueue.submit_round

    def slow(queue, tickets, **options):
        submit_round(queue, tickets, **options)
        wait_until(lambda: all(ticket.settled for ticket in tickets))

    monkeypatch.setattr(PredictionQueue, "submit_round", slow)
    client = stage.connect()
    assert client.ask(number(7, "/alone")).status == 200
    assert client.ask(number(8, "/alone")).status == 200
    client.leave()
    stage.settle()
    assert app.models["alone"].statistics().cancelled == 0


# -------------------------------------------------------------------------------------- rounds


def test_requests_that_arrive_together_are_computed_together(stage, waiting):
    clients = [waiting.ask(x) for x in range(1, 4)]
    stage.turn()
    waiting.opened.set()
    assert [client.answer().body for client in clients] == [b"1", b"2", b"3"]
    assert waiting.computed == [[0], [1, 2, 3]]


def test_pipelined_predictions_are_answered_without_waiting_for_an_event(app, stage, monkeypatch):
    monkeypatch.setattr(predictions, "QUICK_S", PATIENCE_S)
    declare(app)
    serve(stage, app)
    client = stage.connect()
    for x in range(10, 20):  # so that the leading thread computes them
        assert client.ask(number(x, "/many")).status == 200
    client.send(b"".join(number(x, "/many") for x in range(20, 30)))
    stage.turn()
    stage.poller.wishes_s.clear()
    assert [client.answer().body for _ in range(10)] == [b"%d" % x for x in range(20, 30)]
    assert {0.0} >= set(stage.poller.wishes_s[:-1])


OTHERS = {
    "view": head(target="/view"),
    "pipelined views": head(target="/view") * 2,
    "upload": post(b"x" * 100_000, "/view"),
    "long prediction": post(b"[" + b"1," * 5_000 + b"1]", "/long", [JSON]),
}


@pytest.mark.parametrize("order", [*itertools.permutations(["hanging prediction", *OTHERS])])
def test_model_that_hangs_on_the_leading_thread_holds_no_other_request_of_its_round(
    app, stage, monkeypatch, order
):
    monkeypatch.setattr(predictions, "QUICK_S", PATIENCE_S)
    clients, answered = {}, []

    @app.route("/view", methods=["GET", "POST"])
    def view():
        return f"{len(request.get_data())}"

    @app.model("/long", batch=2)
    def long(xs: list[list[int]]) -> list[int]:
        return list(map(len, xs))

    @app.model("/quick", batch=2)
    def quick(xs: list[int]) -> list[int]:
        if 0 in xs:
            stage.pool.step_aside()  # as the monitor does for it
            next_leader = threading.Thread(target=ask_others)
            next_leader.start()
            next_leader.join(PATIENCE_S)
        return xs

    def ask_others():
        answered.extend(clients[name].answer().body for name in (*OTHERS, "pipelined views"))

    serve(stage, app)
    for x in range(1, 10):  # so that the leading thread computes them
        assert stage.connect().ask(number(x, "/quick")).status == 200
    clients.update({name: stage.connect() for name in order})
    for name in order:
        clients[name].send(OTHERS.get(name) or number(0, "/quick"))
    assert clients["hanging prediction"].answer().body == b"0"
    assert answered == [b"0", b"0", b"100000", b"5001", b"0"]


def test_full_queue_is_503_at_once_while_no_thread_is_free(stage, waiting):
    clients = [waiting.ask(x) for x in range(1, 6)]
    late = [waiting.ask(x) for x in range(6, 8)]
    for client in late:
        refused = client.answer()
        assert refused.status == 503
        assert refused.header("retry-after") == "1"
        assert json.loads(refused.body)["code"] == "queue-full"
    waiting.opened.set()
    assert [client.answer().status for client in clients] == [200] * 5


def test_request_that_cannot_be_decoded_does_not_disturb_its_round(app, stage, waiting):
    clients = [stage.connect() for _ in range(3)]
    for client, body in zip(clients, (b"1", b"{", b"2"), strict=True):
        client.send(post(body, "/busy", [JSON]))
    stage.turn()
    assert app.models["busy"].statistics().waiting == 2
    assert clients[1].answer().status == 400
    waiting.opened.set()
    assert [clients[i].answer().body for i in (0, 2)] == [b"1", b"2"]


def test_round_is_submitted_before_a_view_is_called(stage, waiting):
    """The view may take long, or wait for that model."""
    asking, looking = waiting.ask(1), stage.connect()
    assert looking.ask(head(target="/waiting")).body == b"1"
    waiting.opened.set()
    assert asking.answer().status == 200


# ------------------------------------------------------------------------------------ their bodies


UNSIZED = ("Transfer-Encoding", "chunked")


@pytest.mark.parametrize(
    ("header", "body"),
    [
        pytest.param(("Content-Length", "160000"), b"x" * 150_000, id="sized"),
        pytest.param(UNSIZED, chunked(b"x" * 150_000)[:-5], id="unsized"),
    ],
)
def test_body_that_is_too_slow_is_408_and_not_counted_any_more(app, stage, header, body):
    declare(app)
    gateway = serve(stage, app)
    shared = gateway.routes["/upload"].__self__.shared
    client = stage.connect()
    client.send(head("POST", "/upload", [OCTETS, header]) + body)
    stage.until(lambda: shared.bodies.held_bytes and client.sent)
    stage.settle()
    (connection,) = stage.connections
    connection.deadline_s = 0.0
    answer = client.answer()
    assert (answer.status, answer.closes) == (408, True)
    assert shared.bodies.held_bytes == 0


@pytest.mark.parametrize("rule", ["/alone", "/many"])
def test_prediction_is_freed_without_the_garbage_collector(app, stage, rule):
    declare(app)
    serve(stage, app)
    client = stage.connect()
    of_others = predictions_there()
    gc.disable()
    try:
        assert client.ask(post(b"7", rule, [JSON])).status == 200
        client.leave()
        stage.until(lambda: not stage.connections)
        stage.until(lambda: predictions_there() <= of_others)
    finally:
        gc.enable()


def test_large_body_counts_until_its_prediction_is_settled(app, stage):
    """What waits in the queue is several times as large as the body that it was decoded from."""
    entered, opened = threading.Event(), threading.Event()

    @app.model("/sum", batch=2)
    def sum_(xs: list[list[int]]) -> list[int]:
        entered.set()
        assert opened.wait(PATIENCE_S)
        return list(map(sum, xs))

    gateway = serve(stage, app, held_bodies_bytes=500_000)
    shared = gateway.routes["/sum"].__self__.shared
    request_ = post(b"[" + b"1," * 99_999 + b"1]", "/sum", [JSON])
    computing, waiting, refused = (stage.connect() for _ in range(3))
    try:
        computing.send(request_)
        stage.until(entered.is_set)
        waiting.send(request_)
        stage.until(lambda: app.models["sum"].statistics().waiting == 1)
        answer = refused.ask(request_)
        assert (answer.status, json.loads(answer.body)["code"]) == (503, "bodies-full")
        assert shared.bodies.held_bytes == 2 * 200_001
        waiting.leave()
        stage.until(lambda: shared.bodies.held_bytes == 200_001)
        admitted = stage.connect()
        admitted.send(request_)
        stage.until(lambda: app.models["sum"].statistics().waiting == 1)
    finally:
        opened.set()
    assert [client.answer().body for client in (computing, admitted)] == [b"100000"] * 2
    assert shared.bodies.held_bytes == 0


@pytest.mark.parametrize("batch", [None, 4], ids=["alone", "batched"])
def test_prediction_whose_client_left_before_the_app_can_respond_is_dropped(app, stage, batch):
    ended = []

    @app.model("/sum", batch=batch or 1)
    def sum_(xs: list[list[int]] if batch else list[int]) -> list[int] if batch else int:
        return list(map(sum, xs)) if batch else sum(xs)

    app.after_request(lambda response: ended.append("request") or response)
    app.teardown_request(lambda error: ended.append("teardown"))
    gateway = serve(stage, app, threads=1)
    shared = gateway.routes["/sum"].__self__.shared
    of_others = predictions_there()
    gateway.slots._busy = 1  # the only slot
    client = stage.connect()
    client.send(post(b"[" + b"1," * 34_999 + b"1]", "/sum", [JSON]))
    stage.until(lambda: gateway.slots.waiting)
    assert shared.bodies.held_bytes == 70_001
    gc.disable()
    try:
        client.leave()
        stage.until(lambda: not stage.connections)
        if not batch:  # its context must still be left
            assert gateway.slots.waiting == 1
            gateway.slots._busy = 0
            gateway.slots.run(bool)
            assert ended[-1] == "teardown"
        assert gateway.slots.waiting == 0
        assert shared.bodies.held_bytes == 0
        stage.until(lambda: predictions_there() <= of_others)
    finally:
        gc.enable()


def predictions_there():
    return {id(each) for each in gc.get_objects() if type(each) is PendingPrediction}


def test_large_bodies_are_bounded_together(app, stage, monkeypatch):
    declare(app)
    gateway = serve(stage, app, threads=1, held_bodies_bytes=250_000)
    shared = gateway.routes["/upload"].__self__.shared
    data = b"x" * 150_000
    sized = post(data, "/upload", [OCTETS])
    unsized = head("POST", "/upload", [OCTETS, UNSIZED]) + chunked(data)
    held = stage.connect()
    held.send(sized[:140_000])
    stage.until(lambda: shared.bodies.held_bytes > 139_000)
    for request_ in (sized, unsized):
        client = stage.connect()
        refused = client.ask(request_)
        assert refused.status == 503
        assert json.loads(refused.body)["code"] == "bodies-full"
        client.leave()
        assert not client.was_reset  # it came to read that
    assert shared.bodies.held_bytes < 140_000  # of those who were refused nothing is counted
    held.send(sized[140_000:])
    assert held.answer().body == b"150000"
    for request_ in (sized, unsized):
        assert stage.connect().ask(request_).body == b"150000"
    assert not shared.bodies.held_bytes


def test_large_body_that_is_announced_but_not_sent_takes_no_room_from_others(app, stage):
    declare(app)
    serve(stage, app, held_bodies_bytes=250_000)
    raw = post(b"x" * 200_000, "/upload", [OCTETS])
    for _ in range(3):
        stage.connect().send(raw[:1000])
    stage.settle()
    assert stage.connect().ask(raw).body == b"200000"


@pytest.mark.parametrize(
    ("header", "body"),
    [
        pytest.param(("Content-Length", "9"), b"1", id="sized"),
        pytest.param(UNSIZED, b"1\r\n1\r\n", id="unsized"),
        pytest.param(UNSIZED, b"9\r\n1", id="in a chunk"),
        pytest.param(UNSIZED, b"1\r\n1\r\nzz", id="no chunk"),
    ],
)
def test_body_that_is_cut_short_is_400_and_not_computed(app, stage, header, body):
    declare(app)
    serve(stage, app)
    client = stage.connect()
    client.send(head("POST", "/many", [JSON, header]) + body)
    client.send_no_more()
    assert client.answer().status == 400
    assert app.models["many"].statistics().answered == 0


def test_picture_in_a_form_is_read(app):
    from carboy import Image

    @app.model("/size")
    def size(picture: Image) -> list[int]:
        return list(picture.size)

    from PIL import Image as pil

    file = io.BytesIO()
    pil.new("RGB", (3, 2)).save(file, "PNG")
    body = (
        b'--b\r\nContent-Disposition: form-data; name="picture"; filename="p.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + file.getvalue() + b"\r\n--b--\r\n"
    )
    form = ("content-type", "multipart/form-data; boundary=b")
    assert by_front(app, "/size", body, [form], directly=True).body == b"[3,2]"


def test_large_result_is_503_while_clients_have_too_many_responses_unread(app):
    """A model's thread cannot wait for a client."""

    @app.model("/text")
    def text(x: int) -> str:
        return "x" * x

    with Stage(Limits(held_responses_bytes=1_500_000)) as stage:
        serve(stage, app)
        unread, other = stage.connect(), stage.connect()
        unread.send(post(b"1000000", "/text", [JSON]))
        stage.until(lambda: stage.server.responses.held_bytes)
        refused = other.ask(post(b"1000000", "/text", [JSON]))
        assert (refused.status, refused.header("retry-after")) == (503, "1")
        assert json.loads(refused.body)["code"] == "responses-full"
        assert other.ask(post(b"10", "/text", [JSON])).status == 200
        assert len(unread.answer().body) == 1_000_002
        other.read_along()
        assert other.ask(post(b"1000000", "/text", [JSON])).status == 200
