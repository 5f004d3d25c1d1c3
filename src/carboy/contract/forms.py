"""Read form fields, query strings and uploaded files into parameters and records.

    a file     goes to the parameter of its name, if that accepts files; if only one parameter
               accepts files, it gets files of any name
    a field    goes to the parameter of its name: as JSON if the text begins with `[` or `{`
    other      fields go to the parameter whose type is a record, as the fields of that record

All remaining fields are ignored: forms of browsers contain buttons and tokens.
"""

from __future__ import annotations

import contextlib
import math
import typing as t
from functools import partial
from types import MappingProxyType
from urllib.parse import parse_qsl

import msgspec

from ..errors import InputError, MalformedInputError, together
from . import inputerrors
from .hints import (
    adapter,
    is_record,
    is_union,
    needs_pydantic,
    pydantic_fields,
    strip,
)
from .hooks import from_json
from .kinds import is_file, list_fields, record_types
from .operation import fresh

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .bodyparameters import BodyParameter
    from .values.file import Upload

Arguments: t.TypeAlias = dict[str, t.Any]
Convert: t.TypeAlias = "cabc.Callable[[t.Any], t.Any]"

# Largest number of fields in a form. Clients should send more values than that as JSON.
_MAX_FIELDS = 1000


class FormData(t.NamedTuple):
    """Fields and files of a form by name, in the order sent; without empty file inputs."""

    fields: cabc.Mapping[str, cabc.Sequence[str]]
    files: cabc.Mapping[str, cabc.Sequence[Upload]]


def parse_form(data: bytes) -> FormData:
    """Parse an urlencoded body. Raises MalformedInputError."""
    fields: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(
            data.decode(),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError as exc:
        raise MalformedInputError(f"The form is malformed: {exc}.") from exc
    for key, value in pairs:
        fields.setdefault(key, []).append(value)
    return FormData(fields, {})


class FormReader:
    """Reads the forms of one operation. Thread-safe."""

    def __init__(self, parameters: cabc.Sequence[BodyParameter]) -> None:
        self._parameters = parameters
        self._record = _record_of(parameters)
        self._single_file = _single_file(parameters, self._record)
        self._spread = None if self._record is None else RecordReader(self._record.annotation)
        self._taken = frozenset(each.alias for each in parameters if each is not self._record)

    def read(self, form: FormData) -> Arguments:
        """Read all arguments; errors of all parameters are reported together.

        Raises:
            InputError: a field or file is missing or not valid.
        """
        arguments: Arguments = {}
        faults: list[InputError] = []
        for parameter in self._parameters:
            try:
                arguments[parameter.name] = self._argument(parameter, form)
            except InputError as exc:
                # The traceback is removed, because its frames refer to `faults`: a reference cycle.
                faults.append(exc.with_traceback(None))
        try:
            if faults:
                raise together(faults)
        finally:
            del faults  # as above
        return arguments

    def _argument(self, parameter: BodyParameter, form: FormData) -> t.Any:
        if parameter.takes_files and (files := self._files_for(parameter, form)):
            return parameter.from_files(files, f"$.{parameter.alias}")
        if parameter is self._record and not self._is_json_field(parameter, form):
            return self._spread_record(parameter, form)
        texts = form.fields.get(parameter.alias, ())
        if texts and not parameter.is_empty_input(texts):
            return parameter.from_texts(texts, f"$.{parameter.alias}")
        if not parameter.required:
            return fresh(parameter.default)
        names = [*form.fields, *form.files]
        raise inputerrors.missing(f"$.{parameter.alias}", parameter.wanted_part, names)

    def _files_for(self, parameter: BodyParameter, form: FormData) -> cabc.Sequence[Upload]:
        """Return the files that belong to a parameter."""
        if parameter.alias in form.files or parameter is not self._single_file:
            return form.files.get(parameter.alias, ())
        return [file for files in form.files.values() for file in files]

    def _is_json_field(self, parameter: BodyParameter, form: FormData) -> bool:
        """Return whether a record was sent as JSON, in a form field of the parameter's name."""
        spread = t.cast("RecordReader", self._spread)
        return parameter.alias in form.fields and not spread.has(parameter.alias)

    def _spread_record(self, parameter: BodyParameter, form: FormData) -> t.Any:
        spread = t.cast("RecordReader", self._spread)
        try:
            record = spread.collect(form.fields, form.files, without=self._taken)
            if not record and not parameter.required:
                return fresh(parameter.default)
            return spread.convert(record)
        except InputError:
            # If the fields are not a valid record, and the parameter's name is the only field, that
            # field is read as the record, as for JSON bodies.
            if form.fields.keys() == {parameter.alias}:
                with contextlib.suppress(InputError):
                    texts = form.fields[parameter.alias]
                    return parameter.from_texts(texts, f"$.{parameter.alias}")
            raise


def _record_of(parameters: cabc.Sequence[BodyParameter]) -> BodyParameter | None:
    """Return the parameter whose record is written as fields of the form.

    The type of a single parameter may be any object; beside other parameters it must be a record
    with known fields.
    """
    found = [each for each in parameters if each.takes_object and not each.takes_files]
    if len(parameters) > 1:
        found = [each for each in found if record_types(each.annotation) or _is_model(each)]
    return found[0] if len(found) == 1 else None


def _is_model(parameter: BodyParameter) -> bool:
    return is_record(strip(parameter.annotation))


def _single_file(
    parameters: cabc.Sequence[BodyParameter], record: BodyParameter | None
) -> BodyParameter | None:
    """Return the only parameter that accepts files.

    Parameters of text also accept files, but count only if no other parameter accepts files.
    """
    if record is not None and any(map(is_file, _field_types(record.annotation))):
        return None
    takers = [each for each in parameters if each.takes_files and each.parameter.place == "body"]
    found = [each for each in takers if each.takes_more_than_text] or takers
    return found[0] if len(found) == 1 else None


def _field_types(annotation: t.Any) -> cabc.Iterator[t.Any]:
    try:
        yield from t.get_type_hints(strip(annotation)).values()
    except (NameError, TypeError):  # the type is a dict, a union or another type without fields
        return


class RecordReader:
    """Reads form fields or a query string into one type of record. Thread-safe."""

    def __init__(self, annotation: t.Any) -> None:
        self._annotation = annotation
        self._validate = adapter(annotation).validate_python if needs_pydantic(annotation) else None
        self._lists = list_fields(annotation)
        self._names = _field_names(annotation)
        #: Optional fields that accept no text: an empty input means that the field is missing.
        self._blank: set[str] = set()
        self._flags: set[str] = set()
        #: Optional fields that accept no text: msgspec converts the text "null" to None.
        self._nullable: set[str] = set()
        for field in (field for record in record_types(annotation) for field in record.fields):
            kinds = getattr(field.type, "types", (field.type,))
            holds_text = any(isinstance(kind, _TEXTS) for kind in kinds)
            if not field.required and not holds_text:
                self._blank.add(field.encode_name)
            if any(isinstance(kind, msgspec.inspect.NoneType) for kind in kinds) and not holds_text:
                self._nullable.add(field.encode_name)
            if any(isinstance(kind, msgspec.inspect.BoolType) for kind in kinds):
                self._flags.add(field.encode_name)

    def has(self, name: str) -> bool:
        """Return whether the record has a field of a name; a dict has fields of any name."""
        return self._names is None or name in self._names

    def collect(
        self,
        fields: cabc.Mapping[str, cabc.Sequence[str]],
        files: cabc.Mapping[str, cabc.Sequence[Upload]] = MappingProxyType({}),
        *,
        without: cabc.Container[str] = (),
        null: bool = True,
    ) -> dict[str, t.Any]:
        """Collect texts and files by the name of the record's field.

        Args:
            without: names of fields that belong to other parameters.
            null: whether the text "null" is accepted as None, which scripts write into forms.
        """
        record: dict[str, t.Any] = {}
        for key, texts in fields.items():
            if key in without or (key in self._blank and texts == [""]):
                continue
            if key in self._nullable and not null:
                _refuse_null(key, texts)
            read = [_word(text) for text in texts] if key in self._flags else list(texts)
            record[key] = read if key in self._lists or len(read) > 1 else read[0]
        for key, sent in files.items():
            if sent and key not in without:
                record[key] = list(sent) if key in self._lists or len(sent) > 1 else sent[0]
        return record

    def convert(self, record: dict[str, t.Any]) -> t.Any:
        """Convert collected texts and files into the record. Raises InputError."""
        if self._validate is None:
            return convert(record, self._annotation)
        try:
            return self._validate(record)
        except Exception as error:
            if not inputerrors.is_input_error(error):
                raise
            raise inputerrors.input_error(error, record) from error


def _field_names(annotation: t.Any) -> frozenset[str] | None:
    """Return the field names of a record; None for a dict, an empty set for Any."""
    bare = strip(annotation)
    if bare is t.Any:
        return frozenset()
    fields = pydantic_fields(bare)
    if fields is not None:
        return frozenset(info.alias or name for name, info in fields.items())
    records = record_types(annotation)
    if not records:
        return None
    return frozenset(field.encode_name for each in records for field in each.fields)


def convert(value: t.Any, annotation: t.Any, *, root: str = "$", strict: bool = False) -> t.Any:
    """Convert plain data to a type; unless `strict`, numbers may be strings. Raises InputError."""
    try:
        found = msgspec.convert(value, annotation, strict=strict, dec_hook=from_json)
    except msgspec.ValidationError as error:
        raise inputerrors.mismatch(error, value, root=root, kind=annotation) from error
    # JSON has no NaN, but msgspec reads the text "nan" as one.
    problem = inputerrors.not_finite(msgspec.to_builtins(found, enc_hook=repr), root)
    if problem is not None:
        raise problem
    return found


def _word(text: str) -> str:
    """Convert "on", which an HTML checkbox sends, and "yes" to "true"."""
    return "true" if text.lower() in ("on", "yes") else text


def _refuse_null(key: str, texts: cabc.Sequence[str]) -> None:
    """Reject the text "null" in a query, where None means that the parameter is missing."""
    for text in texts:
        if text.lower() == "null":
            raise InputError.at(f"$.{key}", expected="a value, or no field of that name", got=text)


_TEXTS = (msgspec.inspect.StrType, msgspec.inspect.AnyType, msgspec.inspect.RawType)


# -- one text -------------------------------------------------------------------------------------

# Words that people write for booleans; HTML checkboxes send "on".
_YES_NO = {"on": True, "yes": True, "off": False, "no": False}


def converter(annotation: t.Any) -> Convert | None:
    """Return a function that converts one text or a list of texts; None if the type is str.

    The function raises `msgspec.ValidationError` or pydantic's error.
    """
    if annotation is str or (is_union(annotation) and set(t.get_args(annotation)) == _STR_OR_NONE):
        return None
    if needs_pydantic(annotation):
        return t.cast("Convert", adapter(annotation).validate_python)
    convert: Convert = partial(msgspec.convert, type=annotation, strict=False)
    leaves = set(_leaves(annotation))
    if bool in leaves:
        convert = _with_words(convert)
    if float in leaves:
        convert = _finite(convert)
    return convert


_STR_OR_NONE = {str, type(None)}


def _leaves(annotation: t.Any) -> cabc.Iterator[t.Any]:
    bare = strip(annotation)
    yield bare
    for each in t.get_args(bare):
        yield from _leaves(each)


def _with_words(convert: Convert) -> Convert:
    def read(text: t.Any) -> t.Any:
        try:
            return convert(text)
        except msgspec.ValidationError:
            word = _YES_NO.get(text.lower()) if isinstance(text, str) else None
            if word is None:
                raise
            return word

    return read


def _finite(convert: Convert) -> Convert:
    """Wrap a converter so that it rejects NaN and infinity, which JSON cannot express."""

    def read(text: t.Any) -> t.Any:
        value = convert(text)
        for each in value if isinstance(value, (list, tuple, set, frozenset)) else (value,):
            if isinstance(each, float) and not math.isfinite(each):
                raise msgspec.ValidationError("Expected a finite number")
        return value

    return read
