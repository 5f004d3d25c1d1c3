"""A model's URL: POST predicts, GET says what the model is, or shows a page to try it.

It turns a request into the codec's `Body` and what `predict` returned into a response, and leaves
the deciding to others.
"""

from __future__ import annotations

import typing as t
from functools import partial

from werkzeug.exceptions import RequestEntityTooLarge

from carboy.config import DEFAULT_CONFIG
from carboy.contract.answers import encode
from carboy.contract.framing import Chunks, Frames, framing_of
from carboy.contract.media import JSON
from carboy.contract.values.file import Upload
from carboy.errors import InputTooLargeError, MalformedInputError
from carboy.globals import request

from .codec import Form
from .failures import tell, tell_amid
from .page.endpoints import add_files, show_model
from .registry import Model, Models
from .ways import OUTCOME

if t.TYPE_CHECKING:
    import logging

    from werkzeug.wrappers import Response

    from carboy.wrappers import Request

    from .options import Options
    from .queue.stream import Stream
    from .queue.ticket import Ticket


class Site(t.NamedTuple):
    """Where a model is served."""

    view: t.Callable[..., t.Any]
    max_body_bytes: t.Callable[[], int]


class _App(t.Protocol):
    """What registration needs of an app."""

    models: Models
    config: t.Any
    response_class: type[t.Any]
    debug: bool
    testing: bool
    logger: logging.Logger

    def add_url_rule(self, rule: str, endpoint: str, view_func: t.Any, **options: t.Any) -> None:
        """Flask's."""

    def _find_error_handler(self, e: Exception, blueprints: list[str]) -> t.Any:
        """Flask's."""


def register(
    app: t.Any,
    rule: str,
    target: t.Any,
    *,
    name: str,
    options: Options | None = None,
    max_body_bytes: int | None = None,
    subdomain: str | None = None,
) -> Model:
    """Give a model its URL. Nothing is loaded.

    Args:
        app: the app that gets the rule and the model.
        rule: a URL without variables, such as `/digits`.
        target: a class with a typed `predict`, or a typed function.
        name: how `app.models` and `url_for` know it.
        options: how it is run; by default one by one.
        max_body_bytes: above it 413; by default the config's MODEL_MAX_BODY or MAX_CONTENT_LENGTH.
        subdomain: of the rule; a blueprint may have one.

    Raises:
        SignatureError: the types of `predict` cannot be served.
        ValueError: the rule or the name cannot be used.
    """
    if "<" in rule:
        raise ValueError(
            f"app.model({rule!r}): the rule of a model has no variables; its input is the body."
        )
    model = Model(name, rule, target, options)
    view = _make_view(t.cast("_App", app), model, max_body_bytes)
    model.site = Site(view, partial(_limit, app, max_body_bytes))
    if app.models.is_redefined(model):
        app.view_functions[name] = view
        app.models.replace(model)
        return model
    app.models.refuse_twice(model)
    app.add_url_rule(
        rule, endpoint=name, view_func=view, methods=["GET", "POST"], subdomain=subdomain
    )
    app.models.add(model)
    add_files(app, rule, name, subdomain=subdomain)
    return model


def _make_view(app: _App, model: Model, max_body_bytes: int | None) -> t.Callable[[], Response]:
    decode, answers = model.codec.decode, model.answers

    def view() -> Response:
        current: Request = request._get_current_object()  # type: ignore[attr-defined]
        if current.method != "POST":
            metadata = app.response_class(encode(model.metadata()), mimetype=JSON)
            return show_model(app, model, metadata)
        try:
            outcome: Ticket | BaseException | None = current.environ.get(OUTCOME)
            if isinstance(outcome, BaseException):
                raise outcome  # noqa: TRY301  # as if it had been raised below
            ticket = outcome or model.ask(decode(RequestBody(current, _limit(app, max_body_bytes))))
            accept = current.headers.get("Accept", "")
            if answers.streams:
                return _stream(app, model, current, ticket.result(), accept)
            answer = answers.encode(ticket.result(), accept)
        except Exception as exc:
            told = tell(app, model, current, exc)
            if told is exc:
                raise
            raise told from exc
        response: Response = app.response_class(
            answer.body,
            headers=[*answer.headers, *measured(ticket)],
            content_type=answer.media_type,
        )
        return response

    view.__name__ = view.__qualname__ = model.name
    view.__doc__ = model.doc
    view.model = model  # type: ignore[attr-defined]  # documents and tools find it here
    return view


def _stream(app: _App, model: Model, current: Request, items: Stream, accept: str) -> Response:
    """Raises what writing the first item raises: nothing was sent by then."""
    framing = framing_of(model.answers.choose(accept))
    frames = Frames(items, framing, encode, lambda exc: tell_amid(app, model, current, exc))
    response: Response = app.response_class(
        Chunks(frames),
        headers={**framing.headers, "Vary": "Accept"},
        content_type=framing.media_type,
    )
    return response


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


class RequestBody:
    """A Werkzeug request as the codec wants it."""

    __slots__ = ("_request",)

    def __init__(self, request: Request, max_bytes: int) -> None:
        self._request = request
        request.max_content_length = max_bytes
        # The default of 500 kB is for fields that people type; a table or a picture in base64 may
        # be one too, and the body is bounded.
        request.max_form_memory_size = max_bytes

    @property
    def media_type(self) -> str:
        return self._request.mimetype

    @property
    def content_type(self) -> str:
        return self._request.content_type or ""

    @property
    def encoding(self) -> str:
        return self._request.headers.get("Content-Encoding", "").strip().lower()

    def raw(self) -> bytes:
        try:
            return self._request.get_data(cache=True, parse_form_data=False)
        except RequestEntityTooLarge:
            raise self._too_large() from None

    def form(self) -> Form:
        try:
            return self._form()
        except RequestEntityTooLarge:
            raise self._too_large() from None

    def _too_large(self) -> InputTooLargeError:
        current = self._request
        limit, length = current.max_content_length, current.content_length
        if length is None:
            text = f"The body exceeds the {limit} bytes that this model takes."
        elif length > t.cast("int", limit):
            text = f"The body has {length} bytes, which exceeds the {limit} that this model takes."
        else:
            text = f"The form has more than {current.max_form_parts} parts."
        return InputTooLargeError(text)

    def _form(self) -> Form:
        current = self._request
        if "boundary" not in current.mimetype_params:
            raise MalformedInputError("The multipart body names no boundary in its Content-Type.")
        fields = {key: current.form.getlist(key) for key in current.form}
        files = {
            # A browser sends a nameless, empty part for a file input that was left alone.
            key: [Upload.of(file) for file in current.files.getlist(key) if file.filename]
            for key in current.files
        }
        return Form(fields, {key: chosen for key, chosen in files.items() if chosen})


def _limit(app: _App, max_body_bytes: int | None) -> int:
    if max_body_bytes is not None:
        return max_body_bytes
    limit: int = app.config["MODEL_MAX_BODY"]
    of_all: int | None = app.config["MAX_CONTENT_LENGTH"]
    if of_all is None or limit != DEFAULT_CONFIG["MODEL_MAX_BODY"]:
        return limit
    return of_all
