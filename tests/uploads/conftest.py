from __future__ import annotations

import functools
import io
import pathlib
import typing as t

import pytest
from pictures import claimed_png

from carboy import uploads

__all__ = ["claimed_png"]


@pytest.fixture(scope="session")
def picture():
    """A function that returns a small picture, the same each time."""
    import PIL.Image

    @functools.cache
    def write(kind: str = "PNG", size: tuple[int, int] = (8, 4)) -> bytes:
        file = io.BytesIO()
        PIL.Image.effect_noise(size, 80).save(file, kind)
        return file.getvalue()

    return write


class Folder:
    """A folder of uploads below the app's folder, as the tests look at it."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    @property
    def stored(self) -> dict[str, bytes]:
        """The stored files, by name."""
        return {each.name: each.read_bytes() for each in self.path.glob("*.*") if each.is_file()}

    @property
    def parts(self) -> list[pathlib.Path]:
        """The temporary files."""
        return list(self.path.rglob("*.part"))


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "uploads")


@pytest.fixture
def app(app, tmp_path):
    app.root_path = str(tmp_path)
    app.static_folder = "static"
    app.testing = False
    return app


@pytest.fixture
def site(app):
    """An app that saves what comes to it, as the test says: `site.options["types"] = ...`."""
    from carboy import request

    app.options = {}
    app.saved = []

    @app.post("/photo")
    def photo():
        app.saved = [uploads.save(request.files.get("photo"), "uploads", **app.options)]
        return app.saved[0].name

    @app.post("/photos")
    def photos():
        app.saved = uploads.save_all(request.files.getlist("photo"), "uploads", **app.options)
        return [each.name for each in app.saved]

    app.add_url_rule("/uploads/<name>", "uploads", uploads.view("uploads"))
    return app


@pytest.fixture
def send(site):
    client = site.test_client()

    def send(*files: tuple[bytes, str], to: str = "/photo") -> t.Any:
        data = {"photo": [(io.BytesIO(data), name) for data, name in files]}
        return client.post(to, data=data, content_type="multipart/form-data")

    return send
