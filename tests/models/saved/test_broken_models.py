"""A model file that cannot be loaded is explained: by cause, model, file and ways out."""

from __future__ import annotations

import os
import pathlib
import pickle
import subprocess
import sys

import pytest
import spawning

from carboy import Carboy
from carboy.errors import ModelLoadError

joblib = pytest.importorskip("joblib")
numpy = pytest.importorskip("numpy")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
pytest.importorskip("sklearn")
safetensors = pytest.importorskip("safetensors.numpy")

MAKER = pathlib.Path(__file__).parents[2] / "support" / "brokenmodels.py"


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("zoo")
    subprocess.run([sys.executable, MAKER, folder], check=True, timeout=300)
    return folder


def unpickle(path):
    with open(path, "rb") as file:
        return pickle.load(file)


def read_arrays(path):
    with open(path, "rb") as file:  # numpy itself leaves a damaged file open
        return dict(numpy.load(file))


READERS = {
    ".pkl": unpickle,
    ".joblib": joblib.load,
    ".npz": read_arrays,
    ".npy": numpy.load,
    ".safetensors": safetensors.load_file,
    ".onnx": onnxruntime.InferenceSession,
}


def message_of(app, path: str) -> str:
    """Return what an app says whose model reads the file by hand."""

    @app.model("/shop")
    class Shop:
        def __init__(self) -> None:
            self.net = READERS[os.path.splitext(path)[1]](path)

        def predict(self, x: float) -> float:
            return x

    with pytest.raises(ModelLoadError) as caught:
        app.load_models()
    return str(caught.value)


# By file: what the cause is, and what to do about it.
BROKEN = {
    "notebook.joblib": ("notebook or a script that defined 'Scaler' itself", "into a module"),
    "notebook.pkl": ("notebook or a script that defined 'Scaler' itself", "into a module"),
    "no_module.joblib": (
        "the module 'shop_features', which this process cannot",
        "shop_features.py",
    ),
    "moved.joblib": ("'sklearn' has moved it", "Install the version of 'sklearn'"),
    "renamed.pkl": ("sklearn.linear_model.OldRegression", "was renamed or moved"),
    "old.joblib": ("written with scikit-learn 0.24.2, and", "Install the version"),
    "lfs.joblib": ("a pointer of Git LFS instead of the model of 12,345,678 bytes", "git lfs pull"),
    "page.pkl": ("a web page (it says 'Sign in')", "curl --fail"),
    "storage.pkl": ("a web page (it says 'AccessDenied')", "token"),
    "empty.joblib": ("is empty", "copy it again"),
    "folder.joblib": ("is a folder, and a file is expected", "contains 'model.joblib'"),
    "cut.pkl": ("ends early or is damaged", "copy it again"),
    "cut.joblib": ("ends early or is damaged", "copy it again"),
    "cut_packed.joblib": ("ends early or is damaged", "copy it again"),
    "cut.npz": ("ends early or is damaged", "copy it again"),
    "cut.safetensors": ("ends early or is damaged", "copy it again"),
    "cut.onnx": ("ends early or is damaged", "copy it again"),
    "newer.pkl": ("by a newer Python, with version 9", "protocol="),
    "keras.pkl": ("is no pickle", "keras.models.load_model"),
    "graph.pkl": ("is no pickle", "Another program has written it"),
    "large.npy": ("does not fit into the memory", "--workers 1"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_file_is_explained_by_cause_model_file_and_ways_out(app, zoo, name):
    cause, way_out = BROKEN[name]
    said = message_of(app, str(zoo / name))
    assert said.startswith("Model 'shop' could not be loaded: ")
    assert cause in said
    assert way_out in said
    assert str(zoo / name) in said


APP = """
import joblib
from carboy import Carboy

app = Carboy(__name__)

@app.model("/shop")
class Shop:
    def __init__(self):
        self.net = joblib.load({path!r})

    def predict(self, x: float) -> float:
        return x
"""


@pytest.mark.integration
@pytest.mark.parametrize("name", ["notebook.joblib", "lfs.joblib"])
def test_server_that_cannot_load_a_file_ends_with_the_explanation(zoo, tmp_path, name):
    (tmp_path / "app.py").write_text(APP.format(path=str(zoo / name)))
    command = [spawning.script("carboy"), "serve", "--port", str(spawning.free_port())]
    done = subprocess.run(
        command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert f"The file {str(zoo / name)!r}" in done.stderr
    for part in BROKEN[name]:
        assert part in done.stderr


BROKEN_OF_TORCH = {
    "gpu.pt": ("was written on a GPU, and this process sees none", "map_location='cpu'"),
    "whole.pt": ("contains a whole object of PyTorch", "net.state_dict()"),
    "cut.pt": ("ends early or is damaged", "copy it again"),
    "page.pt": ("a web page (it says 'Not found')", "curl --fail"),
}


def test_broken_files_of_torch_are_explained(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    READERS[".pt"] = torch.load
    subprocess.run([sys.executable, MAKER, tmp_path, "torch"], check=True, timeout=300)
    assert sorted(os.listdir(tmp_path)) == sorted(BROKEN_OF_TORCH)
    for name, (cause, way_out) in BROKEN_OF_TORCH.items():
        said = message_of(Carboy(__name__), str(tmp_path / name))
        assert cause in said
        assert way_out in said
        assert f"The file {str(tmp_path / name)!r}" in said


def test_every_file_of_the_zoo_is_tested(zoo):
    assert sorted(os.listdir(zoo)) == sorted(BROKEN)
