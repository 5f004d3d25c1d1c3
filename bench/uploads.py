"""Long uploads: how fast a form with one file is stored, compared with writing the same bytes.

    python bench/uploads.py [--quick] [--json FILE] [--bytes 2G] [--folder FOLDER]

Both write the same number of bytes into FOLDER and call fsync; the upload also sends them over a
socket, parses them as a form, and checks them. Writing and uploading alternate, five times each,
and the rounds are compared, because a disk's speed varies. The memory is the largest of the
worker's during all uploads. FOLDER and the folder of temporary files (TMPDIR) should be on one disk
for the first figure, and on two for the second.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import typing as t

import _measure
import _results

APP = """\
import resource

from carboy import Carboy, request, uploads

app = Carboy(__name__)

@app.post("/")
def store():
    saved = uploads.save(request.files["file"], FOLDER, types="*/*", max_bytes=2**40)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{saved.size} {saved.path} {peak}"
"""
BOUNDARY = b"----WebKitFormBoundary7MA4YWxkTrZu0gW"
HEAD = (
    b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n"
)
TAIL = b"\r\n--" + BOUNDARY + b"--\r\n"
BLOCK = os.urandom(1 << 20)
UNITS = {"M": 2**20, "G": 2**30}


def write(path: str, size: int) -> float:
    """Write a file; return the seconds."""
    begun = time.perf_counter()
    with open(path, "wb", buffering=0) as file:
        file.writelines(BLOCK for _ in range(size // len(BLOCK)))
        os.fsync(file.fileno())
    seconds = time.perf_counter() - begun
    os.unlink(path)
    return seconds


def upload(port: int, size: int) -> tuple[float, int]:
    """Upload a file; return the seconds, and the worker's largest memory so far in bytes."""
    begun = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as client:
        length = len(HEAD) + size + len(TAIL)
        client.sendall(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Type: multipart/form-data; boundary=%b\r\n"
            b"Content-Length: %d\r\n\r\n" % (BOUNDARY, length) + HEAD
        )
        for _ in range(size // len(BLOCK)):
            client.sendall(BLOCK)
        client.sendall(TAIL)
        answer = b""
        while data := client.recv(65536):
            answer += data
    seconds = time.perf_counter() - begun
    assert b" 200 " in answer[:20], answer[-500:]
    stored, path, peak = answer.rpartition(b"\r\n\r\n")[2].decode().split()
    assert int(stored) == size == os.path.getsize(path), answer
    os.unlink(path)
    return seconds, int(peak) * 1024


def start(folder: str, port: int) -> subprocess.Popen[bytes]:
    """Serve the app from a folder with one worker, and wait until it listens."""
    with open(os.path.join(folder, "app.py"), "w", encoding="utf-8") as file:
        file.write(APP.replace("FOLDER", repr(os.path.join(folder, "stored"))))
    command = [sys.executable, "-m", "carboy", "--app", os.path.join(folder, "app.py"), "serve"]
    server = subprocess.Popen(
        [*command, "--port", str(port), "--workers", "1", "--max-body", "64G"],
        stderr=subprocess.DEVNULL,
    )
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return server
    raise RuntimeError("the server does not listen")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return t.cast("int", sock.getsockname()[1])


def size_of(text: str) -> int:
    return int(text[:-1]) * UNITS[text[-1]]


def main() -> None:
    parser = _measure.arguments(__doc__)
    parser.add_argument("--bytes", type=size_of)
    parser.add_argument("--folder", default=tempfile.gettempdir())
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    size = options.bytes or size_of("64M" if options.quick else "2G")
    is_one_disk = os.stat(options.folder).st_dev == os.stat(tempfile.gettempdir()).st_dev
    disk = "the same disk" if is_one_disk else "another disk"
    how = f"{size / 2**20:.0f} MiB, temporary files on {disk}"
    record = _results.Record("uploads", options, "carboy", how=how)
    row = record.row("upload", "stored by carboy serve", ours="uploaded")
    folder, port = tempfile.mkdtemp(dir=options.folder), free_port()
    server = start(folder, port)
    try:
        for _ in range(options.rounds or (1 if options.quick else 5)):
            row.add("written", mb_per_s=size / 1e6 / write(os.path.join(folder, "bare"), size))
            seconds, peak = upload(port, size)
            row.add("uploaded", mb_per_s=size / 1e6 / seconds, mib=peak / 2**20)
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)
    record.close()


if __name__ == "__main__":
    main()
