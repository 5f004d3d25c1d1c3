"""List the values of Literals and Enums in schemas in the order in which they are declared.

msgspec sorts them, so that "small", "medium", "large" would be large, medium, small on pages and in
documents.
"""

from __future__ import annotations

import enum
import typing as t

from .hints import is_record, strip

if t.TYPE_CHECKING:
    import collections.abc as cabc

Schema: t.TypeAlias = dict[str, t.Any]
#: The declared order, by the values without None.
Orders: t.TypeAlias = dict[frozenset[tuple[type, t.Any]], list[t.Any]]


def in_declared_order(schema: t.Any, annotations: cabc.Iterable[t.Any]) -> t.Any:
    """Return a schema, or several in a list or dict, with each `enum` in its declared order."""
    orders: Orders = {}
    _collect(annotations, orders)
    return _ordered(schema, orders) if orders else schema


def _collect(annotations: cabc.Iterable[t.Any], orders: Orders) -> None:
    todo: list[t.Any] = list(annotations)
    seen: dict[int, t.Any] = {}  # by id, because an annotation may be unhashable
    while todo:
        kind = strip(todo.pop(0))
        if id(kind) in seen:
            continue
        seen[id(kind)] = kind
        arguments = t.get_args(kind)
        if t.get_origin(kind) is t.Literal:
            _add(orders, arguments)
        elif isinstance(kind, type) and issubclass(kind, enum.Enum):
            _add(orders, [member.value for member in kind])
        else:
            todo += arguments
        record = t.get_origin(kind) or kind
        if is_record(record):
            todo += _field_types(record)


def _field_types(record: t.Any) -> list[t.Any]:
    try:
        return list(t.get_type_hints(record, include_extras=True).values())
    except (NameError, TypeError):  # names that are not found are reported where they are read
        return []


def _add(orders: Orders, values: cabc.Iterable[t.Any]) -> None:
    values = list(dict.fromkeys(values))
    if len(values) > 1:
        orders.setdefault(_key(values), values)


def _key(values: cabc.Iterable[t.Any]) -> frozenset[tuple[type, t.Any]]:
    # The types belong to it, because 1 and True are equal.
    return frozenset((type(value), value) for value in values if value is not None)


def _ordered(node: t.Any, orders: Orders) -> t.Any:
    if isinstance(node, dict):
        found = {key: _ordered(value, orders) for key, value in node.items()}
        values = node.get("enum")
        if isinstance(values, list) and all(isinstance(v, (str, int, type(None))) for v in values):
            declared = orders.get(_key(values), values)
            null = [None] if None in values and None not in declared else []
            kept = [value for value in declared if value is not None or None in values]
            found["enum"] = [*kept, *null]
        return found
    if isinstance(node, (list, tuple)):
        return type(node)(_ordered(each, orders) for each in node)
    return node
