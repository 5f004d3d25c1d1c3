"""The path of the control socket: which a server takes, and which it refuses with a reason."""

from __future__ import annotations

import os
import pathlib
import socket
import stat
import threading

import pytest

from carboy.core.runtimefolders import is_served
from carboy.errors import AddressError
from carboy.serving.management import controlpath
from carboy.serving.management.controlpath import (
    ControlSocket,
    default_path,
    parse_control,
    runtime_folders,
)
from carboy.serving.unixsocket import MAX_PATH_BYTES


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Be in an empty folder, so that paths are short whatever the name of the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def leave_stale_socket(path: pathlib.Path) -> None:
    """Leave what a server leaves that was killed: the file of a socket that nobody listens on."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))


# ------------------------------------------------------------------------------- the setting


def test_relative_path_is_made_absolute(folder):
    assert parse_control("shop.sock") == os.fspath(folder / "shop.sock")


def test_off_is_not_a_path():
    assert parse_control(" OFF ") == "off"


@pytest.mark.parametrize("text", ["", "  ", "a\0b"])
def test_text_that_is_no_path_is_refused(text):
    with pytest.raises(ValueError, match=r"^$"):
        parse_control(text)


def test_path_that_is_too_long_for_a_socket_is_refused_with_its_length():
    longest = "/" + "x" * (MAX_PATH_BYTES - 1)
    assert parse_control(longest) == longest
    with pytest.raises(ValueError, match=f"has {MAX_PATH_BYTES + 1} bytes"):
        parse_control(longest + "x")


def test_length_of_a_path_is_counted_in_bytes():
    with pytest.raises(ValueError, match="bytes"):
        parse_control("/" + "ä" * (MAX_PATH_BYTES // 2 + 1))


# ------------------------------------------------------------------------------ default paths


def test_default_folder_is_that_of_the_user_session(folder):
    folders = runtime_folders({"XDG_RUNTIME_DIR": "/run/user/7"})
    assert folders[0] == "/run/user/7/carboy"
    assert f"carboy-{os.geteuid()}" in folders[-1]


def test_default_folder_is_created_for_this_user_alone(folder, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", os.fspath(folder))
    assert default_path("127.0.0.1:80") == os.fspath(folder / "carboy" / "127.0.0.1:80.sock")
    assert stat.S_IMODE((folder / "carboy").stat().st_mode) == 0o700


def test_folder_to_which_others_may_write_is_not_used(folder, monkeypatch):
    open_to_all = folder / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    private = folder / "private"
    monkeypatch.setattr(
        controlpath, "runtime_folders", lambda: [os.fspath(open_to_all), os.fspath(private)]
    )
    assert default_path("x") == os.fspath(private / "x.sock")


def test_link_in_place_of_the_folder_is_not_followed(folder, monkeypatch):
    (folder / "elsewhere").mkdir(mode=0o700)
    (folder / "link").symlink_to("elsewhere")
    monkeypatch.setattr(controlpath, "runtime_folders", lambda: [os.fspath(folder / "link")])
    with pytest.raises(AddressError, match="it is not a folder"):
        default_path("x")


# --------------------------------------------------------------------------------- taking it


def test_only_the_user_may_connect(folder):
    taken = ControlSocket(os.fspath(folder / "s"))
    assert stat.S_IMODE((folder / "s").stat().st_mode) == 0o600
    taken.close()


def test_socket_file_is_removed_at_the_end(folder):
    ControlSocket(os.fspath(folder / "s")).close()
    assert list(folder.iterdir()) == []


def test_stale_socket_of_a_dead_server_is_replaced(folder):
    leave_stale_socket(folder / "s")
    assert not is_served(os.fspath(folder / "s"))
    taken = ControlSocket(os.fspath(folder / "s"))
    assert is_served(taken.path)
    taken.close()


def test_path_of_a_living_server_is_refused_with_the_remedy(folder):
    living = ControlSocket(os.fspath(folder / "s"))
    with pytest.raises(AddressError, match=r"another server listens on it.*--control"):
        ControlSocket(living.path)
    assert is_served(living.path)
    living.close()


def test_living_server_is_found_although_its_backlog_is_full(folder):
    path = os.fspath(folder / "s")
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(path)
        busy.listen(0)
        waiting = []
        for _ in range(20):
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            client.connect_ex(path)
            waiting.append(client)
        assert is_served(path)
        for client in waiting:
            client.close()


def test_file_that_is_no_socket_is_never_removed(folder):
    (folder / "s").write_text("mine")
    with pytest.raises(AddressError, match="a file that is not a socket"):
        ControlSocket(os.fspath(folder / "s"))
    assert (folder / "s").read_text() == "mine"


def test_missing_folder_is_named(folder):
    with pytest.raises(AddressError, match=r"there is no folder .*/missing\. Create it"):
        ControlSocket(os.fspath(folder / "missing" / "s"))


def test_socket_that_another_server_has_put_there_since_is_left(folder):
    first = ControlSocket(os.fspath(folder / "s"))
    os.unlink(first.path)
    second = ControlSocket(first.path)
    first.close()
    assert is_served(second.path)
    second.close()


def test_one_of_several_servers_that_start_together_takes_a_stale_path(folder):
    leave_stale_socket(folder / "s")
    start, taken, refused = threading.Barrier(8), [], []

    def take():
        start.wait()
        try:
            taken.append(ControlSocket(os.fspath(folder / "s")))
        except AddressError as exc:
            refused.append(str(exc))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1
    assert all("another server listens" in text for text in refused)
    taken[0].close()
