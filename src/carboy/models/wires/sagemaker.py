"""Predictions by the protocol of containers on Amazon SageMaker.

    POST /invocations    the same bodies and responses as the model's own URL
    GET  /ping           200 if the model is ready, else 503

SageMaker runs the container with the argument `serve` and sends requests to port 8080.
Source: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
"""

from __future__ import annotations

import typing as t
from functools import partial

from ..protocol import JsonProtocol
from ..view import add_protocol
from .shared import PROBE, add_page
from .solemodel import ServesOneModel, health_of, sole_model

if t.TYPE_CHECKING:
    from ..host import ModelApp
    from ..model import Model

NAME = "sagemaker"


class SageMakerProtocol(ServesOneModel, JsonProtocol):
    """Serves one model at /invocations too, in the formats of the model's own URL."""

    name = NAME

    def path(self, model: Model) -> str | None:  # type: ignore[override]
        found = super().path(model)
        return None if found == model.rule else found  # the model itself is there already


def install(app: ModelApp) -> None:
    """Serve a model of an app by the protocol."""
    model = sole_model(app, NAME)
    add_protocol(app, SageMakerProtocol(model, "/invocations"))
    view = partial(health_of, app, model.name)
    add_page(app, "/ping", ["GET"], view, endpoint=f"{NAME}:ping", purpose=PROBE)
