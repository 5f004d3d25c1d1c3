"""Markers that authors write in signatures: where an argument comes from, and errors of a view.

    def search(q: Annotated[str, Query("query")], token: Annotated[str, Header("X-Token")]): ...

Without a marker the type decides: scalars come from the query, records from the body, files from a
form. This module imports no other module of the package, so that an app which only uses markers
starts quickly.
"""

from __future__ import annotations

import typing as t

F = t.TypeVar("F", bound=t.Callable[..., t.Any])


class Marker:
    """Base class of the markers, which say where an argument comes from.

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
    """Marks a parameter of the query: `?name=value`; lists repeat the key, records have fields."""

    __slots__ = ()
    place = "query"


class Header(Marker):
    """Marks a parameter of a header: `Header("X-Token")`; by default its own name with hyphens."""

    __slots__ = ()
    place = "header"


class Cookie(Marker):
    """Marks a parameter that is read from a cookie."""

    __slots__ = ()
    place = "cookie"


class Form(Marker):
    """Marks a parameter of a form field, or a record of all fields. Other bodies are rejected."""

    __slots__ = ()
    place = "form"


class File(Marker):
    """Marks a parameter that is read from a file of a multipart form."""

    __slots__ = ()
    place = "file"


class Body(Marker):
    """Marks a parameter of the body, not of a form; `bytes` and `Upload` get any body unchanged.

    Several `Body()` parameters of one view are the keys of one object.
    """

    __slots__ = ()
    place = "body"


class Declared(t.NamedTuple):
    """The errors that one decorator `@raises` declares."""

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
        # The decorator nearest to the function runs first, so the errors of an outer decorator
        # are put in front.
        f.__carboy_raises__ = added + getattr(f, "__carboy_raises__", ())  # type: ignore[attr-defined]
        return f

    return decorator
