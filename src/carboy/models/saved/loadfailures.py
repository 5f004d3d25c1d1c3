"""Explain why a model file cannot be read: by its content, by the error, and by the versions that
have written it.

`explain_failure` is for any error that was raised while a program loaded a model by hand; it finds
the file by the traceback. No file is unpickled.
"""

from __future__ import annotations

import lzma
import os
import pickle
import re
import sys
import typing as t
import zipfile
import zlib

from carboy.core.advice import of_relative_path
from carboy.core.processmemory import available_bytes, in_mib
from carboy.errors import ModelFileError

from .card import card_beside
from .libraries import MadeBy, differences, makers_on
from .pickles import begins_as_pickle, makers_of, modules_in
from .tracebackfiles import file_being_read, was_raised_by_pickle

if t.TYPE_CHECKING:
    from collections import abc as cabc

_MAIN = re.compile(
    r"Can't get attribute '(?P<name>[\w.]+)' on (?P<module><module .*>)"
    # The wording of Python 3.14.
    r"|module '(?P<of>[\w.]+)' has no attribute '(?P<attribute>[\w.]+)'"
)
_NO_MEMORY = re.compile(r"(?i)unable to allocate|can't allocate memory|bad_alloc|out of memory")
_NO_GPU = re.compile(
    r"deserialize object on a? ?CUDA|No CUDA GPUs|not compiled with CUDA|no NVIDIA driver"
    r"|deserialize object on CUDA device"
)
_CUT_SHORT = re.compile(
    r"(?i)truncated|ran out of input|ended before|end-of-stream|central directory|not fully covered"
    r"|reading array data|failed to read all data|protobuf parsing failed|incomplete"
)
_WEB_PAGES = (b"<!doctype html", b"<html")
_LFS = b"version https://git-lfs"
# How files of other formats begin, and what reads them.
_OTHERS: t.Mapping[bytes, str] = {
    b"\x89HDF": "HDF5, as Keras writes it: keras.models.load_model",
    b"\x93NUMPY": "an array of NumPy: numpy.load",
    b"{": "JSON, as XGBoost writes it: load_model of its classes",
    b"GGUF": "GGUF, as llama.cpp reads it",
    b"tree\n": "a text of LightGBM: lightgbm.Booster(model_file=...)",
    b"\x80": "a pickle: pickle.load, joblib.load or torch.load",
    b"PK": "a ZIP archive, as torch.save and numpy.savez write it: torch.load or numpy.load",
}
_START_BYTES = 1024


class FailedRead(t.NamedTuple):
    """A file that cannot be read, and the error; None if the file has only been compared with its
    digest.
    """

    path: str
    named: str
    size: int
    start: bytes
    error: BaseException | None

    @property
    def said(self) -> str:
        return "" if self.error is None else str(self.error)


def explain_failure(error: BaseException) -> str:
    """Return the cause of an error that was raised while a model was loaded, and the ways out; ""
    if there is nothing to say.
    """
    if isinstance(error, ModelFileError):  # it says so itself
        return ""
    try:
        return _explain_failure(error)
    except Exception:  # noqa: BLE001 - whatever a variable of the program does when it is looked at
        return ""  # an explanation must not take the place of the error


def _explain_failure(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError) and isinstance(error.filename, str):
        return of_relative_path(error, error.filename)
    path = file_being_read(error)
    if path is None:
        return _explain(FailedRead("", "The file", 0, b"", error), _WITHOUT_FILE)
    return explain_file(error, path, named=f"The file {path!r}")


def explain_file(error: BaseException | None, path: str, *, named: str = "The file") -> str:
    """Return why a file cannot be read, and the ways out; "" if there is nothing to say."""
    failed = _examine(path, named, error)
    if failed is None:
        return ""
    return _explain(failed, _OF_CONTENT if error is None else (*_OF_CONTENT, *_OF_ERRORS))


def _examine(path: str, named: str, error: BaseException | None) -> FailedRead | None:
    """Read the start of a file; None if it has gone, or belongs to somebody else."""
    if os.path.isdir(path):
        return FailedRead(path, named, 0, b"", error)
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            start = file.read(_START_BYTES)
    except OSError:
        return None
    return FailedRead(path, named, size, start, error)


def _explain(failed: FailedRead, causes: cabc.Iterable[cabc.Callable[[FailedRead], str]]) -> str:
    return next(filter(None, (cause(failed) for cause in causes)), "")


# --- causes that the content shows ---------------------------------------------------------------


def _of_folder(failed: FailedRead) -> str:
    if not os.path.isdir(failed.path):
        return ""
    names = sorted(os.listdir(failed.path))[:5]
    return (
        f"{failed.path!r} is a folder, and a file is expected. It contains"
        f" {', '.join(map(repr, names)) or 'nothing'}."
    )


def _of_empty(failed: FailedRead) -> str:
    if failed.size or not os.path.isfile(failed.path):
        return ""
    return (
        f"{failed.named} is empty: its writer or its download was stopped. Write or copy it again."
    )


def _of_lfs_pointer(failed: FailedRead) -> str:
    if not failed.start.startswith(_LFS):
        return ""
    size = re.search(rb"\nsize (\d+)", failed.start)
    model = f" of {int(size[1]):,} bytes" if size else ""
    return (
        f"{failed.named} is a pointer of Git LFS instead of the model{model}. Run 'git lfs install'"
        " and 'git lfs pull' where the repository was cloned (in GitHub Actions: 'lfs: true' of"
        " actions/checkout), and build images after that."
    )


def _of_web_page(failed: FailedRead) -> str:
    text = failed.start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    is_storage_error = text.startswith(b"<?xml") and b"<error>" in text
    if not text.startswith(_WEB_PAGES) and not is_storage_error:
        return ""
    title = re.search(rb"(?is)<(title|code)>(.*?)</", failed.start)
    says = f" (it says {title[2].decode('utf-8', 'replace').strip()!r})" if title else ""
    return (
        f"{failed.named} is a web page{says} instead of the model: the download got an error or a"
        " login. Look at it with a text editor, and download the model again with the right address"
        " and token, by a client that fails on errors (curl --fail)."
    )


# --- causes that the error shows, whatever the file ----------------------------------------------


def _of_memory(failed: FailedRead) -> str:
    if not isinstance(failed.error, MemoryError) and not _NO_MEMORY.search(failed.said):
        return ""
    size = f" {failed.named} has {failed.size:,} bytes." if failed.size else ""
    free = available_bytes()
    left = (
        f" The machine has {in_mib(free)} left; a container may be allowed less."
        if free is not None
        else ""
    )
    return (
        f"The model does not fit into the memory.{size}{left} Run fewer workers, because each loads"
        " the model (--workers 1); map arrays instead of reading them (joblib.load(path,"
        " mmap_mode='r')); save the weights in a smaller type; or give the process more memory."
    )


def _of_gpu(failed: FailedRead) -> str:
    if not _NO_GPU.search(failed.said):
        return ""
    cause = f"{failed.named} was written on a GPU" if failed.path else "The program asks for a GPU"
    return (
        f"{cause}, and this process sees none or fewer."
        " Load it on the CPU: torch.load(path, map_location='cpu'), and choose the device"
        " afterwards: 'cuda' if torch.cuda.is_available() else 'cpu'. Or give the process a GPU:"
        " look at nvidia-smi and CUDA_VISIBLE_DEVICES."
    )


class _MissingName(t.NamedTuple):
    """A name that a pickle has, and its module does not."""

    module: str
    name: str


def _missing_name(failed: FailedRead) -> _MissingName | None:
    found = _MAIN.match(failed.said) if isinstance(failed.error, AttributeError) else None
    if found is None:
        return None
    name = found["name"] or found["attribute"]
    if found["module"] == repr(sys.modules["__main__"]):
        return _MissingName("__main__", name)
    return _MissingName(found["of"] or found["module"].split("'")[1], name)


def _of_main(failed: FailedRead) -> str:
    """Explain a pickle of a class of `__main__`, that is, of another program's own code."""
    missing = _missing_name(failed)
    if missing is None or missing.module != "__main__":
        return ""
    name = missing.name
    return (
        f"{failed.named} was pickled by a notebook or a script that defined {name!r} itself, so"
        f" that the file says '__main__.{name}'. Move {name!r} into a module, import it from there"
        " where the file is written, and write the file again. Or, before the file is read: import"
        f" __main__; __main__.{name} = {name}."
    )


# --- causes that the file and the error show together ---------------------------------------------


def _of_missing_module(failed: FailedRead) -> str:
    error = failed.error
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    name, top = error.name, error.name.partition(".")[0]
    if not any(f"{each}.".startswith(f"{name}.") for each in modules_in(failed.path)):
        return ""  # the program itself imports it
    needs = f"{failed.named} was pickled with classes of the module {name!r}, which this process"
    if name.startswith("numpy._core"):
        return f"{needs} does not have: it was written with NumPy 2. Install NumPy 2 or newer."
    if name != top:
        return (
            f"{needs} does not have: {top!r} has moved it. {_versions(failed)}Install the version"
            f" of {top!r} that has written the file, load and save the model there in a format that"
            " does not name classes, or write the file anew."
        )
    return (
        f"{needs} cannot import. If it is a library, install it. If it is a file {name}.py of your"
        " own, put it where the app can import it (beside the app, or in an installed package), and"
        " under the same name as when the file was written."
    )


def _of_moved_name(failed: FailedRead) -> str:
    missing = _missing_name(failed)
    if missing is None:
        return ""
    module, name = missing
    return (
        f"{failed.named} was pickled with {module}.{name}, which the installed {module!r} does not"
        f" have: it was renamed or moved. {_versions(failed)}Install or restore the version that"
        " has written the file, or write the file anew."
    )


def _of_newer_pickle(failed: FailedRead) -> str:
    found = re.search(r"unsupported pickle protocol: (\d+)", failed.said)
    if found is None:
        return ""
    return (
        f"{failed.named} was written by a newer Python, with version {found[1]} of the pickle"
        f" format; this Python reads up to {pickle.HIGHEST_PROTOCOL}. Run the app with that Python,"
        f" or write the file with protocol={pickle.HIGHEST_PROTOCOL}."
    )


def _of_cut_file(failed: FailedRead) -> str:
    if not _is_cut(failed):
        return ""
    listed = card_beside(failed.path)
    of = f" of {listed[0].files[listed[1]].bytes:,}" if listed else ""
    return (
        f"{failed.named} ends early or is damaged; it has {failed.size:,}{of} bytes. It was not"
        " copied or downloaded completely, or its writer was stopped. Compare its size and its"
        " digest (sha256sum) with the original, and copy it again."
    )


def _is_cut(failed: FailedRead) -> bool:
    if failed.start.startswith(b"PK"):
        return not zipfile.is_zipfile(failed.path)
    if isinstance(failed.error, (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)):
        return True
    # The last instruction of each pickle is a full stop; also if joblib has written it.
    if failed.start.startswith(b"\x80") and _last_byte(failed.path) != b".":
        return True
    return bool(_CUT_SHORT.search(failed.said))


def _last_byte(path: str) -> bytes:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


def _of_whole_object(failed: FailedRead) -> str:
    if "weights_only" not in failed.said or "Unsupported global" not in failed.said:
        return ""
    return (
        f"{failed.named} contains a whole object of PyTorch, whose loading runs code, instead of"
        " weights. Where it is written, save the weights: torch.save(net.state_dict(), path), or"
        " carboy.models.save(net, folder). If you trust the file: torch.load(path,"
        " weights_only=False)."
    )


def _of_other_format(failed: FailedRead) -> str:
    if failed.error is None or not was_raised_by_pickle(failed.error):
        return ""
    if begins_as_pickle(failed.path):
        return ""
    known = (text for start, text in _OTHERS.items() if failed.start.startswith(start))
    kind = next(known, "")
    return (
        f"{failed.named} is no pickle: it begins with {failed.start[:12]!r}."
        f" {f'That is {kind}.' if kind else 'Another program has written it, or changed it.'}"
    )


def _of_versions(failed: FailedRead) -> str:
    versions = _versions(failed)
    if not versions:
        return ""
    return (
        f"{failed.named} may not fit what is installed. {versions}Install the version that has"
        " written it, or write it anew."
    )


def _versions(failed: FailedRead) -> str:
    """Return sentences about libraries of other versions, each with a space at its end."""
    return "".join(f"{each} " for each in differences(written_by(failed.path)))


def written_by(path: str) -> set[MadeBy]:
    """Return the libraries that have written a file, as far as its card or the file itself says."""
    listed = card_beside(path)
    return makers_on(listed[0]) if listed else makers_of(path)


_OF_CONTENT = (_of_folder, _of_empty, _of_lfs_pointer, _of_web_page)
_WITHOUT_FILE = (_of_memory, _of_gpu, _of_main)
_OF_ERRORS = (
    *_WITHOUT_FILE,
    _of_missing_module,
    _of_moved_name,
    _of_newer_pickle,
    _of_whole_object,
    _of_other_format,
    _of_cut_file,
    _of_versions,
)
