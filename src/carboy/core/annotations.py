"""Read annotations and signatures of user functions, even if a name cannot be resolved.

Up to Python 3.13 `def` evaluates annotations, unless `from __future__ import annotations` keeps
them as text. Since 3.14 (PEP 649) the first read evaluates them, so that a name which is imported
under TYPE_CHECKING only, or defined later, makes `inspect.signature` and `__annotations__` raise
NameError. This module returns a `ForwardRef` for such an annotation; typing can evaluate it later.
`carboy.contract.hints` resolves texts and `ForwardRef`.
"""

from __future__ import annotations

import inspect
import sys
import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc


def annotations_of(function: t.Any) -> dict[str, t.Any]:
    """Return the annotations of a function: types, text, or since Python 3.14 a `ForwardRef`.

    Python caches the first successful read. Functions that are defined in a loop must therefore be
    read inside the loop: later, each annotation would see the last value of the loop's variable.
    """
    if not callable(function):
        return {}
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.get_annotations(function, format=Format.FORWARDREF)
    return inspect.get_annotations(function)


def annotation_text(function: t.Any, name: str) -> str:
    """Return an annotation as its author wrote it, for messages."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.get_annotations(function, format=Format.STRING)[name]
    found = inspect.get_annotations(function)[name]
    return found if isinstance(found, str) else inspect.formatannotation(found)


def signature_of(
    function: cabc.Callable[..., t.Any], *, follow_wrapped: bool = True
) -> inspect.Signature:
    """Return `inspect.signature(function)`, even if an annotation cannot be resolved."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(
            function, follow_wrapped=follow_wrapped, annotation_format=Format.FORWARDREF
        )
    return inspect.signature(function, follow_wrapped=follow_wrapped)
