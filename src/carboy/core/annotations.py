"""Read what user functions declare: annotations, signatures, attributes, and the functions they
wrap.

A view may be any callable. Some objects, such as a mock, a stub of a remote procedure or a lazy
proxy, return a new object for any attribute that is asked for. So `declared` returns an attribute
only if the object really has it, and `layers` follows only such attributes.

Up to Python 3.13 `def` evaluates annotations, unless `from __future__ import annotations` keeps
them as text. Since 3.14 (PEP 649) the first read evaluates them, so that a name which is imported
under TYPE_CHECKING only, or defined later, makes `inspect.signature` and `__annotations__` raise
NameError. This module returns a `ForwardRef` for such an annotation; typing can evaluate it later.
`carboy.contract.hints` resolves texts and `ForwardRef`.
"""

from __future__ import annotations

import inspect
import sys
import types
import typing as t
from functools import partial

if t.TYPE_CHECKING:
    import collections.abc as cabc


_MISSING: t.Final = object()


def declared(holder: t.Any, name: str, default: t.Any = None) -> t.Any:
    """Return the attribute `name` of an object if the object or its class really has it; `default`
    if only a method `__getattr__` would invent it, as that of a mock does.
    """
    if inspect.getattr_static(holder, name, _MISSING) is _MISSING:
        return default
    try:
        return getattr(holder, name, default)
    except Exception:  # noqa: BLE001 - a lazy proxy without its object
        return default


def layers(function: t.Any) -> cabc.Iterator[t.Any]:
    """Yield a callable, then the callable that it wraps, and so on inwards.

    A decorated function, a `functools.partial`, a bound method and an object with `__call__` wrap
    another callable.
    """
    seen: set[int] = set()
    while function is not None and id(function) not in seen:
        seen.add(id(function))
        yield function
        function = _wrapped_by(function)


def _wrapped_by(function: t.Any) -> t.Any:
    if isinstance(function, types.MethodType):
        return function.__func__
    if isinstance(function, partial):
        return function.func
    wrapped = declared(function, "__wrapped__")
    if wrapped is None and inspect.getattr_static(function, "__code__", None) is None:
        call = getattr(type(function), "__call__", None)  # noqa: B004 - of an object, its own
        wrapped = call if hasattr(call, "__code__") else None
    return wrapped


def innermost(function: cabc.Callable[..., t.Any]) -> t.Any:
    """Return the innermost function, below all decorators, partials, methods and callable
    objects.
    """
    *_, inner = layers(function)
    return inner


def view_class_of(view: t.Any) -> t.Any:
    """Return the class whose `as_view` made a view function; None for other views."""
    cls = declared(view, "view_class")
    return cls if isinstance(cls, type) else None


def annotations_of(function: t.Any) -> dict[str, t.Any]:
    """Return the annotations of a function: types, text, or since Python 3.14 a `ForwardRef`.

    Python caches the first successful read. Functions that are defined in a loop must therefore be
    read inside the loop: later, each annotation would see the last value of the loop's variable.
    """
    if isinstance(function, types.MethodType):
        function = function.__func__
    if not callable(function):
        return {}
    if inspect.getattr_static(function, "__annotations__", _MISSING) is _MISSING:
        return {}
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.get_annotations(function, format=Format.FORWARDREF)
    return inspect.get_annotations(function)


def annotation_text(function: t.Any, name: str) -> str:
    """Return an annotation as text, written as in the source if possible; for error messages."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.get_annotations(function, format=Format.STRING)[name]
    found = inspect.get_annotations(function)[name]
    return found if isinstance(found, str) else inspect.formatannotation(found)


def signature_of(
    function: cabc.Callable[..., t.Any], *, follow_wrapped: bool = True
) -> inspect.Signature:
    """Return `inspect.signature(function)`, even if an annotation uses an undefined name.

    Two other cases in which `inspect.signature` fails are handled, too. If the `__wrapped__`
    attributes of decorated functions lead in a circle, they are not followed. For a callable
    without a signature, such as a function of C or a mock, the result is `(*args, **kwargs)`.
    """
    options: dict[str, t.Any] = {}
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        options["annotation_format"] = Format.FORWARDREF
    if follow_wrapped:
        *_, last = layers(function)
        follow_wrapped = _wrapped_by(last) is None
    try:
        return inspect.signature(function, follow_wrapped=follow_wrapped, **options)
    except (TypeError, ValueError):
        if not callable(function):
            raise
        return inspect.signature(lambda *args, **kwargs: None)
