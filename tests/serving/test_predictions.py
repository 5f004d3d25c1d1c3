"""Predictions without a thread: nobody sees a difference to those that a view waits for.

granian's end is played by the test; `test_predictions_served` does the same over sockets.
"""

from __future__ import annotations

import io
import json
import re
import threading
import typing as t

import numpy as np
import pytest
import rsgiend

from carboy import Carboy, after_this_request, flash, g, request, session
from carboy.models import InputError
from carboy.serving import office, predictions
from carboy.serving.crew import Crew
from carboy.serving.gateway_rsgi import RsgiGateway
from carboy.signals import got_request_exception, request_finished, request_started

PATIENCE_S = 20.0


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


def by_rsgi(app, rule, data, headers, *, directly):
    gateway = RsgiGateway(app, max_body_bytes=10**6, threads=4, multiprocess=False, crew=Crew())
    if directly:
        gateway.shortcuts = predictions.routes(app, gateway)
        assert rule in gateway.shortcuts
    chunked = "transfer-encoding" in dict(headers)
    if not chunked:
        headers = [*headers, ("content-length", str(len(data)))]
    client = rsgiend.Protocol([data] if data else [])
    gateway(rsgiend.Scope(headers, method="POST", path=rule), client)
    assert client.answered.wait(PATIENCE_S)
    assert client.body is not None
    # A watch that began just then ends a moment later.
    while client.watched:
        pass
    assert not gateway.patience._limits_s
    return client


TIMES = {"server-timing"}


def shape(client):
    headers = sorted((k.lower(), v) for k, v in client.headers if k.lower() not in TIMES)
    headers = [
        # hyper tells the length
        (k, v)
        for k, v in headers
        if k not in {"content-length", "set-cookie"}
    ]
    # It is signed with the second.
    headers += [k for k, _ in client.headers if k.lower() == "set-cookie"]
    body = client.body
    if client.status == 413 and body.startswith(b"{"):
        body = b""  # the view says it in other words
    body = re.sub(rb'"request_id": "[0-9a-f]{32}"', b'"request_id": ""', body)
    return client.status, headers, body


JSON = ("content-type", "application/json")
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
    "stream fails amid": ("/stream", b"5", [JSON, ("x-request-id", "abc")]),
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


@pytest.mark.parametrize(
    "setting", [plain, with_after_request, with_handlers, with_all, with_traps]
)
@pytest.mark.parametrize("case", CASES)
def test_the_answer_is_that_of_the_view(case, setting):
    rule, data, headers = CASES[case]
    shapes, ends = [], []
    for directly in (False, True):
        app = Carboy("served")
        app.config.update(SECRET_KEY="key", PROPAGATE_EXCEPTIONS=False)
        declare(app)
        setting(app)
        count = []
        app.teardown_request(lambda exc, count=count: count.append(type(exc).__name__))
        shapes.append(shape(by_rsgi(app, rule, data, headers, directly=directly)))
        app.models.close(PATIENCE_S)
        ends.append(count)
    assert shapes[1] == shapes[0]
    # Batches have no context unless the app answers, nor has what could not be read.
    assert ends[1] == ends[0] or (ends[1] == [] and rule != "/alone") or shapes[1][0] == 400


# ---------------------------------------------------------------------------------- where it runs


def test_no_code_of_views_runs_on_the_models_thread(app):
    names = []

    @app.model("/m", batch=2)
    def m(xs: list[int]) -> list[int]:
        names.append(threading.current_thread().name)
        raise RuntimeError

    app.errorhandler(RuntimeError)(
        lambda error: (names.append(threading.current_thread().name), ("", 500))[1]
    )
    by_rsgi(app, "/m", b"1", [JSON], directly=True)
    assert names == ["Model 'm' batches", "views"]


@pytest.mark.parametrize("failure", [SystemExit(1), KeyboardInterrupt()], ids=repr)
def test_predict_that_exits_takes_no_thread_with_it(app, failure):
    @app.model("/m")
    def m(x: int) -> int:
        if x:
            raise failure
        return x

    assert by_rsgi(app, "/m", b"1", [JSON], directly=True).status == 500
    assert by_rsgi(app, "/m", b"0", [JSON], directly=True).body == b"0"


def test_a_failure_is_signalled_and_logged_once(app, caplog):
    declare(app)
    seen = []
    with got_request_exception.connected_to(lambda _, exception: seen.append(exception), app):
        answer = by_rsgi(app, "/many", b"1", [JSON], directly=True)
    assert [str(each) for each in seen] == ["inside"]
    assert caplog.text.count("Model 'many' failed on request") == 1
    assert b"inside" not in answer.body


def test_exceptions_that_propagate_are_500_and_logged(app, caplog):
    declare(app)
    app.config["PROPAGATE_EXCEPTIONS"] = True
    assert by_rsgi(app, "/alone", b"1", [JSON], directly=True).status == 500
    assert "RuntimeError: inside" in caplog.text


def test_signals_of_each_request_are_sent(app):
    declare(app)
    seen = []
    with (
        request_started.connected_to(lambda *_: seen.append("started"), app),
        request_finished.connected_to(lambda *_, response: seen.append(response.status_code), app),
    ):
        gateway = RsgiGateway(app, max_body_bytes=10**6, threads=4, multiprocess=False, crew=Crew())
        assert predictions.routes(app, gateway) == {}  # they are an obstacle
        by_rsgi(app, "/many", b"7", [JSON], directly=False)
    assert seen == ["started", 200]


def test_a_listener_that_comes_later_hears_too(app):
    declare(app)
    gateway = RsgiGateway(app, max_body_bytes=10**6, threads=4, multiprocess=False, crew=Crew())
    gateway.shortcuts = predictions.routes(app, gateway)
    seen = []
    with request_started.connected_to(lambda *_: seen.append(1), app):
        client = rsgiend.Protocol([b"7"])
        head = rsgiend.Scope([JSON, ("content-length", "1")], method="POST", path="/many")
        gateway(head, client)
    assert (client.body, seen) == (b"7", [1])


# --------------------------------------------------------------------------------- who leaves


class Waiting:
    """A model that is busy, and what was asked of it since."""

    def __init__(self, app, **options):
        self.entered, self.opened = threading.Event(), threading.Event()
        self.computed = []

        def busy(xs: list[int]) -> list[int]:
            self.computed += xs
            self.entered.set()
            assert self.opened.wait(PATIENCE_S)
            return xs

        app.model("/busy", batch=2, **options)(busy)
        self.gateway = RsgiGateway(
            app, max_body_bytes=10**6, threads=1, multiprocess=False, crew=Crew()
        )
        self.gateway.shortcuts = predictions.routes(app, self.gateway)
        self.first = self.ask(0)
        assert self.entered.wait(PATIENCE_S)

    def ask(self, x):
        client = rsgiend.Protocol([b"%d" % x])
        head = rsgiend.Scope([JSON, ("content-length", "1")], method="POST", path="/busy")
        self.gateway(head, client)
        return client


@pytest.fixture
def waiting(app):
    waiting = Waiting(app, queue=5)
    yield waiting
    waiting.opened.set()


def test_who_leaves_before_its_turn_is_not_computed(app, waiting):
    leaving, staying = waiting.ask(1), waiting.ask(2)
    while not leaving.leaves:  # watched after 50 ms
        pass
    leaving.leave()
    assert app.models["busy"].statistics().waiting == 1
    waiting.opened.set()
    assert staying.answered.wait(PATIENCE_S)
    assert waiting.computed == [0, 2]
    assert leaving.status is None
    assert not staying.watched


def test_who_is_answered_just_when_it_shall_be_watched_leaves_no_watch(app):
    """granian would keep it, and all that it leads to, for ever."""
    declare(app)
    gateway = RsgiGateway(app, max_body_bytes=10**6, threads=1, multiprocess=False, crew=Crew())
    gateway.shortcuts = predictions.routes(app, gateway)
    taken = []
    gateway.patience.begin = lambda give_up, limit_s: taken.append(give_up)
    gateway.patience.end = lambda give_up: "_watch" not in give_up.__name__
    client = rsgiend.Protocol([b"7"])
    head = rsgiend.Scope([JSON, ("content-length", "1")], method="POST", path="/many")
    gateway(head, client)
    assert client.answered.wait(PATIENCE_S)
    taken[-1]()  # patience had taken it from its list, and comes to it only now
    assert client.leaves
    assert not client.watched


def test_a_full_queue_is_503_at_once_while_no_thread_is_free(waiting):
    clients = [waiting.ask(x) for x in range(1, 6)]
    refused = waiting.ask(6)
    assert refused.status == 503
    assert dict(refused.headers)["Retry-After"] == "1"
    assert json.loads(refused.body)["code"] == "queue-full"
    waiting.opened.set()
    for client in clients:
        assert client.answered.wait(PATIENCE_S)
        assert client.status == 200


# ------------------------------------------------------------------------------------ their bodies


def test_large_bodies_are_bounded_together(app, monkeypatch):
    declare(app)
    monkeypatch.setattr(office, "HELD_BYTES", 250_000)
    gateway = RsgiGateway(app, max_body_bytes=10**6, threads=1, multiprocess=False, crew=Crew())
    gateway.shortcuts = predictions.routes(app, gateway)
    octets = ("content-type", "application/octet-stream")

    def send(*headers, waits=True):
        client = rsgiend.Protocol([b"x" * 150_000], waits=waits)
        gateway(rsgiend.Scope([octets, *headers], method="POST", path="/upload"), client)
        return client

    sized, chunked = ("content-length", "150000"), ("transfer-encoding", "chunked")
    held = send(sized)
    for head in (sized, chunked):
        refused = send(head, waits=False)
        assert refused.status == 503
        assert json.loads(refused.body)["code"] == "bodies-full"
        assert refused.frames == []  # it comes to read that
    held.arrivals[0].end(b"x" * 150_000)
    assert held.answered.wait(PATIENCE_S)
    assert held.body == b"150000"
    for head in (sized, chunked):
        again = send(head, waits=False)
        assert again.answered.wait(PATIENCE_S)
        assert again.body == b"150000"


@pytest.mark.parametrize("head", [("content-length", "9"), ("transfer-encoding", "chunked")])
def test_a_body_that_is_cut_short_is_400_and_not_computed(app, head):
    declare(app)
    gateway = RsgiGateway(app, max_body_bytes=10**6, threads=1, multiprocess=False, crew=Crew())
    gateway.shortcuts = predictions.routes(app, gateway)
    client = rsgiend.Protocol([b"1"], cut=True)
    gateway(rsgiend.Scope([JSON, head], method="POST", path="/many"), client)
    assert client.status == 400
    assert app.models["many"].statistics().answered == 0


def test_a_picture_in_a_form(app):
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
    assert by_rsgi(app, "/size", body, [form], directly=True).body == b"[3,2]"
