"""Check that values have the types of their config keys, and convert texts of environment variables
to these types.
"""

from __future__ import annotations

import json
import os
import re
import types
import typing as t
from datetime import timedelta

import msgspec

from ..config import OWN_KEYS

_Seconds = timedelta | int | float

# The types of Flask's config keys. The types of carboy's own keys are in `OWN_KEYS`.
_FLASK_TYPES: t.Mapping[str, t.Any] = {
    "DEBUG": bool | None,
    "TESTING": bool,
    "PROPAGATE_EXCEPTIONS": bool | None,
    "SECRET_KEY": str | bytes | None,
    "SECRET_KEY_FALLBACKS": list[str | bytes] | None,
    "PERMANENT_SESSION_LIFETIME": _Seconds,
    "USE_X_SENDFILE": bool,
    "TRUSTED_HOSTS": list[str] | None,
    "SERVER_NAME": str | None,
    "APPLICATION_ROOT": str,
    "SESSION_COOKIE_NAME": str,
    "SESSION_COOKIE_DOMAIN": str | bool | None,
    "SESSION_COOKIE_PATH": str | None,
    "SESSION_COOKIE_HTTPONLY": bool,
    "SESSION_COOKIE_SECURE": bool,
    "SESSION_COOKIE_PARTITIONED": bool,
    # Werkzeug refuses other values only when it writes a cookie.
    "SESSION_COOKIE_SAMESITE": t.Annotated[str, msgspec.Meta(pattern="^(?i:lax|strict|none)$")]
    | None,
    "SESSION_REFRESH_EACH_REQUEST": bool,
    "MAX_CONTENT_LENGTH": int | None,
    "MAX_FORM_MEMORY_SIZE": int | None,
    "MAX_FORM_PARTS": int | None,
    "SEND_FILE_MAX_AGE_DEFAULT": _Seconds | None,
    "TRAP_BAD_REQUEST_ERRORS": bool | None,
    "TRAP_HTTP_EXCEPTIONS": bool,
    "EXPLAIN_TEMPLATE_LOADING": bool,
    "PREFERRED_URL_SCHEME": str,
    "TEMPLATES_AUTO_RELOAD": bool | None,
    "MAX_COOKIE_SIZE": int,
    "PROVIDE_AUTOMATIC_OPTIONS": bool,
    "ENV": str | None,
    "JSON_AS_ASCII": bool,
    "JSON_SORT_KEYS": bool,
    "JSONIFY_PRETTYPRINT_REGULAR": bool,
    "JSONIFY_MIMETYPE": str,
    "PRESERVE_CONTEXT_ON_EXCEPTION": bool | None,
}
_LISTS = (list, set, frozenset, tuple)
_IPV6 = re.compile(r"\s*\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]")
_SWITCHES = {"yes": True, "on": True, "no": False, "off": False}


def built_in_types() -> dict[str, t.Any]:
    """Return the types of the keys of Flask and carboy."""
    return {**_FLASK_TYPES, **{name: key.type for name, key in OWN_KEYS.items()}}


def checked(value: t.Any, annotation: t.Any) -> t.Any:
    """Check that a value has one of the types of `annotation`. Return the value, converted if the
    type asks for it: a dict becomes a `Struct`, for example.

    Raises:
        ValueError: the value has none of the types; the argument names the types.
    """
    if annotation is t.Any:
        return value
    details = []
    for member in _members(annotation):
        if member is type(None):
            if value is None:
                return value
            continue
        try:
            return _convert(value, member)
        except (ValueError, TypeError) as exc:
            details.append(str(exc))
    raise ValueError(_expected(annotation, details))


def _convert(value: t.Any, member: t.Any) -> t.Any:
    if isinstance(value, os.PathLike) and member is str:
        return value
    if isinstance(value, (tuple, set, frozenset)) and t.get_origin(member) is list:
        for each in value:
            checked(each, *t.get_args(member))
        return value
    if t.get_origin(member) is list and isinstance(value, list):
        return [checked(each, *t.get_args(member)) for each in value]
    if member is bytes and not isinstance(value, bytes):
        raise TypeError("Expected `bytes`")  # msgspec would decode a text as base64
    return msgspec.convert(value, member)


def from_text(text: str, annotation: t.Any) -> t.Any:
    """Convert the text of an environment variable to one of the types of `annotation`.

    If `annotation` is `Any`, the text is parsed as JSON, and returned itself if it is not JSON, as
    Flask's `from_prefixed_env` does. A list, set or tuple may be written as JSON, or with commas
    between its members, unless these may have any type. If `annotation` also has a type of text,
    only `list[str]` may be written with commas. `null` stands for None if that is possible; `None`
    is refused where it would be a text, because None is meant.

    Raises:
        ValueError: the text does not stand for one of the types; the argument names the types.
    """
    if annotation is t.Any:
        return _json_or_text(text)
    members = [each for each in _members(annotation) if each is not type(None)]
    is_optional = len(members) < len(_members(annotation))
    if text == "null" and is_optional:
        return None
    if text == "None" and is_optional and any(map(_takes_any_text, members)):
        members.clear()
    details = []
    for member in sorted(members, key=lambda member: _priority(member, text)):
        try:
            return _from_text(text, member)
        except (ValueError, TypeError) as exc:
            details.append(str(exc))
    raise ValueError(_expected(annotation, details).replace(" or None", " or null"))


def _priority(member: t.Any, text: str) -> int:
    """Return when a type is tried. If a key may be a number, a list of texts or text, "5" becomes a
    number, "a,b" a list. Text is tried before other types with commas: "hello, world" is not meant
    as a `tuple[str, str]` if it may be text.
    """
    if _is_text(member):
        return 2
    if not _takes_commas(member):
        return 0
    return 1 if member == list[str] or _is_json(text) else 3


def from_text_like(text: str, model: t.Any) -> t.Any:
    """Convert the text of an environment variable for a key that has no declared type, to the type
    of `model`, the value that a file has for the key.

    A number, switch, list or dict must stay one, and text stays text. If `model` is something else,
    such as None, any text will do. `null` stands for None.

    Raises:
        ValueError: the text does not stand for a value like `model`; the argument names the type.
    """
    if isinstance(model, str):
        value = _json_or_text(text)
        return value if value is None or isinstance(value, str) else text
    return from_text(text, _annotation_like(model))


def _annotation_like(model: t.Any) -> t.Any:
    if isinstance(model, bool):
        return bool | None
    if isinstance(model, (int, float)):
        return int | float | None
    if isinstance(model, list):
        is_of_texts = bool(model) and all(isinstance(each, str) for each in model)
        return (list[str] if is_of_texts else list[t.Any]) | None
    return dict[str, t.Any] | None if isinstance(model, dict) else t.Any


def _from_text(text: str, member: t.Any) -> t.Any:
    if member is bool and text.lower() in _SWITCHES:
        return _SWITCHES[text.lower()]
    if member is bytes:
        return text.encode()
    if _takes_commas(member) and not _is_json(text):
        return _convert(_split(text, member), member)
    try:
        return msgspec.convert(text, member, strict=False)
    except (msgspec.ValidationError, TypeError):  # TypeError: msgspec refuses str | bytes
        if not text.lstrip().startswith(("[", "{")):
            raise
    try:
        return _convert(json.loads(text), member)
    except RecursionError:
        raise ValueError("values are nested too deeply") from None


def _takes_commas(member: t.Any) -> bool:
    plain = _without_details(member)
    arguments = t.get_args(plain)
    return t.get_origin(plain) in _LISTS and bool(arguments) and t.Any not in arguments


def _is_json(text: str) -> bool:
    """Return whether the text of a list is written as JSON, rather than with commas:
    `[::1],localhost` begins with an IPv6 address.
    """
    return text.lstrip().startswith("[") and not _IPV6.match(text)


def _split(text: str, member: t.Any) -> list[t.Any]:
    parts = [part.strip() for part in text.split(",")]
    plain = _without_details(member)
    types_of_parts = t.get_args(plain)
    if t.get_origin(plain) is not tuple or Ellipsis in types_of_parts:
        parts = [part for part in parts if part] or parts  # as after the last comma of "a,b,"
        types_of_parts = (types_of_parts[0],) * len(parts)
    if len(types_of_parts) != len(parts):
        raise ValueError(f"{len(parts)} members")
    return list(map(from_text, parts, types_of_parts))


def _json_or_text(text: str) -> t.Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _is_text(member: t.Any) -> bool:
    return _without_details(member) in (str, bytes)


def _takes_any_text(member: t.Any) -> bool:
    return member in (str, bytes) or _takes_commas(member)


def _without_details(member: t.Any) -> t.Any:
    return t.get_args(member)[0] if t.get_origin(member) is t.Annotated else member


def _members(annotation: t.Any) -> tuple[t.Any, ...]:
    if t.get_origin(annotation) in (t.Union, types.UnionType):
        return t.get_args(annotation)
    return (annotation,)


def _expected(annotation: t.Any, details: list[str]) -> str:
    """Return a text that names the expected types. If msgspec's message `details` has a limit, or
    the place of the error in a nested value, that is added.
    """
    detail = details[0].rstrip(".") if len(details) == 1 else ""
    names = " or ".join(map(type_name, _members(annotation)))
    if " - at " in detail:
        return f"expected {names} ({detail})"
    if any(sign in detail for sign in ("=", "<", ">", "matching")):
        or_none = " or None" if type(None) in _members(annotation) else ""
        return f"expected {re.sub('^[Ee]xpected ', '', detail).replace('`', '')}{or_none}"
    return f"expected {names}"


def type_name(annotation: t.Any) -> str:
    """Return the name of a type for an error message, such as `list[str]` or `int or None`."""
    if t.get_origin(annotation) is t.Annotated:
        return type_name(t.get_args(annotation)[0])
    if t.get_origin(annotation) is t.Literal:
        return " or ".join(repr(each) for each in t.get_args(annotation))
    if t.get_origin(annotation) in (t.Union, types.UnionType):
        return " or ".join(map(type_name, t.get_args(annotation)))
    if annotation is type(None) or annotation is Ellipsis:
        return "None" if annotation is type(None) else "..."
    if arguments := t.get_args(annotation):
        names = ", ".join(map(type_name, arguments))
        return f"{type_name(t.get_origin(annotation))}[{names}]"
    return str(getattr(annotation, "__name__", annotation))
