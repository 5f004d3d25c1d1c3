"""Exceptions on their way from a replica to the process that has sent the batch.

An exception arrives as one of the same class if that process has imported the class: then error
handlers find it as if `predict` had been called there. Otherwise it arrives as one of the nearest
base class that is imported, and its text names the class. Arguments and attributes that can be sent
(`contract.exactvalues`) are restored, and so is the response of an HTTPException. The traceback
becomes a note, which is logged with the exception.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
import typing as t

import msgspec

from carboy.contract.exactvalues import (
    UnpackableError,
    find_class,
    pack_exactly,
    read_exactly,
)

from .exceptiontexts import text_of, writable

# How many frames of the traceback are sent, and how much text.
_FRAMES, _MAX_TEXT = 20, 10_000
# Sets the arguments also if a class has a property of this name.
_set_args = vars(BaseException)["args"].__set__
# The attribute of an HTTPException with challenges, and the name of their class in werkzeug.
_CHALLENGES, _CHALLENGE = "www_authenticate", "WWWAuthenticate"


class _PackedResponse(msgspec.Struct, array_like=True):
    """The response that `abort(Response(...))` has put into an HTTPException."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes


class PackedFailure(msgspec.Struct, array_like=True):
    """An exception as plain data.

    Attributes:
        classes: module and name of its class and of the bases, without `object`.
        args: each of its arguments, if they can be sent; otherwise None.
        state: its attributes that can be sent.
        text: what `str` returns for it.
        notes: what was added to it (PEP 678).
        trace: its traceback.
        response: its response.
        challenges: its WWW-Authenticate headers.
    """

    classes: list[tuple[str, str]]
    args: list[bytes] | None
    state: dict[str, bytes]
    text: str
    notes: list[str]
    trace: str
    response: _PackedResponse | None = None
    challenges: list[str] = []


def pack_failure(exc: BaseException) -> PackedFailure:
    """Convert an exception to plain data. Raises nothing, whatever the exception has."""
    text = writable(text_of(exc)[:_MAX_TEXT])
    classes = [(cls.__module__, cls.__qualname__) for cls in type(exc).__mro__[:-1]]
    failure = PackedFailure(classes, None, {}, text, [], "")
    # A class may define these attributes, and its texts, in any way.
    for add in (_add_args, _add_state, _add_notes, _add_trace, _add_response, _add_challenges):
        with contextlib.suppress(Exception):  # then the exception arrives without this part
            add(failure, exc)
    return failure


def _add_args(failure: PackedFailure, exc: BaseException) -> None:
    failure.args = list(map(pack_exactly, exc.args))


def _add_state(failure: PackedFailure, exc: BaseException) -> None:
    for key, value in vars(exc).items():
        if key != "__notes__" and isinstance(key, str):
            with contextlib.suppress(Exception):  # also what a property of the value raises
                failure.state[writable(key)] = pack_exactly(value)


def _add_notes(failure: PackedFailure, exc: BaseException) -> None:
    failure.notes = [writable(str(each)) for each in getattr(exc, "__notes__", ())]


def _add_trace(failure: PackedFailure, exc: BaseException) -> None:
    trace = "".join(traceback.format_exception(exc, limit=-_FRAMES))
    failure.trace = writable(trace[-_MAX_TEXT:])


def _add_response(failure: PackedFailure, exc: BaseException) -> None:
    response = getattr(exc, "response", None)
    if hasattr(exc, "get_response") and response is not None:
        headers = [(writable(key), writable(str(value))) for key, value in response.headers]
        body = response.get_data()
        failure.response = _PackedResponse(writable(response.status), headers, body)


def _add_challenges(failure: PackedFailure, exc: BaseException) -> None:
    found = getattr(exc, _CHALLENGES, None) or ()
    failure.challenges = [
        writable(each.to_header()) for each in found if type(each).__name__ == _CHALLENGE
    ]


def unpack_failure(failure: PackedFailure) -> BaseException:
    """Restore an exception."""
    cls = _nearest(failure)
    args: list[t.Any] | None = None
    if (cls.__module__, cls.__qualname__) != failure.classes[0]:
        args = [f"{'.'.join(failure.classes[0])}: {failure.text}"]
    elif failure.args is not None:
        args = _read_args(failure.args)
    exc = _make(cls, [failure.text] if args is None else args)
    for key, value in _attributes(failure).items():
        with contextlib.suppress(Exception):  # such as of a property of this name
            setattr(exc, key, value)
    for note in failure.notes:
        exc.add_note(note)
    exc.add_note(f"In the process of the replica:\n{failure.trace.rstrip()}")
    return exc


def _read_args(args: list[bytes]) -> list[t.Any] | None:
    try:
        return list(map(read_exactly, args))
    except UnpackableError:  # a class that only the replica has imported
        return None


def _attributes(failure: PackedFailure) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {}
    for key, value in failure.state.items():
        try:
            found[key] = read_exactly(value)
        except UnpackableError:
            continue
    if (response := failure.response) is not None:
        werkzeug = sys.modules["werkzeug.wrappers"]
        found["response"] = werkzeug.Response(response.body, response.status, response.headers)
    if failure.challenges:
        read = getattr(sys.modules["werkzeug.datastructures"], _CHALLENGE).from_header
        found[_CHALLENGES] = tuple(map(read, failure.challenges))
    return found


def _make(cls: type[BaseException], args: list[t.Any]) -> BaseException:
    """Create an exception without calling `__init__` of a class that is not Python's own: its
    arguments are unknown, and the attributes that it would set have been sent.
    """
    try:
        exc = cls(*args) if cls.__module__ == "builtins" else cls.__new__(cls, *args)
    except (TypeError, ValueError):  # it takes other arguments
        exc = Exception()
    _set_args(exc, tuple(args))
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
