"""What a file is, by its content; and which types a program allows by wildcards."""

from __future__ import annotations

import io

import pytest

from carboy.uploads.contenttypes import ALL, type_of, types_of

FILES: dict[str, tuple[bytes, str]] = {
    "PNG": (b"\x89PNG\r\n\x1a\n", "image/png"),
    "JPEG": (b"\xff\xd8\xff\xe0", "image/jpeg"),
    "WebP": (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
    "WAV": (b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"),
    "another RIFF file": (b"RIFF\0\0\0\0AVI LIST", "application/octet-stream"),
    "AVIF": (b"\0\0\0\x20ftypavif\0\0\0\0", "image/avif"),
    "HEIC": (b"\0\0\0\x20ftypheic\0\0\0\0", "application/octet-stream"),
    "MP4": (b"\0\0\0\x20ftypisom\0\0\0\0", "video/mp4"),
    "M4A": (b"\0\0\0\x20ftypM4A \0\0\0\0", "audio/mp4"),
    "QuickTime": (b"\0\0\0\x20ftypqt  \0\0\0\0", "video/quicktime"),
    "Matroska": (b"\x1a\x45\xdf\xa3\x01\x42\x82\x88matroska", "application/octet-stream"),
    "MP3": (b"ID3\x03\0", "audio/mpeg"),
    "Ogg": (b"OggS\0", "audio/ogg"),
    "NumPy": (b"\x93NUMPY\x01\0", "application/x-npy"),
    "Parquet": (b"PAR1\0", "application/vnd.apache.parquet"),
    "GZIP": (b"\x1f\x8b\x08\0", "application/gzip"),
    "empty ZIP": (b"PK\x05\x06" + bytes(18), "application/zip"),
    "text": ("Käse\n".encode(), "text/plain"),
    "text that begins like a bitmap": (b"BMW is a car", "text/plain"),
    "text in Latin-1": ("Käse\n".encode("latin-1"), "application/octet-stream"),
    "text with a NUL at its end": (b"a" * 5000 + b"\0", "application/octet-stream"),
    "text with half a character at its end": ("aä".encode()[:-1], "application/octet-stream"),
    "text with a control character": (b"a" * 5000 + b"\x01", "application/octet-stream"),
    "text with colours of a terminal": (b"\x1b[31mred\x1b[0m\t\f\r\n", "text/plain"),
    "SVG": (b"  <svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
    "SVG after a comment": (b"<!-- made by X -->\n<svg/>", "image/svg+xml"),
    "SVG after a long comment": (
        b"<?xml version='1.0'?><!--%b--><svg/>" % bytes([32] * 900),
        "image/svg+xml",
    ),
    "SVG with a document type": (b"<!DOCTYPE svg PUBLIC 'x'>\n<svg/>", "image/svg+xml"),
    "SVG with entities": (
        b"<!DOCTYPE svg [%b]><svg/>" % (b"<!ENTITY a 'b'>" * 40),
        "image/svg+xml",
    ),
    "SVG with many entities": (
        b"<!DOCTYPE svg [%b]><svg/>" % (b"<!ENTITY a 'b'>" * 400),
        "image/svg+xml",
    ),
    "SVG with a style sheet": (b"<?xml-stylesheet href='a'?><svg/>", "image/svg+xml"),
    "SVG with a prefix": (b"<svg:svg xmlns:svg='x'/>", "image/svg+xml"),
    "HTML": (b"<HTML><body>", "text/html"),
    "HTML with a picture": (b"<!doctype html><html><svg/>", "text/html"),
    "HTML after a comment": (b"<!-- a --><html>", "text/html"),
    "Markdown with a comment": (b"<!-- lint: off -->\n# SVG\nas <svg>", "text/plain"),
    "PHP": (b"<?php echo 1 ?><html>", "text/plain"),
    "text that begins like MP3": (b"ID3 is a classic decision tree algorithm.", "text/plain"),
    "text that begins like Parquet": (b"PAR1 text", "text/plain"),
    "text that begins like Ogg": (b"OggS", "text/plain"),
    "text that begins like FLAC": (b"fLaC or MP3?", "text/plain"),
    "FLAC": (b"fLaC\0\0\0\x22\x10\0\x10\0", "audio/flac"),
    "PDF of text": (b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n", "application/pdf"),
    "XML": (b"<?xml version='1.0'?><a/>", "text/html"),
}


@pytest.mark.parametrize(("data", "media_type"), FILES.values(), ids=FILES)
def test_file_is_recognised_by_its_content(data, media_type):
    assert type_of(io.BytesIO(data), "file.exe").media_type == media_type


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("a.CSV", "text/csv"), ("a.json", "application/json"), ("a.csv.txt", "text/plain")],
)
def test_name_tells_apart_the_kinds_of_text(name, media_type):
    assert type_of(io.BytesIO(b"1,2"), name).media_type == media_type


def test_character_of_several_bytes_may_be_cut_between_two_reads():
    text = "ä" * (1024 * 1024)
    assert type_of(io.BytesIO(b"a" + text.encode()), "a.txt").media_type == "text/plain"


@pytest.mark.parametrize("wildcard", ["image/*", "text/*", "audio/*", "video/*", "application/*"])
def test_wildcard_includes_no_type_that_can_hold_scripts(wildcard):
    found = {each.media_type for each in types_of(wildcard)}
    assert found
    assert all(each.startswith(wildcard[:-1]) for each in found)
    assert not found & {"image/svg+xml", "text/html"}


def test_all_types_are_allowed_by_the_widest_wildcard():
    assert types_of("*/*") == ALL


def test_several_media_types_are_joined():
    found = types_of(["text/csv", "image/svg+xml", "image/png", "image/png"])
    assert [each.media_type for each in found] == ["text/csv", "image/svg+xml", "image/png"]


@pytest.mark.parametrize("types", ["image", "IMAGE/*", "*/png", "image/p*", "*", ""])
def test_other_patterns_are_refused(types):
    with pytest.raises(ValueError, match="cannot be recognised by content"):
        types_of(types)


def test_types_have_distinct_suffixes():
    assert len({each.suffix for each in ALL}) == len({each.media_type for each in ALL}) == len(ALL)
