"""What a version of a model may be called."""

from __future__ import annotations

import re

from carboy.errors import ModelFileError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


def fault_of_name(name: str) -> str:
    """Return why a name cannot be that of a version, because it could not stand in a URL or a
    header; "" if it can be.
    """
    if _NAME.fullmatch(name):
        return ""
    return (
        f"{name!r} cannot be the name of a version: expected at most 64 letters (A to Z), digits,"
        " '.', '_', '+' and '-', the first of them a letter or a digit, such as 8 or 2026-11-29."
    )


def refuse_name(name: str) -> None:
    """Refuse a name that cannot be that of a version.

    Raises:
        ModelFileError: the name has other characters, or is too long.
    """
    if fault := fault_of_name(name):
        raise ModelFileError(fault)
