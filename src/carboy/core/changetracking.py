"""Count changes to classes and objects, so that a cached decision about them can be checked.

Tracing libraries and tests replace methods on classes. The fast path (`carboy.core.fastpath`) skips
some of those methods and must not be used once one of them has been replaced. Comparing every
method on every request would cost more than the fast path saves; comparing one counter does not.
This module only counts; `carboy.core.overrides` decides what a change means. The two are separate
because `carboy.ctx` and `carboy.wrappers`, which `overrides` imports, need the metaclass.
"""

from __future__ import annotations

import typing as t
from abc import ABCMeta


class ChangeTracked(ABCMeta):
    """A metaclass that counts every assignment to attributes of its classes.

    It derives from `ABCMeta` so that users can mix such a class with abstract classes.
    """

    changes: t.ClassVar[int] = 0

    # PERF: without `ABCMeta`'s lookup of virtual subclasses, `isinstance` takes a fifth of the
    # time.
    __instancecheck__ = type.__instancecheck__
    __subclasscheck__ = type.__subclasscheck__

    def __setattr__(cls, name: str, value: t.Any) -> None:
        super().__setattr__(name, value)
        note_change()

    def __delattr__(cls, name: str) -> None:
        super().__delattr__(name)
        note_change()


def note_change() -> None:
    """Count a change. Call this after the change was made.

    Code that reads the counter first and then the changed object either sees the change, or has an
    old value of the counter and will notice.
    """
    ChangeTracked.changes += 1
