"""`save` and `save_all`: what is stored, and what is refused without leaving anything."""

from __future__ import annotations

import errno
import io
import itertools
import math
import os
import stat
import struct
import sys
import threading
import time
import typing as t

import numpy as np
import pytest
from polling import wait_until
from werkzeug.datastructures import FileStorage

from carboy import Blueprint, Upload, session, uploads
from carboy.core import spooledfile
from carboy.errors import InputError

PDF = b"%PDF-1.7\n" + b"x" * 100


def sent(data: bytes, name: str = "a.pdf") -> FileStorage:
    return FileStorage(io.BytesIO(data), name, "photo")


# --- what is stored ------------------------------------------------------------------------------


def test_file_is_stored_under_a_random_name_with_the_suffix_of_its_content(send, site, picture):
    data = picture("PNG")
    answer = send((data, "holiday.jpeg"))
    (saved,) = site.saved
    assert answer.text == saved.name
    assert os.path.basename(saved.path) == saved.name
    assert saved.name.endswith(".png")
    assert "holiday" not in saved.name
    assert (saved.size, saved.media_type) == (len(data), "image/png")
    assert saved.client_name == "holiday.jpeg"
    with open(saved.path, "rb") as file:
        assert file.read() == data


def test_equal_files_get_different_names(send, folder, picture):
    names = {send((picture(), "a.png")).text for _ in range(3)}
    assert len(names) == 3
    assert folder.stored.keys() == names


def test_only_this_user_may_read_what_is_stored(send, site, folder, picture):
    send((picture(), "a.png"))
    paths = [folder.path, *folder.path.rglob("*")]
    assert len(paths) == 4  # the folder, the file, the private folder and its lock
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_folder_of_the_user_keeps_its_permissions(send, folder, picture):
    folder.path.mkdir(mode=0o755)
    send((picture(), "a.png"))
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o755


def test_long_file_is_linked_and_not_copied(folder, tmp_path, monkeypatch):
    """The temporary file of a form and the stored file are one file, if they are on one disk."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with spooledfile.spool() as stream:
        stream.write(PDF + bytes(spooledfile.MAX_IN_MEMORY_BYTES))
        saved = uploads.save(FileStorage(stream, "a.pdf"), folder.path, types="application/pdf")
        is_same = os.path.samestat(os.fstat(stream.fileno()), os.stat(saved.path))
    assert is_same == hasattr(os, "O_TMPFILE")
    assert stat.S_IMODE(os.stat(saved.path).st_mode) == 0o600
    assert saved.size == len(PDF) + spooledfile.MAX_IN_MEMORY_BYTES
    assert not folder.parts


@pytest.mark.parametrize("lacking", ["O_TMPFILE", "the same disk"])
def test_long_file_is_copied_where_it_cannot_be_linked(folder, monkeypatch, lacking, tmp_path):
    if lacking == "O_TMPFILE":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
        monkeypatch.setattr("tempfile._O_TMPFILE_WORKS", False, raising=False)
    elif os.path.isdir("/dev/shm"):
        monkeypatch.setattr("tempfile.tempdir", "/dev/shm")
    data = PDF + bytes(spooledfile.MAX_IN_MEMORY_BYTES)
    with spooledfile.spool() as stream:
        stream.write(data)
        saved = uploads.save(FileStorage(stream, "a.pdf"), folder.path, types="application/pdf")
    assert folder.stored == {saved.name: data}
    assert not folder.parts


def test_view_can_read_the_file_after_it_was_saved(folder, picture):
    file = sent(picture(), "a.png")
    uploads.save(file, folder.path)
    assert file.read() == picture()


@pytest.mark.parametrize(
    ("types", "options"),
    [
        ("image/*", {}),
        ("application/pdf", {"max_bytes": 5}),
        ("application/pdf", {"max_folder_bytes": 5}),
    ],
    ids=["type", "size", "quota"],
)
def test_view_can_read_a_file_that_was_refused(folder, types, options):
    files = [sent(PDF), sent(PDF)]
    with pytest.raises(InputError):
        uploads.save_all(files, folder.path, types=types, **options)
    assert [each.read() for each in files] == [PDF, PDF]


@pytest.mark.parametrize("most", [1e6, np.int64(10**6)], ids=["float", "NumPy"])
def test_limit_may_be_any_kind_of_number(folder, picture, most):
    limits = dict.fromkeys(("max_bytes", "max_pixels", "max_frames", "max_folder_bytes"), most)
    uploads.save(sent(picture(), "a.png"), folder.path, **limits)
    assert len(folder.stored) == 1


def test_upload_of_a_typed_view_is_saved(app, folder, picture):
    @app.post("/typed")
    def typed(photo: list[Upload]) -> list[str]:
        return [each.name for each in uploads.save_all(photo, "uploads")]

    data = {"photo": [(io.BytesIO(picture(size=(8, n))), "a.png") for n in (4, 5, 6)]}
    names = app.test_client().post("/typed", data=data).json
    assert folder.stored.keys() == set(names)
    assert [folder.stored[name] for name in names] == [picture(size=(8, n)) for n in (4, 5, 6)]


def test_file_as_the_whole_body_is_saved(app, folder, picture):
    @app.post("/raw")
    def raw(photo: Upload) -> str:
        return uploads.save(photo, "uploads").name

    answer = app.test_client().post("/raw", data=picture(), content_type="image/png")
    assert folder.stored == {answer.text: picture()}


# --- owners --------------------------------------------------------------------------------------


def test_latest_replaces_the_files_of_the_same_owner_only(folder, picture):
    old = [uploads.save(sent(picture(), "a.png"), folder.path, owner=1) for _ in range(2)]
    other = uploads.save(sent(picture(), "a.png"), folder.path, owner=2)
    nobodys = uploads.save(sent(picture(), "a.png"), folder.path)
    new = uploads.save(sent(picture(), "a.png"), folder.path, owner=1, keep="latest")
    assert folder.stored.keys() == {other.name, nobodys.name, new.name}
    assert new.name not in {each.name for each in old}


def test_latest_of_several_files_replaces_all_by_all(folder, picture):
    files = [sent(picture(), "a.png") for _ in range(2)]
    uploads.save_all(files, folder.path, owner="ann", keep="latest")
    new = uploads.save_all(files, folder.path, owner="ann", keep="latest")
    assert folder.stored.keys() == {each.name for each in new}


def test_refused_file_does_not_replace_the_latest(folder, picture):
    kept = uploads.save(sent(picture(), "a.png"), folder.path, owner=1, keep="latest")
    with pytest.raises(InputError):
        uploads.save(sent(PDF), folder.path, owner=1, keep="latest")
    assert folder.stored == {kept.name: picture()}


@pytest.mark.parametrize("is_full_for", [stat.S_ISDIR, stat.S_ISREG], ids=["name", "content"])
@pytest.mark.parametrize("size", [100, 600_000], ids=["in memory", "on disk"])
def test_save_that_fails_leaves_the_latest_and_nothing_else(
    folder, monkeypatch, is_full_for, size, tmp_path
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    options: dict[str, t.Any] = {"types": "application/pdf", "owner": 1, "keep": "latest"}
    kept = uploads.save(sent(PDF), folder.path, **options)
    fsync = os.fsync

    def full(fd: int) -> None:
        if is_full_for(os.fstat(fd).st_mode):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(fd)

    monkeypatch.setattr("os.fsync", full)
    with spooledfile.spool() as stream:
        stream.write(PDF + bytes(size))
        with pytest.raises(InputError, match="no room") as caught:
            uploads.save(FileStorage(stream, "a.pdf"), folder.path, **options)
    assert caught.value.status == 413
    assert [each.name for each in uploads.files(folder.path, owner=1)] == [kept.name]
    assert (folder.stored, folder.parts) == ({kept.name: PDF}, [])


def test_session_owns_its_files(app, folder, picture):
    @app.post("/mine")
    def mine():
        saved = uploads.save(sent(picture(), "a.png"), "uploads", keep="latest", owner=session)
        assert [each.name for each in uploads.files("uploads", owner=session)] == [saved.name]
        return saved.name

    ann, bob = app.test_client(), app.test_client()
    names = [each.post("/mine").text for each in (ann, bob, ann)]
    assert folder.stored.keys() == set(names[1:])


def test_name_says_nothing_about_the_owner_without_the_key(tmp_path, picture):
    folders = [tmp_path / "a", tmp_path / "b"]
    saved = [uploads.save(sent(picture(), "a.png"), each, owner="ann") for each in folders]
    tags = {each.name.partition("-")[0] for each in saved}
    assert len(tags) == 2


def test_number_and_text_are_different_owners(folder, picture):
    uploads.save(sent(picture(), "a.png"), folder.path, owner=1)
    assert uploads.files(folder.path, owner="1") == []
    assert len(uploads.files(folder.path, owner=1)) == 1


def test_owner_may_hold_half_a_character(folder, picture):
    """JSON of a client may hold such a text: "\\ud800"."""
    uploads.save(sent(picture(), "a.png"), folder.path, owner="\ud800")
    assert len(uploads.files(folder.path, owner="\ud800")) == 1
    assert uploads.files(folder.path, owner="?") == []


def test_loss_of_the_key_of_the_owners_is_logged(folder, picture, caplog):
    saved = uploads.save(sent(picture(), "a.png"), folder.path, owner=1)
    assert not caplog.records
    key = folder.path / ".carboy" / "lock"
    key.unlink()
    uploads.save(sent(picture(), "a.png"), folder.path)
    assert "Files that have lost their owner: 1." in caplog.text
    assert key.read_bytes() not in caplog.text.encode()
    assert uploads.files(folder.path, owner=1) == []
    assert saved.name in folder.stored


@pytest.mark.skipif(os.name == "nt", reason="no folder can be opened here")
def test_names_are_on_the_disk_when_save_returns(folder, picture, monkeypatch):
    synced = []
    fsync = os.fsync

    def note(fd: int) -> None:
        fsync(fd)
        synced.append(os.fstat(fd).st_ino)

    monkeypatch.setattr("os.fsync", note)
    saved = uploads.save(sent(picture(), "a.png"), folder.path / "deep")
    parents = [folder.path.parent, folder.path]
    expected = {os.stat(each).st_ino for each in (*parents, folder.path / "deep", saved.path)}
    assert expected <= set(synced)
    assert synced[-1] == os.stat(folder.path / "deep").st_ino


def test_files_are_listed_newest_first(folder, picture):
    assert uploads.files(folder.path) == []
    assert uploads.files(folder.path, owner=1) == []
    saved = []
    for n in range(3):
        saved.append(uploads.save(sent(picture(), "a.png"), folder.path))
        os.utime(saved[-1].path, (n, n))
    (folder.path / "notes.txt").write_text("not an upload")
    listed = uploads.files(folder.path)
    assert [each.name for each in listed] == [each.name for each in reversed(saved)]
    assert (listed[0].media_type, listed[0].size) == ("image/png", len(picture()))


# --- what is refused -----------------------------------------------------------------------------

SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
REFUSED: dict[str, tuple[bytes, str, int, str]] = {
    "wrong type": (PDF, "a.png", 415, "'a.png': expected PNG, JPEG, WEBP or GIF, got PDF."),
    "text with the name of a picture": (b"hello", "a.png", 415, "got text"),
    "SVG": (SVG, "a.png", 415, "got SVG"),
    "unknown bytes": (b"\0\1\2\3", "a.png", 415, "got an unknown kind of data"),
    "too big": (PDF + bytes(4000), "a.pdf", 413, "expected at most 2 KiB, got 4 KiB"),
    "0 bytes": (b"", "a.png", 422, "an empty file"),
    "no file chosen": (b"", "", 422, "Expected a file, got none"),
    "path upwards": (PDF, "../../x", 422, "a name with the folder '..'"),
    "path upwards on Windows": (PDF, "..\\x", 422, "a name with the folder '..'"),
    "device": (PDF, "CON", 422, "the name of a device of Windows"),
    "device with a suffix": (PDF, "com1.tar.gz", 422, "the name of a device of Windows"),
    "300 characters": (PDF, "x" * 300, 422, "a name of 300 characters"),
    "NUL": (PDF, "a\0.png", 422, "a name with a control character"),
    "line separator": (PDF, "a\u2028b.png", 422, "or a line separator"),
    "paragraph separator": (PDF, "a\u2029b.png", 422, "or a line separator"),
    "text turned around": (PDF, "a\u202egnp.exe", 422, "changes the direction of text"),
    "mark of direction": (PDF, "a\u200f.png", 422, "changes the direction of text"),
    "only dots": (PDF, "..", 422, "a name with the folder '..'"),
    "a folder": (PDF, "photos/", 422, "a path without a file name"),
}


@pytest.mark.parametrize(("data", "name", "status", "says"), REFUSED.values(), ids=REFUSED)
def test_bad_file_is_refused_and_nothing_is_left(site, folder, data, name, status, says):
    site.options["max_bytes"] = 2048
    body = (
        b'--b\r\nContent-Disposition: form-data; name="photo"; filename="'
        + name.replace("\\", "\\\\").encode()
        + b'"\r\n\r\n'
        + data
        + b"\r\n--b--\r\n"
    )
    for to in ("/photo", "/photos"):
        answer = site.test_client().post(
            to, data=body, content_type="multipart/form-data; boundary=b"
        )
        assert answer.status_code == status
        assert answer.content_type == "application/problem+json"
        assert says in answer.json["detail"]
        assert "\u202e" not in answer.text
        assert "\\\\" not in answer.json["detail"], "escapes are not escaped again"
    assert not folder.path.exists()


def test_browser_gets_a_page(send, site):
    answer = site.test_client().post(
        "/photo",
        data={"photo": (io.BytesIO(PDF), "<b>.pdf")},
        headers={"Accept": "text/html,*/*;q=0.8"},
    )
    assert (answer.status_code, answer.mimetype) == (415, "text/html")
    assert "&lt;b&gt;.pdf&#39;: expected PNG" in answer.text


def test_form_without_the_field_is_refused(site):
    for to in ("/photo", "/photos"):
        answer = site.test_client().post(to, data={"other": (io.BytesIO(PDF), "a.pdf")})
        assert answer.status_code == 422
        assert "Expected a file, got none" in answer.json["detail"]


def test_hostile_name_of_a_typed_view_is_refused(app, folder, picture):
    @app.post("/typed")
    def typed(photo: Upload) -> str:
        return uploads.save(photo, "uploads").name

    data = {"photo": (io.BytesIO(picture()), "../../x.png")}
    assert app.test_client().post("/typed", data=data).status_code == 422


@pytest.mark.parametrize(
    "name", ["C:\\Users\\Ann\\cat.png", "album/cat.png", "Käse 猫.png", "console.png", ".png", "x"]
)
def test_usual_names_are_accepted(send, picture, name):
    assert send((picture(), name)).status_code == 200


def test_one_bad_file_among_several_refuses_all(send, folder, picture):
    answer = send((picture(), "a.png"), (PDF, "b.pdf"), (picture(), "c.png"), to="/photos")
    assert answer.status_code == 415
    assert "'b.pdf'" in answer.json["detail"]
    assert not folder.path.exists()


def test_picture_with_too_many_pixels_is_refused_by_its_header(send, site, folder, claimed_png):
    answer = send((claimed_png(6000, 6000), "bomb.png"))
    assert answer.status_code == 413
    assert "at most 33,554,432 pixels, got 6000 x 6000" in answer.json["detail"]
    answer = send((claimed_png(100_000, 100_000), "bomb.png"))
    assert answer.status_code == 413
    assert "got 100000 x 100000" in answer.json["detail"]
    site.options["max_pixels"] = 31
    assert send((claimed_png(8, 4), "a.png")).status_code == 413
    assert not folder.path.exists()


def test_picture_with_more_pixels_than_pillow_allows_is_refused(send, site, picture):
    site.options["types"] = "image/bmp"
    bomb = bytearray(picture("BMP"))
    bomb[18:26] = struct.pack("<ii", 100_000, 100_000)
    answer = send((bytes(bomb), "bomb.bmp"))
    assert answer.status_code == 413
    assert "got 100000 x 100000" in answer.json["detail"]


def test_page_of_a_tiff_with_too_many_pixels_is_refused(send, site):
    import PIL.Image

    site.options.update(types="image/tiff", max_pixels=100)
    file = io.BytesIO()
    pages = [PIL.Image.new("L", (10, 10)), PIL.Image.new("L", (11, 10))]
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    answer = send((file.getvalue(), "a.tiff"))
    assert answer.status_code == 413
    assert "got 11 x 10" in answer.json["detail"]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("max_pixels", [1000, None])
def test_picture_with_too_many_frames_is_refused(send, site, folder, kind, max_pixels):
    import PIL.Image

    file = io.BytesIO()
    frames = [PIL.Image.new("L", (8, 4), shade) for shade in (0, 80, 160)]
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    site.options.update(types="image/*", max_frames=2, max_pixels=max_pixels)
    answer = send((file.getvalue(), "a.gif"))
    assert answer.status_code == 413
    assert "expected at most 2 frames or pages, got 3" in answer.json["detail"]
    assert not folder.path.exists()
    site.options["max_frames"] = 3
    assert send((file.getvalue(), "a.gif")).status_code == 200


def test_damaged_pictures_write_no_warnings(send, site, picture, recwarn):
    site.options["types"] = "image/*"
    tiff = struct.pack("<2sHIHHHIIHHIII", b"II", 42, 8, 2, 256, 4, 2, 9999, 257, 4, 1, 4, 9999)
    assert send((tiff, "a.tiff")).status_code == 422
    jpeg = picture("JPEG")
    album_without_pictures = b"\xff\xe2\0\x08MPF\0\0\0"
    assert send((jpeg[:2] + album_without_pictures + jpeg[2:], "a.jpg")).status_code == 200
    assert not recwarn.list


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_incomplete_picture_is_refused(send, picture, kind):
    answer = send((picture(kind, size=(200, 200))[:300], "a.png"))
    assert answer.status_code == 422
    assert f"expected a whole picture, got a damaged {kind}" in answer.json["detail"]


def test_header_that_is_too_long_for_memory_is_refused(send, monkeypatch, picture):
    monkeypatch.setattr("carboy.uploads.saving._MAX_HEADER_BYTES", 100_000)
    jpeg = picture("JPEG")
    segment = b"\xff\xe1\xff\xff" + bytes(65533)
    assert send((jpeg[:2] + segment + jpeg[2:], "a.jpg")).status_code == 200
    assert send((jpeg[:2] + segment * 2 + jpeg[2:], "a.jpg")).status_code == 422


def test_picture_of_very_many_empty_parts_is_refused(send):
    answer = send((b"\xff\xd8\xff" + b"\xe1\0\2\xff" * 100_000, "a.jpg"))
    assert answer.status_code == 422
    assert "expected a whole picture, got a damaged JPEG" in answer.json["detail"]


def test_quota_of_the_folder_is_kept(folder, picture):
    size = len(picture())
    options: dict[str, t.Any] = {"max_folder_bytes": 2 * size + 10, "owner": 1}
    first, second = [
        uploads.save(sent(picture(), "a.png"), folder.path, **options) for _ in range(2)
    ]
    with pytest.raises(InputError, match=r"Expected at most 10 bytes.* left for uploads") as caught:
        uploads.save(sent(picture(), "a.png"), folder.path, **options)
    assert caught.value.status == 413
    assert folder.stored.keys() == {first.name, second.name}
    assert not folder.parts
    # what is replaced does not count
    uploads.save(sent(picture(), "a.png"), folder.path, keep="latest", **options)
    assert len(folder.stored) == 1


WRONG: dict[str, tuple[dict[str, t.Any], type[Exception], str]] = {
    "keep": ({"keep": "first"}, ValueError, "expected 'all' or 'latest'"),
    "latest of nobody": ({"keep": "latest"}, ValueError, "owner=session"),
    "empty owner": ({"owner": ""}, ValueError, "owner=''"),
    "owner of a wrong type": ({"owner": 1.5}, TypeError, "owner=1.5"),
    "owner that is a bool": ({"owner": True}, TypeError, "owner=True"),
    "no bytes": ({"max_bytes": 0}, ValueError, "max_bytes=0"),
    "any number of bytes": ({"max_bytes": None}, ValueError, "max_bytes=None: expected a number"),
    "size with a unit": ({"max_bytes": "10M"}, ValueError, "max_bytes='10M': expected a number"),
    "no number of bytes": ({"max_bytes": math.nan}, ValueError, "max_bytes=nan"),
    "bool for a size": ({"max_bytes": True}, ValueError, "max_bytes=True"),
    "text of frames": ({"max_frames": "2"}, ValueError, "max_frames='2': expected a number"),
    "quota with a unit": ({"max_folder_bytes": "1G"}, ValueError, "max_folder_bytes='1G'"),
    "text of pixels": ({"max_pixels": "4k"}, ValueError, "max_pixels='4k': expected 1 to"),
    "pixels of texts": ({"max_pixels": 0, "types": "text/*"}, ValueError, "max_pixels=0"),
    "types of nobody": ({"types": None}, ValueError, "types=None: expected media types"),
    "number for a type": ({"types": ["image/*", 1]}, ValueError, "expected media types"),
    "list for a type": ({"types": [["image/*"]]}, ValueError, "expected media types"),
    "no pixels": ({"max_pixels": 0}, ValueError, "max_pixels=0"),
    "no frames": ({"max_frames": 0}, ValueError, "max_frames=0"),
    "more pixels than Pillow reads": ({"max_pixels": 10**9}, ValueError, "max_pixels=1000000000"),
    "no quota": ({"max_folder_bytes": 0}, ValueError, "max_folder_bytes=0"),
    "unknown type": ({"types": ["image/heic"]}, ValueError, "'image/heic' cannot be recognised"),
    "suffix for a type": ({"types": ".png"}, ValueError, "'.png' cannot be recognised"),
    "no types": ({"types": []}, ValueError, "no type is allowed"),
}


@pytest.mark.parametrize(("options", "error", "says"), WRONG.values(), ids=WRONG)
def test_wrong_argument_is_refused_at_once(folder, options, error, says):
    with pytest.raises(error, match=r"^[a-z_]+=") as caught:
        uploads.save(None, folder.path, **options)
    assert not isinstance(caught.value, InputError)
    assert says in str(caught.value)


def test_relative_folder_without_an_app_is_refused(picture):
    with pytest.raises(ValueError, match="no app is active"):
        uploads.save(sent(picture(), "a.png"), "uploads")


@pytest.mark.parametrize(
    "folder",
    [
        *("static", "static/uploads", "link/uploads", "shop/files/uploads"),
        *("static/linked/uploads", "current/static/linked/uploads"),
    ],
)
def test_folder_below_a_static_folder_is_refused(app, picture, folder, tmp_path):
    (tmp_path / "static").mkdir()
    (tmp_path / "link").symlink_to("static", target_is_directory=True)
    (tmp_path / "current").symlink_to(".", target_is_directory=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "static/linked").symlink_to("../data", target_is_directory=True)
    shop = Blueprint("shop", "shop", root_path=str(tmp_path / "shop"), static_folder="files")
    app.register_blueprint(shop)
    with app.app_context(), pytest.raises(ValueError, match="is below a static folder"):
        uploads.save(sent(picture(), "a.png"), folder)
    assert [each.name for each in (tmp_path / "static").iterdir()] == ["linked"]
    assert not any((tmp_path / "data").iterdir())
    with app.app_context():
        uploads.save(sent(picture(), "a.png"), "static-uploads")


def test_missing_pillow_is_named_with_the_remedy(folder, monkeypatch, picture):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(RuntimeError, match="pip install pillow"):
        uploads.save(sent(picture(), "a.png"), folder.path)
    uploads.save(sent(picture(), "a.png"), folder.path, max_pixels=None)
    uploads.save(sent(PDF), folder.path, types="application/pdf")
    uploads.save(sent(picture(), "a.png"), folder.path, types="image/png")


# --- a reader -------------------------------------------------------------------------------------


class Paused(io.BytesIO):
    """A file whose end can be read only when `go_on` is set."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.half_is_read, self.go_on = threading.Event(), threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        if size == 1024 * 1024:  # the content is copied
            if self.tell():
                self.half_is_read.set()
                assert self.go_on.wait(30)
            size = len(self.getvalue()) // 2
        return super().read(size)


def test_reader_never_sees_half_a_file(folder):
    stream = Paused(PDF)
    file = FileStorage(stream, "a.pdf")
    types = "application/pdf"
    writer = threading.Thread(
        target=uploads.save, args=(file, folder.path), kwargs={"types": types}
    )
    writer.start()
    assert stream.half_is_read.wait(30)
    assert (len(folder.parts), folder.stored, uploads.files(folder.path)) == (1, {}, [])
    stream.go_on.set()
    writer.join()
    assert list(folder.stored.values()) == [PDF]
    assert not folder.parts


# --- many at once --------------------------------------------------------------------------------


def test_quota_holds_when_many_threads_save_at_once(folder, picture):
    size, refused = len(picture()), []

    def save_one() -> None:
        try:
            uploads.save(sent(picture(), "a.png"), folder.path, max_folder_bytes=5 * size)
        except InputError as error:
            refused.append(error.status)

    threads = [threading.Thread(target=save_one) for _ in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(folder.stored) == 5
    assert refused == [413] * 15
    assert not folder.parts


def test_one_latest_file_is_left_when_one_owner_saves_many_at_once(folder, picture):
    counts: set[int] = set()
    uploads.save(sent(picture(), "a.png"), folder.path, keep="latest", owner=1)

    def save_one() -> None:
        uploads.save(sent(picture(), "a.png"), folder.path, keep="latest", owner=1)
        counts.add(len(uploads.files(folder.path, owner=1)))

    threads = [threading.Thread(target=save_one) for _ in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(folder.stored) == 1
    # while new files replace old ones, several may be seen, but never none
    assert 0 not in counts


# --- a folder that another process has locked ----------------------------------------------------


@pytest.fixture
def hold_lock(folder, picture):
    """Hold the lock of the folder, as a process does that was stopped."""
    fcntl = pytest.importorskip("fcntl")
    uploads.save(sent(picture(), "a.png"), folder.path)
    with open(folder.path / ".carboy" / "lock", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.close


def test_folder_that_is_locked_for_too_long_is_a_503(
    hold_lock, send, folder, picture, monkeypatch, caplog
):
    before = folder.stored
    monkeypatch.setattr("carboy.uploads.uploadfolder.LOCK_S", 0.1)
    answer = send((picture(), "a.png"))
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "has locked" in caplog.text
    # Nobody waits again until the lock was free once, or all threads of a server would wait.
    monkeypatch.setattr("carboy.uploads.uploadfolder.LOCK_S", 3600.0)
    assert send((picture(), "a.png")).status_code == 503
    assert (folder.stored, folder.parts) == (before, [])
    hold_lock()
    assert send((picture(), "a.png")).status_code == 200


def test_other_folders_do_not_wait_for_a_locked_one(hold_lock, folder, picture):
    refused = []

    def save_into_the_locked_one() -> None:
        try:
            uploads.save(sent(picture(), "a.png"), folder.path)
        except TimeoutError as error:
            refused.append(error)

    waiting = threading.Thread(target=save_into_the_locked_one)
    waiting.start()
    wait_until(lambda: folder.parts)
    uploads.save(sent(picture(), "a.png"), folder.path.parent / "other")
    assert waiting.is_alive()
    hold_lock()
    waiting.join()
    assert (len(folder.stored), refused) == (2, [])


def test_lock_that_others_get_in_turn_is_not_stuck(hold_lock, folder, picture, monkeypatch):
    """Whoever gets the lock sets the time of its file."""
    monkeypatch.setattr("carboy.uploads.uploadfolder.LOCK_S", 1.0)
    saved, key = [], folder.path / ".carboy" / "lock"
    waiting = threading.Thread(
        target=lambda: saved.append(uploads.save(sent(picture(), "a.png"), folder.path))
    )
    waiting.start()
    wait_until(lambda: folder.parts)
    end_s = time.monotonic() + 1.5
    turns = itertools.count(1)

    def others_had_their_turns() -> bool:
        os.utime(key, (0, next(turns)))
        return time.monotonic() > end_s

    wait_until(others_had_their_turns)
    hold_lock()
    waiting.join()
    assert len(saved) == 1
