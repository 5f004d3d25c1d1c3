"""Texts of exceptions of models, which may quote what a client has sent, or fail."""

from __future__ import annotations


def text_of(exc: BaseException) -> str:
    """Return what `str` returns for an exception; the name of its class if that fails."""
    try:
        return str(exc)
    except Exception:  # noqa: BLE001 - the user's own `__str__`
        return type(exc).__qualname__


def writable(text: str) -> str:
    """Return a text that can be written as UTF-8, with the code of half a surrogate pair."""
    return text.encode(errors="backslashreplace").decode()
