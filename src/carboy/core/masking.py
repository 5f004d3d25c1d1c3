"""Mask secrets in output for people: printed configuration, logs, error pages.

`masked` is for configuration: it masks a value if the name of the value looks like the name of a
secret. In doubt it masks: people can look a masked value up in its source, but a printed key is
compromised.

`mask_text` is for messages and tracebacks, which must stay readable. It masks the known secrets
wherever they stand in the text, and what can hardly be anything else than a secret, such as the
password in a URL. The known secrets are the values of secrets in all configs and in the
environment variables of the process, the passwords in their URLs, and API keys of carboy, which are
known by their form. Values that ordinary text may contain, such as "dev" or "12345678", do not
count.

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
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache, partial
from operator import is_
from types import MappingProxyType
from urllib.parse import quote, unquote

from .keyform import PREFIX, PUBLIC_PART, SECRET_PART
from .objectfields import field_names, field_values

MASK = "********"

# Each pattern below is compiled when it is first used, because compiling all of them would make the
# import of this module slow. In each pattern, a repetition is bounded, or begins where no other
# repetition can begin. Without this, a long text, which a client may send, could take seconds.
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
    r"[a-z][a-z0-9+.\-]{0,30}://[^\s:/@?#]{0,250}:)(\S{0,1000})@"
)
# Matches the token in https://token@host, as git and Sentry use. With other schemes, a single name
# before the @ is a user name.
_URL_USER = r"(?i)(https?://)[^\s/?#@:]{1,1000}@"
# Matches `key=value` in the query of a URL. The second group is the name before the "=".
_QUERY = r"([?&]([\w-]{1,80})=)[^\s;&#'\"<>)]+"
_QUERY_NAME = (
    r"(?i)key(?!word|board)|secret|token(?!iz)|passw(?:or)?d|passphrase|pwd"
    r"|(?<![a-z])sign?(?:ature)?(?![a-z])"
)
# Matches `password=value` and `api_key=value` in a message. `key=value` and `token=value` are not
# matched, because in prose and code they seldom hold secrets: `sorted(rows, key=len)`.
_ASSIGNED = (
    r"(?i)((?:secret|passw(?:or)?d|passphrase|pwd|(?:api|access|private|account)[_-]?key"
    r"|(?:api|access|auth|refresh)[_-]?token)[\w-]{0,40}=)[^\s;&,'\"()<>]+"
)
# Matches `password: value` without quotes, as in YAML and in headers. A value of letters alone is
# not matched, because in prose words follow a colon: "Invalid password: too short".
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
# Matches the assignment of a secret in a line of source code, as tracebacks show it:
# `app.config["SECRET_KEY"] = "x"`. The closing quote may be missing, as in the line of a
# SyntaxError. The quotes may be HTML entities, as on an error page.
_LITERAL = (
    r"(?i)((?:secret|passw(?:or)?d|passphrase|token(?!iz)|(?:api|access|private)_?key)\w{0,40}"
    r"(?:[\"']|&#?\w{1,5};)?\]?\s{0,8}[=:]\s{0,8}[rbfu]{0,2})"
    r"([\"']|&quot;|&#34;|&#39;|&#x27;)(?:(?!\2)[^\\\n]|\\.)+\2?"
)
_PEM = r"(?s)(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"

# API keys are known by their form, because the server itself has only their hashes.
_API_KEY = f"({PUBLIC_PART}){SECRET_PART}"

# Matches names whose values are known secrets. They end with a word such as KEY or PASSWORD. Names
# with such a word in the middle are not matched, because their values occur in ordinary text:
# `SECURITY_PASSWORD_HASH` ("argon2"), `SSL_KEY_FILE` (a path).
_KNOWN_NAME = (
    r"(?i)(?:KEY|SECRET|TOKEN|PASSW(?:OR)?D|PASSPHRASE|CREDENTIAL|PRIVATE|PEPPER|SALT"
    r"|(?<![A-Z0-9])(?:PWD|DSN|PASS))S?"
    r"(?:_?(?:FALLBACKS|OLD|NEW|PREVIOUS|CURRENT|PRIMARY|SECONDARY|LIVE|PROD|TEST|DEV|HEX|BASE64))?"
    r"_?\d*\Z"
)
# Shells set these environment variables to the current and the previous folder. Here PWD does not
# mean "password".
_FOLDERS = frozenset({"PWD", "OLDPWD"})
# Objects with fields may refer to each other in any way. So many of them, inside each other, are
# shown; and those inside fewer containers are searched for secrets.
_DEEPEST_OBJECT, _DEEPEST = 4, 50
# The classes whose instances may be empty. The `__len__` of other objects may be slow, or raise an
# exception.
_SIZED = (str, bytes, bytearray, list, tuple, set, frozenset, dict, MappingProxyType)
_MIN_KNOWN = 8
# A value of words alone with fewer characters than `_MIN_WORDS`, or of digits alone with fewer than
# `_MIN_DIGITS`, does not count as a known secret, because ordinary text may contain it.
_MIN_WORDS = 13
_MIN_DIGITS = 16
_MIN_DIFFERENT = 5
_WORDS = r"[A-Za-z]+(?:[-_./: ]+[A-Za-z]+)*"


def looks_secret(name: object) -> bool:
    """Return whether `name` looks like the name of a secret, such as "API_KEY" or "dbPassword"."""
    return isinstance(name, str) and _compiled(_SENSITIVE_NAME).search(name) is not None


def mask_text(text: str) -> str:
    """Return a text in which these are masked: the known secrets, passwords in URLs, private keys,
    and the values in `password=...`, `api_key: ...` and the like.
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
    # PERF: for a line of 150 characters, these comparisons take 0.3 us. The patterns, which are
    # tried only if a word is found, take 20 us.
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
    """Return a text in which the known secrets are masked."""
    for secret in known_secrets():
        if secret in text:
            text = text.replace(secret, MASK)
    if PREFIX in text:
        text = _compiled(_API_KEY).sub(rf"\1{MASK}", text)
    return text


def known_secrets() -> tuple[str, ...]:
    """Return the secrets of all configs and of the environment, in all forms in which a text may
    contain them, longest first.
    """
    snapshot = _Snapshot.current
    if snapshot.texts is not None and snapshot.is_current():
        return snapshot.texts
    if snapshot.texts is not None:
        note_secret_change()
    return _find_known()


def masked(value: t.Any, name: object = None, *, opens_objects: bool = True) -> t.Any:
    """Return a copy of `value` in which secrets are masked at any depth. An object with fields,
    such as a dataclass, becomes a dict of them.

    Args:
        value: a value of a configuration.
        name: its name.
        opens_objects: whether objects with fields become dicts; else they are left as they are.

    None, booleans, time spans and empty values are shown even if they have the name of a secret,
    because they are none: people need to see that a key is missing, that `JSON_SORT_KEYS` is on,
    and how long a token is valid.
    """
    depth = _DEEPEST_OBJECT if opens_objects else None
    return _masked(value, looks_secret(name), (), depth, declared_secrets(value))


def _masked(
    value: t.Any,
    secret: bool,
    inside: tuple[int, ...],
    depth: int | None,
    declared: t.Collection[str] = (),
) -> t.Any:
    """Return what `masked` returns.

    Args:
        depth: how many objects with fields may be inside each other; None if they are left as they
            are.
    """
    if secret and not (isinstance(value, (bool, timedelta)) or _is_empty(value)):
        return MASK
    if isinstance(value, str):
        return _mask_setting(value)
    if isinstance(value, bytes):
        return _mask_setting(value.decode("latin-1")).encode("latin-1")
    if id(value) in inside:
        return Ellipsis
    inside = (*inside, id(value))
    items = _named(value, opens_objects=depth is not None)
    if items is not None:
        if depth is not None and not isinstance(value, cabc.Mapping):
            if not depth:
                return Ellipsis
            depth -= 1
        declared = declared or secret_fields_of(type(value))
        return {
            key: _masked(inner, key in declared or looks_secret(key), inside, depth)
            for key, inner in items
        }
    # A subclass of list, tuple or set becomes a plain list, tuple or set, because the constructor
    # of the subclass may take other arguments.
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            copies = [_masked(inner, False, inside, depth) for inner in value]
            try:
                return kind(copies)
            except TypeError:  # an object in a set has become a dict, which no set can contain
                return copies
    return value


def _mask_setting(text: str) -> str:
    text = mask_text(text)
    return _compiled(_PAIR).sub(rf"\1{MASK}", text) if "=" in text else text


def _named(value: object, *, opens_objects: bool = True) -> list[tuple[t.Any, t.Any]] | None:
    """Return the items of a dict, or the fields of an object, with their names; None for any other
    value. The list is a copy, because other threads may change a config meanwhile.
    """
    if isinstance(value, cabc.Mapping):
        return list(value.items())
    names = field_names(type(value)) if opens_objects else None
    return None if names is None else list(field_values(value, names).items())


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, _SIZED) and not len(value))


# --- known secrets --------------------------------------------------------------------------------


class _Snapshot:
    """The known secrets, and what is needed to notice that one of them has changed.

    Each change of a secret creates a new snapshot. So a thread that is still collecting the old
    values stores them in the old snapshot, which is no longer used.

    Attributes:
        current: the snapshot that is in use.
        texts: the texts to mask, longest first; None until `_find_known` has collected them.
    """

    current: t.ClassVar[_Snapshot]
    texts: tuple[str, ...] | None = None

    def __init__(self) -> None:
        self._last = _last_of_environ()
        self._size = len(_environ)
        self._variables: list[tuple[t.Any, t.Any]] = []
        self._containers: list[tuple[t.Any, int, t.Callable[[], t.Any], list[t.Any]]] = []

    def is_current(self) -> bool:
        """Return whether `os.environ`, and the lists and dicts in configs that contain secrets, are
        the same as when this snapshot was made. They must be compared, because changing them calls
        no code of carboy.

        PERF: 0.3 us, however large the environment is: a new variable is always the last one in it.
        """
        if len(_environ) != self._size or _last_of_environ() != self._last:
            return False
        for name, value in self._variables:
            if _environ.get(name) is not value:
                return False
        try:
            for container, size, read, members in self._containers:
                # `list` copies the members first, because other threads may change the container.
                if len(container) != size or not all(map(is_, list(read()), members)):
                    return False
        except Exception:  # noqa: BLE001  # code of a container fails, such as a closed database
            return False
        return True

    def watch_variables(self, names: cabc.Iterable[str]) -> None:
        keys = [os.environ.encodekey(name) for name in names]
        self._variables = [(key, _environ.get(key)) for key in keys]

    def watch_container(self, container: t.Any, *, with_members: bool) -> None:
        """Let `is_current` notice changes of a list, set, dict or object with fields in a config.

        Args:
            container: the list, set, dict or object.
            with_members: whether it contains secrets, so that its members are compared, too. If
                not, only its size is compared.
        """
        names = field_names(type(container))
        read: t.Callable[[], cabc.Iterable[t.Any]]
        if not with_members:
            read = ().__iter__
        elif isinstance(container, cabc.Mapping):
            read = container.values
        elif names is not None:
            read = partial(_values_of, container, names)
        else:
            read = container.__iter__
        # The number of an object's fields is fixed, and its `__len__` would be code of its class,
        # unless it is a dict, list or set as well.
        sized = container if names is None or isinstance(container, _SIZED) else ()
        self._containers.append((sized, len(sized), read, list(read())))


def _values_of(value: object, names: tuple[str, ...]) -> list[t.Any]:
    stored = field_values(value, names)
    return [stored.get(name) for name in names]


# The dict inside of `os.environ`, because reading it is much faster than reading `os.environ`.
_environ: dict[t.Any, t.Any] = getattr(os.environ, "_data", {})


def _last_of_environ() -> object:
    try:
        return next(reversed(_environ), None)
    except RuntimeError:  # another thread has set or removed a variable during the iteration
        return object()


_Snapshot.current = _Snapshot()
# All configs that exist, by `id`. The references are weak, so that the thousands of configs of a
# test suite do not stay in memory. (A config is a dict, which no `WeakSet` can contain.)
_configs: dict[int, weakref.ref[cabc.Mapping[str, t.Any]]] = {}
# The fields that classes declare as secrets.
_secret_fields = weakref.WeakKeyDictionary[type, frozenset[str]]()
# The secrets in Python files for configuration that have raised an exception. No config contains
# them, but the traceback may.
_of_failed_files: set[str] = set()


def watch(config: cabc.Mapping[str, t.Any]) -> None:
    """Let `mask_text` mask the secrets of a config, as long as the config exists."""
    number = id(config)
    _configs[number] = weakref.ref(config, lambda _: _configs.pop(number, None))
    note_secret_change()


def watch_failed_file(path: str, exc: BaseException) -> None:
    """Let `mask_text` mask the secrets of a Python file for configuration that has raised an
    exception, because the traceback may contain them.

    The secrets are looked for in the traceback's frames: in variables with upper-case names, and in
    upper-case attributes of classes, of this file and of other files in its folder.
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
    _collect(value, names_known_secret(name), _Search(_Snapshot(), found))
    return found


def note_secret_change() -> None:
    """Let the next call of `mask_text` collect the known secrets again.

    Call this after a secret has changed, not before: `mask_text` in another thread could collect
    the old value in between.
    """
    _Snapshot.current = _Snapshot()


class _Search:
    """One search for secrets, by one thread. (Several threads may search for the same snapshot.)

    Attributes:
        snapshot: notices changes of the containers.
        found: the forms of the secrets, in which a text may contain them.
    """

    def __init__(self, snapshot: _Snapshot, found: set[str]) -> None:
        self.snapshot = snapshot
        self.found = found
        # The objects with fields that were looked at, by their ids, and by whether all that they
        # contain was taken for secret. The objects are kept, so that no other one gets such an id.
        self._seen: dict[tuple[int, bool], object] = {}

    def has_seen(self, value: object, secret: bool, depth: int) -> bool:
        """Return whether an object with fields need not be looked at: it was, or it is too deep.
        Other containers are looked at again.
        """
        if isinstance(value, (cabc.Mapping, list, set)) or field_names(type(value)) is None:
            return False
        key = id(value), secret
        if key in self._seen or depth > _DEEPEST:
            return True
        self._seen[key] = value
        return False


def _find_known() -> tuple[str, ...]:
    snapshot = _Snapshot.current
    found = set(_of_failed_files)
    search = _Search(snapshot, found)
    # PERF: only the values of secrets are read. Reading all values of `os.environ` would take three
    # times as long as all other statements of this function.
    names = [name for name in os.environ if names_known_secret(name) and name not in _FOLDERS]
    with_urls = _variables_with_urls()
    snapshot.watch_variables((*names, *with_urls))
    _collect(tuple(map(os.environ.get, names)), True, search)
    _collect(tuple(map(os.environ.get, with_urls)), False, search)
    for config in [ref() for ref in list(_configs.values())]:
        if config is not None:
            _collect(config, False, search, (), declared_secrets(config))
    snapshot.texts = tuple(sorted(found, key=len, reverse=True))
    return snapshot.texts


def _variables_with_urls() -> list[str]:
    """Return the names of the environment variables whose values may have a URL with a password,
    such as DATABASE_URL.
    """
    at, scheme = os.environ.encodevalue("@"), os.environ.encodevalue("://")
    return [
        os.environ.decodekey(name)
        for name, value in list(_environ.items())
        if at in value and scheme in value
    ]


def _passwords_in(text: str) -> cabc.Iterator[str]:
    """Yield the passwords of the URLs in a text, as they are and decoded: drivers write either into
    their messages. Several URLs may be separated by commas, and a password may contain a comma.
    """
    if "://" not in text or "@" not in text:
        return
    for part in {text, *text.split(",")}:
        for found in _compiled(_URL_CREDENTIALS).finditer(part):
            yield found[2]
            yield unquote(found[2])


def declared_secrets(config: object) -> t.Collection[str]:
    """Return the config keys that the project of a config declares as secrets (by the type
    `Secret`), whatever their names look like; none if the config has no project.
    """
    return getattr(getattr(config, "project", None), "secrets", ())


def declare_secret_fields(owner: type, names: t.Collection[str]) -> None:
    """Declare fields of a class as secrets, whatever their names look like."""
    _secret_fields[owner] = frozenset(names)


def secret_fields_of(owner: type) -> t.Collection[str]:
    """Return the fields of a class that are declared as secrets, here or in a base class."""
    return {name for base in owner.__mro__ for name in _secret_fields.get(base, ())}


def _collect(
    value: object,
    secret: bool,
    search: _Search,
    inside: tuple[int, ...] = (),
    declared: t.Collection[str] = (),
) -> None:
    """Find all secrets in a value, at any depth, and let the snapshot notice changes of the lists,
    sets and dicts that contain them.

    Args:
        value: a text, or a list, dict, set or object with fields that may contain secrets.
        secret: whether the value has the name of a secret, or is contained in such a value. Of any
            other text, the passwords in its URLs are secrets.
        search: what the search has found so far.
        inside: the ids of the containers around the value, so that a container that contains itself
            ends the recursion.
        declared: if the value is a config, its keys that the project declares as secrets.
    """
    if isinstance(value, (str, bytes, bytearray)):
        if secret:
            search.found.update(_appearances(value))
        elif isinstance(value, str):
            for password in _passwords_in(value):
                search.found.update(_appearances(password))
        return
    if id(value) in inside or search.has_seen(value, secret, len(inside)):
        return
    # Code of a container may fail, such as that of a database that is closed. A log call does not.
    with suppress(Exception):
        _collect_members(value, secret, search, inside, declared)


def _collect_members(
    value: object,
    secret: bool,
    search: _Search,
    inside: tuple[int, ...],
    declared: t.Collection[str],
) -> None:
    deeper = (*inside, id(value))
    if (items := _named(value)) is not None:
        declared = declared or secret_fields_of(type(value))
        secrets = {n for n, _ in items if secret or n in declared or names_known_secret(n)}
        # A config itself is not watched, because each change of it calls `note_secret_change`. A
        # dict directly in a config is watched; a dict inside of such a dict only if it contains
        # secrets, because there may be thousands.
        if inside and (secrets or len(inside) == 1):
            search.snapshot.watch_container(value, with_members=bool(secrets))
        for name, inner in items:
            _collect(inner, name in secrets, search, deeper)
    elif isinstance(value, (list, tuple, set, frozenset)):
        if secret and isinstance(value, (list, set)):
            search.snapshot.watch_container(value, with_members=True)
        for inner in list(value):
            _collect(inner, secret, search, deeper)


@lru_cache(1024)
def names_known_secret(name: object) -> bool:
    """Return whether `name` ends as names of secrets do, such as "API_KEY" or "db_password1", so
    that its value is a secret, and not the path of a file with a secret.
    """
    return isinstance(name, str) and _compiled(_KNOWN_NAME).search(name) is not None


def _appearances(value: str | bytes | bytearray) -> cabc.Iterator[str]:
    """Yield the forms in which a text may contain a secret: as it is, and as Python, JSON, HTML and
    URLs write it. Forms that ordinary text may contain as well are left out.
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
