"""Embeddings of texts by the protocol of OpenAI.

    POST /v1/embeddings    {"model": "NAME", "input": ["a", "b"]}
    {"object": "list", "model": "NAME", "usage": {"prompt_tokens": 0, "total_tokens": 0},
     "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}, ...]}

The model takes one text, and returns a list of numbers or an array with one side. `input` is a
text or a list of texts. With `encoding_format` "base64" an embedding is the base64 of its numbers
as little-endian float32. `user` has no effect. Refused are inputs of tokens, because tokens belong
to a tokenizer that only the client knows, and `dimensions`. The numbers of tokens are 0, because a
model does not say them. Errors are `{"error": {"message": ..., "type": ...}}`.

Source: https://platform.openai.com/docs/api-reference/embeddings
"""

from __future__ import annotations

import base64
import sys
import typing as t
from array import array

import msgspec

from carboy.contract.answers import Encoded, encode
from carboy.contract.hints import strip, without_none
from carboy.contract.media import JSON
from carboy.core.problemdetails import Problem
from carboy.errors import AnswerError, ConfigError, InputError

from ..view import add_protocol
from .instances import read_body, read_one
from .shared import ProtocolWithoutStreams, WireProblem
from .solemodel import CONFIG_KEY, ServesOneModel, sole_model

if t.TYPE_CHECKING:
    from ..host import ModelApp
    from ..model import Model
    from ..protocol import PredictionRequest
    from ..queue.calls import Arguments

NAME = "openai"


class EmbeddingsRequest(msgspec.Struct, forbid_unknown_fields=True):
    model: str
    input: str | list[str]
    encoding_format: t.Literal["float", "base64"] = "float"
    dimensions: None = None
    user: str | None = None


class EmbeddingsProblem(WireProblem):
    """An error in the form of OpenAI."""

    def to_wire(self, text: str) -> dict[str, t.Any]:
        sort = "invalid_request_error" if self.is_input else "server_error"
        code = self.members.get("code")
        return {"error": {"message": text, "type": sort, "param": None, "code": code}}


class EmbeddingsProtocol(ServesOneModel, ProtocolWithoutStreams):
    """Serves one model, whose results are embeddings, as OpenAI's API does."""

    name = NAME
    problem = EmbeddingsProblem

    def decode(self, model: Model, request: PredictionRequest) -> list[Arguments]:
        asked: EmbeddingsRequest = read_body(self.body(model, request), EmbeddingsRequest)
        if asked.model != model.name:
            raise Problem(
                404,
                f"There is no model {asked.model!r}. This URL serves {model.name!r}.",
                code="model_not_found",
            )
        request.state = asked.encoding_format
        if isinstance(asked.input, str):
            texts = {"$.input": asked.input}
        else:
            texts = {f"$.input[{i}]": text for i, text in enumerate(asked.input)}
        if not texts:
            raise InputError.at("$.input", expected="a text, or at least one in the list")
        return [read_one(model, encode(text), path) for path, text in texts.items()]

    def encode(self, model: Model, request: PredictionRequest, result: t.Any) -> Encoded:
        write = _to_base64 if request.state == "base64" else model.answers.encode_json
        data = []
        for i, each in enumerate(result):
            model.answers.check(each)
            _check_numbers(model, each)
            data.append({"object": "embedding", "index": i, "embedding": msgspec.Raw(write(each))})
        usage = {"prompt_tokens": 0, "total_tokens": 0}
        body = {"object": "list", "data": data, "model": model.name, "usage": usage}
        return Encoded(encode(body), JSON)


def _check_numbers(model: Model, result: t.Any) -> None:
    """Refuse a result that is no embedding. The type `list[float]` or `Tensor["float32", "n"]` says
    that it is one, but a model need not have such a return type.
    """
    is_list = hasattr(result, "__len__") and not isinstance(result, (str, bytes, dict))
    if not is_list or getattr(result, "ndim", 1) != 1:
        raise AnswerError(
            f"Model {model.name!r} returned {type(result).__name__}, but an embedding is a list of"
            " numbers, or an array with one side."
        )


def _to_base64(result: t.Any) -> bytes:
    numbers = array("f", map(float, result))
    if sys.byteorder == "big":
        numbers.byteswap()
    return encode(base64.b64encode(numbers.tobytes()).decode())


def install(app: ModelApp) -> None:
    """Serve a model of an app by the protocol.

    Raises:
        ConfigError: the model does not take one text.
    """
    model = sole_model(app, NAME, may_stream=False)
    single = model.interface.single
    if single is None or strip(without_none(single.annotation)) is not str:
        raise ConfigError(
            f"The protocol {NAME!r} sends texts, but `predict` of the model {model.name!r} does not"
            f" take one text as its only parameter. Write `def predict(self, text: str)`, or"
            f" choose another model by {CONFIG_KEY}."
        )
    add_protocol(app, EmbeddingsProtocol(model, "/v1/embeddings"))
