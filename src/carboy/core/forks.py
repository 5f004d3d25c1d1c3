"""Objects that must be changed in a forked child process, where no other thread of the parent runs:
a lock that one of them held at that time would never be released.
"""

from __future__ import annotations

import os
import typing as t
import weakref

if t.TYPE_CHECKING:
    from collections import abc as cabc

T = t.TypeVar("T")

_changes: weakref.WeakKeyDictionary[t.Any, cabc.Callable[[t.Any], object]] = (
    weakref.WeakKeyDictionary()
)


def change_in_child(each: T, change: cabc.Callable[[T], object]) -> None:
    """Call a function with an object in each process that is forked from this one, as long as the
    object exists. The objects that are named first are changed first.
    """
    _changes[each] = change


def _change_all() -> None:
    for each, change in list(_changes.items()):
        change(each)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_change_all)
