"""`view`: stored files are sent with the right type, in ranges, and never run scripts."""

from __future__ import annotations

import pytest

from carboy import uploads

SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
HTML = b"<!doctype html><script>alert(1)</script>"
PDF = b"%PDF-1.7\n"


@pytest.fixture
def get(send, site):
    """Save a file, and get it by its URL."""
    site.options["types"] = "*/*"

    def get(data: bytes, name: str = "file", **headers: str):
        stored = send((data, name)).text
        headers = {key.replace("_", "-"): value for key, value in headers.items()}
        return site.test_client().get(f"/uploads/{stored}", headers=headers, buffered=True)

    return get


@pytest.mark.parametrize(
    ("data", "name", "content_type"),
    [
        (PDF, "a.html", "application/pdf"),
        (b"plain <script>", "a.html", "text/plain; charset=utf-8"),
        ("Käse".encode(), "", "text/plain; charset=utf-8"),
        (b"\x1a\x45\xdf\xa3\x01\x42\x82\x84webm", "a", "video/webm"),
    ],
    ids=["PDF", "text", "text in UTF-8", "WebM"],
)
def test_harmless_file_is_shown_with_the_type_of_its_content(get, data, name, content_type):
    answer = get(data, name or "x")
    assert answer.data == data
    assert answer.headers["Content-Type"] == content_type
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"].startswith("inline")


@pytest.mark.parametrize(
    ("data", "name", "content_type"),
    [
        (SVG, "a.png", "image/svg+xml; charset=utf-8"),
        (b"<?xml version='1.0'?>\n" + SVG, "a.svg", "image/svg+xml; charset=utf-8"),
        (HTML, "a.txt", "text/html; charset=utf-8"),
        (b"\xef\xbb\xbf  " + HTML, "a.png", "text/html; charset=utf-8"),
        (b"PK\x03\x04", "a.zip", "application/zip"),
        (b"a,b\n1,2\n", "table.csv", "text/csv; charset=utf-8"),
        (b"\0\1\2", "a.exe", "application/octet-stream"),
    ],
    ids=["SVG", "SVG with a head", "HTML", "HTML with a mark", "ZIP", "CSV", "unknown"],
)
def test_other_file_is_an_attachment_in_a_sandbox(get, data, name, content_type):
    answer = get(data, name)
    assert answer.data == data
    assert answer.headers["Content-Type"] == content_type
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


def test_picture_is_sent_with_its_type(get, picture):
    assert get(picture("JPEG"), "a.png").headers["Content-Type"] == "image/jpeg"


def test_range_is_sent(get):
    answer = get(PDF, Range="bytes=1-3")
    assert (answer.status_code, answer.data) == (206, b"PDF")
    assert answer.headers["Content-Range"] == f"bytes 1-3/{len(PDF)}"
    assert get(PDF, Range="bytes=99-").status_code == 416


def test_file_that_the_client_has_is_not_sent_again(send, site, picture):
    client, url = site.test_client(), f"/uploads/{send((picture(), 'a.png')).text}"
    tag = client.get(url, buffered=True).headers["ETag"]
    again = client.get(url, headers={"If-None-Match": tag}, buffered=True)
    assert again.status_code == 304


@pytest.mark.parametrize(
    "name",
    [
        ".carboy",
        ".carboy/lock",
        "..%2Fsecret.txt",
        "../secret.txt",
        "secret.txt",
        "a" * 26 + ".png",
        "a" * 26 + ".py",
        "a" * 26,
        "x\0.png",
        "%ff.png",
    ],
    ids=range(10),
)
def test_other_names_are_not_found(send, site, folder, picture, name):
    send((picture(), "a.png"))
    (folder.path / "secret.txt").write_text("secret")
    (folder.path.parent / "secret.txt").write_text("secret")
    assert site.test_client().get(f"/uploads/{name}").status_code == 404


def test_view_can_be_decorated_and_have_any_endpoint(app, picture, send, site):
    from functools import wraps

    from carboy import abort, url_for

    def nobody(view):
        @wraps(view)
        def refuse(**values):
            abort(403)

        return refuse

    site.add_url_rule("/secret/<name>", "downloads", nobody(uploads.view("uploads")))
    name = send((picture(), "a.png")).text
    with site.test_request_context():
        assert url_for("downloads", name=name) == f"/secret/{name}"
    assert site.test_client().get(f"/secret/{name}").status_code == 403
    assert site.test_client().get(f"/uploads/{name}", buffered=True).status_code == 200
