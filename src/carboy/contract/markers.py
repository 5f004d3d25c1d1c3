"""Markers for annotations, which say where an argument comes from (`Query()`, `Header()`, ...); and
`@raises`.

    def search(q: Annotated[str, Query("query")], token: Annotated[str, Header("X-Token")]): ...

Without a marker the type decides: scalars come from the query, records (classes with named fields)
from the body, files from a form. This module imports no other module of the package, so that an app
which uses only markers starts quickly.
"""

from __future__ import annotations

import typing as t

F = t.TypeVar("F", bound=t.Callable[..., t.Any])


class Marker:
    """Base class of `Query`, `Header` and others, which stand in annotations and say where an
    argument comes from.

    Args:
        alias: the name in the request, if it differs from the parameter's name.
        description: text for the OpenAPI document.
    """

    __slots__ = ("alias", "description")
    place: t.ClassVar[str]

    def __init__(self, alias: str | None = None, *, description: str = "") -> None:
        self.alias = alias
        self.description = description

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.alias!r})" if self.alias else f"{type(self).__name__}()"
        )


class Query(Marker):
    """Says that an argument comes from the query: `?name=value`; lists repeat the key, records have
    one key per field.
    """

    __slots__ = ()
    place = "query"


class Header(Marker):
    """Says that an argument comes from a header: `Header("X-Token")`. Without a name, the header
    has the name of the parameter, with hyphens instead of underscores.
    """

    __slots__ = ()
    place = "header"


class Cookie(Marker):
    """Says that an argument comes from a cookie."""

    __slots__ = ()
    place = "cookie"


class Form(Marker):
    """Says that an argument comes from a field of a form, or that a record comes from all fields.
    Bodies other than forms are refused.
    """

    __slots__ = ()
    place = "form"


class File(Marker):
    """Says that an argument comes from a file of a multipart form."""

    __slots__ = ()
    place = "file"


class Body(Marker):
    """Says that an argument comes from the body, which must not be a form. An argument of type
    `bytes` or `Upload` gets any body unchanged.

    If a view has several such parameters, they are the keys of one JSON object.
    """

    __slots__ = ()
    place = "body"


class Declared(t.NamedTuple):
    """One error that a view may return, as its decorator `@raises(...)` declares it."""

    status: int
    description: str


def raises(*statuses: int, description: str = "") -> t.Callable[[F], F]:
    """Declare the errors that a view may return, for the OpenAPI document.

    ```python
    @app.get("/flowers/<name>")
    @raises(404, description="No flower of this name.")
    def show(name: str) -> Flower: ...
    ```

    Args:
        statuses: 400 to 599; the statuses of the view's `abort` calls.
        description: when the error occurs; by default the standard phrase of the status.
    """
    for status in statuses:
        if not (type(status) is int and 400 <= status <= 599):
            raise ValueError(
                f"@raises({status!r}): expected the status of an error, such as @raises(404)."
            )
    if not statuses:
        raise TypeError("@raises() names no status. Write @raises(404), or @raises(404, 409).")

    def decorator(f: F) -> F:
        added = tuple(Declared(status, description) for status in statuses)
        # Python runs the decorator nearest to the function first. Put errors of outer decorators in
        # front, so that the errors have the order of the source code.
        f.__carboy_raises__ = added + getattr(f, "__carboy_raises__", ())  # type: ignore[attr-defined]
        return f

    return decorator
