"""Predictions by the protocol of containers on Google's Vertex AI.

    POST AIP_PREDICT_ROUTE    {"instances": [1, 2]}    ->    {"predictions": [2, 4]}
    GET  AIP_HEALTH_ROUTE     200 if the model is ready, else 503

Vertex AI sets these environment variables in the container, and AIP_HTTP_PORT.
Source: https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
"""

from __future__ import annotations

import os
import typing as t
from functools import partial

import msgspec

from ..view import add_protocol
from .kserve import KServeProtocol
from .shared import PROBE, add_page
from .solemodel import ServesOneModel, health_of, sole_model

if t.TYPE_CHECKING:
    from ..host import ModelApp

NAME = "vertex"


class VertexRequest(msgspec.Struct, forbid_unknown_fields=True):
    instances: msgspec.Raw
    parameters: dict[str, t.Any] | None = None

    def __post_init__(self) -> None:
        if self.parameters:
            raise ValueError("Expected no `parameters`: all inputs of a model are in its instances")


class VertexProtocol(ServesOneModel, KServeProtocol):
    """Serves one model. The bodies are those of KServe V1, which may have `parameters` as well."""

    name = NAME
    request_type = VertexRequest


def install(app: ModelApp) -> None:
    """Serve a model of an app by the protocol."""
    model = sole_model(app, NAME, may_stream=False)
    add_protocol(app, VertexProtocol(model, os.environ["AIP_PREDICT_ROUTE"]))
    health = os.environ.get("AIP_HEALTH_ROUTE")
    if health:
        view = partial(health_of, app, model.name)
        add_page(app, health, ["GET"], view, endpoint=f"{NAME}:health", purpose=PROBE)
