"""Read JSON again if msgspec has refused a value that is right, but written in an unusual way.

    5.0 for an int     JSON has one type of numbers, and for JSON Schema 5.0 is an integer; pandas
                       writes it for 5 if another value of the column is missing
    base64 of bytes    in lines, without padding, or in the alphabet for URLs

This runs only for JSON that msgspec has refused. The error of msgspec names the path of one refused
value, such as `$.rows[0].count`. This module rewrites the values at that path in all rows, and
decodes the JSON again, until msgspec accepts it or refuses a value that cannot be rewritten. So the
number of decodings is limited by the number of such paths in the type, not by the number of values.

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

T = t.TypeVar("T")
_REFUSED = re.compile(
    r"(?:Expected `(?P<types>[^`]*)`, got `float`|(?P<base64>Invalid base64 encoded string))"
    r"(?: - at `\$(?P<path>[^`]*)`)?"
)
_STEP = re.compile(r"\.(?P<key>[^.\[]+)|\[(?:\d+|\.\.\.)\]")
# Whole numbers with more digits are not converted, because that takes quadratic time.
_MOST_DIGITS = 40

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
    seen: list[list[str | None]] = []
    value: t.Any = msgspec.UNSET
    try:
        while True:
            found = _place(error)
            if found is None or found[0] in seen:
                raise error
            steps, rewrite = found
            seen.append(steps)
            try:
                value = _decode(data) if value is msgspec.UNSET else value
                value = _rewritten(value, steps, rewrite)
                again = _encode(value)
            except (msgspec.DecodeError, OverflowError, RecursionError):
                raise error from None
            try:
                return decode(again)
            except msgspec.ValidationError as next_error:
                error = next_error
    finally:
        del error  # break a reference cycle: the error's traceback refers to this frame


def _place(error: msgspec.DecodeError) -> tuple[list[str | None], Rewrite] | None:
    """Return where the refused value is, and a function that rewrites it; None if it cannot be
    rewritten.

    The place is a list of keys, such as `["rows", None, "count"]`, in which None stands for any key
    or any index.
    """
    refused = _REFUSED.fullmatch(str(error))
    if refused is None:
        return None
    is_base64 = bool(refused["base64"])
    if not is_base64 and "int" not in refused["types"].split(" | "):
        return None
    steps = [step["key"] for step in _STEP.finditer(refused["path"] or "")]
    return steps, _canonical if is_base64 else _whole


def _rewritten(value: t.Any, steps: list[str | None], rewrite: Rewrite) -> t.Any:
    if not steps:
        return rewrite(value)
    step, *rest = steps
    if isinstance(value, dict):
        for key in value if step is None else {step} & value.keys():
            value[key] = _rewritten(value[key], rest, rewrite)
    elif isinstance(value, list) and step is None:
        return [_rewritten(each, rest, rewrite) for each in value]
    return value


def whole(number: decimal.Decimal) -> int | None:
    """Return a whole number as an int: 5 for 5.0. Return None for 5.5, and for a number with very
    many digits.
    """
    if number.adjusted() >= _MOST_DIGITS or number != number.to_integral_value():
        return None
    return int(number)


def _whole(value: t.Any) -> t.Any:
    number = whole(value) if isinstance(value, decimal.Decimal) else None
    return value if number is None else number


def _canonical(value: t.Any) -> t.Any:
    if not isinstance(value, str):
        return value
    try:
        return to_base64(from_base64(value, "", "$"))
    except (InputError, binascii.Error):
        return value
