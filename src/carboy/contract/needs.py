"""Decide whether a view may have annotations that carboy uses, without importing msgspec.

An app without such annotations runs no other module of this package. The check reads annotations
only roughly, so it may return True for a view that carboy then leaves unchanged. It never returns
False for a view with annotations that carboy uses.
"""

from __future__ import annotations

import sys
import typing as t

from carboy.core.annotations import annotations_of, declared, layers, view_class_of

if t.TYPE_CHECKING:
    import collections.abc as cabc

# Return annotations with which carboy does nothing, because Flask sends the values. Some are
# strings, because annotations are strings after `from __future__ import annotations`.
_FLASKS: frozenset[t.Any] = frozenset(
    (
        None,
        str,
        bytes,
        dict,
        list,
        tuple,
        t.Any,
        "None",
        "str",
        "bytes",
        "dict",
        "list",
        "tuple",
        "Any",
        "t.Any",
        "Response",
        "ft.ResponseReturnValue",
        "ResponseReturnValue",
        "ResponseValue",
        "werkzeug.Response",
        "flask.Response",
        "carboy.Response",
        "BaseResponse",
    )
)


def unbound(view: t.Any) -> t.Any:
    """Return the view that its author registered, without carboy's function around it, which reads
    the arguments from the request.
    """
    contract = getattr(view, "contract", None)
    if contract is None:
        return view
    # Only `carboy.contract.operation` sets the attribute `contract`. If it was never imported, the
    # attribute belongs to the user's code.
    shape = sys.modules.get("carboy.contract.operation")
    return contract.view if shape is not None and isinstance(contract, shape.Contract) else view


def may_need_contract(view: cabc.Callable[..., t.Any]) -> bool:
    """Return whether the annotations of a view, or of methods of its class, may be ones that carboy
    uses.
    """
    cls = view_class_of(view)
    if cls is not None:
        names = {method.lower() for method in cls.methods or ()} | {"dispatch_request"}
        return any(_has_types(getattr(cls, name, None)) for name in names)
    return _has_types(view)


def _has_types(view: t.Any) -> bool:
    for layer in layers(view):
        try:
            annotations = annotations_of(layer)
        except Exception:  # noqa: BLE001 - evaluates the author's expression, since Python 3.14
            return True
        if _has_marker_as_default(layer):
            return True
        if annotations:
            return len(annotations) > 1 or not _is_flasks(annotations)
    return False


def _has_marker_as_default(view: t.Any) -> bool:
    """Return whether a default is a marker such as `Query()`, which is an error even without
    annotations.
    """
    keywords = declared(view, "__kwdefaults__") or {}
    defaults = (*(declared(view, "__defaults__") or ()), *keywords.values())
    return any(_module_of(default) == "carboy.contract.markers" for default in defaults)


def _module_of(value: t.Any) -> t.Any:
    return (value if isinstance(value, type) else type(value)).__module__


def _is_flasks(annotations: dict[str, t.Any]) -> bool:
    if "return" not in annotations:
        return False
    returned = annotations["return"]
    try:
        return getattr(returned, "__forward_arg__", returned) in _FLASKS
    except TypeError:  # an annotation that cannot be hashed is not in the set
        return False
