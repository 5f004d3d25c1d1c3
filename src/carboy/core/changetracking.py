"""Count changes to classes and objects, so that a cached decision about them can be checked.

Tracing libraries and tests replace methods on classes. The fast path (`carboy.core.fastpath`) skips
some of those methods and must not be used once one of them has been replaced. Comparing every
method on every request would cost more than the fast path saves; comparing one counter does not.
This module only counts; `carboy.core.overrides` decides what a change means. The two are separate
because `carboy.ctx` and `carboy.wrappers`, which `overrides` imports, need the metaclass
`ChangeTracked` of this module.
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


class MembersTracked(ChangeTracked):
    """A metaclass that records of each class whether it still has the original versions of some
    members.

    A class names these members in `_tracked_members`. `_is_original` of the class and of its
    subclasses is true until a subclass overrides one of the members, or somebody patches one.
    """

    _tracked_members: frozenset[str]
    _is_original: bool
    _original_members: dict[str, t.Any]

    def __init__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, t.Any], **kwargs: t.Any
    ) -> None:
        super().__init__(name, bases, namespace, **kwargs)
        if "_tracked_members" in namespace:
            names = cls._tracked_members
            cls._original_members = {each: getattr(cls, each, None) for each in names}
        cls._compare_members()

    def __setattr__(cls, name: str, value: t.Any) -> None:
        super().__setattr__(name, value)
        if name in cls._tracked_members:
            cls._compare_members()

    def __delattr__(cls, name: str) -> None:
        super().__delattr__(name)
        if name in cls._tracked_members:
            cls._compare_members()

    def _compare_members(cls) -> None:
        """Store on the class and its subclasses whether their members are the original ones."""
        same = all(
            getattr(cls, name, None) is member for name, member in cls._original_members.items()
        )
        if vars(cls).get("_is_original") is not same:
            cls._is_original = same
        below: t.Any
        for below in cls.__subclasses__():
            below._compare_members()


def note_change() -> None:
    """Count a change. Call this after the change was made.

    Code that reads the counter first and then the changed object either sees the change, or has an
    old value of the counter and will notice.
    """
    ChangeTracked.changes += 1
