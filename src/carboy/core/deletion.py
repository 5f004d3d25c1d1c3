"""Delete attributes whose values are made on first access.

`mock.patch.object` deletes the attribute that it has replaced, and assigns the original only if the
attribute is missing then. So an attribute that was deleted must not be made again, just as one in
an object's `__dict__` would be missing.
"""

from __future__ import annotations


class DeletableAttributes:
    """The base of classes that make attributes on first access and keep the values in fields.

    Each field has a class attribute that says that the value was not made. A deleter calls
    `_delete_made`. A getter calls `_refuse_deleted` before it makes a value; assigned values need
    no check, since the getter finds them in the field.
    """

    # PERF: the default is on the class, so that creating an object costs nothing.
    _deleted: frozenset[str] = frozenset()

    def _delete_made(self, name: str, field: str) -> None:
        getattr(self, name)  # a deleted attribute cannot be deleted
        vars(self).pop(field, None)
        self._deleted |= {name}

    def _refuse_deleted(self, name: str) -> None:
        if name in self._deleted:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}: it was deleted.",
                name=name,
                obj=self,
            )
