"""`carboy secret`: make a secret key, and replace it without ending sessions."""

from __future__ import annotations

import json
import os
import pathlib
import re
import stat
import subprocess
import typing as t

import pytest
from click.testing import CliRunner, Result
from clirunner import separate_runner

from carboy import Carboy, session
from carboy.cli import cli
from carboy.cli.secret import secret_group

NEW = r"[0-9a-f]{64}"


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    for name in ("SECRET_KEY", "CARBOY_SECRET_KEY", "FLASK_SECRET_KEY", "SECRET_KEY_FALLBACKS"):
        monkeypatch.setenv(name, "")  # so that monkeypatch removes what a `.env` file sets
        monkeypatch.delenv(name)
    return tmp_path


def carboy_secret(*args: str, fails: bool = False) -> Result:
    result = CliRunner().invoke(secret_group, args)
    assert result.exit_code == (2 if fails else 0), result.output
    if "--print" not in args:
        assert not re.search(r"[0-9a-f]{16}", result.output), "a key is shown"
    return result


def mode_of(path: pathlib.Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- new ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "SECRET_KEY=NEW\n"),
        ("", "SECRET_KEY=NEW\n"),
        ("A=1", "A=1\nSECRET_KEY=NEW\n"),
        (
            "# mine\n\nexport A='x y'  # note\n",
            "# mine\n\nexport A='x y'  # note\nSECRET_KEY=NEW\n",
        ),
        ("A=1\n\nSECRET_KEY=\nB=2\n", "A=1\n\nSECRET_KEY=NEW\nB=2\n"),
        ("CARBOY_SECRET_KEY=\n", "CARBOY_SECRET_KEY=NEW\n"),
        ("A=1\r\nB=2\r\n", "A=1\r\nB=2\r\nSECRET_KEY=NEW\n"),
    ],
)
def test_new_key_is_added_to_the_env_file(
    folder: pathlib.Path, before: str | None, after: str
) -> None:
    path = folder / ".env"
    if before is not None:
        path.write_bytes(before.encode())
    carboy_secret("new")
    assert re.fullmatch(re.escape(after).replace("NEW", NEW), path.read_bytes().decode())
    assert [each.name for each in folder.iterdir()] == [".env"]


def test_new_env_file_is_private_and_an_old_one_is_closed_to_others(folder: pathlib.Path) -> None:
    carboy_secret("new")
    assert mode_of(folder / ".env") == 0o600
    other = folder / "other.env"
    other.write_text("A=1\n")
    other.chmod(0o644)
    carboy_secret("new", "--env-file", "other.env")
    assert mode_of(other) == 0o600
    other.chmod(0o640)  # for the group in which the server runs
    carboy_secret("rotate", "--env-file", str(other))
    assert mode_of(other) == 0o640


def test_symbolic_link_to_an_env_file_is_kept(folder: pathlib.Path) -> None:
    (folder / "shared").mkdir()
    (folder / "shared" / "env").write_text("A=1\n")
    (folder / ".env").symlink_to("shared/env")
    carboy_secret("new")
    assert (folder / ".env").is_symlink()
    assert "SECRET_KEY" in (folder / "shared" / "env").read_text()


@pytest.mark.parametrize(
    "name", ["SECRET_KEY", "CARBOY_SECRET_KEY", "FLASK_SECRET_KEY", "SECRET_KEY_FILE"]
)
def test_new_key_replaces_none(folder: pathlib.Path, name: str) -> None:
    (folder / ".env").write_text(f"{name}=given\n")
    result = carboy_secret("new", fails=True)
    assert f".env has {name} already" in result.output
    assert "carboy secret rotate" in result.output
    assert (folder / ".env").read_text() == f"{name}=given\n"


@pytest.mark.parametrize("name", ["SECRET_KEY", "CARBOY_SECRET_KEY"])
def test_key_that_the_environment_would_hide_is_said(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert "takes precedence" not in carboy_secret("new", "--env-file", "own.env").output
    monkeypatch.setenv(name, "k")
    assert f"{name} is set as well, and takes precedence" in carboy_secret("new").output
    assert f"{name} is set as well, and takes precedence" in carboy_secret("rotate").output


@pytest.mark.integration  # git must be installed
def test_file_that_git_would_commit_is_said(folder: pathlib.Path) -> None:
    subprocess.run(["git", "init", "--quiet"], check=True)
    assert "git does not ignore .env" in carboy_secret("new").output
    (folder / ".gitignore").write_text(".env\n")
    assert "git" not in carboy_secret("rotate").output


def test_new_key_in_a_file_of_its_own(folder: pathlib.Path) -> None:
    carboy_secret("new", "--file", "key")
    assert re.fullmatch(f"{NEW}\n", (folder / "key").read_text())
    assert mode_of(folder / "key") == 0o600
    before = (folder / "key").read_text()
    assert "exists already" in carboy_secret("new", "--file", "key", fails=True).output
    assert (folder / "key").read_text() == before


def test_printed_key_is_the_only_output_and_is_not_stored(folder: pathlib.Path) -> None:
    keys = {carboy_secret("new", "--print").output for _ in range(3)}
    assert len(keys) == 3
    assert all(re.fullmatch(f"{NEW}\n", key) for key in keys)
    assert list(folder.iterdir()) == []


# --- rotate ---------------------------------------------------------------------------------------


OLD = "Xw7-plain-old-key-3q"


def read_env(path: pathlib.Path) -> tuple[str, list[str]]:
    import dotenv

    values = dotenv.dotenv_values(path)
    return values["SECRET_KEY"] or "", json.loads(values["SECRET_KEY_FALLBACKS"] or "")


def test_rotation_keeps_the_last_keys_and_all_other_lines(folder: pathlib.Path) -> None:
    path = folder / ".env"
    path.write_text(f"# mine\nSECRET_KEY={OLD}\nA=1\n")
    keys = [OLD]
    for _ in range(4):
        carboy_secret("rotate")
        key, fallbacks = read_env(path)
        assert re.fullmatch(NEW, key)
        assert fallbacks == keys[:2]
        keys.insert(0, key)
    assert path.read_text().startswith("# mine\nSECRET_KEY=")
    assert "\nA=1\n" in path.read_text()
    carboy_secret("rotate", "--keep", "1")
    assert read_env(path)[1] == keys[:1]
    assert "Sessions end" in carboy_secret("rotate", "--keep", "0").output
    assert read_env(path)[1] == []


def test_advice_names_the_file_that_contains_the_key(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".env").write_text("A=1\nSECRET_KEY=canary-key-17\n")
    command = ["secret", "rotate", "--env-file", "other"]
    output = CliRunner().invoke(cli, command).output
    assert "other has no SECRET_KEY to rotate, but .env:2 has one. Use" in output
    monkeypatch.setenv("SECRET_KEY", "canary-key-18")
    output = CliRunner().invoke(cli, command).output
    assert "The environment sets SECRET_KEY, and other does not." in output


@pytest.mark.parametrize(
    "key", ["a'b\"c\\d$e${HOME}f#g h\u00e9 ijk", "plainlettersalone", "'quoted on both sides'"]
)
def test_old_key_of_any_characters_is_kept(folder: pathlib.Path, key: str) -> None:
    from carboy.project.rotation import env_line

    # An interpolated `${HOME}` would be another key.
    plain = key.replace("${HOME}", "")
    (folder / ".env").write_text(env_line("SECRET_KEY", plain))
    carboy_secret("rotate")
    assert read_env(folder / ".env")[1] == [plain]
    line = env_line("SECRET_KEY_FALLBACKS", json.dumps([key]))
    (folder / ".env").write_text(f"SECRET_KEY=x\n{line}")
    assert read_env(folder / ".env")[1] == [key]


def test_rotation_keeps_the_word_export(folder: pathlib.Path) -> None:
    (folder / ".env").write_text("\n  export SECRET_KEY=old\nA=1\n")
    carboy_secret("rotate")
    assert (folder / ".env").read_text().startswith("\n  export SECRET_KEY=")


@pytest.mark.parametrize(
    ("key", "fallbacks", "kept", "words"),
    [
        ("changeme", [OLD], [OLD], "it has fewer than 16 characters"),
        ("my-secret-key-of-the-shop", [OLD], [OLD], "it looks like a placeholder"),
        (OLD, ["changeme"], [OLD], "it has fewer than 16 characters"),
    ],
)
def test_key_that_can_be_guessed_is_not_kept(
    folder: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    fallbacks: list[str],
    kept: list[str],
    words: str,
) -> None:
    text = json.dumps(fallbacks)
    (folder / ".env").write_text(f"SECRET_KEY={key}\nSECRET_KEY_FALLBACKS='{text}'\n")
    (folder / "key").write_text(key)
    (folder / "key.fallbacks").write_text(text)
    outputs = [carboy_secret("rotate").output, carboy_secret("rotate", "--file", "key").output]
    monkeypatch.setenv("SECRET_KEY", key)
    monkeypatch.setenv("SECRET_KEY_FALLBACKS", text)
    printed = separate_runner().invoke(secret_group, ["rotate", "--print"])
    for output in [*outputs, printed.stderr]:
        assert output.count("An old key is not kept") == 1
        assert words in output
        assert "Sessions stay valid" not in output
    assert read_env(folder / ".env")[1] == kept
    assert json.loads((folder / "key.fallbacks").read_text()) == kept
    (folder / "printed").write_text(printed.stdout)
    assert read_env(folder / "printed")[1] == kept


def test_rotation_of_a_file(folder: pathlib.Path) -> None:
    (folder / "key").write_text(f"{OLD}\n")
    (folder / "key").chmod(0o600)
    carboy_secret("rotate", "--file", "key")
    second = (folder / "key").read_text().strip()
    assert re.fullmatch(NEW, second)
    assert json.loads((folder / "key.fallbacks").read_text()) == [OLD]
    carboy_secret("rotate", "--file", "key")
    assert json.loads((folder / "key.fallbacks").read_text()) == [second, OLD]
    assert mode_of(folder / "key.fallbacks") == 0o600


def test_first_file_of_old_keys_has_owner_and_mode_of_the_key(folder: pathlib.Path) -> None:
    key = folder / "key"
    key.write_text(f"{OLD}\n")
    if os.geteuid() == 0:  # root rotates the key of an app that runs as another user
        os.chown(key, 1234, 1234)
    key.chmod(0o640)
    before = key.stat()
    carboy_secret("rotate", "--file", "key")
    for path in (key, folder / "key.fallbacks"):
        after = path.stat()
        assert (after.st_uid, after.st_gid, mode_of(path)) == (before.st_uid, before.st_gid, 0o640)


def test_rotation_of_the_environment_prints_both_variables(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", OLD)
    printed = carboy_secret("rotate", "--print").output
    (folder / "printed").write_text(printed)
    assert read_env(folder / "printed")[1] == [OLD]


@pytest.mark.parametrize(
    ("args", "files", "text"),
    [
        (["rotate"], {}, ".env has no SECRET_KEY to rotate. Use 'carboy secret new'"),
        (["rotate"], {".env": "SECRET_KEY="}, "no SECRET_KEY to rotate"),
        (["rotate"], {".env": "SECRET_KEY_FILE=x"}, "'carboy secret rotate --file'"),
        (["rotate", "--print"], {}, "The environment has no SECRET_KEY"),
        (["rotate", "--file", "key"], {}, "'key' cannot be read: No such file"),
        (["rotate", "--file", "key"], {"key": "\n"}, "contains no key"),
        (["rotate", "--file", "key"], {"key": b"\xff"}, "it is not UTF-8"),
        (["rotate", "--file", "key"], {"key": "k", "key.fallbacks": "{}"}, "not a list of keys"),
        (["rotate", "--keep", "-1"], {".env": "SECRET_KEY=x"}, "-1"),
        (["new"], {".env": "A=1\n'"}, ".env:2: this line is neither"),
        (["new", "--env-file", "no/.env"], {}, "cannot be written: No such file"),
        (["new", "--file", "no/key"], {}, "cannot be written: No such file"),
        (["new", "--file", "key", "--print"], {}, "--file and --print name different places"),
        (["new", "--file", "."], {}, "is a directory"),
    ],
)
def test_error_says_what_to_do_and_changes_nothing(
    folder: pathlib.Path, args: list[str], files: dict[str, str | bytes], text: str
) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert text in carboy_secret(*args, fails=True).output
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("value", ["[c4n4ry", '{"c4n4ry": 1}', "[1, 2]"])
def test_wrong_fallbacks_are_refused_without_showing_them(folder: pathlib.Path, value: str) -> None:
    (folder / ".env").write_text(f"SECRET_KEY=c4n4ry17\nSECRET_KEY_FALLBACKS='{value}'\n")
    output = carboy_secret("rotate", fails=True).output
    assert "SECRET_KEY_FALLBACKS in .env is not a list of keys" in output
    assert "c4n4ry" not in output


def _app(folder: pathlib.Path) -> Carboy:
    app = Carboy("shop", root_path=str(folder), instance_path=str(folder / "instance"))
    app.config.from_project(environment="production")

    @app.get("/")
    def count() -> str:
        session["n"] = session.get("n", 0) + 1
        return str(session["n"])

    return app


@pytest.mark.parametrize("place", [".env", "file"])
def test_sessions_outlive_a_rotation(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    target = () if place == ".env" else ("--file", "key")
    names = ("SECRET_KEY_FILE", "SECRET_KEY_FALLBACKS_FILE")
    cookie: t.Any = None

    def visit() -> str:
        nonlocal cookie
        # A new process: what `.env` has set is no longer there.
        for name in ("SECRET_KEY", "SECRET_KEY_FALLBACKS"):
            monkeypatch.delenv(name, raising=False)
        client = _app(folder).test_client()
        if cookie is not None:
            client.set_cookie("session", cookie.value)
        text = client.get("/").text
        cookie = client.get_cookie("session")
        return text

    carboy_secret("new", *target)
    if place == "file":
        monkeypatch.setenv(names[0], "key")
    assert visit() == "1"
    carboy_secret("rotate", *target)
    if place == "file":
        monkeypatch.setenv(names[1], "key.fallbacks")
    assert visit() == "2"
    carboy_secret("rotate", *target)
    carboy_secret("rotate", *target)
    assert visit() == "3"
    carboy_secret("rotate", "--keep", "0", *target)
    assert visit() == "1"
