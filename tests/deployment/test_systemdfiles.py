"""`carboy systemd` writes what the app and the settings of the server say. (That systemd accepts
and runs it is tested in tests/deployed/webservers/test_systemd_units.py.)
"""

from __future__ import annotations

import pathlib
import pwd
import sys
import typing as t

import pytest
from clirunner import separate_runner

from carboy.cli import cli
from carboy.deployment import systemdfiles
from carboy.errors import DeploymentError

if t.TYPE_CHECKING:
    import collections.abc as cabc

APP = """
import os
from carboy import Carboy

app = Carboy(__name__)
app.config["LOG_FILE"] = os.environ.get("LOG")
app.config["UPLOAD_FOLDER"] = os.environ.get("UPLOADS")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> cabc.Iterator[pathlib.Path]:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder
    sys.modules.pop("app", None)


def lines(*options: str) -> list[str]:
    """Return the lines of both generated files."""
    result = separate_runner().invoke(cli, ["systemd", "--print", *options])
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def values(name: str, *options: str) -> list[str]:
    """Return the values of all lines NAME=value."""
    start = f"{name}="
    return [line.removeprefix(start) for line in lines(*options) if line.startswith(start)]


def test_files_are_named_for_the_project(folder):
    result = separate_runner().invoke(cli, ["systemd"])
    assert result.exit_code == 0, result.output
    written = {path.name for path in (folder / "deploy").iterdir()}
    assert written == {"shop.service", "shop.socket"}
    assert "useradd --system --shell /usr/sbin/nologin shop\n" in result.stdout
    assert "systemctl enable --now shop.socket shop.service" in result.stdout
    assert ".env &&" not in result.stdout


def test_next_step_lets_the_service_read_and_write_its_files(folder):
    user = pwd.getpwuid(0).pw_name
    (folder / ".env").touch()
    result = separate_runner().invoke(cli, ["systemd", "--user", user, "--writable", "my files"])
    assert "useradd" not in result.stdout  # the user exists
    folders = f"'{folder}/my files'"
    assert f"mkdir -p {folders} && chown -R {user}: {folders}" in result.stdout
    assert " .env && chmod 640 .env" in result.stdout


@pytest.mark.parametrize(
    ("environ", "streams"),
    [
        ({}, ["127.0.0.1:8000"]),
        ({"CARBOY_SERVE_PORT": "9000"}, ["127.0.0.1:9000"]),
        ({"PORT": "9000"}, ["0.0.0.0:9000"]),
        ({"CARBOY_SERVE_BIND": "[::1]:80,unix:/run/a%b.sock"}, ["[::1]:80", "/run/a%%b.sock"]),
    ],
)
def test_systemd_opens_the_addresses_of_the_settings(monkeypatch, environ, streams):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert values("ListenStream") == streams
    # The server must not read the addresses from .env beside the sockets that it gets.
    emptied = [f"{name}=" for name in environ if name != "PORT"]
    assert [value for value in values("Environment") if value.endswith("=")] == emptied


def test_permissions_of_a_unix_socket_are_those_of_the_settings(monkeypatch):
    assert values("SocketMode") == []
    monkeypatch.setenv("CARBOY_SERVE_BIND", "unix:/run/shop.sock")
    assert values("SocketMode") == ["0660"]
    assert values("SocketGroup") == ["www-data"]
    monkeypatch.setenv("CARBOY_SERVE_SOCKET_MODE", "666")
    assert values("SocketMode", "--group", "caddy") == ["0666"]
    assert values("SocketGroup", "--group", "caddy") == ["caddy"]


def test_backlog_of_the_settings_is_that_of_the_sockets_alone(monkeypatch):
    monkeypatch.setenv("CARBOY_SERVE_BACKLOG", "100")
    assert values("Backlog") == ["100"]
    assert "CARBOY_SERVE_BACKLOG=" in values("Environment")  # the server would refuse it


def test_settings_in_the_environment_go_into_the_service(monkeypatch):
    monkeypatch.setenv("CARBOY_SERVE_MAX_BODY", "200M")
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    monkeypatch.setenv("CARBOY_SERVE_GRACE_S", "90")
    monkeypatch.setenv("CARBOY_SERVE_CONTROL", "/run/my control")
    found = values("Environment")
    for line in (
        "CARBOY_SERVE_MAX_BODY=200M",
        "WEB_CONCURRENCY=3",
        '"CARBOY_SERVE_CONTROL=/run/my control"',
    ):
        assert line in found
    (reload,) = values("ExecReload")
    assert reload.endswith('-m carboy ctl --socket "/run/my control" reload')
    assert values("TimeoutStopSec") == ["96"]  # --drain and --grace are 90.5 s


def test_server_without_control_socket_is_reloaded_by_a_signal(monkeypatch):
    monkeypatch.setenv("CARBOY_SERVE_CONTROL", "off")
    assert values("ExecReload") == ["/bin/kill -HUP $MAINPID"]


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({}, ["CARBOY_SERVE_PROXY=1"]),
        ({"CARBOY_SERVE_BIND": "unix:/run/shop.sock"}, ["CARBOY_SERVE_PROXY=1"]),
        ({"CARBOY_SERVE_HOST": "0.0.0.0"}, []),
        ({"CARBOY_PROXY": "2"}, ["CARBOY_PROXY=2"]),
        ({"CARBOY_SERVE_PROXY": "0"}, ["CARBOY_SERVE_PROXY=0"]),
    ],
)
def test_web_server_is_trusted_if_nobody_else_can_connect(monkeypatch, environ, line):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert [value for value in values("Environment") if "PROXY" in value] == line


def test_app_that_was_named_is_served(folder):
    (folder / "app.py").rename(folder / "web shop.py")
    (start,) = values("ExecStart", "web shop.py:app")
    assert start == f'{sys.executable} -m carboy serve "web shop.py:app"'


def test_app_may_write_into_its_own_folders_only(folder, monkeypatch):
    monkeypatch.setattr(systemdfiles, "_HIDDEN", ())
    assert values("ReadWritePaths") == []
    monkeypatch.setenv("LOG", "logs/shop.log")
    monkeypatch.setenv("UPLOADS", "uploads")
    (folder / "instance").mkdir()
    sys.modules.pop("app")
    found = [f"{folder}/{name}" for name in ("instance", "logs", "more", "uploads")]
    assert values("ReadWritePaths", "--writable", "more/") == [" ".join(found)]


@pytest.mark.parametrize("path", [".", "..", "/"])
def test_folder_that_holds_the_code_is_refused(folder, path):
    result = separate_runner().invoke(cli, ["systemd", "--writable", path])
    assert result.exit_code == 2
    assert "which holds its code. Let it write in a folder of its own" in result.stderr


def test_uploads_of_an_app_in_a_package_are_written_below_the_package(folder, monkeypatch):
    monkeypatch.setattr(systemdfiles, "_HIDDEN", ())
    (folder / "uploads").mkdir()
    (folder / "sub" / "uploads").mkdir(parents=True)
    (folder / "app.py").rename(folder / "sub" / "app.py")
    monkeypatch.setenv("UPLOADS", "uploads")
    assert values("ReadWritePaths", "sub/app.py") == [f"{folder}/sub/uploads {folder}/uploads"]
    (folder / "uploads").rmdir()
    sys.modules.pop("app")
    assert values("ReadWritePaths", "sub/app.py", "--force") == [f"{folder}/sub/uploads"]
    monkeypatch.setenv("UPLOADS", ".")
    sys.modules.pop("app")
    result = separate_runner().invoke(cli, ["systemd", "--print", "sub/app.py"])
    assert "which holds its code" in result.stderr


def test_folders_below_hidden_ones_are_shown_to_the_app(folder, monkeypatch):
    monkeypatch.setattr(systemdfiles, "_HIDDEN", (str(folder.parent),))
    assert values("ProtectHome", "--writable", "up") == []
    assert values("TemporaryFileSystem") == ["/home:ro /root:ro /run/user:ro"]
    assert values("BindReadOnlyPaths", "--writable", "up") == [str(folder)]
    assert values("BindPaths", "--writable", "up") == [f"{folder}/up"]
    assert values("ReadWritePaths", "--writable", "up") == []


def test_home_folders_are_hidden_if_the_app_needs_none(monkeypatch):
    monkeypatch.setattr(systemdfiles, "_HIDDEN", ("/nowhere",))
    assert values("ProtectHome") == ["yes"]
    assert values("BindReadOnlyPaths") == []


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_devices_of_models_are_not_hidden(folder, device):
    model = (
        f'\n@app.model("/double", device="{device}")\ndef double(x: float) -> float:\n    return x'
    )
    (folder / "app.py").write_text(APP + model)
    assert values("PrivateDevices") == (["yes"] if device == "cpu" else [])


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("app:create_app()", "app:create_app()"),
        ("100%", "100%%"),
        ("a b", '"a b"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("it's", '"it\'s"'),
        ("a;b", '"a;b"'),
        ("é", "é"),
        ("", '""'),
    ],
)
def test_words_are_quoted_as_systemd_reads_them(word, quoted):
    assert systemdfiles.quote(word) == quoted


def test_text_that_a_unit_cannot_express_is_refused():
    with pytest.raises(DeploymentError, match=r"'a\\nb' contains a character"):
        systemdfiles.quote("a\nb")


USERS = {
    "root": (0, "/root"),
    "news": (9, "/var/spool/news"),
    "local": (99, "/home/local"),
    "redis": (110, "/var/lib/redis"),
    "nobody": (65534, "/nonexistent"),
    # Those of apps, made in one way or another.
    "shop": (990, "/home/shop"),
    "shop1": (101, "/nonexistent"),
    "shop2": (998, "/srv/shop2"),
    "shop3": (999, "/var/lib/shop3"),
    "ann": (1000, "/srv/ann"),
}


@pytest.mark.parametrize(
    ("name", "user"),
    [
        *((name, f"app-{name}") for name in ("root", "news", "local", "redis", "nobody")),
        *(
            (name, f"app-{name}") for name in ("postgres", "systemd-coredump")
        ),  # not on this machine
        *((name, name) for name in ("shop", "shop1", "shop2", "shop3", "ann", "other")),
    ],
)
def test_service_does_not_run_as_a_user_of_the_system(folder, monkeypatch, name, user):
    def getpwnam(name):
        number, home = USERS[name]
        return pwd.struct_passwd((name, "x", number, number, "", home, "/usr/sbin/nologin"))

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    project = folder.rename(folder.parent / name)
    monkeypatch.chdir(project)
    assert values("User") == [user]
    assert values("User", "--user", "redis") == ["redis"]


def test_service_of_models_is_refused_if_its_own_unit_is_one_of_the_system(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(systemdfiles, "_UNIT_FOLDERS", [str(tmp_path)])
    (folder / "app.py").write_text(APP + REPLICATED)
    for name in ("shop.service", "shop.socket", "shop-models.socket"):
        (tmp_path / name).touch()
    assert values("User", "--models") == ["shop"]
    (tmp_path / "shop-models.service").touch()
    result = separate_runner().invoke(cli, ["systemd", "--models"])
    assert result.exit_code == 2
    assert f"would replace {tmp_path}/shop-models.service, which belongs" in result.stderr


@pytest.mark.parametrize("kind", ["service", "socket"])
def test_name_of_a_unit_of_the_system_is_refused(folder, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(systemdfiles, "_UNIT_FOLDERS", [str(tmp_path)])
    (tmp_path / f"shop.{kind}").touch()
    result = separate_runner().invoke(cli, ["systemd"])
    assert result.exit_code == 2
    assert f"replace {tmp_path}/shop.{kind}, which belongs to another program" in result.stderr
    assert not (folder / "deploy").exists()


def test_files_of_tls_in_a_hidden_folder_are_shown_to_the_server(folder, tmp_path, monkeypatch):
    keys = tmp_path / "keys"
    keys.mkdir()
    monkeypatch.setattr(systemdfiles, "_HIDDEN", (str(keys),))
    for name in ("cert", "key"):
        (keys / name).touch()
        monkeypatch.setenv(f"CARBOY_SERVE_TLS_{name.upper()}", str(keys / name))
    assert values("BindReadOnlyPaths") == [f"{keys}/cert {keys}/key"]


@pytest.mark.parametrize(
    ("name", "user"),
    [
        ("shop", "shop"),
        ("2048-game", "app-2048-game"),
        ("a" * 63, "a" * 31),
        ("ab-" * 20, "ab-" * 10 + "a"),
    ],
)
def test_user_has_a_name_that_systemd_accepts(folder, name, user, monkeypatch):
    monkeypatch.chdir(folder.rename(folder.parent / name.rstrip("-")))
    assert values("User") == [user]


@pytest.mark.parametrize("name", ["2shop", "web user", "x" * 32, "", "röt", "a.b"])
def test_name_that_no_user_can_have_is_refused(name):
    result = separate_runner().invoke(cli, ["systemd", "--user", name])
    assert result.exit_code == 2
    assert "expected the name of a user" in result.stderr
    assert not pathlib.Path("deploy").exists()


def test_port_that_the_system_chooses_is_refused(monkeypatch):
    monkeypatch.setenv("CARBOY_SERVE_PORT", "0")
    result = separate_runner().invoke(cli, ["systemd"])
    assert result.exit_code == 2
    assert "no web server could find it" in result.stderr
    assert not pathlib.Path("deploy").exists()


REPLICATED = """
@app.model("/double", replicas=2, device=["cuda:0", "cuda:1"])
def double(x: float) -> float:
    return 2 * x
"""


def test_service_of_models_has_no_addresses_and_its_sockets_in_a_folder_of_its_own(
    folder, monkeypatch
):
    (folder / "app.py").write_text(APP + REPLICATED)
    monkeypatch.setenv("CARBOY_SERVE_BIND", "unix:/run/shop/app.sock")
    monkeypatch.setenv("CARBOY_SERVE_MIN_MODELS", "1")
    assert values("Environment", "--models") == [
        "CARBOY_SERVE_CONTROL=/run/shop-models/control.sock",
        "CARBOY_SERVE_MIN_MODELS=1",
        "XDG_RUNTIME_DIR=/run/shop-models",
        "XDG_CACHE_HOME=%C/shop-models",
    ]
    (start,) = values("ExecStart", "--models")
    assert start.endswith("-m carboy models serve app:app --socket /run/shop-models/models.sock")
    (reload,) = values("ExecReload", "--models")
    assert "--socket /run/shop-models/control.sock" in reload
    assert values("RuntimeDirectory", "--models") == ["shop-models"]
    assert values("PrivateDevices", "--models") == []
    assert not any("shop.socket" in line for line in lines("--models"))


def test_next_step_says_how_another_server_finds_the_models(folder):
    (folder / "app.py").write_text(APP + REPLICATED)
    result = separate_runner().invoke(cli, ["systemd", "--models"])
    assert "deploy/shop-models.service: created\n" in result.stdout
    assert "systemctl enable --now shop-models.service\n" in result.stdout
    assert "  Environment=CARBOY_MODELS_SOCKET=/run/shop-models/models.sock\n" in result.stdout
    assert not (folder / "deploy" / "shop.service").exists()


def test_service_of_models_without_replicas_is_refused(folder):
    result = separate_runner().invoke(cli, ["systemd", "--models"])
    assert result.exit_code == 2
    assert "no model of the app has replicas" in result.stderr
