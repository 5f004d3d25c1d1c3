"""The text of API keys."""

from __future__ import annotations

import re

import pytest

from carboy.access.keytext import PATTERN, digest_of, id_of, is_whole, new_key
from carboy.core.masking import mask_text


def test_key_has_a_prefix_for_scanners_an_id_and_256_random_bits():
    key = new_key()
    assert re.fullmatch(r"carboy_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}", key)
    assert id_of(key) == key[7:19]
    assert 62**43 > 2**256
    assert re.search(PATTERN, f"curl -H 'X-API-Key: {key}' http://...")[0] == key


def test_no_two_keys_are_alike():
    keys = {new_key() for _ in range(200)}
    assert len({id_of(key) for key in keys}) == len({key[20:63] for key in keys}) == 200


def test_checksum_tells_a_key_from_one_with_a_typing_error():
    key = new_key()
    assert is_whole(key)
    for at in range(len("carboy_"), len(key)):
        if key[at] != "_":
            assert not is_whole(f"{key[:at]}{'a' if key[at] != 'a' else 'b'}{key[at + 1 :]}")


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key[:-1],
        lambda key: key + "a",
        lambda key: key + "\n",
        lambda key: key.upper(),
        lambda key: key.replace("carboy_", "carbon_"),
        lambda key: key[:30] + "é" + key[31:],
        lambda key: key[:30] + "\u0665" + key[31:],  # an Arabic digit
        lambda key: "",
    ],
)
def test_text_without_the_form_of_a_key_has_no_id(change):
    assert id_of(change(new_key())) is None


def test_hash_is_the_sha256_of_the_whole_text():
    assert digest_of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_form_of_a_key_is_the_one_that_logs_mask():
    key = new_key()
    assert key[20:] not in mask_text(f"sent {key} to the server")
