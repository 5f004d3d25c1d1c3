"""The text of an API key: `carboy_ID_SECRET`.

The prefix lets scanners of repositories and logs find a key that was published by mistake. The id
is public: it names the key in lists, and the server finds the key by it. The secret has 256 random
bits, followed by a checksum by which a scanner, or a command, knows a key from similar text, and
one that was cut off.

A server stores only the SHA-256 of the whole text. Slow hashes such as scrypt and Argon2 are for
passwords, which people choose and others can guess; nobody can try 2^256 texts, so that a fast hash
protects a random key as well, at a microsecond per request.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import typing as t
import zlib

from carboy.core.keyform import (
    CHECK_LENGTH,
    ID_LENGTH,
    PREFIX,
    PUBLIC_PART,
    SECRET_LENGTH,
    SECRET_PART,
)

_ALPHABET: t.Final = string.digits + string.ascii_letters
#: Matches a key, also inside of a longer text.
PATTERN: t.Final = PUBLIC_PART + SECRET_PART
_KEY = re.compile(PATTERN, re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ID = re.compile(f"[0-9A-Za-z]{{{ID_LENGTH}}}", re.ASCII)


def new_key() -> str:
    """Return a new key."""
    text = f"{PREFIX}{_random(ID_LENGTH)}_{_random(SECRET_LENGTH)}"
    return text + _checksum(text)


def id_of(key: str) -> str | None:
    """Return the public id of a key; None if the text has not the form of a key."""
    if _KEY.fullmatch(key) is None:
        return None
    return key[len(PREFIX) : len(PREFIX) + ID_LENGTH]


def is_whole(key: str) -> bool:
    """Return whether a text is a key with the right checksum."""
    return id_of(key) is not None and key[-CHECK_LENGTH:] == _checksum(key[:-CHECK_LENGTH])


def digest_of(key: str) -> str:
    """Return the hash by which a key is stored."""
    return hashlib.sha256(key.encode()).hexdigest()


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(text: str) -> str:
    number = zlib.crc32(text.encode())
    digits = ""
    for _ in range(CHECK_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
