"""What the pages of a Parquet file would be when unpacked, before anything is.

The footer says so too, but pyarrow does not believe it: it fills what the header of each page says.
So the headers are read here, which stand before each page, in Thrift's compact protocol.

One encoding is refused: in DELTA_BYTE_ARRAY a text of a megabyte takes two bytes when it is said
again, which no header tells. Writers use it only when told to.

Source: https://github.com/apache/parquet-format (PageHeader in parquet.thrift), and
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

import typing as t

_DELTA_BYTE_ARRAY = 7
# A header is flat but for statistics and, in each kind of page, one struct.
_MAX_DEPTH = 8
_BOOLEANS = (1, 2)  # the value is in the type itself
_BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 3, 7, 8, 9, 10, 11, 12
_INTEGERS = (4, 5, 6)

Fields: t.TypeAlias = "dict[int, int | Fields]"


def unpacked_bytes(data: bytes, start: int, length: int) -> int:
    """Bytes of the pages of one column chunk when unpacked.

    Args:
        data: the file.
        start: of the first page.
        length: of all pages and their headers.

    Raises:
        ValueError: a header is damaged, or the encoding is refused.
    """
    end = start + length
    if not 0 <= start <= end <= len(data):
        raise ValueError("a column is not inside the file")
    total, at = 0, start
    while at < end:
        reader = _Reader(data, at, end)
        fields = reader.struct()
        unpacked, packed = fields.get(2), fields.get(3)
        if (
            not isinstance(unpacked, int)
            or not isinstance(packed, int)
            or min(unpacked, packed) < 0
        ):
            raise ValueError("a damaged page header")
        for kind, field in ((5, 2), (8, 4)):  # the encoding, in both kinds of data pages
            page = fields.get(kind)
            if isinstance(page, dict) and page.get(field) == _DELTA_BYTE_ARRAY:
                raise ValueError("the encoding DELTA_BYTE_ARRAY is not read here")
        total += unpacked
        at = reader.at + packed
    return total


class _Reader:
    """The values of one struct; whole numbers and structs are kept, all else is skipped."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self._data = data
        self._end = end
        self.at = at

    def struct(self, depth: int = 0) -> Fields:
        if depth > _MAX_DEPTH:
            raise ValueError("a damaged page header")
        fields: Fields = {}
        field = 0
        while head := self._byte():
            kind, step = head & 15, head >> 4
            field = field + step if step else self._zigzag()
            value = self._value(kind, depth)
            if value is not None:
                fields[field] = value
        return fields

    def _value(self, kind: int, depth: int) -> int | Fields | None:
        if kind in _INTEGERS:
            return self._zigzag()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind == _BINARY:
            self._skip(self._varint())
        elif kind in (_LIST, _SET):
            head = self._byte()
            self._skip_values(head >> 4 if head >> 4 < 15 else self._varint(), (head & 15,), depth)
        elif kind == _MAP:
            count = self._varint()
            kinds = self._byte() if count else 0
            self._skip_values(count, (kinds >> 4, kinds & 15), depth)
        elif kind in (_BYTE, _DOUBLE):
            self._skip(1 if kind == _BYTE else 8)
        elif kind not in _BOOLEANS:
            raise ValueError("a damaged page header")
        return None

    def _skip_values(self, count: int, kinds: tuple[int, ...], depth: int) -> None:
        if count > self._end - self.at:  # each takes a byte at least
            raise ValueError("a damaged page header")
        for _ in range(count):
            for kind in kinds:
                if kind in _BOOLEANS:  # in a list they have a byte
                    self._skip(1)
                else:
                    self._value(kind, depth + 1)

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > self._end:
            raise ValueError("a damaged page header")

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
        raise ValueError("a damaged page header")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
