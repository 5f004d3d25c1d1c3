"""Problem details (RFC 9457): HTTP errors as JSON, for programs to read.

`Problem` is an HTTP exception, so `@app.errorhandler(422)` and `@app.errorhandler(HTTPException)`
receive it and may return another response.
Source: RFC 9457, https://www.rfc-editor.org/rfc/rfc9457
"""

from __future__ import annotations

import typing as t
from json import dumps

from werkzeug.exceptions import HTTPException, default_exceptions
from werkzeug.http import HTTP_STATUS_CODES

from carboy.observability.environkeys import REQUEST_ID

from .nosniff import NOSNIFF

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from _typeshed.wsgi import WSGIEnvironment

    from carboy.ctx import RequestContext
    from carboy.errors import InputError

MEDIA_TYPE = "application/problem+json"


class Problem(HTTPException):
    """An HTTP exception whose body is a JSON object with title, status and detail.

    Args:
        status: 400 to 599.
        detail: what went wrong, for the client to read; never internals of a 5xx.
        headers: further response headers, such as Retry-After.
        original_exception: the unhandled exception, for handlers of 500 (Flask's attribute).
        members: further JSON members, such as `errors`.

    An instance is also an instance of Werkzeug's class for the status: `Problem(422, "...")` is an
    `UnprocessableEntity`. This is needed because error handlers are found by class, even those that
    are registered for a status code.
    """

    def __new__(cls, status: int, *args: t.Any, **members: t.Any) -> t.Self:
        """Create an instance of a subclass that also derives from Werkzeug's exception for the
        status.
        """
        return super().__new__(_class_for(cls, status))

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: t.Iterable[tuple[str, str]] = (),
        original_exception: BaseException | None = None,
        **members: t.Any,
    ) -> None:
        # Call `HTTPException.__init__` and not `super().__init__`: the latter would call Werkzeug's
        # class for the status, whose constructor may require more arguments.
        HTTPException.__init__(self, detail)
        self.members = members
        self.headers = [(k, v) for k, v in headers if k.lower() != "content-type"]
        self.original_exception = original_exception

    @property
    def name(self) -> str:
        return HTTP_STATUS_CODES.get(self.code or 0, "Unknown Error")

    def to_dict(self, environ: WSGIEnvironment | None = None) -> dict[str, t.Any]:
        """Return the JSON members: title, status and detail, then the members passed to the
        constructor, and the request id if the server of the request `environ` has given one.

        The member `type` is left out, so that it has its default "about:blank". This means that the
        title is that of the HTTP status.
        """
        request_id = None if environ is None else environ.get(REQUEST_ID)
        found = {} if request_id is None else {"request_id": request_id}
        members = {"title": self.name, "status": self.code, "detail": self.description}
        return {**members, **found, **self.members}

    def get_body(self, environ: WSGIEnvironment | None = None, scope: t.Any = None) -> str:
        return dumps(self.to_dict(environ), ensure_ascii=False)

    def get_headers(
        self, environ: WSGIEnvironment | None = None, scope: t.Any = None
    ) -> list[tuple[str, str]]:
        return [("Content-Type", MEDIA_TYPE), NOSNIFF, *self.headers]


_classes: dict[tuple[type, int], type[t.Any]] = {}
_P = t.TypeVar("_P", bound=Problem)


def _class_for(cls: type[_P], status: int) -> type[_P]:
    made = _classes.get((cls, status))
    if made is None:
        known = default_exceptions.get(status)
        bases = (cls,) if known is None else (cls, known)
        made = type(cls.__name__, bases, {"code": status, "__module__": cls.__module__})
        _classes[cls, status] = made
    return made


class Refusal(t.NamedTuple):
    """An error in a client's input, and the part of the request (query, header, cookie or body)
    that contains it.
    """

    place: str  # which part of the request is wrong: "query", "header", "cookie" or "body"
    error: InputError


def problem_of(refusals: cabc.Sequence[Refusal]) -> Problem:
    """Combine all input errors of one request into one HTTP error.

    Its status is the lowest status of the errors: that a body cannot be read (400, 413, 415) is
    more important than an invalid value (422).
    """
    worst = min((each.error for each in refusals), key=lambda error: error.status)
    errors = [
        {"path": fault.path, "in": place, "expected": fault.expected, "got": fault.got}
        for place, error in refusals
        for fault in error.faults
    ]
    members: dict[str, t.Any] = {"errors": errors} if errors else {}
    detail = " ".join(error.detail for _, error in refusals)
    return Problem(worst.status, detail, code=worst.slug, **members)


def as_http_exception(error: InputError, ctx: RequestContext) -> HTTPException:
    """Return the HTTP error for an input error that a view or hook has raised: if the client
    accepts HTML, the error that `abort` would raise, else problem details (JSON).
    """
    problem = problem_of([Refusal("body", error)])
    page = default_exceptions.get(error.status)
    return problem if page is None or not _wants_page(ctx) else page(error.detail)


def as_page_or_problem(problem: Problem, ctx: RequestContext) -> HTTPException:
    """Return an error for the client of a request: if it accepts HTML, the error that `abort` would
    raise, else problem details (JSON).
    """
    page = default_exceptions.get(t.cast("int", problem.code))
    if page is None or not _wants_page(ctx):
        return problem
    return _with_headers(page(problem.description), problem.headers)


def _with_headers(error: HTTPException, headers: cabc.Iterable[tuple[str, str]]) -> HTTPException:
    """Return an error whose response has more headers."""
    of_class = error.get_headers

    def get_headers(environ: t.Any = None, scope: t.Any = None) -> list[tuple[str, str]]:
        return [*of_class(environ, scope), *headers]

    error.get_headers = get_headers  # type: ignore[method-assign]
    return error


def _wants_page(ctx: RequestContext) -> bool:
    return "text/html" in ctx._environ.get("HTTP_ACCEPT", "")


def raise_as_problem(
    ctx: RequestContext, error: HTTPException, *, always: bool = False
) -> t.NoReturn:
    """Raise an HTTP error of `abort` or Werkzeug in the form of problem details (JSON).

    Redirects, and errors that carry a response of their own, are raised unchanged. So are errors of
    requests that accept HTML, because browsers should show Flask's error page.

    Args:
        always: raise problem details also for requests that accept HTML.
    """
    wants_page = not always and _wants_page(ctx)
    is_finished = error.code is None or error.code < 400 or error.response is not None
    if wants_page or is_finished or isinstance(error, Problem):
        raise error
    headers = error.get_headers()
    raise Problem(t.cast(int, error.code), error.description or "", headers=headers) from error
