"""JSON functions that use the current app's provider, or the standard library without an app.

Each function calls the method of the same name of `app.json`
(`carboy.json.provider.JSONProvider`), so an app that replaces its provider changes all of them.
`encoder` and `arrays` write what msgspec does not, and `tag` writes sessions.
"""

from __future__ import annotations

import json as _json
import typing as t

from carboy.core.flasknames import flask_names
from carboy.globals import _cv, _find_app

from .provider import _default

if t.TYPE_CHECKING:
    from carboy.wrappers import Response

    from .provider import JSONProvider


def _provider() -> JSONProvider | None:
    # PERF: reading the context variable takes a tenth of the time of `if current_app`.
    active = _cv.get(None)
    return None if active is None or (ctx := active[0]) is None else ctx.app.json


def dumps(obj: t.Any, **kwargs: t.Any) -> str:
    """Return `obj` as JSON text; `kwargs` are passed to the provider or to `json.dumps`."""
    provider = _provider()
    if provider is not None:
        return provider.dumps(obj, **kwargs)
    kwargs.setdefault("default", _default)
    return _json.dumps(obj, **kwargs)


def dump(obj: t.Any, fp: t.IO[str], **kwargs: t.Any) -> None:
    """Write `obj` as JSON to a text file that was opened with UTF-8."""
    provider = _provider()
    if provider is not None:
        provider.dump(obj, fp, **kwargs)
    else:
        kwargs.setdefault("default", _default)
        _json.dump(obj, fp, **kwargs)


def loads(s: str | bytes, **kwargs: t.Any) -> t.Any:
    """Parse JSON text or UTF-8 bytes."""
    provider = _provider()
    if provider is not None:
        return provider.loads(s, **kwargs)
    return _json.loads(s, **kwargs)


def load(fp: t.IO[t.AnyStr], **kwargs: t.Any) -> t.Any:
    """Parse a JSON file that was opened as text, or as bytes in UTF-8."""
    provider = _provider()
    if provider is not None:
        return provider.load(fp, **kwargs)
    return _json.load(fp, **kwargs)


def jsonify(*args: t.Any, **kwargs: t.Any) -> Response:
    """Return a response with a JSON body: one value, a list of values, or keyword pairs.

    Without arguments the body is `null`. Needs an active app. A view may also return the dict or
    list itself.
    """
    return _find_app().json.response(*args, **kwargs)  # type: ignore[return-value]


if not t.TYPE_CHECKING:
    __getattr__, __dir__ = flask_names(__name__)
