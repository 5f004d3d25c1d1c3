"""API keys for tests: their texts, and the records that an app stores of them."""

from __future__ import annotations

import dataclasses
import typing as t

from carboy.access.apikey import ApiKey
from carboy.access.keytext import new_key


class TestKey(t.NamedTuple):
    """A key as its client has it, and as the app has it."""

    __test__ = False

    text: str
    stored: ApiKey

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.text}"}


def make_key(name: str, **fields: t.Any) -> TestKey:
    """Return a new key with these fields of `ApiKey`."""
    text = new_key()
    return TestKey(text, dataclasses.replace(ApiKey.from_text(name, text), **fields))


def records(*keys: TestKey) -> list[dict[str, t.Any]]:
    """Return the value of the config key ACCESS_KEYS for an app with these keys."""
    return [key.stored.to_record() for key in keys]
