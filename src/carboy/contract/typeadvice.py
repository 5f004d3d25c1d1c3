"""Advise which annotation to write instead of one that cannot be read from a request.

Types of other libraries are recognised by their names, so that no library is imported.
"""

from __future__ import annotations

import types
import typing as t

# The annotation to write instead of a class, by the class's module and name. An entry also applies
# to the class's subclasses.
_INSTEAD = {
    ("builtins", "object"): "`typing.Any`",
    ("numpy", "bool"): "`bool`",
    ("numpy", "bool_"): "`bool`",
    ("numpy", "integer"): "`int`",
    ("numpy", "floating"): "`float`",
    ("numpy", "str_"): "`str`",
    ("numpy", "bytes_"): "`bytes`",
    ("numpy", "datetime64"): "`datetime.datetime`",
    ("numpy", "timedelta64"): "`datetime.timedelta`",
    ("pandas", "Series"): "`list[float]`, or `DataFrame` for a table",
    ("pandas", "Index"): "`list[str]`",
    ("pandas", "Timestamp"): "`datetime.datetime`",
    ("pandas", "Timedelta"): "`datetime.timedelta`",
    ("pathlib", "PurePath"): "`Upload` for a file that the client sends, or `str`",
    ("io", "IOBase"): "`Upload` for a file that the client sends",
}


def advice(annotation: t.Any) -> str:
    """Return a sentence that names the annotation to write; "" if none is known."""
    if isinstance(annotation, types.ModuleType):
        return _of_module(annotation)
    if isinstance(annotation, (list, tuple)):
        return _of_sequence(annotation)
    if isinstance(annotation, dict):
        return "It is a dict and no type. Write a Struct, dataclass or TypedDict with these fields."
    if annotation is any:
        return "It is a function. Write `typing.Any`."
    if isinstance(annotation, (types.FunctionType, types.BuiltinFunctionType)):
        return "It is a function and no type. Write a type."
    if isinstance(annotation, (bool, int, float, str, bytes)):
        return (
            "It is a value and no type. Write a type; a default follows it, as in"
            f" `{type(annotation).__name__} = {annotation!r}`."
        )
    for inner in t.get_args(annotation):
        if found := "" if isinstance(inner, (int, str, list, tuple)) else advice(inner):
            return found
    return _of_class(annotation) if isinstance(annotation, type) else ""


def _of_module(module: types.ModuleType) -> str:
    own = module.__name__.rpartition(".")[2]
    for name, value in vars(module).items():
        if name.lower() == own.lower() and isinstance(value, type):
            return f"It is a module and no type. Write its class, `{module.__name__}.{name}`."
    return "It is a module and no type. Write a class of it."


def _of_sequence(annotation: list[t.Any] | tuple[t.Any, ...]) -> str:
    items = ", ".join(getattr(each, "__name__", repr(each)) for each in annotation)
    name = type(annotation).__name__
    return f"It is a {name} and no type. Write `{name}[{items or 'float'}]`."


def _of_class(cls: type) -> str:
    for base in cls.__mro__:
        key = (base.__module__.partition(".")[0].lstrip("_"), base.__name__)
        if key in _INSTEAD and (base is not object or cls is object):
            return f"Write {_INSTEAD[key]}."
    return ""
