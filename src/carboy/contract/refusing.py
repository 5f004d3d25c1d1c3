"""What did not fit, told to the sender: problem details with a path, what was expected, what came.

Only failed requests come here, so clarity wins over speed.
"""

from __future__ import annotations

import typing as t

import msgspec

from carboy.problems import Problem

from . import explain
from .faults import Fault, InputError, MalformedInputError

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from werkzeug.exceptions import HTTPException

    from carboy.ctx import RequestContext


class Refusal(t.NamedTuple):
    """What is wrong in one place of the request."""

    place: str  # query, header, cookie, body
    error: InputError


def problem_of(refusals: cabc.Sequence[Refusal]) -> Problem:
    """All that is wrong with a request, as one answer.

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

    A finished response stays what it is, and a redirect of Werkzeug's too. So does an error for a
    person with a browser, who gets the page that Flask makes of it.

    Args:
        always: for browsers too; what binding itself found has no page.
    """
    is_for_people = not always and "text/html" in ctx._environ.get("HTTP_ACCEPT", "")
    is_finished = error.code is None or error.code < 400 or error.response is not None
    if is_for_people or is_finished or isinstance(error, Problem):
        raise error
    headers = error.get_headers()
    raise Problem(t.cast(int, error.code), error.description or "", headers=headers) from error


def misfit(error: Exception, value: t.Any, *, root: str = "$") -> InputError | None:
    """What a decoder or converter raised, for the sender; None: it is not about the input.

    Args:
        value: the input: undecoded bytes of JSON, or plain values.
        root: what `$` means to the sender, such as `$.page`.
    """
    if isinstance(error, InputError):
        return error
    data = value if isinstance(value, bytes) else None
    if isinstance(error, msgspec.ValidationError):
        if data is not None:
            return explain.misfit_of_json(error, data, root=root)
        return explain.misfit(error, value, root=root)
    if type(error).__module__ == "pydantic_core._pydantic_core":
        return _of_pydantic(error, root)
    if isinstance(error, (msgspec.DecodeError, UnicodeDecodeError, RecursionError)):
        return explain.malformed(data or b"?", error)
    return None


def _of_pydantic(error: t.Any, root: str) -> InputError:
    faults = []
    for each in error.errors(include_url=False, include_context=False):
        if each["type"] == "json_invalid":
            return MalformedInputError(f"The body is not valid JSON: {each['msg']}.")
        path = root + "".join(
            f"[{step}]" if isinstance(step, int) else f".{step}" for step in each["loc"]
        )
        missing = each["type"] == "missing"
        got = None if missing else explain.describe(each["input"])
        faults.append(Fault(path, each["msg"].removeprefix("Input should be "), got))
    detail = " ".join(
        f"Expected {fault.expected}"
        + (f", got {fault.got}" if fault.got else "")
        + f" - at `{fault.path}`."
        for fault in faults
    )
    return InputError(detail, faults=faults)
