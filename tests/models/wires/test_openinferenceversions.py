"""The Open Inference Protocol, for a model whose source is a folder of versions."""

from __future__ import annotations

import typing as t

import pytest
from modelversions import Counting, write_version
from polling import PATIENCE_S

from carboy import Carboy
from carboy.errors import ModelLoadError


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "digits"
    folder.mkdir()
    write_version(folder, "7")
    return folder


@pytest.fixture
def make_client(store, monkeypatch):
    """Return a function that makes a client of an app with one model, which has a version 7."""
    monkeypatch.setattr("carboy.models.sources.localsource.FolderSource.poll_s", 3600.0)
    made = []

    def make(*, control: bool = True, **options: t.Any):
        app = Carboy("versions")
        app.config["MODEL_PROTOCOLS"] = ["v2"]
        app.config["MODEL_REPOSITORY_CONTROL"] = control
        target = type("Counted", (Counting,), {"alive": []})
        app.model("/digits", source=str(store), **options)(target)
        app.load_models()
        made.append(app)
        return app, app.test_client()

    yield make
    for app in made:
        app.models.close(PATIENCE_S)


def infer(client, version: str = ""):
    of_version = f"/versions/{version}" if version else ""
    body = {"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [1]}]}
    return client.post(f"/v2/models/digits{of_version}/infer", json=body)


def index(client) -> list[tuple[str, str, str]]:
    found = client.post("/v2/repository/index").json
    return [(each["version"], each["state"], each["reason"]) for each in found]


def test_response_names_the_version_that_has_computed_it(make_client, store):
    app, client = make_client()
    assert (infer(client).json["model_version"], infer(client, "7").status_code) == ("7", 200)
    write_version(store, "8")
    app.models["digits"].versions.refresh()
    answer = infer(client).json
    assert (answer["model_version"], answer["outputs"][0]["data"]) == ("8", ["8:1"])
    assert infer(client, "7").status_code == 404
    assert client.get("/v2/models/digits").json["versions"] == ["8"]


def test_client_may_ask_the_version_that_is_a_canary(make_client, store):
    write_version(store, "8")
    _, client = make_client(canary={"8": 1e-6})
    assert client.get("/v2/models/digits").json["versions"] == ["7", "8"]
    for version in ("7", "8", "8"):
        answer = infer(client, version).json
        assert answer["model_version"] == version
        assert answer["outputs"][0]["data"] == [f"{version}:1"]
        assert client.get(f"/v2/models/digits/versions/{version}/ready").status_code == 200
    assert sorted(index(client)) == [("7", "READY", ""), ("8", "READY", "")]
    found = client.get("/v2/models/digits/stats").json["model_stats"]
    assert {each["version"]: each["inference_count"] for each in found} == {"7": 1, "8": 2}
    (found,) = client.get("/v2/models/digits/versions/8/stats").json["model_stats"]
    assert found["inference_count"] == 2


@pytest.mark.parametrize(
    ("control", "reason"),
    [
        (True, "could not be loaded: RuntimeError: the weights are missing"),
        (False, "could not be loaded"),
    ],
    ids=["operator", "anybody"],
)
def test_index_says_why_a_version_is_not_served(make_client, store, control, reason):
    app, client = make_client(control=control)
    write_version(store, "8", fails="init")
    with pytest.raises(Exception, match="the weights are missing"):
        app.models["digits"].versions.refresh()
    (served, failed) = index(client)
    assert served == ("7", "READY", "")
    assert (failed[:2], reason in failed[2]) == (("8", "UNAVAILABLE"), True)
    assert ("weights" in failed[2]) is control
    assert infer(client).json["model_version"] == "7"


def test_unloaded_model_is_loaded_with_the_newest_version(make_client, store):
    app, client = make_client()
    assert client.post("/v2/repository/models/digits/unload").status_code == 200
    assert app.models["digits"].target.alive == []
    assert [each[1] for each in index(client)] == ["UNAVAILABLE"]
    write_version(store, "8")
    app.models["digits"].versions.refresh()
    assert app.models["digits"].target.alive == []
    refused = infer(client)
    assert (refused.status_code, "has been unloaded" in refused.json["error"]) == (503, True)
    assert client.post("/v2/repository/models/digits/load").status_code == 200
    assert infer(client).json["model_version"] == "8"
    assert app.models["digits"].target.alive == ["8"]


def test_versions_of_an_unloaded_model_are_not_changed(make_client, store):
    app, client = make_client()
    write_version(store, "8")
    assert client.post("/v2/repository/models/digits/unload").status_code == 200
    with pytest.raises(ModelLoadError, match="POST /v2/repository/models/digits/load"):
        app.models["digits"].versions.switch("8")
    assert app.models["digits"].target.alive == []


def test_model_is_loaded_again_with_the_version_that_it_served(make_client, store):
    app, client = make_client()
    versions = app.models["digits"].versions
    versions.follow(lambda: None, lambda *loading: None, serving="7")
    write_version(store, "8")
    versions.refresh()
    write_version(store, "9", fails="init")
    assert client.post("/v2/repository/models/digits/load").status_code == 503
    assert client.post("/v2/repository/models/digits/unload").status_code == 200
    assert client.post("/v2/repository/models/digits/load").status_code == 200
    assert infer(client).json["model_version"] == "8"


def test_model_that_is_unloaded_before_it_was_loaded_refuses_predictions(make_client):
    app, client = make_client()
    app.models.close(PATIENCE_S)
    app.models.withhold(["digits", "unknown"])
    app.load_models()
    assert (infer(client).status_code, app.models.health().ready) == (503, True)
    app.models["digits"].load()
    assert infer(client).json["model_version"] == "7"
