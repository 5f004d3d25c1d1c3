"""Processes of replicas for tests, started without a supervisor.

    with ReplicaProcesses("echo", replicas=2) as there:
        replica = there.remote()           # as a worker has it
        there.replicas[0].kill()

`ReplicaThread` does the same work on a thread of the test: for tests in which nothing dies.

This module is also the program of such a process.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import typing as t

from carboy.core.messagelines import LineReader, encode_line
from carboy.models.replicas import placing
from carboy.models.replicas.batches import BatchFormat
from carboy.models.replicas.process import ReplicaServer, run_replica
from carboy.models.replicas.remote import RemoteReplicas
from carboy.models.replicas.supervision import (
    GivesBack,
    Granted,
    Hangs,
    Ready,
    ReplicaJob,
    WantedReplicas,
    device_lock_path,
    socket_path,
    wanted_replicas,
)
from carboy.models.replicas.tokens import TokenWriter, make_pipe

if t.TYPE_CHECKING:
    from carboy.models.model import Model

_START_S = 60.0


def model_named(name: str) -> Model:
    from replicamodels import app

    return app.models[name]


class Process:
    """One process of a replica."""

    def __init__(self, job: ReplicaJob, folder: str, fds: list[int]) -> None:
        self.number = job["replica"]
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(socket_path(folder, self.number))
        self._listener.listen(64)
        ours, theirs = socket.socketpair()
        job = {**job, "listener_fd": self._listener.fileno()}
        self.popen = subprocess.Popen(
            [sys.executable, "-P", __file__, str(theirs.fileno()), json.dumps(job)],
            pass_fds=[theirs.fileno(), self._listener.fileno(), *fds],
        )
        theirs.close()
        self._listener.close()
        self.link = ours
        self.said: list[tuple[str, t.Any]] = []
        self._ready = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        reader = LineReader()
        with contextlib.suppress(OSError):
            while data := self.link.recv(65536):
                for word, payload in reader.feed(data):
                    self.said.append((word, payload))
                    if word in ("ready", "failed"):
                        self._ready.set()
        self._ready.set()

    def await_ready(self) -> Ready:
        assert self._ready.wait(_START_S)
        return t.cast("Ready", dict(self.said)["ready"])

    def tell(self, word: str) -> None:
        self.link.sendall(encode_line(word))

    def kill(self) -> None:
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()

    def close(self) -> None:
        self.popen.kill()
        self.popen.wait()
        self.link.close()


class _Directory:
    """What a supervisor does for the replicas of one model, as a `ReplicaDirectory`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.model = model_named(name)
        self._stack = contextlib.ExitStack()
        self.folder = self._stack.enter_context(tempfile.TemporaryDirectory())
        self.tokens = make_pipe()
        self.reports: list[Hangs] = []
        self.released: list[GivesBack] = []

    def remote(self, *, retry: bool = True) -> RemoteReplicas:
        """Return what a worker has of the replicas."""
        return RemoteReplicas(
            wanted_replicas(self.name, self.model.options),
            self,
            self.model.operation,
            owner=f"Model {self.name!r}",
            streams=self.model.answers.streams,
            retry=retry,
        )

    def want(self, want: WantedReplicas, user: t.Any) -> tuple[Granted, int]:
        about = Ready(took_s=0.0, loaded_bytes=0, cards=[])
        granted = Granted(key=want["key"], folder=self.folder, about=about)
        return granted, os.dup(self.tokens[0])

    def report(self, hangs: Hangs) -> None:
        self.reports.append(hangs)

    def release(self, release: GivesBack) -> None:
        self.released.append(release)

    def close(self) -> None:
        os.close(self.tokens[1])
        os.close(self.tokens[0])
        self._stack.close()


class ReplicaThread(_Directory):
    """A replica on a thread of this process."""

    def __init__(self, name: str, *, device: str = "") -> None:
        super().__init__(name)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(socket_path(self.folder, 1))
        listener.listen(64)
        version = self.model.make_version("", None)
        version.load()
        self.server = ReplicaServer(
            version.replica.compute,
            BatchFormat.of(self.model.operation),
            self.model.codec,
            listener=listener,
            tokens=TokenWriter(self.tokens[1], 1),
            device_lock=device_lock_path(self.folder, device) if device else "",
            streams=self.model.answers.streams,
            asks_early=True,
        )
        self._thread = threading.Thread(target=self.server.run)

    def __enter__(self) -> t.Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.drain()
        self._thread.join()
        self.close()


class ReplicaProcesses(_Directory):
    """The replicas of one model. A replica that a client reports as hanging is replaced."""

    def __init__(self, name: str, *, replicas: int = 1, device: str = "") -> None:
        super().__init__(name)
        self._device = device
        self._next = 1
        self._all: list[Process] = []
        self.replicas = [self.start() for _ in range(replicas)]

    def __enter__(self) -> t.Self:
        try:
            for each in self.replicas:
                each.await_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        for each in self._all:
            each.close()
        super().close()

    def start(self) -> Process:
        job = ReplicaJob(
            model=self.name,
            version="",
            source="",
            replica=self._next,
            listener_fd=-1,
            tokens_fd=self.tokens[1],
            device_lock=device_lock_path(self.folder, self._device) if self._device else "",
        )
        self._next += 1
        self._all.append(Process(job, self.folder, [self.tokens[1]]))
        return self._all[-1]

    def restart(self, i: int = 0) -> Process:
        """Kill a replica and start another one in its place."""
        self.replicas[i].kill()
        self.replicas[i] = fresh = self.start()
        fresh.await_ready()
        return fresh

    def report(self, hangs: Hangs) -> None:
        super().report(hangs)
        for i, each in enumerate(self.replicas):
            if each.number == hangs["replica"]:
                threading.Thread(target=self.restart, args=(i,), daemon=True).start()


class _Link:
    """The end of the connection in the process of a replica."""

    def __init__(self, sock: socket.socket) -> None:
        self.on_orphaned: list[t.Callable[[], object]] = []
        self._socket = sock
        self._functions: dict[str, t.Callable[[t.Any], object]] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        reader = LineReader()
        while data := self._socket.recv(65536):
            for word, payload in reader.feed(data):
                self._functions[word](payload)
        for each in self.on_orphaned:
            each()

    def on(self, word: str, function: t.Callable[[t.Any], object]) -> None:
        self._functions[word] = function

    def report(self, word: str, payload: object = None) -> None:
        self._socket.sendall(encode_line(word, payload))


def main(fd: str, text: str) -> int:
    placing.compute_here()
    job = t.cast("ReplicaJob", json.loads(text))
    return run_replica(model_named(job["model"]), job, _Link(socket.socket(fileno=int(fd))))


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(__file__))
    sys.exit(main(*sys.argv[1:]))
