"""What a view or a `predict` takes and gives, as data: for compilers, documents and test clients.

    Contract -> operation("POST") -> Operation
                                       parameters   query, headers, cookies: Parameter
                                       body         BodySpec | None: parameters of the body
                                       answer       Answer
                                       failures     Failure, from @raises and from the types

`predict` of a model is an operation whose parameters all come from the body. Nothing here has seen
a request, and nothing is specific to OpenAPI: a type is the annotation that the author wrote, and
`carboy.contract.schemas` turns annotations into JSON Schema.
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

if t.TYPE_CHECKING:
    import collections.abc as cabc


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False


UNSET: t.Final = _Unset()


def copier(default: t.Any) -> cabc.Callable[[], t.Any] | None:
    """Return what copies a default for each request; None of a value that cannot change."""
    if _is_constant(default):
        return None
    if type(default) in (list, set) and all(map(_is_constant, default)):
        return t.cast("cabc.Callable[[], t.Any]", default.copy)
    if type(default) is dict and all(map(_is_constant, (*default, *default.values()))):
        return default.copy
    try:
        deepcopy(default)
    except Exception:  # noqa: BLE001 - of whatever the author's object holds: a lock, a socket
        return None
    return partial(deepcopy, default)


def fresh(default: t.Any) -> t.Any:
    """Return a default for one request: what one view changes in it, the next does not see."""
    copy = copier(default)
    return default if copy is None else copy()


def _is_constant(value: t.Any) -> bool:
    if type(value) is tuple:
        return all(map(_is_constant, value))
    return isinstance(value, (_Unset, enum.Enum, *_CONSTANTS)) or callable(value)


_CONSTANTS = (
    *(type(None), bool, int, float, complex, str, bytes, frozenset, decimal.Decimal, uuid.UUID),
    *(dt.date, dt.time, dt.timedelta),
)

Place = t.Literal["query", "header", "cookie", "body", "form", "file"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One argument that comes from the request, and where it comes from.

    `place` is "form" or "file" where the author has said so by a marker: such a parameter comes
    from a form only. "body" is any way to write a body.
    """

    #: Of the Python parameter.
    name: str
    #: On the wire: the key of the query or of the object, the header's name, ...
    alias: str
    place: Place
    #: As written, `Annotated` with `msgspec.Meta` included, markers of carboy's taken off.
    annotation: t.Any
    #: UNSET: required.
    default: t.Any = UNSET
    #: From the marker (`Query(description=...)`), from `Meta`, or from `Args:` in the docstring.
    description: str = ""
    #: Repeated keys (`?tag=a&tag=b`), or several files.
    many: bool = False
    #: The annotation is a record whose fields are spread: `Annotated[Filter, Query()]`.
    spread: bool = False

    @property
    def required(self) -> bool:
        return self.default is UNSET


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BodySpec:
    """The body of a request: its parameters, and the media types that may carry them."""

    #: The most fitting first.
    media_types: tuple[str, ...]
    parameters: tuple[Parameter, ...]

    @property
    def single(self) -> Parameter | None:
        """Return the parameter that is the whole body; None if parameters have names in it."""
        lone = self.parameters[0] if len(self.parameters) == 1 else None
        return lone if lone is not None and lone.place == "body" else None

    @property
    def required(self) -> bool:
        return any(parameter.required for parameter in self.parameters)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a view or a `predict` returns.

    kind "flask": what Flask makes of it; `annotation` is what the author wrote, if anything.
    kind "json": `annotation` (its typed part: `Flower` of `Flower | None | Response`).
    kind "stream": JSON lines or server-sent events; `annotation` is the type of one item.
    kind "value": one or more kinds of value, such as a picture or a table; `Accept` chooses.
    """

    kind: t.Literal["flask", "json", "stream", "value"]
    annotation: t.Any = None
    #: 200, or what `tuple[Flower, Literal[201]]` says.
    status: int = 200
    media_types: tuple[str, ...] = ()
    #: Statuses of answers without content: 204 of `tuple[None, Literal[204]]`.
    empty: tuple[int, ...] = ()

    @property
    def typed(self) -> bool:
        """Return whether carboy converts what the view returns."""
        return self.kind != "flask" or bool(self.empty)

    @property
    def streams(self) -> bool:
        """Return whether items are sent one after the other."""
        return self.kind == "stream"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A status with which the view may refuse, and why."""

    status: int
    description: str = ""
    #: "declared" by `@raises`, or "implied" by the types (400, 413, 415, 422).
    source: t.Literal["declared", "implied"] = "declared"
    #: False where the body is what Flask makes of `abort` (HTML) instead of problem details.
    problem: bool = True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One HTTP method of one view."""

    #: The innermost function: its name, docstring and place in the source.
    function: cabc.Callable[..., t.Any]
    #: Query, header and cookie, in the order of the signature.
    parameters: tuple[Parameter, ...]
    body: BodySpec | None
    answer: Answer
    #: From the types: 400, 413, 415, 422; of a model also 500, 503, 504.
    implied: tuple[Failure, ...]
    #: The function as it was registered, on which `@raises` has left its mark.
    outer: cabc.Callable[..., t.Any]
    #: Annotations of the rule's variables, where written. They do not convert: converters do.
    path: cabc.Mapping[str, t.Any]

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Return the errors with which this may answer, those of `@raises` first."""
        problem = self.answer.typed
        # Asked for now, not at registration: `@raises` may stand above `@app.route`.
        declared = getattr(self.outer, "__carboy_raises__", ())
        found = [
            Failure(status=status, description=description, problem=problem)
            for status, description in declared
        ]
        statuses = {each.status for each in found}
        return (*found, *(each for each in self.implied if each.status not in statuses))

    @property
    def bound(self) -> tuple[str, ...]:
        """Return the Python names of all arguments that come from the request."""
        of_body = () if self.body is None else self.body.parameters
        return tuple(parameter.name for parameter in (*self.parameters, *of_body))


@dataclasses.dataclass(frozen=True, slots=True)
class Contract:
    """All operations of a view or a model: `contract` of the function in `app.view_functions`."""

    #: The view as it was registered, before binding was put around it.
    view: cabc.Callable[..., t.Any]
    #: By HTTP method for a `MethodView`; the one key "*" for any other view.
    operations: cabc.Mapping[str, Operation]

    def operation(self, method: str) -> Operation:
        """Return the operation that answers an HTTP method; GET answers HEAD."""
        found = self.operations.get("*") or self.operations.get(method.upper())
        if found is None and method.upper() == "HEAD":
            found = self.operations.get("GET")
        if found is None:
            known = ", ".join(self.operations)
            raise KeyError(f"{method}: {self.view!r} answers {known}.")
        return found
