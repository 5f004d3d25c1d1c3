"""Unpickling: nothing that a client sends reaches a function that runs code from data.

ASVS 5.0: 1.5.2
Also tested in: tests/contract/values/test_npy.py, tests/contract/values/test_tables.py,
    tests/models/replicas/test_frames.py, tests/test_sessions.py
"""

from __future__ import annotations

import ast
import io
import os
import pathlib
import pickle
import typing as t

import numpy as np
import pytest

import carboy
from carboy import Carboy
from carboy.models import DataFrame, Tensor

ROOT = pathlib.Path(carboy.__file__).parent
# Functions that run code from data, by their last two names.
DANGEROUS = {
    *(f"{module}.{name}" for module in ("pickle", "_pickle", "marshal", "dill", "cloudpickle")
      for name in ("load", "loads", "Unpickler")),
    *("joblib.load", "torch.load", "np.load", "numpy.load", "pd.read_pickle", "pandas.read_pickle"),
    *("shelve.open", "yaml.load", "yaml.unsafe_load", "pa.deserialize", "pyarrow.deserialize"),
    *("eval", "exec", "compile", "os.system", "subprocess.getoutput"),
}  # fmt: skip
# Where they are used, and why no client decides on what.
ALLOWED = {
    "cli/discovery.py": "runs the app's own file, as an import does",
    "cli/programs.py": "runs the program of the command line, as Python does",
    "cli/shell.py": "runs the file of PYTHONSTARTUP, as Python's own shell does",
    "config.py": "runs the Python file that the program names",
    "contract/answercheck.py": "evaluates an expression that is made from the program's types",
    "contract/binding.py": "runs code that is made from the signature of a view",
    "models/bulkfiles.py": "reads a file of the command line, with allow_pickle=False",
    "project/pythonfile.py": "runs the Python file that the program names",
}


def calls(path: pathlib.Path) -> t.Iterator[str]:
    """Yield the last two names of each function that a module calls."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Name(id=name)):
                yield name
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=name)):
                yield f"{owner}.{name}"
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr=owner), attr=name)):
                yield f"{owner}.{name}"


def test_functions_that_run_code_from_data_are_used_on_no_input_of_a_client():
    found = {
        path.relative_to(ROOT).as_posix(): sorted(used)
        for path in ROOT.rglob("*.py")
        if (used := DANGEROUS & set(calls(path)))
    }
    assert found.keys() == ALLOWED.keys(), found


class Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __reduce__(self) -> t.Any:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def client():
    app = Carboy(__name__)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.config["MODEL_PROTOCOLS"] = ["v2"]
    app.secret_key = "a key of this test only"

    @app.model("/tensor")
    def tensor(x: Tensor["float32", ...]) -> int:
        return int(x.size)

    @app.model("/table")
    def table(table: DataFrame) -> int:
        return len(table)

    @app.model("/any")
    def anything(x: t.Any) -> str:
        return type(x).__name__

    @app.get("/session")
    def session():
        return dict(carboy.session)

    return app.test_client()


def _npy(value: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([value], dtype=object), allow_pickle=True)
    return file.getvalue()


def _npz(value: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, np.array([value], dtype=object))
    return file.getvalue()


def _arrow(data: bytes) -> bytes:
    """Return a table of Arrow whose column has a pickle as the metadata of its type."""
    import pyarrow as pa

    metadata = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": data,
    }
    schema = pa.schema([pa.field("a", pa.int64(), metadata=metadata)], metadata={b"pandas": data})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch([pa.array([1])], schema=schema))
    return t.cast("bytes", sink.getvalue().to_pybytes())


BODIES: dict[str, t.Callable[[Bomb], bytes]] = {
    "pickle": pickle.dumps,
    "old pickle": lambda bomb: pickle.dumps(bomb, protocol=0),
    "array of objects": _npy,
    "archive of arrays of objects": _npz,
    "type of Arrow": lambda bomb: _arrow(pickle.dumps(bomb)),
}
TYPES = [
    *("application/x-npy", "application/octet-stream", "application/vnd.apache.arrow.stream"),
    *("application/x-pickle", "application/python-pickle", "application/json", "text/csv"),
    *("application/msgpack", "application/x-npz", "application/vnd.apache.parquet", "text/plain"),
]


@pytest.mark.parametrize("name", BODIES)
def test_no_body_is_unpickled_whatever_it_is_called(client, tmp_path, name):
    left = tmp_path / "left"
    body = BODIES[name](Bomb(left))
    for path in ("/tensor", "/table", "/any", "/v2/models/tensor/infer"):
        for media_type in TYPES:
            status = client.post(path, data=body, content_type=media_type).status_code
            assert status in (200, 400, 413, 415, 422)
        for field in ("x", "table", "file"):
            files = {field: (io.BytesIO(body), "a.pkl", "application/octet-stream")}
            assert client.post(path, data=files).status_code in (200, 400, 413, 415, 422)
    assert not left.exists()
    # The check is worth something: unpickled, it leaves the folder.
    pickle.loads(pickle.dumps(Bomb(left)))
    assert left.exists()


def test_session_cookie_is_no_pickle(client, tmp_path):
    import base64

    data = base64.urlsafe_b64encode(pickle.dumps(Bomb(tmp_path / "left"))).decode()
    client.set_cookie("session", f"{data}.abc.def")
    assert client.get("/session").json == {}
    assert not (tmp_path / "left").exists()
