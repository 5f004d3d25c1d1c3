"""Mask secrets in output for people: printed configuration, logs, error pages.

`masked` is for configuration: a value is masked if its name looks like the name of a secret. In
doubt it is masked: a masked value can be looked up in its source, but a printed key is compromised.

`mask_text` is for messages and tracebacks, which must stay readable. It masks the known secrets,
wherever they stand, and what can hardly be anything else than a secret, such as the password in a
URL. Known are the values of secrets in all configs and in the environment of the process. Values
that ordinary text may contain, such as "dev" or "12345678", are not searched for.

Only the output is masked, never the value itself.
"""

from __future__ import annotations

import collections.abc as cabc
import html
import json
import os
import re
import traceback
import typing as t
import weakref
from datetime import timedelta
from functools import lru_cache
from operator import is_
from urllib.parse import quote

MASK = "********"

# The patterns below are compiled when they are first used, because compiling them takes longer than
# all else that importing this module does. Texts may come from clients, so that each repetition is
# bounded or begins where no other can: otherwise a long text could take seconds.
_compiled = lru_cache(re.compile)

# Matches names of secrets. Words such as KEY or PASSWORD may stand anywhere in a name, in upper or
# lower case: STRIPE_APIKEY, dbPassword. PWD, DSN and PASS are so short that they count only as
# whole words.
_SENSITIVE_NAME = (
    r"(?i)KEY(?!WORD|BOARD)|SECRET|TOKEN(?!IZ)|PASSW(?:OR)?D|PASSPHRASE|CREDENTIAL|PRIVATE|PEPPER"
    r"|SALT|(?<![A-Z0-9])(?:PWD|DSN|PASS)(?![A-Z0-9])"
)
# Matches the password in scheme://user:password@host, up to the last @ before a blank, because
# passwords may contain / and @ unescaped. The port of a web page is no password, if an @ follows
# later: http://127.0.0.1:5000/?email=ada@example.com
_URL_CREDENTIALS = (
    r"(?i)((?<![a-z0-9+.\-])(?!https?://[^\s:/@?#]{0,250}:\d{1,5}[/?#\"',)])"
    r"[a-z][a-z0-9+.\-]{0,30}://[^\s:/@?#]{0,250}:)\S{0,1000}@"
)
# Matches the token in https://token@host, as git and Sentry use. With other schemes, a single name
# before the @ is a user name.
_URL_USER = r"(?i)(https?://)[^\s/?#@:]{1,1000}@"
# Matches `key=value` in the query of a URL; the name is the second group.
_QUERY = r"([?&]([\w-]{1,80})=)[^\s;&#'\"<>)]+"
_QUERY_NAME = (
    r"(?i)key(?!word|board)|secret|token(?!iz)|passw(?:or)?d|passphrase|pwd"
    r"|(?<![a-z])sign?(?:ature)?(?![a-z])"
)
# Matches `password=value` in a message. `key` and `token` alone seldom are secrets in prose and in
# code: `sorted(rows, key=len)`.
_ASSIGNED = (
    r"(?i)((?:secret|passw(?:or)?d|passphrase|pwd|(?:api|access|private|account)[_-]?key"
    r"|(?:api|access|auth|refresh)[_-]?token)[\w-]{0,40}=)[^\s;&,'\"()<>]+"
)
# Matches `password: value` without quotes, as in YAML and in headers. In prose, words follow a
# colon, so that letters alone are no value: "Invalid password: too short".
_HEADER = (
    r"(?i)((?:secret|passw(?:or)?d|passphrase|pwd|(?:api|access|private|account)[_-]?key"
    r"|(?:api|access|auth|refresh)[_-]?token)[\w-]{0,40}:[ \t]{1,8})"
    r"(?=[a-z.,'-]{0,200}[^a-z.,'\s-])[^\s,;'\"()<>{}\[\]]+"
)
_AUTHORIZATION = (
    r"(?i)(authorization[\"']?\s{0,8}[:=]\s{0,8}[rbfu]{0,2}[\"']?"
    r"(?:basic|bearer|token|negotiate|apikey)\s{1,8})[^\s,;'\"()<>]+"
)
# Matches `key=value` in a connection string of the configuration, such as `sslmode=on sig='a b'`.
_PAIR = (
    r"(?i)((?:key|secret|token|passw(?:or)?d|passphrase|pwd|sig)[\w-]{0,40}\s{0,8}=\s{0,8})"
    r"('[^']*'|\"[^\"]*\"|[^\s;&]+)"
)
# Matches a literal in source code, as tracebacks show it: `app.config["SECRET_KEY"] = "x"`. A
# syntax error may show one without its closing quote. In HTML the quotes are written as entities.
_LITERAL = (
    r"(?i)((?:secret|passw(?:or)?d|passphrase|token(?!iz)|(?:api|access|private)_?key)\w{0,40}"
    r"(?:[\"']|&#?\w{1,5};)?\]?\s{0,8}[=:]\s{0,8}[rbfu]{0,2})"
    r"([\"']|&quot;|&#34;|&#39;|&#x27;)(?:(?!\2)[^\\\n]|\\.)+\2?"
)
_PEM = r"(?s)(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"

# Names whose values are known secrets end with the word for a secret. Other names with such a word
# have values that ordinary text contains: `SECURITY_PASSWORD_HASH`, `SSL_KEY_FILE`.
_KNOWN_NAME = (
    r"(?i)(?:KEY|SECRET|TOKEN|PASSW(?:OR)?D|PASSPHRASE|CREDENTIAL|PRIVATE|PEPPER|SALT"
    r"|(?<![A-Z0-9])(?:PWD|DSN|PASS))S?"
    r"(?:_?(?:FALLBACKS|OLD|NEW|PREVIOUS|CURRENT|PRIMARY|SECONDARY|LIVE|PROD|TEST|DEV|HEX|BASE64))?"
    r"_?\d*\Z"
)
# Variables of shells, which have the current folder and the one before.
_FOLDERS = frozenset({"PWD", "OLDPWD"})
_MIN_KNOWN = 8
# The least number of characters of a value that consists of words, or of digits.
_MIN_WORDS = 13
_MIN_DIGITS = 16
_MIN_DIFFERENT = 5
_WORDS = r"[A-Za-z]+(?:[-_./: ]+[A-Za-z]+)*"


def looks_secret(name: object) -> bool:
    """Return whether `name` looks like the name of a secret."""
    return isinstance(name, str) and _compiled(_SENSITIVE_NAME).search(name) is not None


def mask_text(text: str) -> str:
    """Return a message without the known secrets, without passwords in URLs and private keys, and
    without what `password=...` and the like assign.
    """
    text = mask_known(text)
    if "://" in text and "@" in text:
        text = _compiled(_URL_CREDENTIALS).sub(rf"\1{MASK}@", text)
        text = _compiled(_URL_USER).sub(rf"\1{MASK}@", text)
    if ("=" in text or ":" in text) and _names_secret(text):
        text = _compiled(_QUERY).sub(_mask_parameter, text)
        text = _compiled(_ASSIGNED).sub(rf"\1{MASK}", text)
        text = _compiled(_LITERAL).sub(rf"\1\2{MASK}\2", text)
        text = _compiled(_HEADER).sub(rf"\1{MASK}", text)
        text = _compiled(_AUTHORIZATION).sub(rf"\1{MASK}", text)
    if "-----BEGIN " in text:
        text = _compiled(_PEM).sub(rf"\1{MASK}", text)
    return text


def _names_secret(text: str) -> bool:
    # PERF: the patterns take 20 us for a line of 150 characters, this takes 0.3 us.
    low = text.lower()
    return (
        "key" in low
        or "secret" in low
        or "token" in low
        or "pass" in low
        or "pwd" in low
        or "sig" in low
        or "authorization" in low
    )


def _mask_parameter(found: re.Match[str]) -> str:
    is_secret = _compiled(_QUERY_NAME).search(found[2])
    return f"{found[1]}{MASK}" if is_secret else found[0]


def mask_known(text: str) -> str:
    """Return a message without the known secrets."""
    for secret in known_secrets():
        if secret in text:
            text = text.replace(secret, MASK)
    return text


def known_secrets() -> tuple[str, ...]:
    """Return the texts that `mask_known` masks, longest first."""
    snapshot = _Snapshot.current
    if snapshot.texts is not None and snapshot.is_current():
        return snapshot.texts
    if snapshot.texts is not None:
        note_secret_change()
    return _find_known()


def masked(value: t.Any, name: object = None) -> t.Any:
    """Return a copy of `value` in which secrets are masked at any depth.

    None, booleans, time spans and empty values are shown even if their name is that of a secret:
    people need to see that a key is missing, that `JSON_SORT_KEYS` is on, and how long a token is
    valid.
    """
    return _masked(value, looks_secret(name), (), declared_secrets(value))


def _masked(
    value: t.Any, secret: bool, inside: tuple[int, ...], declared: t.Collection[str] = ()
) -> t.Any:
    if secret and not (isinstance(value, (bool, timedelta)) or _is_empty(value)):
        return MASK
    if isinstance(value, str):
        return _mask_setting(value)
    if isinstance(value, bytes):
        return _mask_setting(value.decode("latin-1")).encode("latin-1")
    if id(value) in inside:
        return Ellipsis
    inside = (*inside, id(value))
    if isinstance(value, cabc.Mapping):
        return {
            key: _masked(inner, key in declared or looks_secret(key), inside)
            for key, inner in value.items()
        }
    # A subclass, such as a named tuple, is copied to its built-in base type, because its
    # constructor may take other arguments.
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return kind([_masked(inner, False, inside) for inner in value])
    return value


def _mask_setting(text: str) -> str:
    text = mask_text(text)
    return _compiled(_PAIR).sub(rf"\1{MASK}", text) if "=" in text else text


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, (str, bytes, cabc.Sized)) and not len(value))


# --- known secrets --------------------------------------------------------------------------------


class _Snapshot:
    """The texts to mask, longest first; None until they are found. Each change of a secret begins a
    new snapshot, so that a thread that has read the old values cannot keep them for the new ones.
    """

    current: t.ClassVar[_Snapshot]
    texts: tuple[str, ...] | None = None

    def __init__(self) -> None:
        self._last = _last_of_environ()
        self._size = len(_environ)
        self._variables: list[tuple[t.Any, t.Any]] = []
        self._containers: list[tuple[t.Any, int, t.Callable[[], t.Any], list[t.Any]]] = []

    def is_current(self) -> bool:
        """Return whether `os.environ`, and the lists and dicts of configs that contain secrets, are
        as they were: a change of them calls no code of carboy.

        PERF: 0.3 us, however large the environment is. A new variable is the last one.
        """
        if len(_environ) != self._size or _last_of_environ() != self._last:
            return False
        for name, value in self._variables:
            if _environ.get(name) is not value:
                return False
        for container, size, read, members in self._containers:
            # `list`, because other threads may change the container meanwhile.
            if len(container) != size or not all(map(is_, list(read()), members)):
                return False
        return True

    def watch_variables(self, names: cabc.Iterable[str]) -> None:
        keys = [os.environ.encodekey(name) for name in names]
        self._variables = [(key, _environ.get(key)) for key in keys]

    def watch_container(self, container: t.Any, *, with_members: bool) -> None:
        """Let `is_current` compare the size of a container and, if it contains secrets, its
        members.
        """
        read = container.__iter__
        if not with_members:
            read = ().__iter__
        elif isinstance(container, cabc.Mapping):
            read = container.values
        self._containers.append((container, len(container), read, list(read())))


# The dict in `os.environ`, which is much faster.
_environ: dict[t.Any, t.Any] = getattr(os.environ, "_data", {})


def _last_of_environ() -> object:
    try:
        return next(reversed(_environ), None)
    except RuntimeError:  # another thread has just set or removed a variable
        return object()


_Snapshot.current = _Snapshot()
# Configs are referred to weakly: a test suite creates thousands. A dict cannot be in a `WeakSet`.
_configs: dict[int, weakref.ref[cabc.Mapping[str, t.Any]]] = {}
# Secrets in configuration files that have failed, so that no config contains them.
_of_failed_files: set[str] = set()


def watch(config: cabc.Mapping[str, t.Any]) -> None:
    """Let `mask_text` mask the secrets of a config, as long as the config exists."""
    number = id(config)
    _configs[number] = weakref.ref(config, lambda _: _configs.pop(number, None))
    note_secret_change()


def watch_failed_file(path: str, exc: BaseException) -> None:
    """Let `mask_text` mask the secrets of a Python file for configuration that has raised an
    exception: its text may contain them.

    Known are the values of upper-case names in the frames of the file, of files beside it, and in
    the classes there.
    """
    folder = os.path.join(os.path.dirname(os.path.abspath(path)), "")
    for frame, _ in traceback.walk_tb(exc.__traceback__):
        file = os.path.abspath(frame.f_code.co_filename)
        if file.startswith(folder) and "site-packages" not in file:
            for names in (frame.f_globals, frame.f_locals):
                _collect_upper_case(names, _of_failed_files)
    note_secret_change()


def _collect_upper_case(names: cabc.Mapping[str, t.Any], found: set[str]) -> None:
    for name, value in list(names.items()):
        if name.isupper():
            found.update(_texts_in(value, name))
        elif isinstance(value, type):
            for inner in filter(str.isupper, vars(value)):
                found.update(_texts_in(vars(value)[inner], inner))


def _texts_in(value: object, name: str) -> set[str]:
    found = set[str]()
    _collect(value, _names_known(name), found, _Snapshot(), ())
    return found


def note_secret_change() -> None:
    """Let the next call of `mask_text` find the known secrets again. Call this after the change."""
    _Snapshot.current = _Snapshot()


def _find_known() -> tuple[str, ...]:
    snapshot = _Snapshot.current
    found = set(_of_failed_files)
    # PERF: reading all values of `os.environ` would take three times as long as all else here.
    names = [name for name in os.environ if _names_known(name) and name not in _FOLDERS]
    snapshot.watch_variables(names)
    _collect(tuple(map(os.environ.get, names)), True, found, snapshot, ())
    for config in [ref() for ref in list(_configs.values())]:
        if config is not None:
            _collect(config, False, found, snapshot, (), declared_secrets(config))
    snapshot.texts = tuple(sorted(found, key=len, reverse=True))
    return snapshot.texts


def declared_secrets(config: object) -> t.Collection[str]:
    """Return the keys that the project of a config declares as secrets, whatever their names."""
    return getattr(getattr(config, "project", None), "secrets", ())


def _collect(
    value: object,
    secret: bool,
    found: set[str],
    snapshot: _Snapshot,
    inside: tuple[int, ...],
    declared: t.Collection[str] = (),
) -> None:
    """Add to `found` the known secrets in a value, at any depth, and let the snapshot watch the
    containers of secrets.

    Args:
        secret: the value has the name of a secret, or is inside of one.
        declared: names of secrets in a mapping, beside those that look like it.
    """
    if isinstance(value, (str, bytes, bytearray)):
        if secret:
            found.update(_appearances(value))
        return
    if id(value) in inside:
        return
    deeper = (*inside, id(value))
    if isinstance(value, cabc.Mapping):
        # A copy, because other threads may change the config meanwhile.
        items = list(value.items())
        secrets = {n for n, _ in items if secret or n in declared or _names_known(n)}
        # A config itself tells of its changes. Of dicts in dicts only those that contain secrets
        # are watched, because there may be thousands.
        if inside and (secrets or len(inside) == 1):
            snapshot.watch_container(value, with_members=bool(secrets))
        for name, inner in items:
            _collect(inner, name in secrets, found, snapshot, deeper)
    elif isinstance(value, (list, tuple, set, frozenset)):
        if secret and isinstance(value, (list, set)):
            snapshot.watch_container(value, with_members=True)
        for inner in list(value):
            _collect(inner, secret, found, snapshot, deeper)


@lru_cache(1024)
def _names_known(name: object) -> bool:
    return isinstance(name, str) and _compiled(_KNOWN_NAME).search(name) is not None


def _appearances(value: str | bytes | bytearray) -> cabc.Iterator[str]:
    """Return the forms in which a secret may stand in a text: as it is, and as Python, JSON, HTML
    and URLs write it. Forms that ordinary text may contain are left out.
    """
    if isinstance(value, str):
        text, data = value, value.encode("utf-8", "surrogatepass")
    else:
        text, data = value.decode("utf-8", "backslashreplace"), bytes(value)
    forms = (
        text,
        repr(text)[1:-1],
        repr(data)[2:-1],
        json.dumps(text)[1:-1],
        html.escape(text),
        quote(data, safe=""),
    )
    return filter(is_distinctive, forms)


def is_distinctive(text: str) -> bool:
    """Return whether a text is so long and unusual that ordinary text does not contain it."""
    if len(text) < _MIN_KNOWN or len(set(text)) < _MIN_DIFFERENT:
        return False
    if text.isdecimal():
        return len(text) >= _MIN_DIGITS
    return len(text) >= _MIN_WORDS or not _compiled(_WORDS).fullmatch(text)
