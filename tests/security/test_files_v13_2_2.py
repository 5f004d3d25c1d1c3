"""Files: what a server writes is private to its user, and nothing stays after kill -9.

ASVS 5.0: 13.2.2, 14.2.7, 16.4.2
Also tested in: tests/uploads/test_uploads_served.py, tests/serving/management/test_controlpath.py,
tests/models/sources/test_sources.py, tests/project/test_secretkey.py, tests/cli/test_secret.py,
tests/serving/process/test_replicas_served.py, tests/serving/test_addresses_served.py
"""

from __future__ import annotations

import contextlib
import http.client
import os
import pathlib
import signal
import socket
import stat
import sys
import typing as t

import pytest
import watchedserver
from polling import wait_until
from watchedserver import WatchedServer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc lists open files on Linux")

HEAD = (
    b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    b"Content-Length: 9000000\r\n\r\n"
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
)


class Seen(t.NamedTuple):
    """What a server has written: while it served, and after all of its processes were killed.

    Attributes:
        modes: the permissions of its files, and of the folders above them up to the project's.
        left: the files in the folder of the project that are no sockets.
        temporary: what is left in the folder of temporary files.
    """

    modes: dict[pathlib.Path, list[int]]
    left: set[pathlib.Path]
    temporary: list[pathlib.Path]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """A server that was started by a user whose new files everybody may write."""
    with watchedserver.watched_server(tmp_path_factory.mktemp("server"), umask=0) as server:
        form = HEAD.partition(b"\r\n\r\n")[2] + b"hello\r\n--x--\r\n"
        assert _post(server.port, "/save", form, "multipart/form-data; boundary=x")[0] == 200
        assert _post(server.port, "/double", b"2", "application/json") == (200, b"4.0")
        modes = {path: _modes(path, server.folder) for path in server.written()}
        _kill_during_an_upload(server)
        left = {path.relative_to(server.folder) for path in server.written() if path.is_file()}
        return Seen(modes, left, list((server.folder / "tmp").iterdir()))


def _post(port: int, path: str, body: bytes, content_type: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", path, body, {"Content-Type": content_type})
        response = connection.getresponse()
        return response.status, response.read()


def _modes(path: pathlib.Path, top: pathlib.Path) -> list[int]:
    between = [each for each in (path, *path.parents) if top in each.parents]
    return [stat.S_IMODE(each.stat().st_mode) for each in between]


def _kill_during_an_upload(server: WatchedServer) -> None:
    processes = server.processes()
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(HEAD + bytes(4_000_000))
        wait_until(lambda: any(_spools(pid, server.folder / "tmp") for pid in processes))
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        server.program.process.wait(30)


def test_others_can_neither_read_nor_write_what_a_server_writes(seen: Seen):
    assert {"stored", "app.log"} <= {path.name for path in seen.modes}
    for path, modes in seen.modes.items():
        assert any(mode & 0o007 == 0 for mode in modes), f"{path}: {list(map(oct, modes))}"


def test_nothing_of_an_upload_stays_if_all_processes_are_killed(seen: Seen):
    assert seen.temporary == []
    assert {path.parts[0] for path in seen.left} == {"logs", "stored"}


def _spools(pid: int, folder: pathlib.Path) -> bool:
    """Whether a process has a file without a name open in a folder. (A file with a name is there
    for a moment when Python looks for a folder that it may write to.)
    """
    found = []
    for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(link.readlink()))
    return any(name.startswith(f"{folder}/") and name.endswith("(deleted)") for name in found)
