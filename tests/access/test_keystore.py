"""Where an app finds its API keys: in the configuration, and in a file that may change."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import pathlib
from datetime import UTC, datetime, timedelta

import pytest
from apikeys import make_key, records

from carboy.access.keyfile import changing
from carboy.access.keystore import KeyStore, listed_keys, to_text
from carboy.errors import ConfigError

A, B = make_key("a"), make_key("b")
PAST = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "keys.json"


def write(path: pathlib.Path, *keys) -> None:
    with changing(str(path)) as known:
        known.clear()
        known.update({key.stored.id: key.stored for key in keys})


def look_again(store: KeyStore) -> KeyStore:
    """Let a store look at its file as if the time between two looks had passed."""
    store.due_s = 0.0
    return store


def test_key_of_file_and_of_configuration_are_found(path):
    write(path, A)
    store = KeyStore(listed_keys(records(B), "ACCESS_KEYS"), str(path))
    assert store.find(A.text) == A.stored
    assert store.find(B.text) == B.stored
    assert store.closed


@pytest.mark.parametrize("key", [make_key("c"), make_key("d", revoked=PAST)])
def test_key_with_a_wrong_secret_is_not_found(path, key):
    write(path, A, key)
    store = KeyStore({}, str(path))
    other = make_key("x").text
    forged = f"carboy_{A.stored.id}_{other.rpartition('_')[2]}"
    for sent in (forged, other, A.text[:-1], A.text + "a", "", "é" * 69):
        assert store.find(sent) is None


@pytest.mark.parametrize(
    "ended",
    [make_key("c", revoked=PAST), make_key("d", expires=PAST)],
    ids=["revoked", "expired"],
)
def test_key_that_has_ended_is_not_found_and_models_stay_closed(path, ended):
    write(path, ended)
    store = KeyStore({}, str(path))
    assert store.find(ended.text) is None
    assert store.closed


def test_change_of_the_file_is_noticed(path):
    store = KeyStore({}, str(path))
    assert not store.closed
    write(path, A)
    assert look_again(store).find(A.text) == A.stored
    assert store.closed
    write(path, B)
    assert look_again(store).find(A.text) is None
    assert store.find(B.text) == B.stored


def test_file_that_has_not_changed_is_not_read_again(path, monkeypatch):
    write(path, A)
    store = look_again(KeyStore({}, str(path)))
    store.refresh()
    monkeypatch.setattr("carboy.access.keystore.read_keys", lambda *_, **__: pytest.fail("read"))
    look_again(store).refresh()
    assert store.find(A.text) == A.stored


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 2, "keys": []}', None])
def test_file_that_cannot_be_read_any_more_lets_nobody_in(path, content, caplog):
    write(path, A)
    store = KeyStore({}, str(path))
    if content is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_text(content)
    with caplog.at_level(logging.ERROR, "carboy.access"):
        assert look_again(store).find(A.text) is None
    assert store.closed
    assert "Until it can be read, its keys are refused." in caplog.text
    if content is None:
        path.rmdir()
    write_anyway(path, to_text([A.stored]))
    assert look_again(store).find(A.text) == A.stored


def write_anyway(path: pathlib.Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


def test_removed_file_opens_nothing(path):
    write(path, A)
    store = KeyStore({}, str(path))
    path.unlink()
    assert look_again(store).find(A.text) is None
    assert store.closed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "is no JSON"),
        ("[]", "is not one of API keys"),
        ('{"format": 1}', "is not one of API keys"),
        ('{"format": 1, "keys": [5]}', "A key is an object with the member 'name', not int."),
        (to_text([A.stored, dataclasses.replace(A.stored, name="b")]), "have the same id"),
    ],
)
def test_invalid_file_is_an_error_when_the_app_starts(path, text, message):
    write_anyway(path, text)
    with pytest.raises(ConfigError, match=message):
        KeyStore({}, str(path))


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_file_to_which_others_may_write_is_refused(path, mode):
    write(path, A)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:o}.*chmod 600"):
        KeyStore({}, str(path))


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_new_file_is_private_and_a_change_replaces_it_in_one_step(path):
    write(path, A)
    assert path.stat().st_mode & 0o777 == 0o600
    with path.open() as before:
        write(path, A, B)
        assert [each["name"] for each in json.load(before)["keys"]] == ["a"]
    assert os.listdir(path.parent) == ["keys.json"]


def test_change_that_fails_leaves_the_file_as_it_was(path):
    write(path, A)
    with pytest.raises(RuntimeError), changing(str(path)) as keys:
        keys.clear()
        raise RuntimeError
    assert KeyStore({}, str(path)).find(A.text)


@pytest.mark.parametrize(
    "value",
    [
        records(A, B),
        tuple(records(A, B)),
        json.dumps(records(A, B)),
        f"a={A.text},b={B.text}",
        f" a = {A.text} ,\n b={B.text},",
        [f"a={A.text}", f"b={B.text}"],
    ],
    ids=["records", "tuple", "JSON", "texts", "spaces", "list of texts"],
)
def test_configuration_has_keys_as_records_or_texts(value):
    assert [key.name for key in listed_keys(value, "ACCESS_KEYS").values()] == ["a", "b"]


def test_single_record_need_not_be_in_a_list():
    assert A.stored.id in listed_keys(json.dumps(records(A)[0]), "ACCESS_KEYS")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (A.text, "Expected NAME=KEY"),
        (f"a={A.text[:-1]}", "The key 'a' is not one that `carboy keys new` prints"),
        ("a=hunter2", "because they may be guessed"),
        (f"a b={A.text}", "cannot be the name of a key"),
        ("[", "The JSON is not valid"),
        (5, "Expected a list of keys"),
        ([5], "A key is an object"),
        (f"a={A.text},b={A.text}", "have the same id"),
    ],
    # The texts of the keys are random, and processes that share the tests need the same names.
    ids=["no name", "cut", "guessable", "name", "JSON", "number", "list of numbers", "twice"],
)
def test_invalid_value_is_refused_without_showing_a_key(value, message):
    with pytest.raises(ConfigError) as caught:
        listed_keys(value, "The config key ACCESS_KEYS")
    assert str(caught.value).startswith("The config key ACCESS_KEYS: ")
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert A.text[:-1].rpartition("_")[2] not in str(caught.value)
