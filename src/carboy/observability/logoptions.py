"""The values of the keys `LOG_*`, checked and converted."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import string
import typing as t
from dataclasses import asdict, dataclass, field

from ..core.advice import did_you_mean
from ..core.bytesizes import parse_size
from ..core.statics import is_public
from ..errors import ConfigError
from .formatters import NAMED, STANDARD, make_formatter, style_of
from .keys import KEYS, GivenKey, find_key
from .logfile import descriptor_named_by

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..sansio.app import App

# By default, the log file and its backups take at most 60 MiB, so that a log that nobody looks
# after does not fill the disk.
DEFAULT_MAX_BYTES = 10 * 1024 * 1024
DEFAULT_BACKUP_COUNT = 5
# The smallest size for LOG_MAX_BYTES, except 0. A smaller file would hold only a few lines, so that
# a smaller value is probably a mistake, such as 10 for 10M.
LEAST_BYTES = 1024
_STDERR = 2
_FIELD = re.compile(r"%\((\w+)\)")
_WORD = re.compile(r"\w*")
# An unknown field in a format is taken for a misspelt one if its name is as similar as this to the
# name of a standard field, as "mesage" is to "message".
_MISSPELT = 0.85


@dataclass(frozen=True)
class LogOptions:
    """The options of the log, as the keys `LOG_*` set them.

    Attributes:
        level: the level of the root logger; None if it is not changed.
        file: the absolute path of the log file; None means stderr.
        format: the name of a format or a format of `logging.Formatter`; None means that the lines
            of `carboy serve` itself keep their format, and others are written as "text".
        max_bytes: the size at which the file is rotated; 0 for never.
        backup_count: how many rotated files are kept.
        levels: the levels of single loggers, by the names of the loggers.
    """

    level: int | None = None
    file: str | None = None
    format: str | None = None
    max_bytes: int = 0
    backup_count: int = DEFAULT_BACKUP_COUNT
    levels: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, t.Any]:
        return asdict(self)


def _refusal(
    given: GivenKey, expected: str, advice: str = "Correct it, or leave it out."
) -> ConfigError:
    return ConfigError(
        f"{given.key}: expected {expected}, got {given.value!r} from {given.source}. {advice}"
    )


def read_options(
    app: App | None, environ: cabc.Mapping[str, str] = os.environ
) -> LogOptions | None:
    """Return the options of the log that an app or the environment sets; None if none of the keys
    is set.

    Args:
        app: None for a WSGI application that is not a carboy app.
        environ: the environment variables.

    Raises:
        ConfigError: a value is not valid, or two values contradict each other.
    """
    found = {key: value for key in KEYS if (value := find_key(key, app, environ)) is not None}
    if not found:
        return None
    values = {key: _PARSERS[key](given) for key, given in found.items()}
    file = _locate_file(found["LOG_FILE"], values["LOG_FILE"], app) if "LOG_FILE" in found else None
    max_bytes, backup_count = _agreeing_rotation(found, values, file)
    return LogOptions(
        level=values.get("LOG_LEVEL"),
        file=file,
        format=values.get("LOG_FORMAT"),
        max_bytes=max_bytes,
        backup_count=backup_count,
        levels=values.get("LOG_LEVELS", {}),
    )


def check_value(key: str, value: t.Any, source: str) -> None:
    """Refuse a value that is not valid for its key. Whether it contradicts the values of other keys
    is not checked.

    Raises:
        ConfigError: the value is not valid.
    """
    _PARSERS[key](GivenKey(key, value, source))


# --- single values ----------------------------------------------------------------------------


def _parse_level(given: GivenKey) -> int:
    names = logging.getLevelNamesMapping()
    value = given.value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str):
        text = value.strip().upper()
        if text in names:
            return names[text]
        if text.isdecimal():
            return int(text)
    known = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    raise _refusal(
        given,
        f"one of {', '.join(known)}, or a number",
        f"Correct it, or leave it out.{did_you_mean(str(value).upper(), known)}",
    )


def _parse_levels(given: GivenKey) -> dict[str, int]:
    value = given.value
    if isinstance(value, str):
        value = _pairs(given, value)
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise _refusal(
            given,
            'the levels of loggers by name, such as {"sqlalchemy.engine": "WARNING"}, or as text'
            " sqlalchemy.engine=WARNING,shop=DEBUG",
        )
    return {
        name: _parse_level(GivenKey(f"LOG_LEVELS[{name!r}]", level, given.source))
        for name, level in value.items()
    }


def _pairs(given: GivenKey, text: str) -> t.Any:
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except ValueError:
            raise _refusal(given, 'a JSON object such as {"shop": "DEBUG"}') from None
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(equals for _, equals, _ in pairs):
        return None
    return {name.strip(): level.strip() for name, _, level in pairs}


def _parse_format(given: GivenKey) -> str:
    expected = (
        "'text', 'json', or a format of logging.Formatter such as"
        " '%(asctime)s :: %(levelname)s :: %(message)s'"
    )
    text = given.value
    if not isinstance(text, str):
        raise _refusal(given, expected)
    if text.strip().lower() in NAMED:
        return text.strip().lower()
    if "\n" in text or "\r" in text:
        raise _refusal(given, f"{expected} without line breaks, because a record is one line")
    try:
        style_of(text)
    except ValueError:
        raise _refusal(
            given, expected, f"Correct it, or leave it out.{did_you_mean(text, NAMED)}"
        ) from None
    for name in _fields_of(text) - STANDARD:
        if _is_misspelt(name):
            hint = did_you_mean(name, STANDARD)
            raise _refusal(given, expected, f"There is no field {name!r}.{hint}")
    _try_format(given, text, expected)
    return text


def _fields_of(text: str) -> set[str]:
    """Return the names of the fields in a format, in the style that it has."""
    style = style_of(text)
    if style == "%":
        return set(_FIELD.findall(text))
    if style == "$":
        return set(string.Template(text).get_identifiers())
    # A field may be followed by attributes and indexes: "{message.name[0]}".
    parsed = string.Formatter().parse(text)
    return {_WORD.match(name)[0] for _, name, _, _ in parsed if name}  # type: ignore[index]


def _try_format(given: GivenKey, text: str, expected: str) -> None:
    """Refuse a format that fails for a record, such as `%(message)d`, because a message is not a
    number.
    """
    record = logging.LogRecord("shop", logging.INFO, "app.py", 1, "message", None, None)
    try:
        make_formatter(text).format(record)
    except Exception as exc:  # noqa: BLE001  # a format of the style "{" may ask for any attribute
        raise _refusal(
            given,
            expected,
            f"A record cannot be written by it: {exc}. Write %(name)s with an s, which takes any"
            " value.",
        ) from None


def _is_misspelt(field_name: str) -> bool:
    """Return whether the name of a field in a format is probably a misspelt name of a standard
    field of `logging`. Other unknown names are allowed: the program may give such fields by
    `extra=`.
    """
    from difflib import get_close_matches

    return bool(get_close_matches(field_name, STANDARD, 1, _MISSPELT))


def _parse_path(given: GivenKey) -> str:
    if not isinstance(given.value, (str, os.PathLike)) or "\0" in os.fspath(given.value):
        raise _refusal(given, "the path of a file")
    return os.path.expanduser(os.fspath(given.value))


def _locate_file(given: GivenKey, path: str, app: App | None) -> str | None:
    """Return the absolute path of the log file; None if it names stderr, as /dev/stderr does."""
    project = getattr(app.config, "project", None) if app is not None else None
    folder = project.root if project is not None else os.getcwd()
    path = os.path.join(folder, path)
    if descriptor_named_by(path) == _STDERR:
        return None  # without a file, records go to stderr
    if app is not None and is_public(path, app):
        raise _refusal(
            given,
            "a file outside of the folder of static files, which clients can download",
            "Put it into a folder of its own, such as logs/app.log.",
        )
    # Rotation must rename the file, not a link to it.
    return path if is_device(path) else os.path.realpath(path)


def is_device(path: str) -> bool:
    """Return whether a path is that of a terminal, a pipe or another device, or a name of one of
    the process's own streams, which may be redirected to a file.
    """
    if descriptor_named_by(path) is not None:
        return True
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _agreeing_rotation(
    found: dict[str, GivenKey], values: dict[str, t.Any], file: str | None
) -> tuple[int, int]:
    """Return the size at which the log file is rotated and the number of its backups, after
    checking that they fit each other, and that a file with the path `file` can be rotated.
    """
    size, count = found.get("LOG_MAX_BYTES"), found.get("LOG_BACKUP_COUNT")
    max_bytes = values.get("LOG_MAX_BYTES", DEFAULT_MAX_BYTES)
    backup_count = values.get("LOG_BACKUP_COUNT", DEFAULT_BACKUP_COUNT)
    given = count or size
    if given is not None and file is None:
        raise _refusal(
            given,
            "LOG_FILE beside it, because only files are rotated",
            "Set LOG_FILE, or leave it out.",
        )
    if max_bytes and not backup_count:
        raise _refusal(
            t.cast("GivenKey", count),
            "at least 1, because without a backup a full file would have to be emptied",
            "Set it to 1 or more, or set LOG_MAX_BYTES to 0 for a file that is never rotated.",
        )
    if backup_count and count is not None and not max_bytes:
        raise _refusal(
            count,
            "LOG_MAX_BYTES above 0 beside it, because a file without a limit has no backups",
            "Set LOG_MAX_BYTES to a size such as 10M, or leave LOG_BACKUP_COUNT out.",
        )
    if file is None or is_device(file):
        if max_bytes and size is not None:
            raise _refusal(size, f"0, because {file} is a device, which cannot be rotated")
        max_bytes = 0
    return max_bytes, backup_count


def _parse_max_bytes(given: GivenKey) -> int:
    try:
        size_bytes = parse_size(str(given.value))
    except ValueError:
        size_bytes = -1
    if size_bytes < 0 or 0 < size_bytes < LEAST_BYTES or isinstance(given.value, bool):
        raise _refusal(given, "a size of at least 1K, such as 10M, or 0 for no rotation")
    return size_bytes


def _parse_count(given: GivenKey) -> int:
    text = str(given.value).strip()
    if not re.fullmatch(r"\d{1,6}", text):
        raise _refusal(given, "a whole number, such as 5")
    return int(text)


_PARSERS: t.Mapping[str, t.Callable[[GivenKey], t.Any]] = {
    "LOG_LEVEL": _parse_level,
    "LOG_FILE": _parse_path,
    "LOG_FORMAT": _parse_format,
    "LOG_MAX_BYTES": _parse_max_bytes,
    "LOG_BACKUP_COUNT": _parse_count,
    "LOG_LEVELS": _parse_levels,
}


# --- the file itself --------------------------------------------------------------------------


# Explanations of errors that are shown instead of the message of the operating system, because they
# say the same more clearly.
_SELF_EXPLAINED = {
    errno.EBADF: "This process has no such descriptor.",
    errno.EISDIR: "It is a folder. Name a file in it, such as app.log.",
    errno.ENOTDIR: "A part of the path is a file and no folder.",
    errno.ENXIO: "It is a socket, or a named pipe that no program reads.",
    errno.ENOENT: "The folder that should contain it does not exist. Create it, or name another.",
}
_REMEDIES = {errno.EROFS: "Name a file on a file system that is writable."}


def explain_unusable(options: LogOptions, exc: OSError) -> ConfigError:
    """Return the error that explains why a log file cannot be opened."""
    path = exc.filename if isinstance(exc.filename, str) else options.file
    code = exc.errno or 0
    if code in _SELF_EXPLAINED:
        return ConfigError(f"LOG_FILE: cannot write to {path}. {_SELF_EXPLAINED[code]}")
    remedy = _REMEDIES.get(code, "Let this user write there, or name another file.")
    reason = exc.strerror or exc
    return ConfigError(f"LOG_FILE: cannot write to {path}: {reason}. {remedy}")
