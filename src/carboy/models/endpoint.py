"""A model's URL: POST predicts, GET says what the model is, or shows a page to try it.

The only module of `models` that knows requests. It turns a request into the codec's `Body`, what
goes wrong into problem details, and leaves the deciding to others.
"""

from __future__ import annotations

import re
import sys
import typing as t
from uuid import uuid4

from werkzeug.exceptions import HTTPException

from carboy.contract.faults import InputError, MalformedInputError
from carboy.contract.uploads import Upload
from carboy.globals import request
from carboy.problems import Problem
from carboy.signals import got_request_exception

from .codec import Form
from .page.views import add_files, show_model
from .refusals import DeadlineError, UnavailableError
from .registry import Model, Models

if t.TYPE_CHECKING:
    import logging

    from werkzeug.wrappers import Response

    from carboy.wrappers import Request

    from .options import Options

# Largest body of a prediction, unless MAX_CONTENT_LENGTH or `max_body_bytes=` says otherwise. A
# photograph from a phone has 3 to 8 MB; JSON decoded from this much fits into 1 GB of objects.
DEFAULT_MAX_BODY_BYTES = 32 * 1024 * 1024
# What is repeated from a sender's X-Request-ID, in answers and in the log.
_REQUEST_ID = re.compile(r"[\w.:+/=@-]{1,128}", re.ASCII)


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
    name: str | None = None,
    options: Options | None = None,
    max_body_bytes: int | None = None,
    subdomain: str | None = None,
) -> Model:
    """Give a model its URL. Nothing is loaded.

    Args:
        app: the app that gets the rule and the model.
        rule: a URL without variables, such as `/digits`.
        target: a class with a typed `predict`, or a typed function.
        name: how `app.models` and `url_for` know it; by default the last part of the rule.
        options: how it is run; by default one by one.
        max_body_bytes: above it 413; by default MAX_CONTENT_LENGTH, or 32 MiB without one.
        subdomain: of the rule; a blueprint may have one.

    Raises:
        SignatureError: the types of `predict` cannot be served.
        ValueError: the rule or the name cannot be used.
    """
    if "<" in rule:
        raise ValueError(
            f"app.model({rule!r}): the rule of a model has no variables; its input is the body."
        )
    name = name or rule.strip("/").rpartition("/")[2] or target.__name__.lower()
    model = Model(name, rule, target, options)
    view = _make_view(t.cast("_App", app), model, max_body_bytes)
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
    decode, run, answers = model.codec.decode, model.run, model.answers

    def view() -> Response:
        current: Request = request._get_current_object()  # type: ignore[attr-defined]
        if current.method != "POST":
            return show_model(app, model, _json(app, _metadata(model)))
        try:
            result = run(decode(_RequestBody(current, _limit(app, max_body_bytes))))
            answer = answers.encode(result, current.headers.get("Accept", ""))
        except InputError as exc:
            raise _refused(exc) from exc
        except (UnavailableError, DeadlineError) as exc:
            raise _not_now(exc) from exc
        except Problem:
            raise
        except HTTPException as exc:
            # Werkzeug's own, while it read the body; `abort` in `predict` arrives here too.
            if exc.code is None or exc.response is not None:
                raise
            raise Problem(exc.code, exc.description or "", headers=exc.get_headers()) from exc
        except Exception as exc:
            raise _failed(app, model, current, exc) from exc
        response: Response = app.response_class(
            answer.body, headers=list(answer.headers), content_type=answer.media_type
        )
        return response

    view.__name__ = view.__qualname__ = model.name
    view.__doc__ = model.doc
    view.model = model  # type: ignore[attr-defined]  # documents and tools find it here
    return view


def _metadata(model: Model) -> bytes:
    return model.codec.encode(model.metadata())


class _RequestBody:
    """A Werkzeug request as the codec wants it."""

    __slots__ = ("_request",)

    def __init__(self, request: Request, max_bytes: int) -> None:
        self._request = request
        request.max_content_length = max_bytes

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
        return self._request.get_data(cache=True, parse_form_data=False)

    def form(self) -> Form:
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
    configured: int | None = app.config.get("MAX_CONTENT_LENGTH")
    return DEFAULT_MAX_BODY_BYTES if configured is None else configured


def _json(app: _App, body: bytes) -> Response:
    return t.cast("Response", app.response_class(body, mimetype="application/json"))


def _refused(exc: InputError) -> Problem:
    errors = [
        {"path": fault.path, "expected": fault.expected, "got": fault.got} for fault in exc.faults
    ]
    members: dict[str, t.Any] = {"errors": errors} if errors else {}
    return Problem(exc.status, exc.detail, code=exc.code, **members)


def _not_now(exc: UnavailableError | DeadlineError) -> Problem:
    """503 was not computed, and is worth another try after a while; 504 was."""
    headers = []
    if isinstance(exc, UnavailableError):
        headers = [("Retry-After", str(exc.retry_after_s))]
    return Problem(exc.status, exc.detail, code=exc.code, headers=headers)


def _failed(app: _App, model: Model, current: Request, exc: Exception) -> Exception:
    """A 500 that tells the client a request id and the log the rest.

    Where Flask would hand the exception on (tests, debugger, a handler for its class), so do we.
    """
    propagate = app.config.get("PROPAGATE_EXCEPTIONS")
    if propagate is None:
        propagate = app.testing or app.debug
    if propagate or app._find_error_handler(exc, current.blueprints) is not None:
        raise exc
    given = current.headers.get("X-Request-ID", "")
    request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
    got_request_exception.send(app, _async_wrapper=getattr(app, "ensure_sync", None), exception=exc)
    app.logger.error(
        "Model %r failed on request %s", model.name, request_id, exc_info=sys.exc_info()
    )
    return Problem(
        500,
        "The model failed on this input. The log has the reason under the request id.",
        original_exception=exc,
        request_id=request_id,
    )
