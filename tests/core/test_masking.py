"""Which values are masked when configuration is printed."""

from __future__ import annotations

import typing as t
from datetime import timedelta
from types import MappingProxyType

import pytest

from carboy.core.masking import MASK, looks_secret, mask_text, masked


@pytest.mark.parametrize(
    "name",
    [
        "SECRET_KEY",
        "SECRET_KEY_FALLBACKS",
        "AWS_ACCESS_KEY_ID",
        "STRIPE_APIKEY",
        "api_key",
        "GITHUB_TOKEN",
        "DB_PASSWORD",
        "dbPassword",
        "MAIL_PASSWD",
        "LDAP_PWD",
        "PASS",
        "SENTRY_DSN",
        "GOOGLE_CREDENTIALS",
        "SSL_PASSPHRASE",
        "SECURITY_PASSWORD_SALT",
        "PRIVATE_PEM",
    ],
)
def test_names_of_secrets_are_recognised(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name",
    ["DEBUG", "SERVER_NAME", "HANDSNIP", "COMPASSION", "KEYWORDS", "TOKENIZER", "BYPASS_CACHE"],
)
def test_other_names_are_not_taken_for_secrets(name: str) -> None:
    assert not looks_secret(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ada:pw@db:5432/shop", f"postgresql://ada:{MASK}@db:5432/shop"),
        ("mysql+pymysql://ada:p@w/o:rd@db/shop", f"mysql+pymysql://ada:{MASK}@db/shop"),
        ("redis://:pw@cache/0", f"redis://:{MASK}@cache/0"),
        ("https://ghp_abc@github.com/x", f"https://{MASK}@github.com/x"),
        ("amqp://a:p1@h1,amqp://b:p2@h2", f"amqp://a:{MASK}@h2"),
        ("https://h/x?a=1&api_key=pw&b=2", f"https://h/x?a=1&api_key={MASK}&b=2"),
        ("host=db password='p w' user=ada", f"host=db password={MASK} user=ada"),
        ("Endpoint=x;AccountKey=pw==;Suffix=y", f"Endpoint=x;AccountKey={MASK};Suffix=y"),
        ("-----BEGIN RSA PRIVATE KEY-----\npw", MASK),
        ("sqlite:///shop.db", "sqlite:///shop.db"),
        ("postgresql://ada@db/shop", "postgresql://ada@db/shop"),
        ("http://127.0.0.1:5000/", "http://127.0.0.1:5000/"),
        ("mail ada@example.com", "mail ada@example.com"),
    ],
)
def test_secrets_inside_a_text_are_masked(text: str, shown: str) -> None:
    assert mask_text(text) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("pw", MASK),
        (b"pw", MASK),
        (12345, MASK),
        (["old", "older"], MASK),
        ({"a": "b"}, MASK),
        (None, None),
        ("", ""),
        ([], []),
        (True, True),
        (timedelta(1), timedelta(1)),
    ],
    ids=repr,
)
def test_value_under_a_secret_name_is_masked(value: t.Any, shown: t.Any) -> None:
    assert masked(value, "API_KEY") == shown


def test_containers_of_any_depth_are_masked() -> None:
    value = {
        "engine": {"connect_args": {"password": "pw", "timeout": 3}},
        "binds": [("x", "redis://:pw@h"), {"token": "pw"}],
        "proxy": MappingProxyType({"secret": "pw"}),
        "set": {"redis://:pw@h"},
        "raw": b"redis://:pw@h",
    }
    before = repr(value)
    shown = repr(masked(value))
    assert "pw" not in shown
    assert "'timeout': 3" in shown
    assert repr(value) == before


def test_recursive_container_is_masked_without_recursion() -> None:
    value: dict[str, t.Any] = {"password": "pw"}
    value["self"] = [value]
    assert masked(value) == {"password": MASK, "self": [...]}
