"""What a version of a model may be called."""

from __future__ import annotations

import re

from carboy.errors import ModelFileError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
# The printable characters of Latin-1, as which headers are sent.
_IN_HEADER = re.compile(r"[\x20-\x7e\xa0-\xff]+")


def fault_in_header(name: str) -> str:
    """Return why a folder, which people may have named as they liked, cannot be a version: its name
    could not stand in a header, so that each response would fail; "" if it can be.
    """
    if _IN_HEADER.fullmatch(name):
        return ""
    return (
        f"'{printable(name)}' cannot be the name of a version, which stands in a header of each"
        " response: expected printable characters of Latin-1, such as 8 or 2026-11-29."
    )


def printable(name: str) -> str:
    r"""Return the name of a folder as text that can be sent and shown anywhere: bytes that are not
    UTF-8 and characters that are not printable are written as escapes, such as `\xe9`.
    """
    return "".join(each if each.isprintable() else _escaped(each) for each in name)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte that is not UTF-8, as Python reads names
        return f"\\x{ord(character) & 0xFF:02x}"
    return character.encode("unicode_escape").decode()


def refuse_name(name: str) -> None:
    """Refuse a name for a new version that would need care in URLs and command lines.

    Raises:
        ModelFileError: the name has other characters than letters, digits and some signs, or is too
            long.
    """
    if not _NAME.fullmatch(name):
        raise ModelFileError(
            f"{name!r} cannot be the name of a version: expected at most 64 letters (A to Z),"
            " digits, '.', '_', '+' and '-', the first of them a letter or a digit, such as 8 or"
            " 2026-11-29."
        )
