"""Decorators that say what rules, types and docstrings cannot.

They only leave a note on the function, so they may stand above or below other decorators, below
`@app.route`.
"""

from __future__ import annotations

import typing as t

F = t.TypeVar("F", bound=t.Callable[..., t.Any] | type)

_NOTE = "__openapi_marks__"


def operation(
    *,
    summary: str | None = None,
    description: str | None = None,
    operation_id: str | None = None,
    tags: t.Sequence[str] | None = None,
    security: t.Sequence[str | dict[str, list[str]]] | None = None,
    deprecated: bool | None = None,
    hidden: bool | None = None,
    extra: t.Mapping[str, t.Any] | None = None,
) -> t.Callable[[F], F]:
    """Say something about the documented operation of a view, or of all methods of a class.

    Args:
        summary: in place of the docstring's first lines.
        description: in place of the docstring's others; Markdown.
        operation_id: the name in generated clients; by default made of the endpoint.
        tags: the groups it is listed in; by default its blueprint.
        security: names of schemes in `OPENAPI_SECURITY_SCHEMES`, each of which suffices;
            `[]`: open to all, where `OPENAPI_SECURITY` guards the others.
        deprecated: whether clients should stop using it.
        hidden: whether to leave it out of the document.
        extra: further members of the OpenAPI operation, merged last.
    """
    said: dict[str, t.Any] = {
        "summary": summary,
        "description": description,
        "operationId": operation_id,
        "tags": None if tags is None else list(tags),
        "security": None
        if security is None
        else [{name: []} if isinstance(name, str) else dict(name) for name in security],
        "deprecated": deprecated,
        "hidden": hidden,
        "extra": None if extra is None else dict(extra),
    }
    marks = {key: value for key, value in said.items() if value is not None}

    def decorator(view: F) -> F:
        # A new dict: `functools.wraps` lets wrapper and wrapped share the old one.
        setattr(view, _NOTE, {**getattr(view, _NOTE, {}), **marks})
        return view

    return decorator


def deprecated(view: F) -> F:
    """Mark a view as one that clients should stop using. Nothing changes for who calls it."""
    return operation(deprecated=True)(view)


def read_marks(holders: t.Iterable[t.Any]) -> dict[str, t.Any]:
    """What was said about an operation.

    Args:
        holders: where notes may be, the nearest first: method, what it wraps, class.
    """
    marks: dict[str, t.Any] = {}
    for holder in holders:
        for key, value in getattr(holder, _NOTE, {}).items():
            marks.setdefault(key, value)
        # PEP 702, `warnings.deprecated`: carries the advice as text.
        if isinstance(getattr(holder, "__deprecated__", None), str):
            marks.setdefault("deprecated", True)
    return marks
