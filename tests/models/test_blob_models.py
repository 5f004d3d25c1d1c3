"""Models that take text, bytes and files: every way to send them, and every way to do it wrong."""

from __future__ import annotations

import base64
import io
import typing as t

import msgspec
import pytest

from carboy import Upload

Note = t.Annotated[str, msgspec.Meta(min_length=1, max_length=5)]
Blob = t.Annotated[bytes, msgspec.Meta(min_length=1, max_length=5)]
File = t.Annotated[Upload, msgspec.Meta(min_length=1, max_length=5)]
FORM = "application/x-www-form-urlencoded"


def text(note: str) -> str:
    return note


def data(blob: bytes) -> str:
    return blob.hex()


def file(blob: Upload) -> list[str]:
    return [blob.name, blob.media_type, blob.read().hex()]


def noted(blob: bytes, note: str = "-") -> list[str]:
    return [note, blob.hex()]


def either(note: str | None = None) -> str | None:
    return note


def few(note: Note) -> int:
    return len(note)


def few_bytes(blob: Blob) -> int:
    return len(blob)


def few_in_file(blob: File) -> int:
    return blob.size


@pytest.fixture
def post(app):
    def send(function, **request):
        app.model("/m")(function)
        if isinstance(request.get("data"), dict):
            request["data"] = {name: opened(value) for name, value in request["data"].items()}
        return app.test_client().post("/m", **request)

    return send


def part(content: bytes, name: str = "a.bin", media_type: str = "application/octet-stream"):
    return content, name, media_type


def opened(value):
    return (io.BytesIO(value[0]), *value[1:]) if isinstance(value, tuple) else value


def raw(content: bytes, media_type: str):
    return {"data": content, "content_type": media_type}


# --- what can be sent ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "note"),
    [
        (raw("größe".encode(), "text/plain"), "größe"),
        (raw("größe".encode("latin-1"), "text/plain; charset=latin-1"), "größe"),
        (raw(b"# Title", "text/markdown"), "# Title"),
        (raw(b"", "text/plain"), ""),
        ({"json": "größe"}, "größe"),
        ({"json": {"note": "größe"}}, "größe"),
        ({"data": {"note": "größe"}}, "größe"),
        ({"data": {"note": '["a"]'}}, '["a"]'),
        ({"data": {"note": part("größe".encode(), "a.txt", "text/plain")}}, "größe"),
        (
            {"data": {"note": part("größe".encode("utf-16"), "a.txt", "text/plain")}},
            "größe",
        ),
    ],
    ids=[
        "utf-8",
        "latin-1",
        "markdown",
        "empty",
        "json",
        "json by name",
        "form",
        "form, like json",
        "file",
        "file in utf-16",
    ],
)
def test_text_is_read_from_each_kind_of_body(post, request_, note):
    answer = post(text, **request_)
    assert (answer.status_code, answer.json) == (200, note)


@pytest.mark.parametrize(
    "request_",
    [
        raw(b"\x00\xff", "application/octet-stream"),
        raw(b"\x00\xff", "application/zip"),
        raw(b"\x00\xff", "image/png"),
        raw(b"\x00\xff", "text/plain"),
        {"json": "AP8="},
        {"json": {"blob": "AP8="}},
        {"data": {"blob": part(b"\x00\xff")}},
        {"data": {"other": part(b"\x00\xff")}},
        {"data": {"blob": "AP8="}},
        raw(b"\x00\xff", FORM),
    ],
    ids=[
        "raw",
        "zip",
        "png",
        "text",
        "json",
        "by name",
        "file",
        "file of another name",
        "field",
        "curl --data-binary",
    ],
)
@pytest.mark.parametrize("function", [data, file], ids=["bytes", "Upload"])
def test_bytes_are_read_from_each_kind_of_body(post, function, request_):
    answer = post(function, **request_)
    assert answer.status_code == 200, answer.text
    assert answer.json == "00ff" or answer.json[2] == "00ff"


def test_file_has_its_name_and_media_type(post):
    answer = post(file, data={"blob": part(b"a", "a.zip", "application/zip")})
    assert answer.json == ["a.zip", "application/zip", "61"]


def test_raw_body_has_its_media_type(post):
    assert post(file, **raw(b"a", "audio/wav")).json == ["", "audio/wav", "61"]


def test_other_parameters_of_a_raw_body_have_their_defaults(post):
    assert post(noted, **raw(b"a", "audio/wav")).json == ["-", "61"]


def test_file_and_field_of_a_form_are_predicted(post):
    assert post(noted, data={"blob": part(b"a"), "note": "hi"}).json == ["hi", "61"]


@pytest.mark.parametrize(
    ("request_", "note"),
    [
        (raw(b"null", "application/json"), None),
        ({"json": "a"}, "a"),
        (raw(b"a", "text/plain"), "a"),
    ],
    ids=["null", "json", "raw"],
)
def test_optional_text_may_be_null(post, request_, note):
    answer = post(either, **request_)
    assert (answer.status_code, answer.json) == (200, note)


# --- what cannot ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "request_", "status", "code"),
    [
        (text, raw(b"ab\xff", "text/plain"), 400, "input-malformed"),
        (text, raw(b"ab", "text/plain; charset=klingon"), 415, "input-unsupported"),
        (text, raw(b"ab", "application/octet-stream"), 415, "input-unsupported"),
        (text, {"json": 5}, 422, "input-invalid"),
        (text, {"data": {"note": part(b"\xff", "a.txt")}}, 400, "input-malformed"),
        (data, raw(b"", ""), 400, "input-malformed"),
        (data, {"json": "no base64!"}, 422, "input-invalid"),
        (data, {"json": [1, 2]}, 422, "input-invalid"),
        (file, {"json": 5}, 422, "input-invalid"),
        (file, {"data": {"blob": "no base64!"}}, 422, "input-invalid"),
        (noted, {"data": {"note": "a"}}, 422, "input-invalid"),
    ],
)
def test_unsuitable_text_bytes_or_file_is_refused(post, function, request_, status, code):
    answer = post(function, **request_)
    assert (answer.status_code, answer.json["code"]) == (status, code), answer.text


def test_body_that_is_not_utf_8_is_refused_with_the_position_of_the_byte(post):
    [error] = post(text, **raw(b"ab\xffcd", "text/plain")).json["errors"]
    assert (error["path"], error["got"]) == ("$", "the byte 0xff at offset 2")


@pytest.mark.parametrize("size", [0, 1, 5, 6])
@pytest.mark.parametrize("way", ["raw", "json", "file", "field"])
@pytest.mark.parametrize(
    ("function", "name", "media_type"),
    [
        (few, "note", "text/plain"),
        (few_bytes, "blob", "audio/wav"),
        (few_in_file, "blob", "audio/wav"),
    ],
    ids=["str", "bytes", "Upload"],
)
def test_bounds_apply_to_every_media_type(post, function, name, media_type, way, size):
    content = b"x" * size
    written = content.decode() if function is few else base64.b64encode(content).decode()
    request = {
        "raw": raw(content, media_type),
        "json": {"json": written},
        "file": {"data": {name: part(content, "a", media_type)}},
        "field": {"data": {name: written}},
    }[way]
    answer = post(function, **request)
    if 1 <= size <= 5:
        assert (answer.status_code, answer.json) == (200, size)
    else:
        assert answer.status_code == 422, answer.text
        assert answer.json["errors"][0]["expected"]
