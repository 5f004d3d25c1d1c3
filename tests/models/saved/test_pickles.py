"""Pickles are looked at without being unpickled, and damaged ones do no harm."""

from __future__ import annotations

import io
import os
import pathlib
import pickle
import random

import pytest

from carboy import request
from carboy.models.saved.loadfailures import explain_failure, explain_file
from carboy.models.saved.pickles import makers_of, modules_in

joblib = pytest.importorskip("joblib")
linear_model = pytest.importorskip("sklearn.linear_model")


@pytest.fixture(scope="module")
def estimator():
    return linear_model.LogisticRegression().fit([[0], [1]], [0, 1])


def forms_of(estimator: object) -> dict[str, bytes]:
    forms = {f"pickle {number}": pickle.dumps(estimator, number) for number in range(6)}
    for method in ("zlib", "gzip", "bz2", "lzma", "xz"):
        file = io.BytesIO()
        joblib.dump(estimator, file, compress=(method, 3))
        forms[method] = file.getvalue()
    return forms


def test_modules_are_found_in_every_form_of_a_pickle(tmp_path, estimator):
    for name, data in forms_of(estimator).items():
        path = tmp_path / "a.pkl"
        path.write_bytes(data)
        modules = modules_in(str(path))
        assert "sklearn.linear_model._logistic" in modules, name
        if name != "pickle 0":  # a text, in which other words look like modules
            tops = {each.partition(".")[0] for each in modules}
            known = {"sklearn", "numpy", "joblib", "copy_reg", "copyreg", "builtins", "_codecs"}
            assert tops <= known | {"__builtin__"}, name


def test_no_code_of_a_pickle_runs_while_it_is_looked_at(tmp_path):
    class Bad:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    path = tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps(Bad()))
    assert modules_in(str(path)) == {os.mkdir.__module__}
    makers_of(str(path))
    for error in (None, EOFError(), pickle.UnpicklingError("truncated"), KeyError(3)):
        explain_file(error, str(path))
    assert not (tmp_path / "made").exists()


def test_damaged_files_are_explained_or_not_and_never_raise(tmp_path, estimator):
    changes = random.Random(7)
    path = tmp_path / "a.pkl"
    for data in forms_of(estimator).values():
        for _ in range(20):
            damaged = bytearray(data[: changes.randrange(1, len(data))])
            damaged[changes.randrange(len(damaged))] = changes.randrange(256)
            path.write_bytes(damaged)
            for error in (EOFError(), AttributeError("Can't get attribute 'X' on <module 'y'>")):
                assert isinstance(explain_file(error, str(path)), str)


class Hostile:
    @property
    def __class__(self):
        raise RuntimeError("looked at")

    def __getattr__(self, name):
        raise RuntimeError("looked at")


def test_variables_that_refuse_to_be_looked_at_do_not_hide_the_error(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(b"")

    def read(hostile, proxy):
        with open(path, "rb") as file:
            pickle.load(file)

    with pytest.raises(EOFError) as caught:
        read(Hostile(), request)  # a proxy without a request
    assert explain_failure(caught.value).startswith(f"The file {str(path)!r} is empty")


def test_file_that_has_gone_is_not_explained():
    assert explain_file(EOFError(), str(pathlib.Path("/no/such.pkl"))) == ""
