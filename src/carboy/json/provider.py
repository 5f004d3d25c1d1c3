"""The JSON interface of an app, and a default provider that behaves like the standard library's
`json`.

The default provider writes, byte for byte, the text of `json.dumps` with the same options, and
returns the values of `json.loads`. It adds two things: values of NumPy and pandas, which
`json.dumps` refuses, can be written, and NaN in a response is `null`, unless the config key
`JSON_NAN` says otherwise. Faster encoders and decoders (msgspec, the C encoder without its wrapper)
are used only where their result is the same; everything else, errors included, comes from the
standard library. Methods and attributes that a user may override or patch, on a subclass, the class
or an instance, are looked up on every call.
"""

from __future__ import annotations

import json
import sys
import typing as t
import weakref
from contextlib import suppress
from datetime import date
from functools import partial
from operator import itemgetter
from uuid import UUID

from werkzeug.http import http_date

from carboy.core.flasknames import flask_names

from ..config import ConfigAttribute, are_changes_counted
from ..core.changetracking import ChangeTracked, note_change
from ..core.flasknames import is_flask_installed_as_us
from ..errors import ConfigError
from .arrays import UNKNOWN, to_plain
from .encoder import COMPACT, SPACED, Default, Encode, NotFinite, make_encode

if t.TYPE_CHECKING:
    from werkzeug.sansio.response import Response

    from carboy.sansio.app import App

_ProviderSettings: t.TypeAlias = "tuple[Default, bool, bool, bool | None, str, t.Any]"

_read_config = itemgetter(
    "JSON_AS_ASCII", "JSON_SORT_KEYS", "JSONIFY_PRETTYPRINT_REGULAR", "JSONIFY_MIMETYPE", "JSON_NAN"
)
_DEFAULT_CONFIG = (True, True, False, "application/json", None)
_INDENT = 2
_UNCOUNTED = -1


class _Encoders(t.NamedTuple):
    """The JSON encoders of one provider, and the settings for which they were made."""

    # While the counter `ChangeTracked.changes` has this value, the encoders are valid. `_UNCOUNTED`
    # means that this counter does not notice all changes, so that each use of the encoders must
    # compare `made_from` with the current settings.
    changes: int
    made_from: t.Any
    # Encodes responses. None if a user has overridden `dumps`, which is then called with `options`.
    respond: Encode | None
    options: dict[str, t.Any]
    mimetype: str
    compact: Encode
    spaced: Encode


_NO_ENCODERS = _Encoders(_UNCOUNTED, *t.cast("t.Any", (None,) * 6))


class JSONProvider(metaclass=ChangeTracked):
    """The JSON interface of an app. Subclasses define `dumps` and `loads`.

    To use another provider, set `app.json = MyProvider(app)`, or `json_provider_class` on a
    subclass of the app. `_app` is a weak proxy, so that provider and app form no reference cycle.
    """

    def __init__(self, app: App) -> None:
        self._app: App = t.cast("App", weakref.proxy(app))

    def dumps(self, obj: t.Any, **kwargs: t.Any) -> str:
        """Return `obj` as JSON text; `kwargs` are passed to the JSON library."""
        raise NotImplementedError

    def dump(self, obj: t.Any, fp: t.IO[str], **kwargs: t.Any) -> None:
        """Write `obj` as JSON to a text file that was opened with UTF-8."""
        fp.write(self.dumps(obj, **kwargs))

    def loads(self, s: str | bytes, **kwargs: t.Any) -> t.Any:
        """Parse a JSON text; `kwargs` are passed to the JSON library."""
        raise NotImplementedError

    def load(self, fp: t.IO[t.AnyStr], **kwargs: t.Any) -> t.Any:
        """Parse a JSON file that was opened as text, or as bytes in UTF-8."""
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
        """Return a JSON response: one value, several values as a list, or keyword pairs."""
        obj = self._prepare_response_obj(args, kwargs)
        return self._app.response_class(self.dumps(obj), mimetype="application/json")


def _default(o: t.Any) -> t.Any:
    """Convert a value that JSON cannot express, or raise `TypeError`.

    Dates become HTTP dates in GMT, `Decimal` and `UUID` become text, dataclass instances become
    dicts, values of NumPy and pandas become numbers, text and lists, and objects with `__html__`
    become their HTML.
    """
    if isinstance(o, date):
        # Recognise pandas' NaT, which becomes None: it is a `datetime` that is unequal to itself.
        return http_date(o) if o == o else None  # noqa: PLR0124
    if isinstance(o, UUID) or _is_decimal(o):
        return str(o)
    if hasattr(o if isinstance(o, type) else type(o), "__dataclass_fields__"):
        from dataclasses import asdict

        return asdict(o)
    plain = to_plain(o)
    if plain is not UNKNOWN:
        return plain
    if hasattr(o, "__html__"):
        return str(o.__html__())
    raise TypeError(f"Object of type {type(o).__name__} is not JSON serializable")


def _is_decimal(o: object) -> bool:
    # `decimal` is not imported for this test: no value can be a `Decimal` before a program has
    # imported the module.
    decimal = sys.modules.get("decimal")
    return decimal is not None and isinstance(o, decimal.Decimal)


def _first_decode(s: str | bytes) -> t.Any:
    # msgspec is imported on the first call, because it would take a tenth of the time of `import
    # carboy`.
    global _decode  # noqa: PLW0603 - replaced by the real function on the first call
    from msgspec.json import decode

    _decode = decode
    return decode(s)


_decode: t.Callable[[str | bytes], t.Any] = _first_decode


class DefaultJSONProvider(JSONProvider):
    """JSON by Python's `json` module, with dates, `Decimal`, `UUID`, dataclasses and `__html__`.

    The public attributes of this class may be set on an instance or a subclass. If one is not set,
    the config key of Flask 2 is used: `JSON_AS_ASCII`, `JSON_SORT_KEYS`,
    `JSONIFY_PRETTYPRINT_REGULAR` or `JSONIFY_MIMETYPE`. Changes take effect at once.
    """

    default: Default = staticmethod(_default)
    """Converts a value that `json` cannot write, or raises `TypeError`."""

    ensure_ascii: bool = True
    """Whether all non-ASCII characters are escaped."""

    sort_keys: bool = True
    """Whether dicts are written in the order of their keys, which must then be comparable."""

    compact: bool | None = None
    """Whether responses have no indentation and blanks; None: except in debug mode."""

    mimetype: str = "application/json"
    """The media type of responses."""

    _encoders: _Encoders = _NO_ENCODERS

    # Count each change of an attribute. Until the count changes, the encoders are kept, and a dict
    # that a view returns is encoded without looking for an overridden `response`.
    def __setattr__(self, name: str, value: t.Any) -> None:
        object.__setattr__(self, name, value)
        note_change()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        note_change()

    def dumps(self, obj: t.Any, **kwargs: t.Any) -> str:
        """Return `obj` as JSON text; `kwargs` of `json.dumps` override the provider's
        attributes.
        """
        current = self._current_encoders()
        try:
            if not kwargs:
                return current.spaced(obj)
            if len(kwargs) == 1 and kwargs.get("separators") == COMPACT:
                return current.compact(obj)
        except RecursionError:
            # The value contains itself, or is nested too deeply. `json.dumps` below raises the
            # error that users of Python know.
            pass
        settings = zip(("default", "ensure_ascii", "sort_keys"), current.made_from[0], strict=False)
        for option, value in settings:
            kwargs.setdefault(option, value)
        return json.dumps(obj, **kwargs)

    def loads(self, s: str | bytes, **kwargs: t.Any) -> t.Any:
        """Parse a JSON text; `kwargs` are those of `json.loads`."""
        if not kwargs and (type(s) is bytes or type(s) is str):
            try:
                return _decode(s)
            except Exception:  # noqa: BLE001, S110 - read again below
                # If msgspec has refused the text, `json.loads` below reads it (NaN, UTF-16) or
                # raises Python's own error.
                pass
        return json.loads(s, **kwargs)

    def response(self, *args: t.Any, **kwargs: t.Any) -> Response:
        """Return a JSON response: one value, several values as a list, or keyword pairs.

        The text is indented if `compact` is False, or if it is None and the app is in debug mode.
        It ends with a newline. NaN and infinity are written as the config key `JSON_NAN` says.
        """
        one = len(args) == 1 and not kwargs
        text, mimetype = self._render(args[0] if one else self._prepare_response_obj(args, kwargs))
        return self._app.response_class(text, mimetype=mimetype)

    def _render(self, obj: t.Any) -> tuple[str, str]:
        """Return the text and the media type of a JSON response."""
        _, _, encode, options, mimetype, _, _ = self._current_encoders()
        if encode is not None:
            try:
                return encode(obj) + "\n", mimetype
            except RecursionError:
                pass  # `dumps` below raises the error that users of Python know
        return self.dumps(obj, **options) + "\n", mimetype

    def _current_encoders(self) -> _Encoders:
        # PERF: comparing a counter of changes takes 1/8 of the time of reading attributes and
        # config.
        current = self._encoders
        return current if current[0] == ChangeTracked.changes else self._find_encoders()

    def _find_encoders(self) -> _Encoders:
        """Return the encoders for the current attributes and config; new ones are made only if
        these have changed.
        """
        changes = ChangeTracked.changes
        is_debug = is_kept = False
        from_config = _DEFAULT_CONFIG
        # Keep the default if no app is active, or if its config lacks the key.
        with suppress(AttributeError, KeyError, ReferenceError):
            app = self._app
            is_debug = app.debug
            from_config = _read_config(app.config)
            # Changes are counted only in carboy's own classes. In a user's class, an attribute may
            # be a property, whose value can change without being counted.
            is_kept = (
                type(self) is DefaultJSONProvider
                and isinstance(getattr(app.__class__, "debug", None), ConfigAttribute)
                and are_changes_counted(app.config)
            )
        settings: _ProviderSettings
        settings = (
            self.default,
            self.ensure_ascii,
            self.sort_keys,
            self.compact,
            self.mimetype,
            None,
        )
        if from_config != _DEFAULT_CONFIG:
            settings = self._apply_config(settings, from_config)
        is_overridden = type(self).dumps is not _dumps or "dumps" in vars(self)
        made_from = (settings, is_debug, is_overridden)
        current = self._encoders
        if current.made_from != made_from:
            current = self._make_encoders(*made_from)
        valid_for = changes if is_kept else _UNCOUNTED
        if current.changes != valid_for:
            current = current._replace(changes=valid_for)
        object.__setattr__(self, "_encoders", current)
        return current

    def _make_encoders(
        self, settings: _ProviderSettings, is_debug: bool, is_overridden: bool
    ) -> _Encoders:
        default, ensure_ascii, sort_keys, compact, mimetype, not_finite = settings
        make = partial(make_encode, default, ensure_ascii=ensure_ascii, sort_keys=sort_keys)
        options: dict[str, t.Any] = {"separators": COMPACT}
        if compact is False or (compact is None and is_debug):
            options = {"indent": _INDENT}
        respond = make(**options, not_finite=_read_not_finite(not_finite))
        return _Encoders(
            _UNCOUNTED,
            (settings, is_debug, is_overridden),
            None if is_overridden else respond,
            options,
            mimetype,
            make(separators=COMPACT),
            make(separators=SPACED),
        )

    def _apply_config(
        self, settings: _ProviderSettings, from_config: tuple[t.Any, ...]
    ) -> _ProviderSettings:
        """Return `settings` with the values of the config in place of attributes that no user has
        set.
        """
        default, *values, _ = settings
        ensure_ascii, sort_keys, pretty, mimetype, not_finite = from_config
        # JSONIFY_PRETTYPRINT_REGULAR, a config key of Flask 2, indents JSON.
        configured = (ensure_ascii, sort_keys, False if pretty else None, mimetype)
        for index, (name, value) in enumerate(zip(_DEFAULT_ATTRIBUTES, configured, strict=True)):
            if value is not None and not self._is_set(name):
                values[index] = value
        return t.cast("_ProviderSettings", (default, *values, not_finite))

    def _is_set(self, name: str) -> bool:
        """Return whether a user has set an attribute on this provider, on a subclass, or on
        `DefaultJSONProvider` itself.
        """
        if name in vars(self) or getattr(self, name) != _DEFAULT_ATTRIBUTES[name]:
            return True
        kinds = type(self).__mro__
        return any(name in vars(kind) for kind in kinds[: kinds.index(DefaultJSONProvider)])


def _read_not_finite(value: t.Any) -> NotFinite:
    """Return the value of the config key `JSON_NAN`, or its default."""
    if value is None:
        return "literal" if is_flask_installed_as_us() else "null"
    if value not in t.get_args(NotFinite):
        known = ", ".join(map(repr, t.get_args(NotFinite)))
        raise ConfigError(f"app.config['JSON_NAN'] = {value!r}: expected one of {known}, or None.")
    return t.cast("NotFinite", value)


# The original method `dumps`. The method of a provider's class is compared with it, to notice that
# a subclass or a patch has replaced it.
_dumps = DefaultJSONProvider.dumps

_DEFAULT_ATTRIBUTES: dict[str, t.Any] = {
    name: getattr(DefaultJSONProvider, name)
    for name in ("ensure_ascii", "sort_keys", "compact", "mimetype")
}

if not t.TYPE_CHECKING:
    __getattr__, __dir__ = flask_names(__name__)
