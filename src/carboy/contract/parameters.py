"""Fetch the arguments of a view from a request; one object fetches one parameter.

Valid requests do not use these objects: `carboy.contract.binding` generates code for the same
steps. They are used for an invalid request, to report all of its errors, and for a request in which
a URL value preprocessor has already set some arguments.
"""

from __future__ import annotations

import typing as t

from werkzeug.exceptions import RequestEntityTooLarge

from carboy.core.problemdetails import Refusal

from ..errors import InputError, MalformedInputError, SignatureError
from .bodies import BodyReader
from .fieldtexts import TextField, tidy
from .forms import Convert, FormData, RecordReader, converter, parse_form, quick_converter
from .hints import shown, without_none
from .inputerrors import input_error, is_input_error
from .kinds import check_decodable
from .media import URLENCODED
from .operation import fresh
from .pydanticlimits import needs_pydantic
from .values.file import Upload

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from carboy.ctx import RequestContext
    from carboy.wrappers import Request

    from .operation import Operation, Parameter

# Headers whose key in a WSGI environ has no prefix `HTTP_` (PEP 3333).
_PLAIN_KEYS = {"CONTENT-TYPE": "CONTENT_TYPE", "CONTENT-LENGTH": "CONTENT_LENGTH"}


def environ_key(header: str) -> str:
    """Return the key of a header in a WSGI environ."""
    name = header.upper()
    return _PLAIN_KEYS.get(name) or f"HTTP_{name.replace('-', '_')}"


def split_header(value: str) -> list[str]:
    """Split a header that is a comma-separated list. Source: RFC 9110, section 5.6.1."""
    return [each for part in value.split(",") if (each := part.strip())]


class ParameterSource:
    """Fetches one parameter from the query, a header or a cookie."""

    def __init__(self, parameter: Parameter, others: cabc.Iterable[str] = ()) -> None:
        """Create the functions that read one parameter.

        Args:
            others: names of the other query parameters. They are no further fields of a record, but
                a record may declare a field of such a name.
        """
        self.parameter = parameter
        self.record = RecordReader(parameter.annotation) if parameter.spread else None
        self._others = {
            name for name in others if self.record is None or not self.record.declares(name)
        }
        self._convert: Convert | None = None
        #: Converts the parameter's text in the code that `carboy.contract.binding` generates. If
        #: this function refuses the text, `fetch` reads the parameter once more.
        self.quick: Convert | None = None
        if not parameter.spread:
            # For `int | None`, None is only the default of a missing parameter, so each text must
            # be an int.
            annotation = without_none(parameter.annotation)
            self._convert, self.quick = converter(annotation), quick_converter(annotation)
        self._tidy = tidy(parameter.annotation)
        self._takes_text = not parameter.spread and TextField(parameter.annotation).takes_text

    def fetch(self, ctx: RequestContext) -> t.Any:
        """Return the argument from the request, or the parameter's default.

        Raises:
            InputError: the parameter is missing or not valid.
        """
        parameter = self.parameter
        if self.record is not None:
            texts = ctx.request.args.to_dict(flat=False)
            record = self.record.collect(texts, without=self._others, null=False)
            if not record and not parameter.required:
                return fresh(parameter.default)
            return self.record.convert(record)
        text = self._text(ctx)
        if text is None or self._is_empty_input(text):
            if not parameter.required:
                return fresh(parameter.default)
            raise InputError.at(
                f"$.{parameter.alias}", expected=_wanted(parameter), got="nothing of that name"
            )
        if self._convert is None:
            return text
        try:
            return self._convert(text if self._tidy is None else self._tidy(text))
        except Exception as error:
            if not is_input_error(error):
                raise
            path = f"$.{parameter.alias}"
            raise input_error(error, text, root=path, kind=parameter.annotation) from error

    def _is_empty_input(self, text: t.Any) -> bool:
        """Return whether a browser's form has sent an empty input field for an optional
        parameter.
        """
        return not self.parameter.required and not self._takes_text and text in ("", [""])

    def _text(self, ctx: RequestContext) -> t.Any:
        parameter = self.parameter
        if parameter.place == "query":
            values = all_values(ctx).get(parameter.alias)
            return values if parameter.many or values is None else values[0]
        if parameter.place == "cookie":
            return ctx.request.cookies.get(parameter.alias)
        value = ctx._environ.get(environ_key(parameter.alias))
        return split_header(value) if parameter.many and value is not None else value


def _wanted(parameter: Parameter) -> str:
    kind = {"query": "a query parameter", "header": "a header", "cookie": "a cookie"}
    return f"{kind[parameter.place]} named {parameter.alias!r}"


def _source(parameter: Parameter, operation: Operation, owner: str) -> ParameterSource:
    """Create the object that fetches one parameter of an operation. Raises SignatureError if no
    request can contain a value of its type.
    """
    others = frozenset(
        each.alias
        for each in operation.parameters
        if each.place == "query" and not each.spread and each is not parameter
    )
    try:
        if not needs_pydantic(parameter.annotation):
            check_decodable(without_none(parameter.annotation))
        return ParameterSource(parameter, others)
    except SignatureError as exc:
        raise SignatureError(f"{owner}: the parameter {parameter.name!r}: {exc}") from None
    except Exception as exc:  # noqa: BLE001 - msgspec's and pydantic's own, of many classes
        raise SignatureError(
            f"{owner}: the parameter {parameter.name!r} has the type"
            f" {shown(parameter.annotation)}, which cannot be read from a request: {exc}"
        ) from None


class Sources:
    """Fetches all arguments of one view from a request."""

    def __init__(self, operation: Operation, owner: str) -> None:
        self.parameters = tuple(
            _source(parameter, operation, owner) for parameter in operation.parameters
        )
        self.body = None if operation.body is None else BodyReader(operation.body, owner)

    def fetch(
        self, ctx: RequestContext, given: cabc.Container[str] = ()
    ) -> tuple[dict[str, t.Any], list[Refusal]]:
        """Return the arguments that are not in `given`, and the errors of those that are not valid.

        Args:
            given: names of arguments that a URL value preprocessor has already set.
        """
        found: dict[str, t.Any] = {}
        refusals: list[Refusal] = []
        for source in self.parameters:
            if source.parameter.name in given:
                continue
            try:
                found[source.parameter.name] = source.fetch(ctx)
            except InputError as error:
                refusals.append(Refusal(source.parameter.place, _without_frames(error)))
        if self.body is not None and not self._gives_nothing_new(given):
            try:
                read = self.body.decode(WerkzeugBody(ctx.request))
                found.update({name: read[name] for name in read if name not in given})
            except InputError as error:
                refusals.append(Refusal("body", _without_frames(error)))
        return found, refusals

    def _gives_nothing_new(self, given: cabc.Container[str]) -> bool:
        parameters = t.cast("BodyReader", self.body).parameters
        return all(parameter.name in given for parameter in parameters)


def _without_frames(error: InputError) -> InputError:
    """Remove the tracebacks of an error and its cause.

    The frames refer to the list of errors and to the body. This is a reference cycle, which only
    the garbage collector would free.
    """
    if error.__cause__ is not None:
        error.__cause__.with_traceback(None)
    return error.with_traceback(None)


class WerkzeugBody:
    """A Werkzeug request with the attributes and methods of `IncomingBody`."""

    __slots__ = ("_request",)

    def __init__(self, request: Request) -> None:
        self._request = request

    @property
    def media_type(self) -> str:
        return self._request.mimetype

    @property
    def content_type(self) -> str:
        return self._request.content_type or ""

    @property
    def encoding(self) -> str:
        return t.cast("str", self._request.environ.get("HTTP_CONTENT_ENCODING", "")).strip().lower()

    def raw(self) -> bytes:
        return self._request.get_data(parse_form_data=False)

    def form(self) -> FormData:
        """Parse the body as a form. Raises MalformedInputError or RequestEntityTooLarge."""
        current = self._request
        if current.mimetype == URLENCODED:
            data = self.raw()
            limit = current.max_form_memory_size
            if limit is not None and len(data) > limit:
                raise RequestEntityTooLarge
            return parse_form(data)
        if "boundary" not in current.mimetype_params:
            raise MalformedInputError("The multipart body names no boundary in its Content-Type.")
        files = {
            # Skip files without a name: browsers send such a part for a file input that was left
            # empty.
            key: [Upload.of(file) for file in current.files.getlist(key) if file.filename]
            for key in current.files
        }
        fields = {key: current.form.getlist(key) for key in current.form}
        return FormData(fields, {key: chosen for key, chosen in files.items() if chosen})


# `first_values` and `all_values` read the query string. They give the same results as Werkzeug, in
# a tenth of the time if the query has no escaped characters. tests/contract/test_texts.py compares
# the results.
def first_values(ctx: RequestContext) -> cabc.Mapping[str, str]:
    """Return a dict with the first value of each key of the query string."""
    query = ctx._environ.get("QUERY_STRING", "")
    if not query:
        return {}
    if "%" in query or "+" in query or not query.isascii():
        return ctx.request.args
    found: dict[str, str] = {}
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        if pair and key not in found:
            found[key] = value
    return found


def all_values(ctx: RequestContext) -> cabc.Mapping[str, list[str]]:
    """Return a dict with all values of each key of the query string."""
    query = ctx._environ.get("QUERY_STRING", "")
    if not query:
        return {}
    if "%" in query or "+" in query or not query.isascii():
        return ctx.request.args.to_dict(flat=False)
    found: dict[str, list[str]] = {}
    for pair in query.split("&"):
        if pair:
            key, _, value = pair.partition("=")
            found.setdefault(key, []).append(value)
    return found
