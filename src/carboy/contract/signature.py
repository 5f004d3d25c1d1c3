"""From a signature to a contract. Runs at registration; what is unclear is refused here.

Who decides about a parameter, the first match:

    a variable of any rule of the view           Flask
    a marker (`Annotated[int, Query()]`)         the marker
    no annotation                                nobody: Flask calls the view without it
    under install_as_flask(), and Flask could    nobody
    have called the view without it
    the kind of the type                         scalar: query; record: body; file: a form
"""

from __future__ import annotations

import dataclasses
import inspect
import typing as t
from functools import partial
from types import MappingProxyType

from carboy.core.annotations import annotation_text, signature_of

from ..errors import SignatureError
from . import hints
from .answers import read_answer
from .kinds import Kind, file_type, kind_of, strip, take_marker, without_none
from .media import JSON, MULTIPART, URLENCODED
from .operation import UNSET, Contract, Failure, Operation, Parameter, RequestBody
from .values.image import DEFAULTS

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .markers import Marker

_BODILESS = frozenset(("GET", "HEAD", "OPTIONS"))
MSGPACK: t.Final = "application/msgpack"


@dataclasses.dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known of a view besides its signature."""

    variables: cabc.Set[str]
    methods: cabc.Set[str]
    as_flask: bool = False
    #: Somebody else may set arguments: a URL value preprocessor is registered.
    others_supply: bool = False
    #: False: describe only.
    binds: bool = True


def read_contract(view: cabc.Callable[..., t.Any], about: Circumstances) -> Contract:
    """Read a view, by method when it is a `MethodView`.

    Raises:
        SignatureError: a parameter could mean more than one thing, or nothing.
    """
    cls = getattr(view, "view_class", None)
    if cls is None:
        return Contract(view, MappingProxyType({"*": _read(view, about)}))
    from carboy.views import MethodView

    direct = not cls.decorators
    if issubclass(cls, MethodView) and cls.dispatch_request is MethodView.dispatch_request:
        found = {
            method: _read(
                getattr(cls, method.lower()),
                dataclasses.replace(about, methods=frozenset((method,))),
                direct=direct,
                owner=cls,
            )
            for method in sorted(cls.methods or ())
            if hasattr(cls, method.lower())
        }
    else:
        found = {"*": _read(cls.dispatch_request, about, direct=direct, owner=cls)}
    return Contract(view, MappingProxyType(found))


def describe(view: cabc.Callable[..., t.Any], variables: cabc.Set[str] = frozenset()) -> Contract:
    """What can be said of a view that binds nothing."""
    return read_contract(view, Circumstances(variables, frozenset(), binds=False))


def _read(
    function: cabc.Callable[..., t.Any],
    about: Circumstances,
    *,
    direct: bool = True,
    owner: type | None = None,
) -> Operation:
    inner = hints.innermost(function)
    annotations = hints.read(inner)
    if owner is not None:
        annotations.pop(_own_argument(owner, function), None)
    answer = read_answer(annotations.get("return"), as_flask=about.as_flask)
    candidates = _candidates(function, inner, annotations, about, direct) if about.binds else []
    builder = _Builder(inner, about)
    for candidate in candidates:
        builder.add(candidate)
    parameters, body = builder.finish()
    path = {
        name: annotation
        for name, annotation in annotations.items()
        if name in about.variables and annotation is not hints.UNREADABLE
    }
    return Operation(
        function=inner,
        parameters=parameters,
        body=body,
        answer=answer,
        implied=_implied(parameters, body),
        outer=function,
        path=MappingProxyType(path),
    )


def is_marked(view: cabc.Callable[..., t.Any]) -> bool:
    """Whether the author of a view knows carboy's markers."""
    annotations = hints.read(hints.innermost(view)).values()
    return any(take_marker(annotation).marker is not None for annotation in annotations)


def _own_argument(cls: type, method: t.Any) -> str:
    """The name of `self`, which is no argument of the view; "" for a static or class method."""
    static = inspect.getattr_static(cls, method.__name__, None)
    names = list(signature_of(method).parameters)
    return "" if isinstance(static, (staticmethod, classmethod)) or not names else names[0]


class _Candidate(t.NamedTuple):
    """A parameter that may be bound."""

    name: str
    annotation: t.Any
    default: t.Any
    marker: Marker | None
    #: Nobody else can supply it: no default, and no decorator in between.
    needed: bool


def _candidates(
    function: cabc.Callable[..., t.Any],
    inner: t.Any,
    annotations: cabc.Mapping[str, t.Any],
    about: Circumstances,
    direct: bool,
) -> list[_Candidate]:
    outer = function.func if isinstance(function, partial) else function
    direct = direct and getattr(outer, "__func__", outer) is inner
    given = _given_by_partials(function)
    raw = signature_of(function, follow_wrapped=False).parameters
    found = []
    for parameter in signature_of(function).parameters.values():
        name = parameter.name
        if (
            name in about.variables
            or name in given
            or name not in annotations
            or parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        ):
            continue
        annotation, marker, extra = take_marker(annotations[name])
        if extra:
            raise _error(inner, name, "has more than one marker. Keep the one that is meant.")
        default = UNSET if parameter.default is parameter.empty else parameter.default
        if about.as_flask and marker is None:
            # Would Flask have refused? Only the outermost callable can tell.
            refused = direct and name in raw and raw[name].default is parameter.empty
            if not refused:
                continue
        needed = default is UNSET and direct and not (about.as_flask or about.others_supply)
        found.append(_Candidate(name, annotation, default, marker, needed))
    return found


def _given_by_partials(function: t.Any) -> set[str]:
    given: set[str] = set()
    while function is not None:
        if isinstance(function, partial):
            given |= function.keywords.keys()
            function = function.func
        else:
            function = getattr(function, "__wrapped__", None)
    return given


class _Builder:
    """Sorts parameters into query, headers, cookies, and the body."""

    def __init__(self, function: t.Any, about: Circumstances) -> None:
        self._function = function
        self._about = about
        self._parameters: list[Parameter] = []
        self._parts: list[Parameter] = []
        self._wholes: list[_Candidate] = []
        self._forms_only = False

    def add(self, candidate: _Candidate) -> None:
        annotation = candidate.annotation
        kind = Kind.UNKNOWN if annotation is hints.UNREADABLE else kind_of(annotation)
        if candidate.marker is not None:
            self._add_marked(candidate, kind)
        elif kind is Kind.UNKNOWN:
            if candidate.needed:
                raise self._unknown(candidate)
        elif kind in (Kind.SCALAR, Kind.SCALARS):
            self._parameters.append(self._parameter(candidate, "query", kind))
        elif self._about.methods and self._about.methods <= _BODILESS:
            if candidate.needed:
                raise self._bodiless(candidate, kind)
        elif kind in (Kind.FILE, Kind.FILES):
            self._parts.append(self._parameter(candidate, "file", kind))
        else:
            self._wholes.append(candidate)

    def _add_marked(self, candidate: _Candidate, kind: Kind) -> None:
        place = t.cast("Marker", candidate.marker).place
        allowed = _ALLOWED[place]
        if kind not in allowed:
            raise self._unfit(candidate, kind)
        if place == "body":
            self._wholes.append(candidate)
        elif place == "form" and kind in (Kind.RECORD, Kind.VALUE):
            self._forms_only = True
            self._wholes.append(candidate)
        elif place in ("form", "file"):
            self._parts.append(self._parameter(candidate, t.cast("t.Any", place), kind))
        else:
            self._parameters.append(self._parameter(candidate, t.cast("t.Any", place), kind))

    def _parameter(self, candidate: _Candidate, place: t.Any, kind: Kind) -> Parameter:
        marker = candidate.marker
        alias = marker.alias if marker is not None and marker.alias else candidate.name
        if place == "header" and alias == candidate.name:
            alias = candidate.name.replace("_", "-").title()
        return Parameter(
            name=candidate.name,
            alias=alias,
            place=place,
            annotation=candidate.annotation,
            default=candidate.default,
            description=_description(candidate),
            many=kind in (Kind.SCALARS, Kind.FILES),
            spread=kind in (Kind.RECORD, Kind.VALUE),
        )

    def finish(self) -> tuple[tuple[Parameter, ...], RequestBody | None]:
        body = self._body()
        if body is not None and self._about.methods and self._about.methods <= _BODILESS:
            names = [body.name, *(part.name for part in body.parts), *(e[0] for e in body.embedded)]
            raise _error(
                self._function,
                next(name for name in names if name is not None),
                f"is of the body, and {self._methods()} has none. Register the view for POST, PUT"
                " or PATCH.",
            )
        return tuple(self._parameters), body

    def _body(self) -> RequestBody | None:
        wholes, parts = self._wholes, tuple(self._parts)
        explicit = [each for each in wholes if each.marker is not None]
        if explicit:
            # Whoever marks one leaves the others to a decorator; it needs them to have one.
            for each in wholes:
                if each.marker is None and each.needed:
                    raise self._two_bodies(wholes)
            wholes = explicit
        if len(wholes) > 1:
            if not all(each.marker is not None and each.marker.place == "body" for each in wholes):
                raise self._two_bodies(wholes)
            if parts:
                raise self._beside_parts(wholes[0])
            return self._embedded(wholes)
        if not wholes:
            return self._parts_only(parts) if parts else None
        whole = wholes[0]
        kind = kind_of(whole.annotation)
        is_body = whole.marker is not None and whole.marker.place == "body"
        if parts and (is_body or kind is not Kind.RECORD):
            raise self._beside_parts(whole)
        return RequestBody(
            media_types=self._media_types(whole, kind, is_body=is_body, has_parts=bool(parts)),
            name=whole.name,
            annotation=whole.annotation,
            default=whole.default,
            description=_description(whole),
            parts=parts,
        )

    def _media_types(
        self, whole: _Candidate, kind: Kind, *, is_body: bool, has_parts: bool
    ) -> tuple[str, ...]:
        if has_parts:
            return (MULTIPART,)
        if self._forms_only:
            return (URLENCODED, MULTIPART)
        if kind is Kind.FILE:
            return _raw_types(whole.annotation)
        if kind is Kind.SCALAR and strip(without_none(whole.annotation)) is str:
            return ("text/plain",)
        if kind is Kind.RECORD and not is_body:
            return (JSON, MSGPACK, URLENCODED, MULTIPART)
        return (JSON, MSGPACK)

    def _parts_only(self, parts: tuple[Parameter, ...]) -> RequestBody:
        files = [part for part in parts if part.place == "file"]
        if not files:
            return RequestBody(media_types=(URLENCODED, MULTIPART), parts=parts)
        media_types: tuple[str, ...] = (MULTIPART,)
        others = [part for part in parts if part is not files[0]]
        if not files[0].many and not any(part.required for part in others):
            media_types += _raw_types(files[0].annotation)
        return RequestBody(media_types=media_types, parts=parts)

    def _embedded(self, wholes: list[_Candidate]) -> RequestBody:
        return RequestBody(
            media_types=(JSON, MSGPACK),
            embedded=tuple((each.name, each.annotation, each.default) for each in wholes),
        )

    # -- refusals ----------------------------------------------------------------------------

    def _unknown(self, candidate: _Candidate) -> SignatureError:
        name, annotation = candidate.name, candidate.annotation
        if annotation is hints.UNREADABLE:
            written = annotation_text(self._function, name)
            return _error(
                self._function,
                name,
                f"has the type {written!r}, which cannot be found. Import it at the top of the"
                " module, not under TYPE_CHECKING. If it does not come from the request, leave"
                " the annotation out.",
            )
        return _error(
            self._function,
            name,
            f"has the type {_show(annotation)}, which no request can hold. Use scalars (query), a"
            " Struct, dataclass, TypedDict or pydantic model (body), Upload or Image (a file); or"
            " add a default. If it does not come from the request, leave the annotation out.",
        )

    def _bodiless(self, candidate: _Candidate, kind: Kind) -> SignatureError:
        name, shown = candidate.name, _show(candidate.annotation)
        if kind is Kind.RECORD:
            advice = f" For its fields in the query write `{name}: Annotated[{shown}, Query()]`."
        else:
            advice = ""
        return _error(
            self._function,
            name,
            f"has the type {shown}, which comes from the body, and {self._methods()} has none."
            f" Register the view for POST, PUT or PATCH.{advice}",
        )

    def _methods(self) -> str:
        return "/".join(sorted(self._about.methods - {"HEAD", "OPTIONS"})) or "GET"

    def _unfit(self, candidate: _Candidate, kind: Kind) -> SignatureError:
        marker = candidate.marker
        wanted = {
            "query": "scalars, lists of scalars, or a record",
            "header": "scalars or lists of scalars",
            "cookie": "scalars",
            "form": "scalars, lists of scalars, or a record",
            "file": "Upload, Image or bytes, or a list of them",
            "body": "what JSON can be read as, or bytes, str, Upload or Image",
        }[t.cast("Marker", marker).place]
        return _error(
            self._function,
            candidate.name,
            f"is marked {marker!r}, which gives {wanted}; its type is"
            f" {_show(candidate.annotation)}. Change the one or the other.",
        )

    def _two_bodies(self, wholes: list[_Candidate]) -> SignatureError:
        names = " and ".join(repr(each.name) for each in wholes)
        example = ", ".join(
            f"{each.name}: Annotated[{_show(each.annotation)}, Body()]" for each in wholes
        )
        return SignatureError(
            f"{_where(self._function)}: the parameters {names} would both be the body. For an"
            f" object that has them as keys write `{example}`; for one of them only, mark that"
            " one with Body(), and leave the annotation of the others out."
        )

    def _beside_parts(self, whole: _Candidate) -> SignatureError:
        return _error(
            self._function,
            whole.name,
            f"({_show(whole.annotation)}) would be the body, beside fields or files of a form."
            " Beside those, take a record (its fields are then fields of the form).",
        )


_TEXTS = (Kind.SCALAR, Kind.SCALARS)
_ALLOWED: dict[str, tuple[Kind, ...]] = {
    "query": (*_TEXTS, Kind.RECORD),
    "header": _TEXTS,
    "cookie": (Kind.SCALAR,),
    "form": (*_TEXTS, Kind.RECORD),
    "file": (Kind.FILE, Kind.FILES),
    "body": (*_TEXTS, Kind.RECORD, Kind.VALUE, Kind.FILE),
}


def _raw_types(annotation: t.Any) -> tuple[str, ...]:
    if file_type(strip(annotation)) == "image":
        return tuple(DEFAULTS.media_types)
    return ("application/octet-stream",)


def _description(candidate: _Candidate) -> str:
    if candidate.marker is not None and candidate.marker.description:
        return candidate.marker.description
    for extra in getattr(candidate.annotation, "__metadata__", ()):
        if getattr(extra, "description", None):
            return t.cast("str", extra.description)
    return ""


def _implied(parameters: tuple[Parameter, ...], body: RequestBody | None) -> tuple[Failure, ...]:
    statuses = [400, 413, 415] if body is not None else []
    statuses += [422] if parameters or body is not None else []
    return tuple(
        Failure(status=status, description=_IMPLIED[status], source="implied")
        for status in statuses
    )


_IMPLIED = {
    400: "The body is malformed.",
    413: "The body is too large.",
    415: "The body is of a kind that is not read here.",
    422: "A value does not fit its type.",
}


def _show(annotation: t.Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _where(function: t.Any) -> str:
    code = getattr(function, "__code__", None)
    name = f"View {function.__module__}.{getattr(function, '__qualname__', function)}"
    return name if code is None else f"{name} ({code.co_filename}:{code.co_firstlineno})"


def _error(function: t.Any, name: str, what: str) -> SignatureError:
    return SignatureError(f"{_where(function)}: the parameter {name!r} {what}")
