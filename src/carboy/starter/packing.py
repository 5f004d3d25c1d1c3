"""Pack the running carboy into a wheel.

A wheel (PEP 427) is a zip file with all files that pip installs. If carboy is installed, the wheel
is packed from the installed files, which carboy's file RECORD lists. In an editable install, RECORD
does not list the modules, so the wheel is packed from the folder of the source code. Both ways need
neither a network nor a build tool, and the wheel contains the code that is running.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import re
import typing as t
import zipfile
from importlib import metadata

from ..errors import StarterError

if t.TYPE_CHECKING:
    import collections.abc as cabc

_PACKAGE = "carboy"
# The files of carboy that are not in the folder of the package but beside it.
_BESIDE_PACKAGE = ("_carboy_as_flask.py", "carboy_as_flask.pth")
# The files in carboy's .dist-info folder that a wheel contains. The others are left out, because
# the installer has added them to describe this installation, such as the path of its source.
_METADATA = re.compile(r"METADATA|WHEEL|entry_points\.txt|licenses/.+")
_ADVICE = "Install carboy with pip, from its wheel or its source code, and try again."


class Wheel(t.NamedTuple):
    """A wheel: its file name and its content."""

    name: str
    content: bytes


def pack_wheel() -> Wheel:
    """Return a wheel of the running carboy.

    Raises:
        StarterError: carboy was not installed by an installer such as pip, or one of its files
            cannot be read.
    """
    try:
        dist = metadata.distribution(_PACKAGE)
    except metadata.PackageNotFoundError:
        raise StarterError(
            "The project needs a wheel of carboy, which cannot be made, because carboy is imported"
            f" from {_root()!r} and not installed. {_ADVICE}"
        ) from None
    recorded = {str(path).replace("\\", "/"): path for path in dist.files or ()}
    info = _info_folder(recorded)
    names = [name for name in recorded if _belongs_to_info(name, info)]
    files = {name: _read(str(dist.locate_file(recorded[name]))) for name in names}
    files |= {name: _read(os.path.join(_root(), name)) for name in _module_files(dist, recorded)}
    tag = _tag(files[f"{info}/WHEEL"].decode())
    return Wheel(f"{info.removesuffix('.dist-info')}-{tag}.whl", _zip(files, info))


def _root() -> str:
    """Return the folder that contains the running package `carboy`, such as site-packages."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _info_folder(recorded: cabc.Iterable[str]) -> str:
    for name in recorded:
        folder, _, file = name.partition("/")
        if folder.endswith(".dist-info") and file == "WHEEL":
            return folder
    raise StarterError(
        "The project needs a wheel of carboy, which cannot be made, because this installation of"
        f" carboy has no list of its files (RECORD). {_ADVICE}"
    )


def _belongs_to_info(name: str, info: str) -> bool:
    folder, _, file = name.partition("/")
    return folder == info and _METADATA.fullmatch(file) is not None


def _module_files(dist: metadata.Distribution, recorded: cabc.Iterable[str]) -> cabc.Iterable[str]:
    """Return the paths of the files of the running carboy, without metadata, relative to the folder
    that contains the package.
    """
    main = f"{_PACKAGE}/__init__.py"
    names = set(recorded)
    installed = str(dist.locate_file(main))
    if main in names and os.path.realpath(installed).startswith(os.path.realpath(_root()) + os.sep):
        return [name for name in names if _is_module_file(name)]
    return _files_in_source()


def _is_module_file(name: str) -> bool:
    in_package = name.startswith(f"{_PACKAGE}/") and "/__pycache__/" not in name
    return in_package or name in _BESIDE_PACKAGE


def _files_in_source() -> cabc.Iterator[str]:
    yield from _BESIDE_PACKAGE
    root = _root()
    for folder, folders, names in os.walk(os.path.join(root, _PACKAGE)):
        folders[:] = [each for each in folders if each != "__pycache__"]
        inside = os.path.relpath(folder, root).replace(os.sep, "/")
        yield from (f"{inside}/{name}" for name in names)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as exc:
        raise StarterError(
            "The project needs a wheel of carboy, which cannot be made, because the file"
            f" {path!r} cannot be read: {exc.strerror}. {_ADVICE}"
        ) from None


def _tag(text: str) -> str:
    """Return the tag in the text of a wheel's file WHEEL, such as "py3-none-any", which says for
    which Pythons and platforms the wheel is.
    """
    tags = [line.partition(":")[2].strip() for line in text.splitlines() if line[:4] == "Tag:"]
    return tags[0]


def _zip(files: dict[str, bytes], info: str) -> bytes:
    output = io.BytesIO()
    record = io.StringIO(newline="")
    rows = csv.writer(record, lineterminator="\n")
    with zipfile.ZipFile(output, "w") as archive:
        # The files are sorted, and all have the same time, so that two wheels of the same files are
        # equal. By convention the metadata comes last.
        for name in sorted(files, key=lambda name: (name.startswith(info), name)):
            digest = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest())
            rows.writerow((name, f"sha256={digest.decode().rstrip('=')}", len(files[name])))
            _add(archive, name, files[name])
        rows.writerow((f"{info}/RECORD", "", ""))
        _add(archive, f"{info}/RECORD", record.getvalue().encode())
    return output.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name)  # gets the earliest time of the zip format: 1 January 1980
    entry.external_attr = 0o100644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)
