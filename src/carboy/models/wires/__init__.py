"""Protocols of other model servers, by which their clients call the models of an app.

    openinference    Open Inference Protocol V2 (Triton, KServe, Seldon): `"v2"`
    kserve           KServe V1, also used by TensorFlow Serving: `"kserve"`
    mlflow           MLflow's scoring server: `"mlflow"`
    openaiembeddings OpenAI's embeddings of texts: `"openai"`
    sagemaker        containers of Amazon SageMaker: `"sagemaker"`
    vertex           containers of Google's Vertex AI, switched on by its variables `AIP_...`

`shared`, `instances` and `solemodel` have what several protocols share. V2 alone uses
`tensorsignature` (the inputs and outputs of a model as tensors), `datatypes`, and
`openinferencepages` (its other URLs).

The config key `MODEL_PROTOCOLS` switches protocols on. Their modules are imported only then. Each
module has a function `install(app)`.
"""

from __future__ import annotations

import os
import threading
import typing as t
from importlib import import_module

from carboy.core.advice import did_you_mean
from carboy.errors import ConfigError

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from ..host import ModelApp

CONFIG_KEY = "MODEL_PROTOCOLS"
# Held by the first thread that needs the URLs of the protocols, while it adds them.
_adding = threading.Lock()
# By their names, the modules of the protocols that the config key switches on.
PROTOCOLS = {
    "v2": "openinference",
    "kserve": "kserve",
    "mlflow": "mlflow",
    "openai": "openaiembeddings",
    "sagemaker": "sagemaker",
}
# Vertex AI sets this variable in each container that it starts for predictions. Source:
# https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
_VERTEX_VARIABLE = "AIP_PREDICT_ROUTE"


def add_configured(app: ModelApp) -> None:
    """Serve the models by the protocols that the configuration, or the environment, switches on.
    What an earlier call has added is not added again.

    Raises:
        ConfigError: a protocol is not known, or cannot serve the models of the app.
    """
    added = app.models.installed
    with _adding:
        for name in list(_wanted(app.config.get(CONFIG_KEY))):
            if name not in added:
                import_module(f"{__name__}.{PROTOCOLS.get(name, name)}").install(app)
                added.add(name)


def _wanted(configured: t.Any) -> cabc.Iterator[str]:
    """Yield the names of the protocols, each once."""
    names = [] if configured is None else configured
    if not isinstance(names, (list, tuple)) or not all(isinstance(each, str) for each in names):
        raise ConfigError(
            f"{CONFIG_KEY} is {configured!r}: expected a list of names, such as ['v2']."
        )
    for name in dict.fromkeys(names):
        if name not in PROTOCOLS:
            raise ConfigError(
                f"{CONFIG_KEY} has the unknown protocol {name!r}.{did_you_mean(name, PROTOCOLS)}"
                f" The protocols are {', '.join(PROTOCOLS)}."
            )
        yield name
    if os.environ.get(_VERTEX_VARIABLE):
        yield "vertex"
