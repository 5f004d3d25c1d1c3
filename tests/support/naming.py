"""Test names that are the same in each run: pytest-randomly sorts by them, and people find tests by
them.
"""

from __future__ import annotations

import re

ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")


def stable_repr(value: object) -> str:
    """Return the `repr` of a value without memory addresses, for `ids` of parametrize."""
    return ADDRESS.sub("", repr(value))
