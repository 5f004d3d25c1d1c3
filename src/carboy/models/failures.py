"""What a client is told of a prediction that failed, and what the log is.

A refusal says what to change or when to come back. Of a 5xx nobody outside sees the inside: the
client gets a request id, under which the log has the rest.
"""

from __future__ import annotations

import re
import typing as t
from uuid import uuid4

from werkzeug.exceptions import HTTPException

from carboy.core.problems import Problem
from carboy.core.tracebacks import drop_leading_frames
from carboy.errors import InputError, ModelLoadError
from carboy.signals import got_request_exception

from ..errors import DeadlineError, UnavailableError, UnreadError

if t.TYPE_CHECKING:
    import logging

    from carboy.wrappers import Request

    from .model import Model

# What is repeated from a sender's X-Request-ID, in answers and in the log.
_REQUEST_ID = re.compile(r"[\w.:+/=@-]{1,128}", re.ASCII)


class _App(t.Protocol):
    config: t.Any
    debug: bool
    testing: bool
    logger: logging.Logger

    def _find_error_handler(self, e: Exception, blueprints: list[str]) -> t.Any:
        """Flask's."""


def tell(app: _App, model: Model, current: Request, exc: Exception) -> Exception:
    """What to raise in the place of a failure; the failure itself where Flask would hand it on.

    That is in tests, under a debugger, and where its class has an error handler.
    """
    problem = refusal(exc)
    if problem is not None:
        return problem
    propagate = app.config.get("PROPAGATE_EXCEPTIONS")
    if propagate is None:
        propagate = app.testing or app.debug
    if propagate or app._find_error_handler(exc, current.blueprints) is not None:
        return exc
    return _failure(app, model, current, exc)


def tell_amid(app: _App, model: Model, current: Request, exc: BaseException) -> dict[str, t.Any]:
    """The problem that ends a stream of which something was sent: too late for a handler."""
    problem = refusal(exc)
    if not isinstance(problem, Problem):
        problem = _failure(app, model, current, exc)
    return problem.to_dict()


def refusal(exc: BaseException) -> Exception | None:
    """The answer to a failure that is told as it is; None where nobody outside may see it."""
    if isinstance(exc, InputError):
        return _refused(exc)
    if isinstance(exc, (UnavailableError, DeadlineError, UnreadError)):
        return _not_now(exc)
    if isinstance(exc, Problem):
        return exc
    if isinstance(exc, HTTPException):
        # Werkzeug's own, while it read the body; `abort` in `predict` arrives here too.
        if exc.code is None or exc.response is not None:
            return exc
        return Problem(exc.code, exc.description or "", headers=exc.get_headers())
    return None


def _refused(exc: InputError) -> Problem:
    errors = [
        {"path": fault.path, "expected": fault.expected, "got": fault.got} for fault in exc.faults
    ]
    members: dict[str, t.Any] = {"errors": errors} if errors else {}
    return Problem(exc.status, exc.detail, code=exc.code, **members)


def _not_now(exc: UnavailableError | DeadlineError | UnreadError) -> Problem:
    """503 was not computed, and is worth another try after a while; 504 was."""
    headers = []
    if isinstance(exc, UnavailableError):
        headers = [("Retry-After", str(exc.retry_after_s))]
    return Problem(exc.status, exc.detail, code=exc.code, headers=headers)


def _failure(app: _App, model: Model, current: Request, exc: BaseException) -> Problem:
    given = current.headers.get("X-Request-ID", "")
    request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
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
        # Not of this input: the next worker, or this one after a repair, may well answer it.
        status, what = exc.status, "The model could not be loaded."
        members["code"] = exc.code
    return Problem(
        status,
        f"{what} The log has the reason under the request id.",
        original_exception=exc,
        **members,
    )
