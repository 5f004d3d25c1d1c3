"""The threads on which numerical libraries of a worker compute."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types

import pytest

from carboy.serving.process.computethreads import (
    advice_on_sessions,
    imported_libraries,
    set_by_user,
    thread_environment,
    threads_of_each,
)

ALL = {
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
    "ORT_INTRA_OP_NUM_THREADS",
    "ORT_INTER_OP_NUM_THREADS",
}


@pytest.mark.parametrize(
    ("cpus", "processes", "threads"), [(8, 1, 8), (8, 2, 4), (8, 3, 2), (2, 4, 1), (1, 1, 1)]
)
def test_each_process_gets_its_share_of_the_cpus(cpus, processes, threads):
    assert threads_of_each(cpus, processes) == threads
    assert thread_environment(cpus, processes, {}) == dict.fromkeys(ALL, str(threads))


@pytest.mark.parametrize(
    ("environ", "missing"),
    [
        pytest.param({"MKL_NUM_THREADS": "3"}, {"MKL_NUM_THREADS"}, id="of one library"),
        pytest.param({"LOKY_MAX_CPU_COUNT": "3"}, {"LOKY_MAX_CPU_COUNT"}, id="of joblib"),
        pytest.param({"GOTO_NUM_THREADS": "3"}, {"OPENBLAS_NUM_THREADS"}, id="older name"),
        pytest.param(
            {"OMP_NUM_THREADS": "3"},
            {
                "OMP_NUM_THREADS",
                "OPENBLAS_NUM_THREADS",
                "MKL_NUM_THREADS",
                "BLIS_NUM_THREADS",
                "NUMEXPR_NUM_THREADS",
            },
            id="variable that other libraries read, too",
        ),
        pytest.param({"OMP_NUM_THREADS": ""}, set(), id="empty"),
    ],
)
def test_what_the_user_has_set_is_not_overridden(environ, missing):
    assert set(thread_environment(4, 2, environ)) == ALL - missing
    assert set_by_user({**environ, "HOME": "/"}) == {k: v for k, v in environ.items() if v}


def test_libraries_follow_the_variables():
    program = """
import json, os
import joblib, numpy, onnx, onnxruntime, sklearn.utils, threadpoolctl
from onnx import TensorProto, helper

pools = {each["user_api"]: each["num_threads"] for each in threadpoolctl.threadpool_info()}
side = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "g", side[:1], side[1:])
net = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
before = len(os.listdir("/proc/self/task"))
session = onnxruntime.InferenceSession(net.SerializeToString())
pools["onnxruntime"] = len(os.listdir("/proc/self/task")) - before + 1
pools["joblib"] = joblib.effective_n_jobs(-1)
print(json.dumps(pools))
"""
    found = {}
    for threads in (1, 3):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={"PATH": "", **thread_environment(threads, 1, {})},
            capture_output=True,
            text=True,
            check=True,
        )
        found[threads] = json.loads(done.stdout)
    assert found[1] == {"blas": 1, "openmp": 1, "onnxruntime": 1, "joblib": 1}
    # OpenBLAS and joblib have at most as many threads as this machine has cores.
    assert (found[3]["openmp"], found[3]["onnxruntime"]) == (3, 3)


def test_imported_libraries_are_found(monkeypatch):
    for name in ("torch", "numexpr"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert "torch" not in imported_libraries()
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    assert "torch" in imported_libraries()


class Session:
    def __init__(self, threads):
        self.threads = threads

    def get_session_options(self):
        return types.SimpleNamespace(intra_op_num_threads=self.threads)


@pytest.fixture
def advice(monkeypatch):
    """Return the advice for a version of ONNX Runtime, while sessions exist."""
    runtime = types.ModuleType("onnxruntime")
    runtime.InferenceSession = Session
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)

    def ask(version, threads="2"):
        runtime.__version__ = version
        return advice_on_sessions({"ORT_INTRA_OP_NUM_THREADS": threads})

    return ask


def test_sessions_of_an_older_onnx_runtime_are_named_unless_their_threads_are_set(advice):
    sessions = [Session(0), Session(0), Session(1)]
    said = advice("1.28.0")
    assert said.startswith("sessions of ONNX Runtime (2 of them) compute on as many threads as")
    assert said.endswith("SessionOptions whose intra_op_num_threads is 2")
    for version, threads in (
        ("1.29.0", "2"),
        ("2.0", "2"),
        ("unknown", "2"),
        ("1.28.0", "8"),
        ("1.28.0", ""),
        ("1.28.0", "two"),
    ):
        assert advice(version, threads) == ""
    del sessions[:2]
    assert advice("1.9.0") == ""


def test_process_without_onnx_runtime_gets_no_advice(monkeypatch):
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    assert advice_on_sessions({"ORT_INTRA_OP_NUM_THREADS": "1"}) == ""
