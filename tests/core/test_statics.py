"""Static files, and resources opened by views."""

from __future__ import annotations

import datetime as dt
import pathlib

import pytest

from carboy import Blueprint, Carboy


@pytest.fixture
def app(tmp_path: pathlib.Path) -> Carboy:
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "a.txt").write_text("static")
    (tmp_path / "beside.txt").write_text("grün", encoding="utf-8")
    return Carboy("files", root_path=str(tmp_path))


def _get(app: Carboy, path: str, **options):
    return app.test_client().get(path, buffered=True, **options)


def test_file_is_sent_with_its_type_and_an_etag(app: Carboy) -> None:
    response = _get(app, "/static/a.txt")
    assert (response.text, response.mimetype) == ("static", "text/plain")
    assert response.headers["ETag"]
    again = _get(app, "/static/a.txt", headers={"If-None-Match": response.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("name", ["none.txt", "../beside.txt", "%2e%2e/beside.txt", ""])
def test_path_outside_of_the_folder_is_404(app: Carboy, name: str) -> None:
    assert _get(app, f"/static/{name}").status_code == 404


@pytest.mark.parametrize(
    ("value", "header"),
    [(None, "no-cache"), (60, "max-age=60"), (dt.timedelta(hours=1), "max-age=3600")],
    ids=["none", "seconds", "timedelta"],
)
def test_max_age_is_configured(app: Carboy, value, header: str) -> None:
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = value
    assert header in _get(app, "/static/a.txt").headers["Cache-Control"]


def test_subclass_may_override_the_max_age(app: Carboy) -> None:
    app.get_send_file_max_age = lambda filename: 7 if filename == "a.txt" else 8  # type: ignore[method-assign]
    assert "max-age=7" in _get(app, "/static/a.txt").headers["Cache-Control"]


def test_sending_without_a_static_folder_raises() -> None:
    app = Carboy("files", static_folder=None)
    assert not app.has_static_folder
    with app.test_request_context(), pytest.raises(RuntimeError, match="static_folder"):
        app.send_static_file("a.txt")


def test_blueprint_sends_its_own_files(app: Carboy, tmp_path: pathlib.Path) -> None:
    blueprint = Blueprint(
        "b", "files", static_folder="static", url_prefix="/b", root_path=str(tmp_path)
    )
    app.register_blueprint(blueprint)
    assert _get(app, "/b/static/a.txt").text == "static"


@pytest.mark.parametrize("mode", ["r", "rt", "rb"])
def test_resource_is_opened_for_reading(app: Carboy, tmp_path: pathlib.Path, mode: str) -> None:
    blueprint = Blueprint("b", "files", root_path=str(tmp_path))
    for owner in (app, blueprint):
        with owner.open_resource("beside.txt", mode, *(() if mode == "rb" else ("utf-8",))) as file:
            assert file.read() == ("grün".encode() if mode == "rb" else "grün")


def test_resource_cannot_be_opened_for_writing(app: Carboy) -> None:
    with pytest.raises(ValueError, match="'w'"):
        app.open_resource("beside.txt", "w")
