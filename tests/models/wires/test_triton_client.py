"""NVIDIA's client of the Open Inference Protocol, unchanged, calls the models of `carboy serve`."""

from __future__ import annotations

import pathlib
import typing as t

import numpy as np
import pytest
import spawning
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[t.Any]:
    port, app = spawning.free_port(), pathlib.Path(spawning.__file__).with_name("wireapp.py")
    program = spawning.start(
        [
            *(spawning.script("carboy"), "--app", app),
            *("serve", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        ],
        log=tmp_path_factory.mktemp("wireapp") / "log",
        port=port,
        cwd=app.parent,
        env=None,
    )
    program.wait_until_it_listens()
    client = triton.InferenceServerClient(f"127.0.0.1:{port}")
    yield client
    client.close()
    program.stop()


def given(name: str, array: t.Any, *, binary: bool = True) -> t.Any:
    tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    return tensor.set_data_from_numpy(array, binary_data=binary)


IMAGES = np.arange(2 * 3 * 4 * 4, dtype="float32").reshape(2, 3, 4, 4)


def test_health_and_metadata(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("net")
    assert client.is_model_ready("net", "7")
    assert not client.is_model_ready("none")
    assert client.get_server_metadata()["name"] == "carboy"
    assert client.get_model_metadata("net")["inputs"][0]["shape"] == [-1, 3, 4, 4]
    assert client.get_model_config("net", "7")["max_batch_size"] == 8


@pytest.mark.parametrize("sends_binary", [True, False])
@pytest.mark.parametrize("gets_binary", [True, False])
def test_tensors_are_binary_or_json(client, sends_binary, gets_binary):
    found = client.infer(
        "net",
        [given("image", IMAGES, binary=sends_binary)],
        outputs=[triton.InferRequestedOutput("output", binary_data=gets_binary)],
        request_id="mine",
        model_version="7",
    )
    assert found.get_response()["id"] == "mine"
    assert found.as_numpy("output").tolist() == [[0, 47], [48, 95]]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_request_may_be_compressed(client, algorithm):
    found = client.infer(
        "net",
        [given("image", IMAGES)],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    assert found.as_numpy("output").shape == (2, 2)


@pytest.mark.parametrize("binary", [True, False])
def test_texts(client, binary):
    texts, times = np.array([["a"], ["ü"]], object), np.array([[2], [3]], "int64")
    found = client.infer(
        "repeat", [given("text", texts, binary=binary), given("times", times, binary=binary)]
    )
    assert [each.decode() for each in found.as_numpy("output").flat] == ["aa", "üüü"]


def test_async_requests(client):
    requests = [client.async_infer("total", [given("x", IMAGES[:1, 0, 0, :3])]) for _ in range(3)]
    assert [each.get_result().as_numpy("output").tolist() for each in requests] == [[3.0]] * 3


def test_errors_reach_the_program_of_the_client(client):
    with pytest.raises(InferenceServerException, match="got float64") as refused:
        client.infer("total", [given("x", np.zeros((1, 3)))])
    assert refused.value.status() == "400"
    with pytest.raises(InferenceServerException, match="failed on this input") as failed:
        client.infer("fails", [given("x", np.array([1]))])
    assert failed.value.status() == "500"
    with pytest.raises(InferenceServerException, match="is not served") as unknown:
        client.get_trace_settings()
    assert unknown.value.status() == "404"


def test_repository_and_statistics(client):
    client.unload_model("net")
    states = {each["name"]: each["state"] for each in client.get_model_repository_index()}
    assert (states["net"], states["total"]) == ("UNAVAILABLE", "READY")
    client.load_model("net")
    assert client.is_model_ready("net")
    client.infer("net", [given("image", IMAGES)])
    (found,) = client.get_inference_statistics("net", "7")["model_stats"]
    assert found["inference_count"] >= 2
