"""Whether the files of a saved model have changed, found out without reading them."""

from __future__ import annotations

import os
import typing as t

from .card import CARD_NAME

if t.TYPE_CHECKING:
    from .card import Card


def fingerprint(folder: str, card: Card) -> str:
    """Return a text that changes when a file on a card, or the card, is written or replaced."""
    return " ".join(state_of(os.path.join(folder, name)) for name in (CARD_NAME, *card.files))


def state_of(path: str) -> str:
    """Return a text that changes when a file is written or replaced. The time of the last change of
    the inode (`st_ctime_ns`) is a part of it, because programs that copy files set the other time.
    A file that cannot be found, such as in a folder that may not be read, is "missing".
    """
    try:
        found = os.stat(path)
    except OSError:
        return "missing"
    return f"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}-{found.st_ctime_ns:x}"


def incomplete(folder: str, card: Card) -> str:
    """Return which file of a card is missing, has another size or cannot be found; "" if none."""
    for name, record in card.files.items():
        try:
            size = os.path.getsize(os.path.join(folder, name))
        except FileNotFoundError:
            return f"{name!r} is missing, which {CARD_NAME} lists: it may not be copied yet."
        except OSError as exc:
            return f"{name!r}, which {CARD_NAME} lists, cannot be read: {exc}"
        if size != record.bytes:
            return (
                f"{name!r} has {size:,} bytes, and {CARD_NAME} says {record.bytes:,}: it may not"
                " be copied completely yet."
            )
    return ""
