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
from operator import itemgetter
from uuid import UUID

from werkzeug.http import http_date

from ..core.changetracking import ChangeTracked, note_change
from .encoder import COMPACT, SPACED, Default, Encode, make_encode

if t.TYPE_CHECKING:
    from werkzeug.sansio.response import Response

    from carboy.sansio.app import App

_ProviderSettings: t.TypeAlias = "tuple[Default, bool, bool, bool | None, str]"

_read_config = itemgetter(
    "JSON_AS_ASCII", "JSON_SORT_KEYS", "JSONIFY_PRETTYPRINT_REGULAR", "JSONIFY_MIMETYPE"
)
_DEFAULT_CONFIG = (True, True, False, "application/json")
_NO_ENCODERS: t.Any = (None, None, None)


class JSONProvider(metaclass=ChangeTracked):
    """What an app asks of JSON. Subclasses give `dumps` and `loads`; the rest follows from them.

    To use one, set `app.json = MyProvider(app)`, or `json_provider_class` on a subclass of the app.
    The app is kept as a weak proxy, `_app`, so that the pair makes no cycle.
    """

    def __init__(self, app: App) -> None:
        self._app: App = t.cast("App", weakref.proxy(app))

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
    global _decode  # noqa: PLW0603 - the name is replaced by what it stands for
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

    # The latest settings (see `_settings`), and what writes by them, compact and with blanks.
    _encoders: tuple[t.Any, Encode, Encode] = _NO_ENCODERS

    # The app leaves `response` out where it may, and has to hear when it is another's.
    def __setattr__(self, name: str, value: t.Any) -> None:
        object.__setattr__(self, name, value)
        if name == "response":
            note_change()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        if name == "response":
            note_change()

    def dumps(self, obj: t.Any, **kwargs: t.Any) -> str:
        """Return `obj` as JSON text; `kwargs` are those of `json.dumps` and win over attributes."""
        settings, compact, spaced = self._current_encoders()
        try:
            if not kwargs:
                return spaced(obj)
            if len(kwargs) == 1 and kwargs.get("separators") == COMPACT:
                return compact(obj)
        except RecursionError:
            pass  # A circle, or too deep: the standard library tells which.
        for option, value in zip(("default", "ensure_ascii", "sort_keys"), settings, strict=False):
            kwargs.setdefault(option, value)
        return json.dumps(obj, **kwargs)

    def loads(self, s: str | bytes, **kwargs: t.Any) -> t.Any:
        """Return the value of a JSON text; `kwargs` are those of `json.loads`."""
        if not kwargs and (type(s) is bytes or type(s) is str):
            try:
                return _decode(s)
            except Exception:  # noqa: BLE001, S110
                pass  # NaN, UTF-16, a lone surrogate, bad JSON: as the standard library takes it.
        return json.loads(s, **kwargs)

    def response(self, *args: t.Any, **kwargs: t.Any) -> Response:
        """Make a JSON response: of one value, of several as a list, or of keyword pairs.

        Compact, or indented where `compact` is false or, being None, the app is in debug mode. The
        text ends with a newline.
        """
        one = len(args) == 1 and not kwargs
        text, mimetype = self._render(args[0] if one else self._prepare_response_obj(args, kwargs))
        return self._app.response_class(text, mimetype=mimetype)

    def _render(self, obj: t.Any) -> tuple[str, str]:
        """The text and type of the response for `obj`."""
        settings, encode, _ = self._current_encoders()
        compact = settings[3]
        if compact is False or (compact is None and self._app.debug):
            text = self.dumps(obj, indent=2)
        elif type(self).dumps is _dumps and "dumps" not in self.__dict__:
            try:
                text = encode(obj)
            except RecursionError:  # which `dumps` meets again, and tells why
                text = self.dumps(obj, separators=COMPACT)
        else:
            text = self.dumps(obj, separators=COMPACT)
        return text + "\n", settings[4]

    def _current_encoders(self) -> tuple[t.Any, Encode, Encode]:
        # PERF: attributes and config are read and compared on each call, for 0.4 us, so that a
        # change takes effect at once; encoders are built again only when something did change.
        try:
            from_config = _read_config(self._app.config)
        except (AttributeError, KeyError, ReferenceError):  # no app, or not all keys
            from_config = _DEFAULT_CONFIG
        settings = self.default, self.ensure_ascii, self.sort_keys, self.compact, self.mimetype
        if from_config != _DEFAULT_CONFIG:
            settings = self._apply_config(settings, from_config)
        current = self._encoders
        if current[0] != settings:
            options = {"ensure_ascii": settings[1], "sort_keys": settings[2]}
            encoders = [
                make_encode(settings[0], **options, separators=separators)
                for separators in (COMPACT, SPACED)
            ]
            self._encoders = current = (settings, encoders[0], encoders[1])
        return current

    def _apply_config(
        self, settings: _ProviderSettings, from_config: tuple[t.Any, ...]
    ) -> _ProviderSettings:
        """Let the config decide where nobody set the attribute."""
        default, *values = settings
        ensure_ascii, sort_keys, pretty, mimetype = from_config
        # Flask 2: pretty is one way to indent, and debug mode, which is asked later, the other.
        configured = (ensure_ascii, sort_keys, False if pretty else None, mimetype)
        for index, (name, value) in enumerate(zip(_DEFAULT_ATTRIBUTES, configured, strict=True)):
            if value is not None and not self._is_set(name):
                values[index] = value
        return t.cast("_ProviderSettings", (default, *values))

    def _is_set(self, name: str) -> bool:
        """Whether a user set this attribute: here, on a subclass, or on the class itself."""
        if name in vars(self) or getattr(self, name) != _DEFAULT_ATTRIBUTES[name]:
            return True
        kinds = type(self).__mro__
        return any(name in vars(kind) for kind in kinds[: kinds.index(DefaultJSONProvider)])


# Compared with on each call, so that a method patched on the class is seen.
_dumps = DefaultJSONProvider.dumps

_DEFAULT_ATTRIBUTES: dict[str, t.Any] = {
    name: getattr(DefaultJSONProvider, name)
    for name in ("ensure_ascii", "sort_keys", "compact", "mimetype")
}
