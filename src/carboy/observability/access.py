r"""The access log: a line for each request that `carboy serve` has answered or refused, or whose
client has disconnected.

    203.0.113.9 - - [29/Nov/2026:12:10:15 +0000] "GET /flowers HTTP/1.1" 200 512 "-" "curl/8.5"
        id=9f86d081884c7d65-1a ms=0.412 view_ms=0.107

That is one line: the well-known "combined" format, and further fields as `name=value`. As JSON, the
same fields are members of an object. Whatever a client has sent, a line consists of printable ASCII
characters: paths are percent-encoded, and in other texts quotes, control characters and what is not
ASCII are written as `\x22` (text) or `\u00e9` (JSON).

The lines are records of the logger `carboy.access`. carboy's own handlers receive finished lines,
many at once, because creating a record takes as long as answering a request. Records are created
for the program's own handlers only.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
import typing as t

from ..core.masking import mask_text
from .formatters import JSONFormatter
from .handlers import LineHandler

if t.TYPE_CHECKING:
    import collections.abc as cabc

    Fields = cabc.Mapping[str, t.Any]

LOGGER = "carboy.access"
# Texts of clients are kept in the form in which they are written, because most of them come again.
# At most this many are kept, and none that is longer.
_MAX_TEXTS, _MAX_TEXT = 1000, 256
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/_.~!$&'()*+,;=:@-]*")
_PATH_CHARACTER = re.compile(r"[^A-Za-z0-9/_.~!$&'()*+,;=:@-]")
_UNSAFE = re.compile(r"[^ !#-\[\]-~]")
_UNSAFE_IN_NAME = re.compile(r"[^\w.-]", re.ASCII)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class LoggedRequest(t.Protocol):
    """The attributes of a request of the server (`carboy.serving.http.exchange.Exchange`)."""

    method: str
    path: str
    query: str
    version: str
    headers: dict[str, str]
    request_id: str
    status: str
    body_bytes: int
    unsent_bytes: int
    aborted: bool
    began_s: float
    ended_s: float
    view_s: float
    fields: Fields | None
    timings: Fields | None

    @property
    def client(self) -> str: ...


# --- lines ------------------------------------------------------------------------------------


class LineFormat:
    """Formats requests as lines. Subclasses decide how; an instance caches what it has written.

    Args:
        with_query: whether to write the queries of URLs, which may contain secrets.
    """

    def __init__(self, *, with_query: bool) -> None:
        self._with_query = with_query
        self._paths: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self._second = -1
        self._stamp = ""
        self._zone = ""

    def lines(self, requests: cabc.Iterable[LoggedRequest]) -> list[str]:
        """Return a line for each request, without the line feed."""
        raise NotImplementedError

    def escape(self, text: str) -> str:
        """Return a text of a client in a form in which it cannot break the line."""
        raise NotImplementedError

    def stamp(self, time_s: float) -> None:
        """Write the time of a second, to `_stamp` and `_zone`."""
        raise NotImplementedError

    def _target(self, request: LoggedRequest) -> str:
        path = request.path
        shown = self._paths.get(path)
        if shown is None:
            shown = path if _PLAIN_PATH.fullmatch(path) else _PATH_CHARACTER.sub(_percent, path)
            shown = _keep(self._paths, path, mask_text(shown))
        if self._with_query and request.query:
            return f"{shown}?{self.escape(mask_text(request.query))}"
        return shown

    def _text(self, headers: cabc.Mapping[str, str], name: str) -> str:
        text = headers.get(name)
        if text is None:
            return "-"
        shown = self._texts.get(text)
        if shown is None:
            url = text if self._with_query or name != "HTTP_REFERER" else text.partition("?")[0]
            shown = _keep(self._texts, text, self.escape(mask_text(url)))
        return shown


def _keep(cache: dict[str, str], text: str, shown: str) -> str:
    if len(cache) >= _MAX_TEXTS:
        cache.clear()
    if len(text) <= _MAX_TEXT:
        cache[text] = shown
    return shown


def _percent(match: re.Match[str]) -> str:
    return f"%{ord(match[0]):02X}"


def _size_of(request: LoggedRequest) -> int:
    return max(0, request.body_bytes - request.unsent_bytes)


class CombinedFormat(LineFormat):
    """The combined format of Apache and nginx, and further fields."""

    def lines(self, requests: cabc.Iterable[LoggedRequest]) -> list[str]:
        offset_s = time.time() - time.monotonic()
        lines = []
        for each in requests:
            second = int(each.ended_s + offset_s)
            if second != self._second:
                self.stamp(second)
            headers = each.headers
            line = f"{each.method} {self._target(each)} {each.version}" if each.method else "-"
            lines.append(
                f'{each.client} - - [{self._stamp}] "{line}" {each.status} {_size_of(each)}'
                f' "{self._text(headers, "HTTP_REFERER")}"'
                f' "{self._text(headers, "HTTP_USER_AGENT")}" id={each.request_id}'
                f" ms={(each.ended_s - each.began_s) * 1000:.3f}{self._further(each)}"
            )
        return lines

    def _further(self, request: LoggedRequest) -> str:
        further = f" view_ms={request.view_s * 1000:.3f}" if request.view_s else ""
        for name, value in (request.fields or {}).items():
            further += f" {name}={self._value(value)}"
        for name, ms in (request.timings or {}).items():
            further += f" timer.{_UNSAFE_IN_NAME.sub('_', name)}={ms:.3f}"
        return f"{further} aborted=true" if request.aborted else further

    def _value(self, value: object) -> str:
        if not isinstance(value, str):
            return str(value)
        text = self.escape(value)
        return f'"{text}"' if " " in text else text

    def escape(self, text: str) -> str:
        return _UNSAFE.sub(_backslash, text)

    def stamp(self, time_s: float) -> None:
        now = time.localtime(time_s)
        # Not by `strftime`, whose names of months depend on the program's locale.
        day = f"{now.tm_mday:02}/{_MONTHS[now.tm_mon - 1]}/{now.tm_year}"
        self._stamp = f"{day}:{time.strftime('%H:%M:%S %z', now)}"
        self._second = int(time_s)


def _backslash(match: re.Match[str]) -> str:
    return (
        match[0].encode("unicode_escape").decode()
        if match[0] > "\xff"
        else rf"\x{ord(match[0]):02x}"
    )


class JSONFormat(LineFormat):
    """JSON objects. The first members are those of other records (`JSONFormatter`)."""

    def lines(self, requests: cabc.Iterable[LoggedRequest]) -> list[str]:
        offset_s = time.time() - time.monotonic()
        pid, lines = os.getpid(), []
        for each in requests:
            ended_s = each.ended_s + offset_s
            second = int(ended_s)
            if second != self._second:
                self.stamp(second)
            headers, target = each.headers, self._target(each)
            lines.append(
                f'{{"time":"{self._stamp}.{int((ended_s - second) * 1000):03}{self._zone}"'
                f',"level":"INFO","logger":"{LOGGER}"'
                f',"message":"{each.method} {target} {each.status}"'
                f',"request_id":"{each.request_id}","pid":{pid},"client":"{each.client}"'
                f',"method":"{each.method}","path":"{target}","protocol":"{each.version}"'
                f',"status":{each.status},"bytes":{_size_of(each)}'
                f',"referer":"{self._text(headers, "HTTP_REFERER")}"'
                f',"user_agent":"{self._text(headers, "HTTP_USER_AGENT")}"'
                f',"ms":{(each.ended_s - each.began_s) * 1000:.3f}{self._further(each)}}}'
            )
        return lines

    def _further(self, request: LoggedRequest) -> str:
        further = f',"view_ms":{request.view_s * 1000:.3f}' if request.view_s else ""
        if request.fields:
            further += f",{json.dumps(request.fields)[1:-1]}"
        if request.timings:
            timings = {name: round(ms, 3) for name, ms in request.timings.items()}
            further += f',"timings":{json.dumps(timings)}'
        return f'{further},"aborted":true' if request.aborted else further

    def escape(self, text: str) -> str:
        return json.dumps(text)[1:-1].replace("\x7f", "\\u007f")

    def stamp(self, time_s: float) -> None:
        now = time.localtime(time_s)
        self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", now)
        zone = time.strftime("%z", now)
        self._zone = f"{zone[:3]}:{zone[3:]}"
        self._second = int(time_s)


# --- handlers -----------------------------------------------------------------------------------


class AccessLog:
    """Writes lines for requests to the handlers of the logger `carboy.access` and its parents.

    Args:
        format: "text" or "json"; "auto" is JSON for carboy's own handlers that write JSON.
        with_query: whether to write the queries of URLs.
    """

    def __init__(self, format: str, *, with_query: bool) -> None:
        self._format = format
        self._logger = logging.getLogger(LOGGER)
        self._text = CombinedFormat(with_query=with_query)
        self._json = JSONFormat(with_query=with_query)

    def __call__(self, requests: cabc.Sequence[LoggedRequest]) -> None:
        """Write lines for requests that have ended. Never raises an exception."""
        if not self._logger.isEnabledFor(logging.INFO):
            return
        try:
            others, filters = [], self._logger.filters
            for handler in receivers(self._logger):
                if isinstance(handler, LineHandler) and not (handler.filters or filters):
                    lines = self._format_for(handler).lines(requests)
                    handler.write("".join(f"{line}\n" for line in lines).encode())
                else:
                    others.append(handler)
            if others:
                self._send_records(requests, others)
        except Exception:
            logging.getLogger("carboy.log").exception("lines of the access log are lost")

    def _format_for(self, handler: logging.Handler) -> LineFormat:
        writes_json = self._format == "auto" and isinstance(handler.formatter, JSONFormatter)
        return self._json if writes_json or self._format == "json" else self._text

    def _send_records(
        self, requests: cabc.Sequence[LoggedRequest], handlers: list[logging.Handler]
    ) -> None:
        messages = self._json if self._format == "json" else self._text
        offset_s = time.time() - time.monotonic()
        for request, message, members in zip(
            requests, messages.lines(requests), self._json.lines(requests), strict=True
        ):
            record = logging.LogRecord(LOGGER, logging.INFO, "", 0, message, None, None)
            record.created = request.ended_s + offset_s
            record.msecs = record.created % 1 * 1000
            # What `extra=` would add, for formatters that write it.
            vars(record).update({k: v for k, v in json.loads(members).items() if k not in _COMMON})
            if self._logger.filter(record):
                for handler in handlers:
                    handler.handle(record)


# The members that all records have, under these or other names.
_COMMON = frozenset({"time", "level", "logger", "message", "pid"})


def receivers(logger: logging.Logger) -> list[logging.Handler]:
    """Return the handlers that receive records of a logger of level INFO."""
    found: list[logging.Handler] = []
    node: logging.Logger | None = logger
    while node is not None:
        found += [
            handler
            for handler in node.handlers
            if handler.level <= logging.INFO and not isinstance(handler, logging.NullHandler)
        ]
        node = node.parent if node.propagate else None
    return found
