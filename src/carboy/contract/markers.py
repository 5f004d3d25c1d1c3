"""What an author writes beside a type: where a value comes from, and with what a view may refuse.

    def search(q: Annotated[str, Query("query")], token: Annotated[str, Header("X-Token")]): ...

Without a marker the type decides: scalars come from the query, records from the body, files from a
form. Light to import: an app that only names these loads nothing else.
"""

from __future__ import annotations

import typing as t

F = t.TypeVar("F", bound=t.Callable[..., t.Any])


class Marker:
    """The base of the markers.

    Args:
        alias: the name on the wire, where it is not that of the parameter.
        description: for the document.
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
    """From the query: `?name=value`; a list from repeated keys, a record from its fields."""

    __slots__ = ()
    place = "query"


class Header(Marker):
    """From a header: `Header("X-Token")`; by default the parameter's name with hyphens."""

    __slots__ = ()
    place = "header"


class Cookie(Marker):
    """From a cookie."""

    __slots__ = ()
    place = "cookie"


class Form(Marker):
    """From a field of a form; a record from all of its fields. Nothing but forms is accepted."""

    __slots__ = ()
    place = "form"


class File(Marker):
    """From a file of a multipart form."""

    __slots__ = ()
    place = "file"


class Body(Marker):
    """From the body, but from no form; `bytes` and `Upload` as they came, JSON included.

    Several `Body()` parameters of one view are the keys of one object.
    """

    __slots__ = ()
    place = "body"


class Declared(t.NamedTuple):
    """One `@raises` of a view."""

    status: int
    description: str


def raises(*statuses: int, description: str = "") -> t.Callable[[F], F]:
    """Declare the errors with which a view may answer, for the document.

    ```python
    @app.get("/flowers/<name>")
    @raises(404, description="No flower of this name.")
    def show(name: str) -> Flower: ...
    ```

    Args:
        statuses: 400 to 599, those that the view's `abort` calls use.
        description: why; by default the usual phrase of the status.
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
        # In the order in which one reads them: the decorator nearest to the function runs first.
        f.__carboy_raises__ = added + getattr(f, "__carboy_raises__", ())  # type: ignore[attr-defined]
        return f

    return decorator
