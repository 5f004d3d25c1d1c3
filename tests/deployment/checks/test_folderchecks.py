"""Mistakes in folders: each check finds its mistake, and nothing in a project without it."""

from __future__ import annotations

import os
import pathlib

import pytest
from checkfindings import findings_of

from carboy import Carboy


@pytest.fixture(autouse=True)
def root(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)  # places are relative to the current folder
    return tmp_path


def write(root: pathlib.Path, path: str, mode: int = 0o644) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("")
    file.chmod(mode)


def found(code: str, root: pathlib.Path, **config: object) -> list[str]:
    app = Carboy(__name__, root_path=str(root), instance_path=str(root / "instance"))
    app.config.update(config)
    return [each.place for each in findings_of(code, app, root)]


# --- carboy.W104 ----------------------------------------------------------------------------------

posix = pytest.mark.skipif(os.name != "posix", reason="modes of files are those of POSIX")


@posix
def test_world_writable_folder_is_found_once(root):
    write(root, "uploads/a/b.txt", 0o666)
    assert found("carboy.W104", root) == ["uploads/a/b.txt"]
    (root / "uploads").chmod(0o777)
    (root / "uploads/a").chmod(0o777)
    assert found("carboy.W104", root) == ["uploads"]
    (root / "uploads").chmod(0o1777)  # sticky, as /tmp
    assert found("carboy.W104", root) == ["uploads/a"]


@posix
def test_project_that_only_its_user_and_group_may_change_is_not_reported(root):
    write(root, "app.py", 0o664)
    (root / "uploads").mkdir()
    (root / "uploads").chmod(0o775)
    (root / "link").symlink_to("app.py")
    write(root, ".venv/pyvenv.cfg", 0o666)
    assert found("carboy.W104", root) == []


@posix
def test_world_writable_folder_outside_of_the_project_is_found(root, tmp_path_factory):
    logs = tmp_path_factory.mktemp("logs")
    logs.chmod(0o777)
    assert found("carboy.W104", root, LOG_FILE=str(logs / "app.log")) == [str(logs)]


def test_wrong_value_of_a_folder_is_left_to_another_check(root):
    assert found("carboy.W104", root, LOG_FILE=5) == []
    assert found("carboy.W104", root, UPLOAD_FOLDER=5) == []


# --- carboy.E105 ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (".env", "settings with secrets"),
        ("deploy/.env.production", "settings with secrets"),
        ("app.log", "logs"),
        ("logs/app.log.1", "logs"),
        ("models/digits.joblib", "models"),
        ("Digits.PKL", "models"),
        ("shop.sqlite3", "databases"),
        ("app.py", "code of the app"),
        (".git/config", "code of the app"),
    ],
)
def test_private_file_in_a_static_folder_is_found(root, path, kind):
    write(root, f"static/{path}")
    (finding,) = findings_of("carboy.E105", Carboy(__name__, root_path=str(root)), root)
    assert finding.message == f"/static/ shows everybody {kind}."
    assert f"static/{path}".startswith(finding.place)


def test_files_of_one_kind_are_one_finding(root):
    for name in ("a.pkl", "b.pkl", "c.log"):
        write(root, f"static/{name}")
    findings = findings_of("carboy.E105", Carboy(__name__, root_path=str(root)), root)
    assert [each.message for each in findings] == [
        "/static/ shows everybody logs.",
        "/static/ shows everybody models (this file and 1 more).",
    ]


def test_static_folder_of_a_page_is_not_reported(root):
    for path in ("css/style.css", "js/app.js", "img/a.svg", "net.onnx", ".well-known/security.txt"):
        write(root, f"static/{path}")
    for path in ("app.py", ".env", "app.log", "net.pkl"):
        write(root, path)
    assert found("carboy.E105", root) == []


# --- carboy.W106 ----------------------------------------------------------------------------------


def test_uploads_in_a_static_folder_are_found(root):
    write(root, "static/uploads/a.png")
    assert found("carboy.W106", root) == ["static/uploads"]


def test_folder_that_a_config_key_names_is_found(root):
    write(root, "static/pictures/a.png")
    assert found("carboy.W106", root) == []
    assert found("carboy.W106", root, UPLOAD_FOLDER="static/pictures") == ["static/pictures"]
    assert found("carboy.W106", root, UPLOADED_PHOTOS_DEST=root / "static/pictures") == [
        "static/pictures"
    ]


def test_folder_in_which_carboy_stores_uploads_is_found(root):
    write(root, "static/pictures/.carboy/lock")
    assert found("carboy.W106", root) == ["static/pictures"]


def test_uploads_beside_a_static_folder_are_not_reported(root):
    write(root, "static/style.css")
    write(root, "uploads/a.png")
    assert found("carboy.W106", root, UPLOAD_FOLDER="uploads") == []
