"""The formats in which `save` writes a model, each with the library that reads it again.

    onnx          a graph (`onnx.ModelProto`); read as a session of ONNX Runtime
    torch         the weights of a module of PyTorch (its `state_dict`), or a dict of tensors
    safetensors   a dict of arrays or tensors
    joblib        any object that can be pickled, such as an estimator of scikit-learn

A library is imported when its format is used.
"""

from __future__ import annotations

import os
import typing as t
from collections import abc as cabc
from importlib import import_module

from carboy.errors import ModelFileError

from .pickles import modules_in

#: The format of files that the author's own function writes.
OWN: t.Final = "own"


class FileFormat:
    """How one kind of model is written to a file and read again.

    Attributes:
        needs: the modules that write the file. The installed versions of their distributions are
            noted on the card.
        reads: the module that reads the file.
    """

    name: str
    file: str
    needs: tuple[str, ...]
    reads: str

    def takes(self, model: t.Any) -> bool:
        """Return whether this is the usual format of a model. Imports no library: a model of a
        library has imported it.
        """
        raise NotImplementedError

    def write(self, model: t.Any, path: str) -> None:
        raise NotImplementedError

    def read(self, path: str) -> t.Any:
        raise NotImplementedError

    def modules_for(self, path: str) -> cabc.Iterable[str]:
        """Return the modules whose versions count for reading a file."""
        return self.needs

    def predict_of(self, model: t.Any) -> cabc.Callable[..., t.Any] | None:
        """Return the function that computes the answer to an example; None if there is none."""
        found = getattr(model, "predict", None)
        return found if callable(found) else None


class _Onnx(FileFormat):
    name, file, needs, reads = "onnx", "model.onnx", ("onnx",), "onnxruntime"

    def takes(self, model: t.Any) -> bool:
        return _is_of(model, "onnx") and type(model).__name__ == "ModelProto"

    def write(self, model: t.Any, path: str) -> None:
        _need("onnx", self.name).save_model(model, path)

    def read(self, path: str) -> t.Any:
        runtime = _need("onnxruntime", self.name)
        return runtime.InferenceSession(path, providers=runtime.get_available_providers())

    def predict_of(self, model: t.Any) -> cabc.Callable[..., t.Any]:
        runtime = _need("onnxruntime", "an example of onnx")
        session = runtime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        names = [output.name for output in session.get_outputs()]
        return lambda inputs: dict(zip(names, session.run(None, inputs), strict=True))


class _Torch(FileFormat):
    name, file, needs, reads = "torch", "weights.pt", ("torch",), "torch"

    def takes(self, model: t.Any) -> bool:
        return (hasattr(model, "state_dict") and _has_base(model, "torch.nn")) or (
            _values_are(model, "torch", "Tensor")
        )

    def write(self, model: t.Any, path: str) -> None:
        _need("torch", self.name).save(weights_of(model), path)

    def read(self, path: str) -> t.Any:
        # On the CPU whatever device has computed the weights: the file loads on every machine.
        return _need("torch", self.name).load(path, map_location="cpu", weights_only=True)

    def predict_of(self, model: t.Any) -> cabc.Callable[..., t.Any] | None:
        return super().predict_of(model) or (model if callable(model) else None)


class _SafeTensors(FileFormat):
    name, file, needs, reads = "safetensors", "model.safetensors", ("safetensors",), "safetensors"

    def takes(self, model: t.Any) -> bool:
        return _values_are(model, "numpy", "ndarray")

    def write(self, model: t.Any, path: str) -> None:
        weights = weights_of(model)
        is_torch = _values_are(weights, "torch", "Tensor")
        if not is_torch and not _values_are(weights, "numpy", "ndarray"):
            raise ModelFileError(
                f"safetensors writes a dict of arrays or tensors by their names, got"
                f" {type(model).__name__}. Leave out format=, or choose format='joblib'."
            )
        part = _need("safetensors.torch" if is_torch else "safetensors.numpy", self.name)
        part.save_file(weights, path, metadata={"format": "pt" if is_torch else "np"})

    def read(self, path: str) -> t.Any:
        with _need("safetensors", self.name).safe_open(path, "np") as file:
            is_torch = (file.metadata() or {}).get("format") == "pt"
        part = _need("safetensors.torch" if is_torch else "safetensors.numpy", self.name)
        return part.load_file(path)


class _Joblib(FileFormat):
    name, file, needs, reads = "joblib", "model.joblib", ("joblib",), "joblib"

    def takes(self, model: t.Any) -> bool:
        return True

    def write(self, model: t.Any, path: str) -> None:
        try:
            _need("joblib", self.name).dump(model, path)
        except (ModelFileError, OSError):  # such as a full disk
            raise
        except Exception as exc:
            raise ModelFileError(
                f"joblib cannot write the {type(model).__name__}: {type(exc).__name__}: {exc}. Pass"
                " a function that writes it: carboy.models.save(..., write=function)."
            ) from exc
        if "__main__" in modules_in(path):
            raise ModelFileError(
                f"The {type(model).__name__} contains a class or function that this notebook or"
                " script defines itself (its module is '__main__'), so that no other program could"
                " load the file. Move it into a module, and import it from there here and in the"
                " app."
            )

    def read(self, path: str) -> t.Any:
        return _need("joblib", self.name).load(path)

    def modules_for(self, path: str) -> cabc.Iterable[str]:
        return {*self.needs, *modules_in(path)}


#: The formats by their names. The first one that takes a model is its usual format.
FORMATS: t.Mapping[str, FileFormat] = {
    each.name: each for each in (_Onnx(), _Torch(), _SafeTensors(), _Joblib())
}


def weights_of(model: t.Any) -> t.Any:
    """Return the weights of a module of PyTorch; any other model as it is."""
    return model.state_dict() if _has_base(model, "torch.nn") else model


def _need(module: str, format_name: str) -> t.Any:
    try:
        return import_module(module)
    except ImportError as exc:
        library = module.partition(".")[0]
        raise ModelFileError(
            f"The format {format_name!r} needs {library}, which cannot be imported: {exc}. Install"
            f" it: python -m pip install {library}."
        ) from exc


def _is_of(model: t.Any, library: str) -> bool:
    return type(model).__module__.partition(".")[0] == library


def _has_base(model: t.Any, package: str) -> bool:
    return any(f"{base.__module__}.".startswith(f"{package}.") for base in type(model).__mro__)


def _values_are(model: t.Any, library: str, class_name: str) -> bool:
    """Return whether a model is a dict of arrays or tensors of a library."""
    return (
        isinstance(model, cabc.Mapping)
        and bool(model)
        and all(isinstance(name, str) for name in model)
        and all(
            any(
                base.__name__ == class_name and _root(base) == library
                for base in type(value).__mro__
            )
            for value in model.values()
        )
    )


def _root(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def record_files(folder: str) -> list[str]:
    """Return the files below a folder, relative to it, with "/" between names.

    Raises:
        OSError: a folder in it cannot be read.
        ModelFileError: a link in it leads to a folder, which may be anywhere, and of any size.
    """
    found = []
    for place, folders, names in os.walk(folder, onerror=_raise):
        paths = [os.path.join(place, name) for name in folders]
        if linked := [each for each in paths if os.path.islink(each)]:
            raise ModelFileError(
                f"{linked[0]!r} is a link to a folder. A version of a model has its own files: copy"
                " them into it, instead of the link."
            )
        found += [os.path.relpath(os.path.join(place, name), folder) for name in names]
    return sorted(name.replace(os.sep, "/") for name in found)


def _raise(failure: OSError) -> t.NoReturn:
    raise failure
