"""Values as MessagePack that says of which class they are, so that they are read as they were.

What MessagePack has itself is packed by msgspec, fast: numbers, text, bytes, lists and dicts.
Another value becomes an extension: a word and plain data (`tuple`, `datetime`, ...), or its class
and its attributes. Nothing is validated or converted when it is read.
"""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import pathlib
import re
import sys
import types
import typing as t
import uuid
import zoneinfo
from functools import partial

import msgspec

from .rebuilding import build, may_build, taken_apart
from .records import types_in
from .values.registry import kind_inside_json

if t.TYPE_CHECKING:
    from collections import abc as cabc

    Encode: t.TypeAlias = cabc.Callable[[t.Any], bytes]

# Codes of MessagePack's extension types: a word and plain data; a class, attributes and content.
WORD, INSTANCE = 2, 3
AS_IS = frozenset({bool, bytes, float, int, str, types.NoneType})
# The integers that MessagePack has.
_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1
# Days, seconds and microseconds; a time zone may have a name besides.
_OFFSET_PARTS = 3


class UnpackableError(TypeError):
    """A value cannot be sent to another process."""


class _Form(t.NamedTuple):
    """How values of one class are written, and read.

    Attributes:
        word: its name in the message.
        write: returns a value as plain data.
        read: returns the value again.
    """

    word: str
    write: cabc.Callable[[t.Any], t.Any]
    read: cabc.Callable[[t.Any], t.Any]


def _foreign(name: str) -> cabc.Callable[[t.Any], t.Any]:
    """Return a function that calls a class of pydantic, which need not be installed."""

    def call(value: t.Any) -> t.Any:
        return getattr(sys.modules["pydantic_core"], name)(value)

    return call


def _zone(key: str) -> dt.tzinfo:
    return zoneinfo.ZoneInfo(key)


def _delta(value: dt.timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def _timezone(zone: dt.timezone) -> list[t.Any]:
    offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
    return [*_delta(offset), *name]


def _read_timezone(parts: list[t.Any]) -> dt.timezone:
    return dt.timezone(dt.timedelta(*parts[:_OFFSET_PARTS]), *parts[_OFFSET_PARTS:])


def _time(value: dt.time | dt.datetime) -> t.Any:
    """Return a time as text, which has an offset if the time has one and nothing else."""
    zone = value.tzinfo
    has_offset = type(zone) is dt.timezone and len(_timezone(zone)) == _OFFSET_PARTS
    if not value.fold and (zone is None or has_offset):
        return value.isoformat()
    return [value.replace(tzinfo=None).isoformat(), value.fold, _portable(value)]


def _portable(value: dt.time | dt.datetime) -> t.Any:
    """Return the time zone of a time. One of a class that cannot be sent becomes its offset."""
    zone = value.tzinfo
    is_nameless = isinstance(zone, zoneinfo.ZoneInfo) and zone.key is None  # made of a file
    if _form_of(type(zone)) is not None and not is_nameless:
        return zone
    offset = value.utcoffset()
    return None if offset is None else dt.timezone(offset, value.tzname() or str(offset))


def _read_time(cls: t.Any, data: t.Any) -> t.Any:
    if type(data) is str:
        return cls.fromisoformat(data)
    text, fold, zone = data
    return cls.fromisoformat(text).replace(fold=fold, tzinfo=zone)


def _items(value: cabc.Mapping[t.Any, t.Any]) -> list[list[t.Any]]:
    return [list(item) for item in value.items()]


# The classes whose values are no instances with attributes only.
_FORMS: dict[type, _Form] = {
    int: _Form("int", hex, lambda text: int(text, 16)),
    tuple: _Form("tuple", list, tuple),
    set: _Form("set", list, set),
    frozenset: _Form("frozenset", list, frozenset),
    dict: _Form("dict", _items, dict),
    collections.OrderedDict: _Form("OrderedDict", _items, collections.OrderedDict),
    collections.deque: _Form(
        "deque",
        lambda value: [list(value), value.maxlen],
        lambda parts: collections.deque(*parts),
    ),
    bytearray: _Form("bytearray", bytes, bytearray),
    complex: _Form("complex", lambda z: [z.real, z.imag], lambda parts: complex(*parts)),
    decimal.Decimal: _Form("Decimal", str, decimal.Decimal),
    uuid.UUID: _Form("UUID", str, uuid.UUID),
    dt.datetime: _Form("datetime", _time, partial(_read_time, dt.datetime)),
    dt.time: _Form("time", _time, partial(_read_time, dt.time)),
    dt.date: _Form("date", dt.date.isoformat, dt.date.fromisoformat),
    dt.timedelta: _Form("timedelta", _delta, lambda parts: dt.timedelta(*parts)),
    dt.timezone: _Form("timezone", _timezone, _read_timezone),
    zoneinfo.ZoneInfo: _Form("ZoneInfo", lambda zone: zone.key, _zone),
    type(pathlib.Path()): _Form("Path", str, pathlib.Path),
    re.Pattern: _Form(
        "Pattern", lambda value: [value.pattern, value.flags], lambda parts: re.compile(*parts)
    ),
    msgspec.Raw: _Form("Raw", bytes, msgspec.Raw),
    msgspec.UnsetType: _Form("UNSET", lambda _: None, lambda _: msgspec.UNSET),
}
# Likewise, by name, for a module that is written in Rust.
_PYDANTIC_CORE = "pydantic_core._pydantic_core"
_FOREIGN_FORMS = {
    "TzInfo": _Form(
        "TzInfo", lambda zone: zone.utcoffset(None).total_seconds(), _foreign("TzInfo")
    ),
    "Url": _Form("Url", str, _foreign("Url")),
    "MultiHostUrl": _Form("MultiHostUrl", str, _foreign("MultiHostUrl")),
}
_READ = {form.word: form.read for form in (*_FORMS.values(), *_FOREIGN_FORMS.values())}


def _form_of(cls: type) -> _Form | None:
    form = _FORMS.get(cls)
    if form is None and cls.__module__ == _PYDANTIC_CORE:
        form = _FOREIGN_FORMS.get(cls.__qualname__)
    return form


def classes_in(annotation: t.Any) -> frozenset[type]:
    """Return the classes that an annotation names, also for fields of other classes, whose values
    can only be sent as instances.
    """
    found = {t.get_origin(each) or each for each in types_in(annotation)}
    return frozenset(
        each
        for each in found
        if isinstance(each, type)
        and each.__module__ not in ("builtins", "collections.abc", "typing")
        and _form_of(each) is None
        and kind_inside_json(each) is None
    )


class ExactWriter:
    """Converts values to what MessagePack has. For the values of one column.

    Args:
        encode: returns a value as MessagePack.
        named: the classes that the annotation names.
        checks_ints: whether integers may be too long for MessagePack.

    Attributes:
        classes: module and name of each class of which there are instances.
    """

    def __init__(self, encode: Encode, named: frozenset[type], *, checks_ints: bool) -> None:
        self._encode = encode
        self._named = named
        self._as_is = AS_IS - {int} if checks_ints else AS_IS
        self._numbers: dict[type, int] = {}

    @property
    def classes(self) -> list[tuple[str, str]]:
        return [(cls.__module__, cls.__qualname__) for cls in self._numbers]

    def convert(self, value: t.Any) -> t.Any:
        """Return a value that msgspec packs. One of which this does not know the class is returned
        as it is, for the hook of the encoder.
        """
        cls = type(value)
        as_is = self._as_is
        if cls in as_is:
            return value
        if cls is list:
            # PERF: most lists have numbers or text only.
            if as_is.issuperset(map(type, value)):
                return value
            return list(map(self.convert, value))
        if cls is dict and as_is.issuperset(map(type, value)):
            if as_is.issuperset(map(type, value.values())):
                return value
            return {key: self.convert(each) for key, each in value.items()}
        if cls in self._numbers:
            return self._instance(cls, value)
        if cls is int and _MIN_INT <= value <= _MAX_INT:
            return value
        form = _form_of(cls)
        if form is not None:
            return self._extension(WORD, [form.word, self.convert(form.write(value))])
        if kind_inside_json(cls) is None and may_build(cls, self._named):
            return self._instance(cls, value)
        return value

    def _instance(self, cls: type, value: t.Any) -> msgspec.msgpack.Ext:
        number = self._numbers.setdefault(cls, len(self._numbers))
        if isinstance(value, enum.Enum):
            return self._extension(INSTANCE, [number, self.convert(value.value)])
        attributes, content = taken_apart(value)
        parts = [number, self.convert(attributes)]
        if content is not None:
            parts.append(self.convert(content))
        return self._extension(INSTANCE, parts)

    def _extension(self, code: int, content: t.Any) -> msgspec.msgpack.Ext:
        return msgspec.msgpack.Ext(code, self._encode(content))


def read_word(word: str, data: t.Any) -> t.Any:
    """Return the value of a `WORD`."""
    return _READ[word](data)


def read_instance(cls: type, data: t.Any, content: t.Any = None) -> t.Any:
    """Return the value of an `INSTANCE`."""
    return cls(data) if issubclass(cls, enum.Enum) else build(cls, data, content)


def find_class(module: str, name: str) -> t.Any:
    """Return a class of a module that this process has imported.

    Raises:
        UnpackableError: the module is not imported, or has no such class.
    """
    found: t.Any = sys.modules.get(module)
    for each in name.split("."):
        found = getattr(found, each, None)
    if not isinstance(found, type):
        raise UnpackableError(f"This process has not imported {module}.{name}.")
    return found


class ClassFinder:
    """Finds the classes of instances in a message.

    Args:
        named: the classes that the annotation names.
    """

    def __init__(self, named: frozenset[type]) -> None:
        self._named = named
        self._by_name = {(each.__module__, each.__qualname__): each for each in named}

    def find(self, module: str, name: str) -> type:
        """Return a class that the annotation names, or one of a module that this process has
        imported.

        Raises:
            UnpackableError: there is no such class, or it must not be built.
        """
        cls = self._by_name.get((module, name)) or find_class(module, name)
        if not may_build(cls, self._named):
            raise UnpackableError(f"{module}.{name} is no record, and no annotation names it.")
        return t.cast("type", cls)
