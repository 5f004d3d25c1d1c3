"""Batches and results as messages between a client and a replica.

`BatchFormat` has what both must know of a model; each thread, or connection, uses a `BatchReader`
or a `ResultReader` of its own.
"""

from __future__ import annotations

import typing as t

import msgspec

from carboy.contract.packedvalues import (
    ColumnReader,
    PackedColumn,
    Packer,
    UnpackableError,
    misfit_error,
    wants_arrays,
)
from carboy.contract.values.tensor import is_plain_dtype
from carboy.errors import AnswerError
from carboy.json.arrays import to_plain

from ..queue.calls import ColumnBatch, rows
from .frames import ConnectionLost, split
from .packedfailures import PackedFailure, pack_failure, unpack_failure

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from carboy.contract.operation import Operation

    from ..queue.calls import Arguments


class _Batch(msgspec.Struct, array_like=True):
    size: int
    columns: dict[str, PackedColumn]


class _Results(msgspec.Struct, array_like=True):
    """The results of a batch: those of the predictions that have succeeded as a column, and the
    others by their positions.
    """

    column: PackedColumn
    failures: dict[int, PackedFailure]


_decode_batch = msgspec.msgpack.Decoder(tuple[list[int], _Batch]).decode
_decode_results = msgspec.msgpack.Decoder(tuple[list[int], _Results]).decode
_decode_failure = msgspec.msgpack.Decoder(PackedFailure).decode
_encode = msgspec.msgpack.Encoder().encode


class BatchFormat(t.NamedTuple):
    """The types of one prediction.

    Attributes:
        parameters: the annotation of each parameter, by name.
        item: the annotation of a result, or of an item if `predict` yields.
    """

    parameters: dict[str, t.Any]
    item: t.Any

    @classmethod
    def of(cls, operation: Operation) -> BatchFormat:
        body = operation.body
        parameters = () if body is None else body.parameters
        return cls({each.name: each.annotation for each in parameters}, operation.answer.annotation)


def pack_batch(batch: cabc.Sequence[Arguments]) -> tuple[bytes, Packer]:
    """Return a batch as MessagePack, and the packer that has its buffers. All predictions have the
    same arguments.

    Raises:
        UnpackableError: an argument cannot be sent.
    """
    packer = Packer()
    columns = {name: packer.column([arguments[name] for arguments in batch]) for name in batch[0]}
    return packer.message(_Batch(len(batch), columns)), packer


class BatchReader:
    """Reads batches in the process of a replica."""

    def __init__(self, form: BatchFormat) -> None:
        self._readers = {name: ColumnReader(kind) for name, kind in form.parameters.items()}

    def read(self, meta: bytes, region: memoryview) -> tuple[ColumnBatch, list[memoryview]]:
        """Return a batch, whose values may refer to the buffers that are returned with it.

        Raises:
            ConnectionLost: the message is not a batch.
            InputError: an argument does not fit its annotation.
        """
        try:
            lengths, content = _decode_batch(meta)
        except msgspec.MsgspecError as exc:
            raise ConnectionLost(f"a batch cannot be read: {exc}", is_garbage=True) from exc
        buffers, columns = split(region, lengths), {}
        for name, column in content.columns.items():
            try:
                columns[name] = self._readers[name].read(column, buffers)
            except msgspec.ValidationError as exc:
                raise misfit_error(name, exc) from exc
        return ColumnBatch(columns, content.size), buffers


class ResultWriter:
    """Packs results in the process of a replica."""

    def __init__(self, form: BatchFormat) -> None:
        self._wants_arrays = wants_arrays(form.item)

    def pack(self, result: t.Any, size: int) -> tuple[bytes, Packer]:
        """Return what `predict` has returned for a batch as MessagePack, and the packer that has
        the buffers.

        Raises:
            AnswerError: it is not a sequence of `size` results, or a result cannot be sent.
        """
        packer = Packer()
        if _is_array(result) and result.ndim:
            if not self._wants_arrays:
                result = to_plain(result)
            elif len(result) == size and is_plain_dtype(result.dtype):
                return packer.message(_Results(packer.array(result), {})), packer
        return self._pack_each(packer, rows(result, size))

    def _pack_each(self, packer: Packer, values: list[t.Any]) -> tuple[bytes, Packer]:
        failures = {
            i: pack_failure(each)
            for i, each in enumerate(values)
            if isinstance(each, BaseException)
        }
        if failures:
            values = [each for i, each in enumerate(values) if i not in failures]
        try:
            return packer.message(_Results(packer.column(values), failures)), packer
        except UnpackableError as exc:
            raise AnswerError(f"predict returned {exc}", of_items=True) from exc


def _is_array(value: t.Any) -> bool:
    cls = type(value)
    return cls.__module__ == "numpy" and cls.__name__ == "ndarray"


class ResultReader:
    """Reads results in the process that has sent the batch."""

    def __init__(self, form: BatchFormat) -> None:
        self._reader = ColumnReader(form.item)

    def read(self, meta: bytes, region: memoryview) -> list[t.Any]:
        """Return a result, or an exception, for each prediction. The results may refer to the
        region.

        Raises:
            ConnectionLost: the message has no results.
        """
        try:
            lengths, content = _decode_results(meta)
            buffers = split(region, lengths)
            try:
                values = self._reader.read(content.column, buffers)
            except msgspec.ValidationError:
                # The check of the answer says what is wrong with it.
                values = self._reader.read_untyped(content.column, buffers)
        except msgspec.MsgspecError as exc:
            raise ConnectionLost(f"results cannot be read: {exc}", is_garbage=True) from exc
        found = list(values)
        for i in sorted(content.failures):
            found.insert(i, unpack_failure(content.failures[i]))
        return found


def encode_failure(exc: BaseException) -> bytes:
    return _encode(pack_failure(exc))


def decode_failure(meta: bytes) -> BaseException:
    """Restore the exception that `encode_failure` has encoded.

    Raises:
        ConnectionLost: the message has no exception.
    """
    try:
        return unpack_failure(_decode_failure(meta))
    except msgspec.MsgspecError as exc:
        raise ConnectionLost(f"a failure cannot be read: {exc}", is_garbage=True) from exc
