"""The secret key that is made in development, and demanded in production."""

from __future__ import annotations

import copy
import os
import pathlib
import pickle
import stat
import subprocess
import sys
import textwrap
import threading
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
import spawning

from carboy import Carboy, session
from carboy.config import Config
from carboy.errors import ConfigError
from carboy.project.secretkey import read_or_make


@pytest.fixture
def make(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., Carboy]:
    """Return a function that makes an app of a project in an empty folder."""
    for name in ("SECRET_KEY", "CARBOY_ENV", "FLASK_ENV"):
        monkeypatch.delenv(name, raising=False)
    # A variable that has the value of an earlier test's `.env` would be taken for that one.
    monkeypatch.setattr("carboy.project.dotenvfile._set_for_projects", {})

    def make(environment: str | None = "development", kind: type[Config] = Config) -> Carboy:
        class App(Carboy):
            config_class = kind

        app = App("shop", root_path=str(tmp_path), instance_path=str(tmp_path / "instance"))
        if environment is not None:
            app.config.from_project(environment=environment)

        @app.get("/")
        def count() -> str:
            session["n"] = session.get("n", 0) + 1
            return str(session["n"])

        @app.get("/plain")
        def plain() -> str:
            return "plain"

        return app

    return make


@pytest.fixture
def key_file(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "instance" / "secret_key"


@pytest.mark.parametrize(
    "need",
    [
        lambda app: app.test_client().get("/").text == "1",
        lambda app: app.secret_key,
        lambda app: app.config["SECRET_KEY"],
        lambda app: app.config.get("SECRET_KEY"),
    ],
    ids=["session", "secret_key", "item", "get"],
)
def test_key_is_made_when_it_is_read_in_development(
    make: t.Callable[..., Carboy], key_file: pathlib.Path, need: t.Callable[[Carboy], object]
) -> None:
    app = make()
    assert need(app)
    assert app.secret_key == key_file.read_text().strip()
    assert len(app.secret_key) == 64
    assert str(app.config.project.origins["SECRET_KEY"]).startswith("generated (")  # type: ignore[union-attr]
    assert type(app.config) is Config


@pytest.mark.parametrize(
    "use",
    [
        lambda app: app.test_client().get("/plain"),
        lambda app: repr(app.config),
        lambda app: copy.copy(app.config),
        lambda app: copy.deepcopy(app.config),
        lambda app: pickle.loads(pickle.dumps(app.config)),
        lambda app: app.config["DEBUG"],
        lambda app: app.config.get("DEBUG"),
        lambda app: dict(app.config),
        lambda app: app.config.update(TITLE="Shop"),
    ],
    ids=[
        *("request", "repr", "copy", "deepcopy", "pickle", "other-item", "other-get", "dict"),
        "update",
    ],
)
def test_no_key_is_made_while_nobody_reads_it(
    make: t.Callable[..., Carboy], tmp_path: pathlib.Path, use: t.Callable[[Carboy], object]
) -> None:
    use(make())
    assert not (tmp_path / "instance").exists()


def test_copy_of_a_config_that_waits_for_its_key_is_a_plain_config(
    make: t.Callable[..., Carboy],
) -> None:
    app = make()
    copied = copy.copy(app.config)
    assert type(copied) is Config
    assert copied == app.config


def test_own_class_of_config_is_kept(make: t.Callable[..., Carboy]) -> None:
    class ShopConfig(Config):
        def __getitem__(self, name: str) -> t.Any:
            return "shop" if name == "TITLE" else super().__getitem__(name)

    app = make(kind=ShopConfig)
    assert isinstance(app.config, ShopConfig)
    assert app.config["TITLE"] == "shop"
    assert app.secret_key
    assert type(app.config) is ShopConfig


def test_key_outlives_the_process(make: t.Callable[..., Carboy]) -> None:
    client = make().test_client()
    assert client.get("/").text == "1"
    cookie = client.get_cookie("session")
    again = make().test_client()
    again.set_cookie("session", cookie.value)  # type: ignore[union-attr]
    assert again.get("/").text == "2"


def test_key_in_testing_is_made_for_the_process_alone(
    make: t.Callable[..., Carboy], tmp_path: pathlib.Path
) -> None:
    client = make("testing").test_client()
    assert [client.get("/").text, client.get("/").text] == ["1", "2"]
    assert not (tmp_path / "instance").exists()


@pytest.mark.parametrize("environment", ["development", "testing"])
def test_threads_that_read_the_key_together_get_one_key(
    make: t.Callable[..., Carboy], environment: str
) -> None:
    for _ in range(20):
        app = make(environment)
        together = threading.Barrier(8)

        def read(app: Carboy = app, together: threading.Barrier = together) -> object:
            together.wait()
            return app.secret_key

        with ThreadPoolExecutor(8) as threads:
            keys = [future.result() for future in [threads.submit(read) for _ in range(8)]]
        assert set(keys) == {app.config["SECRET_KEY"]}
        assert type(app.config) is Config


@pytest.mark.parametrize("environment", ["production", "staging", None])
def test_elsewhere_a_key_is_demanded_where_a_session_is_used(
    make: t.Callable[..., Carboy], key_file: pathlib.Path, environment: str | None
) -> None:
    # A key that was made for development does not count.
    assert make().secret_key
    assert key_file.exists()
    app = make(environment)
    app.testing = True
    assert app.test_client().get("/plain").text == "plain"
    with pytest.raises(RuntimeError, match=r"no secret key was set.*carboy secret new"):
        app.test_client().get("/")


def test_debug_mode_counts_as_development(
    make: t.Callable[..., Carboy], key_file: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make("production")
    app.debug = True
    assert app.test_client().get("/").text == "1"
    key = key_file.read_text().strip()
    monkeypatch.setenv("FLASK_DEBUG", "1")  # as `carboy run --debug` sets it
    assert make("production").secret_key == key


def test_debug_mode_that_a_server_switches_off_makes_no_key(
    make: t.Callable[..., Carboy], tmp_path: pathlib.Path
) -> None:
    app = make("production")
    app.debug = True
    app.debug = False
    assert app.secret_key is None
    assert type(app.config) is Config
    assert not (tmp_path / "instance").exists()


@pytest.mark.parametrize("environment", ["development", "testing"])
def test_assigned_key_takes_precedence(
    make: t.Callable[..., Carboy], tmp_path: pathlib.Path, environment: str
) -> None:
    app = make(environment)
    app.secret_key = "assigned"
    assert app.config["SECRET_KEY"] == app.config.get("SECRET_KEY") == "assigned"
    assert type(app.config) is Config
    assert not (tmp_path / "instance").exists()


@pytest.mark.parametrize("name", ["SECRET_KEY", "CARBOY_SECRET_KEY", "FLASK_SECRET_KEY"])
@pytest.mark.parametrize("place", ["environment", ".env", "file"])
@pytest.mark.parametrize("environment", ["development", "production"])
def test_given_key_is_used(
    make: t.Callable[..., Carboy],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: str,
    place: str,
    name: str,
) -> None:
    monkeypatch.delenv(name, raising=False)
    if place == "environment":
        monkeypatch.setenv(name, "given-key-17")
    elif place == ".env":
        monkeypatch.setenv(name, "")  # so that monkeypatch removes what from_project() sets
        monkeypatch.delenv(name)
        (tmp_path / ".env").write_text(f"{name}=given-key-17\n")
    else:
        (tmp_path / "key").write_text("given-key-17\n")
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "key"))
    app = make(environment)
    monkeypatch.setenv(name, "")
    assert app.secret_key == "given-key-17"
    assert app.test_client().get("/").text == "1"
    assert not (tmp_path / "instance").exists()


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_file_is_private(make: t.Callable[..., Carboy], key_file: pathlib.Path) -> None:
    before = os.umask(0)
    try:
        assert make().secret_key
    finally:
        os.umask(before)
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(key_file.parent.stat().st_mode) == 0o700
    key_file.chmod(0o644)
    assert make().secret_key
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    target = key_file.rename(key_file.with_name("elsewhere"))
    key_file.symlink_to(target)
    target.chmod(0o640)
    assert make().secret_key
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


@pytest.mark.integration  # git must be installed
@pytest.mark.parametrize(
    ("before", "added"),
    [
        (None, True),
        ("", True),
        ("*.db", True),
        ("*\n", False),
        ("secret_key", False),
        ("/secret_key\n", False),
    ],
)
def test_git_ignores_the_file(
    make: t.Callable[..., Carboy], key_file: pathlib.Path, before: str | None, added: bool
) -> None:
    ignore = key_file.parent / ".gitignore"
    if before is not None:
        key_file.parent.mkdir()
        ignore.write_text(before)
    assert make().secret_key
    assert ignore.read_text().startswith(before or "")
    assert (ignore.read_text() != before) is added
    git = ["git", "-C", str(key_file.parent.parent)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "check-ignore", "--quiet", "instance/secret_key"], check=True)


def test_processes_that_start_together_agree_on_one_key(tmp_path: pathlib.Path) -> None:
    program = textwrap.dedent("""
        import sys
        from carboy.project.secretkey import read_or_make
        print("ready", flush=True)
        sys.stdin.readline()
        print(read_or_make("instance/secret_key"))
    """)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        for _ in range(8)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    keys = {process.communicate(timeout=30)[0] for process in processes}
    assert keys == {(tmp_path / "instance" / "secret_key").read_text()}


def test_key_that_another_process_is_writing_is_awaited(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret_key"
    path.write_text("")
    # The other process goes on while this one sleeps.
    monkeypatch.setattr("time.sleep", lambda _: path.write_text("the-key-of-the-other\n"))
    assert read_or_make(str(path)) == "the-key-of-the-other"


def test_file_without_a_key_is_an_error(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carboy.project.secretkey._WAIT_S", 0)
    path = tmp_path / "secret_key"
    path.write_text("")
    with pytest.raises(ConfigError, match="Remove it"):
        read_or_make(str(path))


@pytest.mark.parametrize("obstacle", ["file", "folder", "binary"])
def test_file_that_cannot_be_kept_is_an_error(tmp_path: pathlib.Path, obstacle: str) -> None:
    folder = tmp_path / "instance"
    if obstacle == "file":
        folder.write_text("not a folder")
    elif obstacle == "folder":
        (folder / "secret_key").mkdir(parents=True)
    else:
        folder.mkdir()
        (folder / "secret_key").write_bytes(b"\xff\n")
    with pytest.raises(ConfigError, match=r"carboy secret new"):
        read_or_make(str(folder / "secret_key"))


def test_config_command_says_where_the_key_will_be_and_makes_none(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app.py").write_text(
        "from carboy import Carboy\napp = Carboy(__name__)\napp.config.from_project()\n"
    )
    for options in ((), ("--check",), ("SECRET_KEY",)):
        done = subprocess.run(
            [spawning.script("carboy"), "config", *options],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "CARBOY_ENV": "development"},
            timeout=50,
            check=True,
        )
        if "--check" not in options:
            path = os.path.join("instance", "secret_key")
            assert f"generated (when it is read, {path})" in done.stdout
    assert not (tmp_path / "instance").exists()
