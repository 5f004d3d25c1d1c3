"""Sessions, and their keeping in signed cookies.

`SessionInterface` is what an app asks; `SecureCookieSessionInterface` answers with cookies that
itsdangerous signs, in Flask's format: either framework reads the other's. A cookie is signed, not
encrypted: its owner can read it, but not change it. Sessions of one user may be open in several
requests at once; the last one saved wins.
"""

from __future__ import annotations

import collections.abc as cabc
import hashlib
import typing as t
from datetime import UTC, datetime

from itsdangerous import BadSignature, URLSafeTimedSerializer
from werkzeug.datastructures import CallbackDict

from .core.changetracking import ChangeTracked, note_change
from .core.signing import CookieSerializer
from .errors import SessionUnavailableError
from .json.tag import TaggedJSONSerializer

if t.TYPE_CHECKING:
    from .app import Carboy
    from .wrappers import Request, Response


class SessionMixin(cabc.MutableMapping[str, t.Any]):
    """What a session has beside being a dict."""

    new = False
    """Whether it was just created, where an implementation can tell."""

    modified = True
    """Whether it has to be saved; implementations that notice changes start with False."""

    accessed = False
    """Whether this request looked at it, which the request context notes. If so, the response
    depends on the cookie and says so: `Vary: Cookie`."""

    @property
    def permanent(self) -> bool:
        """Whether it outlives the browser's session; kept in the dict as `_permanent`."""
        return self.get("_permanent", False)  # type: ignore[no-any-return]

    @permanent.setter
    def permanent(self, value: bool) -> None:
        self["_permanent"] = bool(value)


def _note_change(session: SecureCookieSession) -> None:
    session.modified = True


class SecureCookieSession(CallbackDict[str, t.Any], SessionMixin):
    """A dict that notices when it is changed, though not a change within one of its values.

    After such a change, say so: `session.modified = True`.
    """

    modified = False

    # PERF: one function for all, where Flask makes a closure for each session.
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
        " source, such as that of: python -c 'import secrets; print(secrets.token_hex())'"
    )


class NullSession(SecureCookieSession):
    """The session of an app without a secret key: empty, and an error to write to."""

    __setitem__ = __delitem__ = clear = pop = popitem = _refuse
    update = setdefault = __ior__ = _refuse


class SessionInterface(metaclass=ChangeTracked):
    """How an app opens and saves sessions.

    Subclass it, give `open_session` and `save_session`, and set `app.session_interface`. What
    `open_session` returns must be a dict with the attributes of `SessionMixin`:

        class Session(dict, SessionMixin): ...
    """

    null_session_class = NullSession
    """What stands in when no session can be opened."""

    pickle_based = False
    """Whether values are pickled, for extensions that put objects there."""

    def make_null_session(self, app: Carboy) -> NullSession:
        """Return what stands in for a session where `open_session` gave None."""
        return self.null_session_class()

    def is_null_session(self, obj: object) -> bool:
        """Whether `obj` is such a stand-in, which is never saved."""
        # PERF: sessions are abstract mappings, whose `isinstance` takes ten times as long.
        return type(obj) is not SecureCookieSession and isinstance(obj, self.null_session_class)

    def get_cookie_name(self, app: Carboy) -> str:
        """`SESSION_COOKIE_NAME`."""
        return app.config["SESSION_COOKIE_NAME"]  # type: ignore[no-any-return]

    def get_cookie_domain(self, app: Carboy) -> str | None:
        """`SESSION_COOKIE_DOMAIN`. None: only the host that set it gets the cookie back."""
        return t.cast("str | None", app.config["SESSION_COOKIE_DOMAIN"])

    def get_cookie_path(self, app: Carboy) -> str:
        """`SESSION_COOKIE_PATH`, else `APPLICATION_ROOT`."""
        config = app.config
        return t.cast("str", config["SESSION_COOKIE_PATH"] or config["APPLICATION_ROOT"])

    def get_cookie_httponly(self, app: Carboy) -> bool:
        """`SESSION_COOKIE_HTTPONLY`: scripts in the page cannot read it."""
        return t.cast("bool", app.config["SESSION_COOKIE_HTTPONLY"])

    def get_cookie_secure(self, app: Carboy) -> bool:
        """`SESSION_COOKIE_SECURE`: only sent over HTTPS."""
        return t.cast("bool", app.config["SESSION_COOKIE_SECURE"])

    def get_cookie_samesite(self, app: Carboy) -> str | None:
        """`SESSION_COOKIE_SAMESITE`: "Strict", "Lax", or not said."""
        return t.cast("str | None", app.config["SESSION_COOKIE_SAMESITE"])

    def get_cookie_partitioned(self, app: Carboy) -> bool:
        """`SESSION_COOKIE_PARTITIONED`: one for each site that embeds this one."""
        return t.cast("bool", app.config["SESSION_COOKIE_PARTITIONED"])

    def get_expiration_time(self, app: Carboy, session: SessionMixin) -> datetime | None:
        """When the cookie ends; None, unless the session is permanent: with the browser."""
        if not session.permanent:
            return None
        return datetime.now(UTC) + app.permanent_session_lifetime

    def should_set_cookie(self, app: Carboy, session: SessionMixin) -> bool:
        """Whether to send the cookie: when modified, or to prolong a permanent session."""
        return session.modified or (
            session.permanent and bool(app.config["SESSION_REFRESH_EACH_REQUEST"])
        )

    def open_session(self, app: Carboy, request: Request) -> SessionMixin | None:
        """Return the session of a request, before its URL is matched; None for a null session."""
        raise NotImplementedError

    def save_session(self, app: Carboy, session: SessionMixin, response: Response) -> None:
        """Keep a session that is not null; called with each response."""
        raise NotImplementedError


session_json_serializer = TaggedJSONSerializer()


def _lazy_sha1(string: bytes = b"") -> t.Any:
    # NOTE: looked up when called: a FIPS build has no SHA-1, and its user has to get as far as
    # setting another `digest_method`.
    return hashlib.sha1(string)  # noqa: S324 - within an HMAC; the format is Flask's


# What signs and reads cookies, by all that it is made of. An app needs one; a suite of tests makes
# many, which need not stay.
_serializers: dict[t.Any, CookieSerializer] = {}
_MAX_SERIALIZERS = 32


class SecureCookieSessionInterface(SessionInterface):
    """Keeps the whole session in a signed cookie. The attributes may be set by a subclass."""

    salt = "cookie-session"
    """Makes a signature here different from one by the same key elsewhere."""

    digest_method = staticmethod(_lazy_sha1)
    """The hash within the signature's HMAC."""

    key_derivation = "hmac"
    """How itsdangerous makes the signing key of secret key and salt."""

    serializer = session_json_serializer
    """Has `dumps` and `loads` for the session as a dict."""

    session_class = SecureCookieSession

    # An app opens this class's session only when it is touched. One with methods of its own is
    # another matter, and the app has to hear of it.
    def __setattr__(self, name: str, value: t.Any) -> None:
        object.__setattr__(self, name, value)
        if type(self) is SecureCookieSessionInterface:
            note_change()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        if type(self) is SecureCookieSessionInterface:
            note_change()

    def get_signing_serializer(self, app: Carboy) -> URLSafeTimedSerializer | None:
        """Return what signs and reads the cookie; None without a secret key.

        The same object comes back while keys and attributes are the same, so do not change it.
        """
        secret_key = app.secret_key
        if not secret_key:
            return None
        fallbacks = app.config["SECRET_KEY_FALLBACKS"]
        # itsdangerous signs with the last key and accepts all.
        keys = (*fallbacks, secret_key) if fallbacks else (secret_key,)
        made_of = (keys, self.salt, self.key_derivation, self.digest_method, self.serializer)
        # PERF: making one takes longer than reading a cookie: it tries the serializer out.
        try:
            return _serializers[made_of]
        except KeyError:
            pass
        except TypeError:  # a serializer that cannot be hashed
            return self._make_serializer(keys)
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
            is_sha1=self.digest_method is _lazy_sha1,
        )

    def open_session(self, app: Carboy, request: Request) -> SecureCookieSession | None:
        """Read the session from the cookie; an empty one if it is missing, forged or too old."""
        serializer = self.get_signing_serializer(app)
        if serializer is None:
            return None
        name = self.get_cookie_name(app)
        # A request class of the user's need not be carboy's.
        find = getattr(request, "_find_cookie", None) or request.cookies.get
        cookie = find(name)
        if not cookie:
            return self.session_class()
        max_age_s = int(app.permanent_session_lifetime.total_seconds())
        try:
            return self.session_class(serializer.loads(cookie, max_age=max_age_s))
        except BadSignature:
            return self.session_class()

    def save_session(self, app: Carboy, session: SessionMixin, response: Response) -> None:
        """Send the cookie when it has to be set, prolonged or deleted, and nothing otherwise."""
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
    # PERF: the header as an object, parsed and written back, takes four times as long.
    # `in` would raise and catch an error where it is missing, which it nearly always is.
    for name, _ in headers:
        if name.lower() == "vary":
            response.vary.add("Cookie")
            return
    headers.add("Vary", "Cookie")
