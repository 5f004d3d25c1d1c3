"""Mask secrets in output for people: printed configuration, logs, error pages.

A value is masked if its name looks like the name of a secret. In other texts, parts that look like
secrets are masked, such as the password in a URL. In doubt a value is masked: a masked value can be
looked up in its source, but a printed key is compromised. Only the output is masked, never the
value itself.
"""

from __future__ import annotations

import collections.abc as cabc
import re
import typing as t
from datetime import timedelta

MASK = "********"

# Matches names of secrets. Words such as KEY or PASSWORD may stand anywhere in a name, in upper or
# lower case: STRIPE_APIKEY, dbPassword. PWD, DSN and PASS are so short that they count only as
# whole words.
_SECRET_NAME = re.compile(
    r"KEY(?!WORD|BOARD)|SECRET|TOKEN(?!IZ)|PASSW(?:OR)?D|PASSPHRASE|CREDENTIAL|PRIVATE|PEPPER|SALT"
    r"|(?<![A-Z0-9])(?:PWD|DSN|PASS)(?![A-Z0-9])",
    re.IGNORECASE,
)

# Matches the password in scheme://user:password@host, up to the last @ before a blank, because
# passwords may contain / and @ unescaped.
_URL_PASSWORD = re.compile(r"([a-z][a-z0-9+.\-]*://[^\s:/@?#]*:)\S*@", re.IGNORECASE)
# Matches the token in https://token@host, as git and Sentry use. With other schemes, a single name
# before the @ is a user name.
_URL_TOKEN = re.compile(r"(https?://)[^\s/?#@:]+@", re.IGNORECASE)
# Matches `key=value` in the query of a URL or in a connection string, such as `AccountKey=x` or
# `sslmode=on password='a b'`.
_PAIR = re.compile(
    r"((?:\w|-)*(?:key|secret|token|passw(?:or)?d|passphrase|pwd|sig)(?:\w|-)*\s*=\s*)"
    r"('[^']*'|\"[^\"]*\"|[^\s;&]+)",
    re.IGNORECASE,
)
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")


def looks_secret(name: object) -> bool:
    """Return whether `name` looks like the name of a secret."""
    return isinstance(name, str) and _SECRET_NAME.search(name) is not None


def mask_text(text: str) -> str:
    """Return `text` without passwords in URLs, secret `name=value` pairs and private keys."""
    if "-----BEGIN " in text and _PEM.search(text):
        return MASK
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\1{MASK}@", text)
        text = _URL_TOKEN.sub(rf"\1{MASK}@", text)
    if "=" in text:
        text = _PAIR.sub(rf"\1{MASK}", text)
    return text


def masked(value: t.Any, name: object = None) -> t.Any:
    """Return a copy of `value` in which secrets are masked at any depth.

    None, booleans, time spans and empty values are shown even if their name is that of a secret:
    people need to see that a key is missing, that `JSON_SORT_KEYS` is on, and how long a token is
    valid.
    """
    return _masked(value, name, ())


def _masked(value: t.Any, name: object, inside: tuple[int, ...]) -> t.Any:
    if looks_secret(name) and not (isinstance(value, (bool, timedelta)) or _is_empty(value)):
        return MASK
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, bytes):
        return mask_text(value.decode("latin-1")).encode("latin-1")
    if id(value) in inside:
        return Ellipsis
    inside = (*inside, id(value))
    if isinstance(value, cabc.Mapping):
        return {key: _masked(inner, key, inside) for key, inner in value.items()}
    # A subclass, such as a named tuple, is copied to its built-in base type, because its
    # constructor may take other arguments.
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return kind([_masked(inner, None, inside) for inner in value])
    return value


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, (str, bytes, cabc.Sized)) and not len(value))
