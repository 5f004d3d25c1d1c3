"""Let users delete attributes whose values are created on first access.

`mock.patch.object` needs this: to undo a patch it deletes the attribute, and assigns the original
value only if the attribute is then missing. So reading a deleted attribute must raise
AttributeError and not create a new value.
"""

from __future__ import annotations


class DeletableAttributes:
    """Base of classes whose properties create their values on first access.

    Each property keeps its value in a private attribute of the object, its field. Until the value
    exists, reading the field gives a default, which is an attribute of the class. The deleter of a
    property must call `_delete_made`. The getter must call `_refuse_deleted` before it creates a
    value, so that a deleted attribute stays deleted. If the field holds a value, the getter returns
    the value without calling `_refuse_deleted`.
    """

    # PERF: the default is an attribute of the class, so that creating an object assigns nothing.
    _deleted: frozenset[str] = frozenset()

    def _delete_made(self, name: str, field: str) -> None:
        getattr(self, name)  # if the attribute was deleted before, this raises AttributeError
        vars(self).pop(field, None)
        self._deleted |= {name}

    def _refuse_deleted(self, name: str) -> None:
        if name in self._deleted:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}: it was deleted.",
                name=name,
                obj=self,
            )
