"""Sessions: reading and writing, response headers, and cookies that Flask can read."""

from __future__ import annotations

import datetime as dt
import hashlib
import typing as t
import uuid
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import (
    BadSignature,
    SignatureExpired,
    TimestampSigner,
    URLSafeTimedSerializer,
)
from markupsafe import Markup

from carboy import Carboy, Response, session
from carboy.core.signing import CookieSerializer
from carboy.errors import SessionUnavailableError
from carboy.sessions import (
    NullSession,
    SecureCookieSession,
    SecureCookieSessionInterface,
    SessionInterface,
    SessionMixin,
    _lazy_sha1,
)

KEY = "a fixed key for the vector"
SIGNED_AT = 1_700_000_000


@pytest.fixture
def app() -> Carboy:
    app = Carboy(__name__)
    app.secret_key = KEY

    @app.get("/read")
    def read() -> str:
        return str(session.get("user"))

    @app.get("/set/<user>")
    def set_user(user: str) -> str:
        session["user"] = user
        return "set"

    @app.get("/clear")
    def clear() -> str:
        session.clear()
        return "cleared"

    @app.get("/untouched")
    def untouched() -> str:
        return "ok"

    return app


# --- The dict ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "modified"),
    [
        (lambda s: s.__setitem__("b", 1), True),
        (lambda s: s.__delitem__("a"), True),
        (lambda s: s.pop("a"), True),
        (lambda s: s.pop("none", None), False),
        (lambda s: s.popitem(), True),
        (lambda s: s.update(a=1), True),
        (lambda s: s.__ior__({"b": 1}), True),
        (lambda s: s.setdefault("b", 1), True),
        (lambda s: s.setdefault("a", 1), False),
        (lambda s: s.clear(), True),
        (lambda s: s["list"].append(1), False),
        (lambda s: s.get("a"), False),
    ],
    ids=[
        "set",
        "del",
        "pop",
        "pop-none",
        "popitem",
        "update",
        "ior",
        "setdefault",
        "setdefault-has",
        "clear",
        "inner",
        "get",
    ],
)
def test_own_changes_are_noticed(act: t.Callable[[t.Any], t.Any], modified: bool) -> None:
    opened = SecureCookieSession({"a": 1, "list": []})
    assert not opened.modified
    act(opened)
    assert opened.modified is modified
    assert not opened.accessed
    assert not opened.new


@pytest.mark.parametrize("initial", [None, {"a": 1}, [("a", 1)]], ids=["None", "dict", "pairs"])
def test_initial_values_are_no_change(initial: t.Any) -> None:
    opened = SecureCookieSession(initial)
    assert dict(opened) == dict(initial or {})
    assert not opened.modified


def test_permanent_is_stored_in_the_dict() -> None:
    opened = SecureCookieSession()
    assert not opened.permanent
    opened.permanent = t.cast(bool, "yes")
    assert opened["_permanent"] is True
    assert opened.permanent
    assert opened.modified


@pytest.mark.parametrize(
    "act",
    [
        lambda s: s.__setitem__("a", 1),
        lambda s: s.update(a=1),
        lambda s: s.pop("a", None),
        lambda s: s.setdefault("a", 1),
        lambda s: s.clear(),
        lambda s: s.__ior__({"a": 1}),
        lambda s: setattr(s, "permanent", True),
    ],
    ids=["set", "update", "pop", "setdefault", "clear", "ior", "permanent"],
)
def test_session_is_read_only_without_a_secret_key(act: t.Callable[[t.Any], t.Any]) -> None:
    app = Carboy(__name__)
    with app.test_request_context():
        assert session.get("a") is None
        with pytest.raises(RuntimeError, match=r"session is unavailable.*secret key") as caught:
            act(session)
    assert isinstance(caught.value, SessionUnavailableError)


# --- Through the app -----------------------------------------------------------------------------


def test_value_is_available_in_the_next_request(app: Carboy) -> None:
    client = app.test_client()
    response = client.get("/set/ada")
    assert "HttpOnly; Path=/" in response.headers["Set-Cookie"]
    assert client.get("/read").text == "ada"
    assert "Set-Cookie" not in client.get("/read").headers


def test_cleared_session_deletes_its_cookie(app: Carboy) -> None:
    client = app.test_client()
    client.get("/set/ada")
    response = client.get("/clear")
    assert "Max-Age=0" in response.headers["Set-Cookie"]
    assert response.headers["Vary"] == "Cookie"
    assert client.get("/read").text == "None"


@pytest.mark.parametrize(
    ("path", "vary"), [("/read", "Cookie"), ("/set/a", "Cookie"), ("/untouched", None)]
)
def test_response_varies_by_cookie_when_the_session_was_read(
    app: Carboy, path: str, vary: str | None
) -> None:
    assert app.test_client().get(path).headers.get("Vary") == vary


@pytest.mark.parametrize("headers", [{"X": "1"}, {"Vary": "Accept", "X": "1"}])
def test_vary_is_added_to_headers_that_are_a_dict(app: Carboy, headers: t.Any) -> None:
    @app.get("/dict")
    def index() -> Response:
        session.get("a")
        response = Response("x")
        response.headers = headers
        return response

    response = app.test_client().get("/dict")
    assert response.status_code == 200
    assert response.headers["X"] == "1"
    assert "Cookie" in response.headers.getlist("Vary")[-1]


def test_vary_header_is_extended(app: Carboy) -> None:
    @app.get("/both")
    def both() -> Response:
        session.get("user")
        return Response("x", headers={"Vary": "Accept-Encoding"})

    vary = app.test_client().get("/both").headers["Vary"]
    assert vary == "Accept-Encoding, Cookie"


@pytest.mark.parametrize("refresh", [True, False])
def test_permanent_session_is_prolonged_by_any_request(app: Carboy, refresh: bool) -> None:
    app.config["SESSION_REFRESH_EACH_REQUEST"] = refresh
    client = app.test_client()
    with client.session_transaction() as opened:
        opened["user"] = "ada"
        opened.permanent = True
    response = client.get("/untouched")
    assert ("Set-Cookie" in response.headers) is refresh
    assert ("Expires=" in response.headers.get("Set-Cookie", "")) is refresh


def test_cookie_attributes_follow_the_config(app: Carboy) -> None:
    app.config.update(
        SESSION_COOKIE_NAME="carboy",
        SESSION_COOKIE_DOMAIN="example.com",
        SESSION_COOKIE_PATH="/shop",
        SESSION_COOKIE_HTTPONLY=False,
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_PARTITIONED=True,
    )
    for path in ("/set/ada", "/clear"):
        cookie = app.test_client().get(path, base_url="https://example.com").headers["Set-Cookie"]
        assert cookie.startswith("carboy=")
        parts = cookie.split("; ")
        for part in ("Domain=example.com", "Path=/shop", "Secure", "SameSite=Lax", "Partitioned"):
            assert part in parts
        assert "HttpOnly" not in parts


def test_cookie_path_defaults_to_the_application_root(app: Carboy) -> None:
    app.config["APPLICATION_ROOT"] = "/root"
    cookie = app.test_client().get("/set/a").headers["Set-Cookie"]
    assert "Path=/root" in cookie


# --- Keys ----------------------------------------------------------------------------------------


def test_new_secret_key_invalidates_old_sessions(app: Carboy) -> None:
    client = app.test_client()
    client.get("/set/ada")
    app.secret_key = "another"
    assert client.get("/read").text == "None"
    client.get("/set/bob")
    assert client.get("/read").text == "bob"


def test_fallback_keys_verify_but_do_not_sign(app: Carboy) -> None:
    client = app.test_client()
    client.get("/set/ada")
    app.secret_key = "another"
    app.config["SECRET_KEY_FALLBACKS"] = ["unrelated", KEY]
    assert client.get("/read").text == "ada"
    client.get("/set/bob")
    app.config["SECRET_KEY_FALLBACKS"] = None
    assert client.get("/read").text == "bob"


def test_list_of_fallback_keys_may_be_changed_in_place(app: Carboy) -> None:
    client = app.test_client()
    client.get("/set/ada")
    app.secret_key, app.config["SECRET_KEY_FALLBACKS"] = "another", []
    assert client.get("/read").text == "None"
    app.config["SECRET_KEY_FALLBACKS"].append(KEY)
    assert client.get("/read").text == "ada"


def test_name_and_lifetime_of_the_cookie_may_change_at_any_time(app: Carboy) -> None:
    client = app.test_client()
    client.get("/set/ada")
    app.config["SESSION_COOKIE_NAME"] = "other"
    assert client.get("/read").text == "None"
    app.config["SESSION_COOKIE_NAME"] = "session"
    assert client.get("/read").text == "ada"
    app.permanent_session_lifetime = dt.timedelta(seconds=-1)
    assert client.get("/read").text == "None"
    app.permanent_session_lifetime = dt.timedelta(days=1)
    assert client.get("/read").text == "ada"


def test_app_may_choose_its_key_for_each_request() -> None:
    class Rotating(Carboy):
        current_key = "first"

        @property  # type: ignore[override]
        def secret_key(self) -> str:
            return self.current_key

    app = Rotating("rotating")
    app.add_url_rule("/set", view_func=lambda: session.setdefault("user", "ada"), endpoint="set")
    app.add_url_rule("/read", view_func=lambda: str(session.get("user")), endpoint="read")
    client = app.test_client()
    client.get("/set")
    assert client.get("/read").text == "ada"
    app.current_key = "second"
    assert client.get("/read").text == "None"


@pytest.mark.parametrize("key", [None, "", b""], ids=repr)
def test_no_secret_key_means_a_null_session(app: Carboy, key: t.Any) -> None:
    app.secret_key = key
    with app.test_request_context() as ctx:
        assert isinstance(ctx.session, NullSession)
        assert app.session_interface.is_null_session(ctx.session)


def test_serializer_is_reused_until_a_setting_changes(app: Carboy) -> None:
    interface = SecureCookieSessionInterface()
    first = interface.get_signing_serializer(app)
    assert isinstance(first, URLSafeTimedSerializer)
    assert interface.get_signing_serializer(app) is first
    interface.salt = "other"
    assert interface.get_signing_serializer(app) is not first
    del interface.salt
    app.secret_key = b"other"
    assert interface.get_signing_serializer(app) is not first
    app.secret_key = KEY
    assert interface.get_signing_serializer(app) is first


def test_number_of_cached_serializers_is_bounded(app: Carboy) -> None:
    from carboy import sessions

    for number in range(100):
        app.secret_key = f"key {number}"
        assert app.session_interface.get_signing_serializer(app) is not None  # type: ignore[attr-defined]
    assert len(sessions._serializers) <= sessions._MAX_SERIALIZERS


# --- Flask's cookies -----------------------------------------------------------------------------

# Created by Flask 3.1.3 with this key at this time.
VECTORS: dict[str, tuple[dict[str, t.Any], str]] = {
    "plain": (
        {
            "user_id": 42,
            "name": "Ada",
            "_permanent": True,
            "ratio": 0.5,
            "none": None,
            "list": [1, "two"],
        },
        (
            "eyJfcGVybWFuZW50Ijp0cnVlLCJsaXN0IjpbMSwidHdvIl0sIm5hbWUiOiJBZGEiLCJub25lIjpudWxsLCJyYXRp"
            "byI6MC41LCJ1c2VyX2lkIjo0Mn0.ZVPxAA.0YR0uNwfY7GiSYHEHZUKE9SQ5M0"
        ),
    ),
    "tagged": (
        {
            "t": (1, (2, "3")),
            "b": b"\x00\xff",
            "m": Markup("<b>"),
            "u": uuid.UUID(int=7),
            "d": dt.datetime(2024, 2, 29, 12, 30, 15, tzinfo=dt.UTC),
            "nested": {" t": [1]},
            "one": {" di": " di"},
        },
        (
            ".eJyrVkpSsqpWUgCSSo4BFrZKtTpKKWARIKkUklGqo2BkqeCWmqRgZGBkomBoZGVsYGVoquDuGwJSmgtWCiSVbJLs"
            "QAJ5qcUlqVADMsFUSXy8klW0YWwtUDY_LxVZKiUTJAfmgmRLIOpBqnWgDCMdJWOl2NpYoGwpWBZIKhngB-ZAwwBi"
            "HjaR.ZVPxAA.dh2mP6FuB838xkC9mYO1i5ZjC3M"
        ),
    ),
    "text": (
        {"q": "größer \u20ac \U0001f600", "s": " leading"},
        (
            "eyJxIjoiZ3JcdTAwZjZcdTAwZGZlciBcdTIwYWMgXHVkODNkXHVkZTAwIiwicyI6IiBsZWFkaW5nIn0.ZVPxAA."
            "NHgRxxll1M52s4fsn6G7mbel2g4"
        ),
    ),
    "long": (
        {"items": ["carboy"] * 100},
        ".eJyrVsosSc0tVrKKVkpOLErKr1TSGWWMMkYZA8GIrQUApNYp9A.ZVPxAA.VKGhPmMR4Qs_XzNvvRC2SZQSeNY",
    ),
}


@pytest.fixture
def at_that_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda self: SIGNED_AT)


@pytest.mark.usefixtures("at_that_time")
@pytest.mark.parametrize("name", VECTORS)
def test_carboy_and_flask_read_each_others_cookies(app: Carboy, name: str) -> None:
    value, cookie = VECTORS[name]
    with app.app_context():
        serializer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
        assert serializer.dumps(value) == cookie
        assert serializer.loads(cookie, max_age=60) == value
    with app.test_request_context(headers={"Cookie": f"session={cookie}"}):
        assert dict(session) == value


# --- Signatures ----------------------------------------------------------------------------------


def serializers(
    keys: t.Sequence[str] = (KEY,), **options: t.Any
) -> tuple[CookieSerializer, URLSafeTimedSerializer]:
    """Return carboy's serializer, and itsdangerous's with the same settings for comparison."""
    signer = {"key_derivation": "hmac", "digest_method": _lazy_sha1, **options}
    ours = CookieSerializer(keys, salt="s", signer_kwargs=signer)
    return ours, URLSafeTimedSerializer(keys, salt="s", signer_kwargs=signer)  # type: ignore[arg-type]


def outcome(read: t.Callable[[], t.Any]) -> object:
    try:
        return read()
    except BadSignature as exc:
        return type(exc), str(exc), exc.payload


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=60)), st.data())
def test_damaged_cookies_raise_what_itsdangerous_raises(
    value: dict[str, str], data: st.DataObject
) -> None:
    ours, theirs = serializers()
    cookie = theirs.dumps(value)
    assert ours.loads(cookie, max_age=60) == value
    at = data.draw(st.integers(0, len(cookie) - 1))
    letter = data.draw(st.sampled_from(["", "A", "-", "_", ".", "=", "é", "/", "+"]))
    damaged = cookie[:at] + letter + cookie[at + 1 :]
    found = outcome(lambda: ours.loads(damaged, max_age=60))
    with warnings.catch_warnings():
        # itsdangerous's passes on Python 3.15's warning about "+" and "/" in signatures; carboy's
        # does not.
        warnings.simplefilter("ignore", FutureWarning)
        assert found == outcome(lambda: theirs.loads(damaged, max_age=60))


@pytest.mark.parametrize("letter", ["+", "/"])
def test_signature_outside_the_url_safe_alphabet_gives_no_warning(letter: str) -> None:
    ours, _ = serializers()
    payload, stamp, signature = ours.dumps({}).split(".")
    with pytest.raises(BadSignature):
        ours.loads(f"{payload}.{stamp}.{letter * len(signature)}")


@pytest.mark.parametrize("cookie", ["", ".", "..", "a.b.c", "\ud800", b"\xff", "x" * 5000])
def test_nonsense_is_a_bad_signature(cookie: str | bytes) -> None:
    ours, _ = serializers()
    with pytest.raises((BadSignature, UnicodeError)):
        ours.loads(cookie, max_age=60)


@pytest.mark.parametrize(
    ("age_s", "good"), [(0, True), (60, True), (61, False), (-1, False)], ids=str
)
def test_expired_cookie_is_refused(monkeypatch: pytest.MonkeyPatch, age_s: int, good: bool) -> None:
    ours, theirs = serializers()
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda self: SIGNED_AT)
    cookie = theirs.dumps("x")
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda self: SIGNED_AT + age_s)
    if good:
        assert ours.loads(cookie, max_age=60) == "x"
    else:
        with pytest.raises(SignatureExpired):
            ours.loads(cookie, max_age=60)
    assert ours.loads(cookie) == "x"


@pytest.mark.parametrize("length", [1, 63, 64, 65, 128, 129, 1000])
@pytest.mark.parametrize("digest_method", [_lazy_sha1, hashlib.sha512, hashlib.sha3_256])
def test_signature_by_a_key_of_any_length(length: int, digest_method: t.Any) -> None:
    ours, theirs = serializers(["k" * length], key_derivation="none", digest_method=digest_method)
    assert theirs.loads(ours.dumps("x")) == ours.loads(theirs.dumps("x"), max_age=60) == "x"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"key_derivation": "concat"},
        {"key_derivation": "django-concat"},
        {"key_derivation": "none"},
        {"digest_method": hashlib.sha256},
    ],
    ids=["default", "concat", "django", "none", "sha256"],
)
def test_any_key_derivation_and_digest(options: dict[str, t.Any]) -> None:
    ours, theirs = serializers(["old", KEY], **options)
    assert ours.loads(theirs.dumps({"a": 1}), max_age=60) == {"a": 1}
    assert theirs.loads(ours.dumps({"a": 1}), max_age=60) == {"a": 1}
    old, _ = serializers(["old"], **options)
    assert ours.loads(old.dumps("x"), max_age=60) == "x"
    with pytest.raises(BadSignature):
        old.loads(ours.dumps("x"))


def test_other_salts_and_timestamps_are_left_to_itsdangerous() -> None:
    ours, theirs = serializers()
    assert ours.loads(theirs.dumps("x", salt="other"), salt="other") == "x"
    value, signed_at = ours.loads(theirs.dumps("x"), return_timestamp=True)
    assert value == "x"
    assert isinstance(signed_at, dt.datetime)


# --- Custom interfaces ---------------------------------------------------------------------------


def test_interface_requires_open_and_save() -> None:
    interface = SessionInterface()
    nothing: t.Any = None
    with pytest.raises(NotImplementedError):
        interface.open_session(nothing, nothing)
    with pytest.raises(NotImplementedError):
        interface.save_session(nothing, nothing, nothing)


def test_custom_interface_opens_and_saves() -> None:
    class Session(dict[str, t.Any], SessionMixin):
        pass

    store: dict[str, t.Any] = {"user": "ada"}

    class Stored(SessionInterface):
        def open_session(self, app: t.Any, request: t.Any) -> Session:
            return Session(store)

        def save_session(self, app: t.Any, session: t.Any, response: t.Any) -> None:
            store.update(session, saved=True)

    app = Carboy(__name__)
    app.session_interface = Stored()

    @app.get("/")
    def index() -> str:
        session["seen"] = True
        return str(session["user"])

    assert app.test_client().get("/").text == "ada"
    assert store == {"user": "ada", "seen": True, "saved": True}


def test_overridden_signing_serializer_is_used(app: Carboy) -> None:
    asked: list[Carboy] = []

    class Asking(SecureCookieSessionInterface):
        def get_signing_serializer(self, app: Carboy) -> URLSafeTimedSerializer | None:
            asked.append(app)
            return super().get_signing_serializer(app)

    app.session_interface = Asking()
    client = app.test_client()
    client.get("/set/ada")
    assert client.get("/read").text == "ada"
    assert asked


def test_unhashable_serializer_works(app: Carboy) -> None:
    import json

    class Plain:
        __hash__ = None  # type: ignore[assignment]
        dumps = staticmethod(json.dumps)
        loads = staticmethod(json.loads)

    interface = SecureCookieSessionInterface()
    interface.serializer = Plain()  # type: ignore[assignment]
    app.session_interface = interface
    client = app.test_client()
    client.get("/set/ada")
    assert client.get("/read").text == "ada"


def test_signing_key_is_derived_once_for_all_cookies(monkeypatch: pytest.MonkeyPatch) -> None:
    derived = []
    derive = TimestampSigner.derive_key

    def counting(self: TimestampSigner, secret_key: t.Any = None) -> bytes:
        derived.append(secret_key)
        return derive(self, secret_key)

    old = serializers(["old"])[1].dumps("x")
    ours, _ = serializers(["old", KEY])
    monkeypatch.setattr(TimestampSigner, "derive_key", counting)
    for _ in range(3):
        assert ours.loads(ours.dumps("x"), max_age=60) == "x"
        assert ours.loads(old, max_age=60) == "x"
    assert sorted(derived) == sorted([b"old", KEY.encode()])
