"""Values for another process of this machine: MessagePack, and buffers beside it.

Values of one type are packed together, as a column:

    plain data, Structs        MessagePack, which is read as the annotated type
    arrays of one shape        one array with a further dimension, in one buffer
    bytes                      a buffer for each
    pictures, tables, ...      what their `ValueKind.pack` returns
    all others                 MessagePack that says of which class each value is (`exactvalues`):
                               to read them as the annotated type would validate them twice

The process that reads must know the annotation. Nothing is unpickled, and no class is used that
this process has not imported. NumPy's numbers, and other values that are only parts of a kind,
become what JSON would hold.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import sys
import types
import typing as t
import uuid

import msgspec

from carboy.errors import InputError

from .exactvalues import (
    INSTANCE,
    WORD,
    ClassFinder,
    ExactWriter,
    UnpackableError,
    classes_in,
    read_instance,
    read_word,
)
from .hints import is_pydantic, is_union, strip
from .hooks import from_json
from .pydanticlimits import needs_pydantic
from .records import is_named_tuple, types_in
from .values.registry import kind_inside_json, kind_named, kind_of_class, kinds_in, part
from .values.tensor import TensorKind, array_of, bytes_of, is_plain_dtype

if t.TYPE_CHECKING:
    from collections import abc as cabc

    Buffer: t.TypeAlias = bytes | bytearray | memoryview

# The code of MessagePack's extension type for a value of a `ValueKind`.
_KIND = 1
# The sorts of columns.
_LIST, _ARRAY, _BYTES, _EXACT = 0, 1, 2, 3
# Types of which msgspec reads all that it has written.
_READ_BY_TYPE = (
    bool, bytes, float, int, str, types.NoneType, types.EllipsisType,
    dt.date, dt.timedelta, decimal.Decimal, uuid.UUID,
)  # fmt: skip
_COLLECTIONS = (list, dict, set, frozenset, tuple)
# Rows of an array below this length are copied one by one.
_SHORT_BYTES = 4096


class _NotPlainError(Exception):
    """A value must be packed with its class."""


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


_decode_exact = msgspec.msgpack.Decoder(tuple[list[tuple[str, str]], msgspec.Raw]).decode


class ColumnType:
    """How values of one annotation are packed. Thread-safe.

    Attributes:
        annotation: the annotation.
        named: the classes that it names.
        is_read_by_type: whether msgspec reads values of this annotation as they were written.
    """

    def __init__(self, annotation: t.Any) -> None:
        self.annotation = annotation
        try:
            found = list(types_in(annotation))
            self.named = classes_in(annotation)
        except NameError:  # an annotation of a class uses an undefined name
            found, self.named = [], frozenset()
        kinds, rest = part(annotation)
        self.is_read_by_type = rest is None or (
            not kinds
            and not needs_pydantic(annotation)
            and bool(found)
            and all(map(_is_read_by_type, found))
            and _is_known_to_msgspec(annotation)
        )
        self._records = [cls for cls in self.named if not issubclass(cls, enum.Enum)]

    def may_be_read_by_type(self) -> bool:
        """Return `is_read_by_type`; False if a record has subclasses now, whose values would lose
        their class.
        """
        for cls in self._records:  # PERF: 0.1 us for each
            if cls.__subclasses__():
                return False
        return self.is_read_by_type


def _is_read_by_type(bare: t.Any) -> bool:
    """Return whether msgspec reads values of a type, but for what is inside them, as it has written
    them.
    """
    cls = t.get_origin(bare) or bare
    if cls is t.Literal or is_union(bare) or bare in _READ_BY_TYPE or bare is ...:
        return True
    if cls in _COLLECTIONS:
        return bool(t.get_args(bare))
    if not isinstance(cls, type) or is_pydantic(cls):
        return False
    if issubclass(cls, msgspec.Struct):
        return not hasattr(cls, "__post_init__") and not cls.__struct_config__.dict
    if dataclasses.is_dataclass(cls):
        is_plain = all(field.init for field in dataclasses.fields(cls))
        return is_plain and not hasattr(cls, "__post_init__")
    if is_named_tuple(cls):
        return cls.__bases__ == (tuple,)
    return issubclass(cls, enum.Enum) or kind_of_class(cls) is not None


def _is_known_to_msgspec(annotation: t.Any) -> bool:
    try:
        msgspec.msgpack.Decoder(annotation, dec_hook=from_json)
    except TypeError:
        return False
    return True


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

    def column(self, values: list[t.Any], kind: ColumnType) -> PackedColumn:
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
            # msgspec copies `Raw`, which is JSON, into the MessagePack.
            if kind.may_be_read_by_type() and msgspec.Raw not in kinds:
                try:
                    return PackedColumn(_LIST, first, msgspec.Raw(self._encode(values)))
                except (OverflowError, _NotPlainError):
                    del self.buffers[first:]
            return PackedColumn(_EXACT, first, msgspec.Raw(self._exact(values, kind.named)))
        except _NotPlainError as exc:
            raise _unpackable(f"it is of the class {exc}") from exc
        except (TypeError, ValueError, RecursionError) as exc:
            raise _unpackable(str(exc)) from exc

    def _exact(self, values: list[t.Any], named: frozenset[type]) -> bytes:
        first = len(self.buffers)
        try:
            return self._exactly(values, named, checks_ints=False)
        except OverflowError:  # MessagePack has integers of 64 bits
            del self.buffers[first:]
            return self._exactly(values, named, checks_ints=True)

    def _exactly(self, values: list[t.Any], named: frozenset[type], *, checks_ints: bool) -> bytes:
        encode = msgspec.msgpack.Encoder(enc_hook=self._hook).encode
        writer = ExactWriter(encode, named, checks_ints=checks_ints)
        packed = encode(writer.convert(values))
        return encode([writer.classes, msgspec.Raw(packed)])

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
        kind = kind_of_class(cls)
        if kind is not None:
            head, buffers = kind.pack(value)
            first = len(self.buffers)
            self.buffers += [(each,) for each in buffers]
            packed = [kind.__qualname__, first, len(buffers), head]
            return msgspec.msgpack.Ext(_KIND, self._encode(packed))
        inside = kind_inside_json(cls)
        if inside is None:
            raise _NotPlainError(f"{cls.__module__}.{cls.__qualname__}")
        plain = inside.plain(value)
        return msgspec.json.decode(plain) if isinstance(plain, msgspec.Raw) else plain


def _unpackable(reason: str) -> UnpackableError:
    return UnpackableError(
        f"A value cannot be sent to another process: {reason}. Use numbers, text, lists,"
        " dicts, records, pictures, tables or arrays."
    )


def _are_alike(arrays: cabc.Sequence[t.Any]) -> bool:
    dtype, shape = arrays[0].dtype, arrays[0].shape
    # The rows of an array with one dimension would be numbers instead of arrays.
    return (
        shape != ()
        and is_plain_dtype(dtype)
        and all(each.dtype == dtype and each.shape == shape for each in arrays)
    )


class ColumnReader:
    """Reads columns of values of one type. Used by one thread at a time."""

    def __init__(self, kind: ColumnType) -> None:
        self._buffers: cabc.Sequence[memoryview] = ()
        self._classes: list[type] = []
        self._find = ClassFinder(kind.named).find
        self._decode_any = self._decode = self._decoder(t.Any)
        if kind.is_read_by_type and not part(kind.annotation).kinds:
            annotation: t.Any = kind.annotation
            self._decode = self._decoder(list[annotation])

    def _decoder(self, kind: t.Any) -> cabc.Callable[[bytes | msgspec.Raw | memoryview], t.Any]:
        return msgspec.msgpack.Decoder(kind, dec_hook=from_json, ext_hook=self._extension).decode

    def read(self, column: PackedColumn, buffers: cabc.Sequence[memoryview]) -> t.Any:
        """Return the values as a list, or as one array whose rows they are. They may refer to the
        buffers.

        Raises:
            msgspec.ValidationError: a value does not fit the annotation.
            UnpackableError: this process does not know a class of the values.
        """
        data, first = column.data, column.first
        if column.sort == _ARRAY:
            dtype, shape = self._decode_any(data)
            return array_of(buffers[first], dtype, shape)
        if column.sort == _BYTES:
            count = msgspec.msgpack.decode(data)
            return list(map(bytes, buffers[first : first + count]))
        self._buffers = buffers
        try:
            return self._exact(data) if column.sort == _EXACT else self._decode(data)
        finally:
            self._buffers, self._classes = (), []

    def read_untyped(self, column: PackedColumn, buffers: cabc.Sequence[memoryview]) -> t.Any:
        """Return the values as plain data, whatever the annotation is. For values that do not fit
        it, so that their check can say what is wrong.
        """
        self._buffers = buffers
        try:
            return self._decode_any(column.data)
        finally:
            self._buffers = ()

    def _exact(self, data: msgspec.Raw) -> t.Any:
        names, packed = _decode_exact(data)
        self._classes = [self._find(*each) for each in names]
        try:
            return self._decode_any(packed)
        except UnpackableError:
            raise
        except Exception as exc:  # of any class, such as that of a time zone that is not known here
            raise UnpackableError(
                f"A value of another process cannot be built: {type(exc).__name__}: {exc}"
            ) from exc

    def _extension(self, code: int, data: memoryview) -> t.Any:
        """Restore what `Packer` has packed. This method is msgspec's `ext_hook`."""
        content = self._decode_any(data)
        if code == INSTANCE:
            number, *parts = content
            return read_instance(self._classes[number], *parts)
        if code == WORD:
            return read_word(*content)
        name, first, count, head = content
        kind = kind_named(name)
        if kind is None:
            raise UnpackableError(f"This process does not know the kind of value {name}.")
        return kind.unpack(head, self._buffers[first : first + count])


_ANY = ColumnType(t.Any)


def pack_alone(value: t.Any) -> bytes:
    """Return one value as bytes, which are read without its annotation. Raises UnpackableError."""
    packer = Packer()
    column = packer.column([[value]], _ANY)
    if packer.buffers:
        raise _unpackable("it contains a picture, a table or an array")
    return msgspec.msgpack.encode(column)


def read_alone(data: bytes) -> t.Any:
    """Return the value that `pack_alone` has packed.

    Raises:
        UnpackableError: this process does not know a class of the value.
    """
    column = msgspec.msgpack.decode(data, type=PackedColumn)
    ((value,),) = ColumnReader(_ANY).read(column, ())
    return value


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
