"""Sessions, and an implementation that stores them in signed cookies.

`SessionInterface` is the interface for the sessions of an app. `SecureCookieSessionInterface`
stores them in cookies that itsdangerous signs, in Flask's format: carboy and Flask read each
other's cookies. A cookie is signed, not encrypted: the user can read it but not change it. If
several requests of one user change the session at the same time, the one that is answered last
overwrites the others' changes.
"""

from __future__ import annotations

import collections.abc as cabc
import hashlib
import typing as t
from datetime import UTC, datetime

from itsdangerous import BadSignature, URLSafeTimedSerializer
from werkzeug.datastructures import CallbackDict, Headers

from .core.changetracking import ChangeTracked, note_change
from .core.flasknames import flask_names
from .core.masking import note_secret_change
from .core.signing import CookieSerializer
from .errors import SessionUnavailableError
from .globals import _cv_request
from .json.tag import TaggedJSONSerializer

if t.TYPE_CHECKING:
    from .app import Carboy
    from .ctx import RequestContext
    from .wrappers import Request, Response


class SessionMixin(cabc.MutableMapping[str, t.Any]):
    """Attributes that a session has in addition to the methods of a dict."""

    new = False
    """Whether the session was just created, if the implementation can tell."""

    modified = True
    """Whether the session must be saved. Implementations that notice changes start with False."""

    accessed = False
    """Whether this request has read the session; the request context sets it. If so, the response
    depends on the cookie and gets the header `Vary: Cookie`.
    """

    @property
    def permanent(self) -> bool:
        """Whether the session lasts after the browser is closed. This is stored in the session
        under the key `_permanent`.
        """
        return self.get("_permanent", False)  # type: ignore[no-any-return]

    @permanent.setter
    def permanent(self, value: bool) -> None:
        self["_permanent"] = bool(value)


def _note_change(session: SecureCookieSession) -> None:
    session.modified = True


class SecureCookieSession(CallbackDict[str, t.Any], SessionMixin):
    """A dict that notices changes of its keys, but not changes inside its values.

    After a change inside a value, set `session.modified = True`.
    """

    modified = False

    # The function that is called after each change of a session. PERF: all sessions share it; Flask
    # creates a closure for each session.
    on_update = staticmethod(_note_change)

    def __init__(
        self,
        initial: cabc.Mapping[str, t.Any] | cabc.Iterable[tuple[str, t.Any]] | None = None,
    ) -> None:
        if initial is not None:
            dict.__init__(self, initial)


def _refuse(self: NullSession, *args: t.Any, **kwargs: t.Any) -> t.NoReturn:
    raise SessionUnavailableError(
        "The session is unavailable for writing: no secret key was set to sign its cookie. Set"
        " app.secret_key, or SECRET_KEY in the config, to a long random value from outside of the"
        " source. With app.config.from_project(), 'carboy secret new' writes one into '.env', and"
        " in development ('carboy run --debug') one is made. 'carboy secret new --print' prints one"
        " for the environment variable SECRET_KEY, or for any other place."
    )


class NullSession(SecureCookieSession):
    """The session of an app without a secret key: it is empty, and writing to it is an error."""

    __setitem__ = __delitem__ = clear = pop = popitem = _refuse
    update = setdefault = __ior__ = _refuse


class SessionInterface(metaclass=ChangeTracked):
    """The interface by which an app opens and saves sessions.

    To store sessions in another way, subclass it, define `open_session` and `save_session`, and set
    `app.session_interface`. The session must be a dict with the attributes of `SessionMixin`:

        class Session(dict, SessionMixin): ...
    """

    null_session_class = NullSession
    """The class of the session that is used when none can be opened."""

    pickle_based = False
    """Whether values are pickled; for extensions that store objects."""

    def make_null_session(self, app: Carboy) -> NullSession:
        """Return the session to use if `open_session` returned None: an empty one that cannot be
        changed.
        """
        return self.null_session_class()

    def is_null_session(self, obj: object) -> bool:
        """Return whether a session is a null session (of an app without a secret key), which is
        never saved.
        """
        # PERF: the most frequent class is tested by identity first, because `isinstance` takes ten
        # times as long: sessions derive from the abstract class `MutableMapping`.
        return type(obj) is not SecureCookieSession and isinstance(obj, self.null_session_class)

    def get_cookie_name(self, app: Carboy) -> str:
        """The cookie's name: `SESSION_COOKIE_NAME`."""
        return app.config["SESSION_COOKIE_NAME"]  # type: ignore[no-any-return]

    def get_cookie_domain(self, app: Carboy) -> str | None:
        """The cookie's domain: `SESSION_COOKIE_DOMAIN`; None means only the host that sets the
        cookie.
        """
        return t.cast("str | None", app.config["SESSION_COOKIE_DOMAIN"])

    def get_cookie_path(self, app: Carboy) -> str:
        """The cookie's path: `SESSION_COOKIE_PATH`, else `APPLICATION_ROOT`."""
        config = app.config
        return t.cast("str", config["SESSION_COOKIE_PATH"] or config["APPLICATION_ROOT"])

    def get_cookie_httponly(self, app: Carboy) -> bool:
        """`SESSION_COOKIE_HTTPONLY`: whether scripts in the page cannot read the cookie."""
        return t.cast("bool", app.config["SESSION_COOKIE_HTTPONLY"])

    def get_cookie_secure(self, app: Carboy) -> bool:
        """`SESSION_COOKIE_SECURE`: whether the cookie is sent over HTTPS only."""
        return t.cast("bool", app.config["SESSION_COOKIE_SECURE"])

    def get_cookie_samesite(self, app: Carboy) -> str | None:
        """`SESSION_COOKIE_SAMESITE`: "Strict", "Lax", or None, in which case the attribute is not
        sent.
        """
        return t.cast("str | None", app.config["SESSION_COOKIE_SAMESITE"])

    def get_cookie_partitioned(self, app: Carboy) -> bool:
        """`SESSION_COOKIE_PARTITIONED`: whether each embedding site has its own cookie."""
        return t.cast("bool", app.config["SESSION_COOKIE_PARTITIONED"])

    def get_expiration_time(self, app: Carboy, session: SessionMixin) -> datetime | None:
        """Return the time at which the cookie expires; None if the session ends when the browser is
        closed.
        """
        if not session.permanent:
            return None
        return datetime.now(UTC) + app.permanent_session_lifetime

    def should_set_cookie(self, app: Carboy, session: SessionMixin) -> bool:
        """Return whether to send the cookie: if the session was modified, or if a permanent session
        is to be prolonged.
        """
        return session.modified or (
            session.permanent and bool(app.config["SESSION_REFRESH_EACH_REQUEST"])
        )

    def open_session(self, app: Carboy, request: Request) -> SessionMixin | None:
        """Return the session of a request, or None if it has none; then `make_null_session` is
        called. The URL is matched after this call.
        """
        raise NotImplementedError

    def save_session(self, app: Carboy, session: SessionMixin, response: Response) -> None:
        """Store a session. Called with each response, unless the session is a null session."""
        raise NotImplementedError


class SessionCookie(t.NamedTuple):
    """The settings for reading an app's session cookie."""

    serializer: URLSafeTimedSerializer | None
    name: str
    max_age_s: int


session_json_serializer = TaggedJSONSerializer()


def _lazy_sha1(string: bytes = b"") -> t.Any:
    # NOTE: `hashlib.sha1` is read at each call and not at import, because a FIPS build of Python
    # lacks it. Its users must be able to import this module and then set another `digest_method`.
    return hashlib.sha1(string)  # noqa: S324 - within an HMAC; the format is Flask's


def _warn_of_weak_keys(app: Carboy, keys: tuple[str | bytes, ...]) -> None:
    """Log a warning if keys that sign sessions in production can be guessed."""
    if not _is_in_production(app):
        return
    from .core.weakkeys import weakness_of

    for key in keys:
        if weakness := weakness_of(key):
            name = "SECRET_KEY" if key is keys[-1] else "A key of SECRET_KEY_FALLBACKS"
            app.logger.warning(
                "%s %s: whoever guesses it can log in as any user. 'carboy secret new --print'"
                " prints a random key.",
                name,
                weakness,
            )


def _is_in_production(app: Carboy) -> bool:
    """Return whether an app with a project, or one that `carboy serve` serves, is in production.

    Other programs are not warned of their keys, because Flask does not do so.
    """
    # An app may have a config of another class.
    project = getattr(app.config, "project", None)
    ctx: RequestContext | None = _cv_request.get(None)
    served = ctx is not None and ctx._environ.get("SERVER_SOFTWARE") == "carboy"
    if project is None and not served:
        return False
    env = app.config.get("ENV") if project is None else project.environment
    return not (app.debug or app.testing or env in {"development", "testing"})


# A cache of serializers, keyed by all the settings from which each was built. An app needs only
# one, but a test suite creates many apps, so the size is limited.
_serializers: dict[t.Any, CookieSerializer] = {}
_MAX_SERIALIZERS = 32


class SecureCookieSessionInterface(SessionInterface):
    """The default session interface, which stores the whole session in a signed cookie. Subclasses
    may override the attributes.
    """

    salt = "cookie-session"
    """Distinguishes these signatures from others made with the same key."""

    digest_method = staticmethod(_lazy_sha1)
    """The hash function of the HMAC."""

    key_derivation = "hmac"
    """How itsdangerous derives the signing key from secret key and salt."""

    serializer = session_json_serializer
    """Has `dumps` and `loads` for the session as a dict."""

    session_class = SecureCookieSession

    # Call `note_change` for each assignment, because an app opens sessions on first access only as
    # long as nobody has changed an attribute of its session interface.
    def __setattr__(self, name: str, value: t.Any) -> None:
        object.__setattr__(self, name, value)
        if type(self) is SecureCookieSessionInterface:
            note_change()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        if type(self) is SecureCookieSessionInterface:
            note_change()

    def get_signing_serializer(self, app: Carboy) -> URLSafeTimedSerializer | None:
        """Return the serializer that signs and verifies cookies; None without a secret key.

        The same object is returned as long as keys and attributes are the same, so do not modify
        it.
        """
        secret_key = app.secret_key
        if not secret_key:
            return None
        fallbacks = app.config["SECRET_KEY_FALLBACKS"]
        # The current key must be the last one, because itsdangerous signs with the last key. It
        # accepts signatures by any of the keys.
        keys = (*fallbacks, secret_key) if fallbacks else (secret_key,)
        made_of = (keys, self.salt, self.key_derivation, self.digest_method, self.serializer)
        # PERF: serializers are cached, because creating one takes longer than reading a cookie:
        # itsdangerous tests whether the serializer returns text or bytes.
        try:
            return _serializers[made_of]
        except KeyError:
            pass
        # The user's `serializer` cannot be hashed, so it cannot be a part of the cache's key.
        except TypeError:
            return self._make_serializer(keys)
        # The keys may be new to `masking`, because the list of fallbacks may be changed in place.
        note_secret_change()
        _warn_of_weak_keys(app, keys)
        if len(_serializers) >= _MAX_SERIALIZERS:
            _serializers.clear()
        made = _serializers[made_of] = self._make_serializer(keys)
        return made

    def _make_serializer(self, keys: tuple[str | bytes, ...]) -> CookieSerializer:
        return CookieSerializer(
            keys,
            salt=self.salt,
            serializer=self.serializer,
            signer_kwargs={
                "key_derivation": self.key_derivation,
                "digest_method": self.digest_method,
            },
        )

    def open_session(self, app: Carboy, request: Request) -> SecureCookieSession | None:
        """Return the session stored in the cookie; an empty one if the cookie is missing, forged or
        expired.
        """
        serializer, name, max_age_s = self._find_cookie_settings(app)
        if serializer is None:
            return None
        # The request may be of a user's own class, which lacks `_find_cookie`.
        find = getattr(request, "_find_cookie", None) or request.cookies.get
        cookie = find(name)
        if not cookie:
            return self.session_class()
        try:
            return self.session_class(serializer.loads(cookie, max_age=max_age_s))
        except BadSignature:
            return self.session_class()

    def _find_cookie_settings(self, app: Carboy) -> SessionCookie:
        overrides = app.find_overrides()
        # PERF: the settings are cached, because reading them by methods and properties takes 0.6
        # us.
        kept = overrides.session_cookie
        if kept is not None:
            return kept
        found = SessionCookie(
            self.get_signing_serializer(app),
            self.get_cookie_name(app),
            int(app.permanent_session_lifetime.total_seconds()),
        )
        # With fallback keys the settings are not cached: the keys are a list, which may be changed
        # in place without a call of `note_change`.
        if (
            overrides.lazy_session
            and overrides.kept_config
            and app.config["SECRET_KEY_FALLBACKS"] in (None, ())
            and app.session_interface is self
        ):
            overrides.session_cookie = found
        return found

    def save_session(self, app: Carboy, session: SessionMixin, response: Response) -> None:
        """Send the session's cookie if it must be set, prolonged or deleted; else send none."""
        if session.accessed:
            _vary_by_cookie(response)
        if not session:
            if session.modified:
                response.delete_cookie(self.get_cookie_name(app), **self._cookie_options(app))
                _vary_by_cookie(response)
            return
        if not self.should_set_cookie(app, session):
            return
        expires = self.get_expiration_time(app, session)
        serializer = t.cast("URLSafeTimedSerializer", self.get_signing_serializer(app))
        response.set_cookie(
            self.get_cookie_name(app),
            serializer.dumps(dict(session)),
            expires=expires,
            **self._cookie_options(app),
        )
        _vary_by_cookie(response)

    def _cookie_options(self, app: Carboy) -> dict[str, t.Any]:
        return {
            "domain": self.get_cookie_domain(app),
            "path": self.get_cookie_path(app),
            "secure": self.get_cookie_secure(app),
            "partitioned": self.get_cookie_partitioned(app),
            "samesite": self.get_cookie_samesite(app),
            "httponly": self.get_cookie_httponly(app),
        }


def _vary_by_cookie(response: Response) -> None:
    headers = response.headers
    if type(headers) is not Headers:  # the user has assigned, for example, a dict
        response.vary.add("Cookie")
        return
    # PERF: always using `response.vary`, which parses the header and writes it back, takes four
    # times as long. `"Vary" in headers` is slow too: if the header is missing, as usual, it raises
    # and catches an exception inside.
    for name, _ in headers._list:
        if name.lower() == "vary":
            response.vary.add("Cookie")
            return
    # PERF: `headers.add` would check the value, which takes 0.25 us.
    headers._list.append(("Vary", "Cookie"))


if not t.TYPE_CHECKING:
    __getattr__, __dir__ = flask_names(__name__)
