"""The API keys of an app: those of its configuration, and those of a file that may change.

The file is read again when it has changed, at most once per `CHECK_S`, so that a key that is
revoked by `carboy keys revoke` is refused in every worker without a restart. If the file cannot be
read any more, none of its keys is valid: a key that was revoked must not stay valid because of a
damaged file.
"""

from __future__ import annotations

import errno
import hmac
import json
import logging
import os
import stat
import typing as t
from _thread import allocate_lock
from datetime import UTC, datetime
from time import monotonic

from carboy.core.bytesizes import format_size
from carboy.errors import ConfigError

from .apikey import ApiKey, keys_of
from .keytext import digest_of, id_of
from .notices import logger
from .seenfiles import seen

if t.TYPE_CHECKING:
    from collections import abc as cabc

#: How many seconds the change of a file takes to be noticed.
CHECK_S: t.Final = 1.0
FILE_FORMAT: t.Final = 1
# Some 50,000 keys.
_MAX_BYTES: t.Final = 16 * 1024 * 1024
# What these errors say is about the process or the device, and not about the file.
_OF_THIS_PROCESS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EINTR}
# A key that is not known is compared with this digest, so that it takes as long to refuse as one
# whose secret is wrong.
_NO_DIGEST = digest_of("")


class KeyStore:
    """Finds the key that a client has sent. Thread-safe.

    Args:
        listed: the keys of the configuration, by id.
        path: the file; it need not exist.
        required: whether the app needs keys although none exists: the configuration names a file.

    Attributes:
        closed: whether models that declare nothing need a key: because keys exist, also if all of
            them are revoked or expired. Once true it stays true, so that a file that is removed
            opens nothing.
        due_s: when the file is to be looked at again, on the clock of `time.monotonic`.
    """

    def __init__(
        self, listed: cabc.Mapping[str, ApiKey], path: str, *, required: bool = False
    ) -> None:
        self.path = path
        self._was_there = path in seen.files
        self.closed = required or bool(listed) or self._was_there
        self.due_s = 0.0
        self._required = required
        self._listed = listed
        self._by_id: cabc.Mapping[str, ApiKey] = listed
        self._seen: object = None
        self._failed: object = None
        self._lock = allocate_lock()
        # A file that cannot be read is an error of the configuration when the app starts.
        self._follow(read_keys(path, missing={}))

    @property
    def is_closed_by_file_alone(self) -> bool:
        """Whether models that declare nothing need a key only because a file exists that the
        configuration does not name.
        """
        return self.closed and not (self._required or self._listed)

    def find(self, sent: str) -> ApiKey | None:
        """Return the key that a client has sent; None if it is not known, or not valid now."""
        self.refresh()
        public_id = id_of(sent)
        key = None if public_id is None else self._by_id.get(public_id)
        digest = _NO_DIGEST if key is None else key.digest
        # The time of this comparison does not tell how many characters are right.
        is_same = hmac.compare_digest(digest_of(sent), digest)
        return key if key is not None and is_same and key.is_valid(datetime.now(UTC)) else None

    def refresh(self) -> None:
        """Read the file again if it has changed since it was last looked at."""
        if monotonic() < self.due_s or not self._lock.acquire(blocking=False):
            return
        try:
            self._read_if_changed()
        finally:
            self._lock.release()

    def all_keys(self) -> cabc.Collection[ApiKey]:
        """Return all keys, also those that are no longer valid."""
        self.refresh()
        return self._by_id.values()

    def _read_if_changed(self) -> None:
        self.due_s = monotonic() + CHECK_S
        state = _state(self.path)
        if state == self._seen:
            return
        try:
            found = read_keys(self.path, missing={})
        except Exception as exc:  # noqa: BLE001 - whatever it is, the keys are not known
            self._fail(exc, state)
            return
        self._follow(found)
        self._seen, self._failed = state, None

    def _fail(self, exc: Exception, state: object) -> None:
        """Refuse the keys of a file that cannot be read, and try again at the next look."""
        cause = exc.__cause__
        if isinstance(cause, OSError) and cause.errno in _OF_THIS_PROCESS:
            return  # the file may be as it was: nothing was revoked
        self._follow({})
        self._seen = None
        if self._failed != state:  # once for each change of the file
            self._failed = state
            logger.error(
                "%s Until it can be read, its keys are refused.", exc, exc_info=_cause(exc)
            )

    def _follow(self, found: cabc.Mapping[str, ApiKey]) -> None:
        self._by_id = {**found, **self._listed}
        is_there = os.path.lexists(self.path)
        self.closed = self.closed or is_there
        if is_there and not self._was_there:
            self._was_there = True
            seen.tell(self.path)
        elif self._was_there and not is_there:
            logger.error(
                "The file of API keys %r was removed. Its keys are refused until it is back.",
                self.path,
            )


def no_file(path: str) -> ConfigError:
    """Return the error for a file of API keys that does not exist."""
    return ConfigError(
        f"There is no file of API keys {path!r}. Make a key, with which it begins: carboy keys"
        " new NAME"
    )


def read_keys(path: str, *, missing: dict[str, ApiKey] | None = None) -> dict[str, ApiKey]:
    """Return the keys of a file, by id.

    Args:
        missing: what to return if there is no file; None to raise an error.

    Raises:
        ConfigError: the file cannot be read, or is not one of keys.
    """
    try:
        content = _read_json(path)
    except FileNotFoundError:
        if missing is not None:
            return missing
        raise no_file(path) from None
    is_known = isinstance(content, dict) and content.get("format") == FILE_FORMAT
    if not is_known or not isinstance(content.get("keys"), list):
        raise ConfigError(
            f"The file {path!r} is not one of API keys: expected a JSON object with 'format'"
            f" {FILE_FORMAT} and a list 'keys', as `carboy keys new` writes it."
        )
    try:
        return keys_of(content["keys"])
    except ValueError as exc:
        raise ConfigError(f"The file of API keys {path!r}: {exc}") from None


def _read_json(path: str) -> t.Any:
    """Return the content of a file of keys. Raises FileNotFoundError, or ConfigError if the file
    cannot be read.
    """
    try:
        with open(path, encoding="utf-8", opener=_open_at_once) as file:
            _check_file(path, os.fstat(file.fileno()))
            return json.load(file)
    except (ConfigError, FileNotFoundError):
        raise
    except OSError as exc:
        raise ConfigError(
            f"The API keys in {path!r} cannot be read: {exc.strerror}. The user who runs the server"
            " must be able to read it."
        ) from exc
    except (ValueError, RecursionError) as exc:
        raise ConfigError(
            f"The file of API keys {path!r} is no JSON: {exc}. Restore it from a backup; or remove"
            " it, and make new keys: carboy keys new NAME"
        ) from exc


def to_text(keys: cabc.Iterable[ApiKey]) -> str:
    """Return the content of a file with these keys."""
    content = {"format": FILE_FORMAT, "keys": [key.to_record() for key in keys]}
    return json.dumps(content, indent=2) + "\n"


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting, as for the writer of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_file(path: str, found: os.stat_result) -> None:
    """Refuse what is no file of keys, and one that others may write to: they could add a key."""
    if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_BYTES:
        raise ConfigError(
            f"{path!r} is no file of API keys: expected a regular file of at most"
            f" {format_size(_MAX_BYTES)}."
        )
    if os.name == "posix" and found.st_mode & 0o022:
        raise ConfigError(
            f"Other users may write to the file of API keys {path!r} (mode"
            f" {found.st_mode & 0o777:o}), and so let themselves in. Set its mode: chmod 600 {path}"
        )


def _state(path: str) -> object:
    """Return a value that differs when the file is another one, or has changed."""
    try:
        found = os.stat(path)
    except OSError as exc:
        return exc.errno
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode, found.st_uid


def _cause(exc: BaseException) -> BaseException | None:
    return exc.__cause__ if logger.isEnabledFor(logging.DEBUG) else None


def listed_keys(value: object, where: str) -> dict[str, ApiKey]:
    """Return the keys that a value of the configuration has, by id.

    Args:
        value: a list of records, as `carboy keys new` writes them; the same as JSON; or texts
            `NAME=KEY`, separated by commas.
        where: what has the value, for error messages.

    Raises:
        ConfigError: the value is not valid, or has no key. Its text does not contain the keys.
    """
    try:
        found = keys_of(_records(value))
    except ValueError as exc:
        raise ConfigError(f"{where}: {exc}") from None
    if not found:
        # As from an environment variable that gets its value from a secret which does not exist.
        raise ConfigError(
            f"{where}: expected at least one key, because models are open to everybody without one."
            " Set it to what `carboy keys new NAME --print` prints, or do not set it."
        )
    return found


def check_value(key: str, value: t.Any, source: str) -> None:
    """Refuse a value of the config key ACCESS_KEYS that is not valid.

    Raises:
        ConfigError: the value is not valid.
    """
    listed_keys(value, f"{key} from {source}")


def _records(value: object) -> list[object]:
    if isinstance(value, str):
        if value.lstrip()[:1] not in ("[", "{"):
            return [_named(part) for part in value.split(",") if part.strip()]
        try:
            value = json.loads(value)
        except ValueError as exc:
            raise ValueError(f"The JSON is not valid: {exc}.") from None
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, (list, tuple)):
        raise ValueError(  # noqa: TRY004 - as for each other mistake in the value
            "Expected a list of keys, as JSON or as texts NAME=KEY with commas between them."
        )
    return [_named(each) if isinstance(each, str) else each for each in value]


def _named(text: str) -> ApiKey:
    name, separator, key = text.strip().partition("=")
    if not separator:
        raise ValueError("Expected NAME=KEY for each key, such as phone=carboy_...")
    return ApiKey.from_text(name.strip(), key.strip())
