"""Deletion of attributes whose values are created on first access.

`mock.patch.object` needs this: it deletes the attribute that it has replaced, and assigns the
original only if the attribute is missing then. So a deleted attribute must stay missing and not be
created again.
"""

from __future__ import annotations


class DeletableAttributes:
    """Base of classes that create attributes on first access and keep the values in fields.

    Each field has a default on the class, which means that the value was not created yet. A deleter
    calls `_delete_made`. A getter calls `_refuse_deleted` before it creates a value; after an
    assignment it finds the value in the field and need not check.
    """

    # PERF: the default is on the class, so that creating an object costs nothing.
    _deleted: frozenset[str] = frozenset()

    def _delete_made(self, name: str, field: str) -> None:
        getattr(self, name)  # raises AttributeError if the attribute was deleted already
        vars(self).pop(field, None)
        self._deleted |= {name}

    def _refuse_deleted(self, name: str) -> None:
        if name in self._deleted:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}: it was deleted.",
                name=name,
                obj=self,
            )
