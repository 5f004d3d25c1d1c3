"""Samples of each kind of value, for documents and collections."""

from __future__ import annotations

import csv
import io

import numpy as np
import PIL.Image
import pytest

from carboy.contract.values.image import stroke_png
from carboy.contract.values.registry import kind_of_media_type
from carboy.contract.values.tables.value import TableKind
from carboy.contract.values.tensor import TensorKind


def test_sample_image_is_not_blank():
    picture = PIL.Image.open(io.BytesIO(stroke_png()))
    picture.load()
    assert picture.size == (64, 64)
    assert picture.getextrema() == (0, 255)


@pytest.mark.parametrize(
    ("media_type", "suffix"),
    [
        ("image/png", "png"),
        ("text/plain", "txt"),
        ("text/csv", "csv"),
        ("application/x-npy", "npy"),
        ("application/octet-stream", "bin"),
    ],
)
def test_sample_files_have_the_suffix_of_their_kind(media_type, suffix):
    kind = kind_of_media_type(media_type)
    assert kind.suffix(media_type) == suffix
    assert kind.sample_file(media_type, None, {})


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float32", "float64"])
@pytest.mark.parametrize("value", [1, [1], [[1, 0, 1], [0, 1, 0]], [[[[1]]]]], ids=str)
def test_numpy_reads_the_sample_tensor(dtype, value):
    schema = {"x-tensor": {"dtype": dtype, "shape": ["n"]}}
    data = TensorKind.sample_file("application/x-npy", value, schema)
    array = np.load(io.BytesIO(data), allow_pickle=False)
    assert (array.dtype, array.tolist()) == (dtype, np.array(value, dtype=dtype).tolist())
    assert (len(data) - array.nbytes) % 64 == 0


def test_sample_table_has_a_header_and_a_row_per_record():
    rows = [{"a": 1, "b": None, "c": "x, y"}, {"a": 2.5, "b": True, "c": ""}]
    assert list(csv.reader(io.StringIO(TableKind.sample_file("text/csv", rows, {}).decode()))) == [
        ["a", "b", "c"],
        ["1", "", "x, y"],
        ["2.5", "true", ""],
    ]


@pytest.mark.parametrize("value", [None, [], [[1, 2]], 5], ids=str)
def test_sample_table_without_records_has_one_cell(value):
    assert TableKind.sample_file("text/csv", value, {}) == b"column\n1\n"
