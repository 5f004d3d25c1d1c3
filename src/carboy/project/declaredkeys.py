"""Keys that a project declares by the fields of `class Config(Struct)`."""

from __future__ import annotations

import types
import typing as t
from dataclasses import dataclass
from functools import cache

import msgspec

from ..core.masking import declare_secret_fields
from ..core.objectfields import field_names
from ..errors import ProjectError
from . import SECRET_MARKER


@dataclass(frozen=True, slots=True)
class DeclaredKey:
    """A field of the class that declares the keys of a project.

    Attributes:
        name: the name of the field.
        key: the config key, which has another name if the class renames its fields.
        type: the annotation of the field.
        has_default: whether a value may be missing.
        default: a function that returns the default; only for a field that has one.
    """

    name: str
    key: str
    type: t.Any
    has_default: bool
    default: t.Callable[[], t.Any]

    @property
    def is_secret(self) -> bool:
        """Whether the value is a secret as a whole."""
        return any(part is SECRET_MARKER for part in _parts(self.type))

    @property
    def has_secrets(self) -> bool:
        """Whether the value is a secret, or a class in its type declares one."""
        return self.is_secret or any(map(_secret_fields, _classes_in(self.type)))


def is_declaration(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, msgspec.Struct)


@cache
def fields_of(declared: type) -> tuple[DeclaredKey, ...]:
    """Return the keys that a `Struct` declares.

    The result is cached, because the annotations of the class can be resolved only while its module
    is in `sys.modules`. The module of a config file may stay there only while the file runs.

    Raises:
        ProjectError: a field has a type to which msgspec cannot convert values.
    """
    try:
        msgspec.json.Decoder(declared)  # fails for wrong annotations, also of nested classes
        _declare_nested_secrets(declared)
    except (TypeError, NameError) as exc:
        reason = str(exc).replace("\n", " ").rstrip(".")
        raise ProjectError(
            f"class {declared.__name__} cannot declare config keys: {reason}. Use types that"
            " msgspec can convert values to."
        ) from None
    return tuple(
        DeclaredKey(
            name=field.name,
            key=field.encode_name,
            type=field.type,
            has_default=not field.required,
            default=_default_of(field),
        )
        for field in msgspec.structs.fields(declared)
    )


def keys_with_secrets(declared: type | None) -> set[str]:
    """Return the keys of a class of which messages do not show the value, because the value is a
    secret or contains one.
    """
    return {each.key for each in fields_of(declared) if each.has_secrets} if declared else set()


def member_type(annotation: t.Any, name: str) -> t.Any:
    """Return the type of a member of a dict, or of a field of a class; `Any` if it has none.

    Args:
        annotation: the type of the dict, or the class.
        name: the name of the member, as files have it.
    """
    arguments = t.get_args(annotation)
    if t.get_origin(annotation) in (t.Union, types.UnionType, t.Annotated):
        found = (member_type(each, name) for each in arguments)
        return next((each for each in found if each is not t.Any), t.Any)
    if t.get_origin(annotation) is dict:
        return arguments[1]
    if not _has_annotations(annotation):
        return t.Any
    in_files = getattr(annotation, "__struct_encode_fields__", ())
    names = dict(zip(in_files, field_names(annotation) or (), strict=False))
    return _hints_of(annotation).get(names.get(name, name), t.Any)


def _default_of(field: msgspec.structs.FieldInfo) -> t.Callable[[], t.Any]:
    if field.default_factory is not msgspec.NODEFAULT:
        return t.cast("t.Callable[[], t.Any]", field.default_factory)
    return lambda: field.default


def _declare_nested_secrets(declared: type) -> None:
    """Let secrets be masked that are fields of classes in the types of the keys.

    Raises:
        ProjectError: such a class is a `TypedDict`, whose values are plain dicts.
    """
    for each in _classes_in(declared):
        secrets = _secret_fields(each)
        if secrets and t.is_typeddict(each):
            raise ProjectError(
                f"class {each.__name__}: its values are plain dicts, which do not tell that"
                f" {', '.join(secrets)} is a Secret. Write class {each.__name__}(Struct)."
            )
        if secrets:
            declare_secret_fields(each, secrets)


def _secret_fields(owner: type) -> tuple[str, ...]:
    hints = _hints_of(owner)
    return tuple(name for name, each in hints.items() if SECRET_MARKER in _parts(each))


@cache  # as `fields_of`
def _hints_of(owner: type) -> dict[str, t.Any]:
    return t.get_type_hints(owner, include_extras=True)


def _classes_in(annotation: t.Any) -> list[type]:
    """Return the classes with annotated fields of which an annotation consists, at any depth."""
    found: list[type] = []
    rest = [annotation]
    while rest:
        for part in _parts(rest.pop()):
            if _has_annotations(part) and part not in found:
                found.append(part)
                rest += _hints_of(part).values()
    return found


def _has_annotations(part: object) -> t.TypeGuard[type]:
    return isinstance(part, type) and (field_names(part) is not None or t.is_typeddict(part))


def _parts(annotation: t.Any) -> list[t.Any]:
    """Return an annotation and all that it consists of. A type alias may contain itself."""
    found: list[t.Any] = []
    rest = [annotation]
    while rest:
        part = rest.pop()
        if any(part is each for each in found):
            continue
        found.append(part)
        named = getattr(part, "__value__", None) or getattr(part, "__supertype__", None)
        rest += [*t.get_args(part), t.get_origin(part), named]
    return found
