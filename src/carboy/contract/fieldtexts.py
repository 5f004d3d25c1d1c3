"""Rewrite the texts of one form field, query parameter or header so that msgspec reads them
correctly.

Browsers and people write some values in another way than msgspec reads them:

    number       `01` and `.5`, as typed into `<input type="number">`
    time         `2024-02-29T12:30` of `<input type="datetime-local">`, `12:30` of `type="time"`
    bool         `on` of `<input type="checkbox">`; `yes`, `off`, `no`
    list         one text for a list of one item: one of several checkboxes is ticked

msgspec reads some texts as other values than their authors meant, if numbers may be texts:

    whole number   `9007199254740993.0`, as a float, which loses the last digit
    time           `20240229`, as a number of seconds since 1970; such a text is refused
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import re
import types
import typing as t
from functools import partial

import msgspec

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
from .rereading import whole

if t.TYPE_CHECKING:
    import collections.abc as cabc

Step: t.TypeAlias = "cabc.Callable[[str], str]"
#: A function that rewrites the text of a field, or each text of a list, so that msgspec reads it
#: correctly.
Tidy: t.TypeAlias = "cabc.Callable[[t.Any], t.Any]"

# Words that people write for booleans; HTML checkboxes send "on".
_WORDS = {"on": "true", "yes": "true", "off": "false", "no": "false"}
# Matches a number in a notation that msgspec refuses, such as `+1`, `01` or `.5`. The groups are a
# minus, the digits before the point without leading zeros, and the rest.
_NUMBER = re.compile(r"(?:\+|(-))?0*(?=[\d.])(\d*)((?:\.\d*)?(?:[eE][+-]?\d+)?)", re.ASCII)
_LONGEST_NUMBER = 64
# Matches a number in JSON's notation. One with an exponent of more than nine digits does not match,
# because it is out of the range of all types.
_DECIMAL = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,9})?", re.ASCII)
# Matches a time without seconds, with or without a date before it and a UTC offset after it.
_MINUTES = re.compile(r"((?:\d{4}-\d\d-\d\d[T ])?\d\d:\d\d)(Z|[+-]\d\d:\d\d)?", re.ASCII)


class TextField:
    """Converts the texts of one form field, query parameter or header. Thread-safe.

    Attributes:
        takes_text: whether the type is `str` or `Any`, or a union or list that contains one of
            them.
        is_text: whether the type is `str` or `Any`, or a union that contains one of them.
        is_nullable: whether the type allows None.
        is_list: whether the type is a list, so that a single text or file becomes a list of one
            item.
        takes_several: whether several texts are one value: whether the type is a list, or a tuple
            or set, or a union that contains one.
    """

    def __init__(self, annotation: t.Any, sort: Sort | None = None) -> None:
        sort = sort or sort_of(annotation)
        members = [strip(each) for each in members_of(annotation)]
        self.takes_text = str in _texts_in(annotation)
        self.is_text = any(each in (str, t.Any, msgspec.Raw) for each in members)
        self.is_nullable = types.NoneType in members
        self._is_scalar = sort is Sort.SCALAR
        self.is_list = sort in (Sort.SCALARS, Sort.FILES)
        self.takes_several = self.is_list or (
            not self._is_scalar and any(list in plain_classes(each) for each in members)
        )
        self._tidy = tidy(annotation)

    def json(self, texts: cabc.Sequence[str]) -> bytes | None:
        """Return the JSON array or object that was sent as the text of a field; None for other
        texts.
        """
        first = texts[0]
        is_several = len(texts) > 1 and self.takes_several
        if is_several or self._is_scalar or first.lstrip()[:1] not in ("[", "{"):
            return None
        data = first.encode()
        return None if self.takes_text and not _is_valid_json(data) else data

    def sent(self, texts: cabc.Sequence[str]) -> str | list[str]:
        """Return all texts of a field if the type is a list, otherwise its first text."""
        is_list = self.is_list or (len(texts) > 1 and self.takes_several)
        return list(texts) if is_list else texts[0]

    def plain(self, texts: cabc.Sequence[str]) -> t.Any:
        """Return the submitted texts of a form or query field, rewritten so that msgspec reads
        them as carboy's rules for forms say: `on` as true, `.5` as a number.

        Raises:
            msgspec.ValidationError: a text is not valid for the type, although msgspec itself would
                accept it.
        """
        sent = self.sent(texts)
        return sent if self._tidy is None else self._tidy(sent)


def _is_valid_json(data: bytes) -> bool:
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _texts_in(annotation: t.Any) -> set[t.Any]:
    """Return the scalar types to which one text of a form field may be converted: the members of a
    union, the items of a list.
    """
    found: set[t.Any] = set()
    for each in members_of(without_none(annotation)):
        bare = strip(each)
        found |= {bare} if is_scalar(bare) or bare is t.Any else set()
        if item_of(bare) is not None and not is_union(bare):
            found.add(strip(item_of(bare)))
    return {str if each is t.Any else each for each in found if isinstance(each, t.Hashable)}


def leaves_of(annotation: t.Any) -> cabc.Iterator[t.Any]:
    """Yield a type and what is inside its brackets: the members of a union, the item type of a
    list, the values of a `Literal`.
    """
    bare = strip(annotation)
    yield bare
    if not is_recursive(annotation):
        for each in t.get_args(bare):
            yield from leaves_of(each)


def tidy(annotation: t.Any) -> Tidy | None:
    """Return a function that rewrites a text, or each text of a list, in the notation in which
    msgspec reads a type.

    Returns None if texts need no rewriting, because any text is valid for the type. The function
    raises `msgspec.ValidationError` for a number where only a time is valid.
    """
    leaves = [each for each in leaves_of(annotation) if isinstance(each, t.Hashable)]
    if str in leaves or t.Any in leaves:
        return None
    kept = {value for each in leaves for value in _values(each)}
    classes = {*leaves, *(type(value) for value in kept if not isinstance(value, str))}
    steps = [step for kinds, step in _STEPS if classes & kinds]
    numbers = classes & _NUMERIC
    if numbers == {int}:
        steps.append(_exact)
    times = [name for cls, name in TIMES.items() if cls in classes]
    if times and numbers <= {int}:
        steps.append(partial(_refuse_number, name=times[0], except_whole=bool(numbers)))
    if not steps:
        return None

    def rewrite(text: str) -> str:
        if text not in kept:
            for step in steps:
                text = step(text)
        return text

    def rewrite_all(sent: str | list[str]) -> str | list[str]:
        if isinstance(sent, str):
            return rewrite(sent)
        found = []
        for i, text in enumerate(sent):
            try:
                found.append(rewrite(text))
            except msgspec.ValidationError as error:
                raise msgspec.ValidationError(f"{error} - at `$[{i}]`") from None
        return found

    return rewrite_all


def _values(leaf: t.Any) -> list[t.Any]:
    """Return the values that a type allows: those of all members of an Enum, or the one value of a
    `Literal` that is given instead of a type.
    """
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


def _exact(text: str) -> str:
    """Rewrite a whole number as its digits: "5.0" becomes "5", "5e3" becomes "5000"."""
    if text.isdecimal() or not _DECIMAL.fullmatch(text):
        return text
    number = whole(decimal.Decimal(text))
    return text if number is None else str(number)


def _refuse_number(text: str, *, name: str, except_whole: bool) -> str:
    """Raise `msgspec.ValidationError` for a number where a time is expected.

    msgspec would read the text as seconds since 1970, although it refuses the same number in JSON.

    Args:
        text: the text of a field.
        name: msgspec's name for the text of a time, for the message: "RFC3339 encoded date".
        except_whole: whether a whole number is valid, as for `int | datetime`.
    """
    try:
        float(text)
    except ValueError:
        return text
    if except_whole and text.removeprefix("-").isdecimal():
        return text
    raise msgspec.ValidationError(f"Invalid {name}")


_NUMERIC = {int, float, decimal.Decimal}
#: How error messages of msgspec name the text of each type.
TIMES: t.Final = {
    dt.datetime: "RFC3339 encoded datetime",
    dt.date: "RFC3339 encoded date",
    dt.time: "RFC3339 encoded time",
    dt.timedelta: "ISO8601 duration",
}
_STEPS: tuple[tuple[set[t.Any], Step], ...] = (
    ({bool}, _word),
    (_NUMERIC, _number),
    ({dt.datetime, dt.time}, _time),
)
