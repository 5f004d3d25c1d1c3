"""Bound the memory of a body by the number of its values, before the body is decoded or validated.

An empty list takes 1 byte of MessagePack or 2 of JSON, and 64 bytes of memory when it is decoded.
So a body of 32 MiB may become 2 GiB, and decoding it takes the GIL from all other clients for
seconds. A limit of the number of bytes alone would have to be too low for arrays of numbers.

For each value that pydantic refuses, it stores a copy of all keys above the value. So a body of 300
kB, a long key with many values, may take gigabytes.
"""

from __future__ import annotations

import re
import typing as t

from ..errors import InputTooLargeError

# A body of any length may have as many lists and objects, which take 80 MiB.
_FEW = 2**20
# A longer body must have at least as many bytes for each list or object. A list of three numbers of
# one digit has 8.
_BYTES_EACH = 8
#: JSON of at most this length is not checked, because a list or object takes two bytes.
UNCHECKED_BYTES: t.Final = 2 * _FEW
# Strings are searched in parts of a text, so that little memory is needed.
_PART_BYTES = 2**20
# The length of a key times the number of values must be at most this, unless the key is short.
_MOST_REPEATED_BYTES = 2**28
_SHORT_KEY_BYTES = 256
# A string that is longer than a short key, and has a colon after it. Its second quote is not part
# of the match, so that the next match may begin with it.
_LONG_KEY = re.compile(rb'"([^"]{257,})(?="\s*:)')
#: In JSON of this length, which pydantic validates, no key is repeated so often.
UNCHECKED_KEYS_BYTES: t.Final = 2**15


def check_json(*texts: bytes, all_values: bool = False) -> None:
    """Refuse JSON that has very many lists and objects for its length: 413.

    Args:
        texts: the JSON of one request; usually its body, the only one.
        all_values: whether pydantic validates the values. Numbers, texts and the like count as
            well then, because pydantic creates an error of 240 bytes for each value that does not
            fit; and long keys above many values are refused.
    """
    for text in texts if all_values else ():
        check_keys(text)
    size = sum(map(len, texts))
    if size <= UNCHECKED_BYTES:
        return
    most, counted = _most(size), b"[{," if all_values else b"[{"
    if sum(text.count(each) for text in texts for each in counted) <= most:
        return
    if sum(count_outside_strings(text, counted) for text in texts) > most:
        raise _too_many(most, all_values=all_values)


def check_number(values: int, size: int) -> None:
    """Do what `check_json` does with `all_values`, for values that were counted.

    Args:
        values: how many there are.
        size: the length of the body in bytes.
    """
    if values > (most := _most(size)):
        raise _too_many(most, all_values=True, hint="Send the input in parts.")


def check_keys(data: bytes) -> None:
    """Refuse JSON for pydantic that has a long key and many values: 413."""
    if len(data) <= UNCHECKED_KEYS_BYTES:
        return
    most = _longest_key(data.count(b","))
    text = data.replace(rb"\\", b"__").replace(rb"\"", b"__")
    quotes = counted = 0
    for found in _LONG_KEY.finditer(text):
        # The found text may also lie between two strings, the second of which begins with a colon.
        quotes += text.count(b'"', counted, found.start())
        counted = found.start()
        if len(found[1]) > most and not quotes % 2:
            raise _too_long_key(most)


def check_plain_keys(value: t.Any, size: int) -> None:
    """Do what `check_keys` does, for values that were decoded from `size` bytes."""
    if size <= UNCHECKED_KEYS_BYTES:
        return
    longest = count = 0
    level = [value]
    while level:
        count += len(level)
        inner: list[t.Any] = []
        for each in level:
            if isinstance(each, dict):
                keys = [len(key) for key in each if isinstance(key, (str, bytes))]
                longest = max(longest, *keys, 0)
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        level = inner
    most = _longest_key(count)
    if longest > most:
        raise _too_long_key(most)


def _longest_key(values: int) -> int:
    return max(_SHORT_KEY_BYTES, _MOST_REPEATED_BYTES // (values + 1))


def _too_long_key(most: int) -> InputTooLargeError:
    return InputTooLargeError.at(
        "$", expected=f"keys of at most {most:,} bytes for so many values", got="a longer one"
    )


def check_msgpack(data: bytes, *, all_values: bool = False) -> None:
    """Refuse MessagePack that has very many lists and objects for its length: 413.

    Bytes within numbers and texts may look like lists. If there are many such bytes, all values are
    counted.
    """
    if len(data) <= _FEW:
        return
    most = _most(len(data))
    may_have_many = all_values or len(data.translate(None, _NO_CONTAINERS)) > most
    if may_have_many and not _has_fewer_values(data, most):
        raise _too_many(most, all_values=all_values)


def count_outside_strings(data: bytes, characters: bytes) -> int:
    r"""Count characters such as brackets in JSON, except within strings.

    Takes linear time for any text. A regular expression for strings takes quadratic time if the
    text is a sequence of `"\`.
    """
    plain = data.replace(rb"\\", b"").replace(rb"\"", b"")
    found = within_string = 0
    for start in range(0, len(plain), _PART_BYTES):
        parts = plain[start : start + _PART_BYTES].split(b'"')
        outside = b"".join(parts[within_string::2])
        found += sum(map(outside.count, characters))
        within_string ^= (len(parts) - 1) % 2
    return found


def _most(size: int) -> int:
    return max(_FEW, size // _BYTES_EACH)


def _too_many(
    most: int, *, all_values: bool, hint: str = "Send the input in parts, or arrays as .npy files."
) -> InputTooLargeError:
    what = "values" if all_values else "lists and objects"
    return InputTooLargeError.at(
        "$",
        expected=f"at most {most:,} {what} in a body of this length",
        got="more",
        hint=hint,
    )


# --- MessagePack ---------------------------------------------------------------------------------
# Source: https://github.com/msgpack/msgpack/blob/master/spec.md


def _sizes() -> list[int]:
    """Return the length of a value by its first byte, without the elements of a list or object. If
    it is negative, the length follows in as many bytes.
    """
    sizes = [1] * 256
    for first in range(0xA0, 0xC0):  # short texts
        sizes[first] = 1 + first - 0xA0
    for first, widths in (
        (0xC4, (-1, -2, -4)),  # bytes
        (0xC7, (-1, -2, -4)),  # extensions
        (0xCA, (5, 9)),  # floats
        (0xCC, (2, 3, 5, 9)),  # unsigned integers
        (0xD0, (2, 3, 5, 9)),  # integers
        (0xD4, (3, 4, 6, 10, 18)),  # short extensions
        (0xD9, (-1, -2, -4)),  # texts
        (0xDC, (3, 5)),  # lists
        (0xDE, (3, 5)),  # objects
    ):
        sizes[first : first + len(widths)] = widths
    return sizes


_SIZES: t.Final = _sizes()
_EXTENSIONS: t.Final = range(0xC7, 0xCA)
# All bytes with which neither a list nor an object begins.
_NO_CONTAINERS: t.Final = bytes({*range(256)} - {*range(0x80, 0xA0), *range(0xDC, 0xE0)})


def _has_fewer_values(data: bytes, most: int) -> bool:
    """Return whether MessagePack has at most `most` values."""
    at, end, sizes = 0, len(data), _SIZES
    for _ in range(most):
        if at >= end:
            return True
        first = data[at]
        size = sizes[first]
        if size < 0:
            length = int.from_bytes(data[at + 1 : at + 1 - size], "big")
            size = 1 - size + length + (first in _EXTENSIONS)
        at += size
    return at >= end
