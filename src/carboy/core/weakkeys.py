"""Recognise secret keys that can be guessed: short keys, and keys from tutorials.

Whoever knows the key can sign a session as any user.
"""

from __future__ import annotations

import re

# A key with fewer characters, or fewer different characters, can be found by trying all such keys.
_MIN_LENGTH = 16
_MIN_DIFFERENT = 6
# Words in keys of tutorials and templates, such as "change-me". They are so long that a random key
# practically never contains one of them.
_PLACEHOLDER = re.compile(
    r"secret|change|password|guess|example|insecure|placeholder|default|qwerty|testing|develop"
    r"|123456789|deadbeef",
    re.IGNORECASE,
)
# Short keys of tutorials, such as "dev" and "my_key_1". Longer ones nearly always have one of the
# words above.
_SHORT_PLACEHOLDER = re.compile(
    r"(?:(?:abc|admin|app|asdf|bar|dev|flask|foo|key|my|s3cr3t|sesame|super|test|the|todo|xxx|your)"
    r"|[\W\d_])+",
    re.IGNORECASE,
)
# Keys from the documentation of Flask and from tutorials, which many programs have copied. Each is
# in dozens of public repositories.
_PUBLISHED = frozenset({
    "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",
    "A0Zr98j/3yX R~XHH!jmN]LWX/,?RT",
    "F12Zr47j\\3yX R~X@H!jmM]Lwf/,?KT",
    "F12Zr47j\3yX R~X@H!jmM]Lwf/,?KT",
    '_5#y2L"F4Q8z\n\xec]/',
    '_5#y2L"F4Q8z\\n\\xec]/',
    "5791628bb0b13ce0c676dfde280ba245",
    "8BYkEfBA6O6donzWlSihBXox7C0sKR6b",
    "9OLWxND4o83j4K4iuopO",
    "df0331cefc6c2b9a5d0208a726a5d1c0fd37324feba25506",
    "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
})  # fmt: skip


def weakness_of(key: str | bytes) -> str | None:
    """Return why a secret key can be guessed, as the end of a sentence such as "The key ..."; None
    if the key seems random.
    """
    text = _text_of(key)
    if text in _PUBLISHED:
        return "is published, in Flask's documentation or in a tutorial"
    if len(text) < _MIN_LENGTH:
        return f"has fewer than {_MIN_LENGTH} characters"
    if len(set(text)) < _MIN_DIFFERENT:
        return f"has fewer than {_MIN_DIFFERENT} different characters"
    if _PLACEHOLDER.search(text):
        return "looks like a placeholder, as tutorials have it"
    return None


def is_known(key: str | bytes) -> bool:
    """Return whether a key is published in documentation or a tutorial, or looks like a
    placeholder. (Other weak keys are short.)
    """
    text = _text_of(key)
    if text in _PUBLISHED or _PLACEHOLDER.search(text):
        return True
    return len(text) < _MIN_LENGTH and _SHORT_PLACEHOLDER.fullmatch(text) is not None


def _text_of(key: str | bytes) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else str(key)
