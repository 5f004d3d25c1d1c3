"""Convert the texts of one field of a form, a query or a header into plain data for its type.

The data is then validated as JSON would be, except that numbers may be texts. Browsers and people
write some values in another way than msgspec reads them:

    number       `01` and `.5`, as typed into `<input type="number">`
    time         `2024-02-29T12:30` of `<input type="datetime-local">`, `12:30` of `type="time"`
    bool         `on` of `<input type="checkbox">`; `yes`, `off`, `no`
    list         one text for a list of one item: one box of several is ticked
    other JSON   a text that begins with `[` or `{`
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import re
import types
import typing as t

import msgspec

from ..errors import InputError
from . import inputerrors
from .hints import (
    is_recursive,
    is_scalar,
    is_union,
    item_of,
    members_of,
    strip,
    without_none,
)
from .kinds import Sort, plain_classes, sort_of

if t.TYPE_CHECKING:
    import collections.abc as cabc

Tidy: t.TypeAlias = "cabc.Callable[[str], str]"

# Words that people write for booleans; HTML checkboxes send "on".
_WORDS = {"on": "true", "yes": "true", "off": "false", "no": "false"}
# Matches a number whose sign or zeros msgspec refuses. The groups are a minus, the digits before
# the point without leading zeros, and the rest.
_NUMBER = re.compile(r"(?:\+|(-))?0*(?=[\d.])(\d*)((?:\.\d*)?(?:[eE][+-]?\d+)?)", re.ASCII)
_LONGEST_NUMBER = 64
# A time without seconds, with or without a date before it and an offset after it.
_MINUTES = re.compile(r"((?:\d{4}-\d\d-\d\d[T ])?\d\d:\d\d)(Z|[+-]\d\d:\d\d)?", re.ASCII)


class TextField:
    """Converts the texts of one form field, query parameter or header. Thread-safe.

    Attributes:
        takes_text: whether a text, or an item of a list, may be any text.
        is_text: whether the whole field may be any text.
        is_nullable: whether the field may be None.
        is_list: whether a single text or file is converted to a list of one item.
    """

    def __init__(self, annotation: t.Any, sort: Sort | None = None) -> None:
        sort = sort or sort_of(annotation)
        members = [strip(each) for each in members_of(annotation)]
        self.takes_text = str in _texts_in(annotation)
        self.is_text = any(each in (str, t.Any, msgspec.Raw) for each in members)
        self.is_nullable = types.NoneType in members
        self._is_scalar = sort is Sort.SCALAR
        self.is_list = sort in (Sort.SCALARS, Sort.FILES)
        self._may_be_list = not self._is_scalar and any(
            list in plain_classes(each) for each in members
        )
        self._tidy = tidy(annotation)

    def plain(self, texts: cabc.Sequence[str], name: str) -> t.Any:
        """Return plain data for all texts that were sent under one name. Raises InputError."""
        first = texts[0]
        if len(texts) > 1 and not self.is_list and not self._may_be_list:
            texts = texts[:1]
        if len(texts) == 1 and not self._is_scalar and first.lstrip()[:1] in ("[", "{"):
            try:
                return msgspec.json.decode(first)
            except (msgspec.DecodeError, RecursionError) as exc:
                if not self.takes_text:
                    detail = inputerrors.malformed(first.encode(), exc).detail
                    raise InputError(f"Field {name!r}: {detail}") from exc
        read = list(texts) if self._tidy is None else [self._tidy(text) for text in texts]
        return read if self.is_list or len(read) > 1 else read[0]


def _texts_in(annotation: t.Any) -> set[t.Any]:
    """Return the scalar types that the text of a form field can have: members of unions, items of
    lists.
    """
    found: set[t.Any] = set()
    for each in members_of(without_none(annotation)):
        bare = strip(each)
        found |= {bare} if is_scalar(bare) or bare is t.Any else set()
        if item_of(bare) is not None and not is_union(bare):
            found.add(strip(item_of(bare)))
    return {str if each is t.Any else each for each in found if isinstance(each, t.Hashable)}


def leaves_of(annotation: t.Any) -> cabc.Iterator[t.Any]:
    """Yield the types inside lists and unions."""
    bare = strip(annotation)
    yield bare
    if not is_recursive(annotation):
        for each in t.get_args(bare):
            yield from leaves_of(each)


def tidy(annotation: t.Any) -> Tidy | None:
    """Return a function that rewrites a text so that it is valid for a type.

    Returns None if nothing is rewritten: for types that may be any text.
    """
    leaves = [each for each in leaves_of(annotation) if isinstance(each, t.Hashable)]
    if str in leaves or t.Any in leaves:
        return None
    kept = {value for each in leaves for value in _values(each)}
    classes = {*leaves, *(type(value) for value in kept if not isinstance(value, str))}
    steps = [step for kinds, step in _STEPS if classes & kinds]
    if not steps:
        return None

    def rewrite(text: str) -> str:
        if text not in kept:
            for step in steps:
                text = step(text)
        return text

    return rewrite


def _values(leaf: t.Any) -> list[t.Any]:
    """Return the values of a `Literal` or an enumeration."""
    if isinstance(leaf, type):
        return [member.value for member in leaf] if issubclass(leaf, enum.Enum) else []
    return [leaf] if isinstance(leaf, (str, int)) else []


def _word(text: str) -> str:
    return _WORDS.get(text.lower(), text)


def _number(text: str) -> str:
    # Long texts are not matched, because the regular expression takes quadratic time for many
    # zeros.
    found = _NUMBER.fullmatch(text.strip()) if len(text) <= _LONGEST_NUMBER else None
    if found is None or found[0] in (".", "+.", "-."):
        return text
    sign, digits, rest = found[1] or "", found[2] or "0", found[3]
    return sign + digits + re.sub(r"^\.(?!\d)", "", rest)


def _time(text: str) -> str:
    found = _MINUTES.fullmatch(text)
    return f"{found[1]}:00{found[2] or ''}" if found else text


_STEPS: tuple[tuple[set[t.Any], Tidy], ...] = (
    ({bool}, _word),
    ({int, float, decimal.Decimal}, _number),
    ({dt.datetime, dt.time}, _time),
)
