"""How much memory a process has: its resident memory, as far as Linux tells it in /proc."""

from __future__ import annotations

import os
import typing as t

MIB = 2**20


class ProcessMemory(t.NamedTuple):
    """The resident memory of a process.

    Attributes:
        own_bytes: memory that no other process shares and that the system cannot take back without
            swap: the heap, and memory shared only with child processes (shmem).
        file_bytes: pages of files that are mapped: libraries, and models that are opened with
            `mmap`. All processes that map a file share its pages, and the system can drop them.
    """

    own_bytes: int
    file_bytes: int

    @property
    def resident_bytes(self) -> int:
        return self.own_bytes + self.file_bytes


def memory_of(pid: int) -> ProcessMemory | None:
    """Return the memory of a process; None if the process has ended, or if the system does not tell
    (Linux only).
    """
    sizes = _read_sizes(f"/proc/{pid}/status")
    resident = sizes.get("VmRSS")
    if resident is None:  # no such process, a zombie, or a system without /proc
        return None
    # Kernels before 4.5, and gVisor, tell the sum alone.
    return ProcessMemory(resident - (files := sizes.get("RssFile", 0)), files)


def resident_bytes(pid: int | None = None) -> int | None:
    """Return how much memory of a process is in RAM (its resident set size, RSS); None if the
    system does not tell (Linux only).

    Args:
        pid: the process; None for the calling one.
    """
    memory = memory_of(os.getpid() if pid is None else pid)
    return memory.resident_bytes if memory is not None else None


def in_mib(size_bytes: float) -> str:
    """Return a size of memory as a text in whole MiB, such as "34 MiB"."""
    return f"{size_bytes / MIB:.0f} MiB"


def available_bytes() -> int | None:
    """Return how much memory the machine can still give to programs; None if the system does not
    tell (Linux only). The limit of a container is not part of it.
    """
    return _read_sizes("/proc/meminfo").get("MemAvailable")


def _read_sizes(path: str) -> dict[str, int]:
    """Return the sizes in a file of /proc in bytes, by their names; empty if there is no such
    file.
    """
    sizes = {}
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if value.endswith(" kB\n") and value[:-4].strip().isdigit():
                    sizes[name] = int(value[:-4]) * 1024
    except OSError:
        pass
    return sizes
