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

if t.TYPE_CHECKING:
    import collections.abc as cabc

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc lists open files on Linux")

HEAD = (
    b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    b"Content-Length: 9000000\r\n\r\n"
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
)


@pytest.fixture
def server(tmp_path: pathlib.Path) -> cabc.Iterator[WatchedServer]:
    """A server that was started by a user whose files everybody may write."""
    with watchedserver.watched_server(tmp_path, umask=0) as server:
        yield server


def _post(port: int, path: str, body: bytes, content_type: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", path, body, {"Content-Type": content_type})
        response = connection.getresponse()
        return response.status, response.read()


def test_others_can_write_no_file_of_the_server_and_read_none_but_its_code(server: WatchedServer):
    form = HEAD.partition(b"\r\n\r\n")[2] + b"hello\r\n--x--\r\n"
    assert _post(server.port, "/save", form, "multipart/form-data; boundary=x")[0] == 200
    assert _post(server.port, "/double", b"2", "application/json") == (200, b"4.0")
    written = server.written()
    names = {path.name for path in written}
    assert {"stored", "app.log"} <= names
    for path in written:
        assert _is_private(path, server.folder), f"{path}: {oct(path.stat().st_mode)}"


def _is_private(path: pathlib.Path, top: pathlib.Path) -> bool:
    """Whether others can neither read nor write a file: by its mode, or that of a folder above."""
    between = [each for each in (path, *path.parents) if each != top and top in each.parents]
    return any(stat.S_IMODE(each.stat().st_mode) & 0o007 == 0 for each in between)


def test_nothing_of_an_upload_stays_if_all_processes_are_killed(server: WatchedServer):
    temporary = server.folder / "tmp"
    worker = server.processes()
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(HEAD + bytes(4_000_000))
        wait_until(lambda: any(_opens(pid, temporary) for pid in worker))
        for pid in server.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        server.program.process.wait(30)
    assert list(temporary.iterdir()) == []
    left = {path for path in server.written() if not path.is_dir() and not path.is_socket()}
    assert {path.relative_to(server.folder).parts[0] for path in left} <= {"logs", "stored"}


def _opens(pid: int, folder: pathlib.Path) -> bool:
    """Whether a process has a file open that is, or was, in a folder."""
    found = []
    for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(link.readlink()))
    return any(name.startswith(f"{folder}/") for name in found)
