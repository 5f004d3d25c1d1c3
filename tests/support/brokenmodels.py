"""Write model files that cannot be loaded, each as it comes to be in practice.

    python brokenmodels.py FOLDER
    python brokenmodels.py FOLDER torch     those of PyTorch alone

It is a process of its own, so that classes of its `__main__`, and modules that it makes up, are
missing where the files are read.
"""

from __future__ import annotations

import os
import pickle
import sys
import types

import joblib
import numpy as np
import sklearn.linear_model


class Scaler:
    """A class that a notebook defines in a cell."""

    factor = 2.0


def made_up(module: str, name: str) -> type:
    """Return a class of a module that only this process has."""
    sys.modules[module] = types.ModuleType(module)
    found = type(name, (), {"__module__": module})
    setattr(sys.modules[module], name, found)
    return found


def renamed(module: str, name: str) -> type:
    """Return a class that only this process has in an installed module."""
    found = type(name, (), {"__module__": module})
    setattr(sys.modules[module], name, found)
    return found


class OfOldVersion:
    """An estimator with a state that a later version cannot read."""

    def __reduce__(self):
        return types.SimpleNamespace, (), {"_sklearn_version": "0.24.2", "nodes": Incompatible()}


class Incompatible:
    def __reduce__(self):
        return np.frombuffer, (b"123", "float64")


def half(path: str) -> None:
    os.truncate(path, os.path.getsize(path) // 2)


def write(name: str, data: bytes) -> None:
    with open(name, "wb") as file:
        file.write(data)


def write_all() -> None:
    joblib.dump(Scaler(), "notebook.joblib")
    write("notebook.pkl", pickle.dumps(Scaler()))
    joblib.dump(made_up("shop_features", "Features")(), "no_module.joblib")
    made_up("sklearn.linear_model.logistic", "LogisticRegression")
    joblib.dump(sys.modules["sklearn.linear_model.logistic"].LogisticRegression(), "moved.joblib")
    write("renamed.pkl", pickle.dumps(renamed(sklearn.linear_model.__name__, "OldRegression")()))
    joblib.dump(OfOldVersion(), "old.joblib")

    write(
        "lfs.joblib",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345678\n",
    )
    write("page.pkl", b"\n<!DOCTYPE html><html><head><title>Sign in</title></head></html>")
    write(
        "storage.pkl",
        b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>',
    )
    write("empty.joblib", b"")
    os.mkdir("folder.joblib")
    write("folder.joblib/model.joblib", b"")

    weights = {"weights": np.arange(10_000.0)}
    write("cut.pkl", pickle.dumps(weights))
    joblib.dump(weights, "cut.joblib")
    joblib.dump(weights, "cut_packed.joblib", compress=3)
    np.savez("cut.npz", **weights)
    import safetensors.numpy

    safetensors.numpy.save_file(weights, "cut.safetensors")
    write_graph("cut.onnx")
    for name in ("cut.pkl", "cut.joblib", "cut_packed.joblib", "cut.npz", "cut.safetensors"):
        half(name)
    half("cut.onnx")

    write("newer.pkl", b"\x80\x09" + pickle.dumps(weights)[2:])
    write("keras.pkl", b"\x89HDF\r\n\x1a\n" + bytes(100))
    write_graph("graph.pkl")
    with open("large.npy", "wb") as file:
        about = {"descr": "<f8", "fortran_order": False, "shape": (10**15,)}
        np.lib.format.write_array_header_1_0(file, about)


def write_graph(name: str) -> None:
    from onnx import TensorProto, helper, save_model

    rows = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3]) for n in ("x", "y")]
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "same", rows[:1], rows[1:])
    opset = [helper.make_opsetid("", 18)]
    save_model(helper.make_model(graph, opset_imports=opset, ir_version=9), name)


def write_those_of_torch() -> None:
    import torch
    import torch.serialization

    net = torch.nn.Linear(30, 20)
    torch.save(net, "whole.pt")
    torch.save(net.state_dict(), "cut.pt")
    half("cut.pt")
    write("page.pt", b"<html><title>Not found</title></html>")
    # The bytes that a machine with a GPU writes.
    torch.serialization.location_tag = lambda storage: "cuda:0"
    torch.save(net.state_dict(), "gpu.pt")


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    write_those_of_torch() if sys.argv[2:] == ["torch"] else write_all()
