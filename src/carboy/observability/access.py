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
from _thread import allocate_lock

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
_PATH_UNSAFE = re.compile(r"[^A-Za-z0-9/_.~!$&'()*+,;=:@-]")
_UNSAFE = re.compile(r"[^ !#-\[\]-~]")
_UNSAFE_IN_NAME = re.compile(r"[^\w.-]", re.ASCII)
# Times below this number of microseconds are written by looking up their text.
_KEPT_US = 8192
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class LoggedRequest(t.Protocol):
    """The attributes of a request of the server (`carboy.serving.http.exchange.Exchange`)."""

    method: str
    path: str
    query: str
    version: str
    headers: dict[str, str]
    origin: cabc.Mapping[str, str] | None
    request_id: str
    status: str
    body_bytes: int
    unsent_bytes: int
    aborted: bool
    began_s: float
    view_s: float
    fields: Fields | None

    @property
    def transport(self) -> t.Any: ...

    @property
    def client(self) -> str: ...


# --- lines ------------------------------------------------------------------------------------


class LineFormat:
    """Formats requests as lines. Subclasses decide how; an instance caches what it has written.

    Args:
        with_query: whether to write the queries of URLs, which may contain secrets.

    Attributes:
        absent: what is written for a header that the client has not sent.
        pending: the lines that `add` has made. Other code takes them out.
    """

    absent: str

    def __init__(self, *, with_query: bool) -> None:
        self.pending: list[str] = []
        self._with_query = with_query
        # What is written for a path, and for another text of clients.
        self._paths: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self._times = [f"{us / 1000:.3f}" for us in range(_KEPT_US)]
        # The current second: its text, and when it begins and ends on the clock `time.monotonic`.
        self._stamp = ""
        self._second_s = self._next_second_s = 0.0

    def add(self, request: LoggedRequest, ended_s: float) -> None:
        """Format a request that has ended. Thread-safe.

        PERF: 0.55 us, because what most lines have in common is looked up; 1.5 us otherwise.
        """
        self.pending.append(self.format(request, ended_s))

    def format(self, request: LoggedRequest, ended_s: float) -> str:
        """Return the line of a request, with its line feed.

        Args:
            ended_s: when the request ended, on the clock `time.monotonic`.
        """
        if ended_s >= self._next_second_s:
            self._begin_second(ended_s)
        path, headers, times = request.path, request.headers, self._times
        target = self._paths.get(path) or self._path(path)
        if self._with_query and request.query:
            target = f"{target}?{self.quote(mask_text(request.query))[1:-1]}"
        agent = self.absent
        if "HTTP_USER_AGENT" in headers:
            agent = headers["HTTP_USER_AGENT"]
            agent = self._texts.get(agent) or self._text(agent, agent)
        referer = self.absent
        if "HTTP_REFERER" in headers:
            referer = headers["HTTP_REFERER"]
            referer = self._texts.get(referer) or self._referer(referer)
        us, view_us = int((ended_s - request.began_s) * 1e6), int(request.view_s * 1e6)
        return self.line(
            request,
            # PERF: `request.client` would take 0.04 us longer.
            request.transport.environ["REMOTE_ADDR"] if request.origin is None else request.client,
            ended_s - self._second_s,
            target,
            referer,
            agent,
            times[us] if us < _KEPT_US else f"{us / 1000:.3f}",
            times[view_us] if view_us < _KEPT_US else f"{view_us / 1000:.3f}",
            "" if request.fields is None and not request.aborted else self.further(request),
        )

    def line(
        self,
        request: LoggedRequest,
        client: str,
        fraction_s: float,
        target: str,
        referer: str,
        agent: str,
        ms: str,
        view_ms: str,
        further: str,
    ) -> str:
        """Return the line of a request.

        Args:
            fraction_s: the time since the beginning of the second that `_stamp` is about.
            target: the path, perhaps with the query.
            referer: the header, in quotes.
            agent: the header User-Agent, in quotes.
            further: what `further` has returned.
        """
        raise NotImplementedError

    def further(self, request: LoggedRequest) -> str:
        """Return the end of the line, which has what only some requests have."""
        raise NotImplementedError

    def quote(self, text: str) -> str:
        """Return a text of a client in quotes, in a form in which it cannot break the line."""
        raise NotImplementedError

    def stamp(self, now: time.struct_time) -> str:
        """Return a second as text."""
        raise NotImplementedError

    def _begin_second(self, ended_s: float) -> None:
        offset_s = time.time() - time.monotonic()
        second = int(ended_s + offset_s)
        self._stamp = self.stamp(time.localtime(second))
        self._second_s = second - offset_s
        self._next_second_s = self._second_s + 1

    def _path(self, path: str) -> str:
        return _keep(self._paths, path, mask_text(_PATH_UNSAFE.sub(_percent, path)))

    def _referer(self, referer: str) -> str:
        return self._text(referer, referer if self._with_query else referer.partition("?")[0])

    def _text(self, text: str, shown: str) -> str:
        return _keep(self._texts, text, self.quote(mask_text(shown)))


def _keep(cache: dict[str, str], text: str, shown: str) -> str:
    if len(cache) >= _MAX_TEXTS:
        cache.clear()
    if len(text) <= _MAX_TEXT:
        cache[text] = shown
    return shown


def _percent(match: re.Match[str]) -> str:
    return f"%{ord(match[0]):02X}"


def _sent_bytes(request: LoggedRequest) -> int:
    return max(0, request.body_bytes - request.unsent_bytes)


class CombinedFormat(LineFormat):
    """The combined format of Apache and nginx, and further fields."""

    absent = '"-"'

    def line(
        self,
        request: LoggedRequest,
        client: str,
        fraction_s: float,
        target: str,
        referer: str,
        agent: str,
        ms: str,
        view_ms: str,
        further: str,
    ) -> str:
        size = _sent_bytes(request) if request.aborted else request.body_bytes
        method = request.method
        line = (
            f'{client} - - [{self._stamp}] "{method} {target} {request.version}"'
            f" {request.status} {size} {referer} {agent} id={request.request_id} ms={ms}"
            f" view_ms={view_ms}{further}\n"
        )
        # Of a request that is refused, not even the method may be known.
        return line if method else line.replace('"  "', '"-"', 1)

    def further(self, request: LoggedRequest) -> str:
        further = ""
        for name, value in (request.fields or {}).items():
            if isinstance(value, dict):
                for key, inner in value.items():
                    further += f" {name}.{_UNSAFE_IN_NAME.sub('_', key)}={self._value(inner)}"
            else:
                further += f" {name}={self._value(value)}"
        return f"{further} aborted=true" if request.aborted else further

    def _value(self, value: object) -> str:
        if not isinstance(value, str):
            return str(value)
        text = self.quote(value)
        return text if " " in text else text[1:-1]

    def quote(self, text: str) -> str:
        return f'"{_UNSAFE.sub(_backslash, text)}"'

    def stamp(self, now: time.struct_time) -> str:
        # Not by `strftime` alone, whose names of months depend on the program's locale.
        month = _MONTHS[now.tm_mon - 1]
        return f"{now.tm_mday:02}/{month}/{now.tm_year}:{time.strftime('%H:%M:%S %z', now)}"


def _backslash(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


class JSONFormat(LineFormat):
    """JSON objects. The first members are those of other records (`JSONFormatter`)."""

    absent = "null"

    def __init__(self, *, with_query: bool) -> None:
        super().__init__(with_query=with_query)
        self._zone = ""
        self._thousandths = [f"{number:03}" for number in range(1001)]
        self._pid = os.getpid()

    def line(
        self,
        request: LoggedRequest,
        client: str,
        fraction_s: float,
        target: str,
        referer: str,
        agent: str,
        ms: str,
        view_ms: str,
        further: str,
    ) -> str:
        size = _sent_bytes(request) if request.aborted else request.body_bytes
        # Another thread may have begun the next second just now.
        fraction = self._thousandths[int(max(0.0, fraction_s) * 1000)]
        method, status, request_id = request.method, request.status, request.request_id
        return (
            f'{{"time":"{self._stamp}.{fraction}{self._zone}","level":"INFO","logger":"{LOGGER}"'
            f',"message":"{method} {target} {status}","request_id":"{request_id}"'
            f',"pid":{self._pid},"client":"{client}","method":"{method}","path":"{target}"'
            f',"protocol":"{request.version}","status":{status},"bytes":{size}'
            f',"referer":{referer},"user_agent":{agent},"ms":{ms},"view_ms":{view_ms}{further}}}\n'
        )

    def further(self, request: LoggedRequest) -> str:
        further = ""
        if request.fields:
            further = f",{json.dumps(request.fields, separators=(',', ':'))[1:-1]}"
        return f'{further},"aborted":true' if request.aborted else further

    def quote(self, text: str) -> str:
        return json.dumps(text).replace("\x7f", "\\u007f")

    def stamp(self, now: time.struct_time) -> str:
        zone = time.strftime("%z", now)
        self._zone = f"{zone[:3]}:{zone[3:]}"
        return time.strftime("%Y-%m-%dT%H:%M:%S", now)


# --- handlers -----------------------------------------------------------------------------------


class Both(t.NamedTuple):
    """A request in both formats, for handlers that differ, and for records."""

    text: str
    json: str
    created_s: float


class AccessLog:
    """Writes lines for requests to the handlers of the logger `carboy.access` and its parents.

    Args:
        format: "text" or "json"; "auto" is JSON for carboy's own handlers that write JSON.
        with_query: whether to write the queries of URLs.

    Attributes:
        format: "text", "json", or "text and json" if handlers differ.
        add: called with a request that has ended, and when it ended on the clock of
            `time.monotonic`. Thread-safe.
    """

    add: cabc.Callable[[LoggedRequest, float], None]

    def __init__(self, format: str, *, with_query: bool) -> None:
        self._format = format
        self._logger = logging.getLogger(LOGGER)
        self._text = CombinedFormat(with_query=with_query)
        self._json = JSONFormat(with_query=with_query)
        self._both: list[Both] = []
        self._lock = allocate_lock()
        self._choose(self.handlers())

    def __len__(self) -> int:
        """Return how many lines are not written yet."""
        return len(self._text.pending) + len(self._json.pending) + len(self._both)

    def handlers(self) -> list[logging.Handler]:
        """Return the handlers that receive the lines."""
        return receivers(self._logger) if self._logger.isEnabledFor(logging.INFO) else []

    def flush(self) -> None:
        """Write the lines of the requests that were added. Thread-safe. Never raises."""
        with self._lock:
            text, json_ = _take(self._text.pending), _take(self._json.pending)
            both = _take(self._both)
        if not (text or json_ or both):
            return
        try:
            handlers = self.handlers()
            for handler in filter(self._takes_lines, handlers):
                writes_json = self._writes_json(handler)
                lines = [each.json if writes_json else each.text for each in both]
                t.cast("LineHandler", handler).write("".join([*text, *json_, *lines]).encode())
            others = [handler for handler in handlers if not self._takes_lines(handler)]
            if others:
                self._send_records(both, others)
            self._choose(handlers)
        except Exception:
            logging.getLogger("carboy.log").exception("lines of the access log are lost")

    def _choose(self, handlers: list[logging.Handler]) -> None:
        """Make only the lines that the handlers need."""
        kinds = {self._writes_json(handler) for handler in handlers}
        self.format = " and ".join(["text"] * (False in kinds) + ["json"] * (True in kinds))
        if len(kinds) > 1 or not all(map(self._takes_lines, handlers)):
            self.add = self._add_both
        else:
            self.add = self._json.add if True in kinds else self._text.add

    def _add_both(self, request: LoggedRequest, ended_s: float) -> None:
        created_s = ended_s + time.time() - time.monotonic()
        text, json_ = self._text.format(request, ended_s), self._json.format(request, ended_s)
        self._both.append(Both(text, json_, created_s))

    def _takes_lines(self, handler: logging.Handler) -> bool:
        is_plain = isinstance(handler, LineHandler) and not handler.filters
        return is_plain and not self._logger.filters

    def _writes_json(self, handler: logging.Handler) -> bool:
        if self._format == "auto":
            return isinstance(handler.formatter, JSONFormatter)
        return self._format == "json"

    def _send_records(self, requests: list[Both], handlers: list[logging.Handler]) -> None:
        for request in requests:
            message = (request.json if self._format == "json" else request.text).rstrip("\n")
            record = logging.LogRecord(LOGGER, logging.INFO, "", 0, message, None, None)
            record.created = request.created_s
            record.msecs = request.created_s % 1 * 1000
            # What `extra=` would add, for formatters that write it.
            members = json.loads(request.json)
            vars(record).update({k: v for k, v in members.items() if k not in _COMMON})
            if self._logger.filter(record):
                for handler in handlers:
                    handler.handle(record)


_T = t.TypeVar("_T")


def _take(pending: list[_T]) -> list[_T]:
    """Remove and return what is in a list, to which other threads may append meanwhile."""
    taken = pending[:]
    del pending[: len(taken)]
    return taken


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
