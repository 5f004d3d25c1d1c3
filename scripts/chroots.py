"""Folders with a Debian of their own, and commands that run in them by chroot.

A command runs in a mount namespace of its own, which ends with it: there is no mount to clean up.
All of that needs root, on a Debian.
"""

from __future__ import annotations

import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import typing as t

import bootstrap

if t.TYPE_CHECKING:
    import collections.abc as cabc

# debootstrap mounts /proc in the folder. A mount of a namespace ends with it.
APART = ("unshare", "--mount", "--propagation", "private")


class CannotRunError(Exception):
    """This machine cannot have such a folder; the message says why."""


def check_machine(*needed: str) -> None:
    """Raise CannotRunError unless this is root, on a Debian, with the commands that are needed."""
    if os.geteuid() != 0:
        raise CannotRunError("chroot needs root")
    needed = (*needed, "unshare", "mount", "chroot")
    missing = [command for command in needed if shutil.which(command) is None]
    if missing:
        raise CannotRunError(f"not installed here: {', '.join(missing)}")
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        system = {}
    if system.get("ID") != "debian":
        raise CannotRunError(f"needs Debian, whose mirror has Pythons; this is {system.get('ID')}")


def mirror() -> str:
    """The address of Debian's archive, as the machine's own apt sources have it."""
    form = "$(COMPONENT) $(RELEASE) $(REPO_URI)"
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", form, "Created-By: Packages"],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    codename = own_suite()
    for line in listed.splitlines():
        component, release, address = line.split(" ", 2)
        if component == "main" and release in {codename, "stable", "testing", "unstable", "sid"}:
            return address
    raise CannotRunError(f"the apt sources of this machine have no {codename} main")


def own_suite() -> str:
    """The name of this machine's Debian, such as "bookworm"."""
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "stable")


def remove(root: pathlib.Path) -> None:
    """Delete a folder, unless something is mounted in it, such as this repository."""
    mounted = [
        line.split()[1] for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()
    ]
    inside = [place for place in mounted if place.startswith(f"{root}/")]
    if inside:
        raise SystemExit(f"carboy: not deleting {root}: mounted in it: {inside}. Unmount that.")
    shutil.rmtree(root, ignore_errors=True)


def install_debian(root: pathlib.Path, suite: str, packages: cabc.Iterable[str]) -> None:
    """Install a minimal Debian and packages into a folder, by debootstrap."""
    remove(root)
    included = f"--include={','.join(packages)}"
    install = ["debootstrap", "--variant=minbase", included, suite, os.fspath(root)]
    bootstrap.run(*APART, *install, mirror(), quiet=True)
    for archive in (root / "var" / "cache" / "apt" / "archives").glob("*.deb"):
        archive.unlink()


def entering(
    root: pathlib.Path,
    *command: str,
    folder: str,
    variables: dict[str, str],
    shown: tuple[pathlib.Path, ...] = (),
    user: str = "",
) -> list[str]:
    """Return the command that runs another one in a root folder, in the same process.

    Args:
        folder: the folder in which it starts, as seen from inside.
        variables: its whole environment.
        shown: folders of this machine that it sees at their own paths.
        user: a user of the root folder; root if empty.
    """
    place = shlex.quote(f"{root}")
    steps = [
        f"mount -t proc proc {place}/proc",
        f"mount --rbind /dev {place}/dev",
        f"mount -t tmpfs tmpfs {place}/tmp",  # noqa: S108 - the folder's own
    ]
    for path in shown:  # after /tmp: they may be below it
        inside = shlex.quote(f"{root / path.relative_to('/')}")
        steps += [f"mkdir -p {inside}", f"mount --bind {shlex.quote(f'{path}')} {inside}"]
    environment = [f"{name}={value}" for name, value in variables.items()]
    env = shlex.join(["/usr/bin/env", "-i", "--chdir", folder, *environment])
    options = shlex.join([f"--userspec={user}"] if user else [])
    steps.append(f"exec chroot {options} {place} {env} {shlex.join(command)}")
    return [*APART, "sh", "-c", " && ".join(steps)]
