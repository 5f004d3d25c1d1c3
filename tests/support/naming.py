"""Names of tests that are the same in each run: by them the order is made, and a test found."""

from __future__ import annotations

import re

ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")


def spelled(value: object) -> str:
    """For `ids` of parametrize: as `repr` says it, but not where in memory."""
    return ADDRESS.sub("", repr(value))
