"""What goes wrong during the soak test: killed workers, reloads, a full disk, a renamed log."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import random
import shutil
import signal
import subprocess
import threading
import time
import typing as t

import processes
from tally import Kill

if t.TYPE_CHECKING:
    from tally import Tally

DISK_BYTES = 24 * processes.MIB
# When the log has this size, it is renamed, as logrotate does, and moved to another disk.
MOVE_BYTES = 4 * processes.MIB
# A draining process listens for less than this.
DRAIN_S = 2.0
# How long the supervisor may take to close its copies of the sockets of a process after it has
# waited for it. Until then, clients may enter a backlog from which nobody accepts them.
CLOSING_S = 0.5
# How long the disk stays full.
FULL_S = 2.0


class SmallDisk:
    """A small file system in memory for the log. Only root can create one.

    Attributes:
        reason: why there is none; "" if there is one.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.reason = ""
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "soak", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as exc:
            self.reason = f"cannot run mount: {exc.strerror}"
        else:
            self.reason = done.stderr.strip().replace(str(folder), "DIR") if done.returncode else ""

    @contextlib.contextmanager
    def full(self) -> t.Iterator[None]:
        """Fill the disk, and free it afterwards."""
        ballast = self.folder / "ballast"
        with ballast.open("wb", buffering=0) as out:
            size = 1 << 20
            while size:
                try:
                    out.write(bytes(size))
                except OSError as exc:
                    if exc.errno != errno.ENOSPC:
                        raise
                    size //= 2
        try:
            yield
        finally:
            ballast.unlink()

    def close(self) -> None:
        if not self.reason:
            # Lazily: a process that was killed may have files open for a moment.
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


class Faults:
    """Causes faults at intervals, each kind on a thread of its own.

    Args:
        supervisor: the process of `carboy serve`.
        port: the port of the server.
        disk: where the log is.
        archive: a folder to which renamed log files are moved.
        kill_s: the seconds between two kills of a worker; 0 for none.
        reload_s: the seconds between two SIGHUP; 0 for none.
        full_s: the seconds between two times that the disk is full; 0 for none.
    """

    def __init__(
        self,
        supervisor: int,
        port: int,
        tally: Tally,
        disk: SmallDisk,
        archive: pathlib.Path,
        *,
        workers: int,
        kill_s: float,
        reload_s: float,
        full_s: float,
    ) -> None:
        self.supervisor, self.port, self.tally = supervisor, port, tally
        self.disk, self.archive = disk, archive
        self.workers = workers
        self.errors: list[str] = []
        self._rng = random.Random(1)
        self._moved = 0
        self._calm, self._stopping = threading.Event(), threading.Event()
        self._moving = threading.Lock()
        jobs = [(self._kill, kill_s), (self._reload, reload_s)]
        if not disk.reason:
            jobs.append((self._fill, full_s))
        self._threads = [
            threading.Thread(target=self._repeat, args=(job, every_s), name=job.__name__)
            for job, every_s in jobs
            if every_s
        ]
        self._mover = threading.Thread(target=self._move_logs, name="move logs")

    def start(self) -> None:
        for thread in (*self._threads, self._mover):
            thread.start()

    def calm(self) -> None:
        """Cause no more faults. Only the log is still renamed."""
        self._calm.set()
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        self.calm()
        self._stopping.set()
        self._mover.join()

    def _repeat(self, job: t.Callable[[], None], every_s: float) -> None:
        try:
            while not self._calm.wait(every_s):
                job()
        except BaseException as exc:
            self.errors.append(f"{job.__name__} failed: {exc!r}")
            raise

    def _kill(self) -> None:
        """Kill a process of a worker, maybe one that is loading or draining."""
        if not self._wait_for_listeners():
            return
        worker = self._rng.choice(processes.children(self.supervisor))
        before_s = time.monotonic()
        # Clients look for their worker among the kills as soon as their connection ends.
        self.tally.kills.append(Kill(worker, before_s, before_s + 60.0))
        os.kill(worker, signal.SIGKILL)
        # Its sockets are closed one after the other, and all of them when the supervisor has waited
        # for the process. (The state is "Z" earlier, while other threads of it still exist.)
        while processes.state(worker):
            time.sleep(0.001)
        self.tally.kills[-1] = Kill(worker, before_s, time.monotonic() + CLOSING_S)
        self.tally.note("workers killed")

    def _wait_for_listeners(self) -> bool:
        """Wait until two processes listen that are not draining: a client that connects to a server
        without workers is refused, which is not a fault. Returns False if no fault is to be caused
        any more.
        """
        since_s = time.monotonic()
        while time.monotonic() - since_s < DRAIN_S:
            if processes.listeners(self.port) < max(2, self.workers):
                since_s = time.monotonic()
            if self._calm.wait(0.02):
                return False
        return True

    def _reload(self) -> None:
        os.kill(self.supervisor, signal.SIGHUP)
        self.tally.note("SIGHUP")

    def _fill(self) -> None:
        with self._moving, self.disk.full():
            self.tally.note("times that the disk under the log was full")
            self._calm.wait(FULL_S)

    # --- the log is renamed, as by logrotate --------------------------------------------------

    def _move_logs(self) -> None:
        while not self._stopping.wait(0.2):
            with self._moving, contextlib.suppress(FileNotFoundError):
                if (self.disk.folder / "soak.log").stat().st_size > MOVE_BYTES:
                    self.move_log()

    def move_log(self) -> None:
        """Rename the log, and move the file that was renamed before: the server may still write to
        the one that is renamed now.
        """
        folder = self.disk.folder
        for path in folder.glob("soak.log.*"):
            shutil.move(path, self.archive)
        self._moved += 1
        (folder / "soak.log").rename(folder / f"soak.log.{self._moved:05}")
        self.tally.note("times that the log was renamed")
