"""Tagged JSON: values are read back unchanged, with and without the shortcut for plain values."""

from __future__ import annotations

import datetime as dt
import json
import typing as t
import uuid
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from carboy.json.tag import JSONTag, TagDict, TaggedJSONSerializer

keys = st.text(max_size=4) | st.sampled_from([" t", " b", " di", " m", " u", " d", " t__", " "])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.uuids()
    | st.text().map(Markup)
    | st.datetimes(min_value=dt.datetime(1970, 1, 2), timezones=st.just(dt.UTC)).map(  # noqa: DTZ001
        lambda moment: moment.replace(microsecond=0, fold=0)
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=12,
)


@given(values)
def test_values_are_read_back_unchanged(value: t.Any) -> None:
    serializer = TaggedJSONSerializer()
    loaded = serializer.loads(serializer.dumps(value))
    assert repr(loaded) == repr(value)


@given(values)
def test_plain_values_are_written_as_the_tags_would_write_them(value: t.Any) -> None:
    serializer = TaggedJSONSerializer()
    by_tags = json.dumps(serializer.tag(value), separators=(",", ":"))
    assert serializer.dumps(value) == by_tags
    assert serializer.loads(by_tags) == serializer._untag_scan(json.loads(by_tags))


def test_escaped_blank_in_a_key_is_noticed() -> None:
    assert TaggedJSONSerializer().loads('{"\\u0020t":[1]}') == (1,)


@pytest.mark.parametrize(
    "text", ['{" t": [1]}', '{ "a" : { " t":[1]} }', '{"a": " t"}'], ids=["tag", "deep", "value"]
)
def test_shortcut_for_untagged_text_equals_the_full_scan(text: str) -> None:
    serializer = TaggedJSONSerializer()
    assert serializer.loads(text) == serializer._untag_scan(json.loads(text))


class TagFraction(JSONTag):
    __slots__ = ()
    key = " fr"

    def check(self, value: t.Any) -> bool:
        return isinstance(value, Fraction)

    def to_json(self, value: t.Any) -> t.Any:
        return [value.numerator, value.denominator]

    def to_python(self, value: t.Any) -> t.Any:
        return Fraction(*value)


def test_value_of_a_custom_tag_is_read_back_unchanged() -> None:
    serializer = TaggedJSONSerializer()
    serializer.register(TagFraction)
    value = {"half": Fraction(1, 2), "list": [(Fraction(1, 3),)]}
    assert serializer.loads(serializer.dumps(value)) == value


def test_custom_tag_for_a_plain_type_is_used() -> None:
    class TagInt(JSONTag):
        __slots__ = ()
        key = "int"

        def check(self, value: t.Any) -> bool:
            return type(value) is int

        def to_json(self, value: t.Any) -> t.Any:
            return str(value)

        def to_python(self, value: t.Any) -> t.Any:
            return int(value)

    serializer = TaggedJSONSerializer()
    serializer.register(TagInt)
    assert serializer.dumps({"a": 1}) == '{"a":{"int":"1"}}'
    assert serializer.loads('{"a":{"int":"1"}}') == {"a": 1}


def test_subclass_may_override_the_tag_method() -> None:
    class Loud(TaggedJSONSerializer):
        __slots__ = ()

        def tag(self, value: t.Any) -> t.Any:
            return value.upper() if isinstance(value, str) else super().tag(value)

    assert Loud().dumps({"a": "b"}) == '{"a":"B"}'


def test_key_is_registered_once_unless_forced() -> None:
    class Other(TagDict):
        __slots__ = ()

    serializer = TaggedJSONSerializer()
    with pytest.raises(KeyError, match="already registered, for TagDict"):
        serializer.register(Other)
    serializer.register(Other, force=True, index=0)
    assert type(serializer.tags[" di"]) is Other
    assert serializer.order[0] is serializer.tags[" di"]


@pytest.mark.parametrize(("index", "place"), [(0, 0), (-1, -2), (None, -1)])
def test_tag_is_inserted_at_an_index(index: int | None, place: int) -> None:
    serializer = TaggedJSONSerializer()
    serializer.register(TagFraction, index=index)
    assert type(serializer.order[place]) is TagFraction


@pytest.mark.parametrize("method", ["check", "to_json", "to_python", "tag"])
def test_base_tag_leaves_all_methods_to_subclasses(method: str) -> None:
    with pytest.raises(NotImplementedError):
        getattr(JSONTag(TaggedJSONSerializer()), method)(None)


def test_default_tags_are_registered_on_a_subclass() -> None:
    serializer = TaggedJSONSerializer()
    assert [type(tag) for tag in serializer.order] == TaggedJSONSerializer.default_tags
    assert set(serializer.tags) == {" di", " t", " b", " m", " u", " d"}
    assert serializer.untag({" u": uuid.UUID(int=1).hex}) == uuid.UUID(int=1)
