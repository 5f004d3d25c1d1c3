"""Records of API keys, as they are in files and in the environment."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from apikeys import make_key

from carboy.access.apikey import ApiKey, parse_time

NOW = datetime(2026, 11, 30, tzinfo=UTC)
FULL = make_key(
    "shop@2.eu-1",
    models=frozenset({"digits", "shop.wine"}),
    rate="100/minute",
    created=NOW,
    expires=NOW + timedelta(days=1),
    revoked=NOW,
).stored


@pytest.mark.parametrize("key", [make_key("a").stored, FULL], ids=["least", "full"])
def test_record_is_read_as_it_was_written(key):
    assert ApiKey.from_record(json.loads(json.dumps(key.to_record()))) == key


def test_neither_record_nor_repr_contains_the_key():
    key = make_key("phone")
    secret = key.text.rpartition("_")[2]
    assert secret not in repr(key.stored) + json.dumps(key.stored.to_record())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "'' cannot be the name of a key"),
        ({"name": "a b"}, "'a b' cannot be the name of a key"),
        ({"name": "a\n"}, "cannot be the name of a key"),
        ({"name": "a" * 65}, "expected 1 to 64 letters"),
        ({"name": None}, "None cannot be the name of a key"),
        ({"id": "short"}, "no member 'id' with 12 letters and digits"),
        ({"sha256": "A" * 64}, "no member 'sha256' with 64 hexadecimal digits in lower case"),
        ({"sha256": None}, "no member 'sha256'"),
        ({"models": "digits"}, "expected a list of the names of models, or null"),
        ({"models": [1]}, "expected a list of the names of models, or null"),
        ({"rate": 5}, "The rate of the key 'a'"),
        ({"rate": "often"}, "The rate of the key 'a'"),
        ({"expires": "soon"}, "'expires' of the key 'a': 'soon' is no date"),
        ({"expires": 5}, "5 is no date"),
        ({"revoked": True}, "True is no date"),
        ({"modles": []}, "unknown member 'modles'"),
    ],
)
def test_invalid_record_is_refused_with_what_is_wrong(changes, message):
    with pytest.raises(ValueError, match="key") as caught:
        ApiKey.from_record({**make_key("a").stored.to_record(), **changes})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T12:00", datetime(2027, 1, 31, 12, tzinfo=UTC)),
        ("2027-01-31T12:00:00Z", datetime(2027, 1, 31, 12, tzinfo=UTC)),
        ("2027-01-31T12:00:00+02:00", datetime(2027, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_time_without_an_offset_is_utc(text, expected):
    assert parse_time(text) == expected


def test_key_is_valid_until_it_expires_or_is_revoked():
    key = make_key("a", expires=NOW).stored
    assert key.is_valid(NOW - timedelta(microseconds=1))
    assert not key.is_valid(NOW)
    assert not make_key("a", revoked=NOW).stored.is_valid(NOW - timedelta(days=1))


def test_key_without_models_may_use_all_and_one_with_an_empty_list_none():
    assert make_key("a").stored.allows_model("x")
    assert not make_key("a", models=frozenset()).stored.allows_model("x")
