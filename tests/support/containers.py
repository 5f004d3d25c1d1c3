"""Build images of Dockerfiles by buildah, and run them by `unshare`, as Docker would.

There is no Docker engine in the tests. A container here is the image's own command as process 1 of
new namespaces (processes, mounts, network), with the image's files as its root, its user, its
variables and its folder. From outside only its published port is reached: its network has the one
address that a container of Docker has, and 127.0.0.1 for itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import json
import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import tempfile
import threading
import time
import typing as t

import spawning
from polling import wait_until

if t.TYPE_CHECKING:
    import collections.abc as cabc

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOME = ROOT / ".cache" / "containers"  # as in scripts/base_image.py
BASE = "localhost/debian-with-python"
# How long a build may take on a busy machine.
BUILD_S = 900
# The address of a container in its own network.
ADDRESS = "10.88.0.2"
_CLONE_NEWNET = 0x40000000
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


class Execution(t.NamedTuple):
    """The result of a command in a container."""

    status: int
    output: str


def buildah(*arguments: str | os.PathLike[str], cwd: pathlib.Path | None = None) -> str:
    """Run buildah, with the storage of scripts/base_image.py, and return what it prints."""
    storage = ["--root", HOME / "storage", "--runroot", HOME / "run", "--storage-driver", "vfs"]
    done = subprocess.run(
        ["buildah", *storage, *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_S,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, arguments))}\n{done.stdout}"
    return done.stdout.strip()


# ------------------------------------------------------------------------------------------ images


@dataclasses.dataclass
class Image:
    """An image that a test has built."""

    name: str
    log: str  # what the build has printed

    @functools.cached_property
    def config(self) -> dict[str, t.Any]:
        """The configuration, such as `Cmd` and `User`, as Docker defines it."""
        found = json.loads(buildah("inspect", "--type", "image", self.name))
        return t.cast("dict[str, t.Any]", found["Docker"]["config"])

    @property
    def size(self) -> int:
        """The bytes of the files in the image, with those of its base."""
        return _size_of(self.name)

    @property
    def own_size(self) -> int:
        """The bytes that the image has beyond its base."""
        return self.size - _size_of(BASE)

    @functools.cached_property
    def root(self) -> pathlib.Path:
        """The folder with the image's files, which must not be changed. `remove_copies` removes it
        at the end of the tests.
        """
        return pathlib.Path(buildah("mount", buildah("from", "--pull-never", self.name)))


def remove_copies() -> None:
    """Remove all folders that `Image.root` has made, and images whose names later ones have got."""
    buildah("rm", "--all")
    buildah("rmi", "--prune")


def _size_of(name: str) -> int:
    lines = buildah("images", "--json", name)
    text = json.loads(lines)[0]["size"]
    number, unit = text.split()
    return int(float(number) * {"KB": 1e3, "MB": 1e6, "GB": 1e9}[unit.upper()])


def build(folder: pathlib.Path, name: str, *options: str) -> Image:
    """Build the Dockerfile of a folder. Its base images are given the names in FROM."""
    dockerfile = (folder / "Dockerfile").read_text()
    for base in re.findall(r"^FROM (\S+:\S+)", dockerfile, re.MULTILINE):
        buildah("tag", BASE, f"docker.io/library/{base}")
    with tempfile.TemporaryDirectory() as place:
        settings = pathlib.Path(place, "pip.conf")
        settings.write_text(pip_settings())
        mounted = [f"{settings}:/etc/pip.conf:ro"]
        if os.path.exists(CERTIFICATES):
            mounted.append(f"{CERTIFICATES}:{CERTIFICATES}:ro")
        volumes = [word for each in mounted for word in ("--volume", each)]
        how = ["--isolation", "chroot", "--format", "docker", "--pull-never", *volumes, *options]
        log = buildah("bud", *how, "--tag", name, ".", cwd=folder)
    return Image(f"localhost/{name}", log)


def build_text(dockerfile: str, folder: pathlib.Path, name: str) -> Image:
    """Write a Dockerfile into a folder, and build it."""
    (folder / "Dockerfile").write_text(dockerfile)
    return build(folder, name)


def pip_settings() -> str:
    """Return this machine's settings of pip that a build needs to reach the package index: all but
    those that name local files.
    """
    listed = subprocess.run(
        [spawning.script("pip"), "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    settings = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        text = value.strip("'")
        if not re.search(r"(^|\s)(/|file:)", text) or text == CERTIFICATES:
            settings[name.rpartition(".")[2]] = text
    return "[global]\n" + "".join(f"{name} = {text}\n" for name, text in settings.items())


# -------------------------------------------------------------------------------------- containers


@dataclasses.dataclass
class Container:
    """A running container."""

    program: spawning.Program
    config: dict[str, t.Any]
    environ: dict[str, str]

    @property
    def url(self) -> str:
        return self.program.url

    @property
    def output(self) -> str:
        return self.program.output

    @functools.cached_property
    def pid(self) -> int:
        """The process that is number 1 in the container, by its number outside."""
        unshare = self.program.process.pid
        children = pathlib.Path(f"/proc/{unshare}/task/{unshare}/children")
        wait_until(lambda: children.read_text().split())
        return int(children.read_text())

    def wait_until_it_answers(self, path: str = "/", within_s: float = spawning.START_S) -> float:
        """Wait for the first response, whatever it is; return how many seconds that took."""
        began_s = time.monotonic()
        while not self._answers(path):
            assert self.program.process.poll() is None, self.output
            assert time.monotonic() < began_s + within_s, self.output
            time.sleep(0.02)  # nothing reports it
        return time.monotonic() - began_s

    def _answers(self, path: str) -> bool:
        request = f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()
        try:
            with socket.create_connection(("127.0.0.1", self.program.port), 10) as sock:
                sock.sendall(request)
                return sock.recv(16).startswith(b"HTTP/1.")
        except OSError:
            return False

    def execute(self, *command: str) -> Execution:
        """Run a command in the container, as `docker exec` does."""
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--net", "--pid", "--root"]
        done = subprocess.run(
            [*enter, *_as_user(self.config, self.environ), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return Execution(done.returncode, done.stdout)

    def is_healthy(self) -> bool:
        """Run the health check of the image."""
        kind, *command = self.config["Healthcheck"]["Test"]
        assert kind == "CMD", "in shell form"
        return self.execute(*command).status == 0

    def stop(self) -> tuple[int, float]:
        """Send SIGTERM to process 1, as `docker stop` does, and return what `wait` does."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait()

    def wait(self) -> tuple[int, float]:
        """Wait for the end. Return the exit status, and the seconds that it took."""
        began_s = time.monotonic()
        return self.program.process.wait(timeout=60), time.monotonic() - began_s


def _kill_first_process(unshare: int) -> None:
    """Kill process 1 of a container, and so all of its processes. The end of `unshare` kills it
    only if it is root: a process that changes its user loses the signal (prctl(2),
    PR_SET_PDEATHSIG).
    """
    try:
        children = pathlib.Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()
    except OSError:  # it has ended
        return
    for child in map(int, children):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


@contextlib.contextmanager
def run(
    image: Image,
    folder: pathlib.Path,
    *,
    environ: cabc.Mapping[str, str] | None = None,
    tmpfs: cabc.Sequence[str] = (),
    volumes: cabc.Mapping[str, pathlib.Path] | None = None,
    port: int = 8000,
    read_only: bool = True,
    beside: Container | None = None,
    hosts: str = "",
) -> cabc.Iterator[Container]:
    """Run the command of an image.

    Args:
        image: the image.
        folder: an existing folder, for the log and for volumes without a folder of their own.
        environ: the variables, as by `docker run --env`.
        tmpfs: the folders that are in memory, as by `docker run --tmpfs`.
        volumes: the folders outside that are mounted into the container. Each `VOLUME` of the image
            that is not among them gets a new one.
        port: the port that is published, on `Container.url`.
        read_only: whether the root is read-only, as by `docker run --read-only`.
        beside: a container whose network this one uses, too.
        hosts: lines for /etc/hosts.
    """
    config = image.config
    variables = dict(each.split("=", 1) for each in config["Env"]) | dict(environ or {})
    layers = {name: folder / "root" / name for name in ("changes", "work", "merged")}
    for layer in layers.values():
        layer.mkdir(parents=True)
    mounted = dict(volumes or {})
    for path in config.get("Volumes") or {}:
        if path not in mounted:
            mounted[path] = _copied(image.root, path, folder)
    script = _script(image.root, layers, mounted, tmpfs, hosts, read_only=read_only)
    command = [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]
    inside = shlex.join([*_as_user(config, variables), *command])
    namespaces = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
    unshare = ["unshare", "--net", *namespaces]
    if beside is None:
        script = f"ip link set lo up\nip address add {ADDRESS}/32 dev lo\n{script}"
    else:
        unshare = ["nsenter", f"--net=/proc/{beside.pid}/ns/net", "unshare", *namespaces]
    program = spawning.start(
        [*unshare, "sh", "-ec", f"{script}\nexec chroot . {inside}"],
        log=folder / "container.log",
        port=spawning.free_port(),
    )
    container = Container(program, config, variables)
    try:
        with _published(container, port):
            yield container
    finally:
        _kill_first_process(program.process.pid)
        program.process.kill()
        program.process.wait()


def _copied(root: pathlib.Path, path: str, folder: pathlib.Path) -> pathlib.Path:
    """Make a new volume of what the image has in the folder, as Docker does."""
    volume = folder / path.strip("/").replace("/", "-")
    subprocess.run(["cp", "--archive", root / path.lstrip("/"), volume], check=True)
    return volume


def _script(
    root: pathlib.Path,
    layers: cabc.Mapping[str, pathlib.Path],
    volumes: cabc.Mapping[str, pathlib.Path],
    tmpfs: cabc.Sequence[str],
    hosts: str,
    *,
    read_only: bool,
) -> str:
    """Return the commands that mount the root of a container, whose changes are in a layer of its
    own, and make it the current folder.
    """
    layered = f"lowerdir={root},upperdir={layers['changes']},workdir={layers['work']}"
    lines = [
        shlex.join(["mount", "-t", "overlay", "-o", layered, "overlay", str(layers["merged"])]),
        f"cd {shlex.quote(str(layers['merged']))}",
        "mkdir -p proc dev sys",
        f"echo {shlex.quote('127.0.0.1 localhost')} > etc/hosts",
        f"echo {shlex.quote(hosts)} >> etc/hosts",
    ]
    lines += [f"mkdir -p .{shlex.quote(path)}" for path in tmpfs]
    lines += [_mount_point(path, outside) for path, outside in volumes.items()]
    if read_only:
        lines.append("mount -o remount,ro .")
    lines += ["mount -t proc proc proc", "mount --rbind /dev dev"]
    lines += [f"mount -t tmpfs -o mode=1777 tmpfs .{shlex.quote(path)}" for path in tmpfs]
    lines += [
        f"mount --bind {shlex.quote(str(outside))} .{shlex.quote(path)}"
        for path, outside in volumes.items()
    ]
    return "\n".join(lines)


def _mount_point(path: str, outside: pathlib.Path) -> str:
    inside = shlex.quote(f".{path}")
    if outside.is_dir():
        return f"mkdir -p {inside}"
    return f"mkdir -p {shlex.quote(os.path.dirname(f'.{path}'))}\ntouch {inside}"


def _as_user(config: cabc.Mapping[str, t.Any], environ: cabc.Mapping[str, str]) -> list[str]:
    """Return the beginning of a command that runs as the image's user, without capabilities and
    without ways to get them, in its folder, with these variables alone.
    """
    user, _, group = (config.get("User") or "0:0").partition(":")
    limits = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"] if user != "0" else []
    who = ["setpriv", f"--reuid={user}", f"--regid={group or user}", "--clear-groups", *limits]
    where = config.get("WorkingDir") or "/"
    variables = [f"{name}={value}" for name, value in {"HOME": "/tmp", **environ}.items()]
    return [*who, "/usr/bin/env", "-i", f"--chdir={where}", *variables]


# ----------------------------------------------------------------------------------- published port


@contextlib.contextmanager
def _published(container: Container, port: int) -> cabc.Iterator[None]:
    """Pass connections to the container's port on 127.0.0.1 on to `port` at the address of the
    container in its own network, as Docker's proxy does.
    """
    network = os.open(f"/proc/{container.pid}/ns/net", os.O_RDONLY)
    with socket.create_server(("127.0.0.1", container.program.port)) as listener:
        accepting = threading.Thread(target=_forward_all, args=(listener, network, port))
        accepting.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            os.close(network)


def _forward_all(listener: socket.socket, network: int, port: int) -> None:
    # A socket belongs to the network of the thread that has made it.
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.setns(network, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        try:
            server = socket.create_connection((ADDRESS, port), 5)
            server.settimeout(None)
        except OSError:
            client.close()
            continue
        threading.Thread(target=_exchange, args=(client, server), daemon=True).start()


def _exchange(client: socket.socket, server: socket.socket) -> None:
    """Pass on what each of two connections receives to the other one, until both have ended."""
    with client, server:
        requests = threading.Thread(target=_forward, args=(client, server))
        requests.start()
        _forward(server, client)
        requests.join()


def _forward(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
