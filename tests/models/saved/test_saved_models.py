"""A saved model loads in another process as it was, or says what has changed."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
from msgspec import Struct

from carboy.cli.models import models_group
from carboy.errors import ModelFileError, ModelLoadError, SignatureError
from carboy.models import load, save
from carboy.models.saved.card import read_card
from carboy.models.saved.savemodel import schema_of

pytest.importorskip("joblib")
numpy = pytest.importorskip("numpy")
sklearn = pytest.importorskip("sklearn")

SAVER = pathlib.Path(__file__).parents[2] / "support" / "savingmodels.py"


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    subprocess.run([sys.executable, SAVER, folder], check=True, timeout=300)
    return folder / "models" / "price" / "7"


@pytest.fixture
def seven(trained, tmp_path):
    """A copy that a test may change."""
    import shutil

    return pathlib.Path(shutil.copytree(trained, tmp_path / "models" / "price" / "7"))


def change_card(folder: pathlib.Path, **members: object) -> None:
    path = folder / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))


# --- the card ------------------------------------------------------------------------------------


def test_card_says_what_was_saved(trained):
    card = read_card(str(trained))
    data = (trained / "model.joblib").read_bytes()
    assert (card.name, card.version, card.format) == ("price", "7", "joblib")
    assert card.files["model.joblib"].sha256 == hashlib.sha256(data).hexdigest()
    assert card.files["model.joblib"].bytes == len(data)
    assert card.python == sys.version.split()[0]
    assert card.libraries["scikit-learn"] == sklearn.__version__
    assert card.libraries["numpy"] == numpy.__version__
    assert card.example == [[0.0, 1.0]]
    assert card.answer == pytest.approx([1.0])
    assert card.input["dtype"] == card.output["dtype"] == "float64"
    assert (card.input["shape"], card.output["shape"]) == ([1, 2], [1])
    assert card.metrics == {"r2": 1.0, "rows": 4}


class Flat(Struct):
    rooms: int
    area: float


class Price(Struct):
    euros: float


class Estimator:
    def predict(self, flat: Flat) -> Price:
        return Price(flat.rooms * 1000 + flat.area)


def test_types_of_predict_are_on_the_card(tmp_path):
    card = save(Estimator(), tmp_path / "flats" / "1", example={"rooms": 2, "area": 40})
    assert set(card.input["$defs"]["Flat"]["properties"]) == {"rooms", "area"}
    assert set(card.output["$defs"]["Price"]["properties"]) == {"euros"}
    assert card.example == {"rooms": 2, "area": 40}
    assert card.answer == {"euros": 2040.0}
    assert read_card(str(tmp_path / "flats" / "1")) == card


class OfLibrary:
    """Types as libraries write them, which no request has."""

    def predict(self, X: numpy.ndarray, margin: bool = False) -> numpy.ndarray:
        return X.sum(axis=1)


class OfAnything:
    def predict(self, X: t.Any) -> t.Any:
        return X.sum(axis=1)


@pytest.mark.parametrize("model", [OfLibrary(), OfAnything()])
def test_types_that_no_request_has_are_those_of_the_example(tmp_path, model):
    card = save(model, tmp_path / "m" / "1", example=numpy.array([[1.0, 2.0]]))
    assert (card.input["dtype"], card.input["shape"]) == ("float64", [1, 2])
    assert card.answer == [3.0]


def test_types_are_noted_without_an_example(tmp_path):
    card = save(Estimator(), tmp_path / "flats" / "1")
    assert set(card.input["$defs"]["Flat"]["properties"]) == {"rooms", "area"}
    assert "example" not in json.loads((tmp_path / "flats" / "1" / "card.json").read_text())


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (True, {"type": "boolean"}),
        (3, {"type": "integer"}),
        ("a", {"type": "string"}),
        (None, {"type": "null"}),
        ([], {"type": "array"}),
        ([1, 2], {"type": "array", "items": {"type": "integer"}}),
        (
            [1, "a"],
            {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]}},
        ),
        (
            {"a": 1.5},
            {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]},
        ),
    ],
)
def test_schema_of_an_example_without_types(value, schema):
    assert schema_of(value) == schema


# --- formats -------------------------------------------------------------------------------------


def test_estimator_predicts_the_same_in_another_process(trained):
    assert load(trained).predict(numpy.array([[4.0, 4.0]])) == pytest.approx([12.0])


def test_graph_of_onnx_loads_as_a_session(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    rows = [
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [None, 2]) for n in ("x", "y")
    ]
    node = onnx.helper.make_node("Add", ["x", "x"], ["y"])
    graph = onnx.helper.make_graph([node], "twice", rows[:1], rows[1:])
    opset = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    x = numpy.array([[1, 2]], dtype="float32")
    card = save(model, tmp_path / "twice" / "1", example={"x": x})
    assert (card.format, card.answer) == ("onnx", {"y": [[2.0, 4.0]]})
    assert card.input["properties"]["x"]["dtype"] == "float32"
    assert load(tmp_path / "twice" / "1").run(None, {"x": x})[0].tolist() == [[2.0, 4.0]]


def test_arrays_load_from_safetensors(tmp_path):
    pytest.importorskip("safetensors")
    card = save({"w": numpy.arange(3.0)}, tmp_path / "arrays" / "1")
    assert card.format == "safetensors"
    assert load(tmp_path / "arrays" / "1")["w"].tolist() == [0.0, 1.0, 2.0]


def test_weights_of_a_torch_module_load_on_the_cpu(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    net = torch.nn.Linear(2, 1)
    for version, name in (("1", None), ("2", "safetensors")):
        folder = tmp_path / "net" / version
        card = save(net, folder, example=torch.zeros(1, 2), format=name)
        assert card.answer == [pytest.approx(net.bias.tolist())]
        assert torch.equal(load(folder)["weight"], net.weight)


def write_text(folder):
    (folder / "deep").mkdir()
    (folder / "deep" / "words.txt").write_text("good bad")


def read_text(folder):
    return (folder / "deep" / "words.txt").read_text().split()


def test_own_functions_write_and_read(tmp_path):
    folder = tmp_path / "words" / "1"
    card = save(object(), folder, write=write_text)
    assert (card.format, list(card.files)) == ("own", ["deep/words.txt"])
    assert load(folder, read=read_text) == ["good", "bad"]
    with pytest.raises(ModelFileError, match="Pass the function that reads them: read="):
        load(folder)


# --- what `save` refuses, and leaves nothing behind ----------------------------------------------


class Fails:
    def predict(self, x):
        raise RuntimeError("no weights")


def defined_in_main() -> object:
    """Return an object of a class that seems to be defined by this program itself."""
    cls = type("Net", (), {"__module__": "__main__"})
    sys.modules["__main__"].Net = cls
    return cls()


REFUSED = {
    "fails": (Fails(), {"example": 1}, "failed on the example: RuntimeError: no weights"),
    "no predict": (object(), {"example": 1}, "no method `predict`. Pass the function"),
    "format": ([1], {"format": "job"}, "expected one of .*Did you mean 'joblib'"),
    "no arrays": ([1], {"format": "safetensors"}, "a dict of arrays or tensors"),
    "both": ([1], {"format": "joblib", "write": print}, "format= or write=, not both"),
    "metrics": ([1], {"metrics": [0.5]}, "expected a dict"),
    "no metrics": ([1], {"metrics": []}, "expected a dict"),
    "metric": ([1], {"metrics": {"a": float("nan")}}, "got 'a': nan"),
    "nothing": ([1], {"write": lambda folder: None}, "got no file"),
    "lambda": (lambda: 1, {}, "joblib cannot write .* write=function"),
    "types": (Estimator(), {"example": {"rooms": "two"}}, "the example does not fit `predict`"),
    "no JSON": (Estimator(), {"example": object()}, "no form in JSON"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_model_leaves_no_folder(tmp_path, name):
    model, options, says = REFUSED[name]
    with pytest.raises(ModelFileError, match=says):
        save(model, tmp_path / "m" / "1", **options)
    assert not (tmp_path / "m").exists() or os.listdir(tmp_path / "m") == []


def test_class_of_the_program_itself_is_refused_when_it_is_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "Net", None, raising=False)
    with pytest.raises(ModelFileError, match=r"its module is '__main__'.*Move it into a module"):
        save(defined_in_main(), tmp_path / "m" / "1")
    assert os.listdir(tmp_path / "m") == []


def test_version_is_never_overwritten(tmp_path, seven):
    before = (seven / "card.json").read_bytes()
    with pytest.raises(ModelFileError, match="A version is never overwritten"):
        save([1], seven)
    assert (seven / "card.json").read_bytes() == before


def test_version_that_another_process_saves_meanwhile_is_not_overwritten(tmp_path):
    def write(folder):
        (folder / "a.txt").write_text("second")
        save([1], tmp_path / "m" / "1")

    with pytest.raises(ModelFileError, match="A version is never overwritten"):
        save(None, tmp_path / "m" / "1", write=write)
    assert load(tmp_path / "m" / "1") == [1]
    assert os.listdir(tmp_path / "m") == ["1"]


def test_interrupted_save_leaves_nothing(tmp_path):
    def write(folder):
        (folder / "a.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save(None, tmp_path / "m" / "1", write=write)
    assert os.listdir(tmp_path / "m") == []


def test_others_may_read_a_saved_folder(tmp_path):
    save([1], tmp_path / "m" / "1")
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "m" / "1").stat().st_mode == (tmp_path / "plain").stat().st_mode


# --- comparison at loading -----------------------------------------------------------------------


def test_same_versions_are_loaded_in_silence(trained, caplog):
    load(trained)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"libraries": {"scikit-learn": "0.24.2"}}, "scikit-learn 0.24.2, and"),
        ({"libraries": {"numpy": "1.26.4"}}, "numpy 1.26.4, and"),
        ({"python": "3.8.10"}, "Python 3.8.10, and this is"),
    ],
)
def test_other_version_is_a_warning_with_both_versions(seven, caplog, members, says):
    change_card(seven, **members)
    assert load(seven).predict([[4.0, 4.0]]) == pytest.approx([12.0])
    (said,) = caplog.messages
    assert says in said
    assert f"Model price 7 in {str(seven)!r}" in said


@pytest.mark.parametrize("members", [{"libraries": {"of-nobody": "1"}}, {"python": "3.11.99"}])
def test_what_makes_no_difference_is_no_warning(seven, caplog, members):
    if "python" in members:
        members = {"python": f"{sys.version_info[0]}.{sys.version_info[1]}.99"}
    change_card(seven, **members)
    load(seven)
    assert caplog.messages == []


def replace(folder: pathlib.Path) -> None:
    data = bytearray((folder / "model.joblib").read_bytes())
    data[-2] ^= 1
    (folder / "model.joblib").write_bytes(data)


def point(folder: pathlib.Path) -> None:
    (folder / "model.joblib").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")


CHANGED = {
    "replaced": (replace, "has changed since it was saved.*somebody has replaced it"),
    "pointer": (point, "has changed since it was saved.*a pointer of Git LFS.*git lfs pull"),
    "missing": (lambda folder: (folder / "model.joblib").unlink(), "is missing.*all of its files"),
    "no card": (lambda folder: (folder / "card.json").unlink(), "has no 'card.json'"),
    "bad card": (lambda folder: (folder / "card.json").write_text("{}"), "is not the card"),
    "outside": (
        lambda folder: change_card(folder, files={"../x": {"bytes": 1, "sha256": ""}}),
        "which is not in its folder",
    ),
    "format": (lambda folder: change_card(folder, format="gguf"), "does not know.*Upgrade carboy"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_changed_folder_is_an_error_and_nothing_is_unpickled(seven, name):
    change, says = CHANGED[name]
    change(seven)
    with pytest.raises(ModelFileError, match=f"(?s){says}"):
        load(seven)


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("modles/price/7", r"no folder 'modles/price/7' \(relative to the current folder.*Path"),
        ("models/price", "has the versions 7: name one of them"),
        ("models/price/7/model.joblib", "is a file"),
    ],
)
def test_wrong_folder_is_answered_with_the_right_one(seven, monkeypatch, folder, says):
    monkeypatch.chdir(seven.parents[2])
    with pytest.raises(ModelFileError, match=says):
        load(folder)


# --- models of an app ----------------------------------------------------------------------------


def declare(app, **options):
    @app.model("/price", **options)
    class Price:
        def __init__(self, path: pathlib.Path) -> None:
            self.net = load(path)

        def predict(self, x: list[float]) -> float:
            return float(self.net.predict([x])[0])


def test_source_is_relative_to_the_app_and_shown_before_and_after_loading(app, client, seven):
    app.root_path = str(seven.parents[2])
    declare(app, source="models/price/7")
    before = client.get("/price").json
    assert client.call("price", x=[4, 4]) == pytest.approx(12)
    assert client.get("/price").json == before
    (card,) = before["cards"]
    assert (card["name"], card["version"]) == ("price", "7")
    assert card["metrics"] == {"r2": 1.0, "rows": 4}
    assert app.models["price"].version == "7"
    assert str(seven.parent) not in json.dumps(before)


def test_model_that_loads_by_itself_has_the_card(app, client, seven):
    @app.model("/price")
    class Price:
        def __init__(self) -> None:
            self.net = load(seven)

        def predict(self, x: list[float]) -> float:
            return float(self.net.predict([x])[0])

    assert "cards" not in client.get("/price").json
    app.load_models()
    assert client.get("/price").json["cards"][0]["version"] == "7"


def test_model_without_saved_files_has_no_cards(app, client):
    @app.model("/double")
    def double(x: float) -> float:
        return 2 * x

    assert "cards" not in client.get("/double").json
    assert "<details>" not in client.get("/double", headers={"Accept": "text/html"}).text
    assert app.models["double"].version is None


def test_page_shows_the_card(app, client, seven):
    declare(app, source=seven)
    text = client.get("/price", headers={"Accept": "text/html"}).text
    for shown in ("Model price 7", "r2 1, rows 4", f"scikit-learn {sklearn.__version__}"):
        assert shown in text


def test_command_shows_the_card(app, seven):
    declare(app, source=seven)
    result = app.test_cli_runner().invoke(models_group)
    for shown in ("price: price 7", "r2 1, rows 4", f"scikit-learn {sklearn.__version__}"):
        assert shown in result.output


def test_changed_file_of_a_source_is_refused_before_the_model_is_built(app, seven):
    replace(seven)
    built = []

    @app.model("/price", source=seven)
    class Price:
        def __init__(self, path: pathlib.Path) -> None:
            built.append(path)

        def predict(self, x: float) -> float:
            return x

    with pytest.raises(ModelLoadError, match=r"Model 'price' could not be loaded: .*has changed"):
        app.load_models()
    assert built == []


def test_source_needs_a_class_that_takes_the_path(app):
    with pytest.raises(SignatureError, match=r"takes no argument. Write `def __init__\(self, path"):

        @app.model("/a", source="models/a/1")
        class Without:
            def predict(self, x: float) -> float:
                return x

    with pytest.raises(SignatureError, match="this model is a function"):

        @app.model("/b", source="models/b/1")
        def function(x: float) -> float:
            return x

    with pytest.raises(ValueError, match=r"source=7.*expected the path of a folder"):
        declare(app, source=7)


@pytest.mark.parametrize("name", ["модель", "8\n", "\x7f", "\udce4"])
def test_folder_whose_name_could_not_stand_in_a_header_is_refused(tmp_path, name):
    with pytest.raises(ModelFileError, match="cannot be the name of a version"):
        save([1], tmp_path / "m" / name)
    assert not (tmp_path / "m").exists()


def test_link_to_a_folder_among_the_files_of_a_model_is_refused(tmp_path):
    def write(folder):
        (folder / "weights").symlink_to(tmp_path / "elsewhere")

    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(ModelFileError, match="weights' is a link to a folder"):
        save(None, tmp_path / "m" / "1", write=write)
    assert not (tmp_path / "m" / "1").exists()
