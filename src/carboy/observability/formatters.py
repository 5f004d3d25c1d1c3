r"""Formatters whose lines are safe to write: one line for each record, whatever the message is.

A message often contains what a client has sent. Line breaks in it could look like further records,
and escape sequences could control the terminal in which somebody reads the log. Both are written
in escaped form, as `\n` and `\x1b`. A traceback has lines of its own, which are indented, so that
none of them looks like a record. Secrets are masked (`carboy.core.masking`).
"""

from __future__ import annotations

import json
import logging
import math
import re
import string
import typing as t
from datetime import datetime

from ..core.masking import mask_known, mask_text, masked
from ..globals import _cv
from .environkeys import REQUEST_ID

# The format "text": the well-known `%(asctime)s :: %(levelname)s :: %(message)s`, with the fields
# that are needed to follow a request through several processes.
TEXT = "%(asctime)s :: %(levelname)s :: %(name)s[%(process)d] :: %(request_id)s :: %(message)s"
# The names of the attributes that each log record has. Other attributes come from `extra=`.
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "request_id"}
# Control characters, the line breaks of Unicode, and characters that change the direction of text.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# Escape sequences for colours, which Werkzeug writes. They are removed from a line, and not shown
# in escaped form as other control characters are.
_COLOUR = re.compile("\x1b\\[[0-9;]*m")
# The fields of a record that hold what the program has passed to the logger. Templates usually name
# `message` instead, in which secrets are masked.
_PASSED = re.compile(r"\b(?:msg|args|exc_info|exc_text|stack_info)\b")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_INDENT = "    "


def escape(text: str) -> str:
    """Return `text` as one line without control characters. Escape sequences for colours are
    removed.
    """
    if not _UNSAFE.search(text):
        return text
    return _UNSAFE.sub(_escaped, _COLOUR.sub("", text))


def _without_secrets(text: str) -> str:
    """Return `text` with secrets masked. Escape sequences for colours are removed first, because
    `mask_text` would not find a secret that contains one.
    """
    return mask_text(_COLOUR.sub("", text) if "\x1b" in text else text)


def _escaped(match: re.Match[str]) -> str:
    char = match[0]
    return _SHORT.get(char) or (f"\\x{ord(char):02x}" if char < "\u0100" else f"\\u{ord(char):04x}")


def request_id(record: logging.LogRecord) -> str | None:
    """Return the id of the current request, or else the one that the record got by `extra=`; None
    if there is neither. Known secrets in the id are masked, because the client may have chosen it.
    """
    active = _cv.get(None)
    request = active[1] if active else None
    given = request._environ.get(REQUEST_ID) if request is not None else None
    if given is None:
        given = getattr(record, "request_id", None)
    return None if given is None else mask_known(str(given))


class _Fields(dict[str, t.Any]):
    """The attributes of a log record, for a template. An attribute that the record lacks is written
    as "-", because not every record has the `extra=` fields that the template names.
    """

    def __missing__(self, key: str) -> str:
        return "-"


# Functions that fill a template with the fields of a record, by the style of the template. The
# classes that `logging` has for the styles raise an error if a field is missing.
_FILL: dict[str, t.Callable[[str, _Fields], str]] = {
    "%": lambda template, fields: template % fields,
    "{": lambda template, fields: template.format_map(fields),
    "$": lambda template, fields: string.Template(template).substitute(fields),
}


def style_of(template: str) -> t.Literal["%", "{", "$"]:
    """Return the style ("%", "{" or "$") in which a format of `logging.Formatter` is written.

    Raises:
        ValueError: the text has no field of any style.
    """
    # "$" is tried before "{", because `${name}` contains `{name}`, a field of the style "{".
    styles: tuple[t.Literal["%", "{", "$"], ...] = ("%", "$", "{")
    for style in styles:
        try:
            logging.Formatter(template, style=style)
        except ValueError:
            continue
        return style
    raise ValueError(template)


class SafeFormatter(logging.Formatter):
    """Base class of `TextFormatter` and `JSONFormatter`. It masks the secrets in a record, and the
    `write` of the subclass makes the line.
    """

    def format(self, record: logging.LogRecord) -> str:
        record.message, more = _split_own_message(record)
        record.message = _without_secrets(record.message)
        names = vars(record).keys() - STANDARD
        values = {name: getattr(record, name) for name in names}
        extra = masked(values, opens_objects=False) if names else {}
        return self.write(record, extra, _without_secrets(self._details(record, more)))

    def write(self, record: logging.LogRecord, extra: dict[str, t.Any], details: str) -> str:
        """Return the line of a record.

        Args:
            record: the record. Its attribute `message` is set, with secrets masked.
            extra: what the program has passed as `extra=`.
            details: the traceback and the stack, or "".
        """
        raise NotImplementedError

    def _details(self, record: logging.LogRecord, more: str) -> str:
        # Unlike `logging.Formatter`, this method does not store the traceback in `record.exc_text`,
        # because formatters of other handlers would write that text instead of their own.
        parts = [more, record.exc_text or ""]
        if record.exc_info and not record.exc_text:
            parts.append(self.formatException(record.exc_info))
        if record.stack_info:
            parts.append(self.formatStack(record.stack_info))
        return "\n".join(filter(None, parts))


def _split_own_message(record: logging.LogRecord) -> tuple[str, str]:
    """Return the message of a record, and the traceback or the stacks that follow the first line in
    some of carboy's messages.

    A message is split only if its template, `record.msg`, has a line break: a line break in the
    arguments may come from a client.
    """
    text = record.getMessage()
    if record.args and record.name.startswith("carboy.") and "\n" in str(record.msg):
        text, _, more = text.partition("\n")
        return text, more.strip("\n")
    return text, ""


class TextFormatter(SafeFormatter):
    """Writes records as text.

    Args:
        template: a format of `logging.Formatter`, in any of its three styles.
    """

    def __init__(self, template: str = TEXT) -> None:
        style = style_of(template)
        super().__init__(template, style=style)
        self._template = template
        self._fill = _FILL[style]
        self._names_passed = _PASSED.search(template) is not None

    def write(self, record: logging.LogRecord, extra: dict[str, t.Any], details: str) -> str:
        fields = _Fields(vars(record) | extra)
        fields["request_id"] = request_id(record) or "-"
        if self.usesTime():
            fields["asctime"] = self.formatTime(record)
        line = self._fill(self._template, fields)
        # The template may have written the text of an object in `extra`, which `masked` leaves
        # unchanged, or what the program has passed. So secrets are masked once more.
        lines = [escape(_without_secrets(line) if extra or self._names_passed else line)]
        lines += [_INDENT + escape(line) for line in details.splitlines()]
        return "\n".join(lines)


class JSONFormatter(SafeFormatter):
    """Writes each record as a JSON object. The fields of `extra=` become members of the object."""

    def write(self, record: logging.LogRecord, extra: dict[str, t.Any], details: str) -> str:
        time = datetime.fromtimestamp(record.created).astimezone()
        members: dict[str, t.Any] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.message,
            "request_id": request_id(record),
            "pid": record.process,
            "thread": record.threadName,
        }
        if details:
            members["exception"] = details
        for name, value in extra.items():
            members[f"{name}_" if name in members else name] = value
        return _UNSAFE.sub(_escaped_in_json, _to_json(members))


def _to_safe_text(value: object) -> str:
    return _without_secrets(str(value))


def _to_json(members: dict[str, t.Any]) -> str:
    try:
        return json.dumps(members, ensure_ascii=False, allow_nan=False, default=_to_safe_text)
    except (TypeError, ValueError):  # NaN, or keys that are no texts
        return json.dumps(_valid(members), ensure_ascii=False, default=_to_safe_text)


def _valid(value: t.Any) -> t.Any:
    """Return a copy of `value` in which JSON has a form for all keys and numbers: texts replace the
    others. (`masked` has replaced what contains itself.)
    """
    if isinstance(value, dict):
        return {_to_safe_text(key): _valid(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_valid(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _escaped_in_json(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


#: The formats that LOG_FORMAT can name. Any other value is a format of `logging.Formatter`.
NAMED: dict[str, t.Callable[[], SafeFormatter]] = {"text": TextFormatter, "json": JSONFormatter}


def make_formatter(name: str) -> SafeFormatter:
    """Return the formatter for a value of `LOG_FORMAT`: a name in `NAMED`, or a format of
    `logging.Formatter`.
    """
    return NAMED[name]() if name in NAMED else TextFormatter(name)
