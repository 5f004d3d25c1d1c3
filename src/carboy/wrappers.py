"""Werkzeug's request and response, made cheap: a field costs something only when it is read.

Both are subclasses of Werkzeug's and hold the same fields; `Request` reads them from the WSGI
environ on first touch, `Response` makes its `Headers` when somebody asks for them and otherwise
goes to the server as it came from the view.
"""

from __future__ import annotations

import re
import typing as t
from functools import lru_cache
from io import BytesIO

from werkzeug._internal import _wsgi_decoding_dance
from werkzeug.datastructures import EnvironHeaders, Headers, ImmutableMultiDict
from werkzeug.exceptions import BadRequest, ClientDisconnected, HTTPException, RequestEntityTooLarge
from werkzeug.sansio.http import parse_cookie
from werkzeug.utils import get_content_type
from werkzeug.wrappers import Request as RequestBase
from werkzeug.wrappers import Response as ResponseBase
from werkzeug.wsgi import LimitedStream, _get_server, get_content_length

from . import json
from .core.changetracking import ChangeTracked
from .core.formparser import FormDataParser, parse_content_type
from .globals import _cv, current_app
from .helpers import _split_blueprint_path

if t.TYPE_CHECKING:
    import collections.abc as cabc
    from http import HTTPStatus

    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from werkzeug.datastructures import MultiDict
    from werkzeug.formparser import FormDataParser as FormDataParserBase
    from werkzeug.routing import Rule

T = t.TypeVar("T")


class _LazyAttribute(t.Generic[T]):
    """An attribute that computes itself once. It may be assigned and deleted like any other.

    PERF: unlike Werkzeug's `cached_property` it defines no `__set__`, so that from the second
    read on the instance's own dict answers.
    """

    __slots__ = ("_compute", "_name")

    def __init__(self, compute: t.Callable[[t.Any], T]) -> None:
        self._compute = compute

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: t.Any, owner: type | None = None) -> T:
        if instance is None:
            return t.cast(T, self)
        # Not by `setattr`: a subclass may have put a property in front of it.
        value = instance.__dict__[self._name] = self._compute(instance)
        return value

    if t.TYPE_CHECKING:

        def __set__(self, instance: t.Any, value: T) -> None:
            """For type checkers, which refuse to assign without it; see above."""


# Of Content-Length, so that `int` stays cheap; Werkzeug decides about a longer one.
_MAX_LENGTH_DIGITS = 19

# A longer body is read piece by piece, so that a lying Content-Length reserves no memory.
_MAX_READ_AT_ONCE = 1024 * 1024

# `a=b; c=d` and nothing that a cookie parser could see in another way.
_PLAIN_COOKIES = re.compile(r"[^ \t=\";]+=[^ \t\";]*(?:; [^ \t=\";]+=[^ \t\";]*)*")

_mimetype = RequestBase.mimetype
_NO_JSON = RequestBase._cached_json
_find_stream: t.Callable[[RequestBase], t.IO[bytes]] = RequestBase.stream.fget  # type: ignore[attr-defined]
_parse_args: t.Callable[[RequestBase], MultiDict[str, str]] = RequestBase.args.fget  # type: ignore[attr-defined]


class _ConfiguredLimit:
    """A limit of the request's own, else the app's config, else Werkzeug's default."""

    def __init__(self, key: str, default: int | None, doc: str) -> None:
        self._key = key
        self._default = default
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    def __get__(self, request: t.Any, owner: type | None = None) -> int | None:
        if request is None:
            return t.cast("int | None", self)
        own = getattr(request, self._name)
        if own is not None:
            return own  # type: ignore[no-any-return]
        active = _cv.get(None)
        if active is None:
            return self._default
        return active[0].app.config[self._key]  # type: ignore[no-any-return]

    def __set__(self, request: t.Any, value: int | None) -> None:
        setattr(request, self._name, value)


class Request(RequestBase, metaclass=ChangeTracked):
    """The request that `carboy.request` stands for: Werkzeug's, and the URL rule it matched."""

    json_module: t.Any = json

    #: The rule that matched the URL; None while it has not been matched, or none matched.
    url_rule: Rule | None = None

    #: What the rule's variables matched: the keyword arguments of the view.
    view_args: dict[str, t.Any] | None = None

    #: Why no rule matched: `NotFound`, `MethodNotAllowed` or a redirect. Raised at dispatch.
    routing_exception: HTTPException | None = None

    form_data_parser_class: type[FormDataParserBase] = FormDataParser

    _max_content_length: int | None = None
    _max_form_memory_size: int | None = None
    _max_form_parts: int | None = None

    max_content_length = _ConfiguredLimit(
        "MAX_CONTENT_LENGTH",
        RequestBase.max_content_length,
        "Most bytes read from the body (413 beyond); None: as many as come.",
    )
    max_form_memory_size = _ConfiguredLimit(
        "MAX_FORM_MEMORY_SIZE",
        RequestBase.max_form_memory_size,
        "Most bytes of one multipart field that is not a file (413 beyond); None: no limit.",
    )
    max_form_parts = _ConfiguredLimit(  # type: ignore[assignment]
        "MAX_FORM_PARTS",
        RequestBase.max_form_parts,
        "Most parts of a multipart body (413 beyond); None: no limit.",
    )

    def __init__(
        self, environ: WSGIEnvironment, populate_request: bool = True, shallow: bool = False
    ) -> None:
        # Not the base class's: that one fills the fields below from the environ at once.
        self.environ = environ
        self.shallow = shallow
        if populate_request and not shallow:
            environ["werkzeug.request"] = self

    @_LazyAttribute
    def method(self) -> str:
        method: str = self.environ.get("REQUEST_METHOD", "GET")
        return method.upper()

    @_LazyAttribute
    def scheme(self) -> str:
        return self.environ.get("wsgi.url_scheme", "http")  # type: ignore[no-any-return]

    @_LazyAttribute
    def server(self) -> tuple[str, int | None] | None:
        return _get_server(self.environ)

    @_LazyAttribute
    def root_path(self) -> str:
        return _wsgi_decoding_dance(self.environ.get("SCRIPT_NAME") or "").rstrip("/")

    @_LazyAttribute
    def path(self) -> str:
        return "/" + _wsgi_decoding_dance(self.environ.get("PATH_INFO") or "").lstrip("/")

    @_LazyAttribute
    def query_string(self) -> bytes:
        query: str = self.environ.get("QUERY_STRING", "")
        return query.encode("latin1")

    @_LazyAttribute
    def headers(self) -> Headers:
        return EnvironHeaders(self.environ)

    @_LazyAttribute
    def remote_addr(self) -> str | None:
        return self.environ.get("REMOTE_ADDR")

    @_LazyAttribute
    def args(self) -> MultiDict[str, str]:
        return _parse_args(self) if self.query_string else self.parameter_storage_class()

    @_LazyAttribute
    def cookies(self) -> ImmutableMultiDict[str, str]:
        # PERF: Werkzeug goes through all headers for this one, and through the text by a pattern
        # for each cookie: ten times as long for one cookie.
        header = self.environ.get("HTTP_COOKIE")
        storage = self.dict_storage_class
        if not header:
            return storage()  # type: ignore[return-value]
        if _PLAIN_COOKIES.fullmatch(header):
            pairs = [pair.split("=", 1) for pair in header.split("; ")]
            return storage(pairs)  # type: ignore[return-value]
        return parse_cookie(header, cls=storage)  # type: ignore[return-value]

    def _find_cookie(self, name: str) -> str | None:
        """`self.cookies.get(name)`. PERF: for one cookie, a third of parsing them all."""
        header = self.environ.get("HTTP_COOKIE")
        if (
            "cookies" in self.__dict__
            or type(self).cookies is not Request.cookies
            or header is None
            or not _PLAIN_COOKIES.fullmatch(header)
        ):
            return self.cookies.get(name)
        padded = f"; {header};"
        start = padded.find(f"; {name}=")
        if start < 0:
            return None
        start += len(name) + 3
        return padded[start : padded.index(";", start)]

    @property
    def is_json(self) -> bool:
        """Whether the content type says JSON: `application/json` or `application/*+json`."""
        plain = self.environ.get("CONTENT_TYPE") == "application/json"
        return (plain and type(self).mimetype is _mimetype) or super().is_json

    def _parse_content_type(self) -> None:
        if "_parsed_content_type" not in self.__dict__:
            self._parsed_content_type = parse_content_type(self.environ.get("CONTENT_TYPE"))

    @_LazyAttribute
    def content_length(self) -> int | None:
        environ = self.environ
        length = environ.get("CONTENT_LENGTH")
        if (
            length is not None
            and length.isdigit()
            and length.isascii()
            and len(length) < _MAX_LENGTH_DIGITS
            and "HTTP_TRANSFER_ENCODING" not in environ
        ):
            return int(length)
        return get_content_length(environ)

    @_LazyAttribute
    def stream(self) -> t.IO[bytes]:
        environ = self.environ
        if self._cached_data is not None:
            return BytesIO()  # read to its end already
        if not self.shallow:
            limit = self.max_content_length
            terminated = "wsgi.input_terminated" in environ
            if terminated and limit is None:
                return environ["wsgi.input"]  # type: ignore[no-any-return]
            length = self.content_length
            if limit is None or length is None or length <= limit:
                if terminated and limit is not None:
                    return _LimitedStream(environ["wsgi.input"], limit)  # type: ignore[return-value]
                if length is not None:
                    return LimitedStream(environ["wsgi.input"], length)  # type: ignore[return-value]
        return _find_stream(self)  # an error, or an empty stream

    @property
    def endpoint(self) -> str | None:
        """The name of the matched rule's view; None when no rule matched."""
        rule = self.url_rule
        return None if rule is None else rule.endpoint

    @property
    def blueprint(self) -> str | None:
        """The registered name of the blueprint whose view was matched, dots for nesting."""
        endpoint = self.endpoint
        if endpoint is None or "." not in endpoint:
            return None
        return endpoint.rpartition(".")[0]

    @property
    def blueprints(self) -> list[str]:
        """The matched view's blueprint and those around it, innermost first."""
        name = self.blueprint
        return [] if name is None else _split_blueprint_path(name)

    @t.overload  # type: ignore[override]  # Werkzeug's leave it open what no argument returns
    def get_data(
        self, cache: bool = True, as_text: t.Literal[False] = False, parse_form_data: bool = False
    ) -> bytes: ...

    @t.overload
    def get_data(
        self, cache: bool, as_text: t.Literal[True], parse_form_data: bool = False
    ) -> str: ...

    @t.overload
    def get_data(
        self, cache: bool = True, *, as_text: t.Literal[True], parse_form_data: bool = False
    ) -> str: ...

    @t.overload
    def get_data(
        self, cache: bool = True, as_text: bool = False, parse_form_data: bool = False
    ) -> bytes | str: ...

    def get_data(
        self, cache: bool = True, as_text: bool = False, parse_form_data: bool = False
    ) -> bytes | str:
        """The whole body.

        Args:
            cache: keep it, so that it can be asked for again.
            as_text: decoded from UTF-8, wrong bytes replaced.
            parse_form_data: put a form into `form` and `files` instead; nothing is left then.
        Raises:
            RequestEntityTooLarge: longer than `max_content_length`.
            ClientDisconnected: shorter than its Content-Length.
        """
        if cache and not parse_form_data:
            if self._cached_data is None:
                self._read_plain_body()
            if not as_text and (data := self._cached_data) is not None:
                return data
        return super().get_data(  # type: ignore[call-overload,no-any-return]
            cache, as_text, parse_form_data
        )

    _cached_data: bytes | None = None  # type: ignore[assignment]

    def _read_plain_body(self) -> None:
        """Read a body of known length at once. PERF: a `LimitedStream` takes 3 us more."""
        fields = self.__dict__
        if "stream" in fields or self.shallow:
            return
        length = self.content_length
        if length is None or length > _MAX_READ_AT_ONCE:
            return
        limit = self.max_content_length
        if limit is not None and length > limit:
            return
        source = self.environ["wsgi.input"]
        try:
            data = source.read(length)
        except (OSError, ValueError) as error:
            raise ClientDisconnected from error
        if len(data) == length:
            self._cached_data = data
        elif "wsgi.input_terminated" in self.environ:
            # The server says where the body ends, and for it this was the end.
            self.stream = BytesIO(data + source.read(length - len(data)))
        else:
            rejoined = t.cast("t.IO[bytes]", _PrefixedStream(data, source))
            self.stream = t.cast("t.IO[bytes]", LimitedStream(rejoined, length))

    @t.overload
    def get_json(
        self, force: bool = ..., silent: t.Literal[False] = ..., cache: bool = ...
    ) -> t.Any: ...

    @t.overload
    def get_json(
        self, force: bool = ..., silent: bool = ..., cache: bool = ...
    ) -> t.Any | None: ...

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> t.Any:
        """The body read as JSON.

        Args:
            force: whatever its content type is.
            silent: None instead of an error.
            cache: keep the value, so that it can be asked for again.
        Raises:
            UnsupportedMediaType: its content type is not JSON.
            BadRequest: it is no JSON; see `on_json_loading_failed`.
        """
        if cache and self._cached_json is _NO_JSON and (force or self.is_json):
            try:
                value = self.json_module.loads(self.get_data())
            except ValueError:
                pass  # Werkzeug's way meets it again, and decides what to do.
            else:
                self._cached_json = (value, value)
                return value
        return super().get_json(force, silent, cache)

    def close(self) -> None:
        """Close the uploaded files that were read."""
        if "files" in self.__dict__:
            super().close()

    def _load_form_data(self) -> None:
        if "form" in self.__dict__:
            return
        super()._load_form_data()
        # A form that forgot its enctype: explain it where a KeyError for the file would come.
        if (
            not self.__dict__["files"]
            and (active := _cv.get(None)) is not None
            and active[0].app.debug
            and self.mimetype != "multipart/form-data"
        ):
            from .debughelpers import attach_enctype_error_multidict

            attach_enctype_error_multidict(self)

    def on_json_loading_failed(self, e: ValueError | None) -> t.Any:
        """Answer 400 (or 415) for a body that is no JSON; the reason is shown in debug mode."""
        try:
            return super().on_json_loading_failed(e)
        except BadRequest as error:
            if _cv.get(None) is not None and current_app.debug:
                raise
            raise BadRequest from error


@lru_cache(maxsize=256)
def _checked_header_value(content_type: str) -> str:
    """The value, if it can stand in a header: a line break in it would begin another one."""
    return Headers([("Content-Type", content_type)])["Content-Type"]


@lru_cache(maxsize=256)
def _content_type(mimetype: str) -> str:
    return _checked_header_value(get_content_type(mimetype, "utf-8"))


class _LimitedStream(LimitedStream):
    """A stream that its server ends; an error if it goes on beyond the limit.

    Werkzeug's cannot look beyond: read at once, it gives the beginning of a body that is too long
    as if that were all of it; read in pieces, it refuses one that is just as long as allowed.
    """

    def __init__(self, stream: t.IO[bytes], limit: int) -> None:
        super().__init__(stream, limit, is_max=True)

    def on_exhausted(self) -> None:
        if self._stream.read(1):
            raise RequestEntityTooLarge

    def readall(self) -> bytes:
        data = super().readall()
        if self.is_exhausted:
            self.on_exhausted()
        return data


class _PrefixedStream:
    """A stream with what was read from it put back in front."""

    def __init__(self, head: bytes, rest: t.IO[bytes]) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int = -1) -> bytes:
        if head := self._head:
            size = len(head) if size < 0 else size
            self._head = head[size:]
            return head[:size]
        return self._rest.read(size)


# What a subclass may override, or a user patch, between a response and the server.
_SENDING_MEMBERS = frozenset(
    {
        *("__call__", "automatically_set_content_length", "close", "default_status"),
        *("get_app_iter", "get_wsgi_headers", "get_wsgi_response", "headers", "is_sequence"),
        *("iter_encoded", "response", "set_data", "status", "status_code"),
    }
)
_BODILESS_STATUSES = frozenset({204, 304})
_REWRITTEN_HEADERS = frozenset({"location", "content-location"})


class _ResponseMeta(ChangeTracked):
    """Looks again at the way out whenever it was changed."""

    def __setattr__(cls, name: str, value: t.Any) -> None:  # noqa: N805 - of a metaclass
        super().__setattr__(name, value)
        if name in _SENDING_MEMBERS:
            _update_sending_is_unchanged(cls)

    def __delattr__(cls, name: str) -> None:  # noqa: N805
        super().__delattr__(name)
        if name in _SENDING_MEMBERS:
            _update_sending_is_unchanged(cls)


class Response(ResponseBase, metaclass=_ResponseMeta):
    """The response that views and hooks see: Werkzeug's, HTML by default."""

    default_mimetype: str | None = "text/html"

    json_module = json

    autocorrect_location_header = False

    _headers: Headers | None = None
    _plain_content_type = ""
    _sending_is_unchanged = True

    def __init_subclass__(cls, **kwargs: t.Any) -> None:
        super().__init_subclass__(**kwargs)
        _update_sending_is_unchanged(cls)

    def __init__(
        self,
        response: cabc.Iterable[bytes] | bytes | cabc.Iterable[str] | str | None = None,
        status: int | str | HTTPStatus | None = None,
        headers: cabc.Mapping[str, str | cabc.Iterable[str]]
        | cabc.Iterable[tuple[str, str]]
        | None = None,
        mimetype: str | None = None,
        content_type: str | None = None,
        direct_passthrough: bool = False,
    ) -> None:
        kind = type(response)
        plain_type = None
        if headers is None and (kind is str or kind is bytes) and self._sending_is_unchanged:
            if content_type is not None:
                plain_type = _checked_header_value(content_type)
            elif (known := self.default_mimetype if mimetype is None else mimetype) is not None:
                plain_type = _content_type(known)
        if plain_type is None:
            super().__init__(response, status, headers, mimetype, content_type, direct_passthrough)
            return
        # PERF: no `Headers` yet; most responses reach the server without one.
        self.response = [response.encode() if kind is str else response]  # type: ignore[assignment,union-attr]
        self.direct_passthrough = direct_passthrough
        self._on_close = []
        self._plain_content_type = plain_type
        if status is None:
            self._status = "200 OK"
            self._status_code = 200
        elif isinstance(status, (str, bytes)):
            self.status = status
        else:
            self.status_code = status

    @classmethod
    def force_type(
        cls, response: ResponseBase | t.Any, environ: WSGIEnvironment | None = None
    ) -> t.Self:
        """Turn Werkzeug's response, or a WSGI app's, into one of this class."""
        forced = super().force_type(response, environ)
        # A response that was Werkzeug's keeps its headers where our property hides them.
        made = vars(forced).pop("headers", None)
        if made is not None:
            forced._headers = made  # type: ignore[attr-defined]
        return t.cast("t.Self", forced)

    @property
    def headers(self) -> Headers:
        """The headers, made of the body and its content type when first asked for."""
        headers = self._headers
        if headers is None:
            # PERF: straight into Werkzeug's list. Both values have been checked, which is what
            # takes `Headers([...])` eight times as long.
            headers = self._headers = Headers()
            fields = headers._list
            fields.append(("Content-Type", self._plain_content_type))
            body = self.response
            if type(body) is list and len(body) == 1:
                fields.append(("Content-Length", str(len(body[0]))))
        return headers

    @headers.setter
    def headers(self, value: Headers) -> None:
        self._headers = value

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> cabc.Iterable[bytes]:
        """Send this response as a WSGI application does."""
        body = self.response
        status = self._status_code
        if (
            type(body) is not list
            or len(body) != 1
            or type(body[0]) is not bytes
            or self._on_close
            or status < 200
            or status in _BODILESS_STATUSES
            or environ["REQUEST_METHOD"] == "HEAD"
            or not self._sending_is_unchanged
        ):
            return super().__call__(environ, start_response)
        headers = self._headers
        if headers is None:
            length = str(len(body[0]))
            fields = [("Content-Type", self._plain_content_type), ("Content-Length", length)]
        else:
            fields = headers._list.copy()  # what `list(headers)` gives, for a quarter of the time
            has_length = not self.automatically_set_content_length
            for name, _ in fields:
                lower = name.lower()
                if lower in _REWRITTEN_HEADERS:
                    return super().__call__(environ, start_response)
                has_length = has_length or lower == "content-length"
            if not has_length:
                fields.append(("Content-Length", str(len(body[0]))))
        start_response(self._status, fields)
        return body

    @property
    def max_cookie_size(self) -> int:  # type: ignore[override]
        """`MAX_COOKIE_SIZE` of the app's config; a larger cookie warns, browsers drop it."""
        if _cv.get(None) is not None:
            return t.cast(int, current_app.config["MAX_COOKIE_SIZE"])
        return super().max_cookie_size


_original_sending_members = {name: getattr(Response, name, None) for name in _SENDING_MEMBERS}


def _update_sending_is_unchanged(cls: type) -> None:
    """Note on `cls`, and on those below it, whether its responses may leave the quick way."""
    ours = all(
        getattr(cls, name, None) is shipped for name, shipped in _original_sending_members.items()
    )
    if vars(cls).get("_sending_is_unchanged") is not ours:
        cls._sending_is_unchanged = ours  # type: ignore[attr-defined]
    below: type[t.Any]
    for below in cls.__subclasses__():
        _update_sending_is_unchanged(below)
