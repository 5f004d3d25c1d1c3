"""What a typed view takes and gives, as data: for the compiler, for documents, for the test client.

    view.contract -> Contract
                       operation("POST") -> Operation
                                              parameters   query, headers, cookies: Parameter
                                              body         RequestBody | None
                                              answer       Answer
                                              failures     Failure, from @raises and from the types

Nothing here has seen a request, and nothing is specific to OpenAPI: a type is the annotation that
the author wrote, and `carboy.contract.schemas` turns annotations into JSON Schema.
"""

from __future__ import annotations

import dataclasses
import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False


UNSET: t.Final = _Unset()


def fresh(default: t.Any) -> t.Any:
    """A default for one request: what a view appends to it is not there for the next one."""
    return default.copy() if isinstance(default, (list, dict, set)) else default


Place = t.Literal["query", "header", "cookie", "form", "file"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One argument of a view that is not a variable of its rule, and where it comes from.

    Those with `place` "form" and "file" are parts of the body; they stand in `RequestBody.parts`.
    """

    #: Of the Python parameter.
    name: str
    #: On the wire: the key of the query, the header's name, ...
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
class RequestBody:
    """The body of a request.

    Either `value` fills one parameter (or, with `embedded`, several by name), or `parts` of a form
    fill one each. A record that may come as JSON and as a form has `value` and the media types of
    both; a record beside files has its fields as form fields next to `parts`.
    """

    #: Most fitting first: `application/json`, `application/msgpack`, the two of forms, `image/*`.
    media_types: tuple[str, ...]
    #: Python parameter that the whole body fills; None: only `parts`.
    name: str | None = None
    annotation: t.Any = None
    default: t.Any = UNSET
    description: str = ""
    #: Several `Body()` parameters: an object with these keys. Empty for the usual single one.
    embedded: tuple[tuple[str, t.Any, t.Any], ...] = ()  # name, annotation, default
    #: Fields and files of a form, one parameter each.
    parts: tuple[Parameter, ...] = ()

    @property
    def required(self) -> bool:
        if self.embedded:
            return any(default is UNSET for _, _, default in self.embedded)
        if self.name is not None:
            return self.default is UNSET
        return any(part.required for part in self.parts)


AnswerKind = t.Literal["flask", "json", "stream", "image", "table", "tensor"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the view returns.

    kind "flask": what Flask makes of it; `annotation` is what the author wrote, if anything.
    kind "json": `annotation` (its typed part: `Flower` of `Flower | None | Response`).
    kind "stream": JSON lines or server-sent events; `annotation` is the type of one item.
    """

    kind: AnswerKind
    annotation: t.Any = None
    #: 200, or what `tuple[Flower, Literal[201]]` says.
    status: int = 200
    media_types: tuple[str, ...] = ()
    #: Statuses of answers without content: 204 of `tuple[None, Literal[204]]`.
    empty: tuple[int, ...] = ()

    @property
    def typed(self) -> bool:
        """Whether anything is done here with what the view returns."""
        return self.kind != "flask" or bool(self.empty)


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
    body: RequestBody | None
    answer: Answer
    #: From the types: 400, 413, 415, 422.
    implied: tuple[Failure, ...]
    #: The function as it was registered, on which `@raises` has left its mark.
    outer: cabc.Callable[..., t.Any]
    #: Annotations of the rule's variables, where written. They do not convert: converters do.
    path: cabc.Mapping[str, t.Any]

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The errors with which this may answer, those of `@raises` first."""
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
        """Python names of all the arguments that come from the request."""
        names = [parameter.name for parameter in self.parameters]
        if self.body is not None:
            names += [self.body.name] if self.body.name is not None else []
            names += [name for name, _, _ in self.body.embedded]
            names += [part.name for part in self.body.parts]
        return tuple(names)


@dataclasses.dataclass(frozen=True, slots=True)
class Contract:
    """All operations of a view. `view.contract` of what stands in `app.view_functions`."""

    #: The view as it was registered, before binding was put around it.
    view: cabc.Callable[..., t.Any]
    #: By HTTP method for a `MethodView`; the one key "*" for any other view.
    operations: cabc.Mapping[str, Operation]

    def operation(self, method: str) -> Operation:
        """The operation that answers an HTTP method; HEAD is answered by GET."""
        found = self.operations.get("*") or self.operations.get(method.upper())
        if found is None and method.upper() == "HEAD":
            found = self.operations.get("GET")
        if found is None:
            known = ", ".join(self.operations)
            raise KeyError(f"{method}: {self.view!r} answers {known}.")
        return found
