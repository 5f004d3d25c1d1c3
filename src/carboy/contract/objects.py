"""Tables, arrays and pictures as answers, of views and of models: the forms that they can have.

    DataFrame                         JSON, a list of records; text/csv; Parquet, Arrow
    ndarray                           JSON, nested lists; application/x-npy
    picture (PIL)                     image/png; image/jpeg, image/webp; JSON, a data URL

The first form is the default, `Accept` may choose another. Objects are known by the name of their
class: no package is imported that did not make one.

Flask would refuse them, and records too (Struct, dataclass, ...), so giving them a form without
an annotation changes no program.
"""

from __future__ import annotations

import typing as t
from functools import lru_cache

from .answers import encode
from .kinds import is_record
from .media import JSON
from .negotiation import choose
from .values import drawing, tensor

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from carboy.ctx import RequestContext


class Forms(t.NamedTuple):
    """What values of one kind can be sent as."""

    kind: str  # the name of a wire, or "json"
    media_types: tuple[str, ...]  # the default first
    write: cabc.Callable[[t.Any, str], bytes]


def respond(ctx: RequestContext, rv: t.Any) -> t.Any:
    """A response for one of these objects; None for any other."""
    cls = type(rv)
    if is_record(cls):
        data = rv.model_dump_json().encode() if hasattr(rv, "model_dump_json") else encode(rv)
        return ctx.app.response_class(data, mimetype=JSON)
    found = forms_of(cls)
    if found is None:
        return None
    chosen = choose(ctx.request.headers.get("Accept", ""), found.media_types)
    headers = {"Vary": "Accept"} if len(found.media_types) > 1 else None
    return ctx.app.response_class(found.write(rv, chosen), mimetype=chosen, headers=headers)


def forms_of(cls: t.Any) -> Forms | None:
    """The forms of instances of a class; None of what is none of these objects."""
    for each in getattr(cls, "__mro__", ()):
        package = each.__module__.partition(".")[0]
        kind = _KINDS.get((package, each.__qualname__))
        if kind is not None:
            return forms(kind)
    return None


@lru_cache(maxsize=8)
def forms(kind: str) -> Forms | None:
    """The same by the name of the kind: that of a wire."""
    if kind == "image":
        return Forms(kind, drawing.ANSWERS, drawing.write)
    if kind == "table":
        from .values.tables import writing

        return Forms(kind, writing.answer_types(), writing.write)
    if kind == "tensor":
        return Forms(kind, tensor.ANSWERS, tensor.write)
    if kind == "number":
        return Forms("json", (JSON,), lambda value, _: encode(value))
    return None


_KINDS = {
    ("pandas", "DataFrame"): "table",
    ("numpy", "ndarray"): "tensor",
    ("numpy", "generic"): "number",
    ("PIL", "Image"): "image",
}
