"""Notice that a class, or an object that decides like one, was changed after it was made.

Tracing libraries and tests replace methods on classes. The fast path (`carboy.core.fastpath`) skips
some of those methods, and must not be taken once one of them is replaced. Comparing each of them on
every request would cost more than the fast path saves; counting changes costs one comparison.
"""

from __future__ import annotations

import typing as t
from abc import ABCMeta


class ChangeTracked(ABCMeta):
    """The type of a class on which, and on whose subclasses, every assignment is counted.

    An `ABCMeta`, so that users may go on to mix such a class with abstract ones.
    """

    changes: t.ClassVar[int] = 0

    # PERF: without abstract classes' virtual subclasses `isinstance` takes a fifth of the time.
    __instancecheck__ = type.__instancecheck__
    __subclasscheck__ = type.__subclasscheck__

    def __setattr__(cls, name: str, value: t.Any) -> None:
        super().__setattr__(name, value)
        note_change()

    def __delattr__(cls, name: str) -> None:
        super().__delattr__(name)
        note_change()


def note_change() -> None:
    """Count a change, after it was made: whoever looks at the count first and then at what was
    changed has seen either the change or an old count.
    """
    ChangeTracked.changes += 1
