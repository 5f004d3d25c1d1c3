"""Secret keys that can be guessed, and the warning in production."""

from __future__ import annotations

import secrets
import typing as t

import pytest

from carboy import Carboy, session
from carboy.core.weakkeys import is_known, weakness_of


@pytest.mark.parametrize(
    "key",
    [
        *("dev", "test", "1", "secret", "changeme", "hard to guess string"),
        *("this-is-a-secret-key", "you-will-never-guess", "change_this_in_production!"),
        *("0000000000000000000000", "django-insecure-x7#k2!m9q", "your-example-key-12345"),
        "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",
        b'_5#y2L"F4Q8z\n\xec]/',
    ],
)
def test_key_of_a_tutorial_is_weak(key: str | bytes) -> None:
    assert weakness_of(key)


@pytest.mark.parametrize(
    ("key", "known"),
    [
        *(("dev", True), ("my_key_1", True), ("change-me-please-in-production", True)),
        *(("df0331cefc6c2b9a5d0208a726a5d1c0fd37324feba25506", True), ("F12Zr47j", False)),
        *((r'_5#y2L"F4Q8z\n\xec]/', True), (b"dev", True), ("kT5-q", False), ("", False)),
    ],
)
def test_key_of_a_tutorial_is_known(key: str | bytes, known: bool) -> None:
    assert is_known(key) is known
    assert weakness_of(key)


def test_random_key_is_not_weak() -> None:
    for _ in range(1000):
        assert not is_known(secrets.token_hex())
        assert weakness_of(secrets.token_hex()) is None
        assert weakness_of(secrets.token_bytes(16)) is None
        assert weakness_of(secrets.token_urlsafe(16)) is None


def _app(environment: str | None, key: str, **config: t.Any) -> Carboy:
    app = Carboy(__name__)
    if environment is not None:
        app.config.from_project(environment=environment)
    app.config.update(SECRET_KEY=key, **config)

    @app.get("/")
    def index() -> str:
        session["n"] = 1
        return "ok"

    return app


SERVED = {"SERVER_SOFTWARE": "carboy"}


@pytest.mark.parametrize(
    ("environment", "environ", "config", "warned"),
    [
        ("production", {}, {}, True),
        ("staging", {}, {}, True),
        ("development", {}, {}, False),
        ("testing", {}, {}, False),
        ("production", {}, {"TESTING": True}, False),
        ("production", {}, {"DEBUG": True}, False),
        (None, {}, {}, False),
        (None, SERVED, {}, True),
        (None, SERVED, {"ENV": "development"}, False),
    ],
)
def test_warning_of_a_weak_key(
    caplog: pytest.LogCaptureFixture,
    environment: str | None,
    environ: dict[str, str],
    config: dict[str, t.Any],
    warned: bool,
) -> None:
    # A key of its own for each case, because each key is warned of once per process.
    key = f"dev-{environment}-{len(environ)}-{'-'.join(config)}"[:15]
    client = _app(environment, key, **config).test_client()
    for _ in range(3):
        assert client.get("/", environ_base=environ).status_code == 200
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == int(warned), lines
    if warned:
        assert lines[0].startswith("SECRET_KEY has fewer than 16 characters")
        assert "carboy secret new" in lines[0]
        assert key not in lines[0]


def test_weak_fallback_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    app = _app("production", secrets.token_hex(), SECRET_KEY_FALLBACKS=["changeme"])
    app.test_client().get("/")
    (record,) = caplog.records
    assert record.getMessage().startswith("A key of SECRET_KEY_FALLBACKS has fewer")


def test_app_that_uses_no_session_is_not_warned(caplog: pytest.LogCaptureFixture) -> None:
    app = _app("production", "dev")
    app.add_url_rule("/plain", view_func=lambda: "plain")
    app.test_client().get("/plain")
    assert not caplog.records
