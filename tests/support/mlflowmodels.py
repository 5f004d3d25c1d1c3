"""Models that MLflow saves, and calls of its client. It runs in processes of its own, because
MLflow takes seconds to import, changes logging, and warns.

    python -W ignore mlflowmodels.py save FOLDER      models of each kind, below the folder
    python -W ignore mlflowmodels.py call PORT        what MLflow's client gets, as JSON
"""

from __future__ import annotations

import json
import pathlib
import sys
import typing as t


class Wine:
    """Takes a table, and demands the dtypes that its signature has."""

    def predict(self, context: t.Any, model_input: t.Any, params: t.Any = None) -> t.Any:
        assert str(model_input["small"].dtype) == "int32"
        assert str(model_input["ratio"].dtype) == "float32"
        doubled = model_input[["fixed acidity"]] * 2
        return doubled.assign(label=model_input["label"].str.upper())


class Total:
    """Takes one array, and returns a number for each entry."""

    def predict(self, context: t.Any, model_input: t.Any, params: t.Any = None) -> t.Any:
        return model_input.sum((1, 2))


class Pair:
    """Takes two arrays by name."""

    def predict(self, context: t.Any, model_input: t.Any, params: t.Any = None) -> t.Any:
        return {"sum": model_input["x"] + model_input["y"]}


def save(folder: pathlib.Path) -> None:
    import mlflow
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    double, single = np.dtype("float64"), np.dtype("float32")
    columns = {"fixed acidity": "double", "small": "integer", "ratio": "float", "label": "string"}
    wine = [ColSpec(kind, name) for name, kind in columns.items()]
    wine.append(ColSpec("double", "maybe", required=False))
    found = [ColSpec("double", "fixed acidity"), ColSpec("string", "label")]
    signatures = {
        "wine": (Wine, wine, found),
        "total": (Total, [TensorSpec(single, (-1, 2, 2))], [TensorSpec(single, (-1,))]),
        "pair": (
            Pair,
            [TensorSpec(double, (-1,), "x"), TensorSpec(double, (-1,), "y")],
            [TensorSpec(double, (-1,), "sum")],
        ),
    }
    for name, (kind, inputs, outputs) in signatures.items():
        model = type(kind.__name__, (kind, mlflow.pyfunc.PythonModel), {})()
        mlflow.pyfunc.save_model(
            str(folder / name),
            python_model=model,
            signature=ModelSignature(Schema(inputs), Schema(outputs)),
            pip_requirements=[],
        )


def call(port: int) -> dict[str, t.Any]:
    import pandas as pd
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    client = ScoringServerClient("127.0.0.1", port)
    client.wait_server_ready(timeout=30)
    rows = pd.DataFrame(
        {"fixed acidity": [1.5, 2.0], "small": [1, 2], "ratio": [0.5, 1.0], "label": ["a", "ü"]}
    )
    try:
        client.invoke(rows.drop(columns="label"))
    except Exception as exc:  # noqa: BLE001  # the class that the client raises
        refused = str(exc)
    return {
        "version": client.get_version(),
        "predictions": client.invoke(rows).get_predictions().to_dict("records"),
        "refused": refused,
    }


if __name__ == "__main__":
    if sys.argv[1] == "save":
        save(pathlib.Path(sys.argv[2]))
    else:
        print(json.dumps(call(int(sys.argv[2]))))
