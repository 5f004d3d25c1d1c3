"""The annotation `Tensor["float32", 3, "h", "w"]`: NumPy arrays with a dtype and a shape.

The argument is a NumPy array of that dtype, C-contiguous and writable. Each dimension is given as a
size, as a name (any size, equal wherever the name is used), or as `...` (any number of dimensions,
at most once). Clients send the array as

    nested lists in JSON    with `null` for NaN, if NaN is allowed
    a `.npy` file           as a body, a file of a form, or base64 inside JSON; never a pickle

Numbers are never rounded: the dtype of a `.npy` file must be the declared one, or convert to it
without loss.
"""

from __future__ import annotations

import io
import math
import sys
import typing as t

import msgspec

from carboy.json.arrays import to_plain

from ...errors import InputError, InputTooLargeError, SignatureError
from .. import inputerrors
from ..media import JSON
from . import npy
from .kind import Packed, ValueKind, from_base64
from .nested import DTYPES, bounds, find_fault, gather, item_type, to_array

# The default limit on the number of elements in a tensor with a free dimension: 67 MB of float32.
# Nested lists take 20 times as much memory while they are read, but the limit of the body (32 MiB)
# is reached first.
DEFAULT_MAX_ELEMENTS = 2**24
# For a tensor with more elements than this, the schema in documents does not say how long each list
# must be.
_MAX_DESCRIBED = 1000
_TEXT = "a tensor as nested lists, or as a .npy file in base64"


class Spec(t.NamedTuple):
    """The dtype and the dimensions in the brackets of `Tensor[...]`."""

    dtype: str
    sides: tuple[t.Any, ...]  # each an int (size), a str (name) or Ellipsis

    def __str__(self) -> str:
        return f"{self.dtype} of shape ({', '.join(map(_side, self.sides))})"

    @property
    def free(self) -> bool:
        """Return whether one of the dimensions is `...`, which stands for any number of them."""
        return Ellipsis in self.sides

    def for_depth(self, depth: int) -> tuple[int | str, ...] | None:
        """Return a size or a name for each dimension of an array that has `depth` of them; None if
        the declaration does not allow that number.
        """
        if not self.free:
            return self.sides if len(self.sides) == depth else None
        at = self.sides.index(Ellipsis)
        extra = depth - len(self.sides) + 1
        # A single JSON number, outside any list, is an array without dimensions. It is refused,
        # even by `Tensor[float, ...]`, where `...` stands for any number of dimensions.
        if extra < 0 or not 0 < depth <= npy.MAX_SIDES:
            return None
        anonymous = tuple(f"#{i}" for i in range(extra))
        return (*self.sides[:at], *anonymous, *self.sides[at + 1 :])


if t.TYPE_CHECKING:

    class Tensor:
        """What type checkers see instead of the class `Tensor` that exists at run time: for them,
        `Annotated[np.ndarray, Tensor[...]]` is an array.
        """

        def __class_getitem__(cls, spec: t.Any) -> t.Any: ...
        def __getattr__(self, name: str) -> t.Any: ...

else:

    class _TensorType(type):
        """Makes NumPy arrays count as instances of `Tensor`, for msgspec and for `isinstance`."""

        def __instancecheck__(cls, value: object) -> bool:
            numpy = sys.modules.get("numpy")
            return numpy is not None and isinstance(value, numpy.ndarray)

        def __repr__(cls) -> str:
            return cls.__qualname__

    class Tensor(metaclass=_TensorType):
        """The type of a NumPy array in an annotation, with dtype and shape: `Tensor["float32", 3,
        "h", "w"]`.
        """

        spec: t.ClassVar[Spec | None] = None
        _made: t.ClassVar[dict[str, type]] = {}

        def __class_getitem__(cls, items: t.Any) -> type:
            dtype, *sides = items if isinstance(items, tuple) else (items,)
            return cls.of(Spec(_dtype(dtype), tuple(sides)))

        @classmethod
        def of(cls, spec: Spec) -> type:
            """Return the class for a dtype and dimensions, which is the same class for equal
            arguments.
            """
            # The cache's key is a text, because True and 1 would be equal as keys.
            name = f"Tensor[{', '.join([repr(spec.dtype), *map(_written, spec.sides)])}]"
            found = Tensor._made.get(name)
            if found is None:
                found = _TensorType(name, (Tensor,), {"spec": spec})
                found.__module__ = __name__
                Tensor._made[name] = found
            return found


class TensorOptions:
    """Options of a tensor: `Annotated[Tensor["float32", "n"], TensorOptions(finite=False)]`.

    Args:
        finite: refuse NaN and infinity; if False, `null` in JSON is read as NaN.
        empty: accept size 0 for free dimensions.
        max_elements: maximum number of elements, if a dimension is free. In an empty array, it is
            the maximum product of the sizes other than 0.
    """

    __slots__ = ("empty", "finite", "max_elements")

    def __init__(
        self,
        *,
        finite: bool = True,
        empty: bool = False,
        max_elements: int = DEFAULT_MAX_ELEMENTS,
    ) -> None:
        if max_elements < 1:
            raise ValueError(f"max_elements={max_elements!r}: expected 1 or more.")
        self.finite = finite
        self.empty = empty
        self.max_elements = max_elements


DEFAULTS = TensorOptions()


class TensorKind(ValueKind):
    """Reads and writes NumPy arrays: nested lists in JSON, `.npy` files elsewhere."""

    name = "tensor"
    classes = (("numpy", "ndarray"),)
    parts = (("numpy", "generic"),)
    packages = ("numpy",)
    copies = True
    has_sides = True
    media_types = npy.MEDIA_TYPES[:1]

    def __init__(self, annotation: t.Any, extras: tuple[t.Any, ...] = ()) -> None:
        """Create the reader for one annotation, such as `Tensor["float32", "n"]`.

        Raises:
            SignatureError: the brackets contain something other than a dtype and dimensions.
        """
        spec = self.spec = _spec_of(annotation, extras)
        found = (each for each in extras if isinstance(each, TensorOptions))
        options = self.options = next(found, DEFAULTS)
        #: The sizes of all dimensions if none is free, else None. An array of exactly this shape
        #: needs no other check of its shape.
        self._exact = spec.sides if all(isinstance(side, int) for side in spec.sides) else None
        self._item = item_type(spec.dtype, finite=options.finite)
        self.json_type: t.Any = (list[t.Any] if spec.free else self._nested(len(spec.sides))) | str

    @classmethod
    def of(cls, annotation: t.Any, extras: tuple[t.Any, ...]) -> t.Self | None:
        return None if _specified(annotation, extras) is None else cls(annotation, extras)

    def recognises(self, data: bytes, media_type: str) -> bool:
        return data[:6] == npy.MAGIC or media_type in npy.MEDIA_TYPES

    def read(self, data: bytes, *, media_type: str = "", path: str = "$") -> t.Any:
        header = npy.read_header(data, path=path)
        self._check_dtype(header.dtype, path)
        self._check_shape(header.shape, path)
        array = npy.read_data(data, header, self.spec.dtype)
        self._check_numbers(array, path)
        return array

    def from_array(self, array: t.Any, *, path: str = "$") -> t.Any:
        """Convert an array, which may be read-only, into a writable copy of the declared dtype."""
        self._check_dtype(array.dtype.name, path)
        self._check_shape(array.shape, path)
        array = array.astype(self.spec.dtype, order="C", copy=True)
        self._check_numbers(array, path)
        return array

    def from_json(self, value: t.Any, *, path: str = "$") -> t.Any:
        if isinstance(value, str):
            return self.read(from_base64(value, _TEXT, path), path=path)
        depth = len(self.spec.sides)
        if self.spec.free:
            depth = _depth(value)
            if self.spec.for_depth(depth) is None:
                raise self._misfit(f"{depth} sides", path)
            value = _convert(value, self._nested(depth), path)
        gathered = gather(value, depth)
        if gathered is not None:
            rows, shape = gathered
            if shape == self._exact or self._fits(shape):
                if shape != self._exact:
                    self._check_shape(shape, path)
                array = to_array(rows, shape, self.spec.dtype)
                if array is not None:
                    return array
        raise self._find_fault(value, depth, path)

    def _find_fault(self, value: t.Any, depth: int, path: str) -> InputError:
        sides = self.spec.for_depth(depth)
        if sides is None:
            return self._misfit(f"{depth} sides", path)
        fault = find_fault(value, self.spec.dtype, sides, path=path)
        return fault or self._misfit("other values", path)

    def sides(self, value: t.Any) -> dict[str, int]:
        named = self.spec.for_depth(value.ndim) or ()
        return {
            side: size
            for side, size in zip(named, value.shape, strict=True)
            if isinstance(side, str) and side[0] != "#"
        }

    def misfit(self, value: t.Any) -> str:
        """Return how an array differs from the declared shape or dtype; "" if it fits. Floats may
        have any number of bits.
        """
        import numpy as np

        if self._fits(value.shape) and np.can_cast(value.dtype, self.spec.dtype, "same_kind"):
            return ""
        return f"a tensor {self.spec}, got {value.dtype} of shape {value.shape}"

    @classmethod
    def answers(cls) -> tuple[str, ...]:
        return (JSON, npy.MEDIA_TYPES[0])

    @classmethod
    def write(cls, value: t.Any, media_type: str) -> bytes:
        import numpy as np

        file = io.BytesIO()
        np.save(file, value, allow_pickle=False)
        return file.getvalue()

    @classmethod
    def plain(cls, value: t.Any) -> t.Any:
        """Convert an array to a number or nested lists. The JSON encoder writes NaN and infinity as
        null.
        """
        return to_plain(value)

    @classmethod
    def pack(cls, value: t.Any) -> Packed:
        """Pack an array of any dtype whose text says all of it; objects and fields become lists."""
        dtype = value.dtype
        if dtype.hasobject or not is_plain_dtype(dtype):
            return Packed([None, to_plain(value)], ())
        return Packed([dtype.str, value.shape], [bytes_of(value)])

    @classmethod
    def unpack(cls, head: t.Any, buffers: t.Sequence[memoryview]) -> t.Any:
        dtype, shape = head
        if dtype is None:
            import numpy as np

            return np.array(shape, object)
        return array_of(buffers[0], dtype, shape)

    @classmethod
    def undeclared_schema(cls, annotation: t.Any) -> dict[str, t.Any]:
        return {"type": "array"} if annotation.__name__ == "ndarray" else {"type": "number"}

    @classmethod
    def describes(cls, schema: dict[str, t.Any]) -> bool:
        return "x-tensor" in schema

    @classmethod
    def sample(cls, schema: dict[str, t.Any]) -> t.Any:
        """Return nested lists of ones as a sample. Free dimensions have size 1, and `...` is one
        dimension.
        """
        spec = schema["x-tensor"]
        value: t.Any = item_type(spec["dtype"])(1)
        for side in reversed(spec["shape"]):
            value = [value] * (side if isinstance(side, int) else 1)
        return value

    @classmethod
    def sample_file(cls, media_type: str, value: t.Any, schema: dict[str, t.Any]) -> bytes:
        spec = schema.get("x-tensor", {"dtype": "float64", "shape": [1]})
        if value is None:
            value = cls.sample({"x-tensor": spec})
        return npy.write(value, spec["dtype"])

    @classmethod
    def suffix(cls, media_type: str) -> str:
        return "npy"

    def schema(self, *, answered: bool = False) -> dict[str, t.Any]:
        shape = ["..." if side is Ellipsis else side for side in self.spec.sides]
        empty = answered or self.options.empty
        lists = {"type": "array"} if self.spec.free else self._schema_of(self.spec.sides, empty)
        return {**lists, "x-tensor": {"dtype": self.spec.dtype, "shape": shape}}

    def brief_schema(self, *, answered: bool = False) -> dict[str, t.Any]:
        """Return a schema that omits the sizes of a large tensor, because pages would show all its
        numbers as an example.
        """
        schema = super().brief_schema(answered=answered)
        if math.prod(side for side in self.spec.sides if isinstance(side, int)) <= _MAX_DESCRIBED:
            return schema
        sides = ", ".join(map(_side, self.spec.sides))
        text = f"Nested lists of shape ({sides}), {self.spec.dtype}."
        return {"type": "array", "description": text, "x-tensor": schema["x-tensor"]}

    def _schema_of(self, sides: tuple[t.Any, ...], empty: bool) -> dict[str, t.Any]:
        if not sides:
            number: dict[str, t.Any] = {"type": "integer" if self._item is int else "number"}
            if self._item is bool:
                number["type"] = "boolean"
            low_high = bounds(self.spec.dtype)
            if low_high:
                number |= {"minimum": low_high[0], "maximum": low_high[1]}
            if not self.options.finite:
                number["type"] = [number["type"], "null"]
            return number
        lists: dict[str, t.Any] = {"type": "array", "items": self._schema_of(sides[1:], empty)}
        if isinstance(sides[0], int):
            lists |= {"minItems": sides[0], "maxItems": sides[0]}
        elif not empty:
            lists["minItems"] = 1
        return lists

    def _nested(self, depth: int) -> t.Any:
        kind: t.Any = self._item
        for _ in range(depth):
            kind = list[kind]
        return kind

    def _misfit(self, got: str, path: str) -> InputError:
        return InputError.at(path, expected=f"a tensor {self.spec}", got=got)

    def _check_dtype(self, dtype: str, path: str) -> None:
        import numpy as np

        if not np.can_cast(dtype, self.spec.dtype, "safe"):
            raise InputError.at(
                path,
                expected=f"a tensor {self.spec}",
                got=dtype,
                hint=f"Convert it before sending it: array.astype({self.spec.dtype!r}).",
            )

    def _check_numbers(self, array: t.Any, path: str) -> None:
        if self.options.finite and self.spec.dtype.startswith("float"):
            _refuse_not_finite(array, path)

    def _check_shape(self, shape: tuple[int, ...], path: str) -> None:
        if shape == self._exact:
            return
        # An empty array takes no memory, but `predict` may make one of its other sides: `x.sum(1)`
        # of shape (2**40, 0) has 2**40 numbers. So a side of 0 is not what limits the others.
        size = math.prod(side or 1 for side in shape)
        if size > self.options.max_elements:
            raise InputTooLargeError.at(
                path,
                expected=f"a tensor of at most {self.options.max_elements:,} numbers",
                got=f"shape {tuple(shape)}" if 0 in shape else f"{size:,}",
            )
        if not self._fits(shape):
            raise self._misfit(f"shape {tuple(shape)}", path)
        if 0 in shape and not self.options.empty and 0 not in self.spec.sides:
            raise self._misfit(f"an empty one, of shape {tuple(shape)}", path)

    def _fits(self, shape: tuple[int, ...]) -> bool:
        sides = self.spec.for_depth(len(shape))
        if sides is None:
            return False
        sizes: dict[int | str, int] = {}
        return all(
            (sizes.setdefault(side, size) if isinstance(side, str) else side) == size
            for side, size in zip(sides, shape, strict=True)
        )


def is_plain_dtype(dtype: t.Any) -> bool:
    """Return whether the text of a dtype, such as "<f4", says all of it."""
    import numpy as np

    return not dtype.hasobject and bool(np.dtype(dtype.str) == dtype)


def bytes_of(array: t.Any) -> memoryview:
    """Return the bytes of an array, without a copy if they are contiguous."""
    import numpy as np

    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return memoryview(flat)


def array_of(buffer: memoryview, dtype: str, shape: t.Sequence[int]) -> t.Any:
    """Return the array whose bytes are in a buffer, without a copy."""
    import numpy as np

    return np.frombuffer(buffer, dtype).reshape(shape)


def _specified(annotation: t.Any, extras: tuple[t.Any, ...]) -> t.Any:
    """Return the `Tensor[...]` that an annotation is or has in its metadata; None if there is
    none.
    """
    origin = t.get_origin(annotation) or annotation
    if getattr(origin, "__name__", "") == "ndarray" and _is_numpys(origin):
        annotation = next((each for each in extras if _has_spec(each)), None)
    return annotation if _has_spec(annotation) else None


def _spec_of(annotation: t.Any, extras: tuple[t.Any, ...]) -> Spec:
    found = _specified(annotation, extras)
    if found is None:
        raise SignatureError(
            f"{annotation!r} names no dtype and no sides. Write both, such as"
            ' `Tensor["float32", "n", 3]`; `...` stands for any sides.'
        )
    _check_spec(found.spec, found)
    return t.cast("Spec", found.spec)


def without_first(annotation: t.Any) -> tuple[str, t.Any] | None:
    """Return the name of a tensor's first dimension, and its type without that dimension; None if
    the first dimension has a fixed size.

    For `Tensor["float32", "n", 3]` these are "n" and `Tensor["float32", 3]`.
    """
    if t.get_origin(annotation) is t.Annotated:
        inner, *extras = t.get_args(annotation)
        bare = [each for each in (inner, *extras) if _has_spec(each)]
        rest = without_first(bare[0]) if bare else None
        if rest is None:
            return None
        kept = [each for each in extras if not _has_spec(each)]
        return rest[0], t.Annotated[(rest[1], *kept)] if kept else rest[1]
    if not _has_spec(annotation) or not annotation.spec.sides:
        return None
    first, *sides = annotation.spec.sides
    if not isinstance(first, str):
        return None
    return first, t.cast("t.Any", Tensor).of(Spec(annotation.spec.dtype, tuple(sides)))


def _has_spec(kind: t.Any) -> bool:
    return isinstance(kind, type) and isinstance(getattr(kind, "spec", None), Spec)


def _is_numpys(kind: t.Any) -> bool:
    return t.cast("str", getattr(kind, "__module__", "")).partition(".")[0] == "numpy"


def _check_spec(spec: Spec, kind: t.Any) -> None:
    """Check the dtype and the dimensions of a tensor when a parameter is registered.

    `Tensor[...]` itself does not check them: an error in the evaluation of an annotation that is a
    string would be reported as an undefined name.
    """
    wrong = [
        side
        for side in spec.sides
        if side is not Ellipsis
        and not (isinstance(side, str) and side.isidentifier())
        and not (type(side) is int and side >= 0)
    ]
    if spec.dtype not in DTYPES:
        raise SignatureError(
            f"{kind!r}: {spec.dtype!r} is not one of the dtypes {', '.join(DTYPES)}."
        )
    if wrong or spec.sides.count(Ellipsis) > 1:
        raise SignatureError(
            f"{kind!r}: a side is a size (3), a name for any size ('h'), or, once, `...`"
            f" for any number of sides; got {', '.join(map(repr, wrong)) or 'two `...`'}."
        )


def _dtype(given: t.Any) -> str:
    """Return the name of a dtype that was given as a name or as NumPy's class, such as
    `np.float32`.
    """
    return given if isinstance(given, str) else getattr(given, "__name__", None) or str(given)


def _side(side: t.Any) -> str:
    return "..." if side is Ellipsis else str(side)


def _written(side: t.Any) -> str:
    return "..." if side is Ellipsis else repr(side)


def _depth(value: t.Any) -> int:
    depth = 0
    while isinstance(value, list):
        depth += 1
        value = value[0] if value else None
    return depth


def _convert(value: t.Any, kind: t.Any, path: str) -> t.Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        raise inputerrors.mismatch(exc, value, root=path) from exc


def _refuse_not_finite(array: t.Any, path: str) -> None:
    import numpy as np

    finite = np.isfinite(array)
    if finite.all():
        return
    at = np.unravel_index(int(finite.argmin()), array.shape)
    steps = "".join(f"[{int(i)}]" for i in at)
    raise InputError.at(f"{path}{steps}", expected="a finite number", got=_named(float(array[at])))


def _named(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"
