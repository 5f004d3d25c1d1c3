"""The model that protocols with one URL for all predictions serve.

MLflow, SageMaker and Vertex AI run one model per server.
"""

from __future__ import annotations

import typing as t

from carboy.errors import ConfigError

from .shared import json_response

if t.TYPE_CHECKING:
    from werkzeug.wrappers import Response

    from ..host import ModelApp
    from ..model import Model

CONFIG_KEY = "MODEL_DEFAULT"


def sole_model(app: ModelApp, protocol: str, *, may_stream: bool = True) -> Model:
    """Return the model that the configuration names, or the only model of the app.

    Args:
        protocol: the protocol that needs the model, for error messages.
        may_stream: whether the protocol can send the result of a model that yields.

    Raises:
        ConfigError: there is no such model, or there are several and the configuration names none.
    """
    models, name = app.models, app.config.get(CONFIG_KEY)
    if name is None and len(models) == 1:
        name = next(iter(models))
    if name not in models:
        given = f"is {name!r}" if name is not None else "is not set"
        raise ConfigError(
            f"The protocol {protocol!r} has one URL for predictions, and so serves one model."
            f" {CONFIG_KEY} {given}: expected one of {', '.join(map(repr, models)) or 'no models'}."
        )
    if models[name].answers.streams and not may_stream:
        raise ConfigError(
            f"The protocol {protocol!r} has no streams, but the model {name!r} yields its result."
            f" Let `predict` return the whole result, or choose another model by {CONFIG_KEY}."
        )
    return models[name]


class ServesOneModel:
    """A part of protocols with one URL for predictions.

    Args:
        served: the model that the URL serves.
        path: the path of the URL.
    """

    def __init__(self, served: Model, path: str) -> None:
        self._served = served
        self._path = path

    def path(self, model: Model) -> str | None:
        return self._path if model.name == self._served.name else None


def health_of(app: ModelApp, name: str) -> Response:
    """Return a response that says whether the model of this name can predict: 200 or 503."""
    reason = app.models[name].not_ready()
    return json_response(app, {"ready": not reason}, status=503 if reason else 200)
