from __future__ import annotations

import contextlib
import io
import pickle
import struct
import tracemalloc
import typing as t

import numpy as np
import pytest
from alone import measured_alone
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from carboy.contract.values import npy
from carboy.contract.values.nested import DTYPES
from carboy.errors import InputError


def saved(array: t.Any, **options: t.Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def with_header(header: str, data: bytes = b"", *, version: int = 1) -> bytes:
    text = header.encode()
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return npy.MAGIC + bytes((version, 0)) + length + text + data


def load(data: bytes) -> t.Any:
    header = npy.read_header(data)
    return npy.read_data(data, header, header.dtype)


@given(
    hnp.arrays(
        dtype=st.sampled_from(DTYPES).flatmap(
            lambda name: st.sampled_from([np.dtype(name), np.dtype(name).newbyteorder(">")])
        ),
        shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
    st.booleans(),
)
def test_saved_array_is_read_as_numpy_reads_it(array, fortran):
    data = saved(np.asfortranarray(array) if fortran and array.ndim else array)
    theirs, ours = np.load(io.BytesIO(data), allow_pickle=False), load(data)
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype.newbyteorder("="))
    assert np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f")
    assert ours.flags.c_contiguous
    assert ours.flags.writeable


@pytest.mark.parametrize("version", [1, 2, 3])
def test_each_version_of_the_format_is_read(version):
    header = "{'descr': '<i2', 'fortran_order': False, 'shape': (2,), }"
    assert load(with_header(header, b"\1\0\2\0", version=version)).tolist() == [1, 2]


@pytest.mark.parametrize(
    "header",
    [
        '{"shape": (2,), "descr": "<i2", "fortran_order": False}',
        "{'descr':'<i2','fortran_order':False,'shape':(2,)}",
        "{ 'descr' : '<i2' , 'fortran_order' : False , 'shape' : ( 2 ) }   \n",
    ],
    ids=["other quotes", "no blanks", "many blanks"],
)
def test_headers_of_other_writers_are_read(header):
    assert load(with_header(header, b"\1\0\2\0")).tolist() == [1, 2]


class _Bomb:
    def __reduce__(self) -> t.Any:
        return pytest.fail, ("unpickled",)


_OBJECTS = saved(np.array([None, {"a": 1}], dtype=object), allow_pickle=True)
_PLAIN = "{'descr': '<f4', 'fortran_order': False, 'shape': %s}"


@pytest.mark.parametrize(
    ("data", "status", "says"),
    [
        (b"", 415, "an empty file"),
        (b"PK\x03\x04 and so on", 415, "a .npz archive"),
        (pickle.dumps(_Bomb()), 415, "something else"),
        (_OBJECTS, 415, "Python objects (a pickle, which is never read)"),
        (
            _OBJECTS.partition(b"\x80")[0] + pickle.dumps(_Bomb()),
            415,
            "Python objects (a pickle, which is never read)",
        ),
        (saved(np.array(["a"])), 415, "'<U1'"),
        (saved(np.array([1j])), 415, "'<c16'"),
        (saved(np.array([1], "M8[s]")), 415, "'<M8[s]'"),
        (saved(np.array([1], np.longdouble)), 415, "f16'"),
        (saved(np.zeros(1, [("a", "i4"), ("b", "O")]), allow_pickle=True), 415, "Python objects"),
        (saved(np.zeros(1, [("a", "i4")])), 415, "('a', '<i4')"),
        (npy.MAGIC, 422, "an unknown version"),
        (npy.MAGIC + b"\x09\0\x10\0" + b" " * 99, 422, "an unknown version"),
        (npy.MAGIC + b"\2\0" + b"\xff" * 4 + b" " * 99, 422, "a header of 4,294,967,295 bytes"),
        (npy.MAGIC + b"\1\0\x76\0{'descr", 422, "ends in its header"),
        (with_header("{'descr': '<f4', 'shape': (1,)}"), 422, "an invalid header"),
        (with_header(_PLAIN % "(1,)" + "; import os"), 422, "an invalid header"),
        (with_header("{'descr': '<f4', 'descr': '<f4', 'shape': (1,)}"), 422, "an invalid header"),
        (with_header("{" + "[" * 4000), 422, "an invalid header"),
        (with_header("\xff\xfe"), 422, "an invalid header"),
        (with_header(_PLAIN % "[1]"), 422, "the shape [1]"),
        (with_header(_PLAIN % "(-1,)"), 422, "an invalid header"),
        (with_header(_PLAIN % f"({'9' * 19},)"), 422, "the shape (999"),
        (with_header(_PLAIN % f"({'1,' * 40})"), 422, "a shape of 40 sides"),
        (with_header(_PLAIN % "(2,)", b"1234"), 422, "4 bytes of data where 8 belong"),
        (with_header(_PLAIN % "(2,)", b"123456789"), 422, "9 bytes of data where 8 belong"),
        (with_header(_PLAIN % f"({'9' * 18},)", b"1"), 422, "where 3,999,999,999,999,999,996"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_other_files_are_refused_before_any_data_is_read(data, status, says):
    with pytest.raises(InputError) as refused:
        npy.read_header(data, path="$.x")
    assert (refused.value.status, says in refused.value.detail) == (status, True), refused.value
    assert refused.value.faults[0].path == "$.x"
    assert len(refused.value.detail) < 300


def peak_memory_for_a_large_shape():
    data = with_header(_PLAIN % "(100000, 100000)", b"1234")
    tracemalloc.start()
    with pytest.raises(InputError):
        npy.read_header(data)
    return tracemalloc.get_traced_memory()[1]


def test_large_shape_in_a_header_allocates_no_memory():
    assert measured_alone(peak_memory_for_a_large_shape) < 100_000


_GOOD = saved(np.arange(6, dtype="float32").reshape(2, 3))


@given(st.integers(0, len(_GOOD) - 1), st.binary(min_size=1, max_size=4))
def test_damaged_file_is_read_or_refused(at, piece):
    with contextlib.suppress(InputError):  # other exceptions fail the test
        load(_GOOD[:at] + piece + _GOOD[at + len(piece) :])


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data):
    with contextlib.suppress(InputError):
        load(npy.MAGIC + data)
