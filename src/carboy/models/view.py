"""The URLs and views of a model: POST computes a prediction, GET shows a description or a test
page.

`register` adds one URL per protocol of the app. A protocol decides how the view decodes requests
and encodes results. This module decides which response a failed prediction gets, both for the view
and for `carboy.serving.predictions`, which bypasses the view.

A 4xx or 503 response says what to change or when to retry. Other 5xx responses contain no details,
only a request id under which the log has them.
"""

from __future__ import annotations

import os
import re
import typing as t
from functools import partial

from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from carboy.access.accessdeclaration import AccessDeclaration, Purpose, check_cors, check_rate
from carboy.config import DEFAULT_CONFIG
from carboy.contract.answers import encode
from carboy.contract.media import JSON
from carboy.contract.operation import Contract
from carboy.contract.parameters import WerkzeugBody
from carboy.core.bytesizes import NO_LIMIT_BYTES, body_too_large
from carboy.core.changetracking import note_change
from carboy.core.foreignservers import refuse_without_threads
from carboy.core.nosniff import NOSNIFF
from carboy.core.problemdetails import Problem, Refusal, problem_of
from carboy.core.subinterpreters import refuse_model
from carboy.core.tracebacks import drop_leading_frames
from carboy.errors import (
    ConfigError,
    DeadlineError,
    InputError,
    InputTooLargeError,
    ModelLoadError,
    ReplicaLostError,
    UnavailableError,
    UnreadError,
)
from carboy.globals import request
from carboy.observability.environkeys import FIELDS
from carboy.observability.requestid import id_of
from carboy.signals import got_request_exception

from .collection import Model
from .page.endpoints import add_files, ask_for_key, show_model
from .protocol import VERSION_HEADER, Endpoint, JsonProtocol, logged, measured
from .queue.group import PredictionGroup
from .replicas.supervision import AppIdentity

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from werkzeug.wrappers import Response

    from carboy.contract.forms import FormData
    from carboy.wrappers import Request

    from .host import ModelApp
    from .options import Options
    from .protocol import ModelProtocol, PredictionRequest
    from .queue.calls import Arguments
    from .queue.ticket import Ticket
    from .versions.modelversion import ModelVersion
    from .versions.shadow import ShadowComparison

# The key in the WSGI environ under which the server passes a computed prediction to the view: a
# `PendingPrediction` with the result or the failure. The view then only creates the response.
OUTCOME = "carboy.outcome"
# The key in the WSGI environ under which a view passes the version that a client has asked for to
# the view of the model: a `ModelVersion`.
CHOSEN = "carboy.chosen_version"


# --- registration --------------------------------------------------------------------------------


def register(
    app: ModelApp,
    rule: str,
    target: t.Any,
    *,
    name: str,
    options: Options | None = None,
    subdomain: str | None = None,
) -> Model:
    """Add a model and its URLs to an app. The model is not loaded yet.

    Args:
        app: the app that gets the model.
        rule: the URL of the model, such as `/digits`; without variables.
        target: a class with a typed `predict` method, or a typed function.
        name: the model's name in `app.models` and `url_for`.
        options: how predictions are computed; by default one by one.
        subdomain: the subdomain of the URL.

    Raises:
        SignatureError: the types of `predict` are not supported.
        ValueError: the rule or the name is not allowed.
        ConfigError: the rule is the URL of a protocol.
        ServingError: the server runs the app in a sub-interpreter, or without threads.
    """
    if "<" in rule:
        plain = re.sub("/?<[^>]*>", "", rule) or "/"
        raise ValueError(
            f"app.model({rule!r}): the rule of a model has no variables, because its input is the"
            f" body. Write {plain!r}, and let `predict` take the value as a parameter."
        )
    refuse_model(f"Model {name!r}")
    refuse_without_threads(f"Model {name!r}")
    identity = AppIdentity(app.name, os.path.realpath(app.root_path))
    model = Model(name, rule, target, options, app=identity)
    is_redefined = app.models.is_redefined(model)
    if not is_redefined:
        app.models.refuse_twice(model)
    limit = partial(_limit, app, model.options.max_body_bytes)
    for protocol in app.models.protocols:
        _refuse_taken(app, model, protocol, subdomain)
    for protocol in app.models.protocols:
        _serve(app, model, protocol, limit, subdomain=subdomain)
    if is_redefined:
        app.models.replace(model)
        return model
    app.models.add(model)
    add_files(app, rule, name, subdomain=subdomain)
    return model


def add_protocol(app: ModelApp, protocol: ModelProtocol) -> None:
    """Serve all models of an app over one more protocol, including models added later.

    Raises:
        ConfigError: a URL of the protocol is that of a model, or of another protocol.
    """
    known = {model: next(iter(model.endpoints.values())) for model in app.models.values()}
    for model, own in known.items():
        _refuse_taken(app, model, protocol, own.subdomain)
    app.models.add_protocol(protocol)
    for model, own in known.items():
        _serve(app, model, protocol, own.max_body_bytes, subdomain=own.subdomain)


def _refuse_taken(
    app: ModelApp, model: Model, protocol: ModelProtocol, subdomain: str | None
) -> None:
    """Refuse to serve a model at a URL that another protocol has: only one of them would get the
    requests.
    """
    path = protocol.path(model)
    for other in app.models.values():
        for known in other.endpoints.values():
            names = {protocol.name, known.protocol.name}
            if (known.path, known.subdomain) != (path, subdomain) or len(names) == 1:
                continue
            if JsonProtocol.name not in names:
                first, second = sorted(names)
                raise ConfigError(
                    f"The protocols {first!r} and {second!r} both have the URL {path}. Choose one."
                )
            names.remove(JsonProtocol.name)
            owner = model if protocol.name == JsonProtocol.name else other
            raise ConfigError(
                f"The protocol {names.pop()!r} has the URL {path}, which is that of the model"
                f" {owner.name!r} itself. Give the model another rule."
            )


def _serve(
    app: ModelApp,
    model: Model,
    protocol: ModelProtocol,
    limit: cabc.Callable[[], int],
    *,
    subdomain: str | None,
) -> None:
    path = protocol.path(model)
    if path is None:
        return
    name, methods = f"{model.name}:{protocol.name}", ["POST"]
    view = _make_view(app, model, protocol, limit)
    if protocol.name == JsonProtocol.name:
        name, methods = model.name, ["GET", "POST"]
        # Generators of OpenAPI documents, and test clients, read the attributes `model`,
        # `page_title` and `contract` of the view function.
        view.model = model  # type: ignore[attr-defined]
        view.page_title = model.name  # type: ignore[attr-defined]
        view.contract = Contract(view, {"POST": model.operation})  # type: ignore[attr-defined]
    else:
        # Hide the URL from the OpenAPI document: other protocols describe their models themselves.
        view.__openapi_marks__ = {"hidden": True}  # type: ignore[attr-defined]
    view.__name__ = view.__qualname__ = name
    view.__doc__ = model.doc
    model.endpoints[protocol.name] = Endpoint(name, path, protocol, view, limit, subdomain)
    declared = _declare(app, model, protocol)
    if name in app.view_functions and app.models.is_redefined(model):
        app.view_functions[name] = view
        for rule in app.url_map.iter_rules(name):
            rule.declaration = declared
        note_change()
    else:
        app.add_url_rule(path, name, view, methods=methods, subdomain=subdomain, access=declared)


def _declare(app: ModelApp, model: Model, protocol: ModelProtocol) -> AccessDeclaration:
    """Return who may use a model by a protocol, and how often."""
    options, owner = model.options, f"app.model({model.rule!r})"
    refuse = partial(_refuse_access, app, model, protocol)
    return AccessDeclaration(
        options.access,
        check_rate(options.rate, owner),
        Purpose("model", model=model.name, refuse=refuse),
        check_cors(options.cors, owner),
    )


def _refuse_access(
    app: ModelApp, model: Model, protocol: ModelProtocol, problem: Problem
) -> HTTPException:
    """Return the response to a client that may not use a model."""
    asked = ask_for_key(app, model, problem)
    if asked is not problem:
        return asked
    return protocol.refuse(model, t.cast("PredictionRequest", None), problem)


def _limit(app: ModelApp, max_body_bytes: int | None) -> int:
    if max_body_bytes is not None:
        return max_body_bytes
    limit: int | None = app.config["MODEL_MAX_BODY"]
    of_all: int | None = app.config["MAX_CONTENT_LENGTH"]
    if of_all is not None and limit == DEFAULT_CONFIG["MODEL_MAX_BODY"]:
        return of_all
    return NO_LIMIT_BYTES if limit is None else limit


# --- the view ------------------------------------------------------------------------------------


def _make_view(
    app: ModelApp, model: Model, protocol: ModelProtocol, limit: cabc.Callable[[], int]
) -> cabc.Callable[[], Response]:
    streams = model.answers.streams

    def view() -> Response:
        current: Request = request._get_current_object()  # type: ignore[attr-defined]
        if current.method != "POST":
            metadata = app.response_class(
                encode(model.metadata()), mimetype=JSON, headers=[NOSNIFF]
            )
            return show_model(app, model, metadata)
        begun: t.Any = current.environ.get(OUTCOME)
        incoming: PredictionRequest = begun or LimitedBody(current, limit())
        try:
            decode = partial(protocol.decode, model, incoming)
            _note(current, model, begun)
            version = current.environ.get(CHOSEN) or model.versions.version_for(incoming)
            ticket: Ticket = begun or predict_and_wait(version, decode)
            if isinstance(incoming, LimitedBody):
                incoming.version = ticket.version
            _note(current, model, ticket)
            result = ticket.result()
            if streams:
                explain = partial(problem_in_stream, app, model, current)
                streamed = protocol.stream(model, incoming, result, explain)
                fields = streamed.headers
                if ticket.version:
                    fields = (*fields, (VERSION_HEADER, ticket.version))
                return _response(app, streamed.chunks, fields, streamed.media_type)
            answer = protocol.encode(model, incoming, result)
            if (shadow := model.versions.shadow) is not None:
                _offer(shadow, ticket, decode, incoming, result)
        except Exception as exc:  # noqa: BLE001  # raised again below
            raised = _exception_to_raise(app, model, current, exc)
            if isinstance(raised, Problem):
                raised = protocol.refuse(model, incoming, raised)
            try:
                if raised is exc:
                    raise
                raise raised from exc
            finally:
                # Break a reference cycle: the exception's traceback refers to this frame.
                del raised
        headers = (*answer.headers, *measured(ticket))
        return _response(app, answer.body, headers, answer.media_type)

    return view


def predict_and_wait(
    version: ModelVersion, decode: cabc.Callable[[], Arguments | list[Arguments]]
) -> Ticket:
    """Compute the prediction, or the several predictions, of a request. Returns the ticket whose
    value is the result, the list of results, or the failure.
    """
    decoded = decode()
    if type(decoded) is not list:
        return version.queue.submit_and_wait(
            t.cast("Arguments", decoded), decode=t.cast("cabc.Callable[[], Arguments]", decode)
        )
    return PredictionGroup(
        version.queue, decoded, t.cast("cabc.Callable[[], list[Arguments]]", decode)
    ).submit_and_wait()


def _offer(
    shadow: ShadowComparison,
    ticket: Ticket,
    decode: cabc.Callable[[], Arguments | list[Arguments]],
    incoming: PredictionRequest,
    result: t.Any,
) -> None:
    """Let a shadow compute a request that was answered."""
    if not isinstance(incoming, LimitedBody):
        t.cast("t.Any", incoming).offer_to(shadow, result)
    elif incoming.is_form:  # its files are closed when the request ends
        shadow.skip()
    else:
        shadow.offer(ticket, decode, result, len(incoming.raw()))


def _note(current: Request, model: Model, ticket: Ticket | None) -> None:
    """If the server has an access log, leave what it says of a prediction in the environ."""
    if FIELDS in current.environ:
        fields = current.environ[FIELDS] or {}
        current.environ[FIELDS] = {**fields, **logged(model, ticket)}


def _response(
    app: ModelApp, body: t.Any, headers: cabc.Iterable[tuple[str, str]], media_type: str
) -> Response:
    return t.cast("Response", app.response_class(body, headers=[*headers], content_type=media_type))


class LimitedBody(WerkzeugBody):
    """A Werkzeug request in the form that protocols of models use (`PredictionRequest`). The
    model's limit on the size of the body is enforced.
    """

    __slots__ = ("_form_was_read", "accept", "state", "version")

    def __init__(self, request: Request, max_bytes: int) -> None:
        super().__init__(request)
        self.accept: str = request.headers.get("Accept", "")
        self.state: t.Any = None
        self.version = ""
        self._form_was_read = False
        request.max_content_length = max_bytes
        # Let one form field be as long as the whole body may be. Werkzeug's default of 500 kB is
        # for fields that people type, but a field may contain a table, or a picture in base64.
        request.max_form_memory_size = max_bytes

    def header(self, name: str) -> str:
        return self._request.headers.get(name, "")

    @property
    def is_form(self) -> bool:
        """Whether `form` was called."""
        return self._form_was_read

    def raw(self) -> bytes:
        try:
            return super().raw()
        except RequestEntityTooLarge:
            raise self._too_large() from None

    def form(self) -> FormData:
        # Rewind the uploaded files, because an earlier `decode` has read them.
        if self._form_was_read:
            for files in self._request.files.listvalues():
                for file in files:
                    file.stream.seek(0)
        self._form_was_read = True
        try:
            return super().form()
        except RequestEntityTooLarge:
            raise self._too_large() from None

    def _too_large(self) -> InputTooLargeError:
        current = self._request
        limit, length = current.max_content_length, current.content_length
        if length is None or length > t.cast("int", limit):
            text = body_too_large(length, limit, "this model")
        else:
            text = f"The form has more than {current.max_form_parts} parts."
        return InputTooLargeError(text)


# --- failures ------------------------------------------------------------------------------------


def _exception_to_raise(app: ModelApp, model: Model, current: Request, exc: Exception) -> Exception:
    """Return the exception that the view raises for a failed prediction: problem details, or the
    failure itself.

    The view raises the failure itself where Flask would: in tests, under a debugger, and if the app
    has an error handler for its class.
    """
    problem = public_problem(exc)
    if problem is not None:
        return problem
    propagate = app.config.get("PROPAGATE_EXCEPTIONS")
    if propagate is None:
        propagate = app.testing or app.debug
    if propagate or app._find_error_handler(exc, current.blueprints) is not None:
        return exc
    return _log_failure(app, model, current, exc)


def problem_in_stream(
    app: ModelApp, model: Model, current: Request, exc: BaseException
) -> dict[str, t.Any]:
    """Return the problem details that end a stream after its prediction has failed. The app's error
    handlers cannot create another response, because this one has begun.
    """
    problem = public_problem(exc)
    if not isinstance(problem, Problem):
        problem = _log_failure(app, model, current, exc)
    return problem.to_dict(current.environ)


def public_problem(exc: BaseException) -> Exception | None:
    """Return the problem details that clients get for a failed prediction; None if they must not
    see the reason.
    """
    if isinstance(exc, InputError):
        return problem_of([Refusal("body", exc)])
    if isinstance(exc, (UnavailableError, DeadlineError, UnreadError)):
        return _problem_of_refusal(exc)
    if isinstance(exc, ReplicaLostError):
        what = "The process that computed this prediction has ended, and its result is lost."
        return Problem(exc.status, what, code=exc.slug)
    if isinstance(exc, Problem):
        return exc
    if isinstance(exc, HTTPException):
        # An HTTPException comes from Werkzeug, which failed to read the body, or from a call of
        # `abort` in `predict`.
        if exc.code is None or exc.response is not None:
            return exc
        return Problem(exc.code, exc.description or "", headers=exc.get_headers())
    return None


def _problem_of_refusal(exc: UnavailableError | DeadlineError | UnreadError) -> Problem:
    """Return a problem with status 503 (not computed, retry later) or 504 (computed too late)."""
    headers = []
    if isinstance(exc, UnavailableError):
        headers = [("Retry-After", str(exc.retry_after_s))]
    return Problem(exc.status, exc.detail, code=exc.slug, headers=headers)


def _log_failure(app: ModelApp, model: Model, current: Request, exc: BaseException) -> Problem:
    """Log why a prediction failed. Returns problem details with status 500 that contain only the
    request id.
    """
    request_id = id_of(current.environ)
    got_request_exception.send(app, _async_wrapper=getattr(app, "ensure_sync", None), exception=exc)
    drop_leading_frames(exc)
    app.logger.error(
        "Model %r failed on request %s",
        model.name,
        request_id,
        exc_info=(type(exc), exc, exc.__traceback__),
    )
    members: dict[str, t.Any] = {"request_id": request_id}
    status, what = 500, "The model failed on this input."
    if isinstance(exc, ModelLoadError):
        # A model that cannot be loaded is not the fault of the client's input: the request may
        # succeed on another worker, or later.
        status, what = exc.status, "The model could not be loaded."
        members["code"] = exc.slug
    return Problem(
        status,
        f"{what} The log has the reason under the request id.",
        original_exception=exc,
        **members,
    )
