"""Find out what this machine offers: IP addresses, number of CPUs, number of files that may be
open.
"""

from __future__ import annotations

import os
import socket

# The largest default number of workers: each worker holds a copy of the app and its models in
# memory.
MAX_DEFAULT_WORKERS = 8
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


def default_workers() -> int:
    """Return the number of CPUs that this process may use, at most `MAX_DEFAULT_WORKERS`.

    The number is limited by the process's CPU affinity and by the container's quota.
    """
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # pragma: no cover  # macOS
        cpus = os.cpu_count() or 1
    quota = cgroup_cpus()
    if quota is not None:
        cpus = min(cpus, max(1, round(quota)))
    return min(cpus, MAX_DEFAULT_WORKERS)


def cgroup_cpus(root: str = "/sys/fs/cgroup") -> float | None:
    """Return how many CPUs the container's quota allows, such as 1.5; None without a quota."""
    try:
        with open(f"{root}/cpu.max") as file:  # in cgroup v2, quota and period are in this file
            quota, period = file.read().split()
    except (OSError, ValueError):
        try:
            with (
                # In cgroup v1, quota and period are in two files.
                open(f"{root}/cpu/cpu.cfs_quota_us") as quota_file,
                open(f"{root}/cpu/cpu.cfs_period_us") as period_file,
            ):
                quota, period = quota_file.read(), period_file.read()
        except OSError:
            return None
    try:
        return int(quota) / int(period) if int(quota) > 0 else None
    except (ValueError, ZeroDivisionError):
        return None  # the quota is "max", which means no limit


def affordable_connections() -> int:
    """Return how many connections the hard limit of open files allows."""
    try:
        import resource
    except ImportError:  # pragma: no cover  # Windows
        return _UNLIMITED
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if hard == resource.RLIM_INFINITY else max(64, hard - SPARE_DESCRIPTORS)


def raise_descriptor_limit(connections: int) -> None:
    """Raise the soft limit of open files, usually 1,024, to what the connections need: a socket
    and, while a file is sent, the file.
    """
    try:
        import resource
    except ImportError:  # pragma: no cover  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * connections + SPARE_DESCRIPTORS
    # At least 64 connections are always allowed. If the hard limit is below 64 + SPARE_DESCRIPTORS,
    # fewer descriptors remain for the app.
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
