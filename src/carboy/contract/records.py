"""Records whose fields came one by one, as texts: of a form or a query."""

from __future__ import annotations

import typing as t
from types import MappingProxyType

import msgspec

from ..errors import InputError
from . import problems
from .hooks import revive
from .kinds import adapter, list_fields, needs_pydantic, record_types
from .values.file import Upload

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from werkzeug.datastructures import FileStorage


class RecordReader:
    """Reads one type of record."""

    def __init__(self, annotation: t.Any) -> None:
        self._annotation = annotation
        self._validate = adapter(annotation).validate_python if needs_pydantic(annotation) else None
        self._lists = list_fields(annotation)
        #: Optional fields that no text fits: left empty in a form, they are as if not sent.
        self._blank: set[str] = set()
        self._flags: set[str] = set()
        #: Those for which msgspec would take the text "null" as None.
        self._nullable: set[str] = set()
        for field in (field for record in record_types(annotation) for field in record.fields):
            kinds = getattr(field.type, "types", (field.type,))
            holds_text = any(isinstance(kind, _TEXTS) for kind in kinds)
            if not field.required and not holds_text:
                self._blank.add(field.encode_name)
            if any(isinstance(kind, msgspec.inspect.NoneType) for kind in kinds) and not holds_text:
                self._nullable.add(field.encode_name)
            if any(isinstance(kind, msgspec.inspect.BoolType) for kind in kinds):
                self._flags.add(field.encode_name)

    def collect(
        self,
        fields: cabc.Mapping[str, cabc.Sequence[str]],
        files: cabc.Mapping[str, list[FileStorage]] = MappingProxyType({}),
        *,
        without: cabc.Container[str] = (),
        null: bool = True,
    ) -> dict[str, t.Any]:
        """The texts and files by field.

        Args:
            null: whether the text "null" may stand for None, as scripts write it into forms.
        """
        record: dict[str, t.Any] = {}
        for key, texts in fields.items():
            if key in without or (key in self._blank and texts == [""]):
                continue
            if key in self._nullable and not null:
                _refuse_null(key, texts)
            read = [_word(text) for text in texts] if key in self._flags else list(texts)
            record[key] = read if key in self._lists or len(read) > 1 else read[0]
        for key, sent in files.items():
            chosen = [Upload.of(each) for each in sent if each.filename]
            if chosen and key not in without:
                record[key] = chosen if key in self._lists or len(chosen) > 1 else chosen[0]
        return record

    def convert(self, record: dict[str, t.Any]) -> t.Any:
        """The record.

        Raises:
            InputError: 422.
        """
        if self._validate is None:
            return convert(record, self._annotation)
        try:
            return self._validate(record)
        except Exception as error:
            refused = problems.refusal(error, record)
            if refused is None:
                raise
            raise refused from error


def convert(value: t.Any, annotation: t.Any, *, root: str = "$") -> t.Any:
    """A value of texts, or of JSON in which numbers may be texts.

    Raises:
        InputError: 422.
    """
    try:
        found = msgspec.convert(value, annotation, strict=False, dec_hook=revive)
    except msgspec.ValidationError as error:
        raise problems.misfit(error, value, root=root, kind=annotation) from error
    # Text turned into numbers may say "nan", which JSON cannot.
    problem = problems.not_finite(msgspec.to_builtins(found, enc_hook=repr), root)
    if problem is not None:
        raise problem
    return found


def _word(text: str) -> str:
    """What HTML's checkbox sends for true, and what a person writes."""
    return "true" if text.lower() in ("on", "yes") else text


def _refuse_null(key: str, texts: cabc.Sequence[str]) -> None:
    """A text is there or it is not: None is the field that nobody sent."""
    for text in texts:
        if text.lower() == "null":
            raise InputError.at(f"$.{key}", expected="a value, or no field of that name", got=text)


_TEXTS = (msgspec.inspect.StrType, msgspec.inspect.AnyType, msgspec.inspect.RawType)
