"""Exceptions on their way from a replica to the process that has sent the batch.

An exception arrives as one of the same class if that process has imported the class: then error
handlers find it as if `predict` had been called there. Otherwise it arrives as one of the nearest
base class that is imported, and its text names the class. Arguments and attributes that are plain
data are restored. The traceback becomes a note, which is logged with the exception.
"""

from __future__ import annotations

import traceback
import typing as t

import msgspec

from carboy.contract.exactvalues import UnpackableError, find_class
from carboy.errors import Fault, InputError

# How many frames of the traceback are sent, and how much text.
_FRAMES, _MAX_TEXT = 20, 10_000


class PackedFailure(msgspec.Struct, array_like=True):
    """An exception as plain data.

    Attributes:
        classes: module and name of its class and of the bases, without `object`.
        args: its arguments, if they are plain data; otherwise its text.
        state: its attributes that are plain data.
        text: what `str` returns for it.
        notes: what was added to it (PEP 678).
        trace: its traceback.
    """

    classes: list[tuple[str, str]]
    args: list[t.Any]
    state: dict[str, t.Any]
    text: str
    notes: list[str]
    trace: str


def pack_failure(exc: BaseException) -> PackedFailure:
    """Convert an exception to plain data."""
    text = _text_of(exc)
    args = [each for each in exc.args if _is_plain(each)]
    state = {key: each for key, each in vars(exc).items() if _is_plain(each)}
    notes = [str(each) for each in state.pop("__notes__", ())]
    trace = "".join(traceback.format_exception(exc, limit=-_FRAMES))
    return PackedFailure(
        [(cls.__module__, cls.__qualname__) for cls in type(exc).__mro__[:-1]],
        args if len(args) == len(exc.args) else [text],
        state,
        text[:_MAX_TEXT],
        notes,
        trace[-_MAX_TEXT:],
    )


def unpack_failure(failure: PackedFailure) -> BaseException:
    """Restore an exception."""
    cls = _nearest(failure)
    args = failure.args
    if (cls.__module__, cls.__qualname__) != failure.classes[0]:
        args = [f"{'.'.join(failure.classes[0])}: {failure.text}"]
    exc = _make(cls, args)
    for key, value in failure.state.items():
        try:
            setattr(exc, key, value)
        except AttributeError:  # it has a property of this name
            continue
    if isinstance(exc, InputError):
        exc.faults = tuple([Fault(*each) for each in exc.faults])
    for note in failure.notes:
        exc.add_note(note)
    exc.add_note(f"In the process of the replica:\n{failure.trace.rstrip()}")
    return exc


def _make(cls: type[BaseException], args: list[t.Any]) -> BaseException:
    """Create an exception without calling `__init__` of a class that is not Python's own: its
    arguments are unknown, and the attributes that it would set have been sent.
    """
    try:
        exc = cls(*args) if cls.__module__ == "builtins" else cls.__new__(cls, *args)
    except TypeError:  # its `__new__` takes other arguments
        exc = Exception()
    exc.args = tuple(args)
    return exc


def _nearest(failure: PackedFailure) -> type[BaseException]:
    for module, name in failure.classes:
        try:
            cls = find_class(module, name)
        except UnpackableError:
            continue
        if issubclass(cls, BaseException):
            return t.cast("type[BaseException]", cls)
    return Exception


def _text_of(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception:  # noqa: BLE001 - the user's own `__str__`
        return type(exc).__qualname__


def _is_plain(value: t.Any) -> bool:
    try:
        msgspec.msgpack.encode(value)
    except Exception:  # noqa: BLE001 - msgspec's own, of many classes
        return False
    return True
