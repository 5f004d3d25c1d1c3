"""Models that MLflow has saved: a class for `app.model`, whose types are the model's signature.

    signature in the file MLmodel         parameter and result of `predict`
    columns with names                    rows: DataFrame[Row]
    one tensor, or tensors with names     inputs: Tensor[...], or a parameter for each tensor
    one column without a name (result)    list[float]
    no signature of the result            Any

The signature is read without MLflow, so that a process that does not load the model need not import
MLflow. Source: https://mlflow.org/docs/latest/ml/model/signatures
"""

from __future__ import annotations

import datetime as dt
import inspect
import json
import os
import typing as t

import msgspec

from carboy.contract.values.nested import DTYPES
from carboy.contract.values.tables import DataFrame
from carboy.contract.values.tensor import Tensor
from carboy.errors import ModelFileError, YAMLMissingError

if t.TYPE_CHECKING:
    from collections import abc as cabc

_FILE = "MLmodel"
_INT32 = t.Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
# The types of columns by MLflow's names, and the dtypes that MLflow demands where they are not
# those of carboy's tables.
_COLUMNS: dict[str, t.Any] = {
    "boolean": bool,
    "integer": _INT32,
    "long": int,
    "float": float,
    "double": float,
    "string": str,
    "datetime": dt.datetime,
}
_DTYPES = {"integer": "int32", "float": "float32", "string": "object"}
_SELF = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)


def mlflow_model(folder: str | os.PathLike[str]) -> type[t.Any]:
    """Return a class that serves a model which MLflow has saved. Its types are the signature of the
    model.

        app.model("/wine")(mlflow_model("models/wine"))

    The model itself is loaded by MLflow, when the server starts.

    Args:
        folder: the folder that has the file MLmodel. With `app.model(..., source=...)`, its
            signature is that of all versions.

    Raises:
        ModelFileError: the folder has no model with a signature, or the signature has a type that
            predictions over HTTP cannot have.
    """
    path = os.path.abspath(folder)
    signature = _read_signature(path)
    form = _InputForm(signature, path)
    result = _result_type(signature, path)

    def load(self: t.Any, version: str | os.PathLike[str] = path) -> None:
        if _read_signature(os.fspath(version)) != signature:
            raise ModelFileError(
                f"{os.fspath(version)}: the signature of this model is not the one in {path}, from"
                " which the types of the app are. Serve it at a URL of its own."
            )
        self.model = _load(os.fspath(version))

    def predict(self: t.Any, **inputs: t.Any) -> t.Any:
        return result.convert(self.model.predict(form.convert(inputs)))

    parameters = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation)
        for name, annotation in form.types.items()
    ]
    t.cast("t.Any", predict).__signature__ = inspect.Signature(
        [_SELF, *parameters], return_annotation=result.type
    )
    predict.__annotations__ = {**form.types, "return": result.type}
    doc = f"The model of MLflow in the folder {os.path.basename(path)}."
    return type("MLflowModel", (), {"__init__": load, "predict": predict, "__doc__": doc})


def _load(folder: str) -> t.Any:
    try:
        from mlflow.pyfunc import load_model  # type: ignore[import-not-found,unused-ignore]
    except ImportError as exc:
        raise ModelFileError(
            f"{folder} is a model of MLflow, which cannot be imported: {exc}. Install mlflow or"
            " mlflow-skinny, and what the file requirements.txt in the folder lists."
        ) from exc
    return load_model(folder)


class Signature(msgspec.Struct):
    """The signature of a model: its inputs and outputs, as MLflow writes them in JSON."""

    inputs: list[dict[str, t.Any]]
    outputs: list[dict[str, t.Any]] | None


def _read_signature(folder: str) -> Signature:
    try:
        import yaml
    except ImportError as exc:
        raise YAMLMissingError(
            f"{folder}: PyYAML reads the file {_FILE}: pip install pyyaml, or mlflow-skinny."
        ) from exc
    path = os.path.join(folder, _FILE)
    try:
        with open(path, "rb") as file:
            found = yaml.safe_load(file)
        written = found.get("signature") or {}
        inputs, outputs = (
            json.loads(written.get(name) or "null") for name in ("inputs", "outputs")
        )
        if inputs:
            return Signature(inputs, outputs)
    except OSError as exc:
        raise ModelFileError(
            f"{path}: {exc.strerror}. Expected the folder of a model that mlflow...save_model() or"
            " `mlflow artifacts download` has written."
        ) from exc
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as exc:
        raise ModelFileError(
            f"{path} is not a description of a model: {exc}. Expected what mlflow...save_model()"
            " has written: save the model anew."
        ) from exc
    raise ModelFileError(
        f"{path} has no signature, so the types of the inputs are not known. Save the model with"
        " signature=mlflow.models.infer_signature(inputs, outputs), or write a class whose"
        " __init__ calls mlflow.pyfunc.load_model."
    )


# --- inputs --------------------------------------------------------------------------------------


class _InputForm:
    """The parameters of `predict`, and how they become the input of the model.

    Attributes:
        types: the types of the parameters by name.
    """

    def __init__(self, signature: Signature, folder: str) -> None:
        specs = signature.inputs
        self._is_table = not _are_tensors(specs)
        self._dtypes: dict[str, str] = {}
        if self._is_table:
            self.types: dict[str, t.Any] = {"rows": DataFrame[_row_type("Row", specs, folder)]}  # type: ignore[misc]
            self._dtypes = {
                each["name"]: _DTYPES[each["type"]] for each in specs if each["type"] in _DTYPES
            }
            return
        self._is_named = "name" in specs[0]
        self.types = {_name_of(each, folder): _tensor_type(each, folder) for each in specs}

    def convert(self, inputs: dict[str, t.Any]) -> t.Any:
        if not self._is_table:
            return inputs if self._is_named else inputs["inputs"]
        rows = inputs["rows"]
        # A column with missing values keeps its dtype: MLflow says what is wrong with it.
        dtypes = {
            name: dtype
            for name, dtype in self._dtypes.items()
            if name in rows and (dtype == "object" or not rows[name].hasnans)
        }
        return rows.astype(dtypes)


def _are_tensors(specs: list[dict[str, t.Any]]) -> bool:
    return bool(specs[0]["type"] == "tensor")


def _name_of(spec: dict[str, t.Any], folder: str) -> str:
    name: str = spec.get("name", "inputs")
    if not name.isidentifier():
        raise ModelFileError(
            f"{folder}: the tensor {name!r} cannot be a parameter of `predict`. Write a class whose"
            " __init__ calls mlflow.pyfunc.load_model."
        )
    return name


def _tensor_type(spec: dict[str, t.Any], folder: str) -> t.Any:
    about = spec["tensor-spec"]
    sides = [
        side if side >= 0 else "n" if i == 0 else f"side{i}"
        for i, side in enumerate(about["shape"])
    ]
    if about["dtype"] not in DTYPES:
        raise ModelFileError(
            f"{folder}: the signature has a tensor of {about['dtype']}, which is not supported."
            f" Tensors have numbers: {', '.join(DTYPES)}."
        )
    return t.cast("t.Any", Tensor)[(about["dtype"], *sides)]


def _row_type(name: str, specs: list[dict[str, t.Any]], folder: str) -> type[msgspec.Struct]:
    """Return a Struct with a field for each column."""
    fields: list[tuple[str, t.Any, t.Any]] = []
    for i, spec in enumerate(specs):
        column = spec.get("name")
        if column is None or spec["type"] not in _COLUMNS:
            raise ModelFileError(
                f"{folder}: the column {column or i + 1!r} of the signature has the type"
                f" {spec['type']!r}{'' if column else ' and no name'}. A table has columns with"
                f" names and the types {', '.join(_COLUMNS)}. Write a class whose __init__ calls"
                " mlflow.pyfunc.load_model."
            )
        kind = _COLUMNS[spec["type"]]
        if spec.get("required", True):
            fields.append((f"column{i}", kind, msgspec.field(name=column)))
        else:
            fields.append((f"column{i}", kind | None, msgspec.field(name=column, default=None)))
    return msgspec.defstruct(name, fields, kw_only=True)


# --- the result ----------------------------------------------------------------------------------


class _ResultType(t.NamedTuple):
    """The return type of `predict`, and how what the model returns becomes a value of it."""

    type: t.Any
    convert: cabc.Callable[[t.Any], t.Any]


def _result_type(signature: Signature, folder: str) -> _ResultType:
    specs = signature.outputs
    if not specs:
        return _ResultType(t.Any, _plain)
    if _are_tensors(specs):
        if len(specs) > 1 or "name" in specs[0]:
            return _ResultType(t.Any, _plain)
        dtype = specs[0]["tensor-spec"]["dtype"]
        return _ResultType(_tensor_type(specs[0], folder), lambda found: _array(found, dtype))
    if all("name" in each for each in specs):
        row = _row_type("Prediction", specs, folder)
        return _ResultType(DataFrame[row], lambda found: found)  # type: ignore[valid-type]
    if len(specs) == 1 and specs[0]["type"] in _COLUMNS:
        items: t.Any = list.__class_getitem__(_COLUMNS[specs[0]["type"]])
        return _ResultType(items, lambda found: _array(found, None).reshape(-1).tolist())
    return _ResultType(t.Any, _plain)


def _array(found: t.Any, dtype: str | None) -> t.Any:
    import numpy as np

    return np.asarray(found, dtype)


def _plain(found: t.Any) -> t.Any:
    """Return a result without a declared type as values for JSON."""
    if isinstance(found, dict):
        return {name: _plain(each) for name, each in found.items()}
    if hasattr(found, "to_dict") and hasattr(found, "columns"):
        return found.to_dict("records")
    return found.tolist() if hasattr(found, "tolist") else found
