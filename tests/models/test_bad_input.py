"""Bad input: the response says what is wrong; `predict` and other clients notice nothing.

One line per way to get it wrong. Measured at other servers of models: malformed JSON is 500 at two
of seven, 63 numbers instead of 64 are 500 at five, and a poisoned row fails its neighbours.
"""

from __future__ import annotations

import json
import threading
import typing as t
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from polling import PATIENCE_S

from carboy.models import Tensor

JSON = "application/json"
EIGHT = t.Annotated[list[float], msgspec.Meta(min_length=8, max_length=8)]


MATRIX = Tensor["float32", 2, 3]


class Flower(msgspec.Struct):
    width: float
    height: float


@pytest.fixture
def seen(app):
    """An app as in production, with a model of each kind; what they were asked."""
    pytest.importorskip("numpy")
    app.config["PROPAGATE_EXCEPTIONS"] = False
    seen: list[object] = []

    @app.model("/rows", batch=4, wait_ms=1, max_body_bytes=10_000)
    def rows(xs: list[EIGHT]) -> list[float]:
        seen.extend(xs)
        return [sum(x) for x in xs]

    @app.model("/flower", max_body_bytes=10_000)
    def flower(flower: Flower) -> float:
        seen.append(flower)
        return flower.width

    @app.model("/tensor", max_body_bytes=10_000)
    def tensor(x: MATRIX) -> float:
        seen.append(x)
        return float(x.sum())

    yield seen
    app.models.close(PATIENCE_S)


def body(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("rule", "data", "kind", "status"),
    [
        pytest.param("/rows", body([1.0] * 7), JSON, 422, id="one number short"),
        pytest.param("/rows", body([1.0] * 9), JSON, 422, id="one number long"),
        pytest.param("/rows", body([]), JSON, 422, id="empty list"),
        pytest.param("/rows", body([[1.0] * 8]), JSON, 422, id="nested too deep"),
        pytest.param("/rows", body(["1"] * 8), JSON, 422, id="strings for numbers"),
        pytest.param("/rows", body([None] * 8), JSON, 422, id="null for numbers"),
        pytest.param("/rows", body({"x": [1.0] * 8}), JSON, 422, id="unknown name"),
        pytest.param("/rows", b"", JSON, 400, id="empty body"),
        pytest.param("/rows", b"[1, 2", JSON, 400, id="cut short"),
        pytest.param("/rows", b"[1,,2]", JSON, 400, id="malformed"),
        pytest.param("/rows", b"\xff\xfe", JSON, 400, id="not UTF-8"),
        pytest.param("/rows", b"[" * 4500 + b"]" * 4500, JSON, 422, id="9000 brackets"),
        pytest.param("/rows", b"[NaN,1,1,1,1,1,1,1]", JSON, 422, id="NaN"),
        pytest.param("/rows", b"[1e999,1,1,1,1,1,1,1]", JSON, 422, id="beyond a float"),
        pytest.param("/rows", b"[" + b"1," * 6000 + b"1]", JSON, 413, id="huge"),
        pytest.param("/rows", b"<a/>", "application/xml", 415, id="unknown content type"),
        pytest.param("/rows", b"[1]", "", 415, id="no content type"),
        pytest.param("/flower", body({"width": 1}), JSON, 422, id="missing key"),
        pytest.param("/flower", body({"width": "1", "height": 2}), JSON, 422, id="string in key"),
        pytest.param("/flower", body(7), JSON, 422, id="no object"),
        pytest.param("/tensor", body([[1.0] * 3]), JSON, 422, id="wrong shape"),
        pytest.param("/tensor", body([[1.0] * 3, [1.0] * 2]), JSON, 422, id="ragged"),
        pytest.param("/tensor", body([["a"] * 3] * 2), JSON, 422, id="wrong dtype"),
        pytest.param("/tensor", body([[1e300] * 3] * 2), JSON, 422, id="beyond float32"),
        pytest.param("/tensor", b"[[NaN,1,1],[1,1,1]]", JSON, 422, id="NaN in a tensor"),
        pytest.param("/tensor", b"no array", "application/x-npy", 415, id="no .npy"),
    ],
)
def test_bad_input_is_refused_before_predict(app, seen, rule, data, kind, status):
    client = app.test_client()
    answer = client.post(rule, data=data, content_type=kind)
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/problem+json"
    assert answer.json["status"] == status
    assert answer.json["detail"]
    if status == 422:
        assert answer.json["errors"][0]["path"].startswith("$")
    assert not seen
    assert client.post("/rows", json=[1.0] * 8).json == 8


def test_one_bad_row_of_16_is_refused_alone(app, seen):
    together = threading.Barrier(16)

    def ask(i: int):
        client = app.test_client()
        together.wait(PATIENCE_S)
        return client.post("/rows", json=[float(i)] * (7 if i == 7 else 8))

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(ask, range(16)))
    assert [a.status_code for a in answers] == [200] * 7 + [422] + [200] * 8
    assert [a.json for i, a in enumerate(answers) if i != 7] == [8 * i for i in range(16) if i != 7]
