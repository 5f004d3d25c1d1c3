"""How clients call models over HTTP: one protocol, one module.

A protocol decides the path of a model's predictions, how a request becomes arguments, how a result
becomes a response, and how a refusal is written. It is registered once per app
(`carboy.models.view.add_protocol`), and is the same for both ways in which a prediction waits: in a
view, on a thread that sleeps, or in the server without a thread (`carboy.serving.predictions`).

`JsonProtocol` is the one that every model has: the input is the body, at the model's own rule.
"""

from __future__ import annotations

import typing as t

from carboy.contract.answers import encode
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


class PredictionRequest(IncomingBody, t.Protocol):
    """One request for a prediction, as a protocol sees it. Reading its body may fail with 413.

    Attributes:
        state: what `decode` keeps for `encode`, such as an identifier to repeat.
    """

    state: t.Any

    @property
    def accept(self) -> str:
        """The header; empty if there is none."""

    def header(self, name: str) -> str:
        """The value of another header; empty if there is none."""


class StreamedAnswer(t.NamedTuple):
    """A response that comes piece by piece; close the chunks to end the prediction."""

    chunks: Chunks
    media_type: str
    headers: tuple[tuple[str, str], ...] = ()


class ModelProtocol(t.Protocol):
    """One way to call models. One object serves all models of an app, from any thread.

    Attributes:
        name: unlike that of any other protocol of the app, such as "v2".
    """

    name: str

    def path(self, model: Model) -> str | None:
        """The path to which predictions of a model are sent; None: this model has none."""

    def decode(self, model: Model, request: PredictionRequest) -> Arguments:
        """Read the arguments of `predict` from a request.

        Raises:
            InputError: the request does not fit the model.
        """

    def encode(self, model: Model, request: PredictionRequest, result: t.Any) -> Encoded:
        """Write what `predict` returned."""

    def stream(
        self,
        model: Model,
        request: PredictionRequest,
        items: ResultStream,
        explain: Explain,
    ) -> StreamedAnswer:
        """Write what `predict` yields; raises what writing the first item raises.

        Args:
            explain: logs a failure after the first item, and returns the problem that clients get.
        """

    def refuse(self, model: Model, request: PredictionRequest, problem: Problem) -> HTTPException:
        """The response to a prediction that failed, as an exception for the app's error handlers.

        A problem has `code` (the status), `description`, `members` and `headers`. Return a subclass
        of `Problem` with another `get_body` to write it in another form.
        """


class JsonProtocol:
    """The body is the input, in any of the forms that the types of `predict` allow."""

    name = "json"

    def path(self, model: Model) -> str:
        return model.rule

    def decode(self, model: Model, request: PredictionRequest) -> Arguments:
        if request.content_type == JSON and not request.encoding:
            return model.codec.decode_json(request.raw())  # PERF: most are; 1 us less
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
        chunks = Chunks(items, framing, encode, explain)
        return StreamedAnswer(
            chunks, framing.media_type, (*framing.headers.items(), ("Vary", "Accept"))
        )

    def refuse(self, model: Model, request: PredictionRequest, problem: Problem) -> Problem:
        return problem


class Endpoint(t.NamedTuple):
    """Where one protocol serves one model."""

    name: str  # as `url_for` and `view_functions` know it
    path: str
    protocol: ModelProtocol
    view: cabc.Callable[[], t.Any]
    max_body_bytes: cabc.Callable[[], int]
    subdomain: str | None


def measured(ticket: Ticket) -> tuple[tuple[str, str], ...]:
    """Headers that say where the time of a prediction went.

    Source: https://www.w3.org/TR/server-timing/
    """
    queue_ms = (ticket.began_s - ticket.arrived_s) * 1000
    predict_ms = (ticket.ended_s - ticket.began_s) * 1000
    return (
        ("Server-Timing", f"queue;dur={queue_ms:.2f}, predict;dur={predict_ms:.2f}"),
        ("X-Batch-Size", str(ticket.batch_size)),
    )
