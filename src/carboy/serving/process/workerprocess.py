"""The worker processes, as the supervisor sees them, and which process serves under which number.

Worker          a number from 1 to `--workers`, and the processes that serve under it: usually
one; two while a successor loads the app, or while the old process drains
WorkerProcess   one process, and the socket between the supervisor and it
"""

from __future__ import annotations

import typing as t

from .childprocess import ChildProcess, Place

if t.TYPE_CHECKING:
    from .sockets import WorkerSockets


class WorkerProcess(ChildProcess):
    """One process of a worker, from its start to its end.

    Args:
        number: the number of the worker.
        generation: how many reloads had been asked for when the process was started.

    Attributes:
        sockets: those on which the process listens.
        unanswered: heartbeat requests since the process's last answer.
        loading_versions: the version and the fingerprint of what the process loads at the moment,
            by the names of models.
    """

    module = "carboy.serving.process.worker"
    loads = "the app"
    task, tasks = "request", "requests"

    def __init__(self, number: int, generation: int = 0) -> None:
        super().__init__()
        self.number = number
        self.generation = generation
        self.handlers["alive"] = self._on_alive
        self.handlers["loading-version"] = self._on_loading_version
        self.loading_versions: dict[str, dict[str, str]] = {}
        self.sockets: WorkerSockets | None = None
        self.unanswered = 0
        # The memory in which the process counts for the metrics; None without metrics.
        self.metrics_fd: int | None = None

    def __str__(self) -> str:
        return f"worker {self.number} (pid {self.pid or '-'})"

    def ask_for_heartbeat(self) -> None:
        self.unanswered += 1
        # Send only the first of several heartbeat requests, because it waits in the socket until
        # the process reads it.
        if self.unanswered == 1:
            self.send("alive?")

    def _on_alive(self, payload: object) -> None:
        self.unanswered = 0

    def _on_loading_version(self, payload: tuple[str, dict[str, str] | None]) -> None:
        name, loading = payload
        if loading is None:
            self.loading_versions.pop(name, None)
        else:
            self.loading_versions[name] = loading


class Worker(Place[WorkerProcess]):
    """One of the workers of the server, identified by its number, and its processes.

    Attributes:
        sockets: those on which `current` and `successor` listen; None before the first process, and
            after the death of the current one.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.sockets: WorkerSockets | None = None

    def close_sockets(self) -> None:
        """Close the sockets in this process, so that the next process gets new ones. Processes that
        have got the old ones go on listening on them.
        """
        if self.sockets is not None:
            self.sockets.close()
            self.sockets = None

    def remove(self, process: WorkerProcess) -> None:
        """Forget a process that has ended. If it was the current one, a successor that is being
        loaded takes its place.
        """
        if process is self.current:
            # The clients in the backlog are disconnected, so that they can ask another worker at
            # once: nobody knows how long the next process takes to load the app.
            self.close_sockets()
        super().remove(process)
