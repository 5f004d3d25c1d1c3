"""JSON that keeps Python's types: tuples, bytes, markup, UUIDs, datetimes.

A value that JSON cannot express is written as a dict with one key, its tag: `{" t": [1, 2]}` for a
tuple. Session cookies use this format, which is Flask's, so that carboy and Flask can read each
other's cookies.

To add your own type, subclass `JSONTag`, give it a key that starts with a blank, and register it:

    class TagFraction(JSONTag):
        __slots__ = ()
        key = " fr"

        def check(self, value):
            return isinstance(value, Fraction)

        def to_json(self, value):
            return [value.numerator, value.denominator]

        def to_python(self, value):
            return Fraction(*value)

    app.session_interface.serializer.register(TagFraction)
"""

from __future__ import annotations

import typing as t
from base64 import b64decode, b64encode
from datetime import datetime
from uuid import UUID

from markupsafe import Markup
from werkzeug.http import http_date, parse_date

from . import dumps, loads


class JSONTag:
    """Converts values of one type to JSON and back.

    `serializer` is the serializer with which the tag is registered.
    """

    __slots__ = ("serializer",)

    key: str = ""
    """The key that marks the value in the JSON text; if empty, the value is not marked."""

    def __init__(self, serializer: TaggedJSONSerializer) -> None:
        self.serializer = serializer

    def check(self, value: t.Any) -> bool:
        """Return whether this tag converts `value`."""
        raise NotImplementedError

    def to_json(self, value: t.Any) -> t.Any:
        """Convert `value` to a type of JSON. Values inside it must be tagged as well."""
        raise NotImplementedError

    def to_python(self, value: t.Any) -> t.Any:
        """Convert what `to_json` returned back to the original type."""
        raise NotImplementedError

    def tag(self, value: t.Any) -> dict[str, t.Any]:
        """Return a dict that has this tag's key, and `value` converted to JSON."""
        return {self.key: self.to_json(value)}


class TagDict(JSONTag):
    """The tag of dicts that would be mistaken for tagged values, because their only key is the key
    of a tag. A suffix is added to that key.
    """

    __slots__ = ()
    key = " di"

    def check(self, value: t.Any) -> bool:
        return (
            isinstance(value, dict)
            and len(value) == 1
            and next(iter(value)) in self.serializer.tags
        )

    def to_json(self, value: t.Any) -> t.Any:
        ((key, inner),) = value.items()
        return {f"{key}__": self.serializer.tag(inner)}

    def to_python(self, value: t.Any) -> t.Any:
        ((key, inner),) = value.items()
        return {key[:-2]: inner}


class PassDict(JSONTag):
    """Converts the values in all dicts to which `TagDict` does not apply. The dict itself gets no
    tag. Its keys become text, because JSON allows no other keys.
    """

    __slots__ = ()

    def check(self, value: t.Any) -> bool:
        return isinstance(value, dict)

    def to_json(self, value: t.Any) -> t.Any:
        tag = self.serializer.tag
        return {key: tag(inner) for key, inner in value.items()}

    tag = to_json


class TagTuple(JSONTag):
    __slots__ = ()
    key = " t"

    def check(self, value: t.Any) -> bool:
        return isinstance(value, tuple)

    def to_json(self, value: t.Any) -> t.Any:
        return list(map(self.serializer.tag, value))

    def to_python(self, value: t.Any) -> t.Any:
        return tuple(value)


class PassList(JSONTag):
    __slots__ = ()

    def check(self, value: t.Any) -> bool:
        return isinstance(value, list)

    def to_json(self, value: t.Any) -> t.Any:
        return list(map(self.serializer.tag, value))

    tag = to_json


class TagBytes(JSONTag):
    __slots__ = ()
    key = " b"

    def check(self, value: t.Any) -> bool:
        return isinstance(value, bytes)

    def to_json(self, value: t.Any) -> t.Any:
        return b64encode(value).decode("ascii")

    def to_python(self, value: t.Any) -> t.Any:
        return b64decode(value)


class TagMarkup(JSONTag):
    """The tag of objects with an `__html__` method, which are read back as `markupsafe.Markup`."""

    __slots__ = ()
    key = " m"

    def check(self, value: t.Any) -> bool:
        return callable(getattr(value, "__html__", None))

    def to_json(self, value: t.Any) -> t.Any:
        return str(value.__html__())

    def to_python(self, value: t.Any) -> t.Any:
        return Markup(value)  # noqa: S704 - it was markup when it was signed


class TagUUID(JSONTag):
    __slots__ = ()
    key = " u"

    def check(self, value: t.Any) -> bool:
        return isinstance(value, UUID)

    def to_json(self, value: t.Any) -> t.Any:
        return value.hex

    def to_python(self, value: t.Any) -> t.Any:
        return UUID(value)


class TagDateTime(JSONTag):
    """The tag of datetimes, which are written in UTC without fractions of a second."""

    __slots__ = ()
    key = " d"

    def check(self, value: t.Any) -> bool:
        return isinstance(value, datetime)

    def to_json(self, value: t.Any) -> t.Any:
        return http_date(value)

    def to_python(self, value: t.Any) -> t.Any:
        return parse_date(value)


# Types whose values no default tag converts. A value of a subclass may be converted: `Markup` is a
# subclass of `str`, for example.
_PLAIN = frozenset({str, int, float, bool, type(None)})


class TaggedJSONSerializer:
    """Write and read tagged JSON.

    `tags` maps the key of each tag to the tag; `order` is the order in which tags are tried.
    """

    __slots__ = ("_default_order", "order", "tags")

    default_tags: t.ClassVar[list[type[JSONTag]]] = [
        TagDict,
        PassDict,
        TagTuple,
        PassList,
        TagBytes,
        TagMarkup,
        TagUUID,
        TagDateTime,
    ]
    """Registered with each new serializer, in this order."""

    def __init__(self) -> None:
        self.tags: dict[str, JSONTag] = {}
        self.order: list[JSONTag] = []
        for cls in self.default_tags:
            self.register(cls)
        # The initial `order`. While `order` is equal to it, values of plain types (`_PLAIN`) need
        # not be tried with each tag. None for a subclass, which may tag values in another way.
        self._default_order = list(self.order) if type(self) is TaggedJSONSerializer else None

    def register(
        self, tag_class: type[JSONTag], force: bool = False, index: int | None = None
    ) -> None:
        """Register a tag, so that values of one more Python type can be written.

        Args:
            tag_class: called with this serializer.
            force: replace a tag that has the same key.
            index: the position in `order`, before the tag of a more general type; None means last.

        Raises:
            KeyError: another tag has this key, and `force` is not set.
        """
        tag = tag_class(self)
        key = tag.key
        if key:
            if not force and key in self.tags:
                raise KeyError(
                    f"Tag {key!r} is already registered, for {type(self.tags[key]).__name__}."
                    f" Give {tag_class.__name__} another key, or replace it with force=True."
                )
            self.tags[key] = tag
        if index is None:
            self.order.append(tag)
        else:
            self.order.insert(index, tag)

    def tag(self, value: t.Any) -> t.Any:
        """Convert `value` to types of JSON; add tags for values that JSON cannot express."""
        for tag in self.order:
            if tag.check(value):
                return tag.tag(value)
        return value

    def untag(self, value: dict[str, t.Any]) -> t.Any:
        """Return the original value of a tagged dict; a dict without a tag is returned
        unchanged.
        """
        if len(value) != 1:
            return value
        ((key, inner),) = value.items()
        tag = self.tags.get(key)
        return value if tag is None else tag.to_python(inner)

    def dumps(self, value: t.Any) -> str:
        """Return `value` as compact JSON, in which values of other types than JSON's own are
        tagged.
        """
        # PERF: a session of plain values needs no conversion. Trying eight tags on each value, and
        # copying all containers, takes ten times as long.
        if not self._has_default_order() or not self._is_plain(value):
            value = self.tag(value)
        return dumps(value, separators=(",", ":"))

    def loads(self, value: str) -> t.Any:
        """Parse tagged JSON, and return the value that was passed to `dumps`."""
        loaded = loads(value)
        # PERF: if no key starts with a blank, no value is tagged, and no conversion is needed.
        if '" ' not in value and self._has_default_order() and '"\\u0020' not in value:
            return loaded
        return self._untag_scan(loaded)

    def _has_default_order(self) -> bool:
        return type(self) is TaggedJSONSerializer and self.order == self._default_order

    def _is_plain(self, value: t.Any) -> bool:
        """Return whether no default tag would convert `value`, or any value inside it."""
        kind = type(value)
        if kind is dict:
            if len(value) == 1 and next(iter(value)) in self.tags:
                return False
            value = value.values()
        elif kind is not list:
            return kind in _PLAIN
        for inner in value:  # noqa: SIM110 - PERF: a generator takes 1.5 times as long
            if type(inner) not in _PLAIN and not self._is_plain(inner):
                return False
        return True

    def _untag_scan(self, value: t.Any) -> t.Any:
        if isinstance(value, dict):
            scan = self._untag_scan
            return self.untag({key: scan(inner) for key, inner in value.items()})
        if isinstance(value, list):
            return list(map(self._untag_scan, value))
        return value
