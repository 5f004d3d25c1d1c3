"""The wheel of the running carboy."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import pathlib
import zipfile
from importlib import metadata

from carboy.starter.packing import pack_wheel

SRC = pathlib.Path(__file__).resolve().parents[2] / "src"


def test_wheel_of_an_editable_install_has_every_file_of_the_source():
    wheel = pack_wheel()
    version = metadata.version("carboy")
    assert wheel.name == f"carboy-{version}-py3-none-any.whl"
    source = {
        path.relative_to(SRC).as_posix()
        for path in SRC.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(io.BytesIO(wheel.content)) as archive:
        packed = set(archive.namelist())
        assert {name for name in packed if ".dist-info/" not in name} == source
        info = f"carboy-{version}.dist-info"
        expected = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
        assert packed - source == {f"{info}/{name}" for name in expected}


def test_record_of_the_wheel_lists_each_file_with_its_hash_and_size():
    with zipfile.ZipFile(io.BytesIO(pack_wheel().content)) as archive:
        assert archive.testzip() is None
        (record,) = (name for name in archive.namelist() if name.endswith("/RECORD"))
        rows = {row[0]: row[1:] for row in csv.reader(io.StringIO(archive.read(record).decode()))}
        assert rows.pop(record) == ["", ""]
        assert set(rows) == set(archive.namelist()) - {record}
        for name, (digest, size) in rows.items():
            content = archive.read(name)
            found = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            assert (digest, int(size)) == (f"sha256={found}", len(content))


def test_wheel_of_the_same_files_is_the_same():
    assert pack_wheel() == pack_wheel()
