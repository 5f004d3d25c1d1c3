"""Uploads to a real server: many at once, cut connections, full disks, killed processes, memory."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import typing as t

import pytest
import requests
import spawning
from polling import wait_until

pytestmark = pytest.mark.integration

APP = """\
import resource

from carboy import Carboy, jsonify, request, session, uploads

app = Carboy(__name__, root_path=FOLDER)
app.secret_key = "test"

@app.post("/save")
def save():
    saved = uploads.save(
        request.files["file"], "stored", keep="latest", owner=session, types="*/*", max_bytes=2**40
    )
    return jsonify(name=saved.name, size=saved.size)

@app.get("/mine")
def mine():
    return [each.name for each in uploads.files("stored", owner=session)]

@app.get("/memory")
def memory():
    return str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

app.add_url_rule("/uploads/<name>", "uploads", uploads.view("stored"))
"""
MIB = 1024 * 1024
HEAD = (
    b'--limit\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n"
)
TAIL = b"\r\n--limit--\r\n"


class Server(t.NamedTuple):
    program: spawning.Program
    folder: pathlib.Path
    """Of the stored files."""
    temporary: pathlib.Path

    @property
    def url(self) -> str:
        return self.program.url

    @property
    def stored(self) -> list[pathlib.Path]:
        return [each for each in self.folder.glob("*") if each.is_file()]

    @property
    def left(self) -> list[pathlib.Path]:
        """Temporary files."""
        return [*self.folder.rglob("*.part"), *self.temporary.iterdir()]


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Serve the app with some options of `carboy serve`."""
    with contextlib.ExitStack() as stack:

        def serve(*options: str, before: str = "") -> Server:
            temporary = tmp_path / "temporary"
            temporary.mkdir()
            monkeypatch.setenv("TMPDIR", str(temporary))
            text = before + APP.replace("FOLDER", repr(str(tmp_path)))
            program = spawning.serve(tmp_path, "uploading", text, *options)
            stack.callback(program.stop)
            return Server(program, tmp_path / "stored", temporary)

        yield serve


def begin(server: Server, length: int) -> socket.socket:
    """Send the head of an upload of this many bytes."""
    client = socket.create_connection(("127.0.0.1", server.program.port), timeout=30)
    client.sendall(
        b"POST /save HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Type: multipart/form-data; boundary=limit\r\n"
        b"Content-Length: %d\r\n\r\n" % (len(HEAD) + length + len(TAIL)) + HEAD
    )
    return client


def end(client: socket.socket) -> bytes:
    """Return the whole answer."""
    answer = b""
    with client:
        while data := client.recv(65536):
            answer += data
    return answer


# --- many at once --------------------------------------------------------------------------------


def test_100_uploads_at_once_by_different_users_are_neither_mixed_nor_lost(serve):
    """Each user uploads twice, to any of two processes: the second file replaces the first."""
    server = serve("--workers", "2")
    assert server.program.output.count("is ready") == 2

    def upload_twice(n: int) -> tuple[str, bytes]:
        with requests.Session() as user:
            for round_ in range(2):
                # some in memory, some on disk
                data = hashlib.sha256(b"%d %d" % (n, round_)).digest() * (100 if n % 4 else 30_000)
                answer = user.post(f"{server.url}/save", files={"file": ("same.bin", data)})
                assert answer.status_code == 200, answer.text
            name = answer.json()["name"]
            assert user.get(f"{server.url}/mine").json() == [name]
            assert user.get(f"{server.url}/uploads/{name}").content == data
        return name, data

    with concurrent.futures.ThreadPoolExecutor(100) as users:
        expected = dict(users.map(upload_twice, range(100)))
    assert {each.name: each.read_bytes() for each in server.stored} == expected
    assert not server.left


# --- what goes wrong -----------------------------------------------------------------------------


def test_nothing_is_left_of_an_upload_whose_connection_is_cut(serve):
    server = serve()
    client = begin(server, 4 * MIB)
    client.sendall(bytes(2 * MIB))
    client.close()
    # the next upload is answered after that, and nothing but its file is there
    size = len(requests.get(f"{server.url}/mine", timeout=30).json())
    assert size == 0
    answer = requests.post(f"{server.url}/save", files={"file": b"whole"}, timeout=30)
    assert [each.name for each in server.stored] == [answer.json()["name"]]
    assert not server.left


def test_client_that_stops_in_the_middle_and_waits_gets_a_400(serve):
    server = serve()
    client = begin(server, 4 * MIB)
    client.sendall(bytes(MIB))
    client.shutdown(socket.SHUT_WR)
    assert end(client).startswith(b"HTTP/1.1 400 ")
    assert not server.stored
    assert not server.left


def test_range_of_a_stored_file_is_sent(serve):
    server = serve()
    data = os.urandom(2 * MIB)
    answer = requests.post(f"{server.url}/save", files={"file": data}, timeout=30)
    url = f"{server.url}/uploads/{answer.json()['name']}"
    part = requests.get(url, headers={"Range": f"bytes={MIB}-{MIB + 99_999}"}, timeout=30)
    assert (part.status_code, part.content) == (206, data[MIB : MIB + 100_000])
    assert part.headers["Content-Range"] == f"bytes {MIB}-{MIB + 99_999}/{2 * MIB}"
    assert part.headers["X-Content-Type-Options"] == "nosniff"


LIMIT = """\
import resource

resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))
"""


@pytest.mark.parametrize("length", [300_000, 2 * MIB], ids=["in memory", "on disk"])
def test_full_disk_is_a_413_for_the_client_and_a_line_for_the_operator(serve, length):
    """A limit on the size of files has the effect of a full disk: writing fails."""
    server = serve(before=LIMIT.format(200_000))
    client = begin(server, length)
    with contextlib.suppress(OSError):  # the server may answer before it has read all
        client.sendall(bytes(length) + TAIL)
    answer = end(client)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"no room for files of this size" in answer
    assert b"Traceback" not in answer
    server.program.wait_until_it_prints("no room for an upload in /")
    assert "Traceback" not in server.program.output
    assert server.stored == []
    assert not server.left


def test_upload_larger_than_the_limit_of_the_server_is_refused(serve):
    server = serve("--max-body", "1M")
    client = begin(server, 2 * MIB)
    assert end(client).startswith(b"HTTP/1.1 413 ")
    assert not server.folder.exists()


KILLED = """\
import os, signal, sys
from werkzeug.datastructures import FileStorage
from carboy import uploads

class Stream:
    def __init__(self):
        self.reads = 0
    def seek(self, offset, whence=0):
        return 10**9
    def read(self, size):
        self.reads += 1
        if self.reads > 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return b"%PDF-".ljust(size)

uploads.save(FileStorage(Stream(), "a"), sys.argv[1], types="application/pdf", max_bytes=2**40)
"""


def test_temporary_file_of_a_killed_process_is_removed_an_hour_later(tmp_path):
    import io

    from werkzeug.datastructures import FileStorage

    from carboy import uploads

    folder = tmp_path / "stored"
    killed = subprocess.run([sys.executable, "-c", KILLED, folder], check=False, timeout=50)
    assert killed.returncode == -signal.SIGKILL
    (part,) = folder.rglob("*.part")
    assert part.stat().st_size > 0
    assert uploads.files(folder) == []

    def save() -> None:
        uploads.save(FileStorage(io.BytesIO(b"%PDF-"), "a"), folder, types="application/pdf")

    save()
    assert part.exists(), "another process may be writing it"
    os.utime(part, (1, 1))
    save()
    assert not part.exists()
    assert len(uploads.files(folder)) == 2


def test_nothing_is_left_of_an_upload_whose_server_is_killed(serve):
    server = serve()
    client = begin(server, 8 * MIB)
    client.sendall(bytes(4 * MIB))
    worker = int(re.findall(r"worker 1 \(pid (\d+)\) is ready", server.program.output)[0])

    def spooled() -> int:
        """Open files of the worker without a name."""
        links = pathlib.Path(f"/proc/{worker}/fd").iterdir()
        names = []
        for each in links:
            with contextlib.suppress(OSError):
                names.append(str(each.readlink()))
        return sum(str(server.temporary) in name for name in names)

    wait_until(spooled)
    os.kill(worker, signal.SIGKILL)
    with contextlib.suppress(ConnectionResetError):
        end(client)
    assert not server.left


# --- memory --------------------------------------------------------------------------------------


def test_long_upload_takes_no_more_memory_than_a_short_one(serve):
    server = serve("--max-body", "1G")
    peaks = []
    for length in (4 * MIB, 200 * MIB):
        client = begin(server, length)
        block = os.urandom(MIB)
        for _ in range(length // MIB):
            client.sendall(block)
        client.sendall(TAIL)
        assert f'"size":{length}'.encode() in end(client)
        peaks.append(int(requests.get(f"{server.url}/memory", timeout=30).text) // 1024)
    assert peaks[1] - peaks[0] < 16, peaks
