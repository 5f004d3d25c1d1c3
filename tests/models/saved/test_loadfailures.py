"""Errors that are raised while a model is loaded name the file, wherever the program has its path,
and say what to do. Errors with other causes are left as they are.
"""

from __future__ import annotations

import os
import pathlib
import pickle
import sys
import types

import pytest

from carboy.cli.failures import format_for_user
from carboy.errors import ModelLoadError
from carboy.models.saved.loadfailures import explain_failure

LFS = b"version https://git-lfs.github.com/spec/v1\nsize 1000\n"


def raised_by(function):
    with pytest.raises(Exception) as caught:
        function()
    return caught.value


# --- classes of __main__ -------------------------------------------------------------------------


@pytest.fixture
def pickled(monkeypatch):
    """A pickle of a class that only the notebook's own `__main__` had."""
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    main.Scaler = type("Scaler", (), {"__module__": "__main__"})
    data = pickle.dumps(main.Scaler())
    del main.Scaler
    return data


ADVICE = (
    "The file was pickled by a notebook or a script that defined 'Scaler' itself, so that the file"
    " says '__main__.Scaler'. Move 'Scaler' into a module, import it from there where the file is"
    " written, and write the file again. Or, before the file is read: import __main__;"
    " __main__.Scaler = Scaler."
)


@pytest.mark.parametrize("load", [pickle.loads, pickle._loads])
def test_class_pickled_in_main_is_named_with_the_ways_out(pickled, load):
    assert explain_failure(raised_by(lambda: load(pickled))) == ADVICE


def test_model_that_reads_such_a_pickle_says_so(app, pickled):
    @app.model("/m")
    class Model:
        def __init__(self):
            pickle.loads(pickled)

        def predict(self, x: float) -> float:
            return x

    with pytest.raises(ModelLoadError) as caught:
        app.load_models()
    assert "AttributeError: " in str(caught.value)
    assert str(caught.value).endswith(f"). {ADVICE}")


def test_command_that_imports_such_a_pickle_says_so_once(pickled):
    error = raised_by(lambda: pickle.loads(pickled))
    assert format_for_user(error).count(ADVICE) == format_for_user(error).count(ADVICE) == 1


# --- the file ------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.pkl").write_bytes(pickle.dumps("good"))
    (tmp_path / "bad.pkl").write_bytes(LFS)
    return tmp_path


BAD = pathlib.Path("bad.pkl")


def by_literal():
    with open("good.pkl", "rb"), open("bad.pkl", "rb") as file:
        pickle.load(file)


def by_unclosed_literal():
    pickle.loads(pathlib.Path("bad.pkl").read_bytes())


def by_variables():
    good, bad = "good.pkl", "bad.pkl"
    with open(good, "rb") as file:
        pickle.load(file)
    with open(bad, "rb") as file:
        pickle.load(file)


def by_global():
    pickle.loads(BAD.read_bytes())


def by_attribute():
    self = types.SimpleNamespace(good="good.pkl", bad="bad.pkl")
    pickle.loads(pathlib.Path(self.bad).read_bytes())


def by_called_function():
    def read(data):
        return pickle.loads(data)

    path = "bad.pkl"
    read(pathlib.Path(path).read_bytes())


@pytest.mark.parametrize(
    "read",
    [
        by_literal,
        by_unclosed_literal,
        by_variables,
        by_global,
        by_attribute,
        by_called_function,
    ],
)
def test_file_is_found_wherever_the_program_has_its_path(here, read):
    said = explain_failure(raised_by(read))
    assert said.startswith("The file 'bad.pkl' is a pointer of Git LFS")


def test_file_beside_the_program_is_found_from_another_folder(tmp_path, monkeypatch):
    program = tmp_path / "shop" / "app.py"
    program.parent.mkdir()
    program.write_text("open('model.bin')\n")
    (program.parent / "model.bin").touch()
    monkeypatch.chdir(tmp_path)
    error = raised_by(lambda: exec(compile(program.read_text(), program, "exec"), {}))
    assert explain_failure(error) == (
        f"The path is relative to the current folder, {str(tmp_path)!r}. It is in"
        f" {str(program.parent)!r}: write Path(__file__).parent / 'model.bin'."
    )


def test_misspelt_file_is_answered_with_the_file_that_exists(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    for name in ("model.joblib", "table.csv", "a.txt", "b.txt"):
        (tmp_path / "data" / name).touch()
    monkeypatch.chdir(tmp_path)
    error = raised_by(lambda: os.stat(os.path.join("data", "modle.joblib")))
    assert explain_failure(error) == (
        f"The path is relative to the current folder, {str(tmp_path)!r}. Did you mean"
        " 'data/model.joblib'?"
    )


# --- other causes --------------------------------------------------------------------------------


def import_missing():
    path = "good.pkl"
    import no_such_library  # noqa: F401

    return path


def fail_on_text():
    path = "table.csv"
    return int(path)


def fail_after_reading():
    with open("good.pkl", "rb") as file:
        found = pickle.load(file)
    raise ValueError(found)


def fail_beside_an_array():
    path = "rows.npy"
    return {}[path]


@pytest.mark.parametrize(
    "fail", [import_missing, fail_on_text, fail_after_reading, fail_beside_an_array]
)
def test_error_of_the_program_itself_is_not_explained_by_a_file(here, fail):
    (here / "rows.npy").write_bytes(b"\x93NUMPY")
    (here / "table.csv").write_text("a\n")
    assert explain_failure(raised_by(fail)) == ""


@pytest.mark.parametrize(
    "error",
    [AttributeError("'x' has no attribute 'y'"), FileNotFoundError(2, "No such file", "/no/such")],
)
def test_other_errors_get_no_advice(error):
    assert explain_failure(error) == ""


@pytest.mark.parametrize(
    "said",
    [
        "Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False.",
        "Attempting to deserialize object on CUDA device 1 but torch.cuda.device_count() is 1.",
        "No CUDA GPUs are available",
        "Torch not compiled with CUDA enabled",
        "Found no NVIDIA driver on your system.",
    ],
)
def test_gpu_that_the_process_lacks_is_explained(said):
    explained = explain_failure(RuntimeError(said))
    assert "The program asks for a GPU, and this process sees none" in explained
    assert "map_location='cpu'" in explained
