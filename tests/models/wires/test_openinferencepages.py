"""Health, metadata, statistics and repository of the Open Inference Protocol."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def client(make_app):
    return make_app("v2", control=True).test_client()


def test_server_is_live_before_its_models_are_loaded_and_ready_after(make_app):
    app = make_app("v2")
    client = app.test_client()
    assert client.get("/v2/health/live").json == {"live": True}
    assert client.get("/v2/health/ready").status_code == 503
    assert client.get("/v2/models/net/ready").json == {"name": "net", "ready": False}
    app.load_models()
    assert client.get("/v2/health/ready").json == {"ready": True}
    assert client.get("/v2/models/net/versions/7/ready").status_code == 200


def test_metadata_names_the_extensions(client):
    found = client.get("/v2").json
    assert (found["name"], "binary_tensor_data" in found["extensions"]) == ("carboy", True)


def test_metadata_of_a_model_has_its_tensors(client):
    assert client.get("/v2/models/net").json == {
        "name": "net",
        "versions": ["7"],
        "platform": "carboy",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 3, 4, 4]}],
        "outputs": [{"name": "output", "datatype": "FP32", "shape": [-1, 2]}],
    }


def test_metadata_of_an_unbatched_model_has_no_side_of_a_batch(client):
    found = client.get("/v2/models/picture").json
    assert found["inputs"] == [
        {"name": "image", "datatype": "BYTES", "shape": [1]},
        {"name": "scale", "datatype": "INT64", "shape": [1]},
    ]


def test_configuration_of_a_model_is_that_of_triton(client):
    found = client.get("/v2/models/flower/config").json
    assert found["max_batch_size"] == 4
    assert found["input"] == [
        {"name": "length", "data_type": "TYPE_FP64", "dims": [1]},
        {"name": "width", "data_type": "TYPE_FP64", "dims": [1], "optional": True},
    ]
    assert {"name": "label", "data_type": "TYPE_STRING", "dims": [1]} in found["output"]


def test_statistics_count_predictions_and_batches(client):
    body = {"inputs": [{"name": "length", "shape": [2], "datatype": "FP64", "data": [1, 2]}]}
    client.post("/v2/models/flower/infer", json=body)
    (found,) = client.get("/v2/models/flower/stats").json["model_stats"]
    assert (found["name"], found["version"], found["inference_count"]) == ("flower", "1", 2)
    assert found["inference_stats"]["success"]["count"] == 2
    assert len(client.get("/v2/models/stats").json["model_stats"]) == 6


def test_version_in_the_url_must_be_the_model_s(client):
    body = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
    assert client.post("/v2/models/total/versions/1/infer", json=body).status_code == 200
    other = client.post("/v2/models/total/versions/2/infer", json=body)
    assert (other.status_code, "'1', not '2'" in other.json["error"]) == (404, True)


@pytest.mark.parametrize("step", ["load", "unload"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://thief.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://localhost"}, 200),
    ],
    ids=["origin", "fetch metadata", "own"],
)
def test_page_of_another_site_may_not_load_models(client, step, headers, status):
    answer = client.post(f"/v2/repository/models/net/{step}", headers=headers)
    assert (answer.status_code, "error" in answer.json) == (status, status == 403)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/models/none"),
        ("GET", "/v2/models/none/ready"),
        ("POST", "/v2/models/none/infer"),
        ("GET", "/v2/trace/setting"),
        ("POST", "/v2/systemsharedmemory/region/a/register"),
        ("POST", "/v2/repository/models/none/load"),
    ],
)
def test_unknown_url_is_refused_in_the_form_of_the_protocol(client, method, path):
    response = client.open(path, method=method)
    assert (response.status_code, list(response.json)) == (404, ["error"])


# --- repository ----------------------------------------------------------------------------------


def test_model_is_loaded_and_unloaded(client):
    def state():
        return {each["name"]: each["state"] for each in client.post("/v2/repository/index").json}

    assert state()["net"] == "UNAVAILABLE"
    assert client.post("/v2/repository/models/net/load", data="{}").json == {}
    assert state()["net"] == "READY"
    unload = json.dumps({"parameters": {"unload_dependents": True}})
    assert client.post("/v2/repository/models/net/unload", data=unload).json == {}
    assert state()["net"] == "UNAVAILABLE"


def test_index_may_have_the_ready_models_only(client):
    models = client.post("/v2/repository/index", data='{"ready": true}').json
    assert "net" not in [each["name"] for each in models]
    assert "total" in [each["name"] for each in models]


def test_parameters_of_the_repository_may_be_null(client):
    response = client.post("/v2/repository/index", data='{"parameters": null}')
    assert (response.status_code, len(response.json) > 1) == (200, True)


def test_clients_may_not_load_models_unless_the_configuration_says_so(make_app):
    client = make_app("v2").test_client()
    for step in ("load", "unload"):
        response = client.post(f"/v2/repository/models/net/{step}")
        assert (response.status_code, list(response.json)) == (403, ["error"])
        assert "MODEL_REPOSITORY_CONTROL" in response.json["error"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("models/net/load", '{"parameters": {"config": "{}"}}'),
        ("models/net/unload", '{"parameters": {"force": true}}'),
        ("index", '{"ready": 1}'),
        ("index", "[]"),
        ("index", "{"),
    ],
)
def test_unknown_parameters_of_the_repository_are_refused(client, path, body):
    response = client.post(f"/v2/repository/{path}", data=body)
    assert (response.status_code, list(response.json)) == (400, ["error"])


def test_model_that_cannot_be_loaded_is_503_without_the_reason(make_app):
    app = make_app("v2", control=True)

    @app.model("/broken")
    class Broken:
        def __init__(self) -> None:
            raise RuntimeError("a secret")

        def predict(self, x: int) -> int:
            return x

    response = app.test_client().post("/v2/repository/models/broken/load")
    assert (response.status_code, "secret" in response.text) == (503, False)


def test_urls_of_the_protocol_are_not_in_the_document(make_app):
    app = make_app("v2")
    app.test_client().get("/")
    assert not [path for path in app.openapi()["paths"] if path.startswith("/v2")]
