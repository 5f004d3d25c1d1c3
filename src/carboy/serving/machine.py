"""What this machine offers: addresses and ports, CPUs, memory, number of files that may be
open.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import typing as t

from ..core import cgroups
from ..core.cgroups import ResourceLimit

# The largest default number of workers: each worker holds a copy of the app in memory.
MAX_DEFAULT_WORKERS = 8
# Whether this system can run worker processes. On Windows it cannot: processes there cannot share a
# port, and no signal tells the supervisor that a worker has ended.
HAS_WORKERS = hasattr(socket, "SO_REUSEPORT") and hasattr(signal, "SIGCHLD")
# The largest number of connections on a system that can wait for sockets only by `select`, such as
# Windows, where Python's `select` can watch 512 sockets.
SELECTED_CONNECTIONS = 500
# How many file descriptors are reserved for the app's own files and sockets, in addition to those
# for connections.
SPARE_DESCRIPTORS = 256
_UNLIMITED = 2**31


def resolve(host: str) -> str:
    """Return the IP address of a host name, IPv4 if it has one.

    Raises:
        ValueError: the name cannot be resolved; the text is the system's reason.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise ValueError(getattr(exc, "strerror", None) or exc) from None
    # Prefer IPv4: the name "localhost" often means both 127.0.0.1 and ::1, and fewer clients try
    # ::1.
    found.sort(key=lambda info: info[0] != socket.AF_INET)
    return str(found[0][4][0])


def bind_exclusively(sock: socket.socket, address: tuple[str, int]) -> None:
    """Bind a socket to an address, unless another program uses the address.

    Binding must succeed if only old connections of an earlier server still use the port. On Unix
    this requires the option SO_REUSEADDR. On Windows, that option would let two programs share the
    port, so SO_EXCLUSIVEADDRUSE is set there, which forbids it.

    Raises:
        OSError: another program uses the address, or the system cannot bind it.
    """
    option = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
    sock.setsockopt(socket.SOL_SOCKET, option, 1)
    sock.bind(address)


def default_workers() -> int | None:
    """Return how many workers the server starts by default: None if it can choose a number when it
    has loaded the app; 0 if this system cannot run workers.
    """
    return None if HAS_WORKERS else 0


class Cpus(t.NamedTuple):
    """The CPUs that this process may use.

    Attributes:
        number: how many there are, at least 1.
        source: what determines the number, as a text for messages.
    """

    number: int
    source: str


def usable_cpus() -> int:
    """Return the number of CPUs that the process's CPU affinity and the container's quota allow."""
    return find_cpus().number


def find_cpus(root: str = "/") -> Cpus:
    """Return the CPUs that the process's CPU affinity and the quota of its cgroups allow. A quota
    is rounded to whole CPUs.

    Args:
        root: the folder that is taken for "/" when the files of cgroups are looked up. Tests pass
            another folder.
    """
    try:
        cpus = Cpus(len(os.sched_getaffinity(0)), "CPU affinity")
    except AttributeError:  # macOS and Windows lack `sched_getaffinity`
        cpus = Cpus(os.cpu_count() or 1, "this machine")
    quota = cgroups.cpu_quota(root)
    if quota is None or quota.amount >= cpus.number:
        return cpus
    return Cpus(max(1, round(quota.amount)), f"quota of {quota.amount:.3g} in {quota.source}")


def memory_limit(root: str = "/") -> ResourceLimit | None:
    """Return the memory that the processes of this server can have together, in bytes: the limit of
    the cgroup or the machine's memory, whichever is less; None if the system tells neither. `root`
    is that of `find_cpus`.
    """
    limits = [_machine_memory(), cgroups.memory_limit(root)]
    return min((limit for limit in limits if limit is not None), default=None)


def _machine_memory() -> ResourceLimit | None:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows, and systems without these values
        return None
    return ResourceLimit(size, "this machine") if size > 0 else None


def affordable_connections() -> int:
    """Return how many connections the system allows. The hard limit of open files bounds them, and
    the number of sockets for which the system can wait at once.
    """
    most = _UNLIMITED
    if issubclass(selectors.DefaultSelector, selectors.SelectSelector):
        most = SELECTED_CONNECTIONS
    try:
        import resource
    except ImportError:  # Windows lacks this module and the limit of open files
        return most
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if hard == resource.RLIM_INFINITY else min(most, max(64, hard - SPARE_DESCRIPTORS))


def raise_descriptor_limit(connections: int) -> None:
    """Raise the soft limit of open files, usually 1,024, to what the connections need: a socket
    and, while a file is sent, the file.
    """
    try:
        import resource
    except ImportError:  # Windows lacks this module and the limit of open files
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * connections + SPARE_DESCRIPTORS
    # At least 64 connections are always allowed. If the hard limit is below 64 + SPARE_DESCRIPTORS,
    # fewer descriptors remain for the app.
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
