"""How clients call models over HTTP: each protocol is one class.

A protocol decides the URL of a model's predictions, how a request is decoded to arguments, how a
result is encoded, and how an error is written. The queue decides when a prediction is computed.
Protocols are registered once per app (`carboy.models.view.add_protocol`). A protocol does not know
whether a view, on a blocked thread, waits for the result, or the server, which needs no thread for
that (`carboy.serving.predictions`).

Every model has `JsonProtocol`, in which the request body is the input.
"""

from __future__ import annotations

import typing as t

from carboy.contract.bodies import IncomingBody
from carboy.contract.framing import Chunks, framing_of
from carboy.contract.media import JSON

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from werkzeug.exceptions import HTTPException

    from carboy.contract.answers import Encoded
    from carboy.contract.framing import Explain
    from carboy.core.problemdetails import Problem

    from .model import Model
    from .queue.calls import Arguments
    from .queue.stream import ResultStream
    from .queue.ticket import Ticket


#: The response header with the version that has computed a prediction.
VERSION_HEADER: t.Final = "X-Model-Version"


class PredictionRequest(IncomingBody, t.Protocol):
    """A request for a prediction, as passed to a protocol. Reading the body may raise a 413 error.

    Attributes:
        state: not used by carboy; `decode` may store a value for `encode` here, such as a request
            id.
    """

    state: t.Any

    @property
    def version(self) -> str:
        """The version that has computed the prediction; empty before, and if the model declares no
        versions.
        """

    @property
    def accept(self) -> str:
        """The Accept header; empty if it is missing."""

    def header(self, name: str) -> str:
        """Return the value of a header; empty if it is missing."""


class StreamedAnswer(t.NamedTuple):
    """A response that is sent in chunks while the prediction produces them. If the server closes
    `chunks` early, the prediction is cancelled.
    """

    chunks: Chunks
    media_type: str
    headers: tuple[tuple[str, str], ...] = ()


class ModelProtocol(t.Protocol):
    """A protocol by which clients call models. One instance serves all models of an app. Must be
    thread-safe.

    Attributes:
        name: unique among the protocols of an app, such as "v2".
    """

    name: str

    def path(self, model: Model) -> str | None:
        """Return the URL path of a model's predictions, or None if the protocol does not serve this
        model.
        """

    def decode(self, model: Model, request: PredictionRequest) -> Arguments | list[Arguments]:
        """Decode the arguments of `predict` from a request. A list is a request for several
        predictions, one per entry, which wait in the queue like those of several requests.

        Raises:
            InputError: the request does not fit the model.
        """

    def encode(self, model: Model, request: PredictionRequest, result: t.Any) -> Encoded:
        """Encode the return value of `predict`; a list of return values if `decode` has returned a
        list.
        """

    def stream(
        self,
        model: Model,
        request: PredictionRequest,
        items: ResultStream,
        explain: Explain,
    ) -> StreamedAnswer:
        """Encode the items that `predict` yields; raises if the first item cannot be encoded.

        Args:
            explain: call this with a failure after the first item. It logs the failure and returns
                the problem details for the client.
        """

    def refuse(self, model: Model, request: PredictionRequest, problem: Problem) -> HTTPException:
        """Return the response to a failed prediction, as an exception for the app's error handlers.

        `problem` has the attributes `code` (the status), `description`, `members` and `headers`. To
        respond in another format, return an instance of a `Problem` subclass with its own
        `get_body`.
        """


class JsonProtocol:
    """The protocol of every model: the body is the input, in any format that the types of `predict`
    allow.
    """

    name = "json"

    def path(self, model: Model) -> str:
        return model.rule

    def decode(self, model: Model, request: PredictionRequest) -> Arguments:
        if request.content_type == JSON and not request.encoding:
            # PERF: most bodies are plain JSON. Calling the decoder of JSON directly saves 1 us.
            return model.codec.decode_json(request.raw())
        return model.codec.decode(request)

    def encode(self, model: Model, request: PredictionRequest, result: t.Any) -> Encoded:
        return model.answers.encode(result, request.accept)

    def stream(
        self,
        model: Model,
        request: PredictionRequest,
        items: ResultStream,
        explain: Explain,
    ) -> StreamedAnswer:
        framing = framing_of(model.answers.choose(request.accept))
        answers = model.answers
        chunks = Chunks(
            items,
            framing,
            answers.encode_json,
            explain,
            write=answers.write,
            is_exact=answers.is_exact,
        )
        return StreamedAnswer(
            chunks, framing.media_type, (*framing.headers.items(), ("Vary", "Accept"))
        )

    def refuse(self, model: Model, request: PredictionRequest, problem: Problem) -> Problem:
        return problem


class Endpoint(t.NamedTuple):
    """A URL under which one model is served by one protocol."""

    name: str  # the endpoint: the name for `url_for` and `view_functions`
    path: str
    protocol: ModelProtocol
    view: cabc.Callable[[], t.Any]
    max_body_bytes: cabc.Callable[[], int]
    subdomain: str | None


def measured(ticket: Ticket) -> tuple[tuple[str, str], ...]:
    """Return response headers that tell clients how long a prediction waited and was computed
    (`Server-Timing`), how large its batch was, and which version of the model has computed it.

    Source: https://www.w3.org/TR/server-timing/
    """
    queue_ms, predict_ms = _times_ms(ticket)
    headers = (
        ("Server-Timing", f"queue;dur={queue_ms:.2f}, predict;dur={predict_ms:.2f}"),
        ("X-Batch-Size", str(ticket.batch_size)),
    )
    # PERF: reads the attribute of the queue, because the property of the ticket is one call more.
    return (*headers, (VERSION_HEADER, version)) if (version := ticket.queue.version) else headers


def logged(model: Model, ticket: Ticket | None = None) -> dict[str, str | int | float]:
    """Return what the access log says of a prediction, whether it succeeds or fails.

    Args:
        ticket: None, or without a batch, if the prediction was not computed.
    """
    fields: dict[str, str | int | float] = {"model": model.name}
    if (version := (ticket and ticket.version) or model.version) is not None:
        fields["version"] = version
    if ticket is not None and ticket.batch_size:
        queue_ms, compute_ms = _times_ms(ticket)
        fields["batch"] = ticket.batch_size
        fields["queue_ms"], fields["compute_ms"] = round(queue_ms, 3), round(compute_ms, 3)
    return fields


def _times_ms(ticket: Ticket) -> tuple[float, float]:
    """Return how long a prediction waited, and how long it was computed."""
    queue_s, predict_s = ticket.began_s - ticket.arrived_s, ticket.ended_s - ticket.began_s
    return queue_s * 1000, predict_s * 1000
