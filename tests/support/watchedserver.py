"""`carboy serve` with everything that opens a socket or writes a file, and a look at what it has
opened.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import typing as t

import spawning

if t.TYPE_CHECKING:
    import collections.abc as cabc

PROGRAM = """
import logging, os, time
from carboy import Carboy, request, session, uploads

app = Carboy(__name__)
app.config.from_project()

@app.get("/")
def index():
    session["user"] = "ada"
    app.logger.warning("a line")
    return "hello"

@app.get("/fail")
def fail():
    raise RuntimeError(f"{app.config['SECRET_KEY']} {os.environ['DATABASE']}")

@app.post("/save")
def save():
    return uploads.save(request.files["file"], "stored", types="*/*").name

@app.post("/wait")
def wait():
    request.files["file"]
    time.sleep(600)

@app.model("/double", replicas=1)
def double(x: float) -> float:
    if x < 0:
        logging.getLogger("a.library").error("cannot reach %s", os.environ["DATABASE"])
        raise RuntimeError(f"{app.config['SECRET_KEY']} {os.environ['DATABASE']}")
    return 2 * x
"""
SECRETS = {
    "SECRET_KEY": "c4n4ry-secret-key-0123456789abcdef",
    "DATABASE": "postgres://shop:c4n4ry-password@db.example/shop",
    "API_TOKEN": "c4n4ry-token-0123456789",
}
CANARY = "c4n4ry"


class WatchedServer(t.NamedTuple):
    """A server whose files are all below one folder.

    Attributes:
        folder: that of the project; `run` and `tmp` in it are for sockets and temporary files.
        management_port: where probes and metrics are answered.
    """

    program: spawning.Program
    folder: pathlib.Path
    management_port: int

    @property
    def port(self) -> int:
        return self.program.port

    def processes(self) -> list[int]:
        """Return the ids of the server's processes."""
        return list(_tree(self.program.process.pid))

    def written(self) -> list[pathlib.Path]:
        """Return all files, folders and sockets that the server has created."""
        given = {self.folder / name for name in ("app.py", ".env", "run", "tmp", "server.log")}
        found = [path for path in self.folder.rglob("*") if "__pycache__" not in path.parts]
        return sorted(set(found) - given)


@contextlib.contextmanager
def watched_server(folder: pathlib.Path, *, umask: int = 0o022) -> cabc.Iterator[WatchedServer]:
    """Start the server, and stop it at the end."""
    (folder / "app.py").write_text(PROGRAM)
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in SECRETS.items()))
    for name in ("run", "tmp"):
        (folder / name).mkdir()
    management = spawning.free_port()
    before = os.umask(umask)
    try:
        program = _start(folder, management)
    finally:
        os.umask(before)
    try:
        program.wait_until_it_prints("serving app:app")
        yield WatchedServer(program, folder, management)
    finally:
        program.stop()


def _start(folder: pathlib.Path, management: int) -> spawning.Program:
    port = spawning.free_port()
    return spawning.start(
        [
            *(spawning.script("carboy"), "serve", "app:app", "--port", str(port)),
            *("--workers", "1", "--management", f"127.0.0.1:{management}"),
        ],
        log=folder / "server.log",
        port=port,
        cwd=folder,
        env={
            "CARBOY_LOG_FILE": "logs/app.log",
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "TMPDIR": str(folder / "tmp"),
        },
    )


def _tree(pid: int) -> cabc.Iterator[int]:
    yield pid
    with contextlib.suppress(FileNotFoundError):  # it has ended
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))


def listening(pids: cabc.Iterable[int]) -> tuple[set[str], set[str]]:
    """Return the addresses on which processes listen: those of the network, as "127.0.0.1:80" or
    "udp ...", and the paths of Unix sockets; abstract ones begin with "@".
    """
    inodes = set()
    for pid in pids:
        for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.update(re.findall(r"socket:\[(\d+)\]", str(link.readlink())))
    network, paths = set(), set()
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for line in pathlib.Path(f"/proc/net/{kind}").read_text().splitlines()[1:]:
            local, state, inode = (line.split()[i] for i in (1, 3, 9))
            # 0A is LISTEN; a datagram socket that is bound receives from anybody.
            if inode in inodes and (kind.startswith("udp") or state == "0A"):
                network.add(_address(kind, local))
    for line in pathlib.Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        is_listening = int(fields[3], 16) & 0x10000
        if is_listening and fields[6] in inodes:
            paths.add(fields[7] if len(fields) > 7 else "")
    return network, paths


def _address(kind: str, local: str) -> str:
    host, port = local.split(":")
    shown = (
        ".".join(str(byte) for byte in reversed(bytes.fromhex(host))) if len(host) == 8 else host
    )
    return f"{'' if kind == 'tcp' else kind + ' '}{shown}:{int(port, 16)}"
