"""Let users delete attributes whose values are created on first access.

`mock.patch.object` needs this: to undo a patch it deletes the attribute, and assigns the original
value only if the attribute is then missing. So reading a deleted attribute must raise
AttributeError and not create a new value.
"""

from __future__ import annotations


class DeletableAttributes:
    """Base of classes whose properties create their values on first access.

    Each property keeps its value in a private attribute, the field. As long as no value exists, the
    field has a default, which is an attribute of the class. The deleter of a property calls
    `_delete_made`. The getter calls `_refuse_deleted` before it creates a value. If the field holds
    a value, the getter returns it without that call: if the attribute was ever deleted, a value has
    been assigned since.
    """

    # PERF: the default is an attribute of the class, so that creating an object assigns nothing.
    _deleted: frozenset[str] = frozenset()

    def _delete_made(self, name: str, field: str) -> None:
        getattr(self, name)  # raises AttributeError if the attribute is deleted already
        vars(self).pop(field, None)
        self._deleted |= {name}

    def _refuse_deleted(self, name: str) -> None:
        if name in self._deleted:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}: it was deleted.",
                name=name,
                obj=self,
            )
