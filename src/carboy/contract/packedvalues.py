"""Values for another process of this machine: MessagePack, and buffers beside it.

Values of one type are packed together, as a column:

    plain data, records        MessagePack, which is read as the annotated type
    arrays of one shape        one array with a further dimension, in one buffer
    bytes                      a buffer for each
    pictures, tables, ...      what their `ValueKind.pack` returns
    pydantic models            their own JSON

The process that reads must know the annotation. Nothing is unpickled, and no class is used that
this process has not imported. NumPy's numbers, and other values that are only parts of a kind,
become what JSON would hold.
"""

from __future__ import annotations

import sys
import types
import typing as t

import msgspec

from carboy.errors import InputError

from .exactvalues import UnpackableError, find_class, part_of_json
from .hints import is_pydantic, strip
from .hooks import from_json
from .pydanticlimits import adapter, needs_pydantic
from .values.registry import kind_named, kind_of_class, kinds_in, part
from .values.tensor import TensorKind, array_of, bytes_of, is_plain_dtype

if t.TYPE_CHECKING:
    from collections import abc as cabc

    Buffer: t.TypeAlias = bytes | bytearray | memoryview

# Codes of MessagePack's extension types.
_KIND, _MODEL = 1, 2
# The sorts of columns.
_LIST, _ARRAY, _BYTES, _JSON = 0, 1, 2, 3
# Types that msgspec decodes without an annotation. A value of another type was made by `unpack`.
_PLAIN = frozenset({bool, bytes, dict, float, int, list, str, types.NoneType})
# Rows of an array below this length are copied one by one.
_SHORT_BYTES = 4096
_to_json = msgspec.json.Encoder().encode


class PackedColumn(msgspec.Struct, array_like=True):
    """Packed values of one type.

    Attributes:
        sort: how they are packed.
        first: the position of their first buffer.
        data: MessagePack; its form depends on the sort.
    """

    sort: int
    first: int
    data: msgspec.Raw


class Packer:
    """Packs values. A packer is for one message.

    Attributes:
        buffers: what is sent beside the MessagePack. Each buffer may consist of several parts.
    """

    def __init__(self) -> None:
        self.buffers: list[cabc.Sequence[Buffer]] = []

    def _encode(self, value: t.Any) -> bytes:
        # An `Encoder` in an attribute would be a reference cycle, which would keep the buffers.
        return msgspec.msgpack.encode(value, enc_hook=self._hook)

    def column(self, values: list[t.Any]) -> PackedColumn:
        """Pack values of one type.

        Raises:
            UnpackableError: one of the values has no form for another process.
        """
        first = len(self.buffers)
        kinds = set(map(type, values))
        numpy = sys.modules.get("numpy")
        if numpy is not None and kinds == {numpy.ndarray} and _are_alike(values):
            return self.array(values[0], values)
        if kinds == {bytes}:
            self.buffers += [(each,) for each in values]
            return PackedColumn(_BYTES, first, msgspec.Raw(self._encode(len(values))))
        try:
            return PackedColumn(_LIST, first, msgspec.Raw(self._encode(values)))
        except OverflowError:  # MessagePack has integers of 64 bits
            return PackedColumn(_JSON, first, msgspec.Raw(self._encode(_to_json(values))))
        except (TypeError, ValueError, NotImplementedError, RecursionError) as exc:
            raise UnpackableError(
                f"A value cannot be sent to another process: {exc}. Use numbers, text, lists,"
                " dicts, records, pictures, tables or arrays."
            ) from exc

    def array(self, array: t.Any, rows: cabc.Sequence[t.Any] | None = None) -> PackedColumn:
        """Pack an array whose rows are the values.

        Args:
            array: the array; one of the rows if `rows` is given.
            rows: arrays of the same dtype and shape.
        """
        first, shape = len(self.buffers), array.shape
        if rows is None:
            self.buffers.append((bytes_of(array),))
        else:
            # PERF: `tobytes` takes a third of the time of `bytes_of` for short rows.
            is_short = array.nbytes < _SHORT_BYTES
            self.buffers.append([each.tobytes() if is_short else bytes_of(each) for each in rows])
            shape = (len(rows), *shape)
        return PackedColumn(_ARRAY, first, msgspec.Raw(self._encode([array.dtype.str, shape])))

    def message(self, content: t.Any) -> bytes:
        """Return the MessagePack of a message whose columns this packer has packed."""
        return self._encode([[sum(map(len, parts)) for parts in self.buffers], content])

    def _hook(self, value: t.Any) -> t.Any:
        cls = type(value)
        if is_pydantic(cls):
            text = cls.__pydantic_serializer__.to_json(value, by_alias=True, round_trip=True)
            return msgspec.msgpack.Ext(
                _MODEL, self._encode([cls.__module__, cls.__qualname__, text])
            )
        kind = kind_of_class(cls)
        if kind is not None:
            head, buffers = kind.pack(value)
            first = len(self.buffers)
            self.buffers += [(each,) for each in buffers]
            packed = [kind.__qualname__, first, len(buffers), head]
            return msgspec.msgpack.Ext(_KIND, self._encode(packed))
        return part_of_json(value)


def _are_alike(arrays: cabc.Sequence[t.Any]) -> bool:
    dtype, shape = arrays[0].dtype, arrays[0].shape
    # The rows of an array with one dimension would be numbers instead of arrays.
    return (
        shape != ()
        and is_plain_dtype(dtype)
        and all(each.dtype == dtype and each.shape == shape for each in arrays)
    )


class ColumnReader:
    """Reads columns of values of one annotation. Used by one thread at a time."""

    def __init__(self, annotation: t.Any) -> None:
        self._buffers: cabc.Sequence[memoryview] = ()
        self._convert: cabc.Callable[[t.Any], t.Any] | None = None
        self._decode_any = self._decoder(list[t.Any])
        self._decode, self._json_type = self._decode_any, t.cast("t.Any", list[t.Any])
        kinds, rest = part(annotation)
        if kinds:
            if rest is not None:
                self._convert = _converter(rest)
            return
        try:
            self._decode = self._decoder(list[annotation])
            self._json_type = list[annotation]
        except TypeError:  # msgspec does not know a type in it
            self._convert = _converter(annotation)

    def _decoder(self, kind: t.Any) -> cabc.Callable[[bytes | msgspec.Raw], t.Any]:
        return msgspec.msgpack.Decoder(kind, dec_hook=from_json, ext_hook=self._extension).decode

    def read(self, column: PackedColumn, buffers: cabc.Sequence[memoryview]) -> t.Any:
        """Return the values as a list, or as one array whose rows they are. They may refer to the
        buffers.

        Raises:
            msgspec.ValidationError: a value does not fit the annotation.
        """
        data, first = column.data, column.first
        if column.sort == _ARRAY:
            dtype, shape = self._decode_any(data)
            return array_of(buffers[first], dtype, shape)
        if column.sort == _BYTES:
            count = msgspec.msgpack.decode(data)
            return list(map(bytes, buffers[first : first + count]))
        if column.sort == _JSON:
            return msgspec.json.decode(msgspec.msgpack.decode(data), type=self._json_type)
        self._buffers = buffers
        try:
            values = self._decode(data)
        finally:
            self._buffers = ()
        return values if self._convert is None else list(map(self._convert, values))

    def read_untyped(self, column: PackedColumn, buffers: cabc.Sequence[memoryview]) -> t.Any:
        """Return the values as plain data, whatever the annotation is. For values that do not fit
        it, so that their check can say what is wrong.
        """
        if column.sort == _JSON:
            return msgspec.json.decode(msgspec.msgpack.decode(column.data))
        self._buffers = buffers
        try:
            return self._decode_any(column.data)
        finally:
            self._buffers = ()

    def _extension(self, code: int, data: memoryview) -> t.Any:
        """Restore what `Packer._hook` has packed. This method is msgspec's `ext_hook`."""
        if code == _MODEL:
            module, name, text = msgspec.msgpack.decode(data)
            return find_class(module, name).__pydantic_validator__.validate_json(text)
        name, first, count, head = msgspec.msgpack.decode(data, ext_hook=self._extension)
        kind = kind_named(name)
        if kind is None:
            raise UnpackableError(f"This process does not know the kind of value {name}.")
        return kind.unpack(head, self._buffers[first : first + count])


def _converter(annotation: t.Any) -> cabc.Callable[[t.Any], t.Any]:
    """Return a function that converts plain data to a type; other values are left as they are."""
    if needs_pydantic(annotation):
        return t.cast("cabc.Callable[[t.Any], t.Any]", adapter(annotation).validate_python)

    def convert(value: t.Any) -> t.Any:
        if type(value) not in _PLAIN:
            return value
        try:
            return msgspec.convert(value, annotation, dec_hook=from_json)
        except msgspec.ValidationError:
            return value

    return convert


def wants_arrays(annotation: t.Any) -> bool:
    """Return whether a result may be an array, so that it must not become lists."""
    bare = strip(annotation)
    is_bare = kind_of_class(t.get_origin(bare) or bare) is TensorKind
    return (
        annotation is t.Any
        or is_bare
        or any(isinstance(kind, TensorKind) for kind in kinds_in(annotation))
    )


def misfit_error(name: str, exc: msgspec.ValidationError) -> InputError:
    """Return the error for an argument from Python code that does not fit its annotation."""
    return InputError(f"The argument {name!r} does not fit its type: {exc}.")
