"""Predictions by KServe V1, MLflow, SageMaker and Vertex AI."""

from __future__ import annotations

import datetime as dt
import functools
import gzip
import json
import math
import sys
import typing as t
import zlib

import msgspec
import numpy as np
import pytest
from polling import PATIENCE_S
from stage import Stage, post

from carboy import Carboy
from carboy.config import OWN_KEYS
from carboy.errors import ConfigError
from carboy.models import DataFrame, Tensor, wires
from carboy.models.wires.mlflow import _without_nan
from carboy.models.wires.shared import _decompressed
from carboy.serving import predictions


class Gap(msgspec.Struct):
    x: float | None
    note: str


class Row(msgspec.Struct):
    a: float
    b: float = 2.0


def table_of(rows: DataFrame[Row]) -> list[float]:
    return [float(each) for each in rows["a"] * rows["b"]]


def vector_of(values: list[list[float]]) -> list[float]:
    return [sum(each) for each in values]


def named_of(a: list[float], b: list[float]) -> list[float]:
    return [x * y for x, y in zip(a, b, strict=True)]


def array_of(x: Tensor["float64", "n", 2]) -> Tensor["float64", "n"]:
    return t.cast("t.Any", np.multiply(x[:, 0], x[:, 1]))


def first_of(rows: DataFrame[Row]) -> list[float]:
    return [float(rows["a"].iloc[0])]


def first_rows_of(rows: DataFrame[Row]) -> DataFrame[Row]:
    return t.cast("t.Any", rows.iloc[:1])


def sum_of(x: Tensor["float64", "n", 2]) -> Tensor["float64", 2]:
    return t.cast("t.Any", x.sum(0))


def outer_of(x: Tensor["float64", "n"], y: Tensor["float64", "m"]) -> Tensor["float64", "k"]:
    return t.cast("t.Any", np.outer(x, y).reshape(-1))


MODELS = {
    "first": (first_of, 1),
    "first rows": (first_rows_of, 1),
    "sum": (sum_of, 1),
    "outer": (outer_of, 1),
    "table": (table_of, 1),
    "tables": (table_of, 4),
    "vector": (vector_of, 4),
    "named": (named_of, 4),
    "array": (array_of, 1),
}


def app_of(predict: t.Any, *protocols: str, rule: str = "/m", batch: int = 1) -> Carboy:
    """Return an app with one model, `m`."""
    app = Carboy("one")
    app.config["MODEL_PROTOCOLS"] = list(protocols)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.model(rule, name="m", batch=batch)(predict)
    return app


@pytest.fixture
def make_one():
    """Return a function that makes an app with one model, for protocols with one URL."""
    made = []

    def make(name: str, *protocols: str):
        predict, batch = MODELS[name]
        app = app_of(predict, *protocols, batch=batch)
        made.append(app)
        return app

    yield make
    for app in made:
        app.models.close(PATIENCE_S)


# --- KServe V1 -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "instances", "predicted"),
    [
        pytest.param("table", [{"a": 1, "b": 3}, {"a": 2}], [3, 4], id="rows of a table"),
        pytest.param("tables", [{"a": 1, "b": 3}, {"a": 2}], [3, 4], id="rows of joined tables"),
        pytest.param("vector", [[1, 2], [3, 4, 5]], [3, 12], id="vectors"),
        pytest.param("named", [{"a": 1, "b": 3}], [3], id="objects"),
        pytest.param("array", [[1, 3], [2, 2]], [3, 4], id="entries of an array"),
        pytest.param("vector", [], [], id="none"),
    ],
)
def test_each_instance_has_a_prediction(make_one, model, instances, predicted):
    client = make_one(model, "kserve").test_client()
    response = client.post("/v1/models/m:predict", json={"instances": instances})
    assert (response.status_code, response.json) == (200, {"predictions": predicted})


def test_instances_are_predicted_without_a_waiting_thread(make_one):
    app = make_one("vector", "kserve")
    with Stage() as stage:
        gateway = stage.serve(app, routes=functools.partial(predictions.routes, app))
        assert "/v1/models/m:predict" in gateway.routes
        answer = stage.connect().ask(post(b'{"instances":[[1],[2]]}', "/v1/models/m:predict"))
        stage.until(lambda: not gateway.slots.busy)
    assert (answer.status, json.loads(answer.body)) == (200, {"predictions": [1, 2]})


@pytest.mark.parametrize(
    ("model", "instances", "predicted"),
    [
        ("first", [{"a": 1}] * 3, 1),
        ("first rows", [{"a": 1}] * 3, 1),
        ("sum", [[1, 2]] * 3, 2),
    ],
)
@pytest.mark.parametrize("url", ["/v1/models/m:predict", "/vertex"])
def test_model_that_returns_another_number_of_predictions_has_failed(
    make_one, monkeypatch, caplog, url, model, instances, predicted
):
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/vertex")
    client = make_one(model, "kserve").test_client()
    refused = client.post(url, json={"instances": instances})
    assert (refused.status_code, "request id" in refused.json["error"]) == (500, True)
    assert f"got 3 instances at once and returned {predicted} predictions" in caplog.text
    one = client.post(url, json={"instances": instances[:predicted]})
    assert (one.status_code, len(one.json["predictions"])) == (200, predicted)


def test_arrays_of_different_lengths_are_one_prediction(make_one):
    client = make_one("outer", "kserve").test_client()
    response = client.post("/v1/models/m:predict", json={"instances": {"x": [1, 2], "y": [3]}})
    assert (response.status_code, response.json) == (200, {"predictions": [3.0, 6.0]})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param(b"{", "JSON", id="no JSON"),
        pytest.param(b"{}", "`instances`", id="no instances"),
        pytest.param(b'{"instances": 1}', "$.instances", id="no list"),
        pytest.param(b'{"instances": [[1], ["a"]]}', "$.instances[1][0]", id="does not fit"),
        pytest.param(b'{"instances": [], "signature_name": "x"}', "signature_name", id="unknown"),
    ],
)
def test_instances_that_do_not_fit_are_refused(make_one, body, says):
    response = make_one("vector", "kserve").test_client().post("/v1/models/m:predict", data=body)
    assert (response.status_code, list(response.json)) == (400, ["error"])
    assert says in response.json["error"]


def test_kserve_lists_models_and_says_whether_they_are_ready(make_app):
    app = make_app("kserve")
    client = app.test_client()
    assert client.get("/v1/models").json == {
        "models": ["net", "total", "repeat", "flower", "picture", "fails"]
    }
    assert client.get("/v1/models/net").status_code == 503
    app.load_models()
    assert client.get("/v1/models/net").json == {"name": "net", "ready": True}
    for response in (client.get("/v1/models/none"), client.post("/v1/models/none:predict")):
        assert (response.status_code, list(response.json)) == (404, ["error"])


def test_prediction_is_not_asked_for_by_get(make_app):
    client = make_app("kserve").test_client()
    refused = client.get("/v1/models/net:predict")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "POST")
    assert "POST /v1/models/net:predict" in refused.json["error"]
    assert client.get("/v1/models/none:predict").status_code == 404


# --- MLflow --------------------------------------------------------------------------------------

SPLIT = {"dataframe_split": {"index": [0, 1], "columns": ["a", "b"], "data": [[1, 3], [2, 2]]}}
RECORDS = {"dataframe_records": [{"a": 1, "b": 3}, {"a": 2, "b": 2}]}
COLUMNS = {"inputs": {"a": [1, 2], "b": [3, 2]}}


@pytest.mark.parametrize("body", [SPLIT, RECORDS, COLUMNS], ids=["split", "records", "inputs"])
@pytest.mark.parametrize("model", ["table", "tables", "named"])
def test_rows_in_each_layout_of_mlflow(make_one, model, body):
    response = make_one(model, "mlflow").test_client().post("/invocations", json=body)
    assert (response.status_code, response.json) == (200, {"predictions": [3.0, 4.0]})


@pytest.mark.parametrize("member", ["instances", "inputs"])
def test_lists_of_inputs_of_mlflow(make_one, member):
    client = make_one("array", "mlflow").test_client()
    response = client.post("/invocations", json={member: [[1, 3], [2, 2]]})
    assert response.json == {"predictions": [3.0, 4.0]}


def test_cells_of_a_row_are_the_list_that_a_model_takes(make_one):
    response = make_one("vector", "mlflow").test_client().post("/invocations", json=SPLIT)
    assert response.json == {"predictions": [4.0, 4.0]}


@pytest.mark.parametrize(
    ("kind", "columns", "row", "given"),
    [
        (float, ["x"], [1.5], 1.5),
        (str, ["x"], ["a"], "a"),
        (bool | None, ["x"], [None], None),
        (dt.date, ["x"], ["2024-01-02"], dt.date(2024, 1, 2)),
        (list[float], ["a", "b"], [1.5, 2.5], [1.5, 2.5]),
        (tuple[float, str], ["a", "b"], [1.5, "b"], (1.5, "b")),
        (float | list[float], ["a", "b"], [1.5, 2.5], [1.5, 2.5]),
        (dict[str, float], ["a", "b"], [1.5, 2.5], {"a": 1.5, "b": 2.5}),
        (list[float], [0, 1], [1.5, 2.5], [1.5, 2.5]),
        (list[float], ["a", "a"], [1.5, 2.5], [1.5, 2.5]),
        (dict[str, float], [0, 1], [1.5, 2.5], {"0": 1.5, "1": 2.5}),
    ],
    ids=str,
)
def test_row_of_a_split_table_is_what_the_only_parameter_takes(kind, columns, row, given):
    app = Carboy("one")
    app.config["MODEL_PROTOCOLS"] = ["mlflow"]
    seen = []

    def predict(x):
        seen.append(x)

    predict.__annotations__["x"] = kind
    app.model("/m", name="m")(predict)
    body = {"dataframe_split": {"columns": columns, "data": [row, row]}}
    response = app.test_client().post("/invocations", json=body)
    app.models.close(PATIENCE_S)
    assert (response.status_code, seen) == (200, [given, given])


def test_csv_is_a_table(make_one):
    client = make_one("table", "mlflow").test_client()
    sent = {"data": b"a,b\n1,3\n2,2\n", "content_type": "text/csv"}
    assert client.post("/invocations", **sent).json == {"predictions": [3.0, 4.0]}
    refused = make_one("vector", "mlflow").test_client().post("/invocations", **sent)
    assert (refused.status_code, refused.json["error_code"]) == (415, "BAD_REQUEST")


def gaps_of(rows: DataFrame[Gap]) -> list[str]:
    return [f"{x} {note}" for x, note in zip(rows["x"].isna(), rows["note"], strict=True)]


def test_nan_of_the_client_is_a_missing_value_but_not_in_a_text():
    """Python's `json.dumps` writes NaN, with which `DataFrame.to_dict` marks a missing cell."""
    app = app_of(gaps_of, "mlflow")
    notes = ["NaN", 'a"NaN', "\\", "NaN\\"]
    table = {"columns": ["x", "note"], "data": [[math.nan, note] for note in notes]}
    for body in ({"dataframe_split": table}, {"inputs": {"x": [math.nan] * 4, "note": notes}}):
        response = app.test_client().post("/invocations", data=json.dumps(body))
        assert response.json == {"predictions": [f"True {note}" for note in notes]}


def test_nan_in_a_long_body_is_replaced_outside_strings():
    texts = ["NaN", 'a"NaN', "\\", "NaN\\", "", "NaN, [NaN]", "\\\\"] * 50_000
    body = json.dumps([[text, math.nan, len(text)] for text in texts])
    expected = [[text, None, len(text)] for text in texts]
    assert json.loads(_without_nan(body.encode())) == expected


def test_strings_with_nan_are_not_read_one_by_one():
    body = ('["NaN"' + ', "NaN"' * 50_000 + ", NaN]").encode()
    calls = []
    sys.setprofile(lambda *event: calls.append(event[1]))
    try:
        found = _without_nan(body)
    finally:
        sys.setprofile(None)
    assert found == body[:-4] + b"null]"
    assert len(calls) < 1000


@pytest.mark.parametrize("text", ['{"instances": [NaN]}', '{"inputs": NaN, ' + '"\\' * 100_000])
def test_nan_where_no_value_may_miss_and_broken_json_are_refused(make_one, text):
    response = make_one("vector", "mlflow").test_client().post("/invocations", data=text)
    assert (response.status_code, response.json["error_code"]) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param({}, "got none", id="nothing"),
        pytest.param({**SPLIT, **RECORDS}, "got dataframe_split and dataframe_records", id="two"),
        pytest.param({**SPLIT, "params": {"top": 1}}, "no `params`", id="params"),
        pytest.param({"data": []}, "data", id="unknown"),
        pytest.param(
            {"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}, "1 cells", id="cells"
        ),
        pytest.param(
            {"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}},
            "each column once, got 'a' twice - at `$.dataframe_split.columns`",
            id="twice",
        ),
        pytest.param({"inputs": {}}, "a list of values for each input, got none", id="no inputs"),
        pytest.param({"inputs": {"a": [1], "b": [1, 2]}}, "same length", id="lengths"),
        pytest.param({"inputs": {"a": [1], "b": ["x"]}}, "$.inputs[0].b", id="does not fit"),
    ],
)
def test_body_that_mlflow_would_refuse_is_refused(make_one, body, says):
    response = make_one("named", "mlflow").test_client().post("/invocations", json=body)
    assert (response.status_code, response.json["error_code"]) == (400, "BAD_REQUEST")
    assert says in response.json["message"]


def test_pages_of_mlflow(make_one):
    app = make_one("vector", "mlflow")
    app.load_models()
    client = app.test_client()
    assert client.get("/ping").status_code == client.get("/health").status_code == 200
    assert client.get("/version").text.count(".") == 2


# --- SageMaker and Vertex AI ---------------------------------------------------------------------


def test_sagemaker_takes_the_bodies_of_the_model(make_one):
    app = make_one("vector", "sagemaker")
    client = app.test_client()
    assert client.get("/ping").status_code == 200
    assert client.post("/invocations", json=[1, 2]).json == 3.0
    refused = client.post("/invocations", json=["x"])
    assert (refused.status_code, refused.json["status"]) == (422, 422)


def test_ping_is_503_until_the_model_is_loaded(make_app):
    app = make_app("sagemaker")
    app.config["MODEL_DEFAULT"] = "net"
    client = app.test_client()
    assert client.get("/ping").status_code == 503
    app.load_models()
    assert client.get("/ping").status_code == 200


@pytest.fixture
def vertex(monkeypatch):
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/v1/endpoints/e/deployedModels/d:predict")
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/v1/endpoints/e/deployedModels/d")


@pytest.mark.usefixtures("vertex")
def test_vertex_is_switched_on_by_its_variables(make_one):
    client = make_one("vector").test_client()
    path = "/v1/endpoints/e/deployedModels/d"
    assert client.get(path).status_code == 200
    answer = client.post(f"{path}:predict", json={"instances": [[1, 2]], "parameters": {}})
    assert answer.json == {"predictions": [3.0]}
    refused = client.post(f"{path}:predict", json={"instances": [], "parameters": {"top": 1}})
    assert (refused.status_code, "no `parameters`" in refused.json["error"]) == (400, True)


@pytest.mark.usefixtures("vertex")
def test_vertex_does_not_concern_an_app_without_models():
    app = Carboy("none")
    assert app.test_client().get("/v1/endpoints/e/deployedModels/d").status_code == 404


# --- compressed bodies ---------------------------------------------------------------------------

URLS = {
    "kserve": "/v1/models/m:predict",
    "mlflow": "/invocations",
    "vertex": "/v1/endpoints/e/deployedModels/d:predict",
}


@pytest.mark.usefixtures("vertex")
@pytest.mark.parametrize("protocol", URLS)
@pytest.mark.parametrize(
    ("encoding", "compress", "status"),
    [
        ("gzip", gzip.compress, 200),
        ("deflate", zlib.compress, 200),
        ("identity", bytes, 200),
        ("gzip", lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:]), 200),
        ("gzip", lambda body: gzip.compress(body) + bytes(50_000) + gzip.compress(b" "), 200),
        ("gzip", lambda body: gzip.compress(b" " * 90_000 + body, 0) + bytes(3), 200),
        ("gzip", lambda body: gzip.compress(body) + b"more", 400),
        ("gzip", lambda body: gzip.compress(body) + b"m", 400),
        ("gzip", lambda body: gzip.compress(b"") * 10_000 + gzip.compress(body), 413),
        ("gzip", lambda body: gzip.compress(body)[:-1], 400),
        ("deflate", lambda body: zlib.compress(body)[:-1], 400),
        ("gzip", bytes, 400),
        ("br", bytes, 415),
        ("gzip, gzip", gzip.compress, 415),
    ],
)
def test_body_is_read_in_its_encoding_or_refused(make_one, protocol, encoding, compress, status):
    client = make_one("vector", *{protocol} - {"vertex"}).test_client()
    body, headers = compress(b'{"instances": [[1, 2]]}'), {"Content-Encoding": encoding}
    response = client.post(
        URLS[protocol], data=body, headers=headers, content_type="application/json"
    )
    assert response.status_code == status
    assert (response.json == {"predictions": [3.0]}) is (status == 200)


@pytest.mark.parametrize(
    ("encoding", "compress", "status"), [("gzip", gzip.compress, 200), ("br", bytes, 415)]
)
def test_csv_is_read_in_its_encoding_or_refused(make_one, encoding, compress, status):
    response = (
        make_one("table", "mlflow")
        .test_client()
        .post(
            "/invocations",
            data=compress(b"a,b\n1,3\n2,2\n"),
            headers={"Content-Encoding": encoding},
            content_type="text/csv",
        )
    )
    assert response.status_code == status
    assert (response.json == {"predictions": [3.0, 4.0]}) is (status == 200)


def test_file_name_in_a_gzip_header_is_not_read_byte_by_byte():
    header = b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 100_000 + b"\0"
    calls = []
    sys.setprofile(lambda *event: calls.append(event[1]))
    try:
        found = _decompressed(header + gzip.compress(b"1")[10:], "gzip", 10)
    finally:
        sys.setprofile(None)
    assert found == b"1"
    assert len(calls) < 1000


def test_decompressed_body_is_limited(make_one):
    app = make_one("vector", "kserve")
    app.config["MODEL_MAX_BODY"] = 10_000
    headers = {"Content-Encoding": "gzip"}
    response = app.test_client().post(
        URLS["kserve"], data=gzip.compress(b" " * 1_000_000), headers=headers
    )
    assert (response.status_code, list(response.json)) == (413, ["error"])


# --- configuration -------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["mlflow", "sagemaker"])
def test_protocol_with_one_url_asks_which_of_several_models_it_serves(make_app, protocol):
    with pytest.raises(ConfigError, match="MODEL_DEFAULT is not set: expected one of 'net', "):
        make_app(protocol).test_client().get("/")


def test_unknown_default_model_is_refused(make_app):
    app = make_app("mlflow")
    app.config["MODEL_DEFAULT"] = "nte"
    with pytest.raises(ConfigError, match="MODEL_DEFAULT is 'nte'"):
        app.test_client().get("/")


def test_model_that_streams_is_refused_where_the_protocol_has_no_streams(make_app):
    app = make_app("mlflow")
    app.config["MODEL_DEFAULT"] = "stream"
    with pytest.raises(ConfigError, match="has no streams"):
        app.test_client().get("/")


def test_type_of_the_config_key_names_every_protocol():
    (names,) = t.get_args(OWN_KEYS["MODEL_PROTOCOLS"].type)
    assert set(t.get_args(names)) == set(wires.PROTOCOLS)
    assert all(f'"{name}"' in OWN_KEYS["MODEL_PROTOCOLS"].help for name in wires.PROTOCOLS)


def test_two_protocols_with_the_same_url_are_refused(make_one):
    client = make_one("vector", "mlflow", "sagemaker").test_client()
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"'mlflow' and 'sagemaker' both have .* Choose one"):
            client.get("/")


def embedding_of(text: str) -> list[float]:
    return [float(len(text))]


OWN_URLS = [
    ("mlflow", "/invocations"),
    ("openai", "/v1/embeddings"),
    ("kserve", "/v1/models/m:predict"),
    ("v2", "/v2/models/m/infer"),
]


@pytest.mark.parametrize(("protocol", "rule"), OWN_URLS, ids=[name for name, _ in OWN_URLS])
def test_model_at_the_url_of_a_protocol_is_refused(protocol, rule):
    client = app_of(embedding_of, protocol, rule=rule).test_client()
    for _ in range(2):
        with pytest.raises(ConfigError, match=f"{protocol!r} has the URL {rule}, .* model 'm'"):
            client.post(rule, json="ab")


def test_model_that_is_registered_later_at_the_url_of_a_protocol_is_refused():
    app = app_of(embedding_of, "mlflow")
    app.find_overrides()
    with pytest.raises(ConfigError, match="of the model 'late' itself"):
        app.model("/invocations", name="late")(embedding_of)
    assert list(app.models) == ["m"]


def test_another_model_at_the_url_of_vertex_is_refused(monkeypatch):
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/predict")
    app = app_of(embedding_of, rule="/predict")
    app.model("/other", name="other")(embedding_of)
    app.config["MODEL_DEFAULT"] = "other"
    with pytest.raises(ConfigError, match="of the model 'm' itself"):
        app.test_client().post("/predict", json={"instances": ["ab"]})


def test_model_may_have_the_url_of_sagemaker():
    app = app_of(embedding_of, "sagemaker", rule="/invocations")
    client = app.test_client()
    assert client.post("/invocations", json="ab").json == [2.0]
    assert client.get("/ping").status_code == 200
    app.models.close(PATIENCE_S)


@pytest.mark.parametrize(
    ("protocol", "rule"),
    [
        ("sagemaker", "/ping"),
        ("mlflow", "/version"),
        ("kserve", "/v1/models"),
        ("v2", "/v2/health/ready"),
        ("vertex", "/healthy"),
    ],
)
def test_page_of_a_protocol_at_the_url_of_a_model_is_refused(monkeypatch, protocol, rule):
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/healthy")
    if protocol == "vertex":
        monkeypatch.setenv("AIP_PREDICT_ROUTE", "/predict")
    app = Carboy("taken")
    app.config["MODEL_PROTOCOLS"] = [protocol] if protocol != "vertex" else []

    @app.model(rule, name="m")
    def predict(x: float) -> float:
        return x

    with pytest.raises(ConfigError, match=f"{protocol!r} has the URL {rule}, .* model 'm'"):
        app.test_client().get("/")
