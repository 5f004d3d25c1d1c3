"""Take instances of classes apart, and build them again without calling their class.

A class may convert what it is given (a validator of pydantic, `__post_init__`), and must not do so
twice. So an instance is built from its attributes: those in `__dict__` and those in slots.
"""

from __future__ import annotations

import enum
import types
import typing as t
from functools import lru_cache

import msgspec

from .hints import is_record
from .records import is_named_tuple

# Attributes that belong to the process (`hash` of a text differs in each), or to the annotation
# with which the instance was made.
_NOT_SENT = frozenset({"__msgspec_cached_hash__", "_attrs_cached_hash", "__orig_class__"})
# Built-in types whose instances have a content beside their attributes. Of those before `list`,
# `__new__` sets it.
_BASES = (tuple, frozenset, str, bytes, int, float, list, dict, set)
_FILL: dict[type, t.Any] = {list: list.extend, dict: dict.update, set: set.update}
_MAX_CACHED = 256
# The copy of msgspec, which a class may have replaced.
_copy = vars(msgspec.Struct.__mro__[1])["__copy__"]


class _Layout(t.NamedTuple):
    """How instances of a class are taken apart.

    Attributes:
        slots: the descriptors of its slots, by name.
        base: the built-in type that it extends; None for most classes.
        blank: an instance of a Struct of which all fields are to be set; None for other classes.
    """

    slots: dict[str, types.MemberDescriptorType]
    base: type | None
    blank: t.Any


@lru_cache(_MAX_CACHED)
def _layout(cls: t.Any) -> _Layout:
    slots = {
        name: each
        for base in reversed(cls.__mro__)
        for name, each in vars(base).items()
        if isinstance(each, types.MemberDescriptorType) and name not in _NOT_SENT
    }
    base = next((each for each in _BASES if issubclass(cls, each)), None)
    return _Layout(slots, base, _blank(cls) if issubclass(cls, msgspec.Struct) else None)


def _blank(cls: t.Any) -> msgspec.Struct:
    """Return an instance of a Struct without calling its `__post_init__`."""
    # msgspec lets the garbage collector track a Struct with a list, and its copies.
    fields: dict[str, t.Any] = {name: [] for name in cls.__struct_fields__}
    if not hasattr(cls, "__post_init__"):
        return t.cast("msgspec.Struct", cls(**fields))
    without = {"__post_init__": lambda self: None}
    made = msgspec.defstruct(cls.__name__, [], bases=(cls,), namespace=without)(**fields)
    # Not by an assignment, which a frozen Struct refuses.
    vars(object)["__class__"].__set__(made, cls)
    return made


def taken_apart(value: t.Any) -> tuple[dict[str, t.Any], t.Any]:
    """Return the attributes of an instance that are set, by name, and its content.

    The content is what an instance of a subclass of `tuple`, `str`, `int`, ... holds beside its
    attributes: a plain value of the built-in type, but a `tuple` or a set as a list; None for other
    instances.
    """
    cls: t.Any = type(value)
    slots, base, _ = _layout(cls)
    found = {}
    for name, slot in slots.items():
        try:
            found[name] = slot.__get__(value)
        except AttributeError:
            continue
    found.update(getattr(value, "__dict__", ()))
    if not _NOT_SENT.isdisjoint(found):
        found = {name: each for name, each in found.items() if name not in _NOT_SENT}
    return found, None if base is None else _content(base, value)


def _content(base: t.Any, value: t.Any) -> t.Any:
    if base in (tuple, set, frozenset):
        return list(base.__iter__(value))
    return base(value) if base in (list, dict) else base.__new__(base, value)


def build(cls: t.Any, attributes: dict[str, t.Any], content: t.Any = None) -> t.Any:
    """Return an instance of a class with these attributes and this content, without calling
    `__init__`, `__post_init__` or a validator.

    Raises:
        TypeError: the class has a base that is written in C.
    """
    layout = _layout(cls)
    base, slots = layout.base, layout.slots
    if layout.blank is not None:
        made = _copy(layout.blank)
    elif base is None:
        made = object.__new__(cls)
    elif base in _FILL:
        made = base.__new__(cls)  # type: ignore[call-overload]
        _FILL[base](made, content)
    else:
        made = base.__new__(cls, content)
    if not slots:
        if attributes:
            made.__dict__.update(attributes)
        return made
    for name, value in attributes.items():
        slot = slots.get(name)
        if slot is None:
            made.__dict__[name] = value
        else:
            slot.__set__(made, value)
    return made


def may_build(cls: t.Any) -> bool:
    """Return whether `build` may make instances of a class: a record, a named tuple, or a member of
    an enumeration. Other classes might do something when they are built of foreign attributes.
    """
    return is_record(cls) or is_named_tuple(cls) or issubclass(cls, enum.Enum)
