"""Decorators for what URL rules, types and docstrings of views cannot express in the document.

They only set an attribute of the function. So they may be above or below other decorators, but must
be below `@app.route`, which would otherwise register the view without the attribute.
"""

from __future__ import annotations

import typing as t

from ..core.annotations import declared
from .swagger2 import convert_security

F = t.TypeVar("F", bound=t.Callable[..., t.Any] | type)

_NOTE = "__openapi_marks__"


def operation(
    *,
    summary: str | None = None,
    description: str | None = None,
    operation_id: str | None = None,
    tags: str | t.Sequence[str] | None = None,
    security: str | t.Sequence[str | dict[str, list[str]]] | None = None,
    deprecated: bool | None = None,
    hidden: bool | None = None,
    extra: t.Mapping[str, t.Any] | None = None,
) -> t.Callable[[F], F]:
    """Document a view; above a class, all of its methods.

    Args:
        summary: overrides the first lines of the docstring.
        description: overrides the rest of the docstring; Markdown.
        operation_id: the name in generated clients; the default is derived from the endpoint.
        tags: the groups that list the operation, or one group; the default is its blueprint.
        security: names of schemes in `OPENAPI_SECURITY_SCHEMES`, of which one suffices, or one
            name; `[]` makes the operation public although `OPENAPI_SECURITY` protects the others.
        deprecated: whether clients should stop using the operation.
        hidden: whether to leave the operation out of the document.
        extra: further members of the OpenAPI operation, merged last.
    """
    said: dict[str, t.Any] = {
        "summary": summary,
        "description": description,
        "operationId": operation_id,
        "tags": None if tags is None else [tags] if isinstance(tags, str) else list(tags),
        "security": None if security is None else convert_security(security),
        "deprecated": deprecated,
        "hidden": hidden,
        "extra": None if extra is None else dict(extra),
    }
    marks = {key: value for key, value in said.items() if value is not None}

    def decorator(view: F) -> F:
        # Assign a new dict and do not change the old one, because `functools.wraps` lets a wrapper
        # share it with the wrapped function.
        setattr(view, _NOTE, {**getattr(view, _NOTE, {}), **marks})
        return view

    return decorator


def deprecated(view: F) -> F:
    """Mark a view as deprecated in the document. The view itself does not change."""
    return operation(deprecated=True)(view)


def read_marks(holders: t.Iterable[t.Any]) -> dict[str, t.Any]:
    """Return what decorators such as `@operation` have set for an operation.

    Args:
        holders: the objects that may have been decorated: the method, the functions that it wraps,
            the class. The first of them takes precedence.
    """
    marks: dict[str, t.Any] = {}
    for holder in holders:
        for key, value in declared(holder, _NOTE, {}).items():
            marks.setdefault(key, value)
        # The decorator `warnings.deprecated` (PEP 702) sets the attribute `__deprecated__` to its
        # message.
        if isinstance(getattr(holder, "__deprecated__", None), str):
            marks.setdefault("deprecated", True)
    return marks
