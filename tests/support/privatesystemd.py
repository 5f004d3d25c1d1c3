"""A systemd of a test's own, which starts nothing but the units that the test gives it.

It is process 1 of namespaces of its own: it sees its own processes, its own part of the control
groups, and an empty /run, /var/lib and /var/cache. The network and all other files are those of the
machine. Needs root, Linux
and systemd as a program; the machine itself may run without systemd.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
import textwrap

from polling import wait_until

SYSTEMD = "/lib/systemd/systemd"
# Targets that units refer to by default. The real ones would start services of the machine.
_TARGETS = ("default", "sysinit", "basic", "shutdown", "sockets", "network", "multi-user")
# The process enters a group of its own, of which the group's namespace then sees nothing but the
# part below. What systemd mounts is gone when its namespace of mounts is.
_OUTER = """
mkdir {home}/groups
mount -t cgroup2 none {home}/groups
mkdir {home}/groups/{group}
echo $$ > {home}/groups/{group}/cgroup.procs
exec unshare --cgroup --pid --fork --kill-child --mount --uts --ipc sh -e {home}/inner
"""
_INNER = """
mount -t proc proc /proc
mount -t tmpfs none /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
for folder in /run /var/lib /var/cache; do mount -t tmpfs -o mode=755 none $folder; done
export container=test SYSTEMD_UNIT_PATH={home}/units
exec {systemd} --system --log-target=null --show-status=no
"""


def missing() -> str:
    """Return why there can be no private systemd on this machine; "" if there can be."""
    if os.geteuid() != 0:
        return "needs root"
    for name in (SYSTEMD, "systemctl", "unshare", "nsenter"):
        if shutil.which(name) is None:
            return f"needs {name}"
    try_out = ["unshare", "--mount", "sh", "-c", "mount -t cgroup2 none /mnt"]
    return "" if _runs(*try_out) else "needs the right to mount cgroup2, as in a virtual machine"


class PrivateSystemd:
    """A running systemd. `systemctl` gives it commands.

    Args:
        home: a folder for the test alone; the units are in `home/units`.
    """

    def __init__(self, home: pathlib.Path) -> None:
        self.home = home
        self.units = home / "units"
        self.units.mkdir(parents=True)
        self._group = f"carboy-test-{os.getpid()}-{home.name}"
        for name in _TARGETS:
            self.add_unit(f"{name}.target", "[Unit]\nDefaultDependencies=no\n")
        words = {"home": home, "group": self._group, "systemd": SYSTEMD}
        for name, text in (("outer", _OUTER), ("inner", _INNER)):
            (home / name).write_text(text.format(**words))
        with (home / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-e", home / "outer"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(self._answers, pause_s=0.05)

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.home / "log").read_text()
        return self._pid != 0 and self.systemctl("show-environment", check=False).returncode == 0

    @property
    def _pid(self) -> int:
        """The process id of systemd as the test sees it; 0 if it has not started yet."""
        pid = self._process.pid
        text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()
        return int(text) if text else 0

    def add_unit(self, name: str, text: str) -> None:
        path = self.units / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def systemctl(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["nsenter", "--target", str(self._pid), "--mount", "--pid", "systemctl", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{words}: {done.stdout}{done.stderr}"
        return done

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit, such as `ActiveState`."""
        return self.systemctl("show", unit, "--value", "--property", name).stdout.strip()

    def path(self, inside: str) -> pathlib.Path:
        """Return the path by which the test reaches a file that systemd and its services see."""
        return pathlib.Path(f"/proc/{self._pid}/root{inside}")

    def pid_of(self, unit: str) -> int:
        """Return the main process of a service, by the number that the test sees."""
        inside = self.show(unit, "MainPID")
        for status in pathlib.Path("/proc").glob("[0-9]*/status"):
            lines = dict(line.partition(":\t")[::2] for line in _lines_of(status))
            numbers = lines.get("NSpid", "").split()
            if len(numbers) == 2 and numbers[1] == inside and _namespace(status) == self._namespace:
                return int(numbers[0])
        raise AssertionError(f"{unit} has no process {inside}")

    @property
    def _namespace(self) -> str:
        return os.readlink(f"/proc/{self._pid}/ns/pid")

    def kill(self, inside: int) -> None:
        """Kill a process by the number that it has in systemd's namespace."""
        enter = ["nsenter", "--target", str(self._pid), "--mount", "--pid"]
        subprocess.run([*enter, "kill", "-KILL", str(inside)], check=True)

    def close(self) -> None:
        """Kill systemd, and with it all of its processes; then remove their groups."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        remove = f"mount -t cgroup2 none {self.home}/groups; cd {self.home}/groups"
        remove += f"; find {self._group} -depth -type d -exec rmdir {{}} +"
        wait_until(lambda: _runs("unshare", "--mount", "sh", "-c", remove), pause_s=0.05)


def _lines_of(status: pathlib.Path) -> list[str]:
    try:
        return status.read_text().splitlines()
    except OSError:  # the process has ended
        return []


def _namespace(status: pathlib.Path) -> str:
    try:
        return os.readlink(status.parent / "ns" / "pid")
    except OSError:
        return ""


def _runs(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
