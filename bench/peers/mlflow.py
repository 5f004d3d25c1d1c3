"""mlflow: `mlflow models serve` of a Python model. It has no batches and one process per worker.

Settings, and why: one worker, like all peers here; `--env-manager local`, otherwise it builds
another
environment; uvloop and httptools are installed, which uvicorn then uses. No signature: checking is
slower, and the others do not check. A picture is base64 in JSON.

    python -m peers.mlflow    save the model for `mlflow models serve` (once, before it is started)
"""

from __future__ import annotations

import base64
import shutil
import typing as t

import mlflow
import numpy as np

from peers import work


class Predict(mlflow.pyfunc.PythonModel):
    def load_context(self, context: t.Any) -> None:
        self.model = work.load()

    def predict(self, context: t.Any, model_input: t.Any, params: t.Any = None) -> t.Any:
        inputs = np.asarray(model_input)
        if work.NAME == "photo":
            inputs = [work.decode(base64.b64decode(each)) for each in inputs]
        elif work.NAME == "fake":
            inputs = inputs.reshape(-1).tolist()
        return [{"label": label, "score": score} for label, score in self.model(inputs)]


if __name__ == "__main__":
    target = work.HOME / f"mlflow-{work.NAME}"
    shutil.rmtree(target, ignore_errors=True)
    mlflow.pyfunc.save_model(target, python_model=__file__, pip_requirements=["mlflow"])
else:
    # mlflow runs this file to create the model ("models from code").
    mlflow.models.set_model(Predict())
