"""Werkzeug's request and response, with fields that are computed only when they are read.

Both classes derive from Werkzeug's and have the same fields. `Request` reads fields from the WSGI
environ on first access. `Response` creates its `Headers` on first access; if no code reads them,
the response is sent without creating them.
"""

from __future__ import annotations

import re
import typing as t
from functools import lru_cache
from io import BytesIO

from werkzeug._internal import _wsgi_decoding_dance
from werkzeug.datastructures import EnvironHeaders, Headers, ImmutableMultiDict, MultiDict
from werkzeug.exceptions import BadRequest, ClientDisconnected, HTTPException, RequestEntityTooLarge
from werkzeug.sansio.http import parse_cookie
from werkzeug.utils import get_content_type
from werkzeug.wrappers import Request as RequestBase
from werkzeug.wrappers import Response as ResponseBase
from werkzeug.wsgi import LimitedStream, _get_server, get_content_length

from . import json
from .core.changetracking import MembersTracked
from .core.deletion import DeletableAttributes
from .core.formparser import FormDataParser, keep_delimiters_whole, parse_content_type
from .core.spooledfile import MAX_IN_MEMORY_BYTES, spool
from .core.trustedhosts import host_of
from .globals import _cv, _cv_app, current_app
from .helpers import _split_blueprint_path

if t.TYPE_CHECKING:
    import collections.abc as cabc
    from http import HTTPStatus

    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from werkzeug.formparser import FormDataParser as FormDataParserBase
    from werkzeug.routing import Rule

    from .access.guard import Admission
    from .core.identity import Identity

T = t.TypeVar("T")


class _LazyAttribute(t.Generic[T]):
    """A descriptor for an attribute that is computed on first access, and can be assigned and
    deleted.

    PERF: unlike Werkzeug's `cached_property`, this class defines no `__set__`. So Python finds the
    value in the instance's dict at the second access, without calling the descriptor.
    """

    __slots__ = ("_compute", "_name")

    def __init__(self, compute: t.Callable[[t.Any], T]) -> None:
        self._compute = compute

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: t.Any, owner: type | None = None) -> T:
        if instance is None:
            return t.cast(T, self)
        # Store the value directly in the instance's dict: `setattr` would fail in a subclass that
        # overrides the attribute by a property.
        value = instance.__dict__[self._name] = self._compute(instance)
        return value

    if t.TYPE_CHECKING:

        def __set__(self, instance: t.Any, value: T) -> None:
            """Defined only for type checkers, which would otherwise reject assignments."""


# Werkzeug parses a Content-Length with this many digits or more, so that clients cannot make `int`
# slow by sending thousands of digits.
_MAX_LENGTH_DIGITS = 19

# Longer bodies are read in pieces, so that a client cannot make the server allocate much memory by
# announcing a long body that it never sends.
_MAX_READ_AT_ONCE = 1024 * 1024

# Matches a Cookie header such as `a=b; c=d`. It excludes characters such as quotes and tabs, which
# not all cookie parsers treat in the same way.
_PLAIN_COOKIES = re.compile(r"[^ \t=\";]+=[^ \t\";]*(?:; [^ \t=\";]+=[^ \t\";]*)*")

_NO_JSON = RequestBase._cached_json
_NESTED_TOO_DEEPLY = "The lists and objects are nested too deeply."
_find_stream: t.Callable[[RequestBase], t.IO[bytes]] = RequestBase.stream.fget  # type: ignore[attr-defined]
_parse_args: t.Callable[[RequestBase], MultiDict[str, str]] = RequestBase.args.fget  # type: ignore[attr-defined]


class _ConfiguredLimit:
    """A descriptor for a size limit of a request: the value assigned to the request, else the app's
    config key, else (without an app) Werkzeug's default.
    """

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
        return self.configured() if own is None else own

    def configured(self) -> int | None:
        """Return the limit for requests to which no value was assigned."""
        active = _cv.get(None)
        if active is None or (ctx := active[0]) is None:
            return self._default
        return ctx.app.config[self._key]  # type: ignore[no-any-return]

    def __set__(self, request: t.Any, value: int | None) -> None:
        setattr(request, self._name, value)


_content_limit = _ConfiguredLimit(
    "MAX_CONTENT_LENGTH",
    RequestBase.max_content_length,
    "The largest number of bytes read from the body (413 beyond); None: no limit.",
)


class Request(RequestBase, metaclass=MembersTracked):
    """Werkzeug's request, with the matched rule and its arguments. This is the class of
    `request`.
    """

    if t.TYPE_CHECKING:
        _is_original: bool

    #: The members that decide how body and cookies are read. If a subclass overrides one of them or
    #: somebody patches it, `_is_original` is false, and shortcuts that skip them are not used.
    _tracked_members = frozenset(
        {
            *("content_length", "cookies", "form", "form_data_parser_class", "files", "get_data"),
            *("is_json", "make_form_data_parser", "max_content_length", "mimetype"),
            *("mimetype_params", "stream", "want_form_data_parsed", "_get_stream_for_parsing"),
        }
    )

    json_module: t.Any = json

    #: The rule that matched the URL; None before matching, or if no rule matched.
    url_rule: Rule | None = None

    #: The values of the rule's variables: the keyword arguments of the view.
    view_args: dict[str, t.Any] | None = None

    #: The reason that no rule matched: `NotFound`, `MethodNotAllowed` or a redirect.
    #: `dispatch_request` raises it.
    routing_exception: HTTPException | None = None

    form_data_parser_class: type[FormDataParserBase] = FormDataParser

    _max_content_length: int | None = None
    _max_form_memory_size: int | None = None
    _max_form_parts: int | None = None

    max_content_length = _content_limit
    max_form_memory_size = _ConfiguredLimit(
        "MAX_FORM_MEMORY_SIZE",
        RequestBase.max_form_memory_size,
        "The largest multipart field that is not a file, in bytes (413 beyond); None: no limit.",
    )
    max_form_parts = _ConfiguredLimit(  # type: ignore[assignment]
        "MAX_FORM_PARTS",
        RequestBase.max_form_parts,
        "The largest number of parts in a multipart body (413 beyond); None: no limit.",
    )

    def __init__(
        self, environ: WSGIEnvironment, populate_request: bool = True, shallow: bool = False
    ) -> None:
        # The constructor of Werkzeug's class is not called, because it reads all fields from the
        # environ at once. This class reads each field on first access.
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
    def host(self) -> str:
        return host_of(self.environ, self.trusted_hosts)

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
    def identity(self) -> Identity:
        """Who has sent the request: the API key that the route asked for, and the address."""
        from .core.identity import ADMISSION, Identity

        admission: Admission | None = self.environ.get(ADMISSION)
        # A guard that has not asked who has sent the request knows no address.
        if admission is not None and admission.identity.address is not None:
            return admission.identity
        if _cv_app.get(None) is None:
            return Identity(self.remote_addr)
        return Identity(self.remote_addr, identify_user=current_app._user_finder())

    @_LazyAttribute
    def args(self) -> MultiDict[str, str]:
        return _parse_args(self) if self.query_string else self.parameter_storage_class()

    @_LazyAttribute
    def cookies(self) -> ImmutableMultiDict[str, str]:
        # PERF: for one cookie this takes a tenth of the time of Werkzeug's method, which iterates
        # over all headers and matches a pattern for each cookie.
        header = self.environ.get("HTTP_COOKIE")
        storage = self.dict_storage_class
        if not header:
            return storage()  # type: ignore[return-value]
        if _PLAIN_COOKIES.fullmatch(header):
            pairs = [pair.split("=", 1) for pair in header.split("; ")]
            return storage(pairs)  # type: ignore[return-value]
        return parse_cookie(header, cls=storage)  # type: ignore[return-value]

    def _find_cookie(self, name: str) -> str | None:
        """Return one cookie, as `self.cookies.get(name)` does. PERF: if the request has only one
        cookie, this takes a quarter of the time.
        """
        header: str | None = self.environ.get("HTTP_COOKIE")
        if header is None or "cookies" in self.__dict__ or not self._is_original:
            return self.cookies.get(name)
        # All cookie parsers read a header in the same way if it has no quotes or tabs, and one
        # blank after each semicolon. Werkzeug parses other headers.
        if '"' in header or "\t" in header:
            return self.cookies.get(name)
        for pair in header.split("; "):
            if " " in pair or ";" in pair:
                return self.cookies.get(name)
            key, _, value = pair.partition("=")
            if key == name:
                return value
        return None

    @property
    def is_json(self) -> bool:
        """Whether the content type is JSON: `application/json` or `application/*+json`."""
        return (
            self._is_original and self.environ.get("CONTENT_TYPE") == "application/json"
        ) or super().is_json

    def _parse_content_type(self) -> None:
        if "_parsed_content_type" not in self.__dict__:
            self._parsed_content_type = parse_content_type(self.environ.get("CONTENT_TYPE"))

    @_LazyAttribute
    def content_length(self) -> int | None:
        length = _plain_length(self.environ)
        return get_content_length(self.environ) if length is None else length

    @_LazyAttribute
    def stream(self) -> t.IO[bytes]:
        environ = self.environ
        if self._cached_data is not None:
            return BytesIO()  # `get_data` has already read the body, so nothing is left
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
        # Werkzeug raises an error if the body is too long or the request is shallow, and returns an
        # empty stream if the body has no length.
        return _find_stream(self)

    @property
    def endpoint(self) -> str | None:
        """The name of the matched rule's view; None if no rule matched."""
        rule = self.url_rule
        return None if rule is None else rule.endpoint

    @property
    def blueprint(self) -> str | None:
        """The registered name of the matched view's blueprint, dotted for nested blueprints."""
        endpoint = self.endpoint
        if endpoint is None or "." not in endpoint:
            return None
        return endpoint.rpartition(".")[0]

    @property
    def blueprints(self) -> list[str]:
        """The names of the matched view's blueprint and of its parents, innermost first."""
        name = self.blueprint
        return [] if name is None else _split_blueprint_path(name)

    @t.overload  # type: ignore[override]  # Werkzeug's overloads omit the call without arguments
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
        """Return the whole body.

        Args:
            cache: keep the body for further calls.
            as_text: decode it from UTF-8, replacing invalid bytes.
            parse_form_data: parse a form into `form` and `files` instead; the result is then empty.
        Raises:
            RequestEntityTooLarge: the body is longer than `max_content_length`.
            ClientDisconnected: the body is shorter than its Content-Length.
        """
        if cache and not parse_form_data:
            data = self._cached_data
            if data is None:
                data = self._cached_data = self._read_body_of_known_length(_MAX_READ_AT_ONCE)
            if data is not None and not as_text:
                return data
        return super().get_data(  # type: ignore[call-overload,no-any-return]
            cache, as_text, parse_form_data
        )

    _cached_data: bytes | None = None  # type: ignore[assignment]

    def _read_body_of_known_length(self, most: int) -> bytes | None:
        """Return the body, read at once, if its length is known and at most `most`.

        PERF: reading it through a `LimitedStream` takes 3 us more.

        Returns None for other bodies, and if the client sent less. The attribute `stream` then
        returns the whole body.
        """
        fields = self.__dict__
        if "stream" in fields or self.shallow:
            return None
        # PERF: reading the environ and the config directly saves 0.4 us, compared with the
        # properties `content_length` and `max_content_length`.
        if self._is_original and "content_length" not in fields:
            length = _plain_length(self.environ)
            if (limit := self._max_content_length) is None:
                limit = _content_limit.configured()
        else:
            length, limit = self.content_length, self.max_content_length
        if length is None or length > most:
            return None
        if limit is not None and length > limit:
            return None
        source = self.environ["wsgi.input"]
        try:
            data: bytes = source.read(length)
        except (OSError, ValueError) as error:
            raise ClientDisconnected from error
        if len(data) == length:
            return data
        if "wsgi.input_terminated" in self.environ:
            # This server's stream ends where the body ends, so a read beyond the body's end cannot
            # block.
            self.stream = BytesIO(data + source.read(length - len(data)))
        else:
            rejoined = t.cast("t.IO[bytes]", _PrefixedStream(data, source))
            self.stream = t.cast("t.IO[bytes]", LimitedStream(rejoined, length))
        return None

    @t.overload
    def get_json(
        self, force: bool = ..., silent: t.Literal[False] = ..., cache: bool = ...
    ) -> t.Any: ...

    @t.overload
    def get_json(
        self, force: bool = ..., silent: bool = ..., cache: bool = ...
    ) -> t.Any | None: ...

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> t.Any:
        """Return the body parsed as JSON.

        Args:
            force: ignore the content type.
            silent: return None instead of raising.
            cache: keep the value for further calls.
        Raises:
            UnsupportedMediaType: the content type is not JSON.
            BadRequest: the body is not valid JSON; see `on_json_loading_failed`.
        """
        if cache and self._cached_json is _NO_JSON and (force or self.is_json):
            try:
                value = self.json_module.loads(self.get_data())
            except (ValueError, RecursionError):
                pass  # Werkzeug's method, which is called below, raises this error once more
            else:
                self._cached_json = (value, value)
                return value
        try:
            return super().get_json(force, silent, cache)
        except RecursionError:
            # Werkzeug handles only ValueError, so that a client who sends 1,000 nested lists would
            # get a 500.
            return None if silent else self.on_json_loading_failed(ValueError(_NESTED_TOO_DEEPLY))

    def close(self) -> None:
        """Close the uploaded files of this request."""
        files = self.__dict__.get("files")
        if isinstance(files, MultiDict):
            # PERF: this method takes a third of the time of Werkzeug's, which accepts any kind of
            # mapping.
            for storages in files.listvalues():
                for storage in storages:
                    storage.close()
        elif files is not None:
            super().close()

    def make_form_data_parser(self) -> FormDataParserBase:
        """Return the parser of the form, an instance of `form_data_parser_class`."""
        parser = super().make_form_data_parser()
        if getattr(self._get_file_stream, "__func__", None) is RequestBase._get_file_stream:
            parser.stream_factory = spool
        return parser

    def _get_stream_for_parsing(self) -> t.IO[bytes]:
        stream = super()._get_stream_for_parsing()
        if self.mimetype != "multipart/form-data" or issubclass(
            self.form_data_parser_class, FormDataParser
        ):
            return stream
        return keep_delimiters_whole(stream, self.mimetype_params.get("boundary"))

    def _load_form_data(self) -> None:
        if "form" in self.__dict__ or self._load_usual_form():
            return
        super()._load_form_data()
        # In debug mode, replace the class of `files`, so that the KeyError for a missing file
        # explains that the form was not sent as multipart.
        if (
            not self.__dict__["files"]
            and _cv_app.get(None) is not None
            and current_app.debug
            and self.mimetype != "multipart/form-data"
        ):
            from .debughelpers import attach_enctype_error_multidict

            attach_enctype_error_multidict(self)

    def _load_usual_form(self) -> bool:
        """Set `form` and `files` from a usual multipart form; return whether this was possible.

        If it returns False, Werkzeug's method must load the form. PERF: this takes 2 us less than
        Werkzeug's method, which asks other members for stream, limits and type.
        """
        if not self._is_original or self._cached_data is not None:
            return False
        self._parse_content_type()
        mimetype, options = self._parsed_content_type
        if mimetype != "multipart/form-data":
            return False
        parser = self.make_form_data_parser()
        if type(parser) is not FormDataParser:
            return False
        body = self._read_body_of_known_length(MAX_IN_MEMORY_BYTES)
        if body is None:
            return False
        parsed = parser.parse_body(body, options.get("boundary", ""), len(body))
        if parsed is None:
            self.stream = BytesIO(body)
            return False
        self.stream = BytesIO()
        fields = self.__dict__
        fields["form"], fields["files"] = parsed
        return True

    def on_json_loading_failed(self, e: ValueError | None) -> t.Any:
        """Raise 400 for invalid JSON, or 415 (if `e` is None) for a body that is not declared as
        JSON.

        The client gets the reason of a 400 in debug mode only.
        """
        try:
            return super().on_json_loading_failed(e)
        except BadRequest as error:
            if _cv_app.get(None) is not None and current_app.debug:
                raise
            raise BadRequest from error


def _plain_length(environ: WSGIEnvironment) -> int | None:
    """Return the Content-Length of a body that is not chunked; None if only Werkzeug can determine
    it.
    """
    length = environ.get("CONTENT_LENGTH")
    if (
        length is not None
        and length.isdigit()
        and length.isascii()
        and len(length) < _MAX_LENGTH_DIGITS
        and "HTTP_TRANSFER_ENCODING" not in environ
    ):
        return int(length)
    return None


@lru_cache(maxsize=256)
def _checked_header_value(content_type: str) -> str:
    """Return a header value unchanged. Raise ValueError if it contains a line break, with which a
    client could forge headers (response splitting, CWE-113).
    """
    return Headers([("Content-Type", content_type)])["Content-Type"]


@lru_cache(maxsize=256)
def _content_type(mimetype: str) -> str:
    return _checked_header_value(get_content_type(mimetype, "utf-8"))


class _LimitedStream(LimitedStream):
    """A stream that raises 413 if more bytes than the limit are read. It is for servers whose
    stream ends where the body ends.

    Werkzeug's `LimitedStream` does not look beyond the limit: when the body is read at once, it
    returns the beginning of a body that is too long as if it were complete; when it is read in
    pieces, it refuses a body of exactly the allowed length.
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
    """A stream that returns some bytes first, then the rest of another stream."""

    def __init__(self, head: bytes, rest: t.IO[bytes]) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int = -1) -> bytes:
        if head := self._head:
            size = len(head) if size < 0 else size
            self._head = head[size:]
            return head[:size]
        return self._rest.read(size)


_BODILESS_STATUSES = frozenset({204, 304})
_REWRITTEN_HEADERS = frozenset({"location", "content-location"})


class Response(ResponseBase, DeletableAttributes, metaclass=MembersTracked):
    """Werkzeug's response, with HTML as its default media type. `make_response` returns instances
    of this class.
    """

    default_mimetype: str | None = "text/html"

    json_module = json

    autocorrect_location_header = False

    _headers: Headers | None = None
    _plain_content_type = ""
    if t.TYPE_CHECKING:
        _is_original: bool

    #: The members that decide how a response is sent. If a subclass overrides one of them or
    #: somebody patches it, `_is_original` is false, and shortcuts that skip them are not used.
    _tracked_members = frozenset(
        {
            *("__call__", "automatically_set_content_length", "close", "default_status"),
            *("get_app_iter", "get_wsgi_headers", "get_wsgi_response", "headers", "is_sequence"),
            *("iter_encoded", "response", "set_data", "status", "status_code"),
        }
    )

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
        if headers is None and (kind is str or kind is bytes) and self._is_original:
            if content_type is not None:
                plain_type = _checked_header_value(content_type)
            elif (known := self.default_mimetype if mimetype is None else mimetype) is not None:
                plain_type = _content_type(known)
        if plain_type is None:
            super().__init__(response, status, headers, mimetype, content_type, direct_passthrough)
            return
        # PERF: no `Headers` are created here, because most responses are sent without anybody
        # reading them.
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
        """Return a response of this class, made from one of Werkzeug or from a WSGI application."""
        forced = super().force_type(response, environ)
        # Werkzeug stores the headers in the instance's dict, where they are hidden by the property
        # `headers` of this class. So move them to the attribute that the property reads.
        made = vars(forced).pop("headers", None)
        if made is not None:
            forced._headers = made  # type: ignore[attr-defined]
        return t.cast("t.Self", forced)

    @property
    def headers(self) -> Headers:
        """The headers. They are created on first access, from the body and its content type."""
        headers = self._headers
        if headers is None:
            self._refuse_deleted("headers")
            # PERF: the fields are put directly into the list inside `Headers`. `Headers([...])`
            # takes eight times as long, because it checks the values, which were checked already.
            headers = self._headers = Headers()
            fields = headers._list
            fields.append(("Content-Type", self._plain_content_type))
            body = self.response
            if type(body) is list and len(body) == 1:
                fields.append(("Content-Length", str(len(body[0]))))
        return headers

    @headers.setter
    def headers(self, value: Headers) -> None:
        # The value is not converted to `Headers`, because Werkzeug does not do so either: it can
        # send a dict or a list of pairs.
        self._headers = value

    @headers.deleter
    def headers(self) -> None:
        self._delete_made("headers", "_headers")

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> cabc.Iterable[bytes]:
        """Send this response. A response is a WSGI application, which is called in this way."""
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
            or not self._is_original
        ):
            return super().__call__(environ, start_response)
        headers = self._headers
        if headers is None:
            length = str(len(body[0]))
            fields = [("Content-Type", self._plain_content_type), ("Content-Length", length)]
        elif type(headers) is not Headers:  # the user has assigned, for example, a dict
            return super().__call__(environ, start_response)
        else:
            # PERF: this takes a quarter of the time of `list(headers)`, which has the same result.
            fields = headers._list.copy()
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
        """The config key `MAX_COOKIE_SIZE`. A larger cookie causes a warning, because browsers drop
        it.
        """
        if _cv_app.get(None) is not None:
            return t.cast(int, current_app.config["MAX_COOKIE_SIZE"])
        return super().max_cookie_size
