"""Say in the OpenAPI document which operations need an API key, and how clients send it."""

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
_NOT_ALLOWED = "The API key may not use this model."


def with_key(operation: Dict, guard: RouteGuard | None, method: str) -> Dict:
    """Return an operation with what its clients must know of the guard of its route."""
    if guard is None or not guard.needs_key():
        return operation
    texts = {"401": _MISSING}
    if guard.purpose.model:
        texts["403"] = _NOT_ALLOWED
    content: Dict = {PROBLEM: {"schema": PROBLEM_REF}}
    if method == "get" or not guard.purpose.model:
        content["text/html"] = {}
    refused = {status: {"description": text, "content": content} for status, text in texts.items()}
    security: list[Dict] = [{name: []} for name in SCHEMES]
    responses = {**refused, **operation.get("responses", {})}
    return {**operation, "security": security, "responses": dict(sorted(responses.items()))}


def schemes_of(operations: t.Iterable[Dict]) -> dict[str, Dict]:
    """Return the schemes that a document with these operations needs."""
    return SCHEMES if any("security" in operation for operation in operations) else {}
