"""What /proc says of the served processes: memory, descriptors, threads, zombies, sockets."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import pathlib
import statistics
import threading
import time
import typing as t

MIB = 2**20


def children(pid: int) -> list[int]:
    found: list[int] = []
    for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, path.read_text().split())
    return sorted(found)


def state(pid: int) -> str:
    """Return the state of a process, such as "S"; "" if there is no such process."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def pss_bytes(pid: int) -> int:
    """Return the memory of a process: pages that n processes share count 1/n for each of them."""
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def descriptors(pid: int) -> int:
    return _entries(f"/proc/{pid}/fd")


def threads(pid: int) -> int:
    return _entries(f"/proc/{pid}/task")


def _entries(folder: str) -> int:
    """Return how many entries a folder has; 0 if the process has ended meanwhile."""
    try:
        return len(os.listdir(folder))
    except OSError:
        return 0


def listeners(port: int) -> int:
    """Return how many sockets listen on a port of 127.0.0.1."""
    wanted = f":{port:04X}"
    lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(fields[1].endswith(wanted) and fields[3] == "0A" for fields in map(str.split, lines))


class Sample(t.NamedTuple):
    time_s: float
    requests: int
    pss: int
    descriptors: int
    threads: int


@dataclasses.dataclass
class History:
    """The samples of one process."""

    pid: int
    role: str
    samples: list[Sample] = dataclasses.field(default_factory=list)

    def since(self, time_s: float) -> list[Sample]:
        return [sample for sample in self.samples if sample.time_s >= time_s]


class Growth(t.NamedTuple):
    """How much a number has grown by its trend, which is a line through all samples, without the
    largest step up between two of them: a thread that allocates its first memory makes such a step,
    and a leak makes many.
    """

    mean: float
    growth: float  # over the time of the samples


def growth_of(samples: t.Sequence[Sample], value: t.Callable[[Sample], float]) -> Growth:
    times = [sample.time_s for sample in samples]
    values = [value(sample) for sample in samples]
    steps = [after - before for before, after in itertools.pairwise(values)]
    steps[steps.index(max(steps))] = 0.0
    rest = list(itertools.accumulate(steps, initial=values[0]))
    slope = statistics.linear_regression(times, rest).slope
    return Growth(statistics.fmean(values), slope * (times[-1] - times[0]))


class Watch:
    """Takes samples of the supervisor and its workers on a thread of its own.

    Attributes:
        zombies: the processes that were zombies in two samples, one after the other.
    """

    def __init__(self, supervisor: int, count: t.Callable[[], int], every_s: float) -> None:
        self.supervisor = supervisor
        self.histories: dict[int, History] = {}
        self.zombies: set[int] = set()
        self._count = count
        self._every_s = every_s
        self._dead: set[int] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.sample()
            self._stopping.wait(self._every_s)

    def sample(self) -> None:
        workers = children(self.supervisor)
        dead = {pid for pid in workers if state(pid) == "Z"}
        self.zombies |= dead & self._dead
        self._dead = dead
        for pid in (self.supervisor, *workers):
            with contextlib.suppress(OSError):  # the process has ended meanwhile
                sample = Sample(
                    time.monotonic(),
                    self._count(),
                    pss_bytes(pid),
                    descriptors(pid),
                    threads(pid),
                )
                self.history(pid).samples.append(sample)

    def history(self, pid: int) -> History:
        role = "supervisor" if pid == self.supervisor else "worker"
        return self.histories.setdefault(pid, History(pid, role))
