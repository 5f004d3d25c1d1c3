"""What this machine offers: addresses and ports, number of CPUs, number of files that may be
open.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket

# The largest default number of workers: each worker holds a copy of the app and its models in
# memory.
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


def default_workers() -> int:
    """Return how many workers the server starts by default: one for each CPU that this process may
    use, at most `MAX_DEFAULT_WORKERS`; 0 if this system cannot run workers.
    """
    return min(usable_cpus(), MAX_DEFAULT_WORKERS) if HAS_WORKERS else 0


def usable_cpus() -> int:
    """Return the number of CPUs that the process's CPU affinity and the container's quota allow."""
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows lack `sched_getaffinity`
        cpus = os.cpu_count() or 1
    quota = cgroup_cpus()
    if quota is not None:
        cpus = min(cpus, max(1, round(quota)))
    return cpus


def cgroup_cpus(root: str = "/sys/fs/cgroup") -> float | None:
    """Return how many CPUs the container's quota allows, such as 1.5; None without a quota."""
    try:
        with open(f"{root}/cpu.max", encoding="ascii") as file:
            # In cgroup v2, quota and period are in one file.
            quota, period = file.read().split()
    except (OSError, ValueError):
        try:
            with (
                # In cgroup v1, quota and period are in two files.
                open(f"{root}/cpu/cpu.cfs_quota_us", encoding="ascii") as quota_file,
                open(f"{root}/cpu/cpu.cfs_period_us", encoding="ascii") as period_file,
            ):
                quota, period = quota_file.read(), period_file.read()
        except OSError:
            return None
    try:
        return int(quota) / int(period) if int(quota) > 0 else None
    except (ValueError, ZeroDivisionError):
        return None  # the quota is "max", which means no limit


def resident_bytes(pid: int | None = None) -> int | None:
    """Return how much memory of a process is in RAM (its resident set size, RSS); None if the
    system does not tell (Linux only).

    Args:
        pid: the process; None for the calling one.
    """
    try:
        with open(f"/proc/{pid or 'self'}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


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
