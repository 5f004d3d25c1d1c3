"""Mistakes in model files: each check finds its mistake, and nothing in a project without it."""

from __future__ import annotations

import hashlib
import pathlib
import pickle
import sys

import pytest
from checkfindings import findings_of

from carboy import Carboy
from carboy.models import save

DIGEST = hashlib.sha256(pickle.dumps("a model")).hexdigest()


@pytest.fixture(autouse=True)
def root(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)  # places are relative to the current folder
    return tmp_path


def write(path: str, content: bytes | str = pickle.dumps("a model")) -> None:
    file = pathlib.Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def found(code: str) -> list[tuple[str, str]]:
    here = pathlib.Path.cwd()
    findings = findings_of(code, Carboy(__name__, root_path=str(here)), here)
    return [(each.place, each.message) for each in findings]


def places(code: str) -> list[str]:
    return [place for place, _ in found(code)]


# --- carboy.W107, carboy.E108 ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "listed"),
    [
        ("models/a.pkl.sha256", f"{DIGEST}  a.pkl\n"),
        ("models/a.pkl.sha256", DIGEST),
        ("models/SHA256SUMS", f"{'0' * 64}  b.pkl\n{DIGEST} *a.pkl\n"),
        ("SHA256SUMS", f"{DIGEST.upper()}  ./models/a.pkl\n"),
    ],
)
def test_pickle_whose_digest_is_recorded_is_not_reported(path, listed):
    write("models/a.pkl")
    assert places("carboy.W107") == ["models/a.pkl"]
    write(path, listed)
    assert places("carboy.W107") == []
    assert places("carboy.E108") == []
    write("models/a.pkl", pickle.dumps("another model"))
    assert found("carboy.E108") == [("models/a.pkl", f"{path} has another SHA-256 digest.")]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("a.onnx", b"\x08\x07"),
        ("a.pkl", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"),
        ("a.sav", b"$FL2@(#) SPSS DATA FILE"),
        (".venv/lib/a.pkl", pickle.dumps("of a library")),
        ("venv/a.pkl", pickle.dumps("of a library")),
    ],
)
def test_file_that_is_no_pickle_of_the_project_is_not_reported(path, content):
    write(path, content)
    assert places("carboy.W107") == []


@pytest.mark.parametrize("path", ["a.joblib", "b/a.PT", "a.pth", "a.ckpt", "a.dill"])
def test_files_of_libraries_that_pickle_are_found(path):
    write(path)
    assert places("carboy.W107") == [path]


# --- carboy.W109 ----------------------------------------------------------------------------------


def install(root: pathlib.Path, monkeypatch: pytest.MonkeyPatch, name: str, version: str) -> None:
    """Let this process find another version of a distribution as the installed one."""
    about = root / "site-packages" / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
    about.parent.mkdir(parents=True)
    about.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(str(about.parents[1]))


@pytest.fixture(scope="module")
def estimator():
    linear_model = pytest.importorskip("sklearn.linear_model")
    return linear_model.LogisticRegression().fit([[0], [1]], [0, 1])


def forms_of(estimator: object) -> dict[str, bytes]:
    """Return an estimator as pickles of all versions, and as joblib writes it."""
    import io

    import joblib

    forms = {f"version {number}": pickle.dumps(estimator, number) for number in range(1, 6)}
    for method in ("", "zlib", "gzip", "bz2", "lzma", "xz"):
        file = io.BytesIO()
        joblib.dump(estimator, file, compress=(method, 3) if method else 0)
        forms[f"joblib {method}"] = file.getvalue()
    return forms


def test_estimator_of_another_version_is_found_without_unpickling(root, monkeypatch, estimator):
    sklearn = sys.modules["sklearn"]
    forms = forms_of(estimator)
    for number, content in enumerate(forms.values()):
        write(f"{number:02}.pkl", content)
    assert found("carboy.W109") == []
    install(root, monkeypatch, "scikit-learn", "0.24.2")
    message = f"It was written with scikit-learn {sklearn.__version__}, and 0.24.2 is installed."
    assert found("carboy.W109") == [(f"{number:02}.pkl", message) for number in range(len(forms))]


def test_version_is_found_wherever_it_stands_in_a_large_file(root, monkeypatch):
    part = b"\x8c\x10_sklearn_version\x94\x8c\x051.5.2\x94"
    install(root, monkeypatch, "scikit-learn", "1.6.0")
    message = "It was written with scikit-learn 1.5.2, and 1.6.0 is installed."
    for before in range(64 * 1024 - len(part), 64 * 1024 + 1):
        write("a.pkl", b"\x80" * before + part)
        assert found("carboy.W109") == [("a.pkl", message)], before


def test_arrays_of_numpy_2_are_found_if_numpy_1_is_installed(root, monkeypatch):
    numpy = pytest.importorskip("numpy", "2")
    write("a.pkl", pickle.dumps(numpy.zeros(3)))
    assert found("carboy.W109") == []
    install(root, monkeypatch, "numpy", "1.26.4")
    message = "It was written with numpy 2, and 1.26.4 is installed."
    assert found("carboy.W109") == [("a.pkl", message)]


def test_versions_that_mlflow_has_noted_are_compared(root, monkeypatch):
    install(root, monkeypatch, "boost", "2.1.0")
    write("model/requirements.txt", "mlflow-of-nobody==1.0\nboost==2.0.3\n")
    assert found("carboy.W109") == []  # not a model's folder
    write("model/MLmodel", "flavors: {}\n")
    message = "It was written with boost 2.0.3, and 2.1.0 is installed."
    assert found("carboy.W109") == [("model/requirements.txt", message)]


@pytest.mark.parametrize("content", [b"\x80\x04_sklearn_version\x94\x8c", b"x\x9cgarbage", b"BZhx"])
def test_damaged_file_is_not_reported(content):
    write("a.pkl", content)
    assert found("carboy.W109") == []


# --- cards of saved models ------------------------------------------------------------------------


def test_digests_on_a_card_are_compared_for_every_file_it_lists():
    pytest.importorskip("joblib")
    save({"rows": 3}, "models/m/1", format="joblib")
    save(None, "models/m/2", write=lambda folder: (folder / "a.txt").write_text("a"))
    for code in ("carboy.W107", "carboy.E108", "carboy.W109"):
        assert found(code) == []
    pathlib.Path("models/m/1/model.joblib").write_bytes(b"version https://git-lfs\n")
    pathlib.Path("models/m/2/a.txt").unlink()
    (changed, missing) = found("carboy.E108")
    assert changed[0] == "models/m/1/model.joblib"
    assert "models/m/1/card.json has another SHA-256 digest. The file is a pointer" in changed[1]
    assert missing == ("models/m/2/a.txt", "models/m/2/card.json lists it, and it is missing.")


def test_versions_on_a_card_are_compared(root, monkeypatch):
    joblib = pytest.importorskip("joblib")
    save({"rows": 3}, "models/m/1", format="joblib")
    install(root, monkeypatch, "joblib", "0.1")
    message = f"It was written with joblib {joblib.__version__}, and 0.1 is installed."
    assert found("carboy.W109") == [("models/m/1/card.json", message)]


def test_card_of_another_program_is_left_alone():
    write("card.json", '{"name": "Ace"}')
    assert found("carboy.E108") == found("carboy.W109") == []
