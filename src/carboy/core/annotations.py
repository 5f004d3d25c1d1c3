"""Read annotations and signatures of user functions; an unresolved name never raises NameError.

Up to Python 3.13 `def` evaluates annotations, unless `from __future__ import annotations` keeps
them as text. Since 3.14 (PEP 649) the first read evaluates them, so that a name which is imported
under TYPE_CHECKING only, or defined later, makes `inspect.signature` and `__annotations__` raise
NameError. Here such an annotation stays a `ForwardRef`, which typing can evaluate later.

`contract/hints.py` resolves what is left, text or `ForwardRef`.
"""

from __future__ import annotations

import inspect
import sys
import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc


def annotations_of(function: t.Any) -> dict[str, t.Any]:
    """The annotations of a function: types, text, or since Python 3.14 a `ForwardRef`.

    The first successful read is kept by Python itself. A loop that defines functions must
    therefore be read inside the loop: afterwards each annotation sees the variable's last value.
    """
    if not callable(function):
        return {}
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.get_annotations(function, format=Format.FORWARDREF)
    return inspect.get_annotations(function)


def annotation_text(function: t.Any, name: str) -> str:
    """One annotation as its author wrote it, for messages."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.get_annotations(function, format=Format.STRING)[name]
    found = inspect.get_annotations(function)[name]
    return found if isinstance(found, str) else inspect.formatannotation(found)


def signature_of(
    function: cabc.Callable[..., t.Any], *, follow_wrapped: bool = True
) -> inspect.Signature:
    """`inspect.signature`, also of a function with annotations that cannot be resolved."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(
            function, follow_wrapped=follow_wrapped, annotation_format=Format.FORWARDREF
        )
    return inspect.signature(function, follow_wrapped=follow_wrapped)
