"""From what `predict` returned to what is sent: bytes, a media type, headers.

    returned                 the forms, the default first; `Accept` chooses
    picture                  PNG, JPEG, WebP; JSON: a data URL
    array                    JSON: nested lists; .npy
    table                    JSON: a list of records; CSV, Parquet, Arrow
    text                     JSON: a string; text/plain
    bytes                    application/octet-stream; JSON: base64
    anything else            JSON
    items of a generator     JSON lines, server-sent events (framed by who sends them)

The annotation says which forms there are, and the value decides which of them it can have: a
`predict` without an annotation has those of the value that it returns. What is in a list or a
record is JSON.

A model may repeat what a stranger sent it, so no answer is ever markup, and a browser is told not
to take one for it.
"""

from __future__ import annotations

import typing as t
from collections import abc as cabc

from carboy.contract.answers import STREAMS, encode
from carboy.contract.hints import shown
from carboy.contract.kinds import is_union, strip
from carboy.contract.media import EVENTS, JSON, JSON_LINES
from carboy.contract.negotiation import choose
from carboy.contract.objects import Forms, forms, forms_of
from carboy.contract.values import text
from carboy.contract.values.registry import wire_of
from carboy.errors import SignatureError

from .schema import json_schema

# Source: https://fetch.spec.whatwg.org/#x-content-type-options-header
_NO_GUESSING = ("X-Content-Type-Options", "nosniff")
_VARY = ("Vary", "Accept")
_CHARSET = {"text/plain": "text/plain; charset=utf-8", "text/csv": "text/csv; charset=utf-8"}
_JSON = Forms("json", (JSON,), lambda value, _: encode(value))
_STREAM = Forms("stream", (JSON_LINES, EVENTS), lambda value, _: encode(value))
_LIGHT = frozenset({"json", "text", "bytes"})
_new = tuple.__new__
# Classes whose forms are kept. A model returns values of one or two.
_MOST_KEPT = 64


class Answer(t.NamedTuple):
    """What is sent."""

    body: bytes
    media_type: str  # as it stands in Content-Type
    headers: tuple[tuple[str, str], ...] = ()  # the others


class Answers:
    """How the answers of one `predict` are written. Thread-safe.

    Attributes:
        media_types: what can be had, the default first.
        streams: one item after the other comes, each of them JSON.
        item: the type of an item, or of the whole answer if it is no stream.
    """

    __slots__ = ("_by_class", "_json_only", "_kinds", "_vary", "item", "media_types", "streams")

    def __init__(self, returns: t.Any) -> None:
        bare = strip(returns)
        self.streams = t.get_origin(bare) in STREAMS
        self.item = t.get_args(bare)[0] if self.streams else returns
        found = [_STREAM] if self.streams else _forms(returns)
        #: The kinds that the annotation names; None: it names none, so any will do.
        self._kinds = None if bare is t.Any else {each.kind for each in found}
        self.media_types: tuple[str, ...] = tuple(
            dict.fromkeys(name for each in found for name in each.media_types)
        )
        self._json_only = self.media_types == (JSON,) and self._kinds is not None
        self._vary = len(self.media_types) > 1
        self._by_class: dict[type, Forms] = {}

    def choose(self, accept: str) -> str:
        """The media type for a client; nothing acceptable is the default."""
        return choose(accept, self.media_types)

    def encode(self, result: t.Any, accept: str = "") -> Answer:
        """Write what `predict` returned.

        Args:
            accept: the client's header; empty if there is none.

        Raises:
            NotImplementedError, TypeError, ValueError: it has no such form.
        """
        if self._json_only:
            # PERF: `Answer(...)` takes 0.2 us, more than to write a small record; this 0.1.
            return _new(Answer, (encode(result), JSON, ()))
        found = self._by_class.get(type(result)) or self._forms_of(type(result))
        media_type = choose(accept, found.media_types)
        headers = (_VARY,) if self._vary or len(found.media_types) > 1 else ()
        if media_type != JSON:
            headers = (*headers, _NO_GUESSING)
        body = found.write(result, media_type)
        return Answer(body, _CHARSET.get(media_type, media_type), headers)

    def is_light(self, result: t.Any) -> bool:
        """Whether writing it is no work to speak of: no picture, array or table as a whole."""
        if self._json_only:
            return True
        found = self._by_class.get(type(result)) or self._forms_of(type(result))
        return found.kind in _LIGHT

    def schema(self) -> dict[str, t.Any]:
        """JSON Schema of the answer, or of one item of a stream, as JSON."""
        if self.item is t.Any:
            return {}
        try:
            return json_schema(self.item, answered=True)
        except (NotImplementedError, TypeError):  # a class that only `predict` knows
            return {}

    def _forms_of(self, cls: type) -> Forms:
        found = next((_BLOBS[kind] for kind in _BLOBS if issubclass(cls, kind)), None)
        found = found or forms_of(cls) or _JSON
        if self._kinds is not None and found.kind not in self._kinds:
            found = _JSON
        if len(self._by_class) < _MOST_KEPT:
            self._by_class[cls] = found
        return found


def compile_answers(returns: t.Any, *, yields: bool, batch: int, owner: str) -> Answers:
    """Those of a `predict`, by its type.

    Args:
        returns: the return annotation; `typing.Any` where there is none.
        yields: whether it has a `yield` in it.

    Raises:
        SignatureError: the type says something else, or a batch would be answered item by item.
    """
    if yields and returns is t.Any:
        returns = cabc.Iterator[t.Any]
    answers = Answers(returns)
    if yields and not answers.streams:
        raise SignatureError(
            f"{owner}: `predict` has a `yield` in it, but its type says that it returns"
            f" {shown(returns)}. Write `-> Iterator[...]` with the type of what it yields."
        )
    if answers.streams and batch > 1:
        raise SignatureError(
            f"{owner}: with `batch` above 1 `predict` returns all results of a batch at once, and"
            " cannot give them item by item. Leave `batch` at 1."
        )
    return answers


def _forms(annotation: t.Any) -> list[Forms]:
    """What a type can be written as, for each type in a union."""
    bare = strip(annotation)
    if is_union(bare):
        return [found for each in t.get_args(bare) for found in _forms(each)]
    cls = t.get_origin(bare) or bare
    if cls in _BLOBS:
        return [_BLOBS[cls]]
    wire = wire_of(annotation)
    return [(forms(wire.name) if wire is not None else forms_of(cls)) or _JSON]


_TEXT, _BYTES = text.TextWire(), text.BytesWire()
_BLOBS: dict[t.Any, Forms] = {
    str: Forms("text", _TEXT.answers, _TEXT.write),
    bytes: Forms("bytes", _BYTES.answers, _BYTES.write),
}
