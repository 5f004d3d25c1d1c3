"""Where each argument of a view comes from, as an object that can fetch it.

The usual request never comes here: `carboy.contract.binding` compiles the same steps to straight
code. These objects are for the request that does not fit, to say all that is wrong with it, and for
the one whose arguments somebody else has set in part.
"""

from __future__ import annotations

import typing as t

from ..errors import InputError
from .bodies import BodyReader
from .kinds import without_none
from .operation import fresh
from .problems import refusal
from .records import RecordReader
from .refusing import Refusal
from .texts import Convert, all_values, converter

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from carboy.ctx import RequestContext

    from .operation import Operation, Parameter

# Of these WSGI has no HTTP_ key (PEP 3333).
_PLAIN_KEYS = {"CONTENT-TYPE": "CONTENT_TYPE", "CONTENT-LENGTH": "CONTENT_LENGTH"}


def environ_key(header: str) -> str:
    """The key of a header in a WSGI environ."""
    name = header.upper()
    return _PLAIN_KEYS.get(name) or f"HTTP_{name.replace('-', '_')}"


def split_header(value: str) -> list[str]:
    """The members of a header that is a list. Source: RFC 9110, section 5.6.1."""
    return [each for part in value.split(",") if (each := part.strip())]


class Source:
    """A parameter of the query, a header or a cookie."""

    def __init__(self, parameter: Parameter) -> None:
        self.parameter = parameter
        self.record = RecordReader(parameter.annotation) if parameter.spread else None
        self.convert: Convert | None = None
        if not parameter.spread:
            # A text is there or it is not; the None of `int | None` is the default's.
            self.convert = converter(without_none(parameter.annotation))

    def fetch(self, ctx: RequestContext) -> t.Any:
        """The argument.

        Raises:
            InputError: it is missing or does not fit.
        """
        parameter = self.parameter
        if self.record is not None:
            record = self.record.collect(ctx.request.args.to_dict(flat=False), null=False)
            if not record and not parameter.required:
                return fresh(parameter.default)
            return self.record.convert(record)
        text = self._text(ctx)
        if text is None:
            if not parameter.required:
                return fresh(parameter.default)
            raise InputError.at(
                f"$.{parameter.alias}", expected=_wanted(parameter), got="nothing of that name"
            )
        if self.convert is None:
            return text
        try:
            return self.convert(text)
        except Exception as error:
            refused = refusal(error, text, root=f"$.{parameter.alias}", kind=parameter.annotation)
            if refused is None:
                raise
            raise refused from error

    def _text(self, ctx: RequestContext) -> t.Any:
        parameter = self.parameter
        if parameter.place == "query":
            values = all_values(ctx).get(parameter.alias)
            return values if parameter.many or values is None else values[0]
        if parameter.place == "cookie":
            return ctx.request.cookies.get(parameter.alias)
        value = ctx._environ.get(environ_key(parameter.alias))
        return split_header(value) if parameter.many and value is not None else value


def _wanted(parameter: Parameter) -> str:
    kind = {"query": "a query parameter", "header": "a header", "cookie": "a cookie"}
    return f"{kind[parameter.place]} named {parameter.alias!r}"


class Sources:
    """All arguments of one operation that come from the request."""

    def __init__(self, operation: Operation, owner: str) -> None:
        self.parameters = tuple(Source(parameter) for parameter in operation.parameters)
        self.body = None if operation.body is None else BodyReader(operation.body, owner)

    def fetch(
        self, ctx: RequestContext, given: cabc.Container[str] = ()
    ) -> tuple[dict[str, t.Any], list[Refusal]]:
        """The arguments that are not given yet, and all that is wrong with the others."""
        found: dict[str, t.Any] = {}
        refusals: list[Refusal] = []
        for source in self.parameters:
            if source.parameter.name in given:
                continue
            try:
                found[source.parameter.name] = source.fetch(ctx)
            except InputError as error:
                refusals.append(Refusal(source.parameter.place, error))
        if self.body is not None and not self._gives_nothing_new(given):
            try:
                read = self.body.read(ctx.request)
                found.update({name: read[name] for name in read if name not in given})
            except InputError as error:
                refusals.append(Refusal("body", error))
        return found, refusals

    def _gives_nothing_new(self, given: cabc.Container[str]) -> bool:
        body = t.cast("BodyReader", self.body).body
        names = [name for name, _, _ in body.embedded] + [part.name for part in body.parts]
        names += [body.name] if body.name is not None else []
        return all(name in given for name in names)
