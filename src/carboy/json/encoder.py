"""The text of `json.dumps`, byte for byte, by quicker ways where they lead to the same bytes.

Two ways: msgspec for what consists of JSON's own types, and the C encoder of the standard library
for all else. msgspec spells three things in another way than the standard library (floats outside
of [1e-4, 1e16), characters beyond ASCII, and DEL); they are put right here. What msgspec refuses
(lone surrogates, integers of more digits than Python prints) goes to the C encoder, whose errors
are those a user knows. Thread-safe.
"""

from __future__ import annotations

import codecs
import json
import typing as t
from json.encoder import c_make_encoder, encode_basestring, encode_basestring_ascii

Default: t.TypeAlias = "t.Callable[[t.Any], t.Any]"
Encode: t.TypeAlias = "t.Callable[[t.Any], str]"

COMPACT = (",", ":")
SPACED = (", ", ": ")

# What `_scan` finds: nothing but JSON's own types; these, with a float that msgspec would spell
# otherwise; something else.
_PLAIN, _ODD_FLOAT, _OTHER = 0, 1, 2

_SCALARS = frozenset({str, int, bool, type(None)})
_all_str = frozenset({str}).issuperset
_join = "".join
_ESCAPE = "carboy.json"


def make_encode(
    default: Default | None, *, ensure_ascii: bool, sort_keys: bool, separators: tuple[str, str]
) -> Encode:
    """Return a function that does `json.dumps` with these options.

    Raises, when called:
        RecursionError: the value contains itself, or is too deep.
    """
    by_stdlib = _make_c_encode(
        default, ensure_ascii=ensure_ascii, sort_keys=sort_keys, separators=separators
    )
    if separators != COMPACT:
        return by_stdlib
    return _make_msgspec_encode(by_stdlib, ensure_ascii=ensure_ascii, sort_keys=sort_keys)


def _make_c_encode(
    default: Default | None, *, ensure_ascii: bool, sort_keys: bool, separators: tuple[str, str]
) -> Encode:
    item, key = separators
    encoder = json.JSONEncoder(
        default=default, ensure_ascii=ensure_ascii, sort_keys=sort_keys, separators=separators
    )
    if c_make_encoder is None:  # pragma: no cover - an interpreter without the C encoder
        return encoder.encode
    # PERF: built once, where `json.dumps` builds it for each call: 40 % of the time of a small dict.
    # Without `markers`, its record of open containers: that dict would be shared by threads, of
    # which one would then take the other's list for a circle. A circle ends in RecursionError.
    encode = c_make_encoder(
        None,
        encoder.default,
        encode_basestring_ascii if ensure_ascii else encode_basestring,
        None,
        key,
        item,
        bool(sort_keys),
        False,
        True,
    )
    return lambda obj: _join(encode(obj, 0))


def _make_msgspec_encode(by_stdlib: Encode, *, ensure_ascii: bool, sort_keys: bool) -> Encode:
    # Imported here, at the first JSON written: msgspec would be a tenth of `import carboy`.
    import msgspec

    encode = msgspec.json.Encoder(order="sorted" if sort_keys else None).encode
    raw = msgspec.Raw

    def compact(obj: t.Any) -> str:
        # PERF: looking at each value first and then writing with msgspec takes 2/3 (a dict of two)
        # to 1/8 (floats) of the C encoder's time.
        found = _scan(obj)
        if found == _OTHER:
            return by_stdlib(obj)
        try:
            text = encode(_respell(obj, raw) if found else obj)
        except (ValueError, RecursionError):
            return by_stdlib(obj)
        if not ensure_ascii:
            return text.decode()
        if not text.isascii():
            text = text.decode().encode("ascii", _ESCAPE)
        if b"\x7f" in text:
            text = text.replace(b"\x7f", b"\\u007f")
        return text.decode("ascii")

    return compact


def _scan(value: t.Any) -> int:
    """Look at the exact types in `value`; subclasses may have ways of their own to be written."""
    kind = type(value)
    if kind is dict:
        if not _all_str(map(type, value)):
            return _OTHER
        value = value.values()
    elif kind is not list and kind is not tuple:
        if kind is float:
            return _PLAIN if _is_spelt_alike(value) else _ODD_FLOAT
        return _PLAIN if kind in _SCALARS else _OTHER
    worst = _PLAIN
    for inner in value:
        kind = type(inner)
        if kind in _SCALARS:
            continue
        if kind is float:
            # PERF: `_is_spelt_alike`, without the call.
            if not (1e-4 <= inner < 1e16 or -1e16 < inner <= -1e-4 or inner == 0.0):
                worst = _ODD_FLOAT
        elif found := _scan(inner):
            if found == _OTHER:
                return _OTHER
            worst = _ODD_FLOAT
    return worst


def _is_spelt_alike(number: float) -> bool:
    """Whether both write `number` without an exponent; then both write the fewest digits."""
    return 1e-4 <= number < 1e16 or -1e16 < number <= -1e-4 or number == 0.0


def _respell(value: t.Any, raw: t.Callable[[bytes], t.Any]) -> t.Any:
    """Copy what `_scan` found plain, with odd floats as the text that Python writes."""
    kind = type(value)
    if kind is float:
        return value if _is_spelt_alike(value) else raw(json.dumps(value).encode())
    if kind is dict:
        return {key: _respell(inner, raw) for key, inner in value.items()}
    if kind is list or kind is tuple:
        return [_respell(inner, raw) for inner in value]
    return value


def _escape_run(error: UnicodeError) -> tuple[str, int]:
    """Codec error handler: the escapes for a run of characters beyond ASCII."""
    assert isinstance(error, UnicodeEncodeError)
    # In JSON such characters stand only within strings, so escapes may take their place.
    return encode_basestring_ascii(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(_ESCAPE, _escape_run)
