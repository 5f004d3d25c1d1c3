"""Say in the OpenAPI document which operations need an API key, how clients send it, and which
operations have a rate limit.
"""

from __future__ import annotations

import typing as t

from .operations import PROBLEM, PROBLEM_REF

if t.TYPE_CHECKING:
    from carboy.access.guard import RouteGuard

Dict: t.TypeAlias = dict[str, t.Any]

#: The schemes by name. Clients use one of them.
SCHEMES: dict[str, Dict] = {
    "ApiKeyBearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "The API key, as Authorization: Bearer KEY.",
    },
    "ApiKeyHeader": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same key in a header of its own.",
    },
}
_MISSING = "The API key is missing, not known, expired or revoked."
_NOT_ALLOWED = "The API key is not for this."
_TEXT, _NUMBER = {"schema": {"type": "string"}}, {"schema": {"type": "integer"}}
#: The headers of a refusal because of a rate.
_RATE_HEADERS: Dict = {
    "Retry-After": {"description": "Seconds until the next request is allowed.", **_NUMBER},
    "RateLimit-Policy": {"description": "All rates: q requests in w seconds.", **_TEXT},
    "RateLimit": {"description": "The rates that were exceeded.", **_TEXT},
}


def with_guard(operation: Dict, guard: RouteGuard | None, method: str) -> Dict:
    """Return an operation with what its clients must know of the guard of its route."""
    if guard is None:
        return operation
    content: Dict = {PROBLEM: {"schema": PROBLEM_REF}}
    if method == "get" or not guard.purpose.model:
        content["text/html"] = {}
    refused: Dict = {}
    security: Dict = {}
    if guard.needs_key():
        refused["401"] = {"description": _MISSING, "content": content}
        if guard.purpose.model:
            refused["403"] = {"description": _NOT_ALLOWED, "content": content}
        security = {"security": [{name: []} for name in SCHEMES]}
    if (limit := guard.policy.limit) is not None:
        text = f"More requests than allowed: {', '.join(limit.texts)}."
        refused["429"] = {"description": text, "headers": _RATE_HEADERS, "content": content}
    responses = {**refused, **operation.get("responses", {})}
    return {**operation, **security, "responses": dict(sorted(responses.items()))}


def schemes_of(operations: t.Iterable[Dict]) -> dict[str, Dict]:
    """Return the schemes that a document with these operations needs."""
    return SCHEMES if any("security" in operation for operation in operations) else {}
