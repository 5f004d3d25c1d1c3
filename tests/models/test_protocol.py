"""A protocol of one module serves every model, whether a view waits or nobody does."""

from __future__ import annotations

import functools
import json
import sys
import threading
import typing as t

import pytest
from envelope import EnvelopeProtocol
from polling import PATIENCE_S
from stage import Stage, post

from carboy import Blueprint, Carboy
from carboy.models.view import add_protocol
from carboy.serving import predictions

JSON = ("Content-Type", "application/json")


class Reply(t.NamedTuple):
    status: int
    body: bytes
    trace: str | None = None
    media_type: str | None = None


def serve(stage, app):
    """Serve an app whose predictions wait without a thread."""
    return stage.serve(app, routes=functools.partial(predictions.routes, app))


def by_view(app: Carboy, path: str, body: bytes) -> Reply:
    response = app.test_client().post(path, data=body, headers=[JSON, ("X-Trace", "t")])
    return Reply(
        response.status_code,
        response.data,
        response.headers.get("X-Trace"),
        response.headers.get("Content-Type"),
    )


def by_server(app: Carboy, path: str, body: bytes) -> Reply:
    with Stage() as stage:
        gateway = serve(stage, app)
        assert path in gateway.routes
        answer = stage.connect().ask(post(body, path, [JSON, ("X-Trace", "t")]))
        stage.until(lambda: not gateway.slots.busy)
    assert answer.status is not None
    return Reply(
        answer.status, answer.body, answer.header("x-trace"), answer.header("content-type")
    )


@pytest.fixture
def app():
    app = Carboy("served")
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.model("/one")
    def one(x: int) -> int:
        if x < 0:
            raise RuntimeError("inside")
        return 2 * x

    @app.model("/hidden")
    def hidden(x: int) -> int:
        return x

    add_protocol(app, EnvelopeProtocol())

    @app.model("/many", batch=4)
    def many(xs: list[int]) -> list[int]:
        if min(xs) < 0:
            raise RuntimeError("inside")
        return [2 * x for x in xs]

    @app.model("/stream")
    def stream(x: int) -> t.Iterator[int]:
        yield x
        yield 2 * x

    yield app
    app.models.close(PATIENCE_S)


def envelope(x: object) -> bytes:
    return json.dumps({"id": "a", "inputs": {"x": x}}).encode()


@pytest.fixture(params=[by_view, by_server], ids=["view", "server"])
def ask(request, app):
    return lambda path, body: request.param(app, path, body)


def test_prediction_is_decoded_and_encoded_by_the_protocol(ask):
    status, body, trace, media_type = ask("/v2/models/one/infer", envelope(4))
    assert (status, trace, media_type) == (200, "t", "application/json")
    assert json.loads(body) == {"id": "a", "model": "one", "output": 8}


def test_model_declared_after_the_protocol_is_served_by_it(ask):
    _, body, *_ = ask("/v2/models/many/infer", b'{"id": "b", "inputs": {"xs": 4}}')
    assert json.loads(body) == {"id": "b", "model": "many", "output": 8}


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        pytest.param(envelope("four"), 422, "$", id="does not fit"),
        pytest.param(b"[]", 422, "This is no envelope", id="no envelope"),
        pytest.param(envelope(-1), 500, "The model failed on this input.", id="fails"),
    ],
)
def test_refusal_is_written_by_the_protocol(ask, body, status, says):
    reply = ask("/v2/models/one/infer", body)
    assert (reply.status, reply.media_type) == (status, "application/json")
    found = json.loads(reply.body)
    assert list(found) == ["error"]
    assert says in found["error"]


def test_error_handler_of_the_app_comes_before_the_protocol(app, ask):
    app.errorhandler(422)(lambda error: (f"mine: {error.description}", 422))
    assert ask("/v2/models/one/infer", b"[]").body.startswith(b"mine: This is no envelope")


def test_after_request_functions_see_the_response_of_the_protocol(app, ask):
    seen = []
    app.after_request(lambda response: seen.append(response.status_code) or response)
    assert json.loads(ask("/v2/models/one/infer", envelope(1)).body)["output"] == 2
    assert seen == [200]


def test_stream_is_written_by_the_protocol(ask):
    assert ask("/v2/models/stream/infer", envelope(3)).body == b"3\n6\n"


def test_own_rule_of_the_model_stays_json(ask):
    assert ask("/one", b"4").body == b"8"


def test_model_may_be_left_out_by_a_protocol(app):
    assert list(app.models["hidden"].endpoints) == ["json"]
    assert app.test_client().post("/v2/models/hidden/infer", json={}).status_code == 404


def test_model_of_a_blueprint_is_served_by_every_protocol(app):
    shop = Blueprint("shop", __name__, url_prefix="/shop")

    @shop.model("/price")
    def price(x: int) -> int:
        return x

    app.register_blueprint(shop)
    with app.test_request_context():
        assert app.url_for("shop.price:envelope") == "/v2/models/shop.price/infer"
    assert json.loads(by_view(app, "/v2/models/shop.price/infer", envelope(1)).body)["output"] == 1


def test_redefined_model_keeps_its_endpoints(app, monkeypatch):
    monkeypatch.setattr(sys, "ps1", "In : ", raising=False)  # a notebook

    def define(factor: int) -> None:
        def cell(x: int) -> int:
            return factor * x

        cell.__module__, cell.__qualname__ = "__main__", "cell"
        app.model("/cell")(cell)

    define(2)
    define(3)
    assert json.loads(by_view(app, "/v2/models/cell/infer", envelope(1)).body)["output"] == 3


def test_name_of_a_protocol_is_given_once(app):
    with pytest.raises(ValueError, match="a protocol 'envelope' already"):
        add_protocol(app, EnvelopeProtocol())


def test_predictions_of_both_protocols_are_computed_in_one_batch(app):
    entered, go, batches = threading.Event(), threading.Event(), []

    @app.model("/gated", batch=4)
    def gated(xs: list[int]) -> list[int]:
        batches.append(sorted(xs))
        entered.set()
        assert go.wait(PATIENCE_S)
        return xs

    with Stage() as stage:
        serve(stage, app)
        clients = [stage.connect() for _ in range(3)]
        clients[0].send(post(b"0", "/gated", [JSON]))
        stage.settle()
        assert entered.wait(PATIENCE_S)
        clients[1].send(post(b"1", "/gated", [JSON]))
        body = b'{"id": "a", "inputs": {"xs": 2}}'
        clients[2].send(post(body, "/v2/models/gated/infer", [JSON]))
        stage.settle()
        go.set()
        assert [client.answer().status for client in clients] == [200] * 3
    assert batches == [[0], [1, 2]]
