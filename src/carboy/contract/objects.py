"""Tables, arrays, pictures and records that a view returns without an annotation.

Flask would refuse them, so giving them a form changes no program. The first form is the default,
`Accept` may choose another:

    record (Struct, dataclass, ...)   JSON
    DataFrame                         JSON, a list of records; text/csv
    ndarray                           JSON, nested lists; application/x-npy
    picture (PIL)                     image/png; image/jpeg, image/webp

No package is imported that did not make the object.
"""

from __future__ import annotations

import io
import typing as t

from .answers import JSON, encode
from .kinds import is_record

if t.TYPE_CHECKING:
    from carboy.ctx import RequestContext

CSV: t.Final = "text/csv"
NPY: t.Final = "application/x-npy"


def respond(ctx: RequestContext, rv: t.Any) -> t.Any:
    """A response for one of these objects; None for any other."""
    cls = type(rv)
    if is_record(cls):
        data = rv.model_dump_json().encode() if hasattr(rv, "model_dump_json") else encode(rv)
        return ctx.app.response_class(data, mimetype=JSON)
    make = _MAKERS.get(_name(cls))
    if make is None:
        return None
    forms, write = make
    chosen = ctx.request.accept_mimetypes.best_match(forms, default=forms[0])
    return ctx.app.response_class(write(rv, chosen), mimetype=chosen)


def _name(cls: type) -> str:
    for each in cls.__mro__:
        package = each.__module__.partition(".")[0]
        if f"{package}.{each.__qualname__}" in _MAKERS:
            return f"{package}.{each.__qualname__}"
    return ""


def _table(frame: t.Any, form: str) -> bytes:
    if form == CSV:
        return t.cast("str", frame.to_csv(index=False)).encode()
    return t.cast("str", frame.to_json(orient="records", date_format="iso")).encode()


def _array(array: t.Any, form: str) -> bytes:
    if form == JSON:
        return encode(array.tolist())
    import numpy as np

    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _picture(picture: t.Any, form: str) -> bytes:
    kind = form.rpartition("/")[2].upper()
    file = io.BytesIO()
    if kind == "JPEG" and picture.mode not in ("L", "RGB", "CMYK"):
        picture = picture.convert("RGB")  # JPEG knows neither palettes nor transparency
    picture.save(file, kind)
    return file.getvalue()


_MAKERS: dict[str, tuple[tuple[str, ...], t.Any]] = {
    "pandas.DataFrame": ((JSON, CSV), _table),
    "numpy.ndarray": ((JSON, NPY), _array),
    "numpy.generic": ((JSON,), lambda value, _: encode(value.item())),
    "PIL.Image": (("image/png", "image/jpeg", "image/webp"), _picture),
}
