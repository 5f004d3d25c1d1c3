"""Ray clusters whose nodes have network addresses of their own on one machine.

A node is a network namespace with an address on a bridge, a process namespace, and folders /tmp/ray
and /run of its own. So a node can be lost as a machine is: all of its processes end at once, or its
network goes. All that needs root; `can_make_nodes` says whether this machine allows it.

The processes of a node end with the program that has started it, however that ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import typing as t

import spawning
from polling import wait_until

if t.TYPE_CHECKING:
    from collections import abc as cabc

PORT = 6379
# Ray's own folder for sockets and logs. Each node sees a folder of its own there.
_TEMP = pathlib.Path("/tmp/ray")
# The first process of a node: waits for all that lose their parents.
_INIT = """
import os, time
while True:
    try:
        os.wait()
    except ChildProcessError:
        time.sleep(0.05)
"""
_NAMESPACES = ("--net", "--mount", "--pid")
ENV = {
    "XDG_RUNTIME_DIR": "/run",  # each node has its own
    "RAY_USAGE_STATS_ENABLED": "0",
    # As Ray has it by default, but for nodes that join, which must be told.
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "a-token-of-the-tests",
    "RAY_raylet_start_wait_time_s": "120",
    # Notice a lost node within seconds. (By default: five probes that fail, of ten seconds each.)
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
_RAY_START_S = 180.0
# What the command lines of Ray's processes contain: some of them, and actors, name themselves.
_WORDS_OF_RAY = ("site-packages/ray/", "ray::")


@functools.cache
def can_make_nodes() -> bool:
    if not (shutil.which("unshare") and shutil.which("nsenter") and shutil.which("ip")):
        return False
    command = ["unshare", *_NAMESPACES, "--fork", "--mount-proc", "ip", "link", "set", "lo", "up"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=True)


class NodeProgram(spawning.Program):
    """A program in the namespaces of a node. `process` is nsenter, which waits for it."""

    @property
    def pid(self) -> int:
        (child,) = _children(self.process.pid)
        return child


def _children(pid: int) -> list[int]:
    found = []
    for file in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, file.read_text().split())
    return found


@dataclasses.dataclass
class Node:
    """A machine, so to speak.

    Attributes:
        name: for its files.
        folder: for its logs, and what it sees as /tmp/ray.
        address: its IPv4 address.
        link: the end of its cable that is outside.
    """

    name: str
    folder: pathlib.Path
    address: str
    link: str
    bridge: str
    _shell: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Let the machine boot, without programs."""
        _TEMP.mkdir(exist_ok=True)
        temp = self.folder / "ray"
        shutil.rmtree(temp, ignore_errors=True)
        temp.mkdir(parents=True)
        dies_with_us = ("setpriv", "--pdeathsig", "KILL")
        command = [
            *(*dies_with_us, "unshare"),
            *(*_NAMESPACES, "--fork", "--kill-child", "--mount-proc"),
        ]
        self._shell = subprocess.Popen(
            [*command, sys.executable, "-c", _INIT], stderr=subprocess.DEVNULL
        )
        wait_until(lambda: len(_children(self._unshare.pid)) == 1)
        # It may be here before it has its own namespaces.
        wait_until(
            lambda: os.readlink(f"/proc/{self.init}/ns/net") != os.readlink("/proc/self/ns/net")
        )
        peer = ("type", "veth", "peer", "name", "eth0", "netns", str(self.init))
        _ip("link", "add", self.link, *peer)
        _ip("link", "set", self.link, "master", self.bridge, "up")
        for line in (
            "ip link set lo up",
            f"ip address add {self.address}/24 dev eth0",
            f"ip link set eth0 address {_hardware_address(self.address)} up",
            f"ip route add default via {self.address.rpartition('.')[0]}.1",
            f"mount --bind {temp} {_TEMP}",
            "mount -t tmpfs tmpfs /run",  # where servers have their control sockets
        ):
            self.run(*line.split())

    @property
    def _unshare(self) -> subprocess.Popen[bytes]:
        assert self._shell is not None, f"{self.name} has not been started"
        return self._shell

    @property
    def init(self) -> int:
        """The process id of its first process, outside of the node."""
        (init,) = _children(self._unshare.pid)
        return init

    def command(self, *command: str | os.PathLike[str]) -> list[str]:
        enter = ["nsenter", "--target", str(self.init), "--net", "--mount", "--pid"]
        return [*enter, f"--wd={os.getcwd()}", *map(os.fspath, command)]

    def run(self, *command: str, **env: str) -> str:
        """Run a program on the node, and return its output."""
        done = subprocess.run(
            self.command(*command), env={**os.environ, **ENV, **env}, check=False, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=_RAY_START_S,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(command)} on {self.name}: {done.stdout}"
        return done.stdout

    def spawn(
        self, *command: str | os.PathLike[str], log: pathlib.Path, port: int = 0,
        cwd: pathlib.Path, env: t.Mapping[str, str] | None = None,
    ) -> NodeProgram:  # fmt: skip
        """Start a program on the node."""
        enter = [
            f"--wd={cwd}" if part.startswith("--wd=") else part for part in self.command(*command)
        ]
        program = spawning.start(enter, log=log, port=port, cwd=cwd, env={**ENV, **(env or {})})
        return NodeProgram(program.process, port, log, self.address)

    # ----------------------------------------------------------------------------------- Ray

    def start_ray(self, head: str = "", *options: str) -> None:
        """Start Ray.

        Args:
            head: the address of the node that it joins. By default this node becomes the head.
            options: of `ray start`.
        """
        # It holds its port until it has told the head node, if there is one, that its raylet has
        # ended. The new raylet would end as soon as its own agent cannot have the port.
        wait_until(lambda: not self.pids("ray::RuntimeEnvAgent"), within_s=_RAY_START_S)
        which = ["--address", f"{head}:{PORT}"] if head else ["--head", "--port", str(PORT)]
        if not head:
            # The monitor would start further machines.
            which += ["--include-dashboard=false", "--no-monitor"]
        # With ports of their own, Ray does not wait for its agents, for 15 s at most, until they
        # say theirs: too short for a busy machine.
        ports = [
            *("--dashboard-agent-grpc-port", "6381", "--dashboard-agent-listen-port", "6382"),
            *("--runtime-env-agent-port", "6383", "--metrics-export-port", "6384"),
        ]
        self.run(
            spawning.script("ray"), "start", *which, "--node-ip-address", self.address, *ports,
            "--object-store-memory", str(100 * 2**20), "--disable-usage-stats",
            "--include-log-monitor=false", *options,
        )  # fmt: skip

    def pids(self, word: str) -> list[int]:
        """Return the ids of the node's processes whose command lines contain a word."""
        mine = os.readlink(f"/proc/{self.init}/ns/pid")
        found = []
        for folder in pathlib.Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    if os.readlink(folder / "ns" / "pid") == mine:
                        line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                        if word in line:
                            found.append(int(folder.name))
        return sorted(found)

    def kill(self, word: str) -> list[int]:
        """Kill the node's processes whose command lines contain a word; at least one has it."""
        found = self.pids(word)
        assert found, f"no process {word!r} on {self.name}"
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return found

    def kill_ray(self) -> None:
        """Kill all of Ray on the node, and the actors; return when they are gone."""
        for word in _WORDS_OF_RAY:
            self.kill(word)
        wait_until(lambda: not any(map(self.pids, _WORDS_OF_RAY)))

    # ----------------------------------------------------------------------------- failures

    def cut_power(self) -> None:
        """End all processes of the node at once."""
        os.kill(self.init, signal.SIGKILL)
        self._unshare.wait()
        _ip("link", "delete", self.link, check=False)  # it goes with the namespace, but not at once

    def unplug(self) -> None:
        """Take the node off the network. Its processes go on."""
        _ip("link", "set", self.link, "down")

    def plug_in(self) -> None:
        _ip("link", "set", self.link, "up")

    def stop(self) -> None:
        if self._shell is not None and self._shell.poll() is None:
            self.cut_power()


def _hardware_address(address: str) -> str:
    """Return the MAC address for an IPv4 address: a machine keeps its own when it starts again."""
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def _free_network() -> str:
    """Return the beginning of the addresses of a network that this machine is not in."""
    listed = subprocess.run(
        ["ip", "-o", "-4", "address"], capture_output=True, text=True, check=True
    )
    # RFC 2544 keeps 198.18.0.0/15 for networks of tests.
    for number in itertools.count(os.getpid()):
        net = f"198.{18 + number // 256 % 2}.{number % 256}"
        if f" {net}." not in listed.stdout:
            return net
    raise AssertionError


@contextlib.contextmanager
def network(folder: pathlib.Path, *names: str) -> cabc.Iterator[list[Node]]:
    """Connect machines, which have no programs yet, by a network that this machine is in, too."""
    net = _free_network()
    tag = net.replace("198.1", "").replace(".", "-")
    bridge = f"carboy{tag}"
    # Otherwise the bridge has the lowest address of its cables, which changes with them, and nobody
    # reaches it until the entries of the old one have expired.
    address = f"{net}.1"
    _ip("link", "add", bridge, "address", _hardware_address(address), "type", "bridge")
    nodes = [
        Node(name, folder / name, f"{net}.{11 + i}", f"node{i}-{tag}", bridge)
        for i, name in enumerate(names)
    ]
    try:
        _ip("address", "add", f"{address}/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for node in nodes:
            node.start()
        yield nodes
    finally:
        for node in nodes:
            node.stop()
        _ip("link", "delete", bridge)
