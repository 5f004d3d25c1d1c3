"""carboy's form parser gives the results of Werkzeug's for every body."""

from __future__ import annotations

import contextlib
import io
import typing as t
from tempfile import SpooledTemporaryFile
from urllib.parse import unquote

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.formparser import FormDataParser as WerkzeugParser
from werkzeug.formparser import MultiPartParser
from werkzeug.http import parse_options_header
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request as WerkzeugRequest

import carboy
from carboy.core import formparser, percentescapes
from carboy.core.formparser import (
    FormDataParser,
    _StreamParser,
    _WholeDelimiterStream,
    keep_delimiters_whole,
    parse_content_type,
    split_multipart,
)

BOUNDARY = "----WebKitFormBoundaryAaB03x"
FIELD = b'Content-Disposition: form-data; name="title"'
FILE = b'Content-Disposition: form-data; name="image"; filename="iris.png"'
PNG = b"Content-Type: image/png"


class Request(WerkzeugRequest):
    form_data_parser_class = FormDataParser


class Trickle:
    """A stream that returns a given number of bytes per read, not the requested number."""

    def __init__(self, body: bytes, sizes: list[int]) -> None:
        self._body = io.BytesIO(body)
        self._sizes = sizes
        self._turn = 0

    def read(self, size: int = -1) -> bytes:
        if self._sizes and size != 0:
            size = self._sizes[self._turn % len(self._sizes)]
            self._turn += 1
        return self._body.read(size)


def part(content: bytes, *head: bytes) -> bytes:
    return b"\r\n".join(head) + b"\r\n\r\n" + content


def join(*parts: bytes, boundary: str = BOUNDARY) -> bytes:
    delimiter = b"--" + boundary.encode()
    return b"".join(delimiter + b"\r\n" + p + b"\r\n" for p in parts) + delimiter + b"--\r\n"


def outcome(
    parser: type[WerkzeugParser],
    body: bytes,
    *,
    boundary: str = BOUNDARY,
    sizes: list[int] | None = None,
    length: int | None = -1,
    **options: t.Any,
) -> t.Any:
    """Return everything that a user can see of the result, or the error."""
    made: list[dict[str, t.Any]] = []

    def stream_factory(**asked: t.Any) -> io.BytesIO:
        made.append(asked)
        return io.BytesIO()

    stream = t.cast("t.IO[bytes]", Trickle(body, sizes or []))
    length = len(body) if length == -1 else length
    options = {"max_form_memory_size": 500_000, "max_form_parts": 1000, **options}
    parse = parser(cls=ImmutableMultiDict, stream_factory=stream_factory, **options).parse
    try:
        same_stream, form, files = parse(
            stream, "multipart/form-data", length, {"boundary": boundary}
        )
    except (ValueError, RequestEntityTooLarge) as error:
        return type(error), str(error)
    assert same_stream is stream
    assert type(form) is type(files) is ImmutableMultiDict
    seen = [
        (key, f.name, f.filename, f.content_type, f.content_length, list(f.headers), f.read())
        for key, f in files.items(multi=True)
    ]
    return list(form.items(multi=True)), seen, made


def assert_same(body: bytes, *, sizes: list[int] | None = None, **options: t.Any) -> t.Any:
    expected = outcome(WerkzeugParser, body, **options)
    assert outcome(FormDataParser, body, sizes=sizes, **options) == expected
    return expected


def environ(body: bytes, boundary: str = BOUNDARY, **more: t.Any) -> dict[str, t.Any]:
    return {
        "REQUEST_METHOD": "POST",
        "wsgi.input": io.BytesIO(body),
        "wsgi.url_scheme": "http",
        "CONTENT_TYPE": f"multipart/form-data; boundary={boundary}",
        "CONTENT_LENGTH": str(len(body)),
        **more,
    }


# ----------------------------------------------------------------------------------------- results


def test_fields_and_files_of_a_common_form() -> None:
    body = join(
        part(b"Iris", FIELD),
        part("Blüte".encode(), FIELD),
        part(b"\x89PNG\r\n\x1a\n", FILE, PNG),
        part(b"", b'Content-Disposition: form-data; name="none"; filename=""', PNG),
    )
    with Request(environ(body)) as request:
        assert request.form.getlist("title") == ["Iris", "Blüte"]
        assert type(request.form) is ImmutableMultiDict
        image = request.files["image"]
        assert (image.filename, image.name, image.content_type) == (
            "iris.png",
            "image",
            "image/png",
        )
        assert image.mimetype == "image/png"
        assert image.read() == b"\x89PNG\r\n\x1a\n"
        assert isinstance(image.stream, SpooledTemporaryFile)
        assert not request.files["none"]
        assert list(request.files) == ["image", "none"]


def test_uploaded_file_can_be_saved_and_is_closed_with_the_request(tmp_path: t.Any) -> None:
    with Request(environ(join(part(b"content", FILE, PNG)))) as request:
        image = request.files["image"]
        image.save(tmp_path / "saved.png")
    assert (tmp_path / "saved.png").read_bytes() == b"content"
    assert image.stream.closed


def test_large_file_is_on_disk() -> None:
    content = b"x" * (formparser.MAX_IN_MEMORY_BYTES + 1)
    with Request(environ(join(part(content, FILE, PNG)))) as request:
        stream = t.cast(t.Any, request.files["image"].stream)
        assert stream._rolled
        assert stream.read() == content


def test_file_stream_of_a_request_subclass_is_used() -> None:
    asked = []

    class OwnStream(Request):
        def _get_file_stream(self, *args: t.Any, **kwargs: t.Any) -> t.IO[bytes]:
            asked.append((args, kwargs))
            return io.BytesIO()

    body = join(part(b"12345", FILE, PNG, b"Content-Length: 5"))
    assert type(OwnStream(environ(body)).files["image"].stream) is io.BytesIO
    assert asked == [
        (
            (),
            {
                "total_content_length": len(body),
                "filename": "iris.png",
                "content_type": "image/png",
                "content_length": 5,
            },
        )
    ]


def test_chunked_body_without_length_is_read() -> None:
    chunked = environ(join(part(b"Iris", FIELD)), HTTP_TRANSFER_ENCODING="chunked")
    del chunked["CONTENT_LENGTH"]
    assert Request({**chunked, "wsgi.input_terminated": True}).form["title"] == "Iris"
    # As in Werkzeug, nothing is read unless the server says that it ends the stream.
    assert not Request(chunked).form


def test_disconnected_client_is_a_bad_request() -> None:
    body = join(part(b"x" * 1000, FILE, PNG))
    short = environ(body, **{"wsgi.input": io.BytesIO(body[:-200])})
    with pytest.raises(ClientDisconnected):
        Request(short).files


@pytest.mark.parametrize("length", [None, 0], ids=["chunked", "known"])
def test_body_over_max_content_length_is_413(length: int | None) -> None:
    class Small(Request):
        max_content_length = 100

    body = environ(join(part(b"x" * 200, FILE, PNG)))
    if length is None:
        del body["CONTENT_LENGTH"]
        body |= {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    with pytest.raises(RequestEntityTooLarge):
        Small(body).files


@pytest.mark.parametrize(
    ("parts", "limit"),
    [
        pytest.param([part(b"x" * 101, FIELD)], {"max_form_memory_size": 100}, id="field"),
        pytest.param([part(b"x" * 500_001, FIELD)], {}, id="field over the default"),
        pytest.param([part(b"x" * 600_000, FIELD)], {}, id="field of a streamed body"),
        pytest.param([part(b"x", FIELD)] * 1001, {}, id="parts over the default"),
        pytest.param([part(b"x", FILE)] * 3, {"max_form_parts": 2}, id="parts"),
        pytest.param([part(b"x", FIELD)], {"max_form_parts": 0}, id="no part allowed"),
    ],
)
def test_form_over_a_limit_is_413(parts: list[bytes], limit: dict[str, int]) -> None:
    assert assert_same(join(*parts), **limit)[0] is RequestEntityTooLarge


def test_form_exactly_at_the_limits_is_parsed() -> None:
    fields, files, _ = assert_same(join(*[part(b"x", FIELD)] * 1000))
    assert (len(fields), files) == (1000, [])
    fields, files, _ = assert_same(
        join(*[part(b"x", FILE)] * 1001), max_form_parts=None, max_form_memory_size=None
    )
    assert (fields, len(files)) == ([], 1001)


def test_parse_error_is_silent_unless_requested() -> None:
    unfinished = join(part(b"Iris", FIELD))[:-10]
    assert assert_same(unfinished) == ([], [], [])
    assert assert_same(unfinished, silent=False)[0] is ValueError


@pytest.mark.parametrize("boundary", ["", "ä", "a\nb"], ids=["none", "not ASCII", "line break"])
def test_body_with_an_unusable_boundary_is_left_to_werkzeug(boundary: str) -> None:
    body = join(part(b"Iris", FIELD), boundary=boundary)
    assert_same(body, boundary=boundary)
    assert assert_same(body, boundary=boundary, silent=False)


def test_body_without_boundary_can_still_be_read_raw() -> None:
    assert Request(environ(b"raw", CONTENT_TYPE="multipart/form-data")).data == b"raw"


def test_parser_works_from_an_environ() -> None:
    _, form, _ = FormDataParser().parse_from_environ(environ(join(part(b"Iris", FIELD))))
    assert form["title"] == "Iris"


# ---------------------------------------------------------------------------- which parser is used

USUAL = {
    "browser": join(part(b"Iris", FIELD), part(b"\r\n\x00", FILE, PNG)),
    "requests (no type)": join(part(b"x", FILE)),
    "no fields": b"--" + BOUNDARY.encode() + b"--\r\n",
    "line break first": b"\r\n" + join(part(b"x", FIELD)),
    "epilogue": join(part(b"x", FIELD)) + b"epilogue",
    "empty content": join(part(b"", FIELD)),
    "content left out": join(part(b"x", FIELD)).replace(b"\r\n\r\nx\r\n", b"\r\n\r\n"),
    "escaped name": join(part(b"x", rb'Content-Disposition: form-data; name="a\"b\\c"')),
    "percent": join(part(b"x", b'Content-Disposition: form-data; name="%22"; filename="%22%"')),
    "utf-8 name": join(part(b"x", 'Content-Disposition: form-data; name="ä€"'.encode())),
    "path": join(part(b"x", rb'Content-Disposition: form-data; name="f"; filename="../a/b"')),
    "windows path": join(part(b"x", rb'Content-Disposition: form-data; name=f; filename="C:\a"')),
    "rfc 5987": join(
        part(b"x", b"Content-Disposition: form-data; name=\"f\"; filename*=UTF-8''%e2%82%ac.png")
    ),
    "rfc 2231": join(part(b"x", b'Content-Disposition: form-data; name*0="a"; name*1="b"')),
    "aiohttp": join(part(b"x", PNG, b"content-disposition: form-data; filename=x; name=f")),
    "okhttp": join(part(b"x", FILE, PNG, b"Content-Length: 1")),
    "bad length": join(part(b"x", FILE, b"Content-Length: +1")),
    "transfer encoding": join(part(b"eA==", FILE, b"Content-Transfer-Encoding: base64")),
    "charset": join(part(b"\xe4", FIELD, b"Content-Type: text/plain; charset=iso-8859-1")),
    "unknown charset": join(part(b"\xe4", FIELD, b"Content-Type: text/plain; charset=utf-16")),
    "not utf-8": join(part(b"\xe4", FIELD)),
    "no name": join(part(b"x", b"Content-Disposition: form-data")),
    "delimiter in a name": join(part(b"x", FIELD[:-1] + BOUNDARY.encode() + b'"')),
    "twice": join(part(b"x", FIELD, FILE)),
}

UNUSUAL = {
    "preamble": b"preamble\r\n" + join(part(b"x", FIELD)),
    "line feeds": join(part(b"x", FIELD)).replace(b"\r\n", b"\n"),
    "carriage returns": join(part(b"x", FIELD)).replace(b"\r\n", b"\r"),
    "line feed in headers": join(part(b"x", FIELD + b"\nX: y")),
    "padded delimiter": join(part(b"x", FIELD)).replace(b"03x\r\n", b"03x  \r\n"),
    "folded header": join(part(b"x", FIELD + b"\r\n ; filename=x")),
    "space first": join(part(b"x", b" " + FIELD)),
    "no disposition": join(part(b"x", PNG)),
    "no headers": join(b"\r\nx"),
    "header not utf-8": join(part(b"x", FIELD[:-1] + b'\xe4"')),
    "no blank line": join(FIELD),
    "long headers": join(part(b"x", FIELD, b"X: " + b"y" * 9000)),
    "no end": join(part(b"x", FIELD))[:-4],
    "look-alike": join(part(b"\r\n--" + BOUNDARY.encode() + b"y\r\n", FILE)),
    "bare delimiter": join(part(b"\n--" + BOUNDARY.encode() + b"\n", FILE)),
    "other boundary": join(part(b"x", FIELD), boundary="other"),
    "empty": b"",
}


@pytest.mark.parametrize("body", USUAL.values(), ids=USUAL)
def test_common_body_is_split_without_werkzeug(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = outcome(WerkzeugParser, body, silent=False)
    monkeypatch.delattr(WerkzeugParser, "_parse_multipart")
    assert outcome(FormDataParser, body, silent=False) == expected


@pytest.mark.parametrize("body", UNUSUAL.values(), ids=UNUSUAL)
def test_uncommon_body_is_left_to_werkzeug(body: bytes) -> None:
    assert split_multipart(body, BOUNDARY.encode()) is None
    assert_same(body, silent=False)


@pytest.mark.parametrize("client", ["requests", "werkzeug"])
def test_bodies_of_real_clients_are_split_without_werkzeug(
    client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = b"\r\n--\x00" * 100
    if client == "requests":
        prepared = requests.Request(
            "POST",
            "http://localhost/",
            data={"title": "Blüte"},
            files={"image": ("ä.png", image, "image/png"), "raw": b"raw"},
        ).prepare()
        body, content_type = prepared.body, prepared.headers["Content-Type"]
        received = environ(t.cast(bytes, body), CONTENT_TYPE=content_type)
    else:
        data = {
            "title": "Blüte",
            "image": (io.BytesIO(image), "ä.png", "image/png"),
            "raw": (io.BytesIO(b"raw"), "raw"),
        }
        with contextlib.closing(EnvironBuilder(method="POST", data=data)) as builder:
            received = builder.get_environ()
    monkeypatch.delattr(WerkzeugParser, "_parse_multipart")
    with Request(received) as request:
        assert request.form["title"] == "Blüte"
        assert (request.files["image"].filename, request.files["image"].read()) == ("ä.png", image)
        assert request.files["raw"].read() == b"raw"


def test_splitting_reads_each_byte_once() -> None:
    looked: list[tuple[int, int]] = []

    class Counted(bytes):
        def find(self, *args: t.Any) -> int:
            found = super().find(*args)
            looked.append((args[1], found))
            return found

    body = join(*[part(b"\r\n-" * 50, FIELD)] * 500)
    assert len(split_multipart(Counted(body), BOUNDARY.encode()) or []) == 500
    assert len(looked) == 500
    ends = [end for _, end in looked]
    assert all(start > end for (start, _), end in zip(looked[1:], ends[:-1], strict=True))


# -------------------------------------------------------------------------------------- properties

# The building blocks of the bodies below; each resembles something that a parser looks for.
TOKENS = [
    *(b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"--", b"--B", b"\r\n--B", b"\n--B\n", b"--B--"),
    *(b"--B \r\n", b" ", b"\t", b'"', b"\\", b"%22", b";", b"=", b":", b"\0", b"\x0b", b"\xff"),
    *(b"\r\n ", b"\r\n\r\n--B", FIELD, FILE, PNG, b"Content-Length: 5", b"filename*=''x", b"x"),
    *("\x85".encode(), "\u2028".encode(), b"Content-Type: text/plain; charset=iso-8859-1"),
]
tokens = st.sampled_from(TOKENS)
contents = st.lists(tokens | st.binary(max_size=5), max_size=6).map(b"".join)
names = st.text(st.sampled_from('abä€"\\%2;=:/. \x0b\u2028'), max_size=6)
read_sizes = st.lists(st.integers(1, 40), max_size=3)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    lines = ['Content-Disposition: form-data; name="' + draw(names) + '"']
    if draw(st.booleans()):
        lines[0] += '; filename="' + draw(names) + '"'
    lines += draw(st.lists(st.sampled_from(["Content-Type: a/b", "Content-Length:  9", "X:\t y "])))
    return "\r\n".join(draw(st.permutations(lines))).encode()


@st.composite
def forms(draw: st.DrawFn) -> tuple[str, bytes]:
    boundary = draw(st.sampled_from(["B", "B-", "-", "--", BOUNDARY]))
    parts = draw(st.lists(st.builds(part, contents, heads()), max_size=4))
    return boundary, join(*parts, boundary=boundary)


@given(forms(), read_sizes, st.booleans())
def test_any_form_equals_werkzeugs_result(
    form: tuple[str, bytes], sizes: list[int], known_length: bool
) -> None:
    boundary, body = form
    length = len(body) if known_length else None
    assert_same(body, boundary=boundary, sizes=sizes, length=length, silent=False)


@given(
    forms(),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4), tokens | st.just(b"")), max_size=4),
    st.fixed_dictionaries(
        {
            "silent": st.booleans(),
            "max_form_parts": st.sampled_from([None, 0, 1, 1000]),
            "max_form_memory_size": st.sampled_from([None, 50, 200, 500_000]),
        }
    ),
)
def test_damaged_form_equals_werkzeugs_result(
    form: tuple[str, bytes],
    damages: list[tuple[float, int, bytes]],
    options: dict[str, t.Any],
) -> None:
    boundary, body = form
    for where, removed, inserted in damages:
        at = int(where * len(body))
        body = body[:at] + inserted.replace(b"B", boundary.encode()) + body[at + removed :]
    assert_same(body, boundary=boundary, **options)


def seen_by_view(kind: type[t.Any], body: bytes, boundary: str, steps: list[str]) -> t.Any:
    """Return what a view sees that reads a request with a form in these steps."""
    request = kind(environ(body, boundary))
    request.max_form_parts = 3
    seen: list[t.Any] = []
    for step in steps:
        try:
            if step == "files":
                files = request.files.items(multi=True)
                seen.append([(key, f.filename, list(f.headers), f.read()) for key, f in files])
            elif step == "form":
                seen.append(list(request.form.items(multi=True)))
            elif step == "stream":
                seen.append(request.stream.read())
            elif step == "shorter":
                request.max_content_length = 100
            else:
                seen.append(request.get_data(parse_form_data=step == "data"))
        except RequestEntityTooLarge as error:
            seen.append(str(error))
    request.close()
    return seen


# Werkzeug closes no file of a form that it refuses.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@given(
    forms(),
    st.lists(
        st.sampled_from(["form", "files", "data", "get_data", "stream", "shorter"]), max_size=4
    ),
    st.sampled_from([(b"", b""), (b"--\r\n", b""), (b"x", b"\r\n")]),
)
def test_request_with_a_form_equals_werkzeugs(
    form: tuple[str, bytes], steps: list[str], damage: tuple[bytes, bytes]
) -> None:
    boundary, body = form
    body = body.replace(*damage, 1)
    expected = seen_by_view(WerkzeugRequest, body, boundary, steps)
    assert seen_by_view(carboy.Request, body, boundary, steps) == expected


def test_parser_of_one_request_may_be_replaced() -> None:
    class NoParser(WerkzeugParser):
        def parse(self, stream: t.IO[bytes], *args: t.Any, **kwargs: t.Any) -> t.Any:
            return stream, self.cls([("title", "none")]), self.cls()

    request = carboy.Request(environ(join(part(b"Iris", FIELD))))
    request.form_data_parser_class = NoParser
    assert request.form["title"] == "none"


def test_stream_for_files_of_one_request_may_be_replaced() -> None:
    request = carboy.Request(environ(join(part(b"Iris", FILE))))
    request._get_file_stream = lambda **asked: io.BytesIO()  # type: ignore[method-assign]
    assert type(request.files["image"].stream) is io.BytesIO


@settings(max_examples=25)
@given(st.lists(st.sampled_from([b"\r\n--B\r\n", b"\r\n--Bx", b"\r\n--", b"x", b"\r"]), min_size=1))
def test_body_over_the_memory_limit_equals_werkzeugs_result(pieces: list[bytes]) -> None:
    filler = b"".join(pieces) * (formparser.MAX_IN_MEMORY_BYTES // len(b"".join(pieces)))
    body = join(part(b"x" * 100 + filler, FILE), part(b"y", FIELD), boundary="B")
    assert len(body) > formparser.MAX_IN_MEMORY_BYTES
    assert_same(body, boundary="B", silent=False)
    assert_same(body, boundary="B", length=None, silent=False)


ESCAPES = st.sampled_from([*"ab=&+%20ä;€\ufffd", "%C3", "%a4", "%E2%82%AC", "%41", "%0", "%g1"])


@given(st.lists(ESCAPES, max_size=30).map("".join).map(str.encode) | contents)
def test_urlencoded_form_equals_werkzeugs_result(body: bytes) -> None:
    def read(parser: type[WerkzeugParser]) -> object:
        mimetype = "application/x-www-form-urlencoded"
        try:
            _, form, files = parser(silent=False).parse(io.BytesIO(body), mimetype, len(body))
        except UnicodeDecodeError as error:
            return str(error)
        return form, files

    assert read(FormDataParser) == read(WerkzeugParser)


@given(st.lists(ESCAPES, max_size=30).map("".join), st.integers(1, 9))
def test_long_field_is_decoded_in_parts(text: str, part: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(percentescapes, "_PART_CHARACTERS", part)
        for errors in ("werkzeug.url_quote", "replace"):
            assert percentescapes.unquote(text, errors) == unquote(text, errors=errors)


def test_urlencoded_form_has_at_most_a_hundred_fields_for_each_part() -> None:
    parser = FormDataParser(max_form_parts=3)
    mimetype = "application/x-www-form-urlencoded"
    for fields in (300, 301):
        body = b"&".join([b"a"] * fields)
        if fields <= 300:
            assert len(parser.parse(io.BytesIO(body), mimetype, len(body))[1].getlist("a")) == 300
        else:
            with pytest.raises(RequestEntityTooLarge):
                parser.parse(io.BytesIO(body), mimetype, len(body))


@given(
    st.just("multipart/form-data; boundary=").flatmap(
        lambda start: st.text(max_size=20).map(lambda rest: start + rest)
    )
    | st.sampled_from([None, "", "text/plain", "multipart/form-data", f"a; boundary={BOUNDARY}"])
    | st.sampled_from([f"multipart/form-data{x}boundary={BOUNDARY}" for x in (";", "; ", ";  ")])
)
def test_content_type_equals_werkzeugs_result(value: str | None) -> None:
    assert parse_content_type(value) == parse_options_header(value)


# ----------------------------------------------------------------------- reads inside of delimiters


def cut(body: bytes, sizes: list[int], boundary: str) -> t.IO[bytes]:
    stream = t.cast("t.IO[bytes]", Trickle(body, sizes))
    return keep_delimiters_whole(stream, boundary)


def parsed(
    stream: t.IO[bytes], boundary: str, parser_class: type[MultiPartParser] = MultiPartParser
) -> t.Any:
    parser = parser_class(stream_factory=lambda **_: io.BytesIO())
    try:
        form, files = parser.parse(stream, boundary.encode(), None)
    except ValueError as error:
        return str(error)
    contents = [(name, file.filename, file.read()) for name, file in files.items(multi=True)]
    return list(form.items(multi=True)), contents


@given(forms(), st.lists(st.integers(1, 80), min_size=1, max_size=3))
def test_result_does_not_depend_on_how_reads_are_cut(
    form: tuple[str, bytes], sizes: list[int]
) -> None:
    boundary, body = form
    whole = parsed(io.BytesIO(body), boundary)
    for parser_class in (MultiPartParser, _StreamParser):
        assert parsed(cut(body, sizes, boundary), boundary, parser_class) == whole


@pytest.mark.parametrize("padding", [b"", b" ", b" \t  " * 8], ids=["plain", "space", "long"])
@pytest.mark.parametrize("line_break", [b"\r\n", b"\n", b"\r"], ids=["CRLF", "LF", "CR"])
def test_each_cut_of_a_body_gives_the_same_bytes(padding: bytes, line_break: bytes) -> None:
    boundary = "----WebKitFormBoundary7MA4YWxk"
    delimiter = b"--" + boundary.encode()
    contents = [b"", b"x", b"\r", b"\n", b"\r\n", b"\r\n--", delimiter + b"x", b"ab\r\r\n"]
    body = b"".join(
        delimiter + padding + line_break + FILE + line_break * 2 + content + line_break
        for content in contents
    )
    body += delimiter + b"--" + padding + line_break
    whole = parsed(io.BytesIO(body), boundary)
    assert len(whole[1]) == len(contents)
    for sizes in ([1], [2], *([size, len(body)] for size in range(3, len(body)))):
        for parser_class in (MultiPartParser, _StreamParser):
            assert parsed(cut(body, sizes, boundary), boundary, parser_class) == whole, sizes


# What the content of a file may contain, with the boundary "B".
PIECES = [b"\r\n--B", b"--B", b"\r\n--", b"\r", b"\n", b"-", b"B", b" ", b"x" * 7, b"\0" * 90]


@given(
    st.lists(st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join), min_size=1, max_size=4),
    st.integers(1, 200),
    st.integers(1, 200),
)
def test_content_that_is_copied_in_blocks_equals_werkzeugs(
    contents: list[bytes], chunk: int, block: int
) -> None:
    body = join(
        *(part(content, head) for content in contents for head in (FILE, FIELD)), boundary="B"
    )
    whole = parsed(io.BytesIO(body), "B")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formparser, "_BLOCK_BYTES", block)
        parser = _StreamParser(stream_factory=lambda **_: io.BytesIO(), buffer_size=chunk)
        stream = keep_delimiters_whole(io.BytesIO(body), "B")
        assert parsed(stream, "B", lambda **_: parser) == whole


class RequestWithWerkzeugsParser(carboy.Request):
    form_data_parser_class = WerkzeugParser


@pytest.mark.parametrize("cls", [carboy.Request, RequestWithWerkzeugsParser])
@pytest.mark.parametrize("head", [FILE, FIELD], ids=["file", "field"])
def test_large_upload_is_byte_for_byte_at_every_offset_of_its_end(
    cls: type[carboy.Request], head: bytes
) -> None:
    # Werkzeug reads 64 KiB at a time: the end of a read is moved over the whole last delimiter.
    boundary = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
    overhead = len(join(part(b"", head), boundary=boundary))
    for offset in range(-len(boundary) - 10, 6):
        size = 65_536 * 10 + offset - overhead + len(boundary) + 8
        body = join(part(b"\0" * size, head), boundary=boundary)
        received = environ(body, CONTENT_TYPE=f"multipart/form-data; boundary={boundary}")
        with cls(received) as request:
            request.max_form_memory_size = 10_000_000
            if head is FILE:
                assert [len(file.read()) for file in request.files.values()] == [size]
            else:
                assert [len(value) for value in request.form.values()] == [size]


@pytest.mark.parametrize(
    "line",
    [
        b"\r\n--B" + b" " * 300_000,
        b"\r\n--B" * 100_000,
        b"\r\n--" * 150_000,
        b"\r" * 600_000,
        b"x--B" * 150_000,
        b"\r\n--Bx" * 100_000,
    ],
    ids=["padding", "delimiters", "half", "line breaks", "false", "false at the start of lines"],
)
def test_hostile_body_is_read_in_linear_time(line: bytes) -> None:
    body = join(part(line, FILE), boundary="B")
    looked = 0

    class Counted(_WholeDelimiterStream):
        def _hold_last_line(self, data: bytes, end: int, is_held: t.Any) -> int:
            nonlocal looked
            looked += len(data)
            return super()._hold_last_line(data, end, is_held)

    stream = Counted(io.BytesIO(body), b"--B")
    with contextlib.suppress(ValueError):
        while stream.read(65_536):
            pass
    assert looked < 30 * len(body)
    looked, stream = 0, Counted(io.BytesIO(body), b"--B")
    with contextlib.suppress(ValueError):
        _StreamParser(stream_factory=lambda **_: io.BytesIO()).parse(stream, b"B", None)
    assert looked < 30 * len(body)
