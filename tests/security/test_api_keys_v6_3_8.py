"""API keys: a server stores hashes, and tells nobody which part of a wrong key is right.

ASVS 5.0: 6.3.8, 11.2.4, 11.2.3, 13.3.2, 14.2.1
Also tested in: tests/access/test_routes.py, tests/serving/test_access_log.py
"""

from __future__ import annotations

import pathlib
import stat
import sys
import typing as t
from datetime import UTC, datetime

import apikeys
import pytest

from carboy import Carboy
from carboy.access.keyfile import changing
from carboy.access.keystore import KeyStore
from carboy.access.keytext import new_key

PAST = datetime(2020, 1, 1, tzinfo=UTC)
GOOD = apikeys.make_key("good")


def _changed(text: str, at: int) -> str:
    other = "A" if text[at] != "A" else "B"
    return text[:at] + other + text[at:][1:]


INVALID = {
    "unknown": new_key(),
    "wrong at the start of the secret": _changed(GOOD.text, len("carboy_") + 13),
    "wrong at its end": _changed(GOOD.text, len(GOOD.text) - 8),
    "revoked": (REVOKED := apikeys.make_key("revoked", revoked=PAST)).text,
    "expired": (EXPIRED := apikeys.make_key("expired", expires=PAST)).text,
    "cut off": GOOD.text[:-1],
    "longer": GOOD.text + "A",
    "the id alone": GOOD.text[:20],
    "the hash": GOOD.stored.digest,
    "no key": "secret",
    "of other characters": "carboy_é\x80",
}


@pytest.fixture
def app() -> Carboy:
    app = Carboy("shop")
    app.config["ACCESS_KEYS"] = apikeys.records(GOOD, REVOKED, EXPIRED)
    app.add_url_rule("/closed", "closed", lambda: "inside", access="key")
    return app


def test_refusal_is_the_same_whatever_is_wrong_with_a_key(app: Carboy):
    client = app.test_client()
    assert client.get("/closed", headers=GOOD.bearer).text == "inside"
    answers = set()
    for text in INVALID.values():
        for headers in ({"X-API-Key": text}, {"Authorization": f"Bearer {text}"}):
            response = client.get("/closed", headers=headers)
            told = t.cast("dict[str, t.Any]", response.json)
            told.pop("request_id", None)
            answers.add((response.status_code, str(told), response.headers["WWW-Authenticate"]))
    assert len(answers) == 1
    assert answers.pop()[0] == 401


def _calls(store: KeyStore, sent: str) -> list[str]:
    """Return the functions that are called to look for a key, in their order."""
    found: list[str] = []

    def note(frame: t.Any, event: str, argument: t.Any) -> None:
        if event == "call":
            found.append(frame.f_code.co_name)
        elif event == "c_call":
            found.append(argument.__name__)

    sys.setprofile(note)
    try:
        store.find(sent)
    finally:
        sys.setprofile(None)
    return found


def test_search_does_the_same_for_a_key_that_is_unknown_and_one_whose_secret_is_wrong(tmp_path):
    """The time of a search tells nothing, because the same functions run for each, and the last one
    compares hashes in constant time.
    """
    store = KeyStore({GOOD.stored.id: GOOD.stored}, str(tmp_path / "none"))
    store.find(GOOD.text)
    names = ("unknown", "wrong at the start of the secret", "wrong at its end")
    first, *others = (_calls(store, INVALID[name]) for name in names)
    assert "compare_digest" in first
    assert others == [first, first]


def test_file_has_hashes_and_is_private(tmp_path: pathlib.Path):
    path = tmp_path / "keys.json"
    with changing(str(path)) as keys:
        keys[GOOD.stored.id] = GOOD.stored
    secret = GOOD.text[len("carboy_") + 13 :]
    assert secret not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_key_in_a_url_is_not_read(app: Carboy):
    """URLs are in logs, in histories and in the header Referer."""
    client = app.test_client()
    for name in ("key", "api_key", "apikey", "access_token", "token"):
        assert client.get(f"/closed?{name}={GOOD.text}").status_code == 401


def test_keys_are_random_at_each_place_of_their_secret():
    keys = [new_key() for _ in range(500)]
    secrets = [key.rpartition("_")[2][:43] for key in keys]
    for characters in zip(*secrets, strict=True):
        assert len(set(characters)) > 50  # of 62
