"""Refusals of inputs as HTTP errors: problem details (RFC 9457).

Only failed requests come here, so clarity wins over speed.
"""

from __future__ import annotations

import typing as t

from carboy.core.problemdetails import Problem

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from werkzeug.exceptions import HTTPException

    from carboy.ctx import RequestContext

    from ..errors import InputError


class Refusal(t.NamedTuple):
    """What is wrong in one place of the request."""

    place: str  # query, header, cookie, body
    error: InputError


def problem_of(refusals: cabc.Sequence[Refusal]) -> Problem:
    """Return all that is wrong with a request as one problem.

    A body that cannot be read at all (400, 413, 415) decides the status; else it is 422.
    """
    worst = min((each.error for each in refusals), key=lambda error: error.status)
    errors = [
        {"path": fault.path, "in": place, "expected": fault.expected, "got": fault.got}
        for place, error in refusals
        for fault in error.faults
    ]
    members: dict[str, t.Any] = {"errors": errors} if errors else {}
    detail = " ".join(error.detail for _, error in refusals)
    return Problem(worst.status, detail, code=worst.code, **members)


def raise_as_problem(
    ctx: RequestContext, error: HTTPException, *, always: bool = False
) -> t.NoReturn:
    """Raise an HTTP error of `abort` or Werkzeug as problem details.

    A response that is finished and a redirect are raised as they are. So is an error for a person
    with a browser, who gets Flask's page.

    Args:
        always: for browsers too; what binding itself found has no page.
    """
    is_for_people = not always and "text/html" in ctx._environ.get("HTTP_ACCEPT", "")
    is_finished = error.code is None or error.code < 400 or error.response is not None
    if is_for_people or is_finished or isinstance(error, Problem):
        raise error
    headers = error.get_headers()
    raise Problem(t.cast(int, error.code), error.description or "", headers=headers) from error
