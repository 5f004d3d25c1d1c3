from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import subprocess
import sys
import tracemalloc
import typing as t

import msgspec
import numpy as np
import pytest
from alone import measured_alone
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from naming import stable_repr

from carboy.contract.answers import encode
from carboy.contract.values.nested import DTYPES
from carboy.contract.values.registry import kind_of
from carboy.contract.values.tensor import Tensor, TensorKind, TensorOptions, without_first
from carboy.errors import InputError, SignatureError

Picture = Tensor["float32", 3, "h", "w"]


def reader(annotation: t.Any) -> TensorKind:
    found = kind_of(annotation)
    assert isinstance(found, TensorKind)
    return found


def read(annotation: t.Any, value: t.Any) -> t.Any:
    """Decode a value as `json_type`, then convert it, as a body reader does."""
    found = reader(annotation)
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return found.from_json(msgspec.json.decode(data, type=found.json_type), path="$")


def _nested(depth: int) -> t.Any:
    value: t.Any = 1
    for _ in range(depth):
        value = [value]
    return value


def saved(array: t.Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


# --- what it is --------------------------------------------------------------------------------


def test_equal_tensor_types_are_identical_and_arrays_are_instances():
    assert Tensor["float32", 3, "h", "w"] is Picture
    assert Tensor[np.float32, 3, "h", "w"] is Picture
    assert repr(Picture) == "Tensor['float32', 3, 'h', 'w']"
    assert isinstance(np.zeros(3), Picture)
    assert not isinstance([1.0], Picture)


Alias = t.Annotated[np.ndarray, Picture]
New = t.NewType("New", Picture)


@pytest.mark.parametrize(
    "annotation",
    [
        Picture,
        Alias,
        t.Annotated[Picture, "a note"],
        t.Annotated[Alias, "a note"],
        t.Annotated[np.typing.NDArray[np.float32], Picture],
        New,
    ],
    ids=["itself", "beside an array", "annotated", "twice", "beside a typed array", "a new type"],
)
def test_each_notation_of_a_tensor_type_is_equivalent(annotation):
    assert str(reader(annotation).spec) == "float32 of shape (3, h, w)"


def test_ndarray_without_a_tensor_type_is_refused():
    assert kind_of(np.ndarray) is None
    assert kind_of(t.Annotated[np.ndarray, "a note"]) is None
    assert kind_of(Tensor) is None


def test_options_are_read_from_annotated():
    options = TensorOptions(finite=False, max_elements=7)
    assert reader(t.Annotated[Picture, options]).options is options
    assert reader(t.Annotated[np.ndarray, Picture, options]).options is options
    with pytest.raises(ValueError, match="expected 1 or more"):
        TensorOptions(max_elements=0)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (lambda: Tensor["float", 3], "'float' is not one of the dtypes bool, int8"),
        (lambda: Tensor["complex64", 3], "'complex64' is not one of the dtypes"),
        (lambda: Tensor[object], "'object' is not one of the dtypes"),
        (lambda: Tensor["float32", -1], "got -1"),
        (lambda: Tensor["float32", True], "got True"),
        (lambda: Tensor["float32", 2.0], r"got 2\.0"),
        (lambda: Tensor["float32", "h w"], "got 'h w'"),
        (lambda: Tensor["float32", ..., ...], "got two"),
    ],
)
def test_invalid_tensor_type_is_refused_when_used(kind, says):
    with pytest.raises(SignatureError, match=says):
        kind_of(kind())


def test_leading_free_dimension_can_be_removed():
    kind = Tensor["float32", "n", 3]
    assert without_first(kind) == ("n", Tensor["float32", 3])
    options = TensorOptions(finite=False)
    first, rest = without_first(t.Annotated[np.ndarray, kind, options])
    assert (first, t.get_args(rest)) == ("n", (Tensor["float32", 3], options))
    for other in (Tensor["float32", 3], Tensor["float32"], Tensor["float32", ...], list[int]):
        assert without_first(other) is None


def test_tensor_type_does_not_import_numpy():
    program = (
        "import sys; from carboy.models import Tensor\n"
        "from carboy.contract.values.registry import kind_of\n"
        "kind_of(Tensor['float32', 3]).schema(); sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_schema_has_sizes_and_bounds():
    assert reader(Tensor["uint8", 2, "n"]).schema() == {
        "type": "array",
        "minItems": 2,
        "maxItems": 2,
        "items": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "integer", "minimum": 0, "maximum": 255},
        },
        "x-tensor": {"dtype": "uint8", "shape": [2, "n"]},
    }
    loose = t.Annotated[Tensor["float64", "n"], TensorOptions(finite=False, empty=True)]
    assert reader(loose).schema()["items"] == {"type": ["number", "null"]}
    assert "minItems" not in reader(loose).schema()
    assert reader(Tensor["bool"]).schema()["type"] == "boolean"
    answered = reader(Tensor["uint8", 2, "n"]).schema(answered=True)
    assert answered["minItems"] == 2
    assert "minItems" not in answered["items"]
    assert reader(Tensor["float32", ..., 2]).schema() == {
        "type": "array",
        "x-tensor": {"dtype": "float32", "shape": ["...", 2]},
    }


# --- nested lists ------------------------------------------------------------------------------


@st.composite
def _arrays(draw: t.Any) -> t.Any:
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=12))
    elements = {"allow_nan": False, "allow_infinity": False} if dtype.startswith("float") else None
    return draw(hnp.arrays(dtype, shape, elements=elements, fill=st.nothing()))


@given(_arrays(), st.sampled_from(["fixed", "named", "any"]))
def test_lists_become_the_array_that_numpy_makes(array, sides):
    shape = {
        "fixed": array.shape,
        "named": tuple(f"s{i}" for i in range(array.ndim)),
        "any": (...,),
    }[sides]
    assume(array.ndim or sides != "any")
    ours = read(Tensor[(array.dtype.name, *shape)], array.tolist())
    assert (ours.dtype, ours.shape) == (array.dtype, array.shape)
    assert np.array_equal(ours, array)
    assert ours.flags.writeable
    assert ours.flags.c_contiguous


@given(_arrays())
def test_written_array_is_read_unchanged(array):
    found = reader(Tensor[(array.dtype.name, *array.shape)])
    as_json = read(Tensor[(array.dtype.name, *array.shape)], encode(array))
    as_npy = found.read(found.write(array, "application/x-npy"))
    in_text = found.from_json(base64.b64encode(saved(array)).decode())
    for again in (as_json, as_npy, in_text):
        assert np.array_equal(again, array)
        assert again.dtype == array.dtype


def test_nan_is_null_in_json():
    array = np.array([1, math.nan, math.inf], "float32")
    assert encode(array) == b"[1.0,null,null]"
    loose = t.Annotated[Tensor["float32", "n"], TensorOptions(finite=False)]
    assert np.array_equal(read(loose, [1, None]), [1, math.nan], equal_nan=True)
    assert np.array_equal(reader(loose).read(saved(array)), array, equal_nan=True)


def test_objects_are_not_pickled_into_an_answer():
    with pytest.raises(ValueError, match="allow_pickle=False"):
        TensorKind.write(np.array([object()]), "application/x-npy")


_ROWS = Tensor["float32", 2, "n"]
_BYTE = Tensor["uint8", 3]


@pytest.mark.parametrize(
    ("kind", "sent", "path", "says"),
    [
        (_ROWS, [[1, 2]], "$", "array of length 2, got array of length 1"),
        (_ROWS, [[1], [2], [3]], "$", "array of length 2, got array of length 3"),
        (_ROWS, [[1, 2], [3]], "$[1]", "array of length 2 (side 'n'), got array of length 1"),
        (_ROWS, [[], []], "$", "got an empty one, of shape (2, 0)"),
        (_ROWS, [], "$", "array of length 2, got array of length 0"),
        (_ROWS, [[1], [1e39]], "$[1][0]", "that float32 can hold, up to 3.40282e+38, got"),
        (_ROWS, "hello", "$", "as nested lists, or as a .npy file in base64, got other text"),
        (_ROWS, base64.b64encode(b"hello").decode(), "$", "a .npy file, got something else"),
        (Tensor["float16", 2], [1, -70000], "$[1]", "that float16 can hold, up to 65504"),
        (Tensor["float64", "n", "n"], [[1, 2]], "$[0]", "array of length 1 (side 'n')"),
        (Tensor["float64", "n", "n"], [[1], [2]], "$[0]", "array of length 2 (side 'n'), got"),
        (_BYTE, [1, 2, 256], "$[2]", "uint8, a number from 0 to 255, got `int` 256"),
        (_BYTE, [-1, 2, 3], "$[0]", "got `int` -1"),
        (Tensor["int64", 1], [2**63], "$[0]", "int64, a number from -9223372036854775808"),
        (Tensor["uint64", 1], [-1], "$[0]", "from 0 to 18446744073709551615"),
        (Tensor["float32", ..., 2], [[1, 2, 3]], "$[0]", "array of length 2, got"),
        (Tensor["float32", ..., 2], [[1, 2], [1]], "$[1]", "array of length 2, got"),
        (Tensor["float32", ..., 2], [[[1, 2]], [1]], "$[1][0]", "Expected `array`, got `int` 1"),
        (Tensor["float32", ...], [["a"]], "$[0][0]", "Expected `float`, got `str`"),
        (Tensor["float32", ...], _nested(33), "$", "of shape (...), got 33 sides"),
        (Tensor["float32", ...], _nested(500), "$", "of shape (...), got 500 sides"),
        (Tensor["float32", ..., 2, 2], [5], "$", "of shape (..., 2, 2), got 1 sides"),
        (
            t.Annotated[Tensor["int8", "n"], TensorOptions(max_elements=2)],
            [1, 2, 3],
            "$",
            "at most 2 numbers, got 3",
        ),
    ],
    ids=stable_repr,
)
def test_invalid_lists_are_refused_with_path_and_reason(kind, sent, path, says):
    with pytest.raises(InputError) as refused:
        read(kind, sent)
    assert says in refused.value.detail, refused.value
    assert [fault.path for fault in refused.value.faults] == [path]


def test_lists_may_be_nested_as_deeply_as_a_shape_has_sides():
    assert read(Tensor["float32", ...], _nested(32)).shape == (1,) * 32


@pytest.mark.parametrize("sent", [0, True, None, {}], ids=repr)
def test_ellipsis_means_at_least_one_dimension(sent):
    """The JSON Schema also says that the value is an array."""
    with pytest.raises(msgspec.ValidationError, match=r"Expected `str \| array`"):
        read(Tensor["float32", ...], sent)
    with pytest.raises(InputError, match=r"shape \(\.\.\.\), got shape \(\)"):
        reader(Tensor["float32", ...]).read(saved(np.float32(1)))


def test_first_invalid_number_of_many_is_reported():
    lists = np.zeros((3, 50, 60)).tolist()
    lists[1][40][59] = 1e300
    with pytest.raises(InputError, match=r"at `\$\[1\]\[40\]\[59\]`"):
        read(Tensor["float32", 3, "h", "w"], lists)
    del lists[1][40][59]
    with pytest.raises(InputError, match=r"length 60 \(side 'w'\), got .* 59 - at `\$\[1\]\[40\]`"):
        read(Tensor["float32", 3, "h", "w"], lists)


def test_empty_array_is_accepted_by_option():
    loose = t.Annotated[Tensor["float32", "n", 4], TensorOptions(empty=True)]
    assert reader(loose).read(saved(np.zeros((0, 4), "float32"))).shape == (0, 4)
    assert read(t.Annotated[Tensor["int8", "n"], TensorOptions(empty=True)], []).shape == (0,)
    assert read(Tensor["int8", 0], []).shape == (0,)


_json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)


@given(_json_value, st.sampled_from([_ROWS, _BYTE, Tensor["float32"], Tensor["bool", ..., "n"]]))
def test_any_json_is_an_array_or_refused(value, kind):
    with contextlib.suppress(InputError, msgspec.ValidationError, ValueError):
        array = read(kind, value)
        assert array.dtype == reader(kind).spec.dtype
        assert reader(kind)._fits(array.shape)
        assert array.dtype.kind != "f" or np.isfinite(array).all()


# --- .npy --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "media_type", "mine"),
    [
        (saved(np.zeros(1)), "", True),
        (saved(np.zeros(1)), "text/plain", True),
        (b"x", "application/x-npy", True),
        (b"x", "application/npy", True),
        (b"x", "application/octet-stream", False),
        (b"[1]", "", False),
    ],
)
def test_raw_body_is_recognised_by_content_then_by_media_type(data, media_type, mine):
    assert reader(Picture).recognises(data, media_type) is mine


@pytest.mark.parametrize(
    ("dtype", "sent"),
    [
        ("float32", "uint8"),
        ("float32", "float16"),
        ("float64", "int32"),
        ("int64", "uint32"),
        ("int16", "bool"),
    ],
)
def test_dtype_is_cast_only_without_loss(dtype, sent):
    array = reader(Tensor[dtype, 3]).read(saved(np.array([0, 1, 1], sent)))
    assert (array.dtype.name, array.tolist()) == (dtype, [0, 1, 1])


@pytest.mark.parametrize(
    ("kind", "array", "path", "says"),
    [
        (_ROWS, np.zeros((2, 2)), "$", "got float64 - at `$`. Convert it before sending it: array"),
        (_BYTE, np.zeros(3, "int8"), "$", "uint8 of shape (3), got int8"),
        (Tensor["bool", 3], np.zeros(3, "uint8"), "$", "got uint8"),
        (_ROWS, np.zeros((2, 2, 1), "float32"), "$", "shape (2, n), got shape (2, 2, 1)"),
        (_ROWS, np.zeros((1, 2), "float32"), "$", "got shape (1, 2)"),
        (Tensor["int8", "n", "n"], np.zeros((2, 3), "int8"), "$", "shape (n, n), got shape (2, 3)"),
        (_ROWS, np.zeros((2, 0), "float32"), "$", "got an empty one, of shape (2, 0)"),
        (_ROWS, np.array([[1, 2], [3, math.nan]], "float32"), "$[1][1]", "finite number, got NaN"),
        (_ROWS, np.array([[1, -math.inf], [3, 0]], "float32"), "$[0][1]", "got -Infinity"),
        (Tensor["float64", 1], np.array([math.inf], "float32"), "$[0]", "got Infinity"),
        (
            t.Annotated[Tensor["int8", "n"], TensorOptions(max_elements=2)],
            np.zeros(3, "int8"),
            "$",
            "at most 2 numbers, got 3",
        ),
    ],
    ids=stable_repr,
)
def test_invalid_files_are_refused_with_path_and_reason(kind, array, path, says):
    with pytest.raises(InputError) as refused:
        reader(kind).read(saved(array))
    assert says in refused.value.detail, refused.value
    assert [fault.path for fault in refused.value.faults] == [path]


def test_tensor_with_too_many_numbers_is_413():
    kind = t.Annotated[Tensor["int8", "n"], TensorOptions(max_elements=2)]
    with pytest.raises(InputError) as refused:
        reader(kind).read(saved(np.zeros(3, "int8")))
    assert refused.value.status == 413


_EMPTY = TensorOptions(empty=True)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (t.Annotated[Tensor["float32", "n", "m"], _EMPTY], (2**40, 0)),
        (t.Annotated[Tensor["float32", "n", "m"], _EMPTY], (0, 2**24 + 1)),
        (t.Annotated[Tensor["float32", ...], _EMPTY], (2**13, 0, 2**13)),
        (Tensor["float32", "n", 0], (2**40, 0)),
    ],
    ids=stable_repr,
)
def test_other_sides_of_an_empty_tensor_are_limited(kind, shape):
    """`x.sum(axis=1)` of shape (2**40, 0) would be an array of 4 TB."""
    empty = np.zeros(shape, "float32")
    for make in (lambda: reader(kind).read(saved(empty)), lambda: reader(kind).from_array(empty)):
        with pytest.raises(InputError, match="at most 16,777,216 numbers, got shape") as refused:
            make()
        assert refused.value.status == 413


def peak_memory_of_reading():
    """Return the peak memory for reading a file, in bytes per byte of the array."""
    data = saved(np.ones((1000, 1000), "float32"))
    found = reader(Tensor["float32", "h", "w"])
    found.read(saved(np.ones((1, 1), "float32")))  # imports everything that is imported once
    tracemalloc.start()
    array = found.read(data)
    return tracemalloc.get_traced_memory()[1] / array.nbytes


def test_reading_a_file_takes_little_more_memory_than_its_array():
    assert measured_alone(peak_memory_of_reading) < 1.5
