"""Secrets that are committed to git: each check finds its mistake, and nothing in a repository
without it.
"""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest
from checkfindings import findings_of

from carboy import Carboy

pytestmark = pytest.mark.integration  # git must be installed

KEY = "f3d9a1c07b52e84496aa10de5c7b8f21"
OTHER_KEY = "0b7e61c2d94f4d3fa85e2c6b1790da38"


class Repository:
    """A git repository with a project."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.git("init", "--quiet")

    def git(self, *arguments: str) -> None:
        about = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
        # not the configuration of the developer who runs the test
        env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        subprocess.run(["git", *about, *arguments], cwd=self.root, env=env, check=True, timeout=60)

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def commit(self, path: str, text: str) -> None:
        self.write(path, text)
        self.git("add", "--force", path)
        self.git("commit", "--quiet", "--message", path)

    def found(self, code: str, key: str | bytes | None = None, **config: object) -> list[str]:
        app = Carboy(__name__, root_path=str(self.root))
        app.config.update(SECRET_KEY=key, **config)
        return [each.place for each in findings_of(code, app, self.root)]


@pytest.fixture
def repository(tmp_path: pathlib.Path) -> Repository:
    return Repository(tmp_path)


# --- carboy.E101 ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("app.py", f"app = Carboy()\napp.secret_key = {KEY!r}\n"),
        ("app.py", f'\napp.config["SECRET_KEY"] = "{KEY}"\n'),
        ("config.py", f'\n    SECRET_KEY: str = "{KEY}"\n'),
        ("settings.json", f'{{\n"SECRET_KEY": "{KEY}"}}'),
        ("deploy/compose.yaml", f"\n      SECRET_KEY: {KEY}\n"),
        ("prod.env", f"\nSECRET_KEY={KEY}\n"),
        ("prod.env", f"\nFLASK_SECRET_KEY={KEY}\n"),
        ("fly.toml", f"[env]\nSECRET_KEY = '{KEY}'\n"),
    ],
)
def test_committed_key_is_found(repository, path, text):
    repository.commit(path, text)
    assert repository.found("carboy.E101") == [f"{path}:2"]


def test_key_in_use_is_found_under_any_name_and_in_any_file(repository):
    repository.commit("tests/docs.md", f"the key:\n{KEY}\n")
    assert repository.found("carboy.E101", KEY) == ["tests/docs.md:2"]
    assert repository.found("carboy.E101", OTHER_KEY) == []
    assert repository.found("carboy.E101", OTHER_KEY, SECRET_KEY_FALLBACKS=[KEY]) == [
        "tests/docs.md:2"
    ]


def test_key_of_bytes_is_found(repository):
    key = b"\xf3\xd9\x00'\n-and-more-of-it"
    repository.commit("app.py", f"KEY = {key!r}")
    assert repository.found("carboy.E101", key) == ["app.py:1"]


def test_key_of_few_characters_is_found_where_a_line_names_it(repository):
    repository.commit("app.py", "dev = 1\napp.secret_key = 'dev'")
    assert repository.found("carboy.E101", "dev") == ["app.py:2"]


def test_key_in_use_is_found_in_the_history(repository):
    repository.commit("app.py", f"app.secret_key = {KEY!r}")
    repository.commit("app.py", "app.secret_key = os.environ['SECRET_KEY']")
    (place,) = repository.found("carboy.E101", KEY)
    assert place.startswith("git commit ")
    assert place.endswith(": app.py")
    assert repository.found("carboy.E101", OTHER_KEY) == []
    assert repository.found("carboy.E101", OTHER_KEY, SECRET_KEY_FALLBACKS=[KEY]) == [place]


def test_finding_does_not_show_the_key(repository):
    repository.commit("app.py", f"app.secret_key = {KEY!r}")
    app = Carboy(__name__)
    app.secret_key = KEY
    assert KEY not in "".join(map(str, findings_of("carboy.E101", app, repository.root)))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("app.py", "app.secret_key = os.environ['SECRET_KEY']"),
        ("app.py", "app.config['SECRET_KEY'] = secrets_of_the_app.key"),
        ("app.py", 'SECRET_KEY = f"{part_of_the_key}-and-another-part"'),
        ("app.py", "SECRET_KEY = 'short'"),
        ("app.py", "SECRET_KEY = 'change-me-in-production'"),
        ("compose.yaml", "SECRET_KEY: ${SECRET_KEY:?set it}"),
        ("compose.yaml", "SECRET_KEY: <the key of production>"),
        (".env.example", f"SECRET_KEY={KEY}"),
        ("README.md", f"SECRET_KEY={KEY}"),
        ("tests/conftest.py", f"SECRET_KEY = {KEY!r}"),
        ("aws.env", f"AWS_SECRET_KEY={KEY}"),
    ],
)
def test_line_without_a_real_key_is_not_reported(repository, path, text):
    repository.commit(path, text)
    assert repository.found("carboy.E101") == []


def test_key_in_a_file_that_is_not_committed_is_not_reported(repository):
    repository.write("instance/secret_key", KEY)
    assert repository.found("carboy.E101", KEY) == []


def test_folder_outside_of_any_repository_has_no_committed_files(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / ".env").write_text(f"SECRET_KEY={KEY}")
    app = Carboy(__name__)
    for code in ("carboy.E101", "carboy.E102", "carboy.W103"):
        assert findings_of(code, app, tmp_path) == []


def test_machine_without_git_has_no_committed_files(repository, monkeypatch):
    repository.commit(".env", f"SECRET_KEY={KEY}")
    monkeypatch.setenv("PATH", str(repository.root))
    for code in ("carboy.E101", "carboy.E102", "carboy.W103"):
        assert repository.found(code, KEY) == []


def test_settings_of_git_do_not_change_what_is_found(repository, monkeypatch):
    repository.commit("a folder/äpp.py", f"app.secret_key = {KEY!r}")
    for number, (name, value) in enumerate({
        "color.ui": "always",
        "diff.mnemonicPrefix": "true",
        "diff.noprefix": "true",
        "grep.column": "true",
        "grep.fullName": "true",
        "grep.patternType": "perl",
        "log.showSignature": "true",
    }.items()):  # fmt: skip
        monkeypatch.setenv("GIT_CONFIG_COUNT", str(number + 1))
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", name)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)
    assert repository.found("carboy.E101", KEY) == ["a folder/äpp.py:1"]
    repository.commit("a folder/äpp.py", "")
    assert repository.found("carboy.E101", KEY)[0].endswith(": a folder/äpp.py")


# --- carboy.E102 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [".env", ".env.production", "deploy/prod.env", ".flaskenv"])
def test_committed_env_file_with_secrets_is_found(repository, path):
    repository.commit(path, "PORT=8000\nexport DB_PASSWORD='hunter22'\n")
    assert repository.found("carboy.E102") == [path]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (".flaskenv", "FLASK_APP=shop\n"),
        (".env.example", "SECRET_KEY=abc\n"),
        (".env", "SECRET_KEY=\nDB_PASSWORD=$DB_PASSWORD\n"),
        ("environment.py", "SECRET_KEY=abc\n"),
    ],
)
def test_committed_file_without_secrets_is_not_reported(repository, path, text):
    repository.commit(path, text)
    assert repository.found("carboy.E102") == []


def test_env_file_that_is_not_committed_is_not_reported(repository):
    repository.write(".env", "SECRET_KEY=abc")
    assert repository.found("carboy.E102") == []


# --- carboy.W103 ----------------------------------------------------------------------------------


def test_env_file_that_git_does_not_ignore_is_found(repository):
    assert repository.found("carboy.W103") == []  # the project has no .env
    repository.write(".env", "")
    assert repository.found("carboy.W103") == [".gitignore"]
    repository.write(".gitignore", "*.env\n")
    assert repository.found("carboy.W103") == []


def test_env_file_of_other_machines_must_be_ignored_too(repository):
    repository.commit(".env.example", "SECRET_KEY=")
    assert repository.found("carboy.W103") == [".gitignore"]
