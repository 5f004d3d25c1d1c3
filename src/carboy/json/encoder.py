"""Encode JSON as `json.dumps` does, byte for byte, with faster encoders. Thread-safe.

msgspec encodes values that consist of JSON's own types; the C encoder of the standard library
encodes all others. The two encoders differ for three things: floats outside of [1e-4, 1e16),
non-ASCII characters, and DEL. Values that msgspec refuses (lone surrogates, keys that are not text,
integers with more digits than Python prints) are also passed to the C encoder, which raises the
same errors as `json.dumps`.

Two things go beyond `json.dumps`. Keys of dicts may be NumPy's numbers and texts, which
`json.dumps` refuses. NaN and infinity, which JSON cannot express, may be written as `null` or be an
error.
"""

from __future__ import annotations

import codecs
import json
import math
import re
import typing as t
from functools import partial
from json.encoder import (  # type: ignore[attr-defined]
    c_make_encoder,
    encode_basestring,
    encode_basestring_ascii,
)

from .arrays import UNKNOWN, to_plain

Default: t.TypeAlias = "t.Callable[[t.Any], t.Any]"
Encode: t.TypeAlias = "t.Callable[[t.Any], str]"
#: How NaN and infinity are encoded: as `NaN`, as `null`, or by raising a ValueError.
NotFinite = t.Literal["literal", "null", "error"]

COMPACT = (",", ":")
SPACED = (", ", ": ")

_SCALARS = frozenset({str, int, bool, float, type(None)})
_SCALARS_BUT_FLOAT = _SCALARS - {float}
# How many bytes the C encoder encodes in the time that it takes to escape one run of non-ASCII
# characters after msgspec has encoded them.
_BYTES_PER_ESCAPE = 80
_ESCAPE = "carboy.json"
_DEL = 0x7F
# Matches a string, which is the first group, or a number that is not finite.
_NOT_FINITE = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")|-?Infinity|NaN')
_all_str = frozenset({str}).issuperset
_join = "".join


def make_encode(
    default: Default | None,
    *,
    ensure_ascii: bool,
    sort_keys: bool,
    separators: tuple[str, str] | None = None,
    indent: int | None = None,
    not_finite: NotFinite = "literal",
) -> Encode:
    """Return a function that encodes JSON like `json.dumps` with the same options.

    Raises, when called:
        RecursionError: the value contains itself, or is nested too deeply.
        ValueError: `not_finite` is "error", and the value contains NaN or infinity.
    """
    encoder = json.JSONEncoder(
        default=default,
        ensure_ascii=ensure_ascii,
        sort_keys=sort_keys,
        separators=separators,
        indent=indent,
    )
    if default is not None:
        encoder.default = partial(_refusing_iterators, default)  # type: ignore[method-assign]
    if indent is not None or separators is None:
        return _accepting_more(encoder.encode, encoder, default, not_finite)
    by_stdlib = _accepting_more(_make_c_encode(encoder), encoder, default, not_finite)
    if separators != COMPACT:
        return by_stdlib
    return _make_msgspec_encode(by_stdlib, ensure_ascii=ensure_ascii, sort_keys=sort_keys)


def _make_c_encode(encoder: json.JSONEncoder) -> Encode:
    if c_make_encoder is None:  # pragma: no cover - an interpreter without the C encoder
        return encoder.encode
    # PERF: the encoder is built once. `json.dumps` builds it for each call, which takes 40 % of the
    # time of a small dict. The first argument (`markers`, a record of open containers) is None: if
    # threads shared it, one thread would mistake another's list for a circular reference. Circular
    # references raise RecursionError instead.
    encode = c_make_encoder(
        None,
        encoder.default,
        encode_basestring_ascii if encoder.ensure_ascii else encode_basestring,
        None,
        encoder.key_separator,
        encoder.item_separator,
        bool(encoder.sort_keys),
        False,
        encoder.allow_nan,
    )
    return lambda obj: _join(encode(obj, 0))


class _IteratorError(Exception):
    """A value has an iterator, whose items `default` may read only once."""


def _refusing_iterators(default: Default, obj: t.Any) -> t.Any:
    if hasattr(type(obj), "__next__"):
        raise _IteratorError
    return default(obj)


def _accepting_more(
    encode: Encode, encoder: json.JSONEncoder, default: Default | None, not_finite: NotFinite
) -> Encode:
    """Return a function that encodes like `encode`, but accepts NumPy's values as keys, and writes
    NaN and infinity as `not_finite` says.

    Keys are converted only after `encode` has refused them, and then `default` is called again; or
    before, if the value has an iterator, from which `default` would get no items again. All other
    values take no more time than with `encode`.
    """

    def encode_more(obj: t.Any) -> str:
        text: str | None = None
        try:
            text = encode(obj)
        except _IteratorError:
            pass
        except TypeError as exc:
            if "keys must be" not in str(exc):
                raise
        if text is None:
            text = encoder.encode(_with_plain_keys(obj, default or encoder.default))
        if not_finite == "literal" or ("NaN" not in text and "Infinity" not in text):
            return text
        return _without_not_finite(text, not_finite)

    return encode_more


def _without_not_finite(text: str, not_finite: NotFinite) -> str:
    """Return JSON with `null` instead of NaN and infinity. The text is changed, and not the value
    encoded again, because `default` may return another value at its second call: a list of the
    items of a generator, for example.

    Raises:
        ValueError: there is such a number, and `not_finite` is "error".
    """
    if not_finite == "error":
        _refuse_not_finite(json.loads(text, object_pairs_hook=_Pairs), "$")
        return text
    return _NOT_FINITE.sub(lambda found: found[1] or "null", text)


class _Pairs(list[tuple[str, t.Any]]):
    """The members of an object in JSON, of which several may have the same key."""


def _refuse_not_finite(value: t.Any, path: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(
            f"The value at {path} is {value!r}, which JSON cannot express. Replace it before it is"
            " returned, or set app.config['JSON_NAN'] = 'null'."
        )
    if isinstance(value, _Pairs):
        for key, inner in value:
            _refuse_not_finite(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            _refuse_not_finite(inner, f"{path}[{i}]")


def _with_plain_keys(value: t.Any, default: Default) -> t.Any:
    """Return a copy of a value in which NumPy's values as keys are Python's."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, dict):
        return {_key(key): _with_plain_keys(inner, default) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_plain_keys(inner, default) for inner in value]
    return _with_plain_keys(default(value), default)


def _key(key: t.Any) -> t.Any:
    if key is None or isinstance(key, (str, int, float)):
        return key
    plain = to_plain(key)
    return key if plain is UNKNOWN else plain


def _make_msgspec_encode(by_stdlib: Encode, *, ensure_ascii: bool, sort_keys: bool) -> Encode:
    # msgspec is imported when the first encoder is made, because it would add a tenth to the time
    # of `import carboy`.
    from msgspec.json import Encoder

    encode = Encoder(order="sorted" if sort_keys else None).encode
    # With `order="sorted"`, msgspec itself refuses keys that are not text. Without sorting,
    # `_is_encoded_equally` must check the keys.
    any_keys = not sort_keys

    def compact(obj: t.Any) -> str:
        # PERF: checking each value and encoding with msgspec take 1/2 (a dict of two) to 1/8
        # (floats) of the C encoder's time. If the check fails, or much text is non-ASCII, the time
        # is 1/5 more than the C encoder's.
        if not _is_encoded_equally(obj, any_keys):
            return by_stdlib(obj)
        try:
            text = encode(obj)
        except (TypeError, ValueError, RecursionError):
            return by_stdlib(obj)
        if not ensure_ascii:
            return text.decode()
        # PERF: searching bytes for an int takes 1/8 of the time of searching them for bytes
        if _DEL in text:
            text = text.replace(b"\x7f", b"\\u007f")
        if text.isascii():
            return text.decode("ascii")
        characters = text.decode()
        if (len(text) - len(characters)) * _BYTES_PER_ESCAPE > len(text):
            return by_stdlib(obj)
        return characters.encode("ascii", _ESCAPE).decode("ascii")

    return compact


def _is_encoded_equally(value: t.Any, any_keys: bool) -> bool:
    """Return whether msgspec and `json` write the same JSON for `value`, except for escaped
    characters.

    Returns False for values of subclasses, which may be encoded differently.
    """
    kind = type(value)
    if kind is dict:
        if any_keys and not _all_str(map(type, value)):
            return False
        value = value.values()
    elif kind is not list and kind is not tuple:
        if kind not in _SCALARS:
            return False
        value = (value,)
    for inner in value:
        kind = type(inner)
        if kind is float:
            # Within [1e-4, 1e16) both encoders write the fewest digits that identify the number,
            # without an exponent. PERF: two single comparisons take 2/3 of the time of a chained
            # one.
            if inner >= 1e-4:
                if inner < 1e16:
                    continue
                return False
            if not (inner == 0.0 or (inner <= -1e-4 and inner > -1e16)):
                return False
        elif kind not in _SCALARS_BUT_FLOAT and not _is_encoded_equally(inner, any_keys):
            return False
    return True


def _escape_run(error: UnicodeError) -> tuple[str, int]:
    """Escape a run of non-ASCII characters. This is an error handler for `str.encode`."""
    assert isinstance(error, UnicodeEncodeError)
    # Non-ASCII characters of JSON are always inside strings, where escapes may replace them.
    return encode_basestring_ascii(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(_ESCAPE, _escape_run)
