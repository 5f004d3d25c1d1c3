"""Read JSON or MessagePack again if msgspec has refused a value that is right, but written in an
unusual way.

    5.0 for an int     JSON has one type of numbers, and for JSON Schema 5.0 is an integer; pandas
                       writes it for 5 if another value of the column is missing
    base64 of bytes    in lines, without padding, or in the alphabet for URLs

This runs only for input that msgspec has refused. Its error names the path of one refused value,
such as `$.rows[0].count`. This module rewrites the values at that path in all rows, and decodes the
JSON again, until msgspec accepts it or refuses a value that cannot be rewritten.

A record that contains records of its own class may have as many such paths as values, and each of
them costs a decoding. So after `_MOST_PATHS` paths, all whole numbers of the JSON are rewritten at
once; a value of the type Any is then 5 for 5.0 too. Texts cannot be rewritten in this way, because
many are valid base64 by chance: base64 at more paths is refused.

msgspec offers no hook for these values: it calls `float_hook` and `dec_hook` for neither an int nor
bytes, and with `strict=False` it accepts the text "5" for an int as well. So the place and the
reason are read from its messages.
"""

from __future__ import annotations

import binascii
import decimal
import re
import typing as t

import msgspec

from ..errors import InputError
from .values.kind import from_base64, to_base64

if t.TYPE_CHECKING:
    import collections.abc as cabc

    Rewrite: t.TypeAlias = cabc.Callable[[t.Any], t.Any]
    _Step: t.TypeAlias = list[tuple[str, int]] | None

T = t.TypeVar("T")
_MESSAGE = re.compile(
    r"(?:Expected `(?P<types>[^`]*)`, got `float`|(?P<base64>Invalid base64 encoded string))"
    r"(?: - at `\$(?P<path>[^`]*)`)?"
)
_STEP = re.compile(r"\.(?P<key>[^.\[]*)|\[(?:\d+|\.\.\.)\]")
_INDEX = re.compile(r"\[\d+\]")
# At most this many different paths are rewritten. Each costs about 10 ns per byte of the JSON.
_MOST_PATHS = 8
# A key of an object may contain at most this many dots, which also separate the steps of a path.
_MOST_DOTS = 8
# Whole numbers with more digits are not converted, because that takes quadratic time.
_MOST_DIGITS = 40
_EXACT_FLOAT = 2**53
# All numbers with this many digits fit into 64 bits.
_ENCODED_DIGITS = 18

# Numbers are decoded as decimals, so that numbers which are not rewritten keep all their digits.
_decode = msgspec.json.Decoder(float_hook=decimal.Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


def read(decode: cabc.Callable[[bytes], T], data: bytes) -> T:
    """Decode JSON. If msgspec refuses a notation such as 5.0 for an int, rewrite the JSON and
    decode it again. Raises what `decode` raises.
    """
    try:
        return decode(data)
    except msgspec.DecodeError as error:
        return reread(decode, data, error)


def reread(decode: cabc.Callable[[bytes], T], data: bytes, error: msgspec.DecodeError) -> T:
    """Decode JSON that `decode` has refused with `error`, after rewriting numbers and base64 text.

    Raises:
        msgspec.DecodeError: the JSON does not fit the type after rewriting either.
    """
    try:
        return _reread(lambda: _decode(data), lambda value: decode(_encode(value)), error)
    finally:
        del error  # break a reference cycle: the error's traceback refers to this frame


def convert_plain(convert: cabc.Callable[[t.Any], T], value: t.Any) -> T:
    """Do what `read` does, for the values of decoded MessagePack. Changes dicts in the value.
    Raises what `convert` raises.
    """
    try:
        return convert(value)
    except msgspec.ValidationError as error:
        return _reread(lambda: value, convert, error)


def _reread(
    load: cabc.Callable[[], t.Any], read: cabc.Callable[[t.Any], T], error: msgspec.DecodeError
) -> T:
    """Rewrite values until `read` accepts them.

    Args:
        load: returns the untyped values.
        read: reads the rewritten values.
        error: the error of the first reading.
    """
    seen: list[str] = []
    value: t.Any = msgspec.UNSET
    try:
        while True:
            place = _place(error)
            if place is None or place.path in seen or len(seen) > _MOST_PATHS:
                raise error
            at_all_paths = len(seen) == _MOST_PATHS
            if at_all_paths and place.rewrite is not _whole:
                raise error
            seen.append(place.path)
            try:
                value = load() if value is msgspec.UNSET else value
                if at_all_paths:
                    value = _with_whole_numbers(value)
                else:
                    value = _rewritten(value, _steps(place.path), 0, place.rewrite)
                return read(value)
            except msgspec.ValidationError as next_error:
                error = next_error
            except (msgspec.DecodeError, OverflowError, RecursionError):
                raise error from None
    finally:
        del error  # as above


class _Refused(t.NamedTuple):
    """The path of a refused value, without `$`, and the function that rewrites the value."""

    path: str
    rewrite: Rewrite


def _place(error: msgspec.DecodeError) -> _Refused | None:
    """Return where the refused value is; None if it cannot be rewritten."""
    refused = _MESSAGE.fullmatch(str(error))
    if refused is None:
        return None
    is_base64 = bool(refused["base64"])
    if not is_base64 and "int" not in refused["types"].split(" | "):
        return None
    # In lists, the values at all positions are rewritten, not only the one that was refused.
    path = _INDEX.sub("[...]", refused["path"] or "")
    return _Refused(path, _canonical if is_base64 else _whole)


def _steps(path: str) -> list[_Step]:
    """Split a path such as `.rows[...].count` into its steps.

    Each step lists the keys that may be meant, with the position of the step after each: a key may
    contain dots, and a message of msgspec does not say which dots belong to a key. None stands for
    each key and each index.
    """
    names = [step["key"] for step in _STEP.finditer(path)]
    steps: list[_Step] = []
    for at, key in enumerate(names):
        if key is None:
            steps.append(None)
            continue
        keys = [(key, at + 1)]
        for end in range(at + 1, min(at + 1 + _MOST_DOTS, len(names))):
            if names[end] is None:
                break
            key = f"{key}.{names[end]}"  # noqa: PLW2901 - grows by one step in each round
            keys.append((key, end + 1))
        steps.append(keys)
    return steps


def _rewritten(value: t.Any, steps: list[_Step], at: int, rewrite: Rewrite) -> t.Any:
    """Rewrite the values at a path, from its step `at` on. Changes dicts in place."""
    if at == len(steps):
        return rewrite(value)
    step = steps[at]
    if isinstance(value, dict):
        for key, after in ((key, at + 1) for key in value) if step is None else step:
            if key in value:
                value[key] = _rewritten(value[key], steps, after, rewrite)
    elif isinstance(value, list) and step is None:
        return [_rewritten(each, steps, at + 1, rewrite) for each in value]
    return value


def _with_whole_numbers(value: t.Any) -> t.Any:
    """Rewrite all whole numbers in a value, at any depth, unless the encoder refuses such an int.
    Changes dicts in place.
    """
    if isinstance(value, dict):
        for key, each in value.items():
            value[key] = _with_whole_numbers(each)
    elif isinstance(value, list):
        return [_with_whole_numbers(each) for each in value]
    elif isinstance(value, decimal.Decimal) and value.adjusted() >= _ENCODED_DIGITS:
        return value
    return _whole(value)


def whole(number: decimal.Decimal) -> int | None:
    """Return a whole number as an int: 5 for 5.0. Return None for 5.5, and for a number with very
    many digits.
    """
    if number.adjusted() >= _MOST_DIGITS or number != number.to_integral_value():
        return None
    return int(number)


def _whole(value: t.Any) -> t.Any:
    if isinstance(value, float):
        # A larger float may have lost its last digits.
        return int(value) if value.is_integer() and abs(value) < _EXACT_FLOAT else value
    number = whole(value) if isinstance(value, decimal.Decimal) else None
    return value if number is None else number


def _canonical(value: t.Any) -> t.Any:
    if not isinstance(value, str):
        return value
    try:
        return to_base64(from_base64(value, "", "$"))
    except (InputError, binascii.Error):
        return value
