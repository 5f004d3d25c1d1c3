"""How an app writes and reads JSON: the interface, and the default on the standard library's terms.

Rules of this file: the default provider's text is, byte for byte, that of `json.dumps` with the
same options, and its values are those of `json.loads`. Quicker ways (the C encoder without its
wrapper, msgspec) are taken only where that holds, and hand back to the standard library for all
else, errors included. What a user overrides or patches, on a subclass, the class or an instance, is
asked for on every call.
"""

from __future__ import annotations

import json
import sys
import typing as t
import weakref
from datetime import date
from uuid import UUID

from werkzeug.http import http_date

from .encoder import COMPACT, SPACED, Default, Encode, make_encode

if t.TYPE_CHECKING:
    from werkzeug.sansio.response import Response

    from ..sansio.app import App

_Plan: t.TypeAlias = "tuple[t.Any, t.Any, t.Any, Encode]"

_NO_CONFIG: t.Mapping[str, t.Any] = {}
_NO_PLAN: t.Any = (object(), None, None, None)


class JSONProvider:
    """What an app asks of JSON. Subclasses give `dumps` and `loads`; the rest follows from them.

    To use one, set `app.json = MyProvider(app)`, or `json_provider_class` on a subclass of the app.
    The app is kept as a weak proxy, `_app`, so that the pair makes no cycle.
    """

    def __init__(self, app: App) -> None:
        self._app: App = weakref.proxy(app)

    def dumps(self, obj: t.Any, **kwargs: t.Any) -> str:
        """Return `obj` as JSON text; `kwargs` are for the library behind the provider."""
        raise NotImplementedError

    def dump(self, obj: t.Any, fp: t.IO[str], **kwargs: t.Any) -> None:
        """Write `obj` as JSON to a text file opened with UTF-8."""
        fp.write(self.dumps(obj, **kwargs))

    def loads(self, s: str | bytes, **kwargs: t.Any) -> t.Any:
        """Return the value of a JSON text; `kwargs` are for the library behind the provider."""
        raise NotImplementedError

    def load(self, fp: t.IO[t.AnyStr], **kwargs: t.Any) -> t.Any:
        """Read a file of JSON, opened as text or as UTF-8 bytes."""
        return self.loads(fp.read(), **kwargs)

    def _prepare_response_obj(self, args: tuple[t.Any, ...], kwargs: dict[str, t.Any]) -> t.Any:
        if not kwargs:
            if len(args) == 1:
                return args[0]
            return args or None
        if args:
            raise TypeError(
                "app.json.response() takes either args or kwargs, not both: got"
                f" {len(args)} positional and {sorted(kwargs)}. Put all of it into one dict."
            )
        return kwargs

    def response(self, *args: t.Any, **kwargs: t.Any) -> Response:
        """Make a JSON response: of one value, of several as a list, or of keyword pairs."""
        obj = self._prepare_response_obj(args, kwargs)
        return self._app.response_class(self.dumps(obj), mimetype="application/json")


def _default(o: t.Any) -> t.Any:
    """Turn what JSON has no word for into something it has, or raise `TypeError`.

    Dates become HTTP dates in GMT, `Decimal` and `UUID` their text, dataclass instances dicts, and
    objects with `__html__` their HTML.
    """
    if isinstance(o, date):
        return http_date(o)
    if isinstance(o, UUID) or _is_decimal(o):
        return str(o)
    if hasattr(o if isinstance(o, type) else type(o), "__dataclass_fields__"):
        from dataclasses import asdict

        return asdict(o)
    if hasattr(o, "__html__"):
        return str(o.__html__())
    raise TypeError(f"Object of type {type(o).__name__} is not JSON serializable")


def _is_decimal(o: object) -> bool:
    # While nobody has imported `decimal`, nothing is one, and the import is saved.
    decimal = sys.modules.get("decimal")
    return decimal is not None and isinstance(o, decimal.Decimal)


def _first_decode(s: str | bytes) -> t.Any:
    # Imported at the first call: msgspec would be a tenth of the time of `import carboy`.
    global _decode
    from msgspec.json import decode

    _decode = decode
    return decode(s)


_decode: t.Callable[[str | bytes], t.Any] = _first_decode


class DefaultJSONProvider(JSONProvider):
    """JSON by Python's `json` module, with dates, `Decimal`, `UUID`, dataclasses and `__html__`.

    The attributes below may be set on an instance or a subclass. While one is left alone, the
    config key of Flask 2 decides: `JSON_AS_ASCII`, `JSON_SORT_KEYS`, `JSONIFY_PRETTYPRINT_REGULAR`
    and `JSONIFY_MIMETYPE`; a change of either takes effect at once.
    """

    default: Default = staticmethod(_default)
    """Called with what `json` cannot write; returns what it can, or raises `TypeError`."""

    ensure_ascii: bool = True
    """Escape all characters beyond ASCII."""

    sort_keys: bool = True
    """Write dicts in the order of their keys, which must then be comparable."""

    compact: bool | None = None
    """Responses without indentation and blanks; None means so unless in debug mode."""

    mimetype: str = "application/json"
    """The type of responses."""

    # The latest encoder of each kind, behind the settings it was built for.
    _compact_plan: _Plan = _NO_PLAN
    _spaced_plan: _Plan = _NO_PLAN

    def dumps(self, obj: t.Any, **kwargs: t.Any) -> str:
        """Return `obj` as JSON text; `kwargs` are those of `json.dumps` and win over attributes."""
        try:
            if not kwargs:
                return self._spaced()(obj)
            if len(kwargs) == 1 and kwargs.get("separators") == COMPACT:
                return self._compact()(obj)
        except RecursionError:
            pass  # A circle, or too deep: the standard library tells which.
        default, ensure_ascii, sort_keys = self._write_settings()
        kwargs.setdefault("default", default)
        kwargs.setdefault("ensure_ascii", ensure_ascii)
        kwargs.setdefault("sort_keys", sort_keys)
        return json.dumps(obj, **kwargs)

    def loads(self, s: str | bytes, **kwargs: t.Any) -> t.Any:
        """Return the value of a JSON text; `kwargs` are those of `json.loads`."""
        if not kwargs and (type(s) is bytes or type(s) is str):
            try:
                return _decode(s)
            except Exception:
                pass  # NaN, UTF-16, a lone surrogate, bad JSON: as the standard library takes it.
        return json.loads(s, **kwargs)

    def response(self, *args: t.Any, **kwargs: t.Any) -> Response:
        """Make a JSON response: of one value, of several as a list, or of keyword pairs.

        Compact, or indented where `compact` is false or, being None, the app is in debug mode. The
        text ends with a newline.
        """
        obj = self._prepare_response_obj(args, kwargs)
        return self._app.response_class(self._body(obj), mimetype=self._response_mimetype())

    def _body(self, obj: t.Any) -> str:
        """The text that `response` sends for `obj`."""
        if self._is_pretty():
            return self.dumps(obj, indent=2) + "\n"
        if type(self).dumps is _dumps and "dumps" not in self.__dict__:
            try:
                return self._compact()(obj) + "\n"
            except RecursionError:
                pass  # `dumps` meets it again and says why.
        return self.dumps(obj, separators=COMPACT) + "\n"

    def _is_pretty(self) -> bool:
        compact = self.compact
        if compact is None:
            return bool(self._app.debug or self._config().get("JSONIFY_PRETTYPRINT_REGULAR"))
        return compact is False

    def _response_mimetype(self) -> str:
        from_config = self._config().get("JSONIFY_MIMETYPE", _SHIPPED["mimetype"])
        if from_config == _SHIPPED["mimetype"]:
            return self.mimetype
        return t.cast(str, self._choose("mimetype", from_config))

    def _compact(self) -> Encode:
        default, ensure_ascii, sort_keys = self._write_settings()
        plan = self._compact_plan
        if plan[0] == default and plan[1] is ensure_ascii and plan[2] is sort_keys:
            return plan[3]
        encode = make_encode(
            default, ensure_ascii=ensure_ascii, sort_keys=sort_keys, separators=COMPACT
        )
        self._compact_plan = (default, ensure_ascii, sort_keys, encode)
        return encode

    def _spaced(self) -> Encode:
        default, ensure_ascii, sort_keys = self._write_settings()
        plan = self._spaced_plan
        if plan[0] == default and plan[1] is ensure_ascii and plan[2] is sort_keys:
            return plan[3]
        encode = make_encode(
            default, ensure_ascii=ensure_ascii, sort_keys=sort_keys, separators=SPACED
        )
        self._spaced_plan = (default, ensure_ascii, sort_keys, encode)
        return encode

    def _write_settings(self) -> tuple[Default, bool, bool]:
        config = self._config()
        # PERF: two look-ups while the config says what everybody's does. Which of attribute and
        # config decides needs a walk through the classes, so it is asked only where they may differ.
        ensure_ascii, sort_keys = self.ensure_ascii, self.sort_keys
        if (from_config := config.get("JSON_AS_ASCII", True)) is not True:
            ensure_ascii = self._choose("ensure_ascii", from_config)
        if (from_config := config.get("JSON_SORT_KEYS", True)) is not True:
            sort_keys = self._choose("sort_keys", from_config)
        return self.default, ensure_ascii, sort_keys

    def _config(self) -> t.Mapping[str, t.Any]:
        try:
            return self._app.config
        except (AttributeError, ReferenceError):  # without an app, or the app is gone
            return _NO_CONFIG

    def _choose(self, name: str, from_config: t.Any) -> t.Any:
        """The attribute `name` where somebody set it, else the value from the config."""
        value = getattr(self, name)
        shipped = _SHIPPED[name]
        if from_config is None or value is not shipped or name in vars(self):
            return value
        for kind in type(self).__mro__:
            if kind is DefaultJSONProvider:
                break
            if name in vars(kind):
                return value
        return from_config


# Compared with on each call, so that a method patched on the class is seen.
_dumps = DefaultJSONProvider.dumps

_SHIPPED: dict[str, t.Any] = {
    name: getattr(DefaultJSONProvider, name) for name in ("ensure_ascii", "sort_keys", "mimetype")
}
