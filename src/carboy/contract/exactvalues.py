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
from .values.registry import kind_inside_json

if t.TYPE_CHECKING:
    from collections import abc as cabc

    Encode: t.TypeAlias = cabc.Callable[[t.Any], bytes]

# Codes of MessagePack's extension types: a word and plain data; a class, attributes and content.
_WORD, _INSTANCE = 2, 3
# Classes whose values MessagePack has.
_AS_IS = frozenset({bool, bytes, float, str, types.NoneType})
# Decodes the classes of a message, and leaves its value encoded.
_decode_parts = msgspec.msgpack.Decoder(tuple[list[tuple[str, str]], msgspec.Raw]).decode
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


class ExactWriter:
    """Converts values to what MessagePack has. For one message.

    Args:
        encode: returns a value as MessagePack.

    Attributes:
        classes: module and name of each class of which there are instances.
    """

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._numbers: dict[type, int] = {}

    @property
    def classes(self) -> list[tuple[str, str]]:
        return [(cls.__module__, cls.__qualname__) for cls in self._numbers]

    def convert(self, value: t.Any) -> t.Any:
        """Return a value that msgspec packs. One of which this does not know the class is returned
        as it is, for the hook of the encoder.
        """
        cls = type(value)
        if cls in _AS_IS:
            return value
        if cls is list:
            # PERF: most lists have numbers or text only.
            if _AS_IS.issuperset(map(type, value)):
                return value
            return list(map(self.convert, value))
        if cls is dict and _AS_IS.issuperset(map(type, value)):
            if _AS_IS.issuperset(map(type, value.values())):
                return value
            return {key: self.convert(each) for key, each in value.items()}
        if cls in self._numbers:
            return self._instance(cls, value)
        if cls is int and _MIN_INT <= value <= _MAX_INT:
            return value
        form = _form_of(cls)
        if form is not None:
            return self._extension(_WORD, [form.word, self.convert(form.write(value))])
        if kind_inside_json(cls) is None and may_build(cls):
            return self._instance(cls, value)
        return value

    def _instance(self, cls: type, value: t.Any) -> msgspec.msgpack.Ext:
        number = self._numbers.setdefault(cls, len(self._numbers))
        if isinstance(value, enum.Enum):
            return self._extension(_INSTANCE, [number, self.convert(value.value)])
        attributes, content = taken_apart(value)
        parts = [number, self.convert(attributes)]
        if content is not None:
            parts.append(self.convert(content))
        return self._extension(_INSTANCE, parts)

    def _extension(self, code: int, content: t.Any) -> msgspec.msgpack.Ext:
        return msgspec.msgpack.Ext(code, self._encode(content))


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


class _ExactReader:
    """Reads one message of `pack_exactly`."""

    def __init__(self) -> None:
        self._classes: list[type] = []
        self._decode = msgspec.msgpack.Decoder(ext_hook=self._extension).decode

    def read(self, data: bytes) -> t.Any:
        names, packed = _decode_parts(data)
        self._classes = [self._find(*each) for each in names]
        return self._decode(packed)

    def _find(self, module: str, name: str) -> type:
        cls = find_class(module, name)
        if not may_build(cls):
            raise UnpackableError(f"{module}.{name} is no record.")
        return t.cast("type", cls)

    def _extension(self, code: int, data: memoryview) -> t.Any:
        content = self._decode(data)
        if code == _WORD:
            word, value = content
            return _READ[word](value)
        number, *parts = content
        cls: t.Any = self._classes[number]
        return cls(*parts) if issubclass(cls, enum.Enum) else build(cls, *parts)


def pack_exactly(value: t.Any) -> bytes:
    """Return a value as bytes, from which `read_exactly` makes it again.

    Raises:
        UnpackableError: a part of it cannot be sent.
    """
    encode = msgspec.msgpack.Encoder(enc_hook=part_of_json).encode
    writer = ExactWriter(encode)
    try:
        packed = encode(writer.convert(value))
    except Exception as exc:
        raise UnpackableError(f"A value cannot be sent to another process: {exc}") from exc
    return encode([writer.classes, msgspec.Raw(packed)])


def read_exactly(data: bytes) -> t.Any:
    """Return the value that `pack_exactly` has packed.

    Raises:
        UnpackableError: this process does not know a class of the value, or cannot build it.
    """
    try:
        return _ExactReader().read(data)
    except UnpackableError:
        raise
    except Exception as exc:  # of any class, such as that of a time zone that is not known here
        raise UnpackableError(f"A value of another process cannot be built: {exc}") from exc


def part_of_json(value: t.Any) -> t.Any:
    """Return a value as JSON has it, such as a number of NumPy. This function is msgspec's
    `enc_hook`.

    Raises:
        NotImplementedError: it has no such form.
    """
    cls = type(value)
    inside = kind_inside_json(cls)
    if inside is None:
        raise NotImplementedError(f"it is of the class {cls.__module__}.{cls.__qualname__}")
    plain = inside.plain(value)
    return msgspec.json.decode(plain) if isinstance(plain, msgspec.Raw) else plain
