"""Lazy requests and responses have the same fields, and send the same bytes, as Werkzeug's."""

from __future__ import annotations

import copy
import io
import pickle
import typing as t

import pytest
import werkzeug
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import Headers
from werkzeug.exceptions import (
    ClientDisconnected,
    RequestEntityTooLarge,
    UnsupportedMediaType,
)
from werkzeug.test import EnvironBuilder

import carboy
from carboy import Carboy, Request, Response, request

_FIELDS = (
    *("method", "scheme", "server", "root_path", "path", "query_string", "remote_addr", "args"),
    *("cookies", "content_length", "content_type", "mimetype", "mimetype_params", "is_json"),
    *("url", "base_url", "full_path", "host", "host_url", "script_root", "is_secure"),
    *("access_route", "accept_mimetypes", "authorization", "referrer", "range"),
)
_ENVIRONS: list[dict[str, t.Any]] = [
    {},
    {"path": "/ü/%20?x=1&x=2", "method": "POST", "data": {"a": "b"}},
    {"base_url": "https://user.example:444/root/", "path": "a"},
    {"headers": {"Cookie": "a=b; c=d; c=e", "Accept": "text/html", "Authorization": "Basic YTpi"}},
    {"content_type": "application/vnd.x+json; charset=latin-1", "data": b"{}"},
    {"environ_overrides": {"REMOTE_ADDR": "::1", "HTTP_X_FORWARDED_FOR": "1.2.3.4"}},
    {"environ_overrides": {"REQUEST_METHOD": "delete", "PATH_INFO": "", "SCRIPT_NAME": "/x/"}},
    {"environ_overrides": {"CONTENT_LENGTH": "-5", "PATH_INFO": "\xff//"}},
    {"environ_overrides": {"CONTENT_LENGTH": "9" * 30, "SERVER_PORT": "x"}},
    {"environ_overrides": {"CONTENT_LENGTH": "\xb2", "HTTP_TRANSFER_ENCODING": "chunked"}},
]


@pytest.mark.parametrize("options", _ENVIRONS, ids=range(len(_ENVIRONS)))
@pytest.mark.parametrize("field", _FIELDS)
def test_field_equals_werkzeugs(field: str, options: dict[str, t.Any]) -> None:
    environ = EnvironBuilder(**options).get_environ()
    ours, theirs = Request(dict(environ)), werkzeug.Request(dict(environ))
    try:
        expected = getattr(theirs, field)
    except Exception as error:  # noqa: BLE001 - compared below
        with pytest.raises(type(error)):
            getattr(ours, field)
    else:
        assert getattr(ours, field) == expected
        assert getattr(ours, field) == expected  # again, now from the instance's dict


@given(st.text(alphabet='ab=;, \t"\\%é\x00', max_size=12))
def test_cookies_equal_werkzeugs(header: str) -> None:
    environ = EnvironBuilder().get_environ() | {"HTTP_COOKIE": header}
    ours, theirs = Request(dict(environ)).cookies, werkzeug.Request(dict(environ)).cookies
    assert list(ours.items(multi=True)) == list(theirs.items(multi=True))


@given(
    st.lists(st.text(alphabet='ab=; \t"é\x00', max_size=4) | st.sampled_from(["; ", "ab=", "ab"]))
)
def test_cookie_found_in_the_header_equals_werkzeugs(parts: list[str]) -> None:
    environ = EnvironBuilder().get_environ() | {"HTTP_COOKIE": "".join(parts)}
    found = Request(dict(environ))._find_cookie("ab")
    assert found == werkzeug.Request(dict(environ)).cookies.get("ab")


def test_fields_may_be_assigned_and_deleted() -> None:
    request = Request(EnvironBuilder(path="/a").get_environ())
    request.path = "/other"
    assert request.path == "/other"
    del request.path
    assert request.path == "/a"
    assert isinstance(Request.path, object)


def test_request_stores_itself_in_the_environ_unless_shallow() -> None:
    environ = EnvironBuilder().get_environ()
    assert environ is Request(environ).environ
    assert isinstance(environ["werkzeug.request"], Request)
    for options in ({"shallow": True}, {"populate_request": False}):
        environ = EnvironBuilder().get_environ()
        Request(environ, **options)
        assert "werkzeug.request" not in environ


def test_shallow_request_does_not_read_its_body() -> None:
    request = Request(EnvironBuilder(method="POST", data=b"x").get_environ(), shallow=True)
    with pytest.raises(RuntimeError):
        request.get_data()


def test_request_created_from_values() -> None:
    request = Request.from_values("/x?a=1", method="POST", data={"b": "2"})
    assert (request.args["a"], request.form["b"], request.values["b"]) == ("1", "2", "2")
    assert (request.endpoint, request.blueprint, request.blueprints) == (None, None, [])


class _Source:
    """A body that arrives in pieces, as from a socket."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = list(pieces)

    def read(self, size: int = -1) -> bytes:
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        if 0 <= size < len(piece):
            self.pieces.insert(0, piece[size:])
        return piece if size < 0 else piece[:size]


def _posted(source: object, length: int, **environ: t.Any) -> Request:
    base = EnvironBuilder(method="POST").get_environ()
    return Request(base | {"wsgi.input": source, "CONTENT_LENGTH": str(length), **environ})


def test_body_in_pieces_is_read_completely() -> None:
    request = _posted(_Source(b"one", b"two", b"three"), 11)
    assert request.get_data() == b"onetwothree"
    assert request.get_data() == b"onetwothree"


@pytest.mark.parametrize(
    "source",
    [
        _Source(b"short"),
        _Source(OSError()),
        _Source(b"sh", OSError()),
        _Source(ValueError("closed")),
    ],
    ids=["ended", "reset", "reset later", "closed"],
)
def test_disconnected_client_is_a_bad_request(source: _Source) -> None:
    with pytest.raises(ClientDisconnected):
        _posted(source, 20).get_data()


def test_large_body_is_read_in_pieces() -> None:
    size = 1024 * 1024 + 1
    assert len(_posted(io.BytesIO(b"x" * size), size).get_data()) == size


def test_terminated_body_ends_where_the_server_ends_it() -> None:
    request = _posted(_Source(b"chunk", b"s"), 100, **{"wsgi.input_terminated": True})
    assert request.get_data().startswith(b"chunk")


_READERS = {
    "get_data": lambda request: request.get_data(),
    "stream.read": lambda request: request.stream.read(),
    "in pieces": lambda request: b"".join(iter(lambda: request.stream.read(7), b"")),
    "form": lambda request: b"a=" + request.form["a"].encode(),
}


@pytest.mark.parametrize("read", _READERS.values(), ids=_READERS)
@pytest.mark.parametrize("sized", [False, True], ids=["chunked", "sized"])
@pytest.mark.parametrize("size", [99, 100, 101, 1000])
def test_terminated_body_is_complete_or_refused(read, sized: bool, size: int) -> None:
    body = b"a=" + b"x" * (size - 2)
    environ = {"wsgi.input_terminated": True, "CONTENT_TYPE": "application/x-www-form-urlencoded"}
    request = _posted(io.BytesIO(body), size, **environ)
    if not sized:
        del request.environ["CONTENT_LENGTH"]
    request.max_content_length = 100
    if size > 100:
        with pytest.raises(RequestEntityTooLarge):
            read(request)
    else:
        assert read(request) == body


def test_limits_of_request_then_app_then_werkzeug_apply(app: Carboy) -> None:
    app.config.update(MAX_CONTENT_LENGTH=5, MAX_FORM_PARTS=6, MAX_FORM_MEMORY_SIZE=7)
    outside = Request(EnvironBuilder().get_environ())
    assert outside.max_content_length == werkzeug.Request.max_content_length
    assert outside.max_form_parts == werkzeug.Request.max_form_parts
    with app.test_request_context(method="POST", data=b"longer"):
        assert request.max_content_length == 5
        assert (request.max_form_parts, request.max_form_memory_size) == (6, 7)
        with pytest.raises(RequestEntityTooLarge):
            request.get_data()
        request.max_content_length = 10
        assert request.get_data() == b"longer"
    assert Request.max_content_length.__doc__


@pytest.mark.parametrize("debug", [True, False])
def test_reason_for_invalid_json_is_shown_in_debug_mode_only(app: Carboy, debug: bool) -> None:
    app.testing, app.debug = False, debug
    app.add_url_rule("/", view_func=lambda: request.json, endpoint="json", methods=["POST"])
    response = app.test_client().post("/", data="{", content_type="application/json")
    assert response.status_code == 400
    assert ("Failed to decode JSON" in response.text) is debug


def test_form_without_multipart_encoding_is_explained_in_debug_mode(app: Carboy) -> None:
    app.debug = True
    with (
        app.test_request_context(method="POST", data={"up": "name.txt"}),
        pytest.raises(KeyError, match="enctype"),
    ):
        request.files["up"]


def test_uploads_are_closed_with_the_request(app: Carboy) -> None:
    upload = (io.BytesIO(b"content"), "a.txt")
    with app.test_request_context(method="POST", data={"up": upload}):
        file = request.files["up"].stream
        assert not file.closed
    assert file.closed


# ------------------------------------------------------------------------------------ responses


def _send(response: Response, method: str = "GET") -> tuple[str, list[tuple[str, str]], bytes]:
    started: list[t.Any] = []
    environ = EnvironBuilder(method=method).get_environ()
    body = response(environ, lambda status, headers: started.extend((status, headers)))
    data = b"".join(body)
    getattr(body, "close", lambda: None)()
    return started[0], started[1], data


class _Eager(werkzeug.Response):
    default_mimetype = "text/html"
    autocorrect_location_header = False


_CHANGES: dict[str, t.Callable[[t.Any], object]] = {
    "nothing": lambda r: None,
    "headers read": lambda r: r.headers["Content-Length"],
    "header set": lambda r: r.headers.set("X-A", "b"),
    "data set": lambda r: r.set_data("a longer body"),
    "status": lambda r: setattr(r, "status", "404 Gone astray"),
    "status code": lambda r: setattr(r, "status_code", 204),
    "not modified": lambda r: setattr(r, "status_code", 304),
    "mimetype": lambda r: setattr(r, "mimetype", "text/plain"),
    "content type": lambda r: setattr(r, "content_type", "x/y"),
    "cookie": lambda r: r.set_cookie("a", "b"),
    "etag": lambda r: r.add_etag(),
    "frozen": lambda r: r.freeze(),
    "stream": lambda r: r.stream.write(b"more"),
    "sequence": lambda r: r.make_sequence(),
    "vary": lambda r: r.vary.add("Cookie"),
    "location": lambda r: setattr(r, "location", "/ü"),
    "content location": lambda r: r.headers.set("Content-Location", "/ü"),
    "headers replaced": lambda r: setattr(r, "headers", Headers({"X": "y"})),
    "length dropped": lambda r: r.headers.remove("Content-Length"),
    "cache": lambda r: setattr(r.cache_control, "max_age", 5),
    "body replaced": lambda r: (r.headers.clear(), setattr(r, "response", [b"a", b"b"])),
    "body emptied": lambda r: r.set_data(b""),
}
_MADE: dict[str, t.Callable[[type], t.Any]] = {
    "text": lambda cls: cls("text"),
    "bytes": lambda cls: cls(b"bytes"),
    "bytearray": lambda cls: cls(bytearray(b"array")),
    "list": lambda cls: cls(["a", "b"]),
    "nothing": lambda cls: cls(),
    "status": lambda cls: cls("x", 201),
    "status text": lambda cls: cls("x", "201 Fine"),
    "headers": lambda cls: cls("x", headers={"X-B": "c", "Content-Type": "a/b"}),
    "mimetype": lambda cls: cls("x", mimetype="text/css"),
    "no mimetype": lambda cls: cls("x", mimetype=""),
    "content type": lambda cls: cls("x", content_type="a/b"),
    "passthrough": lambda cls: cls("x", direct_passthrough=True),
}


@pytest.mark.parametrize("make", _MADE.values(), ids=_MADE)
@pytest.mark.parametrize("change", _CHANGES.values(), ids=_CHANGES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_response_is_sent_as_werkzeugs(make: t.Any, change: t.Any, method: str) -> None:
    ours, theirs = make(Response), make(_Eager)
    outcome = []
    for response in (ours, theirs):
        try:
            change(response)
            status, headers, body = _send(response, method)
            outcome.append((status, sorted(headers), body))
        except Exception as error:  # noqa: BLE001 - compared below
            outcome.append(type(error))
    assert outcome[0] == outcome[1]


@pytest.mark.parametrize("options", [{"mimetype": "a/b\r\nX: y"}, {"content_type": "a/b\nX: y"}])
def test_content_type_with_a_line_break_raises(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="newline"):
        Response("x", **options)


def test_close_functions_run_when_the_body_is_closed() -> None:
    closed: list[int] = []
    response = Response("x")
    response.call_on_close(lambda: closed.append(1))
    _send(response)
    assert closed == [1]


@pytest.mark.parametrize(
    "make", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))]
)
@pytest.mark.parametrize("touched", [True, False], ids=["touched", "untouched"])
def test_copied_responses_are_sent_alike(make: t.Any, touched: bool) -> None:
    response = Response("x", 201, mimetype="text/plain")
    if touched:
        response.headers["X"] = "y"
    assert _send(make(response)) == _send(response)


@pytest.mark.parametrize(
    "attributes",
    [
        {"default_status": 418},
        {"default_mimetype": "text/plain"},
        {"default_mimetype": None},
        {"automatically_set_content_length": False},
        {"get_wsgi_headers": lambda self, environ: Headers({"X": "own"})},
        {"iter_encoded": lambda self: iter([b"own"])},
        {"get_wsgi_response": lambda self, environ: ([b"own"], "299 Own", [])},
    ],
    ids=lambda attributes: next(iter(attributes)),
)
@pytest.mark.parametrize("patched", [False, True], ids=["subclass", "patched"])
def test_overridden_members_of_a_subclass_are_used(
    attributes: dict[str, t.Any], patched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = type("Theirs", (_Eager,), attributes)
    if patched:
        for name, value in attributes.items():
            monkeypatch.setattr(Response, name, value, raising=False)
        ours: t.Any = type("Below", (Response,), {})
    else:
        ours = type("Ours", (Response,), attributes)
    assert _send(ours("text")) == _send(theirs("text"))


def test_mixin_after_the_class_is_used_before_werkzeugs() -> None:
    class Mixin(werkzeug.Response):
        def get_app_iter(self, environ):
            return [b"mixed in"]

    class Mixed(Response, Mixin):
        pass

    assert _send(Mixed("text"))[2] == b"mixed in"


def test_response_of_another_class_is_converted(app: Carboy) -> None:
    foreign = werkzeug.Response("foreign", 201, {"X": "y"})
    forced = Response.force_type(foreign)
    assert type(forced) is Response
    assert forced.headers["X"] == "y"
    assert _send(forced)[2] == b"foreign"
    again = Response.force_type(Response("own"))
    assert again.headers["Content-Length"] == "3"


def test_max_cookie_size_is_configured(app: Carboy) -> None:
    assert Response().max_cookie_size == werkzeug.Response.max_cookie_size
    app.config["MAX_COOKIE_SIZE"] = 10
    with app.app_context(), pytest.warns(UserWarning, match="too large"):
        carboy.Response().set_cookie("name", "x" * 20)


def _json_request(kind: type[Request]) -> Request:
    return kind(
        EnvironBuilder(method="POST", data=b"[1]  ", content_type="application/json").get_environ()
    )


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("content_length", 3, [1]),
        ("max_content_length", 4, RequestEntityTooLarge),
        ("is_json", False, UnsupportedMediaType),
        ("mimetype", "text/plain", UnsupportedMediaType),
        ("get_data", lambda request, **options: b"[2]", [2]),
    ],
)
@pytest.mark.parametrize("where", ["class", "subclass"])
def test_member_that_reads_the_body_may_be_overridden(
    name: str, value: t.Any, expected: t.Any, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unchanged(Request):
        pass

    if where == "class":
        monkeypatch.setattr(Request, name, value)
    kind = Unchanged if where == "class" else type("Overriding", (Unchanged,), {name: value})
    if isinstance(expected, list):
        assert _json_request(kind).get_json() == expected
    else:
        with pytest.raises(expected):
            _json_request(kind).get_json()
    monkeypatch.undo()
    assert _json_request(Unchanged).get_json() == [1]


def test_assigned_content_length_limits_the_body() -> None:
    request = _json_request(Request)
    request.content_length = 3
    assert request.get_data() == b"[1]"
