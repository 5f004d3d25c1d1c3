"""Convert exceptions of decoders into `InputError`, with path, expected value and actual value.

This module only creates the exceptions. `carboy.core.problemdetails` turns them into HTTP errors.

This code runs only for failed requests, so clarity matters more than speed. The input comes from
untrusted clients: each function takes linear time, and works for any depth of nesting.
"""

from __future__ import annotations

import decimal
import json
import math
import re
import typing as t
from itertools import chain

import msgspec
from msgspec import inspect

from ..errors import Fault, InputError, MalformedInputError, UnsupportedInputError, together
from .records import values_in

if t.TYPE_CHECKING:
    import collections.abc as cabc

# The classes of plain values that contain no others, and those of them that are always finite.
_FINITE = frozenset((str, int, bool, bytes, type(None)))
_LEAVES = _FINITE | {float}
_MESSAGE = re.compile(r"(?P<what>.*?)(?: - at (?P<keys>`key` in )?`(?P<path>[^`]*)`)?", re.DOTALL)
_GOT = re.compile(r"Expected (?P<expected>.*), got (?P<got>`.*)", re.DOTALL)
# Messages of msgspec for a value that is no member of an enumeration. "Invalid value" is its
# message for an unknown tag of a record.
_NO_MEMBER = re.compile(r"Invalid enum value|Invalid value")
_UNKNOWN_FIELD = re.compile(r"an object without the field `(?P<name>.*)`", re.DOTALL)
_STEP = re.compile(r"\.(?P<key>[^.\[]+)|\[(?P<index>\d+)\]")
# An error message quotes at most this many characters of a client's text, because the message is
# also logged.
_MAX_SHOWN_CHARS = 40
# An error message lists at most this many values that are not valid. For each of them pydantic
# needs 1.4 us and 800 bytes, and a body may have millions.
_MAX_FAULTS = 1000


def malformed(data: bytes, exc: Exception, *, root: str = "$") -> InputError:
    """Return the error for invalid JSON: 400, or 422 if the text contains NaN or infinity."""
    if not data.strip():
        return MalformedInputError("The body is empty. Send the input as JSON.")
    if isinstance(exc, RecursionError):
        return MalformedInputError("The JSON is nested too deeply.")
    if b"NaN" in data or b"Infinity" in data:
        found = _find_constant(data, root)
        if found is not None:
            return found
    return MalformedInputError(f"The body is not valid JSON: {exc}.")


def mismatch(
    exc: msgspec.ValidationError, value: t.Any, *, root: str = "$", kind: t.Any = None
) -> InputError:
    """Return the error for JSON that does not fit its type: 422.

    Args:
        exc: the error of msgspec; its path begins with `$`.
        value: the same input, decoded without types, so that the error shows what was sent; UNSET
            if it cannot be decoded.
        root: the path of the value in the request, such as `$.image`.
        kind: the type annotation of the whole value, to list the members of an enumeration.
    """
    match = _MESSAGE.fullmatch(str(exc))
    what, tail = (match["what"], (match["path"] or "$")[1:]) if match else (str(exc), "")
    in_keys = bool(match and match["keys"])
    path = root + tail
    # If the cause of msgspec's error is an `InputError`, an image, a table or the like inside the
    # JSON is not valid.
    if isinstance(exc.__cause__, InputError):
        return exc.__cause__.below(path)
    # If the cause is an error of pydantic, a pydantic model inside a record is not valid.
    if exc.__cause__ is not None and _is_of_pydantic(exc.__cause__):
        return _of_pydantic(exc.__cause__, path)
    parts = _GOT.fullmatch(what)
    expected = parts["expected"] if parts else what.removeprefix("Expected ")
    found = _walk(value, tail)
    got = describe(found) if found is not msgspec.UNSET else (parts["got"] if parts else None)
    if what.startswith("Invalid "):
        named = _NO_MEMBER.match(what) and allowed_at(kind, tail, value, in_keys=in_keys)
        expected = _one_of(named or []) or _expected_format(what)
    if what.startswith(("Expected ", "Invalid ")):
        wish = f"keys that are {expected}" if in_keys else expected
        return InputError.at(path, expected=wish, got=got)
    # Messages without an expected type: "Object missing required field `x`", "Object contains
    # unknown field `x`".
    came = f", got {got}" if got else ""
    return InputError(f"{what}{came} - at `{path}`.", faults=[Fault(path, _expected_of(what), got)])


def mismatch_in_json(
    exc: msgspec.ValidationError, data: bytes, *, root: str = "$", kind: t.Any = None
) -> InputError:
    """Return the error for undecoded JSON that does not fit its type: 422, or 400 if it is not
    valid JSON.
    """
    try:
        value = msgspec.json.decode(data)
    except (msgspec.ValidationError, RecursionError):  # for example a number too large for a float
        value = msgspec.UNSET
    except (msgspec.DecodeError, UnicodeDecodeError) as broken:
        return malformed(data, broken, root=root)
    return mismatch(exc, value, root=root, kind=kind)


def input_error(
    error: Exception, value: t.Any, *, root: str = "$", kind: t.Any = None
) -> InputError:
    """Convert an exception of a decoder or validator into an `InputError` for the client.

    Args:
        error: the exception; `is_input_error` must be true for it.
        value: the input: undecoded bytes of JSON, or plain values.
        root: the path of the value in the request, such as `$.page`.
        kind: the type annotation of the whole value, to list the members of an enumeration.
    """
    if isinstance(error, InputError):
        return error
    data = value if isinstance(value, bytes) else None
    if isinstance(error, msgspec.ValidationError):
        if data is not None:
            return mismatch_in_json(error, data, root=root, kind=kind)
        return mismatch(error, value, root=root, kind=kind)
    if _is_of_pydantic(error):
        return _of_pydantic(error, root)
    return malformed(b"?" if data is None else data, error, root=root)


def is_input_error(error: BaseException) -> bool:
    """Return whether an exception says that the input is wrong, so that `input_error` can convert
    it.
    """
    if isinstance(error, (InputError, msgspec.DecodeError, UnicodeDecodeError, RecursionError)):
        return True
    return _is_of_pydantic(error)


def _is_of_pydantic(error: BaseException) -> bool:
    return type(error).__module__ == "pydantic_core._pydantic_core"


def not_finite(value: t.Any, path: str) -> InputError | None:
    """Return the error for the first NaN or infinity (422); None if all numbers are finite."""
    if _is_finite(value):
        return None
    opened = [("", iter([(path, value)]))]
    while opened:
        above, members = opened[-1]
        found = next(members, None)
        if found is None:
            opened.pop()
            continue
        where, item = above + found[0], found[1]
        if is_not_finite(item):
            return InputError.at(where, expected="a finite number", got=_constant_name(item))
        if type(item) not in _LEAVES:
            opened.append((where, _members(item)))
    return None


def _is_finite(value: t.Any) -> bool:
    """Return whether all numbers in a value are finite.

    PERF: looks at all values of a level of nesting together, 30 to 60 ns for each; with a path for
    each, 2 us and 270 bytes.
    """
    level = [value]
    while level:
        kinds = set(map(type, level))
        if float in kinds and not all(map(math.isfinite, _of_kind(level, float, kinds))):
            return False
        inner: list[t.Any] = []
        for kind in kinds - _LEAVES:
            items = _of_kind(level, kind, kinds)
            if kind is list:
                inner += chain.from_iterable(items)
            elif kind is dict:
                inner += chain.from_iterable(map(dict.values, items))
            elif any(map(is_not_finite, items)):
                return False
            else:
                inner += [each for item in items for _, each in values_in(item)]
        level = inner
    return True


def _of_kind(items: list[t.Any], kind: type, kinds: set[type]) -> list[t.Any]:
    return items if len(kinds) == 1 else [each for each in items if type(each) is kind]


def _members(value: t.Any) -> cabc.Iterator[tuple[str, t.Any]]:
    """Do what `values_in` does, but leave out texts, integers and the like in lists, which may have
    millions of them.
    """
    if type(value) is list:
        return ((f"[{i}]", each) for i, each in enumerate(value) if type(each) not in _FINITE)
    return iter(values_in(value))


def is_not_finite(value: t.Any) -> bool:
    """Return whether a value is NaN or infinity, as a float or as a Decimal."""
    if isinstance(value, float):
        return not math.isfinite(value)
    return isinstance(value, decimal.Decimal) and not value.is_finite()


def describe(value: t.Any) -> str:
    """Describe a plain value for error messages: "array of length 63", "`str` 'abc'"."""
    if isinstance(value, list):
        return f"array of length {len(value)}"
    if isinstance(value, dict):
        keys = ", ".join(repr(_cut(key)) for key in list(value)[:6])
        more = ", ..." if len(value) > 6 else ""
        return f"object with {keys}{more}" if keys else "empty object"
    if value is None or isinstance(value, bool):
        return f"`{json.dumps(value)}`"
    return f"`{type(value).__name__}` {_cut(value)!r}"


def _of_pydantic(error: t.Any, root: str) -> InputError:
    count = error.error_count()
    if count > _MAX_FAULTS:
        return InputError.at(
            root,
            expected=f"a valid {error.title}",
            got=f"{count:,} values that are not valid, which are too many to list",
        )
    found = []
    for each in error.errors(include_url=False, include_context=False):
        if each["type"] == "json_invalid":
            return MalformedInputError(f"The body is not valid JSON: {each['msg']}.")
        path = root + "".join(
            f"[{step}]" if isinstance(step, int) else f".{_cut(step)}" for step in each["loc"]
        )
        got = None if each["type"] == "missing" else describe(each["input"])
        found.append(_said_by_pydantic(each["msg"], path, got))
    return together(found)


def _said_by_pydantic(message: str, path: str, got: str | None) -> InputError:
    expected = message.removeprefix("Input should be ")
    if expected != message:
        return InputError.at(path, expected=expected, got=got)
    # The message is a sentence, such as "Field required".
    came = f", got {got}" if got else ""
    return InputError(f"{message}{came} - at `{path}`.", faults=[Fault(path, message, got)])


def missing(path: str, wanted: str, present: t.Iterable[str]) -> InputError:
    """Return the error for a missing part of a form: 422."""
    names = ", ".join(repr(name) for name in list(present)[:6])
    return InputError.at(path, expected=wanted, got=f"only {names}" if names else "an empty form")


def unknown_field(fault: Fault) -> str:
    """Return the name of the field that msgspec's error reports as unknown; "" for other errors."""
    match = _UNKNOWN_FIELD.fullmatch(fault.expected)
    return match["name"] if match else ""


def may_be_form(data: bytes) -> bool:
    """Return whether a body may be an urlencoded form: ASCII characters with a `=`."""
    return data.isascii() and b"=" in data


def _looks_like_json(data: bytes) -> bool:
    if data[:64].lstrip()[:1] in (b"{", b"["):
        return True
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def unsupported_type(media_type: str, data: bytes, expected: t.Sequence[str]) -> InputError:
    """Return the error for an unsupported media type (415), or for an empty body (400).

    Args:
        media_type: the media type of the request; "" if it has none.
        data: the body, to recognise JSON with a wrong Content-Type.
        expected: the media types that are supported.
    """
    *others, last = expected
    wanted = f"{', '.join(others)} or {last}" if others else last
    if not data and not media_type:
        return MalformedInputError(f"The body is empty. Send {wanted}.")
    hint = ""
    if "application/json" in expected and _looks_like_json(data):
        hint = " The body looks like JSON: send `Content-Type: application/json`."
    elif data and media_type == "application/x-www-form-urlencoded" and not may_be_form(data):
        hint = (
            " The body is not a form, although `curl -d` says so. Send its own Content-Type, as in"
            " `curl -H 'Content-Type: ...' --data-binary @file`."
        )
    got = media_type or "no Content-Type"
    return UnsupportedInputError(
        f"Cannot read a body of this kind: {got}. Send {wanted}.{hint}",
        faults=[Fault("$", wanted, got)],
    )


def unsupported_encoding(encoding: str) -> InputError:
    """Return the error for a body with a Content-Encoding, such as gzip: 415."""
    return UnsupportedInputError(
        f"Content-Encoding {encoding!r} is not understood. Send the body as it is."
    )


def _expected_of(what: str) -> str:
    """Return what was expected, for an error message of msgspec that says only what is wrong."""
    for fault, wish in (("missing required", "with"), ("contains unknown", "without")):
        what = what.replace(f"Object {fault} field", f"an object {wish} the field")
    return what.replace("Number out of range", "a number that a 64-bit float can hold")


# What was expected, for messages of msgspec that name only what is wrong ("Invalid UUID"). The
# first entry with which the message begins is used, so longer names come first.
_FORMATS = {
    "enum value": "one of the values allowed here",
    "value": "one of the values allowed here",
    "RFC3339 encoded datetime": "a date and time such as 2024-02-29T12:30:00Z",
    "RFC3339 encoded date": "a date such as 2024-02-29",
    "RFC3339 encoded time": "a time such as 12:30:00",
    "ISO8601 duration": "a duration such as PT1H30M",
    "UUID": "a UUID",
    "decimal": "a decimal number such as 3.14",
    "base64": "text in base64",
}


def _expected_format(what: str) -> str:
    named = what.removeprefix("Invalid ")
    for start, wish in _FORMATS.items():
        if named.startswith(start):
            return wish
    return f"something else than: {what}"


def _one_of(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"one of {', '.join(names)}" if names else ""


def _cut(value: t.Any) -> t.Any:
    if isinstance(value, str) and len(value) > _MAX_SHOWN_CHARS:
        return value[:_MAX_SHOWN_CHARS] + "..."
    if isinstance(value, bytes) and len(value) > _MAX_SHOWN_CHARS:
        return value[:_MAX_SHOWN_CHARS] + b"..."
    return value


def _walk(value: t.Any, tail: str) -> t.Any:
    """Return the value at the path of one of msgspec's errors, such as `$.items[0]`.

    UNSET if the path names no single value: for an error in a dict, msgspec writes `[...]` and not
    the key.
    """
    at = 0
    while at < len(tail):
        step = _STEP.match(tail, at)
        try:
            if step is None:
                return msgspec.UNSET
            value = value[step["key"]] if step["key"] else value[int(step["index"])]
        except (KeyError, IndexError, TypeError):
            return msgspec.UNSET
        at = step.end()
    return value


def _find_constant(data: bytes, root: str) -> InputError | None:
    """Find NaN or Infinity in a body by the standard library's JSON parser, which accepts them."""
    try:
        return not_finite(json.loads(data), root)
    except (ValueError, RecursionError):
        return None


def _constant_name(value: float | decimal.Decimal) -> str:
    if isinstance(value, decimal.Decimal):
        return str(value)
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


# -- allowed values of enumerations ---------------------------------------------------------------

# Matches one step of a path in a msgspec message: `$.colours[2]`, or `$.by_name[...]` for any key
# of a dict.
_TYPE_STEP = re.compile(r"\.(?P<key>[^.\[]+)|\[(?P<index>\d+)\]|\[\.\.\.\]")
# An error message lists at most this many values of an enumeration.
_MAX_LISTED = 20


def allowed_at(kind: t.Any, path: str, value: t.Any, *, in_keys: bool = False) -> list[str]:
    """Return the values of the enumeration at a path, as texts; an empty list if there is none.

    The message of msgspec says where a value is invalid, but does not list the valid values.

    Args:
        kind: the type annotation of the whole value.
        path: the path of the invalid value, without `$`.
        value: the whole value, decoded without types, to find out which record of a tagged union
            was sent; UNSET if it cannot be decoded.
        in_keys: whether the invalid value is a key of the object at that path.
    """
    try:
        place: inspect.Type | None = inspect.type_info(kind)
    except Exception:  # noqa: BLE001 - a type for pydantic, or none at all
        return []
    at = 0
    while place is not None and at < len(path):
        step = _TYPE_STEP.match(path, at)
        if step is None:
            return []
        at = step.end()
        if step["key"] and at == len(path) and (tags := _tags(place, step["key"])):
            return _written(tags)
        place, value = _descend(place, step, value)
    if in_keys and isinstance(place, inspect.DictType):
        place = place.key_type
    return _written(_values(place))


def _descend(
    place: inspect.Type, step: re.Match[str], value: t.Any
) -> tuple[inspect.Type | None, t.Any]:
    """Return the type and the value that one step of a path, such as `.key` or `[0]`, leads to; the
    type is None if the given type has no such part.
    """
    found = [
        inner
        for each in _matching_members(place, value)
        if (inner := _inside(each, step["key"], step["index"]))
    ]
    try:
        value = value[step["key"]] if step["key"] else value[int(step["index"])]
    except (KeyError, IndexError, TypeError):
        value = msgspec.UNSET
    return (found[0] if len(found) == 1 else None), value


def _matching_members(place: inspect.Type, value: t.Any) -> list[inspect.Type]:
    """Return the members of a union; of tagged records only the one whose tag the value has."""
    parts = _parts(place)
    if not isinstance(value, dict):
        return parts
    return [
        part
        for part in parts
        if not isinstance(part, inspect.StructType)
        or part.tag_field is None
        or value.get(part.tag_field, part.tag) == part.tag
    ]


def _parts(place: inspect.Type | None) -> list[inspect.Type]:
    while isinstance(place, inspect.Metadata):
        place = place.type
    if isinstance(place, inspect.UnionType):
        return [part for each in place.types for part in _parts(each)]
    return [] if place is None else [place]


def _inside(part: inspect.Type, key: str | None, index: str | None) -> inspect.Type | None:
    if key:
        fields = getattr(part, "fields", ())
        return next((field.type for field in fields if field.encode_name == key), None)
    if index is None:
        return part.value_type if isinstance(part, inspect.DictType) else None
    if isinstance(part, inspect.TupleType):
        return _nth(part.item_types, int(index))
    if isinstance(part, inspect.NamedTupleType):
        return _nth([field.type for field in part.fields], int(index))
    return getattr(part, "item_type", None)


def _nth(types: t.Sequence[inspect.Type], index: int) -> inspect.Type | None:
    return types[index] if index < len(types) else None


def _tags(place: inspect.Type, key: str) -> list[t.Any]:
    """Return the tags of the records in a union, if `key` is the name of the field with the tag."""
    records = [part for part in _parts(place) if isinstance(part, inspect.StructType)]
    return [record.tag for record in records if record.tag_field == key]


def _values(place: inspect.Type | None) -> list[t.Any]:
    """Return the allowed values of a type; an empty list unless it is an enumeration or a union of
    enumerations.
    """
    values: list[t.Any] = []
    for part in _parts(place):
        if isinstance(part, inspect.LiteralType):
            values += [value for value in part.values if value is not None]
        elif isinstance(part, inspect.EnumType):
            values += [member.value for member in part.cls]
        elif not isinstance(part, inspect.NoneType):
            return []
    return values


def _written(values: list[t.Any]) -> list[str]:
    shown = [repr(value) for value in values[:_MAX_LISTED]]
    return shown if len(values) <= _MAX_LISTED else [*shown, f"... ({len(values)} in all)"]
