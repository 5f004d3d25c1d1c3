"""Count changes to classes and objects, so that code can notice when cached decisions about them
are out of date.

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
    """A metaclass that counts each assignment to an attribute of one of its classes.

    It derives from `ABCMeta` so that users can mix such a class with abstract classes.
    """

    changes: t.ClassVar[int] = 0

    # PERF: `type`'s methods make `isinstance` five times as fast as those of `ABCMeta`, which also
    # looks for virtual subclasses.
    __instancecheck__ = type.__instancecheck__
    __subclasscheck__ = type.__subclasscheck__

    def __setattr__(cls, name: str, value: t.Any) -> None:
        super().__setattr__(name, value)
        note_change()

    def __delattr__(cls, name: str) -> None:
        super().__delattr__(name)
        note_change()


class MembersTracked(ChangeTracked):
    """A metaclass that records for each class whether certain members are overridden or patched.

    A class names these members in `_tracked_members`. Its attribute `_is_original` is true as long
    as nobody patches one of them. That of a subclass is true if, in addition, the subclass
    overrides none of them.
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
        """Set `_is_original` of the class and its subclasses by comparing their tracked members."""
        same = all(
            getattr(cls, name, None) is member for name, member in cls._original_members.items()
        )
        if vars(cls).get("_is_original") is not same:
            cls._is_original = same
        below: t.Any
        for below in cls.__subclasses__():
            below._compare_members()


def note_change() -> None:
    """Count a change. Call this after, and not before, the change.

    Other threads read the count first and the object second. If the count grew before the change, a
    thread could read the new count and the old object, and would never notice the change.
    """
    ChangeTracked.changes += 1
