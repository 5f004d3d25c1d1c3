"""Find the model file that was being read when an error was raised.

Python's errors seldom name the file ("Ran out of input"). The frames of the traceback do: their
variables hold the path or the open file, and their code contains the names of files. Rejected: an
audit hook (`sys.addaudithook`), which would see each file that is opened, because it can never be
removed and would be called for each event of the process from then on.
"""

from __future__ import annotations

import io
import linecache
import os
import pickle
import re
import traceback
import typing as t

if t.TYPE_CHECKING:
    import types
    from collections import abc as cabc

# Names by which model files are recognised in code that is not a library's reader.
_SUFFIXES = (
    *(".ckpt", ".dill", ".joblib", ".pickle", ".pkl", ".pt", ".pth", ".sav"),
    *(".onnx", ".safetensors", ".h5", ".keras", ".npy", ".npz", ".bin", ".model", ".ubj", ".gz"),
)
# Libraries whose functions read model files: each path in their variables is that of such a file.
_OF_PICKLES = frozenset({"cloudpickle", "dill", "joblib", "pickle"})
_READERS = _OF_PICKLES | {"onnx", "onnxruntime", "safetensors", "torch"}
_MAX_FRAMES = 30


_ATTRIBUTE = re.compile(r"(\w+)\.(\w+)")


def file_being_read(error: BaseException) -> str | None:
    """Return the path of the model file that was being read when an error was raised, as the
    program wrote it; None if none is found.
    """
    named = getattr(error, "filename", None)
    if isinstance(named, str) and os.path.exists(named):
        return named
    steps = list(traceback.walk_tb(error.__traceback__))[-_MAX_FRAMES:]
    for frame, line in reversed(steps):
        for path in _candidates(frame, linecache.getline(frame.f_code.co_filename, line)):
            return path
    return None


def was_raised_by_pickle(error: BaseException) -> bool:
    """Return whether an error was raised by a library that reads pickles: joblib's reader, in
    Python, raises KeyError for an unknown instruction.
    """
    steps = list(traceback.walk_tb(error.__traceback__))
    by_library = bool(steps) and _library_of(steps[-1][0]) in _OF_PICKLES
    return by_library or isinstance(error, pickle.UnpicklingError)


def _candidates(frame: types.FrameType, line: str) -> cabc.Iterator[str]:
    """Yield the files that a function may be reading, the likeliest first: what the failing line
    names, open files, other variables, and names of files in the code.
    """
    of_reader = _library_of(frame) in _READERS
    values = list(frame.f_locals.values())
    is_open = [each for each in values if issubclass(type(each), io.IOBase) and not each.closed]
    for path in map(_path_of, (*_named_in(frame, line), *is_open, *values)):
        if path and (of_reader or path.lower().endswith(_SUFFIXES)) and os.path.exists(path):
            yield path
    if not of_reader:
        yield from _named_in_code(frame.f_code)


def _library_of(frame: types.FrameType) -> str:
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0]


def _named_in(frame: types.FrameType, line: str) -> cabc.Iterator[t.Any]:
    """Yield the values of the variables and attributes that a line names. Properties are not
    called.
    """
    known = {**frame.f_globals, **frame.f_locals}
    for owner, name in _ATTRIBUTE.findall(line):
        yield _own_attributes(known.get(owner)).get(name)
    for name in re.findall(r"\w+", line):
        yield known.get(name)


def _own_attributes(value: object) -> dict[str, t.Any]:
    try:
        return t.cast("dict[str, t.Any]", object.__getattribute__(value, "__dict__"))
    except AttributeError:
        return {}


def _named_in_code(code: types.CodeType) -> cabc.Iterator[str]:
    beside = os.path.dirname(code.co_filename)
    for name in code.co_consts:
        if isinstance(name, str) and name.lower().endswith(_SUFFIXES):
            yield from filter(os.path.exists, (name, os.path.join(beside, name)))


def _path_of(value: t.Any) -> str | None:
    """Return the path that a variable holds: a text, a path or an open file. Of other objects only
    the type is looked at, because their attributes may do anything, as those of `request` do.
    """
    if issubclass(type(value), os.PathLike):
        value = os.fspath(value)
    elif issubclass(type(value), io.IOBase):
        value = getattr(value, "name", None)
    is_short = issubclass(type(value), str) and 0 < len(value) < 4096 and "\0" not in value
    return value if is_short else None
