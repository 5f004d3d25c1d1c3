"""Batches and results as messages between a client and a replica.

`BatchFormat` has what both must know of a model; each thread, or connection, uses a `BatchReader`
or a `ResultReader` of its own.
"""

from __future__ import annotations

import typing as t

import msgspec

from carboy.contract.exactvalues import UnpackableError
from carboy.contract.packedvalues import (
    ColumnReader,
    PackedColumn,
    Packer,
    misfit_error,
    wants_arrays,
)
from carboy.contract.values.tensor import is_plain_dtype
from carboy.errors import AnswerError
from carboy.json.arrays import to_plain

from ..queue.calls import ColumnBatch, rows
from .frames import FAILED, RESULTS, STALE, ConnectionLost, split
from .packedfailures import PackedFailure, pack_failure, unpack_failure
from .rawbody import RawBody, ReceivedBody

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from carboy.contract.bodies import BodyReader
    from carboy.contract.operation import Operation

    from ..queue.calls import Arguments


class _PackedBody(msgspec.Struct, array_like=True):
    """A `RawBody`: its position in the batch, and that of its buffer."""

    position: int
    buffer: int
    content_type: str
    encoding: str


class _Batch(msgspec.Struct, array_like=True):
    """The arguments of all predictions as columns, but for those that are bodies."""

    size: int
    columns: dict[str, PackedColumn]
    bodies: list[_PackedBody] = []


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


def pack_batch(batch: cabc.Sequence[Arguments | RawBody]) -> tuple[bytes, Packer]:
    """Return a batch as MessagePack, and the packer that has its buffers. All predictions have the
    same arguments.

    Raises:
        UnpackableError: an argument cannot be sent.
    """
    packer = Packer()
    bodies = [(i, each) for i, each in enumerate(batch) if isinstance(each, RawBody)]
    decoded: cabc.Sequence[t.Any] = batch
    if bodies:
        decoded = [each for each in decoded if not isinstance(each, RawBody)]
    columns = {
        name: packer.column([arguments[name] for arguments in decoded])
        for name in (decoded[0] if decoded else ())
    }
    packed = [_pack_body(i, body, packer) for i, body in bodies]
    return packer.message(_Batch(len(batch), columns, packed)), packer


def _pack_body(position: int, body: RawBody, packer: Packer) -> _PackedBody:
    packer.buffers.append(body.pieces)
    buffer = len(packer.buffers) - 1
    return _PackedBody(position, buffer, body.content_type, body.encoding)


class ReceivedBatch(t.NamedTuple):
    """A batch in the process of a replica.

    Attributes:
        entries: the arguments of each prediction, without those in `failures`.
        failures: the errors of bodies that are no arguments, by their position in the batch.
        buffers: memory to which the arguments may refer.
    """

    entries: cabc.Sequence[Arguments]
    failures: dict[int, Exception]
    buffers: list[memoryview]

    @property
    def size(self) -> int:
        return len(self.entries) + len(self.failures)

    def only(self) -> Arguments:
        """Return the arguments of the only prediction, or raise its error."""
        if self.failures:
            raise self.failures[0]
        (arguments,) = self.entries
        return arguments


class BatchReader:
    """Reads batches in the process of a replica.

    Args:
        form: the types of one prediction.
        bodies: decodes the bodies of requests.
    """

    def __init__(self, form: BatchFormat, bodies: BodyReader) -> None:
        self._readers = {name: ColumnReader(kind) for name, kind in form.parameters.items()}
        self._bodies = bodies

    def read(self, meta: bytes, region: memoryview) -> ReceivedBatch:
        """Return a batch.

        Raises:
            ConnectionLost: the message is not a batch.
            InputError: an argument from Python code does not fit its annotation.
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
        decoded = ColumnBatch(columns, content.size - len(content.bodies))
        if not content.bodies:
            return ReceivedBatch(decoded, {}, buffers)
        return self._with_bodies(decoded, content, buffers)

    def _with_bodies(
        self, decoded: ColumnBatch, content: _Batch, buffers: list[memoryview]
    ) -> ReceivedBatch:
        """Decode the bodies of a batch. One that is no valid input fails its prediction alone."""
        entries: list[t.Any] = list(decoded)
        failures: dict[int, Exception] = {}
        for each in content.bodies:
            body = ReceivedBody(each.content_type, each.encoding, buffers[each.buffer])
            if not self._bodies.copies(body.media_type):
                body = body._replace(data=bytes(body.data))
            try:
                # The failures before this one have no entry.
                entries.insert(each.position - len(failures), self._bodies.decode(body))
            except Exception as exc:  # noqa: BLE001  # its client gets it
                failures[each.position] = exc
        return ReceivedBatch(entries, failures, buffers)


class ResultWriter:
    """Packs results in the process of a replica."""

    def __init__(self, form: BatchFormat) -> None:
        self._wants_arrays = wants_arrays(form.item)

    def pack(self, result: t.Any, batch: ReceivedBatch) -> tuple[bytes, Packer]:
        """Return what `predict` has returned for a batch as MessagePack, and the packer that has
        the buffers.

        Raises:
            AnswerError: it is not a sequence with a result for each entry, or a result cannot be
                sent.
        """
        size = len(batch.entries)
        if _is_array(result) and result.ndim:
            if not self._wants_arrays:
                result = to_plain(result)
            elif len(result) == size and not batch.failures and is_plain_dtype(result.dtype):
                packer = Packer()
                return packer.message(_Results(packer.array(result), {})), packer
        values = rows(result, size)
        for i in sorted(batch.failures):
            values.insert(i, batch.failures[i])
        return self.pack_each(values)

    def pack_each(self, values: list[t.Any]) -> tuple[bytes, Packer]:
        """Pack results, and exceptions among them.

        Raises:
            AnswerError: a result cannot be sent.
        """
        packer = Packer()
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

    def outcome_of(self, kind: int, meta: bytes, region: memoryview, size: int) -> t.Any:
        """Return what has become of a batch of `size` predictions: the results; the exception with
        which it has failed; or None if the replica has not accepted the batch, so that another one
        must compute it.

        Raises:
            ConnectionLost: the message is another one.
        """
        if kind == RESULTS:
            return self.results_of(meta, region, size)
        if kind == FAILED:
            return decode_failure(meta)
        if kind == STALE:
            return None
        raise ConnectionLost(f"an unexpected message {kind}", is_garbage=True)

    def results_of(self, meta: bytes, region: memoryview, size: int) -> list[t.Any] | AnswerError:
        """Return a result, or an exception, for each of `size` predictions; or an exception if this
        process cannot read the results. The results may refer to the region.

        Raises:
            ConnectionLost: the message has not `size` results.
        """
        try:
            results = self._read(meta, region)
        except ConnectionLost:
            raise
        except Exception as exc:  # noqa: BLE001  # such as a class that only the replica has imported
            return _unreadable(exc)
        if len(results) != size:
            raise ConnectionLost(f"{len(results)} results for {size} inputs", is_garbage=True)
        return results

    def _read(self, meta: bytes, region: memoryview) -> list[t.Any]:
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
    """Restore the exception that `encode_failure` has encoded; another one if this process cannot.

    Raises:
        ConnectionLost: the message has no exception.
    """
    try:
        return unpack_failure(_decode_failure(meta))
    except msgspec.MsgspecError as exc:
        raise ConnectionLost(f"a failure cannot be read: {exc}", is_garbage=True) from exc
    except Exception as exc:  # noqa: BLE001  # such as that of a class which fails here
        return _unreadable(exc)


def _unreadable(exc: Exception) -> AnswerError:
    failure = AnswerError(f"A result cannot be read in this process: {exc}")
    failure.__cause__ = exc
    return failure
