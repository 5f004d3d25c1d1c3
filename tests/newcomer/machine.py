"""A fresh Debian in a folder: the packages that the README names, and a user who is not root."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import time
import typing as t

import containers
import spawning

import bootstrap
import chroots

HOME = bootstrap.CACHE / "newcomer"
USER = "newcomer"
# What the README and the tutorial name, and pipx. Python and its venv come by `python`.
PACKAGES = ("ca-certificates", "curl", "git", "make", "pipx")
# The longest that a command may take on a busy machine.
COMMAND_S = 1200


class Spent(t.NamedTuple):
    """What steps took: time, and seconds of CPU of all their processes that have ended."""

    wall_s: float
    cpu_s: float

    @classmethod
    def until_now(cls) -> Spent:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return cls(time.monotonic(), children.ru_utime + children.ru_stime)

    def since(self, began: Spent) -> Spent:
        return Spent(self.wall_s - began.wall_s, self.cpu_s - began.cpu_s)


@dataclasses.dataclass
class Machine:
    """A Debian below `root`; `python` is the name of its interpreter, such as `python3.14`."""

    root: pathlib.Path
    python: str

    @property
    def home(self) -> pathlib.Path:
        """The user's home, as seen from outside."""
        return self.root / "home" / USER

    def run(self, command: str, folder: str = "") -> str:
        """Run a line of a shell as the user, in a folder below its home; return what it prints."""
        done = subprocess.run(
            self._entering(command, folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"exit {done.returncode} from: {command}\n{done.stdout}")
        return done.stdout

    def start(self, command: str, port: int, folder: str = "") -> spawning.Program:
        """Start a server as the user; its output goes to a file in its home."""
        log = self.home / "server.log"
        return spawning.start(self._entering(f"exec {command}", folder), log=log, port=port)

    def _entering(self, command: str, folder: str) -> list[str]:
        variables = {
            "HOME": f"/home/{USER}",
            "USER": USER,
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
        }
        if os.path.exists(containers.CERTIFICATES):
            variables["NODE_EXTRA_CA_CERTS"] = containers.CERTIFICATES
        return chroots.entering(
            self.root,
            "/bin/bash",
            "-c",
            command,
            folder=os.path.join(f"/home/{USER}", folder),
            variables=variables,
            user=USER,
        )


def press_control_c(server: spawning.Program, within_s: float = 60) -> int:
    """Send SIGINT to all processes of a server, as a terminal does; return the exit status."""
    os.killpg(server.process.pid, signal.SIGINT)
    return server.process.wait(within_s)


def make(suite: str, python: str) -> Machine:
    """Return a new machine of a Debian suite; debootstrap installs it once.

    Raises:
        chroots.CannotRunError: this machine cannot have it.
    """
    chroots.check_machine("debootstrap")
    folder = HOME / f"{suite}-{python}"
    base = folder / "base"
    packages = (*PACKAGES, python, f"{python}-venv")
    stamp = bootstrap.Stamp(folder / ".stamp", suite, USER, *packages)
    if not stamp.holds():
        bootstrap.say(f"installing Debian {suite} into {base.relative_to(bootstrap.ROOT)}")
        folder.mkdir(parents=True, exist_ok=True)
        chroots.install_debian(base, suite, packages)
        bootstrap.run("chroot", base, "useradd", "--create-home", "--shell", "/bin/bash", USER)
        stamp.set()
    root = folder / "root"
    chroots.remove(root)
    bootstrap.run("cp", "--archive", "--reflink=auto", base, root)
    _let_reach_registries(root)
    return Machine(root, python)


def _let_reach_registries(root: pathlib.Path) -> None:
    """Give the machine this one's resolver, certificates, and settings of pip."""
    shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
    (root / "etc" / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    (root / "etc" / "pip.conf").write_text(containers.pip_settings())
    if os.path.exists(containers.CERTIFICATES):
        shutil.copy(containers.CERTIFICATES, f"{root}{containers.CERTIFICATES}")
