"""Checks of the app's configuration."""

from __future__ import annotations

import typing as t

from ...cli.configuration import config_problems
from ...config import Config
from ...core.weakkeys import is_known, weakness_of
from ..configvalues import more_problems
from .appcode import has_sessions, place_of_session_use
from .checkregistry import Found, check
from .places import origin_of_key, place_of_key, value_of_key

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..facts import Facts

_NEW_KEY = (
    "Make a key by 'carboy secret new --print', and let the app read it from the environment"
    " variable SECRET_KEY, so that no repository and no image contains it."
)


@check(
    "carboy.E001",
    "Debug mode is on.",
    remedy="Do not set DEBUG in code or in files that reach production, nor CARBOY_DEBUG or"
    " FLASK_DEBUG there. For development, use 'carboy run --debug'.",
    deploy=True,
)
def find_debug_mode(facts: Facts) -> cabc.Iterator[Found]:
    if facts.app.debug:
        yield Found(
            place_of_key(facts, "DEBUG"),
            "Debug mode is on: whoever causes an error sees its traceback, with lines of the code.",
        )


@check(
    "carboy.E002",
    "The configuration has a value of a wrong type, a misspelt key, or an environment variable that"
    " sets nothing, as 'carboy config --check' reports.",
    remedy="Correct the key or its value. 'carboy config' shows all values and their origins.",
)
def find_config_problems(facts: Facts) -> cabc.Iterator[Found]:
    config: object = facts.app.config  # which may be another class of the user
    found = config_problems(facts.app) if isinstance(config, Config) else []
    for place, message in (*found, *more_problems(facts.app, found)):
        yield Found(place or "configuration", message)


@check(
    "carboy.E003",
    "The app uses sessions, and SECRET_KEY is missing.",
    remedy=_NEW_KEY,
    deploy=True,
)
def find_missing_key(facts: Facts) -> cabc.Iterator[Found]:
    if not _keys(facts, "SECRET_KEY") and (place := place_of_session_use(facts)) is not None:
        yield Found(
            place,
            "SECRET_KEY is not set, so that each use of `session` or `flash` that writes is an"
            f" error (500) in production.{_about_made_key(facts)}",
        )


@check(
    "carboy.W001",
    "SECRET_KEY is missing. No module of the app seems to need it.",
    remedy=f"{_NEW_KEY} If nothing in the app is signed, silence this code.",
    deploy=True,
)
def find_unneeded_missing_key(facts: Facts) -> cabc.Iterator[Found]:
    if not _keys(facts, "SECRET_KEY") and place_of_session_use(facts) is None:
        yield Found(
            place_of_key(facts, "SECRET_KEY"),
            "SECRET_KEY is not set: sessions, flash() and tokens against forged requests do not"
            f" work.{_about_made_key(facts)}",
        )


@check(
    "carboy.E004",
    "SECRET_KEY, or a key of SECRET_KEY_FALLBACKS, is too short.",
    remedy="Replace it by 'carboy secret rotate'; with '--print' it prints the new values.",
    deploy=True,
)
def find_short_keys(facts: Facts) -> cabc.Iterator[Found]:
    for name, key in _all_keys(facts):
        weakness = weakness_of(key)
        if weakness is not None and not is_known(key):
            yield Found(
                place_of_key(facts, name),
                f"{name} {weakness}: whoever finds it by trying can log in as any user.",
            )


@check(
    "carboy.E005",
    "SECRET_KEY, or a key of SECRET_KEY_FALLBACKS, is known from documentation or tutorials, or is"
    " a placeholder such as `dev`.",
    remedy=f"{_NEW_KEY} Do not keep the known one in SECRET_KEY_FALLBACKS.",
    deploy=True,
)
def find_known_keys(facts: Facts) -> cabc.Iterator[Found]:
    for name, key in _all_keys(facts):
        if is_known(key):
            yield Found(
                place_of_key(facts, name),
                f"{name} is known from documentation or tutorials, or is a placeholder: whoever"
                " tries it can log in as any user.",
            )


def _all_keys(facts: Facts) -> list[tuple[str, str | bytes]]:
    """Return the keys by which sessions are verified, each with the name of its config key."""
    names = ("SECRET_KEY", "SECRET_KEY_FALLBACKS")
    return [(name, key) for name in names for key in _keys(facts, name)]


def _keys(facts: Facts, name: str) -> list[str | bytes]:
    """Return the secret keys in the value of a config key, without one that carboy has made for
    development.
    """
    value = value_of_key(facts, name)
    if not value or origin_of_key(facts, name).source == "generated":
        return []
    keys = value if isinstance(value, (list, tuple)) else [value]
    return [key for key in keys if isinstance(key, (str, bytes))]


def _about_made_key(facts: Facts) -> str:
    if origin_of_key(facts, "SECRET_KEY").source != "generated":
        return ""
    return " (The key that carboy makes is for development only.)"


def _cookie_check(code: str, key: str, title: str, remedy: str, message: str) -> None:
    """Register a check that a config key of the session's cookie has another value than None and
    False.
    """

    @check(code, title, remedy=remedy, deploy=True)
    def find(facts: Facts) -> cabc.Iterator[Found]:
        if has_sessions(facts) and not value_of_key(facts, key):
            yield Found(place_of_key(facts, key), message)


_cookie_check(
    "carboy.W002",
    "SESSION_COOKIE_SECURE",
    "The session's cookie is sent without TLS, too.",
    "Set SESSION_COOKIE_SECURE = True if users reach the app by HTTPS, even if a proxy or platform"
    " does it. If there is no TLS at all, silence this code.",
    "SESSION_COOKIE_SECURE is false: behind TLS, one request by http:// shows the session's cookie"
    " to the network.",
)
_cookie_check(
    "carboy.W003",
    "SESSION_COOKIE_HTTPONLY",
    "Scripts can read the session's cookie.",
    "Leave SESSION_COOKIE_HTTPONLY at its default, True.",
    "SESSION_COOKIE_HTTPONLY is false: any script on a page can copy the session.",
)
_cookie_check(
    "carboy.W004",
    "SESSION_COOKIE_SAMESITE",
    "The session's cookie has no SameSite attribute.",
    "Set SESSION_COOKIE_SAMESITE = 'Lax'; or 'None' together with SESSION_COOKIE_SECURE if pages of"
    " other sites embed the app.",
    "SESSION_COOKIE_SAMESITE is not set: some browsers then send the session with requests that"
    " other sites make.",
)
