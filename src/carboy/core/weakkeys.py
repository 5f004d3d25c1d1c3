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
# Keys from the documentation of Flask and from tutorials, which many programs have copied.
_PUBLISHED = frozenset({
    "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",
    "A0Zr98j/3yX R~XHH!jmN]LWX/,?RT",
    '_5#y2L"F4Q8z\n\xec]/',
    "5791628bb0b13ce0c676dfde280ba245",
})  # fmt: skip


def weakness_of(key: str | bytes) -> str | None:
    """Return why a secret key can be guessed, as the end of a sentence such as "The key ..."; None
    if the key seems random.
    """
    text = key.decode("latin-1") if isinstance(key, bytes) else str(key)
    if text in _PUBLISHED:
        return "is published, in Flask's documentation or in a tutorial"
    if len(text) < _MIN_LENGTH:
        return f"has fewer than {_MIN_LENGTH} characters"
    if len(set(text)) < _MIN_DIFFERENT:
        return f"has fewer than {_MIN_DIFFERENT} different characters"
    if _PLACEHOLDER.search(text):
        return "looks like a placeholder, as tutorials have it"
    return None
