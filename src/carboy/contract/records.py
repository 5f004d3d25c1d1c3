"""Find the fields of records, and the values inside records and collections.

A record is a class with named fields: a Struct, a dataclass, a TypedDict, a NamedTuple, an attrs
class or a pydantic model. Each of these stores annotations, names and defaults in its own way.
"""

from __future__ import annotations

import dataclasses
import sys
import typing as t

import msgspec
from msgspec._utils import get_class_annotations  # type: ignore[attr-defined]

from .hints import is_pydantic, is_record, is_typed_dict, pydantic_fields, strip

if t.TYPE_CHECKING:
    import collections.abc as cabc

#: Stands in the place of a default if the field is required, or if a factory creates the default
#: for each record.
NO_DEFAULT: t.Final = msgspec.NODEFAULT


# Names of qualifiers around the type of a TypedDict's key, such as `NotRequired[int]`.
_QUALIFIERS = ("Required", "NotRequired", "ReadOnly")


class RecordField(t.NamedTuple):
    """A field of a record (a class with named fields)."""

    name: str
    #: The names under which a request may send the field, the name in the schema first.
    keys: tuple[str, ...]
    annotation: t.Any
    required: bool
    #: The default value, which all records share; NO_DEFAULT if there is none.
    default: t.Any = NO_DEFAULT


def is_named_tuple(annotation: t.Any) -> bool:
    return (
        isinstance(annotation, type) and issubclass(annotation, tuple) and annotation is not tuple
    )


def fields_of(annotation: t.Any) -> tuple[RecordField, ...]:
    """Return the fields of a record type or a NamedTuple, such as `Page[Item]`; () for other types.

    Raises:
        NameError: an annotation of the class uses an undefined name.
    """
    bare = strip(annotation)
    cls = t.get_origin(bare) or bare
    if not (is_record(cls) or is_named_tuple(cls)):
        return ()
    if is_pydantic(cls):
        return tuple(_of_pydantic(cls))
    annotations = get_class_annotations(bare)
    if hasattr(cls, "__struct_fields__"):
        return tuple(_of_struct(cls, annotations))
    if is_typed_dict(cls):
        return tuple(_of_typed_dict(cls, annotations))
    defaults = dict(_defaults(cls))
    return tuple(
        RecordField(name, (name,), annotations.get(name, t.Any), name not in defaults, default)
        for name in _names(cls)
        for default in [defaults.get(name, NO_DEFAULT)]
    )


def _of_struct(cls: t.Any, annotations: dict[str, t.Any]) -> cabc.Iterator[RecordField]:
    for field in msgspec.structs.fields(cls):
        yield RecordField(
            field.name,
            (field.encode_name,),
            annotations[field.name],
            field.required,
            field.default,
        )


def _of_typed_dict(cls: t.Any, annotations: dict[str, t.Any]) -> cabc.Iterator[RecordField]:
    for name, written in annotations.items():
        kind, required = written, name in cls.__required_keys__
        # Remove qualifiers by hand, because `typing` does not recognise them in annotations that
        # are strings.
        while (qualifier := getattr(t.get_origin(kind), "_name", "")) in _QUALIFIERS:
            kind = t.get_args(kind)[0]
            required = qualifier == "Required" or (required and qualifier != "NotRequired")
        yield RecordField(name, (name,), kind, required)


def _of_pydantic(cls: t.Any) -> cabc.Iterator[RecordField]:
    if not getattr(cls, "__pydantic_complete__", True):
        _complete(cls)
    config = getattr(cls, "model_config", None) or getattr(cls, "__pydantic_config__", None) or {}
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    for name, info in pydantic_fields(cls).items():
        aliases = _aliases(info.validation_alias or info.alias)
        keys = dict.fromkeys((*aliases, *((name,) if by_name or not aliases else ())))
        kind = t.Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
        # Leave out the default of a pydantic field. Requests do not share it, because pydantic
        # copies a mutable default for each model.
        yield RecordField(name, tuple(keys), kind, info.is_required())


def _complete(cls: t.Any) -> None:
    """Let pydantic look up names in annotations of a class that were not defined when the class was
    created.

    Without this call, pydantic would report an undefined name when it reads the first value.

    Raises:
        NameError: a name is still not defined.
    """
    if hasattr(cls, "model_rebuild"):
        cls.model_rebuild()
    else:
        sys.modules["pydantic.dataclasses"].rebuild_dataclass(cls)


def _aliases(alias: t.Any) -> list[str]:
    """Return the names in a pydantic alias, which is a text, an `AliasChoices` or an
    `AliasPath`.
    """
    if alias is None or isinstance(alias, str):
        return [alias] if alias else []
    choices = getattr(alias, "choices", [alias])
    return [each if isinstance(each, str) else str(each.path[0]) for each in choices]


def _names(cls: t.Any) -> list[str]:
    if dataclasses.is_dataclass(cls):
        return [field.name for field in dataclasses.fields(cls) if field.init]
    if "__attrs_attrs__" in vars(cls):
        return [field.name for field in cls.__attrs_attrs__ if field.init]
    return list(getattr(cls, "_fields", ()))


def _defaults(cls: t.Any) -> cabc.Iterator[tuple[str, t.Any]]:
    if dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            if field.default is not dataclasses.MISSING:
                yield field.name, field.default
            elif field.default_factory is not dataclasses.MISSING:
                yield field.name, NO_DEFAULT
    elif "__attrs_attrs__" in vars(cls):
        attrs = sys.modules["attr"]
        for field in cls.__attrs_attrs__:
            if isinstance(field.default, attrs.Factory):
                yield field.name, NO_DEFAULT
            elif field.default is not attrs.NOTHING:
                yield field.name, field.default
    else:
        yield from getattr(cls, "_field_defaults", {}).items()


def is_frozen(cls: t.Any) -> bool:
    """Return whether a record class is frozen: its fields cannot be assigned."""
    for name in ("__struct_config__", "__dataclass_params__"):
        if hasattr(cls, name):
            return bool(getattr(cls, name).frozen)
    config = getattr(cls, "model_config", None)
    return bool(config.get("frozen")) if is_pydantic(cls) and config else False


def types_in(annotation: t.Any) -> cabc.Iterator[t.Any]:
    """Yield a type and all types inside it, including those of its fields, without `Annotated`."""
    todo, seen = [annotation], []
    while todo:
        bare = strip(todo.pop())
        if bare in seen:
            continue
        seen.append(bare)
        yield bare
        if t.get_origin(bare) is not t.Literal:
            todo += t.get_args(bare)
        todo += [field.annotation for field in fields_of(bare)]


def values_in(value: t.Any) -> list[tuple[str, t.Any]]:
    """Return the values inside a record or a collection, each with its step of a path (`.name`,
    `[0]`).
    """
    if value is None or isinstance(value, (str, int, float, bytes)):
        return []
    if isinstance(value, dict):
        return [(f".{key}", each) for key, each in value.items()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [(f"[{i}]", each) for i, each in enumerate(value)]
    cls = type(value)
    names = getattr(cls, "__struct_fields__", None)
    if names is not None:
        keys = cls.__struct_encode_fields__
        return [(f".{key}", getattr(value, name)) for key, name in zip(keys, names, strict=True)]
    if is_record(cls):
        # Fields that a model of pydantic with `extra="allow"` does not declare.
        extra = getattr(value, "__pydantic_extra__", None) or {}
        fields = (*(pydantic_fields(cls) or _names(cls)), *extra)
        return [(f".{name}", getattr(value, name)) for name in fields if hasattr(value, name)]
    return []
