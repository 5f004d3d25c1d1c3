"""Make the base image on which tests build Dockerfiles, of Debian's packages alone.

The images `python:X-slim`, which Dockerfiles name, are in a registry that not every network
reaches. They are Debian with a Python in /usr/local. So is this image: debootstrap installs Debian
and its Python, and an environment in /usr/local has `python` and `pip`, which installs packages as
in `python:X-slim`, without the file EXTERNALLY-MANAGED. The standard library alone is elsewhere, in
Debian's place. Tests give the image the names that Dockerfiles have in FROM.

All of that needs root, on a Debian. buildah keeps images and containers below .cache/containers.
"""

from __future__ import annotations

import shutil
import subprocess
import typing as t

import bootstrap
import chroots

if t.TYPE_CHECKING:
    import pathlib

NAME = "localhost/debian-with-python"
HOME = bootstrap.CACHE / "containers"
PACKAGES = ("python3", "python3-venv", "ca-certificates")
PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


def buildah(*arguments: str | pathlib.Path) -> str:
    """Run buildah, with a storage of its own, and return what it prints."""
    storage = ["--root", HOME / "storage", "--runroot", HOME / "run", "--storage-driver", "vfs"]
    command = [str(part) for part in ("buildah", *storage, *arguments)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout}{done.stderr}\ncarboy: exit {done.returncode}: {command}")
    return done.stdout.strip()


def prepare() -> None:
    """Make the image unless it stands."""
    suite = chroots.own_suite()
    stamp = bootstrap.Stamp(HOME / ".stamp", suite, *PACKAGES, PATH)
    if stamp.holds():
        return
    bootstrap.say(f"making a base image of Debian {suite} in {HOME.relative_to(bootstrap.ROOT)}")
    HOME.mkdir(parents=True, exist_ok=True)
    root = HOME / "root"
    chroots.install_debian(root, suite, PACKAGES)
    bootstrap.run("chroot", root, "python3", "-m", "venv", "--copies", "/usr/local", quiet=True)
    container = buildah("from", "scratch")
    buildah("add", "--quiet", container, root, "/")
    buildah("config", "--env", f"PATH={PATH}", "--cmd", '["python3"]', container)
    buildah("commit", "--quiet", "--format", "docker", "--rm", container, NAME)
    shutil.rmtree(root)
    stamp.set()
