"""Errors of loading that have a usual cause say what to do about it."""

from __future__ import annotations

import os
import pickle
import sys
import types

import pytest

from carboy.cli.failures import format_for_user
from carboy.core.advice import advice_on, did_you_mean
from carboy.errors import ModelLoadError


def raised_by(function):
    with pytest.raises(Exception) as caught:
        function()
    return caught.value


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
    assert advice_on(raised_by(lambda: load(pickled))) == ADVICE


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


def test_file_beside_the_program_is_found_from_another_folder(tmp_path, monkeypatch):
    program = tmp_path / "shop" / "app.py"
    program.parent.mkdir()
    program.write_text("open('model.bin')\n")
    (program.parent / "model.bin").touch()
    monkeypatch.chdir(tmp_path)
    error = raised_by(lambda: exec(compile(program.read_text(), program, "exec"), {}))
    assert advice_on(error) == (
        f"The path is relative to the current folder, {str(tmp_path)!r}. It is in"
        f" {str(program.parent)!r}: write Path(__file__).parent / 'model.bin'."
    )


def test_misspelt_file_is_answered_with_the_file_that_exists(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    for name in ("model.joblib", "table.csv", "a.txt", "b.txt"):
        (tmp_path / "data" / name).touch()
    monkeypatch.chdir(tmp_path)
    error = raised_by(lambda: os.stat(os.path.join("data", "modle.joblib")))
    assert advice_on(error) == (
        f"The path is relative to the current folder, {str(tmp_path)!r}. Did you mean"
        " 'data/model.joblib'?"
    )


@pytest.mark.parametrize(
    "error",
    [AttributeError("'x' has no attribute 'y'"), FileNotFoundError(2, "No such file", "/no/such")],
)
def test_other_errors_get_no_advice(error):
    assert advice_on(error) == ""


def test_suggestion_is_near_or_one_of_three():
    assert did_you_mean("rotues", ["routes", "run", "shell", "serve"]) == " Did you mean 'routes'?"
    assert did_you_mean("THREDS", ["THREADS", "PROBES"]) == " Did you mean 'THREADS'?"
    assert did_you_mean("zzz", ["a", "b"], prefix="m:") == " Did you mean 'm:a' or 'm:b'?"
    assert did_you_mean("zzz", ["a", "b", "c", "d"]) == ""
