"""Read form fields, query strings and uploaded files into parameters and records.

    a file     goes to the parameter of its name, if that accepts files; if only one parameter
               accepts files, it gets files of any name
    a field    goes to the parameter of its name: as JSON if the text begins with `[` or `{`
    other      fields are the fields of the one parameter whose type is a record (a class with
               named fields)

All remaining fields are ignored: forms of browsers contain buttons and tokens.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import enum
import typing as t
import uuid
from functools import partial
from types import MappingProxyType

import msgspec

from carboy.core.percentescapes import form_pairs

from ..errors import InputError, MalformedInputError, together
from . import inputerrors, rereading
from .fieldtexts import TIMES, TextField, leaves_of, tidy
from .hints import is_pydantic, is_union, item_of, members_of, strip
from .hooks import from_json, json_decoder
from .kinds import is_file
from .operation import fresh
from .pydanticlimits import adapter, needs_pydantic, read_texts
from .records import fields_of, types_in
from .valuecounts import check_keys
from .values import unpacked

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .bodyparameters import BodyParameter
    from .values.file import Upload

Arguments: t.TypeAlias = dict[str, t.Any]
Convert: t.TypeAlias = "cabc.Callable[[t.Any], t.Any]"

# Largest number of fields in a form. A client with more values should send them as JSON.
_MAX_FIELDS = 1000


class FormData(t.NamedTuple):
    """Fields and files of a form by name, in the order sent; without empty file inputs."""

    fields: cabc.Mapping[str, cabc.Sequence[str]]
    files: cabc.Mapping[str, cabc.Sequence[Upload]]


def parse_form(data: bytes) -> FormData:
    """Parse a urlencoded body. Raises MalformedInputError."""
    fields: dict[str, list[str]] = {}
    if data.count(b"&") >= _MAX_FIELDS:
        raise MalformedInputError(
            f"The form is malformed: it has more than {_MAX_FIELDS:,} fields."
        )
    try:
        pairs = form_pairs(data.decode(), "strict")
    except ValueError as exc:
        raise MalformedInputError(f"The form is malformed: {exc}.") from exc
    for key, value in pairs:
        fields.setdefault(key, []).append(value)
    return FormData(fields, {})


class FormReader:
    """Reads forms into the arguments of one view or model. Thread-safe."""

    def __init__(self, parameters: cabc.Sequence[BodyParameter]) -> None:
        self._parameters = parameters
        self._record = _record_of(parameters)
        self._single_file = _single_file(parameters, self._record)
        self._spread = None if self._record is None else RecordReader(self._record.annotation)
        self._taken = frozenset(each.alias for each in parameters if each is not self._record)

    def read(self, form: FormData) -> Arguments:
        """Read all arguments from a form; errors of all parameters are reported together.

        Raises:
            InputError: a field or file is missing or not valid.
        """
        arguments: Arguments = {}
        faults: list[InputError] = []
        for parameter in self._parameters:
            try:
                arguments[parameter.name] = self._argument(parameter, form)
            except InputError as exc:
                # Drop the traceback, to avoid a reference cycle: its frames refer to `faults`.
                faults.append(exc.with_traceback(None))
        try:
            if faults:
                raise together(faults)
        finally:
            del faults  # break a reference cycle: the error's traceback refers to this frame
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
        """Return the uploaded files for a parameter: those of its name, or all files if it is the
        only parameter that accepts files.
        """
        if parameter.alias in form.files or parameter is not self._single_file:
            return form.files.get(parameter.alias, ())
        return [file for files in form.files.values() for file in files]

    def _is_json_field(self, parameter: BodyParameter, form: FormData) -> bool:
        """Return whether a record was sent as JSON, in a form field that has the parameter's
        name.
        """
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
            # If the only field of a form has the parameter's name, it may contain the whole record
            # as JSON, like a JSON body that is an object with the parameter's name as its only key.
            if form.fields.keys() == {parameter.alias}:
                with contextlib.suppress(InputError):
                    texts = form.fields[parameter.alias]
                    return parameter.from_texts(texts, f"$.{parameter.alias}")
            raise


def _record_of(parameters: cabc.Sequence[BodyParameter]) -> BodyParameter | None:
    """Return the parameter whose own fields are sent as the fields of the form; None if there is no
    such parameter, or more than one.

    If there are several parameters, only a record counts, whose fields are known. A single
    parameter may also be a dict.
    """
    found = [each for each in parameters if each.takes_object and not each.takes_files]
    if len(parameters) > 1:
        found = [each for each in found if any(map(fields_of, members_of(each.annotation)))]
    return found[0] if len(found) == 1 else None


def _single_file(
    parameters: cabc.Sequence[BodyParameter], record: BodyParameter | None
) -> BodyParameter | None:
    """Return the only parameter that accepts files, which then gets files of any name; None if
    there is no such parameter, or more than one.

    Parameters of text accept files too, but they count only if no other parameter accepts files.
    """
    if record is not None and any(map(is_file, _field_types(record.annotation))):
        return None
    takers = [each for each in parameters if each.takes_files and each.parameter.place == "body"]
    found = [each for each in takers if each.takes_more_than_text] or takers
    return found[0] if len(found) == 1 else None


def _field_types(annotation: t.Any) -> cabc.Iterator[t.Any]:
    for each in members_of(annotation):
        yield from (field.annotation for field in fields_of(each))


class RecordReader:
    """Converts form fields or a query string into a record of one class. Thread-safe."""

    def __init__(self, annotation: t.Any) -> None:
        self._annotation = annotation
        read: Convert = (
            partial(read_texts, adapter(annotation))
            if needs_pydantic(annotation)
            else partial(msgspec.convert, type=annotation, strict=False, dec_hook=from_json)
        )
        self._convert = finite(read, annotation, of_texts=True)
        self._fields: dict[str, _FieldReader] = {}
        #: Names of optional fields for which an empty text means that the field is missing. Fields
        #: of type str are not among them.
        self._blank: set[str] = set()
        #: Names of fields that may be None, such as `int | None`, for which msgspec converts the
        #: text "null" to None.
        self._nullable: set[str] = set()
        typed = not needs_pydantic(annotation)
        key_type, value_type = _dict_types(annotation)
        self._tidy_key = tidy(key_type)
        self._other = _FieldReader(value_type, typed=typed)
        for field in (field for each in members_of(annotation) for field in fields_of(each)):
            reader = _FieldReader(field.annotation, typed=typed)
            self._fields.update(dict.fromkeys(field.keys, reader))
            if not field.required and not reader.texts.is_text:
                self._blank.update(field.keys)
            if reader.texts.is_nullable and not reader.texts.is_text:
                self._nullable.update(field.keys)
        self._names = None if _is_open(annotation) else frozenset(self._fields)

    def has(self, name: str) -> bool:
        """Return whether the record has a field of this name; a dict may have fields of any
        name.
        """
        return self._names is None or name in self._names

    def declares(self, name: str) -> bool:
        """Return whether a class of the record has a field of this name."""
        return name in self._fields

    def collect(
        self,
        fields: cabc.Mapping[str, cabc.Sequence[str]],
        files: cabc.Mapping[str, cabc.Sequence[Upload]] = MappingProxyType({}),
        *,
        without: cabc.Container[str] = (),
        null: bool = True,
    ) -> dict[str, t.Any]:
        """Collect the texts and files of a request by the names of the record's fields. Raises
        InputError.

        Args:
            without: names of fields that belong to other parameters and are left out.
            null: whether to accept the text "null" as None, because scripts write it into forms.
        """
        record: dict[str, t.Any] = {}
        for key, texts in fields.items():
            if key in without or (key in self._blank and texts == [""]):
                continue
            if key in self._nullable and not null:
                _refuse_null(key, texts)
            record[self._key(key)] = self._field(key).read(texts, f"$.{key}")
        for key, sent in files.items():
            if sent and key not in without:
                record[self._key(key)] = self._field(key).read_files(sent)
        return record

    def _key(self, name: str) -> str:
        """Return the record's key for the name of a form field. If the keys are not texts, the name
        is rewritten so that msgspec reads it correctly. Raises InputError.
        """
        if self._tidy_key is None or name in self._fields:
            return name
        try:
            return t.cast("str", self._tidy_key(name))
        except msgspec.ValidationError as error:
            in_keys = msgspec.ValidationError(f"{error} - at `key` in `$`")
            raise inputerrors.mismatch(in_keys, {name: ""}, kind=self._annotation) from error

    def _field(self, key: str) -> _FieldReader:
        return self._fields.get(key, self._other)

    def convert(self, record: dict[str, t.Any]) -> t.Any:
        """Convert the texts and files that `collect` has returned into the record. Raises
        InputError.
        """
        try:
            return self._convert(record)
        except Exception as error:
            if not inputerrors.is_input_error(error):
                raise
            raise inputerrors.input_error(error, record, kind=self._annotation) from error


class _FieldReader:
    """Reads the texts or files that were sent for one field of a record. Thread-safe.

    msgspec or pydantic then converts all fields to a record. It converts the texts, and keeps what
    already has the type of its field.
    """

    def __init__(self, annotation: t.Any, *, typed: bool) -> None:
        """Create the functions that read one field of a record.

        Args:
            annotation: the type of the field.
            typed: whether to decode JSON in the field as this type. False decodes it without a
                type, because validators of a pydantic model expect plain data.
        """
        self.texts = TextField(annotation)
        self._annotation = annotation
        self._decode = json_decoder(annotation) if typed else msgspec.json.decode
        self._is_validated = not typed or needs_pydantic(annotation)
        self._is_bytes = bytes in map(strip, (item_of(annotation), *members_of(annotation)))

    def read(self, texts: cabc.Sequence[str], path: str) -> t.Any:
        """Read the texts that were sent under the field's name. Raises InputError."""
        data = self.texts.json(texts)
        try:
            if data is None:
                return self.texts.plain(texts)
            if self._is_validated:
                check_keys(data)
            return rereading.read(self._decode, data)
        except Exception as error:
            if not inputerrors.is_input_error(error):
                raise
            sent = data or self.texts.sent(texts)
            raise field_error(error, sent, path, self._annotation) from error

    def read_files(self, files: cabc.Sequence[Upload]) -> t.Any:
        """Return the uploaded files of the field, or their bytes if its type is bytes.

        A single file is returned without a list, unless the type is a list.
        """
        values = [file.read() for file in files] if self._is_bytes else list(files)
        return values if self.texts.is_list or len(values) > 1 else values[0]


def field_error(
    error: Exception, sent: bytes | str | list[str], path: str, annotation: t.Any
) -> InputError:
    """Return the error for a form field whose text could not be read.

    Args:
        error: what reading the field has raised; `is_input_error` must be true for it.
        sent: the text or texts of the field, or the JSON in it.
        path: where the field is in the request.
        annotation: the type of the field.
    """
    refused = inputerrors.input_error(error, sent, root=path, kind=annotation)
    if refused.faults:
        return refused
    return InputError(f"Field {path.removeprefix('$.')!r}: {refused.detail}")


def _is_open(annotation: t.Any) -> bool:
    """Return whether values of a type may have fields of any name, as a dict may."""
    bare = strip(annotation)
    return bare is not t.Any and not any(map(fields_of, members_of(bare)))


def _dict_types(annotation: t.Any) -> tuple[t.Any, t.Any]:
    """Return the types of the keys and of the values of a dict; for a type that is not a dict,
    `str` and Any.
    """
    for each in map(strip, members_of(annotation)):
        if t.get_origin(each) is dict:
            key_type, value_type = t.get_args(each)
            return key_type, value_type
    return str, t.Any


def convert(value: t.Any, annotation: t.Any, *, root: str = "$", strict: bool = False) -> t.Any:
    """Convert plain data (dict, list, str, ...) to a type; unless `strict`, numbers may be texts.
    Raises InputError.
    """
    read = partial(msgspec.convert, type=annotation, strict=strict, dec_hook=from_json)
    try:
        found = rereading.convert_plain(unpacked.attempt(read), value)
    except msgspec.ValidationError as error:
        raise inputerrors.mismatch(error, value, root=root, kind=annotation) from error
    # Refuse NaN: JSON cannot express it, but msgspec reads the text "nan" as a float.
    problem = inputerrors.not_finite(found, root)
    if problem is not None:
        raise problem
    return found


def finite(read: Convert, annotation: t.Any, *, of_texts: bool = False) -> Convert:
    """Wrap a decoder or validator so that it refuses NaN and infinity, if its type allows them.

    Args:
        read: the decoder or validator.
        annotation: the type that it reads, which may have floats or decimals inside records.
        of_texts: whether numbers may be sent as texts such as "nan". JSON that msgspec decodes
            needs no check, because JSON cannot express NaN.
    """
    if not may_be_infinite(annotation, of_texts=of_texts):
        return read

    def checked(value: t.Any) -> t.Any:
        found = read(value)
        problem = inputerrors.not_finite(found, "$")
        if problem is not None:
            raise problem
        return found

    return checked


def may_be_infinite(annotation: t.Any, *, of_texts: bool = False) -> bool:
    """Return whether a decoder or validator of a type may return NaN or infinity.

    Args:
        of_texts: as for `finite`.
    """
    found = [each for each in types_in(annotation) if isinstance(each, t.Hashable)]
    if decimal.Decimal in found or (of_texts and float in found):
        return True
    by_pydantic = needs_pydantic(annotation) or any(map(is_pydantic, found))
    return by_pydantic and not all(map(_is_always_finite, found))


def _is_always_finite(bare: t.Any) -> bool:
    """Return whether values of a type are finite, apart from what is inside its brackets and
    fields: `Any` and a bare `dict` may hold any numbers.
    """
    if t.get_origin(bare) is not None or bare in _FINITE_TYPES:
        return True
    if isinstance(bare, type) and issubclass(bare, enum.Enum):
        return True
    return bool(fields_of(bare)) and not _takes_extra(bare)


def _takes_extra(cls: t.Any) -> bool:
    """Return whether pydantic keeps fields that a class does not declare."""
    config = getattr(cls, "model_config", None) or getattr(cls, "__pydantic_config__", None) or {}
    return t.cast("bool", config.get("extra") == "allow")


_FINITE_TYPES = {str, int, bool, bytes, type(None), uuid.UUID, *TIMES}


def _refuse_null(key: str, texts: cabc.Sequence[str]) -> None:
    """Refuse the text "null" in a query: to send None, a client leaves the parameter out."""
    for text in texts:
        if text.lower() == "null":
            raise InputError.at(f"$.{key}", expected="a value, or no field of that name", got=text)


# -- conversion of the text of one field ----------------------------------------------------------


def converter(annotation: t.Any) -> Convert | None:
    """Return a function that converts a text, or a list of texts, to a type; None if the type is
    str.

    The returned function raises `msgspec.ValidationError` or pydantic's error.
    """
    if annotation is str or (is_union(annotation) and set(t.get_args(annotation)) == _STR_OR_NONE):
        return None
    convert: Convert = (
        partial(read_texts, adapter(annotation))
        if needs_pydantic(annotation)
        else partial(msgspec.convert, type=annotation, strict=False)
    )
    leaves = [each for each in leaves_of(annotation) if isinstance(each, t.Hashable)]
    if float in leaves or decimal.Decimal in leaves:
        convert = _finite_numbers(convert)
    return convert


_STR_OR_NONE = {str, type(None)}


def quick_converter(annotation: t.Any) -> Convert | None:
    """Return a fast function that converts the usual texts of a type, without rewriting them; None
    for str.

    It may refuse a text that is valid for the type, and its errors do not name the type. The caller
    then reads the text again by `converter`.
    """
    convert, rewrite = converter(annotation), tidy(annotation)
    leaves = {each for each in leaves_of(annotation) if isinstance(each, t.Hashable)}
    if not needs_pydantic(annotation):
        if leaves <= {int, float}:
            # PERF: numbers are read by the JSON decoder, which takes a tenth of the time of
            # `msgspec.convert` (30 ns instead of 300).
            return msgspec.json.Decoder(annotation).decode
        if leaves & {dt.datetime, dt.timedelta}:
            return partial(msgspec.convert, type=annotation)
    if convert is None or rewrite is None or not leaves & {int, *TIMES}:
        return convert
    takes_digits = int in leaves

    def read(sent: str | list[str]) -> t.Any:
        # PERF: texts of digits are not rewritten, because rewriting three numbers takes 3 us of the
        # 4 us of a request.
        if takes_digits and "".join(sent).isdecimal():
            return convert(sent)
        return convert(rewrite(sent))

    return read


def _finite_numbers(convert: Convert) -> Convert:
    """Wrap a converter so that it refuses NaN and infinity, which JSON cannot express."""

    def read(text: t.Any) -> t.Any:
        value = convert(text)
        for each in value if isinstance(value, (list, tuple, set, frozenset)) else (value,):
            if inputerrors.is_not_finite(each):
                raise msgspec.ValidationError("Expected a finite number")
        return value

    return read
