"""Example files for uploads."""

from __future__ import annotations

import csv
import io

import numpy as np
import PIL.Image
import pytest

from carboy.openapi.samplefiles import sample_csv, sample_file, stroke_png


def test_picture_is_not_blank():
    picture = PIL.Image.open(io.BytesIO(stroke_png()))
    picture.load()
    assert picture.size == (64, 64)
    assert picture.getextrema() == (0, 255)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("image/png", "a.png"),
        ("image/*", "a.png"),
        ("text/plain", "a.txt"),
        ("text/csv", "a.csv"),
        ("application/json", "a.json"),
        ("application/octet-stream", "a.bin"),
    ],
)
def test_file_names_have_the_extension_of_their_type(kind, name):
    found, data = sample_file("a", kind)
    assert found == name
    assert data


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float32", "float64"])
@pytest.mark.parametrize("value", [1, [1], [[1, 0, 1], [0, 1, 0]], [[[[1]]]]], ids=str)
def test_numpy_reads_the_tensor(dtype, value):
    _, data = sample_file("a", "application/x-npy", value=value, dtype=dtype)
    array = np.load(io.BytesIO(data), allow_pickle=False)
    assert (array.dtype, array.tolist()) == (dtype, np.array(value, dtype=dtype).tolist())
    assert (len(data) - array.nbytes) % 64 == 0


def test_table_has_a_header_and_a_row_per_record():
    rows = [{"a": 1, "b": None, "c": "x, y"}, {"a": 2.5, "b": True, "c": ""}]
    assert list(csv.reader(io.StringIO(sample_csv(rows)))) == [
        ["a", "b", "c"],
        ["1", "", "x, y"],
        ["2.5", "true", ""],
    ]


@pytest.mark.parametrize("value", [None, [], [[1, 2]], 5], ids=str)
def test_table_without_records_has_one_cell(value):
    assert sample_csv(value) == "column\n1\n"
