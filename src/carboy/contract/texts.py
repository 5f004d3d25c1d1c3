"""Texts of a query, a header or a form field into values, and the query into texts.

The parser of the query does what Werkzeug's does, for the usual case in a tenth of the time;
tests/contract/test_texts.py holds the two equal.
"""

from __future__ import annotations

import math
import typing as t
from functools import partial

import msgspec

from .kinds import adapter, is_union, needs_pydantic, strip

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from carboy.ctx import RequestContext

Convert: t.TypeAlias = "cabc.Callable[[t.Any], t.Any]"

# What else a person writes; HTML's checkbox sends "on".
_YES_NO = {"on": True, "yes": True, "off": False, "no": False}


def converter(annotation: t.Any) -> Convert | None:
    """What makes a value of one text, or of a list of texts; None: the text is the value.

    It raises `msgspec.ValidationError`, or pydantic's.
    """
    if annotation is str or (is_union(annotation) and set(t.get_args(annotation)) == _STR_OR_NONE):
        return None
    if needs_pydantic(annotation):
        return t.cast("Convert", adapter(annotation).validate_python)
    convert: Convert = partial(msgspec.convert, type=annotation, strict=False)
    leaves = set(_leaves(annotation))
    if bool in leaves:
        convert = _with_words(convert)
    if float in leaves:
        convert = _finite(convert)
    return convert


_STR_OR_NONE = {str, type(None)}


def _leaves(annotation: t.Any) -> cabc.Iterator[t.Any]:
    bare = strip(annotation)
    yield bare
    for each in t.get_args(bare):
        yield from _leaves(each)


def _with_words(convert: Convert) -> Convert:
    def read(text: t.Any) -> t.Any:
        try:
            return convert(text)
        except msgspec.ValidationError:
            word = _YES_NO.get(text.lower()) if isinstance(text, str) else None
            if word is None:
                raise
            return word

    return read


def _finite(convert: Convert) -> Convert:
    """JSON has no word for NaN and infinity, and few programs mean them."""

    def read(text: t.Any) -> t.Any:
        value = convert(text)
        for each in value if isinstance(value, (list, tuple, set, frozenset)) else (value,):
            if isinstance(each, float) and not math.isfinite(each):
                raise msgspec.ValidationError("Expected a finite number")
        return value

    return read


def first_values(ctx: RequestContext) -> cabc.Mapping[str, str]:
    """The query: the first value of each key."""
    query = ctx._environ.get("QUERY_STRING", "")
    if not query:
        return {}
    if "%" in query or "+" in query or not query.isascii():
        return ctx.request.args
    found: dict[str, str] = {}
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        if pair and key not in found:
            found[key] = value
    return found


def all_values(ctx: RequestContext) -> cabc.Mapping[str, list[str]]:
    """The query: all values of each key."""
    query = ctx._environ.get("QUERY_STRING", "")
    if not query:
        return {}
    if "%" in query or "+" in query or not query.isascii():
        return ctx.request.args.to_dict(flat=False)
    found: dict[str, list[str]] = {}
    for pair in query.split("&"):
        if pair:
            key, _, value = pair.partition("=")
            found.setdefault(key, []).append(value)
    return found
