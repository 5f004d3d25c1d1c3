"""`Upload`: the file that a view gets."""

import io

import pytest
from werkzeug.datastructures import FileStorage

from carboy import Upload


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("a.txt", "a.txt"),
        ("dir/a.txt", "a.txt"),
        ("C:\\dir\\a.txt", "a.txt"),
        (None, ""),
        ("..", ".."),
    ],
)
def test_file_name_has_no_folders(sent, name):
    assert Upload.of(FileStorage(io.BytesIO(b""), filename=sent)).name == name


def test_size_does_not_move_the_stream(tmp_path):
    upload = Upload(io.BytesIO(b"abcdef"), name="x")
    assert upload.read(2) == b"ab"
    assert upload.size == 6
    assert upload.read() == b"cdef"
    upload.save(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"abcdef"
    assert repr(upload) == "<Upload 'x' of 6 bytes>"
