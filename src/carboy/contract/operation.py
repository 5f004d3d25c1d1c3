"""A function with annotations (a typed view, or the method `predict` of a model) as data: what it
takes from a request and what it returns.

    Contract -> operation("POST") -> Operation
                                       parameters   query, headers, cookies: Parameter
                                       body         BodySpec | None: parameters of the body
                                       answer       Answer
                                       failures     Failure: what `@raises` and the types declare

`predict` of a model is an `Operation` whose parameters all come from the body. Types are kept as
the annotations that the author wrote. This module knows no request and nothing of OpenAPI;
`carboy.contract.schemas` converts annotations into JSON Schema.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import typing as t
import uuid
from copy import deepcopy
from functools import partial

from msgspec import UnsetType

from carboy.core.annotations import declared

from .records import is_frozen, values_in

if t.TYPE_CHECKING:
    import collections.abc as cabc


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False


UNSET: t.Final = _Unset()


def copier(default: t.Any) -> cabc.Callable[[], t.Any] | None:
    """Return a function that copies a default for each request; None for an immutable default."""
    if _is_constant(default):
        return None
    if type(default) in (list, set) and all(map(_is_constant, default)):
        return t.cast("cabc.Callable[[], t.Any]", default.copy)
    if type(default) is dict and all(map(_is_constant, (*default, *default.values()))):
        return default.copy
    return partial(deepcopy, default)


def fresh(default: t.Any) -> t.Any:
    """Return a copy of a mutable default, so that no request can change the default of another."""
    copy = copier(default)
    return default if copy is None else copy()


def _is_constant(value: t.Any) -> bool:
    if isinstance(value, (tuple, frozenset)):
        return all(map(_is_constant, value))
    if is_frozen(type(value)):
        return all(_is_constant(each) for _, each in values_in(value))
    return isinstance(value, (_Unset, UnsetType, enum.Enum, *_CONSTANTS)) or callable(value)


_CONSTANTS = (
    *(type(None), bool, int, float, complex, str, bytes, decimal.Decimal, uuid.UUID),
    *(dt.date, dt.time, dt.timedelta, dt.tzinfo),
)

Place = t.Literal["query", "header", "cookie", "body", "form", "file"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One argument that comes from the request.

    `place` says where it comes from. "form" and "file" are only used for the markers `Form()` and
    `File()`, for which the body must be a form. For "body", a body of any supported media type is
    read.
    """

    #: The name of the Python parameter.
    name: str
    #: The name in the request: of a query parameter, a header, a cookie, or a key of the JSON
    #: object.
    alias: str
    place: Place
    #: The annotation with `Annotated` and `msgspec.Meta`, but without markers such as `Query()`.
    annotation: t.Any
    #: The default; UNSET if the parameter is required.
    default: t.Any = UNSET
    #: The description from the marker (`Query(description=...)`), from `Meta`, or from `Args:`.
    description: str = ""
    #: Whether the argument is a list of the values of a repeated key (`?tag=a&tag=b`), or of
    #: several files.
    many: bool = False
    #: Whether the argument is a record, each field of which has its own key in the query:
    #: `Annotated[Filter, Query()]`.
    spread: bool = False

    @property
    def required(self) -> bool:
        return self.default is UNSET


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BodySpec:
    """The body of a request: its parameters, and the media types that are accepted."""

    #: The accepted media types, the most suitable one first.
    media_types: tuple[str, ...]
    parameters: tuple[Parameter, ...]

    @property
    def single(self) -> Parameter | None:
        """Return the parameter whose value is the whole body; None if the body has several
        parameters, or must be a form.
        """
        lone = self.parameters[0] if len(self.parameters) == 1 else None
        return lone if lone is not None and lone.place == "body" else None

    @property
    def required(self) -> bool:
        return any(parameter.required for parameter in self.parameters)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The return type of a view or a `predict`, and how values are sent.

    * kind "flask": Flask makes the response; `annotation` is the author's annotation or None.
    * kind "json": JSON; `annotation` is the typed part, such as `Flower` of `Flower | Response`.
    * kind "stream": JSON lines or server-sent events; `annotation` is the type of one item.
    * kind "value": an image, a table or the like; the Accept header chooses the media type.

    A value that does not fit the type is an error, unless Flask itself can make a response of it.
    """

    kind: t.Literal["flask", "json", "stream", "value"]
    annotation: t.Any = None
    #: The status of the response: 200, or 201 for `tuple[Flower, Literal[201]]`.
    status: int = 200
    media_types: tuple[str, ...] = ()
    #: The statuses of responses without a body, such as 204 for `tuple[None, Literal[204]]`.
    empty: tuple[int, ...] = ()
    #: Members of the annotation that Flask handles, such as `dict` in `Flower | dict`.
    flasks: tuple[t.Any, ...] = ()
    #: Whether returned values are checked against `annotation`; False after `install_as_flask()`.
    checked: bool = True

    @property
    def typed(self) -> bool:
        """Return whether carboy, and not Flask, converts the view's return value to a response."""
        return self.kind != "flask" or bool(self.empty)

    @property
    def streams(self) -> bool:
        """Return whether the response is a stream of items."""
        return self.kind == "stream"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error status that a view may return, and the reason."""

    status: int
    description: str = ""
    #: How the error is known: "declared" by `@raises`, or "implied" by the types, which can cause
    #: it (400, 413, 415, 422).
    source: t.Literal["declared", "implied"] = "declared"
    #: Whether the error's body is problem details (RFC 9457); otherwise it is Flask's HTML page.
    problem: bool = True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One HTTP method of a typed view, or the `predict` of a model."""

    #: The function inside all decorators. Documents show its name and docstring, error messages its
    #: location.
    function: cabc.Callable[..., t.Any]
    #: Parameters from the query, headers and cookies, in the order of the signature.
    parameters: tuple[Parameter, ...]
    body: BodySpec | None
    answer: Answer
    #: Errors that the types can cause: 400, 413, 415, 422; for models also 500, 503, 504.
    implied: tuple[Failure, ...]
    #: The function as registered, with all decorators; `@raises` has stored its errors on it.
    outer: cabc.Callable[..., t.Any]
    #: The annotations of parameters that are variables in the URL rule, for documents. The
    #: converters in the rule convert their values.
    path: cabc.Mapping[str, t.Any]

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Return the errors that the view may return, those of `@raises` first."""
        problem = self.answer.typed
        # Read the errors in each call and not at registration: `@raises` may stand above
        # `@app.route`, and then runs after it.
        raised = declared(self.outer, "__carboy_raises__", ())
        found = [
            Failure(status=status, description=description, problem=problem)
            for status, description in raised
        ]
        statuses = {each.status for each in found}
        return (*found, *(each for each in self.implied if each.status not in statuses))

    @property
    def bound(self) -> tuple[str, ...]:
        """Return the names of all parameters of the Python function that come from the request."""
        of_body = () if self.body is None else self.body.parameters
        return tuple(parameter.name for parameter in (*self.parameters, *of_body))


@dataclasses.dataclass(frozen=True, slots=True)
class Contract:
    """The types of a view or a model, as one `Operation` per HTTP method. Stored on the registered
    function.
    """

    #: The view as its author registered it, without the function around it that reads its
    #: arguments.
    view: cabc.Callable[..., t.Any]
    #: An `Operation` per HTTP method for a `MethodView`; other views have one, under the key "*".
    operations: cabc.Mapping[str, Operation]

    def operation(self, method: str) -> Operation:
        """Return the `Operation` for an HTTP method; HEAD has that of GET."""
        found = self.operations.get("*") or self.operations.get(method.upper())
        if found is None and method.upper() == "HEAD":
            found = self.operations.get("GET")
        if found is None:
            known = ", ".join(self.operations)
            raise KeyError(f"{method}: {self.view!r} answers {known}.")
        return found
