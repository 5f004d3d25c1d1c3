"""Compute the unpacked size of an Arrow stream before it is unpacked.

Each buffer of a compressed record batch begins with its unpacked length (8 bytes). pyarrow
allocates and fills that many bytes, so 32 MB of zstd can become a terabyte. The metadata of
messages are encoded as flatbuffers; this module parses the four structures that it needs.

Source: https://arrow.apache.org/docs/format/Columnar.html ("Compression", "Encapsulated message
format"), and the schemas Message.fbs and https://flatbuffers.dev/internals/.
"""

from __future__ import annotations

import struct
import typing as t

_DICTIONARY_BATCH = 2
_RECORD_BATCH = 3
_UNCOMPRESSED = -1  # the length that says that a buffer is not compressed


def unpacked_bytes(metadata: bytes | memoryview, body: bytes | memoryview) -> int:
    """Return the unpacked size of one message in bytes; 0 for a message without buffers.

    Args:
        metadata: the flatbuffer of the message.
        body: the buffers of the message.

    Raises:
        ValueError: the metadata is damaged.
    """
    try:
        return _unpacked(memoryview(metadata).cast("B"), memoryview(body).cast("B"))
    except (struct.error, IndexError) as exc:
        raise ValueError("damaged metadata") from exc


def _unpacked(metadata: memoryview, body: memoryview) -> int:
    message = _Table(metadata, _u32(metadata, 0))
    kind = message.byte(1)
    batch = message.table(2)
    if kind == _DICTIONARY_BATCH and batch is not None:
        batch = batch.table(1)
    elif kind != _RECORD_BATCH:
        return 0
    if batch is None:
        return 0
    packed = batch.table(3) is not None
    total = 0
    for offset, length in batch.pairs(2):
        if length < 0 or offset < 0 or offset + length > len(body):
            raise ValueError("damaged metadata")
        if packed and length:
            said = t.cast("int", struct.unpack_from("<q", body, offset)[0])
            if said < _UNCOMPRESSED:
                raise ValueError("damaged metadata")
            total += length - 8 if said == _UNCOMPRESSED else said
        else:
            total += length
    return total


class _Table:
    """A table (a structure with fields) of a flatbuffer. Fields are addressed by their numbers in
    the schema.
    """

    def __init__(self, data: memoryview, at: int) -> None:
        self._data = data
        self._at = at
        self._fields = at - t.cast("int", struct.unpack_from("<i", data, at)[0])
        if self._fields < 0:
            raise ValueError("damaged metadata")

    def _place(self, field: int) -> int | None:
        slot = 4 + 2 * field
        if slot >= struct.unpack_from("<H", self._data, self._fields)[0]:
            return None
        offset = t.cast("int", struct.unpack_from("<H", self._data, self._fields + slot)[0])
        return self._at + offset if offset else None

    def byte(self, field: int) -> int:
        place = self._place(field)
        return 0 if place is None else self._data[place]

    def table(self, field: int) -> _Table | None:
        place = self._place(field)
        return None if place is None else _Table(self._data, place + _u32(self._data, place))

    def pairs(self, field: int) -> list[tuple[int, int]]:
        """Return a field that is a vector of structs, each of two 64-bit numbers."""
        place = self._place(field)
        if place is None:
            return []
        start = place + _u32(self._data, place)
        count = _u32(self._data, start)
        if start + 4 + 16 * count > len(self._data):
            raise ValueError("damaged metadata")
        numbers = struct.unpack_from(f"<{2 * count}q", self._data, start + 4)
        return list(zip(numbers[::2], numbers[1::2], strict=True))


def _u32(data: memoryview, at: int) -> int:
    return t.cast("int", struct.unpack_from("<I", data, at)[0])
