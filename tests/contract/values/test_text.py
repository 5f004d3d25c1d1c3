from __future__ import annotations

import codecs
import io
import typing as t

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from carboy import Upload
from carboy.contract.answers import forms_of_class
from carboy.contract.values.registry import kind_of
from carboy.contract.values.text import BytesKind, TextKind, UploadKind
from carboy.errors import InputError

if t.TYPE_CHECKING:
    from carboy.contract.values.kind import ValueKind

Short = t.Annotated[str, msgspec.Meta(min_length=2, max_length=4)]
Few = t.Annotated[bytes, msgspec.Meta(min_length=2, max_length=4)]
FewInFile = t.Annotated[Upload, msgspec.Meta(min_length=2, max_length=4)]


@pytest.mark.parametrize(
    ("annotation", "reader"),
    [
        (str, TextKind),
        (Short, TextKind),
        (bytes, BytesKind),
        (Few, BytesKind),
        (Upload, UploadKind),
        (FewInFile, UploadKind),
        (int, None),
        (list[str], None),
        (str | int, None),
        (t.Literal["a"], None),
    ],
    ids=str,
)
def test_type_belongs_to_its_kind(annotation, reader):
    found: ValueKind | None = kind_of(annotation)
    assert type(found) is (reader or type(None))


# --- text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "media_type", "text"),
    [
        (b"", "text/plain", ""),
        ("größe ✓".encode(), "text/plain", "größe ✓"),
        ("größe".encode(), "", "größe"),
        ("größe".encode("latin-1"), "text/plain; charset=ISO-8859-1", "größe"),
        ("größe".encode("cp1252"), 'text/plain; charset="windows-1252"', "größe"),
        ("größe".encode("utf-16"), "text/plain;charset=utf-16", "größe"),
        ("漢字".encode("shift_jis"), "text/markdown; a=b; charset=Shift_JIS", "漢字"),
        (b"\xef\xbb\xbfnotepad", "text/plain", "notepad"),
        (codecs.BOM_UTF16_BE + "größe".encode("utf-16-be"), "text/plain", "größe"),
        (codecs.BOM_UTF16_LE + "größe".encode("utf-16-le"), "", "größe"),
    ],
)
def test_text_is_read_in_its_charset(data, media_type, text):
    assert TextKind().read(data, media_type=media_type) == text


@pytest.mark.parametrize(
    ("data", "charset", "status", "got"),
    [
        (b"ab\xffcd", "utf-8", 400, "the byte 0xff at offset 2"),
        (b"ab\xc3", "UTF-8", 400, "the byte 0xc3 at offset 2"),
        (b"\x80", "us-ascii", 400, "the byte 0x80 at offset 0"),
        (b"ab", "klingon", 415, "charset 'klingon'"),
        (b"ab", "rot13", 415, "charset 'rot13'"),
        (b"ab", "punycode", 415, "charset 'punycode'"),
        (b"ab", "unicode_escape", 415, "charset 'unicode_escape'"),
        (b"ab", "x" * 500, 415, f"charset '{'x' * 40}'"),
    ],
)
def test_bytes_invalid_in_the_charset_are_refused(data, charset, status, got):
    with pytest.raises(InputError) as caught:
        TextKind().read(data, media_type=f"text/plain; charset={charset}", path="$.x")
    [fault] = caught.value.faults
    assert (caught.value.status, fault.path, fault.got) == (status, "$.x", got)


@given(st.binary())
def test_any_bytes_are_text_or_refused_at_the_first_invalid_one(data):
    assume(data[:2] not in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    good = data.decode(errors="ignore").removeprefix("\ufeff")
    try:
        data.decode()
    except UnicodeDecodeError as bad:
        with pytest.raises(InputError, match=f"at offset {bad.start} "):
            TextKind().read(data)
    else:
        assert TextKind().read(data) == good


@pytest.mark.parametrize(("charset", "data"), [("punycode", b"99"), ("idna", b"xn--9b")])
def test_long_text_in_a_slow_charset_is_refused_without_decoding(charset, data):
    with pytest.raises(InputError) as caught:  # decoding would take minutes
        TextKind().read(data + b"99" * 1_000_000, media_type=f"text/plain; charset={charset}")
    assert caught.value.status == 415


def test_a_body_is_text_by_its_media_type_only():
    reader = TextKind()
    assert reader.recognises(b"\xff", "text/markdown")
    assert not reader.recognises(b"abc", "application/octet-stream")


# --- bounds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(7))
@pytest.mark.parametrize("annotation", [Short, Few, FewInFile], ids=["str", "bytes", "Upload"])
def test_bounds_hold_for_raw_bodies(annotation, size):
    reader = kind_of(annotation)
    if 2 <= size <= 4:
        value = reader.read(b"x" * size)
        assert (value.size if isinstance(value, Upload) else len(value)) == size
        return
    with pytest.raises(InputError) as caught:
        reader.read(b"x" * size, path="$.file")
    assert (caught.value.status, caught.value.faults[0].path) == (422, "$.file")


@pytest.mark.parametrize("annotation", [Short, Few, FewInFile], ids=["str", "bytes", "Upload"])
def test_bounds_hold_in_json(annotation):
    decoder = msgspec.json.Decoder(kind_of(annotation).json_type)
    good, bad = ('"eHh4"', '"eHh4eHh4"') if annotation is not Short else ('"xxx"', '"xxxxxx"')
    assert kind_of(annotation).from_json(decoder.decode(good))
    with pytest.raises(msgspec.ValidationError):
        decoder.decode(bad)


# --- bytes and files -----------------------------------------------------------------------------


def test_bytes_are_unchanged():
    data = bytes(range(256))
    assert BytesKind().read(data, media_type="application/zip") == data
    assert BytesKind().from_json(data) == data


def test_bytes_accept_any_media_type_and_content():
    assert BytesKind().recognises(b"", "application/zip")
    assert BytesKind().recognises(b"abc", "")
    assert not BytesKind().recognises(b"", "")


@pytest.mark.parametrize(
    ("data", "is_form"),
    [
        (b"", True),
        (b"blob=AP8%3D&note=a+b", True),
        (b"\x00=\xff", False),
        (b"plain text", False),
        (b"word", False),
        (b"a = b", False),
        (b"a=b&" * 1000, True),
    ],
)
def test_bytes_with_the_media_type_of_a_form_are_recognised_by_content(data, is_form):
    assert BytesKind().recognises(data, "application/x-www-form-urlencoded") is not is_form


def test_raw_body_is_an_upload_without_a_name():
    file = UploadKind().read(b"abc", media_type="Application/Zip; x=y")
    assert (file.name, file.media_type, file.size, file.read()) == (
        "",
        "application/zip",
        3,
        b"abc",
    )


def test_a_file_in_json_is_base64():
    file = UploadKind().from_json(b"abc")
    assert (file.size, file.read()) == (3, b"abc")


def test_uploaded_file_is_passed_on_unchanged():
    file = Upload(io.BytesIO(b"abc"), name="a.txt")
    assert UploadKind().read_file(file) is file
    assert UploadKind().from_json(file) is file


@pytest.mark.parametrize(
    ("reader", "schema"),
    [
        (kind_of(Short), {"type": "string", "minLength": 2, "maxLength": 4}),
        (kind_of(bytes), {"type": "string", "contentEncoding": "base64"}),
        (kind_of(Upload), {"type": "string", "contentEncoding": "base64"}),
    ],
    ids=["text", "bytes", "upload"],
)
def test_schema_describes_the_json_form(reader, schema):
    assert reader.schema() == schema


@pytest.mark.parametrize(
    ("reader", "value", "forms"),
    [
        (TextKind(), "a✓", {"application/json": '"a✓"'.encode(), "text/plain": "a✓".encode()}),
        (
            BytesKind(),
            b"abc",
            {"application/octet-stream": b"abc", "application/json": b'"YWJj"'},
        ),
    ],
    ids=["text", "bytes"],
)
def test_text_and_bytes_are_returned_in_their_media_types(reader, value, forms):
    write = forms_of_class(type(value)).write
    assert {name: write(value, name) for name in reader.answers()} == forms
