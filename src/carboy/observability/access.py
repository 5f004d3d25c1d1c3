r"""The access log: a line for each request that `carboy serve` has answered or refused, or whose
client has disconnected.

    203.0.113.9 - - [29/Nov/2026:12:10:15 +0000] "GET /flowers HTTP/1.1" 200 512 "-" "curl/8.5"
        id=9f86d081884c7d65-1a ms=0.412 view_ms=0.107

That is one line: the well-known "combined" format, and further fields as `name=value`. As JSON, the
same fields are members of an object. Whatever a client has sent, a line consists of printable ASCII
characters: paths are percent-encoded, and in other texts quotes, control characters and what is not
ASCII are written as `\x22` (text) or `\u00e9` (JSON).

The lines go to the handlers of the logger `carboy.access` and its parents. carboy's own handlers
receive finished lines, many at once, because creating a record of `logging` takes as long as
answering a request. A record is created only for handlers that the program has added itself.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
import typing as t
from _thread import allocate_lock

from ..core.masking import mask_known, mask_text
from .formatters import JSONFormatter
from .handlers import LineHandler, logger

if t.TYPE_CHECKING:
    import collections.abc as cabc

    Fields = cabc.Mapping[str, t.Any]

LOGGER = "carboy.access"
# How many finished lines may wait while a thread writes earlier ones. If more wait, all of them are
# dropped, and a warning says how many.
MAX_PENDING = 20_000
_DROPPED = "%d lines of the access log were dropped, because their target took none for a while"
# The largest number of texts in each cache of a `LineFormat`, and the largest number of characters
# of a value whose text is kept.
_MAX_KEPT, _MAX_TEXT = 4000, 256
_PATH_UNSAFE = re.compile(r"[^A-Za-z0-9/_.~!$&'()*+,;=:@-]")
_UNSAFE = re.compile(r"[^ !#-\[\]-~]")
_UNSAFE_IN_NAME = re.compile(r"[^\w.-]", re.ASCII)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class LoggedRequest(t.Protocol):
    """What the access log reads of a request: some attributes of
    `carboy.serving.http.exchange.Exchange`.
    """

    method: str
    path: str
    query: str
    version: str
    headers: dict[str, str]
    origin: cabc.Mapping[str, str] | None
    request_id: str
    status: str
    body_bytes: int
    began_s: float
    view_s: float
    fields: Fields | None

    @property
    def transport(self) -> t.Any: ...

    @property
    def client(self) -> str: ...


# --- lines ------------------------------------------------------------------------------------


_K = t.TypeVar("_K")


class _Texts(dict[_K, str]):
    """Maps values, such as paths or user agents, to their texts in a log line, and caches these,
    because most values recur. Thread-safe.

    Args:
        make: returns the text of a value.
    """

    def __init__(self, make: cabc.Callable[[_K], str]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, value: _K) -> str:
        text = self._make(value)
        if not isinstance(value, str) or len(value) <= _MAX_TEXT:
            if len(self) >= _MAX_KEPT:
                self.clear()
            self[value] = text
        return text


class LineFormat:
    """Formats each request as a line of the access log; each subclass has its own format.

    PERF: a line takes 0.4 us, because its parts are looked up in caches.

    Args:
        with_query: whether to write the queries of URLs, which may contain secrets.

    Attributes:
        absent: what is written for a header that the client has not sent.
    """

    absent: str

    def __init__(self, *, with_query: bool) -> None:
        self._with_query = with_query
        self._paths = _Texts(_path)
        self._agents = _Texts(self._header)
        self._referers = _Texts(self._header if with_query else self._url)
        # The texts of durations: a key is in microseconds, its text in milliseconds.
        self._times = _Texts[int](lambda us: f"{us / 1000:.3f}")
        # The text of the current second, and when that second begins and ends on the clock
        # `time.monotonic`.
        self._stamp = ""
        self._second_s = self._next_second_s = 0.0

    def line(self, request: LoggedRequest, ended_s: float) -> str:
        """Return the line of a request, with its line feed. Thread-safe.

        Args:
            ended_s: when the request ended, on the clock `time.monotonic`.
        """
        raise NotImplementedError

    def quote(self, text: str) -> str:
        """Return a text that a client has sent, in quotes, with secrets masked, and with the
        characters escaped that could end the line or the quotes.
        """
        raise NotImplementedError

    def stamp(self, now: time.struct_time) -> str:
        """Return the text for the time `now` in a line, without fractions of a second."""
        raise NotImplementedError

    def _begin_second(self, ended_s: float) -> None:
        offset_s = time.time() - time.monotonic()
        second = int(ended_s + offset_s)
        self._stamp = self.stamp(time.localtime(second))
        self._second_s = second - offset_s
        self._next_second_s = self._second_s + 1

    def _header(self, text: str | None) -> str:
        return self.absent if text is None else self.quote(text)

    def _url(self, text: str | None) -> str:
        return self.absent if text is None else self.quote(text.partition("?")[0])

    def _id(self, request: LoggedRequest) -> str:
        """Return the id that a client has sent with its request. Known secrets in it are masked,
        because the client may have put one into the id.
        """
        return mask_known(request.request_id)

    def _target(self, request: LoggedRequest) -> str:
        path = self._paths[request.path]
        return f"{path}?{self.quote(request.query)[1:-1]}" if request.query else path


def _path(path: str) -> str:
    return mask_text(_PATH_UNSAFE.sub(_percent, path))


def _percent(match: re.Match[str]) -> str:
    return f"%{ord(match[0]):02X}"


class CombinedFormat(LineFormat):
    """Formats a request in the "combined" format of Apache and nginx, followed by `name=value`
    fields.
    """

    absent = '"-"'

    def __init__(self, *, with_query: bool) -> None:
        super().__init__(with_query=with_query)
        self._words = _Texts(self._word)

    def line(self, request: LoggedRequest, ended_s: float) -> str:
        # A request of another thread may have ended in the next second already.
        if not self._second_s <= ended_s < self._next_second_s:
            self._begin_second(ended_s)
        headers, times, fields = request.headers, self._times, request.fields
        target = self._target(request) if self._with_query else self._paths[request.path]
        client = (
            request.transport.environ["REMOTE_ADDR"] if request.origin is None else request.client
        )
        request_id = self._id(request) if "HTTP_X_REQUEST_ID" in headers else request.request_id
        line = (
            f'{client or "-"} - - [{self._stamp}] "{request.method} {target} {request.version}"'
            f" {request.status} {request.body_bytes} {self._referers[headers.get('HTTP_REFERER')]}"
            f" {self._agents[headers.get('HTTP_USER_AGENT')]} id={request_id}"
            f" ms={times[int((ended_s - request.began_s) * 1e6)]}"
            f" view_ms={times[int(request.view_s * 1e6)]}"
            f"{'' if fields is None else self._further(fields)}\n"
        )
        # The server may refuse a request before it knows the method. Then method, path and version
        # are empty, and the line has "-" in their place.
        return line if request.method else line.replace('"  "', '"-"', 1)

    def _further(self, fields: Fields) -> str:
        further = ""
        for name, value in fields.items():
            if isinstance(value, str):
                further += f" {name}={self._words[value]}"
            elif isinstance(value, dict):
                inner = {f"{name}.{_UNSAFE_IN_NAME.sub('_', key)}": value[key] for key in value}
                further += self._further(inner)
            else:
                further += f" {name}={'true' if value is True else value}"
        return further

    def _word(self, value: str) -> str:
        """Return the text of a field that the app has added, such as the name of a model. It is in
        quotes if it contains a blank.
        """
        text = self.quote(value)
        return text if " " in text else text[1:-1]

    def quote(self, text: str) -> str:
        return f'"{_UNSAFE.sub(_backslash, mask_text(text))}"'

    def stamp(self, now: time.struct_time) -> str:
        # `strftime` does not write the month, because its names of months depend on the locale of
        # the program.
        month = _MONTHS[now.tm_mon - 1]
        return f"{now.tm_mday:02}/{month}/{now.tm_year}:{time.strftime('%H:%M:%S %z', now)}"


def _backslash(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


class JSONFormat(LineFormat):
    """Formats a request as a JSON object. Its first members have the names that `JSONFormatter`
    gives to the members of other log records.
    """

    absent = "null"

    def __init__(self, *, with_query: bool) -> None:
        super().__init__(with_query=with_query)
        self._zone = ""
        self._thousandths = [f"{number:03}" for number in range(1000)]
        self._pid = os.getpid()

    def line(self, request: LoggedRequest, ended_s: float) -> str:
        # A request of another thread may have ended in the next second already.
        if not self._second_s <= ended_s < self._next_second_s:
            self._begin_second(ended_s)
        headers, times, fields = request.headers, self._times, request.fields
        target = self._target(request) if self._with_query else self._paths[request.path]
        client = (
            request.transport.environ["REMOTE_ADDR"] if request.origin is None else request.client
        )
        method, status = request.method, request.status
        request_id = self._id(request) if "HTTP_X_REQUEST_ID" in headers else request.request_id
        # Another thread may have set `_second_s` to another second meanwhile, of which the fraction
        # is the same.
        fraction = self._thousandths[int((ended_s - self._second_s) * 1000) % 1000]
        return (
            f'{{"time":"{self._stamp}.{fraction}{self._zone}","level":"INFO","logger":"{LOGGER}"'
            f',"message":"{method} {target} {status}","request_id":"{request_id}"'
            f',"pid":{self._pid},"client":"{client}","method":"{method}","path":"{target}"'
            f',"protocol":"{request.version}","status":{status},"bytes":{request.body_bytes}'
            f',"referer":{self._referers[headers.get("HTTP_REFERER")]}'
            f',"user_agent":{self._agents[headers.get("HTTP_USER_AGENT")]}'
            f',"ms":{times[int((ended_s - request.began_s) * 1e6)]}'
            f',"view_ms":{times[int(request.view_s * 1e6)]}'
            f"{'' if fields is None else self._further(fields)}}}\n"
        )

    def _further(self, fields: Fields) -> str:
        return f",{json.dumps(fields, separators=(',', ':'))[1:-1]}"

    def quote(self, text: str) -> str:
        return json.dumps(mask_text(text)).replace("\x7f", "\\u007f")

    def stamp(self, now: time.struct_time) -> str:
        zone = time.strftime("%z", now)
        self._zone = f"{zone[:3]}:{zone[3:]}"
        return time.strftime("%Y-%m-%dT%H:%M:%S", now)


# --- handlers -----------------------------------------------------------------------------------


class Both(t.NamedTuple):
    """The line of one request as text and as JSON.

    Both are made if some handlers write text and others write JSON, and if a handler needs a record
    of `logging`, which gets its fields from the JSON.
    """

    text: str
    json: str
    created_s: float


class AccessLog:
    """Writes lines for requests to the handlers of the logger `carboy.access` and its parents.

    Args:
        format: "text" or "json"; "auto" writes JSON to those of carboy's handlers that write all
            their records as JSON, and text to other handlers.
        with_query: whether to write the queries of URLs.

    Attributes:
        format: "text", "json", or "text and json" if handlers differ.
        line: a function that returns the line of a request. Its arguments are the request and the
            time at which the request ended, on the clock of `time.monotonic`. Thread-safe.
        pending: the lines that are not written yet. The server appends to it what `line` returns.
    """

    line: cabc.Callable[[LoggedRequest, float], str | Both]

    def __init__(self, format: str, *, with_query: bool) -> None:
        self._format = format
        self._logger = logging.getLogger(LOGGER)
        self._text = CombinedFormat(with_query=with_query)
        self._json = JSONFormat(with_query=with_query)
        self.pending: list[str | Both] = []
        self._lock = allocate_lock()
        self._dropped = 0
        self._choose(self.handlers())

    def handlers(self) -> list[logging.Handler]:
        """Return the handlers that receive the lines of the access log."""
        return receivers(self._logger) if self._logger.isEnabledFor(logging.INFO) else []

    def flush(self, *, wait_s: float = 0.0) -> None:
        """Write the lines of the requests that have ended. Thread-safe. Never raises.

        If another thread is writing already, leave the lines to that thread. So a target that
        blocks, such as a handler of the program, blocks one thread only.

        Args:
            wait_s: how long to wait for the other thread to finish, before the lines are left to
                it.
        """
        while self.pending and self._lock.acquire(timeout=wait_s):
            try:
                self._write_pending()
            finally:
                self._lock.release()
        if len(self.pending) > MAX_PENDING:
            self._dropped += len(self._take())

    def _take(self) -> list[str | Both]:
        taken = self.pending[:]  # a copy: other threads may append to `pending` meanwhile
        del self.pending[: len(taken)]
        return taken

    def _write_pending(self) -> None:
        taken = self._take()
        try:
            handlers = self.handlers()
            for handler in filter(self._takes_lines, handlers):
                name = "json" if self._writes_json(handler) else "text"
                lines = [each if isinstance(each, str) else getattr(each, name) for each in taken]
                t.cast("LineHandler", handler).write("".join(lines).encode())
            others = [handler for handler in handlers if not self._takes_lines(handler)]
            if others:
                self._send_records([each for each in taken if isinstance(each, Both)], others)
            self._choose(handlers)
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                logger.warning(_DROPPED, dropped)
        except Exception:  # noqa: BLE001  # the log must not stop the server
            logger.exception("lines of the access log are lost")

    def _choose(self, handlers: list[logging.Handler]) -> None:
        """Set `line` to the function that returns what the handlers need: a line as text, a line as
        JSON, or `Both`.
        """
        kinds = {self._writes_json(handler) for handler in handlers}
        self.format = " and ".join(["text"] * (False in kinds) + ["json"] * (True in kinds))
        if len(kinds) > 1 or not all(map(self._takes_lines, handlers)):
            self.line = self._in_both
        else:
            self.line = (self._json if True in kinds else self._text).line

    def _in_both(self, request: LoggedRequest, ended_s: float) -> Both:
        created_s = ended_s + time.time() - time.monotonic()
        text, json_ = self._text.line(request, ended_s), self._json.line(request, ended_s)
        return Both(text, json_, created_s)

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
            # The fields of the request become attributes of the record, as fields given by `extra=`
            # do, so that formatters can write them.
            members = json.loads(request.json)
            vars(record).update({k: v for k, v in members.items() if k not in _COMMON})
            if self._logger.filter(record):
                for handler in handlers:
                    handler.handle(record)


# The members of a JSON line that each record of `logging` has as attributes already, some of them
# under another name.
_COMMON = frozenset({"time", "level", "logger", "message", "pid"})


def receivers(logger: logging.Logger) -> list[logging.Handler]:
    """Return the handlers that receive the records of level INFO that `logger` creates."""
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
