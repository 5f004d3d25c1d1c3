"""Predictions by the Open Inference Protocol, whether a view waits for them or nobody does."""

from __future__ import annotations

import functools
import gzip
import io
import json
import struct
import threading
import typing as t
import zlib

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from polling import PATIENCE_S
from stage import Stage, post

from carboy import Carboy
from carboy.errors import ConfigError
from carboy.serving import predictions

LENGTH = "Inference-Header-Content-Length"


class Reply(t.NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        length = self.headers.get(LENGTH.lower())
        return json.loads(self.body[: None if length is None else int(length)])

    @property
    def binary(self) -> bytes:
        return self.body[int(self.headers[LENGTH.lower()]) :]

    @property
    def outputs(self):
        assert self.status == 200, self.body
        return {each["name"]: each for each in self.json["outputs"]}


def by_view(app: Carboy, path: str, body: bytes, headers: dict[str, str]) -> Reply:
    response = app.test_client().post(path, data=body, headers=headers)
    found = {key.lower(): value for key, value in response.headers}
    return Reply(response.status_code, found, response.data)


def by_server(app: Carboy, path: str, body: bytes, headers: dict[str, str]) -> Reply:
    with Stage() as stage:
        gateway = stage.serve(app, routes=functools.partial(predictions.routes, app))
        assert path in gateway.routes
        answer = stage.connect().ask(post(body, path, list(headers.items())))
        stage.until(lambda: not gateway.slots.busy)
    assert answer.status is not None
    return Reply(answer.status, {k.lower(): v for k, v in answer.headers}, answer.body)


@pytest.fixture(params=[by_view, by_server], ids=["view", "server"])
def infer(request, make_app):
    """Send a request to a model, as a dict or as bytes."""
    app = make_app("v2")

    def send(name: str, body: t.Any, headers: dict[str, str] | None = None) -> Reply:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return request.param(app, f"/v2/models/{name}/infer", data, headers or {})

    return send


def tensor(name: str, datatype: str, shape: list[int], data: t.Any) -> dict[str, t.Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def binary(head: dict[str, t.Any], *parts: bytes) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a request with binary data."""
    text = json.dumps(head).encode()
    return b"".join((text, *parts)), {LENGTH: str(len(text))}


def binary_input(name: str, datatype: str, shape: list[int], size: t.Any) -> dict[str, t.Any]:
    parameters = {"binary_data_size": size}
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": parameters}


IMAGES = np.arange(2 * 3 * 4 * 4, dtype="<f4").reshape(2, 3, 4, 4)


# --- tensors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [[1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]]], ids=["flat", "nested"]
)
def test_tensor_in_json_may_be_flat_or_nested(infer, data):
    reply = infer("total", {"id": "a", "inputs": [tensor("x", "FP32", [2, 3], data)]})
    assert reply.json == {
        "model_name": "total",
        "model_version": "1",
        "id": "a",
        "outputs": [{"name": "output", "datatype": "FP32", "shape": [2], "data": [6.0, 15.0]}],
    }


def test_request_without_id_gets_no_id(infer):
    assert "id" not in infer("total", {"inputs": [tensor("x", "FP32", [1, 3], [1, 2, 3])]}).json


@pytest.mark.parametrize(
    "members",
    [
        {"id": None, "parameters": None, "outputs": None},
        {"parameters": {"content_type": "pd", "binary_data_output": None}},
        {"outputs": [{"name": "output", "parameters": None}]},
        {"outputs": [{"name": "output", "parameters": {"content_type": "np"}}]},
    ],
    ids=["null", "of the inputs", "null of an output", "of an output"],
)
@pytest.mark.parametrize("parameters", [None, {"content_type": "np", "binary_data_size": None}])
def test_members_that_are_null_and_content_types_change_nothing(infer, members, parameters):
    given = {**tensor("x", "FP32", [2, 3], [1, 2, 3, 4, 5, 6]), "parameters": parameters}
    reply = infer("total", {"inputs": [given], **members})
    assert reply.outputs["output"]["data"] == [6.0, 15.0]
    assert "id" not in reply.json


def test_binary_input_may_have_null_in_place_of_data(infer):
    image = {**binary_input("image", "FP32", [2, 3, 4, 4], IMAGES.nbytes), "data": None}
    reply = infer("net", *binary({"inputs": [image]}, IMAGES.tobytes()))
    assert reply.outputs["output"]["data"] == [0.0, 47.0, 48.0, 95.0]


def test_each_entry_along_the_first_side_is_a_prediction_of_a_batch(infer):
    image = binary_input("image", "FP32", [2, 3, 4, 4], IMAGES.nbytes)
    reply = infer("net", *binary({"inputs": [image]}, IMAGES.tobytes()))
    assert reply.outputs["output"]["shape"] == [2, 2]
    assert reply.outputs["output"]["data"] == [0.0, 47.0, 48.0, 95.0]
    assert reply.json["model_version"] == "7"


def test_binary_output_follows_the_json(infer):
    image = binary_input("image", "FP32", [2, 3, 4, 4], IMAGES.nbytes)
    head = {"inputs": [image], "parameters": {"binary_data_output": True}}
    reply = infer("net", *binary(head, IMAGES.tobytes()))
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.outputs["output"]["parameters"] == {"binary_data_size": 16}
    assert np.frombuffer(reply.binary, "<f4").tolist() == [0, 47, 48, 95]


def test_each_output_may_be_binary_or_json(infer):
    outputs = [{"name": "area", "parameters": {"binary_data": True}}, {"name": "label"}]
    inputs = [tensor("length", "FP64", [1, 1], [8])]
    reply = infer("flower", {"inputs": inputs, "outputs": outputs})
    assert reply.outputs["label"]["data"] == ["big"]
    assert struct.unpack("<d", reply.binary) == (16.0,)


def test_fields_of_a_record_are_inputs_and_outputs(infer):
    inputs = [tensor("length", "FP32", [2, 1], [1, 8]), tensor("width", "INT32", [2, 1], [1, 2])]
    outputs = infer("flower", {"inputs": inputs}).outputs
    assert outputs["label"]["data"] == ["small", "big"]
    assert (outputs["area"]["datatype"], outputs["area"]["data"]) == ("FP64", [1.0, 16.0])
    assert (outputs["sides"]["shape"], outputs["sides"]["data"]) == ([2, 2], [1.0, 1.0, 8.0, 2.0])
    assert outputs["notes"]["data"] == ['{"petals":5}'] * 2


def test_texts_are_bytes_with_their_lengths(infer):
    texts = [b"ab", "ü\0".encode()]
    data = b"".join(struct.pack("<I", len(each)) + each for each in texts)
    inputs = [
        binary_input("text", "BYTES", [2, 1], len(data)),
        tensor("times", "INT8", [2], [1, 2]),
    ]
    head = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    reply = infer("repeat", *binary(head, data))
    assert reply.binary == b"\x02\0\0\0ab" + b"\x06\0\0\0" + "ü\0ü\0".encode()


def test_picture_is_the_content_of_its_file(infer):
    file = io.BytesIO()
    Image.new("RGB", (5, 4)).save(file, "PNG")
    data = struct.pack("<I", file.tell()) + file.getvalue()
    reply = infer(
        "picture", *binary({"inputs": [binary_input("image", "BYTES", [1], len(data))]}, data)
    )
    assert reply.outputs["output"]["data"] == ['{"width":10}']


@pytest.mark.parametrize(
    ("name", "data", "shape"),
    [
        pytest.param("net", IMAGES[:1].tobytes(), [1, 2], id="fixed shape"),
        pytest.param("total", IMAGES[0, 0, :3].tobytes(), [4], id="one side of any size"),
    ],
)
def test_raw_body_is_the_tensor_of_the_only_input(infer, name, data, shape):
    reply = infer(name, data, {LENGTH: "0"})
    assert reply.outputs["output"]["shape"] == shape
    assert len(reply.binary) == 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_body_may_be_compressed(infer, encoding, compress):
    data, headers = binary(
        {"inputs": [binary_input("image", "FP32", [2, 3, 4, 4], IMAGES.nbytes)]}, IMAGES.tobytes()
    )
    reply = infer("net", compress(data), {**headers, "Content-Encoding": encoding})
    assert reply.outputs["output"]["data"] == [0.0, 47.0, 48.0, 95.0]


# --- refusals ------------------------------------------------------------------------------------

ONE = [1.0, 2.0, 3.0]
REFUSED = {
    "no JSON": ("total", b"{", "JSON"),
    "empty": ("total", b"", "JSON"),
    "no inputs": ("total", {}, "`inputs`"),
    "unknown member": ("total", {"inputs": [], "nputs": 1}, "nputs"),
    "missing input": ("total", {"inputs": []}, "the input 'x'"),
    "unknown input": ("total", {"inputs": [tensor("y", "FP32", [1, 3], ONE)]}, "got 'y'"),
    "same input twice": ("total", {"inputs": [tensor("x", "FP32", [1, 3], ONE)] * 2}, "once more"),
    "other datatype": ("total", {"inputs": [tensor("x", "FP64", [1, 3], ONE)]}, "got float64"),
    "unknown datatype": ("total", {"inputs": [tensor("x", "FP99", [1, 3], ONE)]}, "FP99"),
    "BF16": ("total", {"inputs": [tensor("x", "BF16", [1, 3], ONE)]}, "got BF16"),
    "text for numbers": ("total", {"inputs": [tensor("x", "BYTES", [3], ["a"] * 3)]}, "object"),
    "other shape": ("total", {"inputs": [tensor("x", "FP32", [3, 1], ONE)]}, "shape (3, 1)"),
    "too few numbers": ("total", {"inputs": [tensor("x", "FP32", [1, 3], [1.0])]}, "[1, 3]"),
    "negative side": ("total", {"inputs": [tensor("x", "FP32", [-1, 3], ONE)]}, "got -1"),
    "overflowing shape": ("total", {"inputs": [tensor("x", "FP32", [2**62, 2**62], [])]}, "fewer"),
    "huge shape without data": (
        "total",
        {"inputs": [tensor("x", "FP32", [2**40, 0], [])]},
        "at most 16,777,216 numbers",
    ),
    "a shape of 65 sides": ("total", {"inputs": [tensor("x", "FP32", [1] * 65, [1])]}, "32 sides"),
    "not a number": ("total", {"inputs": [tensor("x", "FP32", [1, 3], ["a", 1, 2])]}, "`float"),
    "null": ("total", {"inputs": [tensor("x", "FP32", [1, 3], [None, 1, 2])]}, "NaN"),
    "out of range": ("repeat", {"inputs": [tensor("times", "INT8", [1], [300])]}, "127"),
    "data and size": (
        "total",
        {"inputs": [{**tensor("x", "FP32", [1, 3], ONE), "parameters": {"binary_data_size": 12}}]},
        "both",
    ),
    "neither": ("total", {"inputs": [{"name": "x", "shape": [3], "datatype": "FP32"}]}, "neither"),
    "sequence": ("total", {"inputs": [], "parameters": {"sequence_id": 1}}, "sequence_id"),
    "shared memory": (
        "total",
        {"inputs": [{**tensor("x", "FP32", [1], []), "parameters": {"shared_memory_region": "r"}}]},
        "shared_memory_region",
    ),
    "neither but null": ("total", {"inputs": [tensor("x", "FP32", [3], None)]}, "neither"),
    "content type of an input": (
        "total",
        {"inputs": [{**tensor("x", "FP32", [1], []), "parameters": {"content_type": "base64"}}]},
        "one of np, str, pd, got 'base64' - at `$.inputs[0].parameters.content_type`",
    ),
    "content type of the inputs": (
        "total",
        {"inputs": [], "parameters": {"content_type": ["np"]}},
        "one of np, str, pd, got ['np']",
    ),
    "unknown output": (
        "total",
        {"inputs": [tensor("x", "FP32", [1, 3], ONE)], "outputs": [{"name": "y"}]},
        "'output'",
    ),
    "no prediction": ("net", {"inputs": [tensor("image", "FP32", [0, 3, 4, 4], [])]}, "at least 1"),
    "too many predictions": (
        "net",
        {"inputs": [tensor("image", "FP32", [10**6, 0, 4, 4], [])]},
        "at most 1,024",
    ),
    "batches of two sizes": (
        "repeat",
        {"inputs": [tensor("text", "BYTES", [1], ["a"]), tensor("times", "INT8", [2], [1, 2])]},
        "same number",
    ),
    "entry of a batch": (
        "flower",
        {"inputs": [tensor("length", "BYTES", [2, 1], ["1", "2"])]},
        "$[0].flower.length",
    ),
    "the model refuses": (
        "flower",
        {"inputs": [tensor("length", "FP64", [2, 1], [1, -1])]},
        "0 or more",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "body", "says"), REFUSED.values(), ids=REFUSED)
def test_request_that_does_not_fit_is_refused_in_the_form_of_the_protocol(infer, name, body, says):
    reply = infer(name, body)
    assert list(reply.json) == ["error"]
    assert says in reply.json["error"]
    assert reply.status == (413 if "at most" in says else 400)


@pytest.mark.parametrize(
    ("size", "length", "data", "says"),
    [
        pytest.param(12, None, b"\0" * 11, "at most the 11 bytes", id="cut short"),
        pytest.param(12, None, b"\0" * 13, "13 bytes after the JSON", id="too long"),
        pytest.param(8, None, b"\0" * 8, "12 bytes", id="size of another shape"),
        pytest.param(-12, None, b"\0" * 12, "-12", id="negative"),
        pytest.param(2**70, None, b"\0" * 12, "at most the 12", id="overflowing"),
        pytest.param("12", None, b"\0" * 12, "'12'", id="text"),
        pytest.param(True, None, b"\0" * 12, "True", id="true"),
        pytest.param(12, "99999", b"\0" * 12, "at most the", id="JSON longer than the body"),
        pytest.param(12, "-1", b"\0" * 12, "'-1'", id="negative length of JSON"),
        pytest.param(12, "5", b"\0" * 12, "JSON", id="JSON cut short"),
    ],
)
def test_lying_sizes_of_binary_data_are_refused(infer, size, length, data, says):
    body, headers = binary({"inputs": [binary_input("x", "FP32", [1, 3], size)]}, data)
    reply = infer("total", body, headers if length is None else {LENGTH: length})
    assert (reply.status, list(reply.json)) == (400, ["error"])
    assert says in reply.json["error"]


def test_lying_lengths_of_texts_are_refused(infer):
    data = struct.pack("<I", 2**32 - 1) + b"ab"
    inputs = [binary_input("text", "BYTES", [1], len(data)), tensor("times", "INT8", [1], [1])]
    reply = infer("repeat", *binary({"inputs": inputs}, data))
    assert (reply.status, "end in element 0" in reply.json["error"]) == (400, True)


def test_compressed_body_is_limited_by_its_size_when_it_is_decompressed(make_app):
    app = make_app("v2")
    app.config["MODEL_MAX_BODY"] = 10_000
    body = gzip.compress(b" " * 1_000_000)
    reply = by_view(app, "/v2/models/total/infer", body, {"Content-Encoding": "gzip"})
    assert (reply.status, list(reply.json)) == (413, ["error"])


def test_compressed_body_is_read_if_bodies_have_no_limit(make_app):
    app = make_app("v2")
    app.config["MODEL_MAX_BODY"] = None
    inputs = [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]
    body = gzip.compress(json.dumps({"inputs": inputs}).encode())
    reply = by_view(app, "/v2/models/total/infer", body, {"Content-Encoding": "gzip"})
    assert reply.status == 200


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [("gzip", gzip.compress(b"{}")[:-9], 400), ("gzip", b"{}", 400), ("br", b"{}", 415)],
    ids=["cut short", "not compressed", "unknown"],
)
def test_body_in_another_encoding_is_refused(infer, encoding, body, status):
    reply = infer("total", body, {"Content-Encoding": encoding})
    assert (reply.status, list(reply.json)) == (status, ["error"])


def test_failure_inside_says_nothing_but_the_request_id(infer):
    reply = infer("fails", {"inputs": [tensor("x", "INT64", [1], [1])]})
    assert (reply.status, "secret" in reply.json["error"]) == (500, False)
    assert "(request id " in reply.json["error"]


def test_error_handler_of_the_app_comes_first(make_app):
    app = make_app("v2")
    app.errorhandler(400)(lambda error: (f"mine: {error.description}", 400))
    assert by_view(app, "/v2/models/total/infer", b"{", {}).body.startswith(b"mine: ")


@given(
    body=st.binary(max_size=200),
    length=st.none() | st.integers(-5, 210).map(str) | st.text("0123456789-+ x", max_size=6),
    datatype=st.sampled_from(["BOOL", "INT8", "FP16", "FP32", "FP64", "BYTES", "?"]),
    shape=st.lists(st.integers(-(2**65), 2**65) | st.integers(0, 4), max_size=5),
    size=st.none() | st.integers(-(2**70), 2**70) | st.integers(0, 50),
)
def test_no_request_fails_inside(body, length, datatype, shape, size):
    head = json.dumps({"inputs": [binary_input("x", datatype, shape, size)]}).encode()
    headers = {} if length is None else {LENGTH: length}
    for data, sent in (
        (body, headers),
        (head + body, {LENGTH: str(len(head))}),
        (head + body, headers),
    ):
        reply = by_view(_fuzzed(), "/v2/models/total/infer", data, sent)
        assert reply.status in (200, 400, 413), reply.body


@functools.cache
def _fuzzed() -> Carboy:
    import wireapp

    return wireapp.make_app("v2")


# --- several predictions -------------------------------------------------------------------------


def test_predictions_of_a_request_share_a_batch_with_those_of_others(make_app):
    app = make_app("v2")
    entered, go, batches = threading.Event(), threading.Event(), []

    @app.model("/gated", batch=4)
    def gated(xs: list[int]) -> list[int]:
        batches.append(sorted(xs))
        entered.set()
        assert go.wait(PATIENCE_S)
        return [2 * x for x in xs]

    with Stage() as stage:
        stage.serve(app, routes=functools.partial(predictions.routes, app))
        clients = [stage.connect() for _ in range(3)]
        clients[0].send(post(b"0", "/gated", [("Content-Type", "application/json")]))
        stage.settle()
        assert entered.wait(PATIENCE_S)
        for client, numbers in zip(clients[1:], ([1, 2], [3]), strict=True):
            body = json.dumps({"inputs": [tensor("xs", "INT64", [len(numbers)], numbers)]}).encode()
            client.send(post(body, "/v2/models/gated/infer"))
        stage.settle()
        go.set()
        answers = [client.answer() for client in clients]
    assert [answer.status for answer in answers] == [200] * 3
    assert json.loads(answers[1].body)["outputs"][0]["data"] == [2, 4]
    assert batches == [[0], [1, 2, 3]]


def test_results_of_different_shapes_are_refused_with_advice(make_app):
    app = make_app("v2")

    @app.model("/counts", batch=4)
    def counts(n: list[int]) -> list[list[int]]:
        return [list(range(each)) for each in n]

    body = json.dumps({"inputs": [tensor("n", "INT64", [2], [1, 2])]}).encode()
    reply = by_view(app, "/v2/models/counts/infer", body, {})
    assert (reply.status, "request of its own" in reply.json["error"]) == (400, True)


def test_fields_of_pydantic_models_have_their_aliases(make_app):
    app = make_app("v2")

    class Point(pydantic.BaseModel):
        x: float = pydantic.Field(alias="X")

    @app.model("/mirrored", batch=4)
    def mirrored(point: list[Point]) -> list[Point]:
        return [Point(X=-each.x) for each in point]

    body = json.dumps({"inputs": [tensor("X", "FP64", [2], [1, 2])]}).encode()
    reply = by_view(app, "/v2/models/mirrored/infer", body, {})
    assert reply.outputs["X"]["data"] == [-1.0, -2.0]


# --- configuration -------------------------------------------------------------------------------


def test_app_that_asks_for_no_protocol_has_no_further_url(make_app):
    app = make_app()
    assert app.test_client().get("/v2").status_code == 404
    assert [list(model.endpoints) for model in app.models.values()] == [["json"]] * len(app.models)


def test_model_that_streams_has_no_url_of_the_protocol(make_app):
    reply = by_view(make_app("v2"), "/v2/models/stream/infer", b"{}", {})
    assert (reply.status, list(reply.json)) == (404, ["error"])


@pytest.mark.parametrize(
    ("configured", "says"),
    [
        pytest.param(["v3"], r"unknown protocol 'v3'.*Did you mean 'v2'\?", id="unknown"),
        pytest.param("v2", r"expected a list of names, such as \['v2'\]", id="text"),
    ],
)
def test_wrong_configuration_is_refused_before_the_first_request(make_app, configured, says):
    app = make_app()
    app.config["MODEL_PROTOCOLS"] = configured
    for _ in range(2):  # each request, and not the first one only
        with pytest.raises(ConfigError, match=says):
            app.test_client().get("/")
