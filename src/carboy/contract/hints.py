"""Annotations as objects, one at a time, also postponed ones of a function inside a factory.

A postponed annotation (`from __future__ import annotations`) may name a class that is local to the
function which registers the view. Such a name lives in a caller's frame and nowhere else.
"""

from __future__ import annotations

import inspect
import sys
import typing as t
import weakref
from types import SimpleNamespace

from carboy.core.annotations import annotations_of

from ..errors import SignatureError

if t.TYPE_CHECKING:
    import collections.abc as cabc
    from types import FrameType

# How far up the callers a local name is looked for, our own frames not counted: the factory, and
# what may stand between it and us.
_FRAMES_TO_SEARCH = 8

#: What could not be read.
UNREADABLE: t.Final = type("UNREADABLE", (), {"__repr__": lambda self: "UNREADABLE"})()

_locals: weakref.WeakKeyDictionary[t.Any, dict[str, t.Any]] = weakref.WeakKeyDictionary()


def innermost(function: cabc.Callable[..., t.Any]) -> t.Any:
    """The function under decorators, partials, methods and callable objects."""
    while True:
        inner = getattr(function, "__wrapped__", None) or getattr(function, "__func__", None)
        if inner is None:
            inner = getattr(function, "func", None) if _is_partial(function) else None
        if inner is None and not hasattr(function, "__code__"):
            call = getattr(type(function), "__call__", None)  # noqa: B004 - of an object, its own
            inner = call if hasattr(call, "__code__") else None
        if inner is None:
            return function
        function = inner


def shown(annotation: t.Any) -> str:
    """A type as one writes it: `float`, `numpy.ndarray`."""
    text = repr(annotation)
    return inspect.formatannotation(annotation) if text.startswith("<") else text


def remember_locals(function: cabc.Callable[..., t.Any]) -> None:
    """Keep what the names of a function's annotations mean here: it is registered later.

    For blueprints, whose views reach the app when the factory's frame is gone.
    """
    cls = getattr(function, "view_class", None)
    if cls is not None:
        for method in {each.lower() for each in cls.methods or ()} | {"dispatch_request"}:
            if hasattr(cls, method):
                remember_locals(getattr(cls, method))
        return
    inner = innermost(function)
    # Since Python 3.14 this evaluates them. In a loop that makes views, it cannot be done later.
    try:
        annotations = annotations_of(inner)
    except Exception:  # noqa: BLE001 - `read` says so, if anybody asks for types
        return
    if "<locals>" not in getattr(inner, "__qualname__", ""):
        return
    named = [each for each in annotations.values() if isinstance(each, str)]
    if not named:
        return
    kept: dict[str, t.Any] = {}
    for names in _callers_locals():
        for name, value in names.items():
            if any(name in each for each in named):
                kept.setdefault(name, value)
    _locals.setdefault(inner, kept)


def read(function: cabc.Callable[..., t.Any]) -> dict[str, t.Any]:
    """The annotations of a function, `Annotated` kept; UNREADABLE for a name that is nowhere.

    Raises:
        SignatureError: one is no valid expression, which Python 3.14 and newer notice here.
    """
    try:
        found = annotations_of(function)
    except Exception as exc:
        raise SignatureError(
            f"{function.__module__}.{function.__qualname__}: its annotations cannot be evaluated"
            f" ({type(exc).__name__}: {exc}). Correct them, or leave them out."
        ) from exc
    return {name: _resolve(function, each) for name, each in found.items()}


def _resolve(function: t.Any, annotation: t.Any) -> t.Any:
    names = getattr(function, "__globals__", {})
    holder = SimpleNamespace(__annotations__={"it": annotation})
    spaces = _spaces(function)
    while True:
        local = next(spaces, None)
        if local is None:
            return UNREADABLE
        try:
            return t.get_type_hints(holder, names, local, include_extras=True)["it"]
        except NameError:
            continue
        except Exception:  # noqa: BLE001 - an annotation may be any expression, also no type
            return UNREADABLE


def _spaces(function: t.Any) -> cabc.Iterator[dict[str, t.Any]]:
    yield {}
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    if code is not None and cells:
        yield {name: _content(cell) for name, cell in zip(code.co_freevars, cells, strict=True)}
    try:
        yield _locals.get(function, {})
    except TypeError:  # cannot be weakly referenced
        pass
    yield from _callers_locals()


def _callers_locals() -> cabc.Iterator[dict[str, t.Any]]:
    frame: FrameType | None = sys._getframe(1)
    left = _FRAMES_TO_SEARCH
    while frame is not None and left:
        if not _is_ours(frame):
            yield dict(frame.f_locals)
            left -= 1
        frame = frame.f_back


def _is_ours(frame: FrameType) -> bool:
    return t.cast("str", frame.f_globals.get("__name__", "")).startswith("carboy.")


def _content(cell: t.Any) -> t.Any:
    try:
        return cell.cell_contents
    except ValueError:  # still empty
        return UNREADABLE


def _is_partial(function: t.Any) -> bool:
    from functools import partial

    return isinstance(function, partial)
