"""Texts of environment variables become values of the types of config keys."""

from __future__ import annotations

import enum
import typing as t

import pytest
from msgspec import Meta

from carboy.project.keytypes import built_in_types, from_text, type_name


class Size(enum.Enum):
    S = "s"
    L = "l"


KEYS = built_in_types()


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (KEYS["MODEL_PROTOCOLS"], "v2,mlflow", ["v2", "mlflow"]),
        (KEYS["MODEL_PROTOCOLS"], '["v2"]', ["v2"]),
        (KEYS["CORS_POLICY"], "https://a.org, https://b.org", ["https://a.org", "https://b.org"]),
        (KEYS["CORS_POLICY"], '{"origins": ["a", "b"]}', {"origins": ["a", "b"]}),
        (KEYS["CORS_POLICY"], "false", False),
        (KEYS["CORS_POLICY"], "off", False),
        (KEYS["SECRET_KEY_FALLBACKS"], "k1,k2", ["k1", "k2"]),
        (KEYS["SECRET_KEY_FALLBACKS"], "null", None),
        (KEYS["TRUSTED_HOSTS"], "[::1],localhost", ["[::1]", "localhost"]),
        (KEYS["TRUSTED_HOSTS"], "a.org,,b.org, ", ["a.org", "b.org"]),
        (KEYS["TRUSTED_HOSTS"], " [fe80::1]:80", ["[fe80::1]:80"]),
        (KEYS["TRUSTED_HOSTS"], '["[::1]"]', ["[::1]"]),
        (KEYS["ACCESS_RATE"], "unlimited", ["unlimited"]),
        (KEYS["ACCESS_RATE"], "10/second, 100/minute", ["10/second", "100/minute"]),
        (KEYS["ACCESS_KEYS"], "ann=k1,bob=k2", "ann=k1,bob=k2"),
        (t.Annotated[list[str], Meta(max_length=2)], "a,b", ["a", "b"]),
        (list[t.Annotated[str, Meta(min_length=1)]], "a,b", ["a", "b"]),
        (set[str], "a,b", {"a", "b"}),
        (frozenset[str] | None, "a", frozenset("a")),
        (tuple[str, ...], "a,b", ("a", "b")),
        (tuple[int, str], "1,b", (1, "b")),
        (list[Size], "s,l", [Size.S, Size.L]),
        (list[int], "1, 2", [1, 2]),
        (list[bool], "yes,no", [True, False]),
        (int | list[str], "5", 5),
        (str | list[str], "a,b", ["a", "b"]),
        (str | tuple[str, str], "hello, world", "hello, world"),
        (str | list[int], "5", "5"),
        (str, "None", "None"),
        (KEYS["SESSION_COOKIE_SAMESITE"], "None", "None"),
        (str | list[int], "[5]", [5]),
        (str | list[int], "[5", "[5"),
        (bytes | set[str] | None, "a,b", b"a,b"),
        (t.Annotated[str, Meta(max_length=2)] | list[int], "1,2", [1, 2]),
        (list[str], "{year}/{month},{day}", ["{year}/{month}", "{day}"]),
        (tuple[str, ...], "{year}", ("{year}",)),
        (dict[str, int] | list[str], '{"a": 1}', {"a": 1}),
    ],
)
def test_text_becomes_a_list_or_what_else_the_key_may_be(annotation, text, value):
    found = from_text(text, annotation)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("annotation", "text", "message"),
    [
        (list[t.Literal["v2", "mlflow"]], "v2,other", "expected list['v2' or 'mlflow']"),
        (t.Annotated[list[str], Meta(max_length=2)], "a,b,c", "expected array of length <= 2"),
        (list[t.Annotated[str, Meta(min_length=2)]], "a", "expected str of length >= 2"),
        (list[int], "1,x", "expected list[int]"),
        (list[str], "[a, b]", "expected list[str]"),
        (list[str], '["a"', "expected list[str]"),
        (list[str], "[1]", "expected list[str]"),
        (tuple[int, str], "1", "expected tuple[int, str]"),
        (
            tuple[str, ...],
            "[1]",
            "expected tuple[str, ...] (Expected `str`, got `int` - at `$[0]`)",
        ),
        (list[t.Any], "a,b", "expected list[Any]"),
        (list[dict[str, int]], "a,b", "expected list[dict[str, int]]"),
        (KEYS["MAX_CONTENT_LENGTH"], "None", "expected int or null"),
        (KEYS["SERVER_NAME"], "None", "expected str or null"),
        (KEYS["TRUSTED_HOSTS"], "None", "expected list[str] or null"),
    ],
)
def test_text_that_is_no_list_of_the_type_is_refused(annotation, text, message):
    with pytest.raises(ValueError) as caught:
        from_text(text, annotation)
    assert str(caught.value) == message


def test_name_of_a_tuple_of_any_length_is_that_of_python():
    assert type_name(tuple[str, ...] | None) == "tuple[str, ...] or None"
