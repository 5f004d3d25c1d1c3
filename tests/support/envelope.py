"""A second protocol in one module: inputs and outputs by name in an envelope, as in V2 and KServe.

POST /v2/models/NAME/infer    {"id": "a", "inputs": {"x": 1}}
200                           {"id": "a", "model": "NAME", "output": 2}
4xx, 5xx                      {"error": "..."}
"""

from __future__ import annotations

import json
import typing as t

from carboy.contract.answers import Encoded, encode
from carboy.core.problemdetails import Problem
from carboy.models import InputError
from carboy.models.protocol import JsonProtocol, PredictionRequest

if t.TYPE_CHECKING:
    from carboy.models.model import Model

JSON = "application/json"


class EnvelopeProblem(Problem):
    """A refusal in the form of the protocol."""

    def get_body(self, environ: t.Any = None, scope: t.Any = None) -> str:
        return json.dumps({"error": self.description})

    def get_headers(self, environ: t.Any = None, scope: t.Any = None) -> list[tuple[str, str]]:
        return [("Content-Type", JSON), *self.headers]


class EnvelopeProtocol(JsonProtocol):
    """Streams are those of JSON; the rest is the protocol's own."""

    name = "envelope"

    def path(self, model: Model) -> str | None:
        return None if model.name == "hidden" else f"/v2/models/{model.name}/infer"

    def decode(self, model: Model, request: PredictionRequest) -> t.Any:
        try:
            envelope = json.loads(request.raw())
            request.state = envelope["id"], request.header("X-Trace")
            inputs = envelope["inputs"]
        except (ValueError, KeyError, TypeError) as exc:
            raise InputError(f"This is no envelope: {exc!r}.") from exc
        return model.codec.decode_json(json.dumps(inputs).encode())

    def encode(self, model: Model, request: PredictionRequest, result: t.Any) -> Encoded:
        identifier, trace = request.state
        body = encode({"id": identifier, "model": model.name, "output": result})
        return Encoded(body, JSON, (("X-Trace", trace),))

    def refuse(self, model: Model, request: PredictionRequest, problem: Problem) -> Problem:
        return EnvelopeProblem(
            problem.code or 500, problem.description or "", headers=problem.headers
        )
