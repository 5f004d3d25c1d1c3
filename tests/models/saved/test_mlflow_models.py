"""Models that MLflow has saved are served with their signatures as types."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest
import requests
import spawning
from polling import PATIENCE_S

from carboy import Carboy
from carboy.errors import ModelFileError
from carboy.models import mlflow_model

PROGRAM = pathlib.Path(spawning.__file__).with_name("mlflowmodels.py")


def write_model(folder: pathlib.Path, inputs: object, outputs: object = None) -> pathlib.Path:
    """Write the description of a model, without the model."""
    signature = {"inputs": json.dumps(inputs), "outputs": outputs and json.dumps(outputs)}
    folder.mkdir(exist_ok=True)
    # YAML contains JSON.
    (folder / "MLmodel").write_text(json.dumps({"signature": signature}))
    return folder


def metadata(folder: pathlib.Path):
    app = Carboy("mlflow")
    app.model("/m")(mlflow_model(folder))
    return app.models["m"].metadata()


def column(name: str, kind: str, **others: object) -> dict[str, object]:
    return {"type": kind, "name": name, **others}


def tensor(dtype: str, shape: list[int], **others: object) -> dict[str, object]:
    return {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}, **others}


# --- types ---------------------------------------------------------------------------------------


def test_columns_are_those_of_a_table(tmp_path):
    kinds = ["boolean", "integer", "long", "float", "double", "string", "datetime"]
    specs = [column(f"a {kind}", kind) for kind in kinds]
    specs.append(column("maybe", "double", required=False))
    row = metadata(write_model(tmp_path / "m", specs))["input"]["items"]
    assert list(row["properties"]) == [*(f"a {kind}" for kind in kinds), "maybe"]
    assert row["required"] == [f"a {kind}" for kind in kinds]
    assert row["properties"]["a long"] == {"type": "integer"}
    assert row["properties"]["a integer"]["maximum"] == 2**31 - 1


def test_tensors_are_arrays(tmp_path):
    folder = write_model(
        tmp_path / "m", [tensor("float32", [-1, 28, 28])], [tensor("float32", [-1])]
    )
    found = metadata(folder)
    assert found["parameters"] == ["inputs"]
    assert "application/x-npy" in found["accepts"]
    named = [tensor("int64", [-1], name="x"), tensor("float64", [-1, 3], name="y")]
    assert metadata(write_model(tmp_path / "n", named))["parameters"] == ["x", "y"]


@pytest.mark.parametrize(
    ("outputs", "schema"),
    [
        pytest.param(None, {}, id="none"),
        pytest.param(
            [{"type": "double"}], {"type": "array", "items": {"type": "number"}}, id="numbers"
        ),
    ],
)
def test_result_has_the_type_of_the_signature(tmp_path, outputs, schema):
    folder = write_model(tmp_path / "m", [column("a", "double")], outputs)
    found = metadata(folder)["output"]
    assert {name: found.get(name) for name in schema} == schema


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        pytest.param([column("a", "binary")], "'a' of the signature has the type 'binary'", id="b"),
        pytest.param([{"type": "string"}], "and no name", id="a column without a name"),
        pytest.param([tensor("str", [-1], name="x")], "is not supported", id="texts in a tensor"),
        pytest.param([tensor("int64", [-1], name="a b")], "cannot be a parameter", id="a name"),
        pytest.param(None, "infer_signature", id="no signature"),
    ],
)
def test_signature_that_cannot_be_served_is_refused_with_the_way_out(tmp_path, inputs, says):
    with pytest.raises(ModelFileError, match=says):
        mlflow_model(write_model(tmp_path / "m", inputs))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "Expected the folder of a model"),
        ("a: [", "not a description of a model"),
        ("[]", "not a description of a model"),
    ],
    ids=["no file", "no YAML", "no object"],
)
def test_folder_without_a_model_is_refused(tmp_path, content, says):
    if content is not None:
        (tmp_path / "MLmodel").write_text(content)
    with pytest.raises(ModelFileError, match=says):
        mlflow_model(tmp_path)


def test_version_with_another_signature_is_refused(tmp_path):
    target = mlflow_model(write_model(tmp_path / "1", [column("a", "double")]))
    other = write_model(tmp_path / "2", [column("b", "double")])
    with pytest.raises(ModelFileError, match="the signature of this model is not the one in"):
        target(other)


def test_signature_is_read_without_mlflow(tmp_path):
    folder = write_model(tmp_path / "m", [column("a", "double")])
    code = f"import sys, carboy.models as m; m.mlflow_model({str(folder)!r})"
    code += "; assert 'mlflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# --- a server ------------------------------------------------------------------------------------

APP = """
import pathlib
from carboy import Carboy
from carboy.models import mlflow_model

app = Carboy(__name__)
app.config["MODEL_PROTOCOLS"] = ["mlflow", "v2"]
app.config["MODEL_DEFAULT"] = "wine"
for name in ("wine", "total", "pair"):
    batch = 4 if name == "wine" else 1
    app.model(f"/{name}", batch=batch)(mlflow_model(pathlib.Path(__file__).with_name(name)))
"""


def run_mlflow(*words: str) -> str:
    command = [sys.executable, "-W", "ignore", str(PROGRAM), *words]
    environ = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False, env=environ
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    run_mlflow("save", str(folder))
    program = spawning.serve(folder, "wines", APP)
    yield program
    program.stop()


@pytest.mark.integration
@pytest.mark.timeout(150)
def test_client_of_mlflow_calls_a_model_of_mlflow(server):
    found = json.loads(run_mlflow("call", str(server.port)))
    assert found["predictions"] == [
        {"fixed acidity": 3.0, "label": "A"},
        {"fixed acidity": 4.0, "label": "Ü"},
    ]
    assert found["version"].count(".") == 2
    assert "error code 400" in found["refused"]
    assert "the column 'label'" in found["refused"]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "body", "answer"),
    [
        (
            "wine",
            [{"fixed acidity": 1, "small": 2, "ratio": 3, "label": "x"}],
            [{"fixed acidity": 2.0, "label": "X"}],
        ),
        ("total", [[[1, 2], [3, 4]], [[0, 0], [0, 1]]], [10.0, 1.0]),
        ("pair", {"x": [1, 2], "y": [3, 4]}, {"sum": [4.0, 6.0]}),
    ],
)
def test_models_of_mlflow_are_called_as_all_others(server, name, body, answer):
    response = requests.post(f"{server.url}/{name}", json=body, timeout=PATIENCE_S)
    assert (response.status_code, response.json()) == (200, answer)
    described = requests.get(f"{server.url}/v2/models/{name}", timeout=PATIENCE_S).json()
    assert described["inputs"][0]["shape"][0] == -1
