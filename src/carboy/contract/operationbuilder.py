"""Decide which parameters of a view come from the query, headers, cookies and the body; refuse
unclear cases.

A parameter's marker (such as `Query()`) decides, or else its type. This module also decides which
media types the body may have. `carboy.contract.signature` reads the signature of a view and adds
one `Candidate` for each parameter that may come from the request.
"""

from __future__ import annotations

import types
import typing as t

from carboy.core.annotations import annotation_text

from ..errors import SignatureError
from . import hints, typeadvice
from .annotationchecks import check_annotation, check_default, has_marker
from .kinds import Sort, sort_of, takes_object
from .media import JSON, MSGPACK, MULTIPART, URLENCODED
from .operation import UNSET, BodySpec, Parameter
from .records import fields_of
from .values.registry import part

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .markers import Marker
    from .operation import Place

_BODILESS = frozenset(("GET", "HEAD", "OPTIONS"))
FORMS = (MULTIPART, URLENCODED)


class Candidate(t.NamedTuple):
    """A parameter of a view whose argument may come from the request."""

    name: str
    annotation: t.Any
    default: t.Any
    marker: Marker | None
    #: Whether only the request can supply the argument: the parameter has no default, and the view
    #: has no decorator that might supply it.
    needed: bool


class OperationBuilder:
    """Collects the parameters of one view, and builds the description of its request.

    Args:
        function: the view, for error messages.
        methods: the HTTP methods of the view; empty if unknown.
    """

    def __init__(self, function: t.Any, methods: cabc.Set[str]) -> None:
        self._function = function
        self._methods = methods
        self._parameters: list[Parameter] = []
        #: Parameters that are fields or files of a form.
        self._parts: list[Parameter] = []
        #: Parameters that may each be the whole body.
        self._wholes: list[Candidate] = []

    def add(self, candidate: Candidate) -> None:
        """Add a parameter. Raises SignatureError if its argument cannot come from a request."""
        annotation = candidate.annotation
        if hints.is_unreadable(annotation):
            self._add_unreadable(candidate)
            return
        sort = self._sort(candidate)
        if candidate.marker is not None:
            self._add_marked(candidate, sort)
        elif sort is Sort.UNKNOWN:
            if candidate.needed or has_marker(annotation):
                raise self._unknown(candidate)
        elif sort in (Sort.SCALAR, Sort.SCALARS):
            self._parameters.append(make_parameter(candidate, "query", sort))
        elif self._methods and self._methods <= _BODILESS:
            if candidate.needed:
                raise self._bodiless(candidate, sort)
        elif sort in (Sort.FILE, Sort.FILES):
            self._parts.append(make_parameter(candidate, "body", sort))
        else:
            self._wholes.append(candidate)

    def _add_unreadable(self, candidate: Candidate) -> None:
        """Refuse a parameter whose annotation cannot be evaluated, unless a decorator supplies the
        argument.

        A parameter with a default is refused too. Otherwise the view would always get the default,
        and nobody would notice that the argument is never read from the request.
        """
        if candidate.needed or candidate.marker is not None or candidate.default is not UNSET:
            raise self._unknown(candidate)

    def _sort(self, candidate: Candidate) -> Sort:
        try:
            return sort_of(candidate.annotation)
        # `sort_of` raises SignatureError for invalid options of an image, a table or the like.
        except SignatureError as exc:
            raise view_error(self._function, candidate.name, f"cannot be read: {exc}") from None

    def _add_marked(self, candidate: Candidate, sort: Sort) -> None:
        place = t.cast("Place", t.cast("Marker", candidate.marker).place)
        if sort not in _ALLOWED[place]:
            raise self._wrong_marker(candidate, sort)
        if sort is Sort.RECORD and place in ("query", "form"):
            self._check_record(candidate)
        if place == "body" or (place == "form" and sort is Sort.RECORD):
            self._wholes.append(candidate)
        elif place in ("form", "file"):
            self._parts.append(make_parameter(candidate, place, sort))
        else:
            self._parameters.append(make_parameter(candidate, place, sort))

    def _check_record(self, candidate: Candidate) -> None:
        """Raise SignatureError for a record whose fields cannot be those of a query or a form, and
        for a name that would have no effect.
        """
        marker = t.cast("Marker", candidate.marker)
        if marker.place == "query" and marker.alias:
            raise view_error(
                self._function,
                candidate.name,
                f"is marked {marker!r}, but it is a record, whose fields have names of their own in"
                " the query. Leave the name out.",
            )
        bare = hints.strip(candidate.annotation)
        if not getattr(bare, "__pydantic_root_model__", False):
            return
        root = hints.pydantic_fields(bare)["root"].annotation
        if not takes_object(root):
            raise view_error(
                self._function,
                candidate.name,
                f"is marked {marker!r}, but it is a RootModel without named fields. Write"
                f" `{candidate.name}: Annotated[{_show(root)}, {marker!r}]`.",
            )

    def finish(self) -> tuple[tuple[Parameter, ...], BodySpec | None]:
        """Return the parameters, and the body. Raises SignatureError if the body is ambiguous."""
        body = self._body()
        if body is not None and self._methods and self._methods <= _BODILESS:
            raise view_error(
                self._function,
                body.parameters[0].name,
                f"comes from the body, but {self._shown_methods()} has none. Register the view"
                " for POST, PUT or PATCH.",
            )
        for parameter in self._parameters:
            self._check(parameter, of_body=False)
        self._refuse_equal_names(body)
        for parameter in body.parameters if body is not None else ():
            self._check(parameter, of_body=True)
        return tuple(self._parameters), body

    def _refuse_equal_names(self, body: BodySpec | None) -> None:
        seen: dict[str, str] = {}
        for each in body.parameters if body is not None else ():
            first = seen.setdefault(each.alias, each.name)
            if first != each.name:
                raise view_error(
                    self._function,
                    each.name,
                    f"has the name {each.alias!r} in the body, as {first!r} has. Give one of them"
                    " another name.",
                )

    def _check(self, parameter: Parameter, *, of_body: bool) -> None:
        try:
            check_annotation(parameter.annotation, of_body=of_body)
            check_default(parameter.default)
        except SignatureError as exc:
            what = f"({hints.shown(parameter.annotation)}) cannot be read as it says: {exc}"
            raise view_error(self._function, parameter.name, what) from None

    def _body(self) -> BodySpec | None:
        wholes, parts = self._wholes, tuple(self._parts)
        explicit = [each for each in wholes if each.marker is not None]
        if explicit:
            # If a parameter has the marker `Body()`, parameters without a marker do not come from
            # the body. A decorator or their default must supply them.
            for each in wholes:
                if each.marker is None and each.needed:
                    raise self._two_bodies(wholes)
            wholes = explicit
        if len(wholes) > 1 and not all(map(_is_marked_body, wholes)):
            raise self._two_bodies(wholes)
        for each in wholes if parts else ():
            if _is_marked_body(each) or sort_of(each.annotation) is not Sort.RECORD:
                raise self._body_beside_form(each)
        first = [make_parameter(each, _place(each), sort_of(each.annotation)) for each in wholes]
        parameters = (*first, *parts)
        if not parameters:
            return None
        return BodySpec(media_types=_media_types(parameters, wholes), parameters=parameters)

    # -- errors ------------------------------------------------------------------------------

    def _unknown(self, candidate: Candidate) -> SignatureError:
        name, annotation = candidate.name, candidate.annotation
        if hints.is_unreadable(annotation):
            written = annotation_text(self._function, name)
            return view_error(
                self._function,
                name,
                f"has the type {written!r}, which cannot be found. Import it at the top of the"
                " module, not under TYPE_CHECKING. If it does not come from the request, leave"
                " the annotation out.",
            )
        instead = typeadvice.advice(annotation) or (
            "Use scalars (query), a Struct, dataclass, TypedDict or pydantic model (body), Upload"
            " or Image (a file); or add a default."
        )
        return view_error(
            self._function,
            name,
            f"has the type {_show(annotation)}, which cannot be read from a request."
            f" {instead} If it does not come from the request, leave the annotation out.",
        )

    def _bodiless(self, candidate: Candidate, sort: Sort) -> SignatureError:
        name, shown = candidate.name, _show(candidate.annotation)
        if sort is Sort.RECORD:
            advice = f" For its fields in the query write `{name}: Annotated[{shown}, Query()]`."
        else:
            advice = ""
        return view_error(
            self._function,
            name,
            f"has the type {shown}, which comes from the body, but {self._shown_methods()} has"
            f" none. Register the view for POST, PUT or PATCH.{advice}",
        )

    def _shown_methods(self) -> str:
        return "/".join(sorted(self._methods - {"HEAD", "OPTIONS"})) or "GET"

    def _wrong_marker(self, candidate: Candidate, sort: Sort) -> SignatureError:
        marker = candidate.marker
        wanted = {
            "query": "scalars, lists of scalars, or a record",
            "header": "scalars or lists of scalars",
            "cookie": "scalars",
            "form": "scalars, lists of scalars, or a record",
            "file": "Upload, Image or bytes, or a list of them",
            "body": "what JSON can be read as, or bytes, str, Upload or Image",
        }[t.cast("Marker", marker).place]
        return view_error(
            self._function,
            candidate.name,
            f"is marked {marker!r}, which gives {wanted}; its type is"
            f" {_show(candidate.annotation)}. Change one of them.",
        )

    def _two_bodies(self, wholes: list[Candidate]) -> SignatureError:
        names = " and ".join(repr(each.name) for each in wholes)
        example = ", ".join(
            f"{each.name}: Annotated[{_show(each.annotation)}, Body()]" for each in wholes
        )
        return SignatureError(
            f"{where(self._function)}: the parameters {names} would both be the body. For an"
            f" object that has them as keys write `{example}`; for one of them only, mark that"
            " one with Body(), and remove the annotations of the others."
        )

    def _body_beside_form(self, whole: Candidate) -> SignatureError:
        return view_error(
            self._function,
            whole.name,
            f"({_show(whole.annotation)}) would be the body, beside fields or files of a form."
            " Beside those, take a record (its fields are then fields of the form).",
        )


_TEXTS = (Sort.SCALAR, Sort.SCALARS)
_ALLOWED: dict[str, tuple[Sort, ...]] = {
    "query": (*_TEXTS, Sort.RECORD),
    "header": _TEXTS,
    "cookie": (Sort.SCALAR,),
    "form": (*_TEXTS, Sort.RECORD),
    "file": (Sort.FILE, Sort.FILES),
    "body": (*_TEXTS, Sort.RECORD, Sort.VALUE, Sort.FILE),
}


def make_parameter(candidate: Candidate, place: Place, sort: Sort) -> Parameter:
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
        many=sort in (Sort.SCALARS, Sort.FILES),
        spread=place == "query" and sort is Sort.RECORD,
    )


def _is_marked_body(candidate: Candidate) -> bool:
    return candidate.marker is not None and candidate.marker.place == "body"


def _place(candidate: Candidate) -> Place:
    """Return the `place` of a parameter that may be the whole body: "form" if it has the marker
    `Form()`, else "body".
    """
    marker = candidate.marker
    return "form" if marker is not None and marker.place == "form" else "body"


def _media_types(
    parameters: tuple[Parameter, ...], wholes: cabc.Sequence[Candidate]
) -> tuple[str, ...]:
    """Return the media types that a view accepts as its body, the most suitable first."""
    places = {each.place for each in parameters}
    raw = raw_media_types(parameters)
    if "file" in places:
        return (MULTIPART, *raw)
    if "form" in places:
        if any(map(_is_file, parameters)):
            return (MULTIPART,)
        # Files in the fields of a record may be sent as base64 text as well.
        has_files = any(map(_has_file_fields, parameters))
        return (MULTIPART, URLENCODED) if has_files else (URLENCODED, MULTIPART)
    forms: tuple[str, ...] = FORMS
    if any(map(_is_marked_body, wholes)):
        if _is_bytes(parameters[0]) and len(parameters) == 1:
            # A parameter of type `bytes` or `Upload` with the marker `Body()` gets a body of any
            # media type, so forms are not parsed.
            return raw
        forms = ()
    if any(map(_is_file, parameters)):
        return (*forms[:1], *raw, JSON, *forms[1:], MSGPACK)
    return (*raw, JSON, *forms[1:], *forms[:1], MSGPACK)


def raw_media_types(parameters: cabc.Sequence[Parameter]) -> tuple[str, ...]:
    """Return the media types of a file that may be the whole body, as the value of one parameter.

    A parameter counts only if all other parameters have defaults.
    """
    found = (
        media_type
        for each in parameters
        if each.place != "form" and not any(o.required for o in parameters if o is not each)
        for kind in part(each.annotation).kinds
        for media_type in kind.media_types
    )
    return tuple(dict.fromkeys(found))


def _is_file(parameter: Parameter) -> bool:
    return sort_of(parameter.annotation) in (Sort.FILE, Sort.FILES)


def _has_file_fields(parameter: Parameter) -> bool:
    fields = (field for each in hints.members_of(parameter.annotation) for field in fields_of(each))
    return any(sort_of(field.annotation) in (Sort.FILE, Sort.FILES) for field in fields)


def _is_bytes(parameter: Parameter) -> bool:
    kinds = part(parameter.annotation).kinds
    return bool(kinds) and all(kind.is_file and kind.takes_anything for kind in kinds)


def _description(candidate: Candidate) -> str:
    if candidate.marker is not None and candidate.marker.description:
        return candidate.marker.description
    for extra in getattr(candidate.annotation, "__metadata__", ()):
        if getattr(extra, "description", None):
            return t.cast("str", extra.description)
    return ""


def _show(annotation: t.Any) -> str:
    named = isinstance(annotation, (type, types.ModuleType))
    return annotation.__name__ if named else str(annotation)


def where(function: t.Any) -> str:
    code = getattr(function, "__code__", None)
    name = f"View {function.__module__}.{getattr(function, '__qualname__', function)}"
    return name if code is None else f"{name} ({code.co_filename}:{code.co_firstlineno})"


def view_error(function: t.Any, name: str, what: str) -> SignatureError:
    return SignatureError(f"{where(function)}: the parameter {name!r} {what}")
