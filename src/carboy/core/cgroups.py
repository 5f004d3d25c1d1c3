"""The limits that control groups (cgroups of Linux) put on CPU time and memory of this process.

Containers, systemd and batch systems set them. A process is in one group of each hierarchy, and the
limit of each group from there up to the root holds for it, so that the smallest counts. There are
two versions: in v1 each controller (cpu, memory) has a hierarchy of its own, in v2 all have one;
many systems have both at the same time. /proc/self/cgroup names the groups of the process, and
/proc/self/mountinfo says where their files are. In a container only the groups from the container's
own downwards may be visible.

A file that is missing or holds no number means no limit.
"""

from __future__ import annotations

import os
import re
import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc

# Version 1 writes "no limit" of memory as the largest multiple of the page size below 2**63. No
# machine has an exbibyte.
_NO_MEMORY_LIMIT = 2**60


class ResourceLimit(t.NamedTuple):
    """A limit on what this process may use.

    Attributes:
        amount: the number of CPUs, such as 1.5, or the number of bytes.
        source: what sets the limit, as a text for messages.
    """

    amount: float
    source: str


class _Mount(t.NamedTuple):
    """A mounted hierarchy: the folder `point` shows the group `root` and the groups below it."""

    controllers: frozenset[str]  # of v1; empty for v2
    root: str
    point: str


def cpu_quota(root: str = "/") -> ResourceLimit | None:
    """Return the smallest quota of CPU time of the groups of this process, in CPUs; None if there
    is no quota.

    Args:
        root: the folder that is taken for "/" when files are looked up. Tests pass another folder.
    """
    return _smallest(root, "cpu", _cpu_quota_of)


def memory_limit(root: str = "/") -> ResourceLimit | None:
    """Return the smallest memory limit of the groups of this process, in bytes; None if there is no
    limit. `root` is that of `cpu_quota`.
    """
    return _smallest(root, "memory", _memory_limit_of)


def memory_left(root: str = "/") -> ResourceLimit | None:
    """Return how much memory the groups of this process may still use, in bytes; None if there is
    no limit. Pages of files that the system can drop count as free. `root` is that of `cpu_quota`.
    """
    return _smallest(root, "memory", _memory_left_in)


def _cpu_quota_of(folder: str, version: int) -> float | None:
    if version == 2:
        # The file has "quota period", and "max" instead of a quota that is not limited.
        quota, _, period = _read(f"{folder}/cpu.max").partition(" ")
    else:
        quota = _read(f"{folder}/cpu.cfs_quota_us")
        period = _read(f"{folder}/cpu.cfs_period_us")
    of, per = _number(quota), _number(period)
    return of / per if of and per else None


def _memory_limit_of(folder: str, version: int) -> float | None:
    name = "memory.max" if version == 2 else "memory.limit_in_bytes"
    limit = _number(_read(f"{folder}/{name}"))
    return limit if limit is not None and limit < _NO_MEMORY_LIMIT else None


def _memory_left_in(folder: str, version: int) -> float | None:
    limit = _memory_limit_of(folder, version)
    name = "memory.current" if version == 2 else "memory.usage_in_bytes"
    used = _number(_read(f"{folder}/{name}"))
    if limit is None or used is None:
        return None
    prefix = "inactive_file" if version == 2 else "total_inactive_file"
    found = re.search(rf"^{prefix} ([0-9]+)$", _read(f"{folder}/memory.stat"), re.MULTILINE)
    return max(0.0, limit - used + (int(found[1]) if found else 0))


def _number(text: str) -> int | None:
    """Return a number above 0, or None. Version 1 writes -1, and version 2 "max", if there is no
    limit.
    """
    return int(text) or None if re.fullmatch(r"[0-9]{1,20}", text.strip()) else None


def _smallest(
    root: str, controller: str, limit_of: cabc.Callable[[str, int], float | None]
) -> ResourceLimit | None:
    limits = [
        ResourceLimit(amount, f"cgroup {name}")
        for folder, name, version in _groups(root, controller)
        if (amount := limit_of(folder, version)) is not None
    ]
    return min(limits, default=None)


def _groups(root: str, controller: str) -> cabc.Iterator[tuple[str, str, int]]:
    """Yield folder, name and version of each group of this process in which a controller may have
    limits, from the process's own group upwards.
    """
    mounts = list(_mounts(root))
    for line in _read(os.path.join(root, "proc/self/cgroup")).splitlines():
        # A line is "number:controllers:path"; "0::path" is that of v2.
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        version = 1 if controllers else 2
        if version == 1 and controller not in controllers.split(","):
            continue
        for mount in mounts:
            if mount.controllers if version == 2 else controller not in mount.controllers:
                continue
            inside = _path_below(mount.root, path)
            while True:
                folder = os.path.join(root, mount.point.lstrip("/"), inside)
                name = f"{mount.root.rstrip('/')}/{inside}".rstrip("/")
                yield folder, name or "/", version
                if not inside:
                    break
                inside = os.path.dirname(inside)


def _path_below(top: str, path: str) -> str:
    """Return the path of a group relative to the group `top`, at which its hierarchy is mounted.

    If `path` is not below `top`, it is not visible here, as in a container that shares the
    hierarchy with its host: then the mounted group is the closest that is known.
    """
    if not (path.startswith("/") and top.startswith("/")):
        return ""
    inside = os.path.relpath(path, top)
    return "" if inside == "." or inside.startswith("..") else inside


def _mounts(root: str) -> cabc.Iterator[_Mount]:
    for line in _read(os.path.join(root, "proc/self/mountinfo")).splitlines():
        # proc_pid_mountinfo(5): the fourth field is the root and the fifth the mount point; after a
        # separate "-" come the type of the file system, its source and its options.
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        options = kind[2].split(",") if kind[0] == "cgroup" else ()
        yield _Mount(frozenset(options), _unescape(fields[3]), _unescape(fields[4]))


def _unescape(path: str) -> str:
    """Return a path of mountinfo, which has spaces and the like as a backslash and octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def _read(path: str) -> str:
    """Return the text of a file; an empty text if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(2**20)
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return ""
