"""Compute the unpacked size of a Parquet file before pyarrow reads it.

The footer declares sizes too, but pyarrow ignores them: it allocates what the header of each page
declares. Page headers precede the pages, in Thrift's compact protocol. The footer is also parsed
here, because pyarrow ends the process if the metadata of a column is damaged.

The encoding DELTA_BYTE_ARRAY is refused: two bytes can repeat a text of a megabyte, and no header
declares the resulting size. Programs write this encoding only if asked to.

Source: https://github.com/apache/parquet-format (FileMetaData, PageHeader in parquet.thrift), and
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc

_DELTA_BYTE_ARRAY = 7
# Maximum nesting of structs. Valid page headers nest statistics, and one struct for each type of
# page.
_MAX_DEPTH = 8
# In Thrift, a boolean field consists of its type code, which is 1 for true and 2 for false.
_BOOLEANS = (1, 2)
_BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 3, 7, 8, 9, 10, 11, 12
_INTEGERS = (4, 5, 6)

# Maximum size of a footer. Each column adds about 400 bytes; the metadata of 4000 columns take 0.16
# s to parse in Python. The worst footer of this size, millions of empty structs, takes 0.9 s and
# 280 MB.
_MAX_FOOTER_BYTES = 4 * 1024 * 1024

# How many values the headers of all pages may have: this number, and one more for each
# `_BYTES_PER_VALUE` of the file. A usual header has 12; reading a value takes 0.3 us. A header
# counts as `_VALUES_PER_HEADER` more, because the shortest one, of two values, takes 3 us.
_FREE_VALUES = 1_000_000
_BYTES_PER_VALUE = 32
_VALUES_PER_HEADER = 8
_MAX_HEADER_VALUES = 1000

Fields: t.TypeAlias = "dict[int, int | Fields | list[Fields]]"


class Sizes(t.NamedTuple):
    """The size that a table will have when it is unpacked: rows, columns and bytes."""

    rows: int
    columns: int
    bytes: int


def sizes(data: bytes) -> Sizes:
    """Return the unpacked size that a file declares in its footer and page headers.

    Raises:
        ValueError: the file is damaged, or a size is not declared.
    """
    length = int.from_bytes(data[-8:-4], "little")
    start = len(data) - 8 - length
    if data[-4:] != b"PAR1" or start < 4:
        raise ValueError("it has no footer")
    if length > _MAX_FOOTER_BYTES:
        raise ValueError(f"its footer has {length:,} bytes; at most {_MAX_FOOTER_BYTES:,} are read")
    footer = _Reader(data, start, len(data) - 8).struct()
    groups = _structs(footer, 4)
    rows = sum(_number(group, 3) for group in groups)
    chunks = [_struct(chunk, 3) for group in groups for chunk in _structs(group, 1)]
    total = values = 0
    left = len(data)
    for chunk in chunks:
        # The pages begin at the dictionary page, if there is one, because it precedes the data
        # pages that use it.
        offsets = [offset for offset in (_number(chunk, 9), chunk.get(11)) if offset]
        begin = min(offset for offset in offsets if isinstance(offset, int))
        left -= _number(chunk, 7)
        if left < 0:
            raise ValueError("several columns have the same pages")
        for page in pages(data, begin, _number(chunk, 7)):
            total += page.bytes
            values += page.values + _VALUES_PER_HEADER
            if values > _FREE_VALUES + len(data) // _BYTES_PER_VALUE:
                raise ValueError("it consists of too many pages")
    columns = max((len(_structs(group, 1)) for group in groups), default=0)
    return Sizes(max(rows, _number(footer, 3)), columns, total)


def _number(fields: Fields, field: int) -> int:
    found = fields.get(field)
    if not isinstance(found, int) or found < 0:
        raise ValueError("damaged metadata")
    return found


def _struct(fields: Fields, field: int) -> Fields:
    found = fields.get(field)
    if not isinstance(found, dict):
        raise ValueError("damaged metadata")  # noqa: TRY004 - of the file, not of a caller
    return found


def _structs(fields: Fields, field: int) -> list[Fields]:
    found = fields.get(field, [])
    if not isinstance(found, list):
        raise ValueError("damaged metadata")  # noqa: TRY004 - as above
    return found


class DataPage(t.NamedTuple):
    """The unpacked size of a page in bytes, and the number of values in its header."""

    bytes: int
    values: int


def pages(data: bytes, start: int, length: int) -> cabc.Iterator[DataPage]:
    """Yield the pages of one column chunk.

    Args:
        data: the file.
        start: the offset of the first page.
        length: bytes of all pages, with their headers.

    Raises:
        ValueError: a header is damaged, or the encoding is not supported.
    """
    end = start + length
    if not 0 <= start <= end <= len(data):
        raise ValueError("a column is not inside the file")
    at = start
    while at < end:
        reader = _Reader(data, at, end, max_values=_MAX_HEADER_VALUES)
        fields = reader.struct()
        unpacked, packed = fields.get(2), fields.get(3)
        if (
            not isinstance(unpacked, int)
            or not isinstance(packed, int)
            or min(unpacked, packed) < 0
        ):
            raise ValueError("damaged metadata")
        # In Thrift's `PageHeader`, field 5 is the header of a data page, whose field 2 is the
        # encoding. Field 8 is the header of a data page of version 2, whose field 4 is the
        # encoding.
        for kind, field in ((5, 2), (8, 4)):
            page = fields.get(kind)
            if isinstance(page, dict) and page.get(field) == _DELTA_BYTE_ARRAY:
                raise ValueError("the encoding DELTA_BYTE_ARRAY is not read here")
        yield DataPage(unpacked, reader.values)
        at = reader.at + packed


class _Reader:
    """Parses Thrift structs. Returns whole numbers, structs and lists of structs; skips other
    fields.
    """

    def __init__(self, data: bytes, at: int, end: int, *, max_values: int | None = None) -> None:
        self._data = data
        self._end = end
        self._max_values = max_values
        self.at = at
        #: How many values were read, also those inside lists and structs.
        self.values = 0

    def struct(self, depth: int = 0) -> Fields:
        if depth > _MAX_DEPTH:
            raise ValueError("damaged metadata")
        fields: Fields = {}
        field = 0
        while head := self._byte():
            kind, step = head & 15, head >> 4
            field = field + step if step else self._zigzag()
            value = self._value(kind, depth)
            if value is not None:
                fields[field] = value
        return fields

    def _value(self, kind: int, depth: int) -> int | Fields | list[Fields] | None:
        self._count(1)
        if kind in _INTEGERS:
            return self._zigzag()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind == _BINARY:
            self._skip(self._varint())
        elif kind in (_LIST, _SET):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            if head & 15 == _STRUCT and count <= self._end - self.at:
                self._count(count)
                return [self.struct(depth + 1) for _ in range(count)]
            self._skip_values(count, (head & 15,), depth)
        elif kind == _MAP:
            count = self._varint()
            kinds = self._byte() if count else 0
            self._skip_values(count, (kinds >> 4, kinds & 15), depth)
        elif kind in (_BYTE, _DOUBLE):
            self._skip(1 if kind == _BYTE else 8)
        elif kind not in _BOOLEANS:
            raise ValueError("damaged metadata")
        return None

    def _skip_values(self, count: int, kinds: tuple[int, ...], depth: int) -> None:
        # Each value of a list takes at least one byte, so a count that exceeds the remaining bytes
        # is wrong.
        if count > self._end - self.at:
            raise ValueError("damaged metadata")
        self._count(count)
        for _ in range(count):
            for kind in kinds:
                if kind in _BOOLEANS:  # in a list, unlike in a field, a boolean takes one byte
                    self._skip(1)
                else:
                    self._value(kind, depth + 1)

    def _count(self, values: int) -> None:
        self.values += values
        if self._max_values is not None and self.values > self._max_values:
            raise ValueError("it has too many values")

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > self._end:
            raise ValueError("damaged metadata")

    def _byte(self) -> int:
        self._skip(1)
        return self._data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while shift < 64:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise ValueError("damaged metadata")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
