"""Predictions by the protocol V1 of KServe, which TensorFlow Serving has introduced.

    POST /v1/models/NAME:predict    {"instances": [1, 2]}    ->    {"predictions": [2, 4]}
    GET  /v1/models/NAME            {"name": "NAME", "ready": true}, or 503
    GET  /v1/models                 {"models": ["NAME"]}

Errors are `{"error": "..."}`. `instances` has what an instance is.
Source: https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
"""

from __future__ import annotations

import typing as t

import msgspec

from carboy.access.accessdeclaration import Purpose

from ..view import add_protocol
from .instances import arguments_of, encode_predictions, number_in, read_body
from .shared import (
    ALL_MODELS,
    MODEL_PROBE,
    ProtocolWithoutStreams,
    WireProblem,
    add_page,
    json_response,
    usable,
)

if t.TYPE_CHECKING:
    from werkzeug.wrappers import Response

    from carboy.contract.answers import Encoded

    from ..host import ModelApp
    from ..model import Model
    from ..protocol import PredictionRequest
    from ..queue.calls import Arguments

NAME = "kserve"


class InstancesRequest(msgspec.Struct, forbid_unknown_fields=True):
    instances: msgspec.Raw


class KServeProtocol(ProtocolWithoutStreams):
    """Serves each model whose result is no stream."""

    name = NAME
    #: The Struct that describes the body of a request. It has a field `instances`.
    request_type: t.ClassVar[type[t.Any]] = InstancesRequest

    def path(self, model: Model) -> str | None:
        return None if model.answers.streams else f"/v1/models/{model.name}:predict"

    def decode(self, model: Model, request: PredictionRequest) -> Arguments | list[Arguments]:
        asked = read_body(self.body(model, request), self.request_type)
        arguments = arguments_of(model, bytes(asked.instances), "$.instances")
        request.state = number_in(arguments)
        return arguments

    def encode(self, model: Model, request: PredictionRequest, result: t.Any) -> Encoded:
        return encode_predictions(model, result, request.state)


def install(app: ModelApp) -> None:
    """Serve the models of an app by the protocol."""
    add_protocol(app, KServeProtocol())

    def served() -> dict[str, Model]:
        return {model.name: model for model in app.models.values() if NAME in model.endpoints}

    def index() -> Response:
        return json_response(app, {"models": usable(app, served())})

    def show(name: str) -> Response:
        models = served()
        asked, _, verb = name.rpartition(":")
        if verb == "predict" and asked in models:
            text = f"Predictions are asked for by POST /v1/models/{name}, not by GET."
            raise WireProblem(405, text, headers=[("Allow", "POST")])
        if name not in models:
            unknown(name)
        reason = models[name].not_ready()
        found = {"name": name, "ready": not reason}
        return json_response(app, found, status=503 if reason else 200)

    def unknown(name: str) -> t.NoReturn:
        names = ", ".join(usable(app, served())) or "(none)"
        raise WireProblem(404, f"There is no model {name!r}. There are {names}.")

    add_page(app, "/v1/models", ["GET"], index, endpoint=f"{NAME}:index", purpose=ALL_MODELS)
    named = Purpose("model", variable="name")
    add_page(app, "/v1/models/<name>", ["GET"], show, endpoint=f"{NAME}:show", purpose=MODEL_PROBE)
    rule = "/v1/models/<name>:predict"
    add_page(app, rule, ["POST"], unknown, endpoint=f"{NAME}:unknown", purpose=named)
