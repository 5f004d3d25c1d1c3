"""The processes of replicas, as the supervisor sees them.

    ReplicaProcess  one process, which computes the batches of one version of a model
    ReplicaPool     the replicas of one version of a model: as many places as the app has declared,
                    and the pipe by which they offer themselves to clients

A replica is replaced in one way, as workers are: its successor loads the model, and when it is
ready, the old process finishes its batch and ends. Only a replica that hangs, or whose device is
broken, is killed first.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import time
import typing as t
from functools import partial

from ...core.bytesizes import format_size
from ...core.processmemory import in_mib, resident_bytes
from ...models.options import CPU
from ...models.replicas.checkup import CHECK_EVERY_S, CHECK_LIMIT_S
from ...models.replicas.supervision import ReplicaJob, device_lock_path, socket_path
from ...models.replicas.tokens import make_pipe
from .. import log, machine
from .childprocess import LOADING_GRACE_S, ChildProcess, Place, explain_failure
from .computedevices import device_environment
from .computethreads import thread_environment
from .workerlimits import lower_by_chance

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ...models.replicas.supervision import Ready, WantedReplicas

BACKLOG = 128
# How long a replica that a client has reported may take to say for how long it has computed. It
# cannot if it is stopped, or native code in it holds the GIL.
_HANG_ANSWER_S = 1.0


class ReplicaProcess(ChildProcess):
    """One process of a replica, from its start to its end.

    Args:
        want: the version of the model that the process computes.
        number: the identifier of the process, which is in its tokens.
        device: the device on which it computes; "" if the app has named none.

    Attributes:
        loaded: what the process has reported of the model when it was ready.
        most_bytes: how much resident memory it may use; None without a limit.
        check_asked_s: when the process was asked to check the model; None if it has answered.
        checked_s: when it was asked last.
        replace_at_s: when its successor is started; None if it need not be replaced.
        hang_s: how long it has computed a batch, as a client has reported that gave up the batch;
            None if no client has.
        hang_until_s: when the report counts as true, unless the process has answered.
    """

    module = "carboy.serving.process.replicaprocess"
    loads = "the model"
    task = tasks = "batch"

    def __init__(self, want: WantedReplicas, number: int, device: str) -> None:
        super().__init__()
        self.model = _name_of(want)
        self.number = number
        self.device = device
        self.path = ""
        self.loaded: Ready | None = None
        self.most_bytes: int | None = None
        self.check_asked_s: float | None = None
        self.checked_s = 0.0
        self.replace_at_s: float | None = None
        self.hang_s: float | None = None
        self.hang_until_s = 0.0
        self.handlers["ready"] = self._on_loaded
        self.handlers["checked"] = self._on_checked

    def __str__(self) -> str:
        return f"replica {self.number} of {self.model} (pid {self.pid or '-'})"

    def _on_loaded(self, loaded: Ready) -> None:
        self.loaded = loaded
        self._on_ready([])

    def _on_checked(self, reason: str) -> None:
        self.check_asked_s = None
        if reason:
            self.leave_because = self.leave_because or reason

    def close(self) -> None:
        super().close()
        with contextlib.suppress(OSError):
            os.unlink(self.path)


class ReplicaPool:
    """The replicas of one version of a model. Called on the thread of the supervisor's loop.

    Args:
        want: what the first client has asked for.
        generation: how many reloads had been asked for when that client was started: the replicas
            load the same code.
        folder: where the sockets of the replicas are.
        launch: starts a process with its job, descriptors and environment variables, and watches
            it.

    Raises:
        OSError: there is no descriptor left.

    Attributes:
        failure: why the replicas could not be loaded when they were started; "" if they could.
        was_ready: whether all replicas have been ready once.
        is_ending: whether no client needs the replicas any more.
        unused_s: since when no client has the pool, although none has released it; else None.
        said_ready: whether the clients believe that a replica is ready.
    """

    _numbers = itertools.count(1)

    def __init__(
        self,
        want: WantedReplicas,
        generation: int,
        folder: str,
        launch: cabc.Callable[
            [ReplicaPool, ReplicaProcess, ReplicaJob, list[int], dict[str, str]], object
        ],
        grace_s: float,
    ) -> None:
        self.want = want
        self.generation = generation
        self.folder = folder
        self._launch = launch
        self._grace_s = grace_s
        self.reading_fd, self.writing_fd = make_pipe()
        self.places = [Place[ReplicaProcess]() for _ in range(want["replicas"])]
        self.failure = ""
        self.was_ready = False
        self.is_ending = False
        self.unused_s: float | None = None
        self.said_ready = True

    def __str__(self) -> str:
        return _name_of(self.want)

    @property
    def processes(self) -> list[ReplicaProcess]:
        return [process for place in self.places for process in place.processes]

    @property
    def ready(self) -> int:
        """How many replicas are ready."""
        return sum(place.is_ready for place in self.places)

    @property
    def about(self) -> Ready | None:
        """What a replica that is ready has reported of the model."""
        found = (each.loaded for each in self.processes if each.loaded is not None)
        return next(found, None)

    # --- starting ------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all replicas. Raises ModelLoadError if a device is not visible."""
        for place in self.places:
            place.current = self._start(place)

    def _start(self, place: Place[ReplicaProcess]) -> ReplicaProcess:
        want, devices = self.want, self.want["devices"]
        device = devices[self.places.index(place) % len(devices)] if devices else ""
        process = ReplicaProcess(want, next(self._numbers), device)
        variables = thread_environment(machine.usable_cpus(), want["replicas"])
        if device:
            variables |= device_environment(device)
        has_lock = want["device_lock"] and device not in ("", CPU)
        process.handlers["computes"] = partial(self._on_computes, process)
        process.path = socket_path(self.folder, process.number)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(process.path)
            listener.listen(BACKLOG)
            job = ReplicaJob(
                model=want["model"],
                version=want["version"],
                source=want["source"],
                replica=process.number,
                listener_fd=listener.fileno(),
                tokens_fd=self.writing_fd,
                device_lock=device_lock_path(self.folder, device) if has_lock else "",
            )
            fds = [listener.fileno(), self.writing_fd]
            self._launch(self, process, job, fds, variables)
        place.starts += 1
        return process

    def _start_again(self, place: Place[ReplicaProcess]) -> ReplicaProcess | None:
        return place.start_again(
            partial(self._start, place), f"a replica of {self} with a socket in {self.folder}"
        )

    def place_of(self, process: ReplicaProcess) -> Place[ReplicaProcess]:
        return next(place for place in self.places if process in place.processes)

    def welcome(self, process: ReplicaProcess) -> None:
        """Go on after a process has loaded the model."""
        loaded = t.cast("Ready", process.loaded)
        if not self._limit_memory(process):
            return
        log.logger.info("%s is ready: loaded in %.2f s", process, loaded["took_s"])
        place = self.place_of(process)
        if process is place.successor:
            self._retire(place, t.cast("ReplicaProcess", place.promote()))
        self.was_ready = self.was_ready or self.ready == len(self.places)

    def _limit_memory(self, process: ReplicaProcess) -> bool:
        """Set the limit on the memory of a process that has loaded the model. Returns False if the
        model alone takes more: the process would be replaced for ever.
        """
        limit, used = self.want["max_rss_bytes"], resident_bytes(process.pid) or 0
        if limit is None:
            return True
        if used >= limit:
            process.failure = (
                f"{self}: a replica uses {in_mib(used)} of resident memory when it has loaded the"
                f" model, which is not below max_rss={format_size(limit)}: it would be replaced for"
                " ever. Raise max_rss, or leave it out."
            )
            process.was_ready = False
            process.kill()
            return False
        process.most_bytes = round(lower_by_chance(limit, used))
        return True

    # --- what is due -----------------------------------------------------------------------------

    @property
    def is_watched(self) -> bool:
        """Whether the memory or the health of the replicas must be looked at regularly."""
        return not self.is_ending and bool(self.want["max_rss_bytes"] or self.want["has_check"])

    def due_s(self) -> list[float]:
        """Return the times at which `attend` has something to do."""
        limit_s = self.want["start_timeout_s"]
        loading = [each for each in self.processes if each.phase == "loading"]
        times = [each.started_s + limit_s for each in loading]
        times += [each.kill_at_s for each in self.processes if each.kill_at_s is not None]
        times += [each.hang_until_s for each in self.processes if each.hang_s is not None]
        if not self.is_ending:
            times += [each.start_at_s for each in self.places if each.start_at_s is not None]
            now_s = time.monotonic()
            waits = [each.replace_at_s for each in self.processes if each.replace_at_s is not None]
            # If one is due, but must wait for the replacement of another, the end of that process
            # wakes the loop.
            times += [replace_at_s for replace_at_s in waits if replace_at_s > now_s]
        return times

    def attend(self, now_s: float) -> None:
        """Kill, start and replace processes whose time for that has come."""
        for process in self.processes:
            if process.kill_at_s is not None and now_s >= process.kill_at_s:
                process.kill_overdue()
            elif process.hang_s is not None and now_s >= process.hang_until_s:
                self._kill_hanging(process, process.hang_s)
            elif process.phase == "loading" and process.lived_s >= self.want["start_timeout_s"]:
                self._give_up_loading(process)
        if self.is_ending:
            return
        for place in self.places:
            if place.start_at_s is not None and now_s >= place.start_at_s:
                place.start_at_s = None
                if place.current is None:
                    place.current = self._start_again(place)
        self._replace_next(now_s)

    def look(self, now_s: float) -> None:
        """Look at the memory and the health of the replicas."""
        for process in self.processes:
            if process.phase == "ready":
                self._check_memory(process)
                if self.want["has_check"]:
                    _ask_for_check(process, now_s)

    def _check_memory(self, process: ReplicaProcess) -> None:
        if process.most_bytes is None or process.leave_because:
            return
        if (used := resident_bytes(process.pid) or 0) >= process.most_bytes:
            limit = format_size(self.want["max_rss_bytes"])
            process.leave_because = f"it uses {in_mib(used)} of resident memory (max_rss={limit})"

    def _replace_next(self, now_s: float) -> None:
        """Start the successor of a replica that must leave, unless another one is being replaced:
        one more process than there are replicas needs memory.

        If a replica must leave soon after its start, its successor waits as after a death: nothing
        says that it will do better.
        """
        if any(place.successor or place.leaving for place in self.places):
            return
        for place in self.places:
            process = place.current
            if process is None or process.phase != "ready" or not process.leave_because:
                continue
            if process.replace_at_s is None:
                process.replace_at_s = now_s + place.backoff.delay_s(process.lived_s)
            if now_s >= process.replace_at_s and place.start_at_s is None:
                log.logger.info("replacing %s: %s", process, process.leave_because)
                place.successor = self._start_again(place)
                return

    def _give_up_loading(self, process: ReplicaProcess) -> None:
        process.failure = (
            f"{self}: a replica has not loaded the model within {self.want['start_timeout_s']:g} s"
            " (start_timeout_s). The stacks of its threads are in the log above."
        )
        process.dump_and_kill()

    # --- replicas that do not work ---------------------------------------------------------------

    def report_hang(self, number: int, took_s: float) -> None:
        """Ask a replica whether it has computed a batch for too long, as a client says; or kill it
        at once, if `took_s` is 0, because it has sent the client something that is no message.

        The report may come too late: then the replica computes the batch of another client.
        """
        for process in self.processes:
            if process.number != number or process.phase not in ("ready", "draining"):
                continue
            if not took_s:
                process.kill_for_garbage("a client")
            elif process.hang_s is None:
                process.hang_s, process.hang_until_s = took_s, time.monotonic() + _HANG_ANSWER_S
                process.send("computes?")

    def _on_computes(self, process: ReplicaProcess, computing_s: float) -> None:
        took_s, process.hang_s = process.hang_s, None
        if took_s is None:
            return
        if computing_s >= took_s / 2:  # the clocks of both began at slightly different times
            self._kill_hanging(process, took_s)
        else:
            log.logger.info("%s has returned from a batch that a client had given up", process)

    def _kill_hanging(self, process: ReplicaProcess, took_s: float) -> None:
        process.hang_s = None
        log.logger.error(
            "%s hangs: it has computed a batch for %.3g s, longer than its deadline allows. The"
            " stacks of its threads follow; then it is killed",
            process,
            took_s,
        )
        process.dump_and_kill()

    def give_up_broken(self, process: ReplicaProcess, reason: str) -> None:
        """Kill a replica that cannot compute any more."""
        log.logger.error("%s is broken and is replaced: %s", process, reason)
        process.kill()

    def renew_tokens(self) -> None:
        """Let the replicas that are free write new tokens: a client that has died may have had
        their tokens in its hand.
        """
        for process in self.processes:
            if process.phase == "ready":
                process.send("renew")

    # --- the end of a process, and of the pool ---------------------------------------------------

    def remove(self, process: ReplicaProcess) -> None:
        """Go on after a process has ended."""
        place = self.place_of(process)
        is_leaving = process in place.leaving
        place.remove(process)
        if self.is_ending:
            return
        if is_leaving:
            process.log_end_of_leaving()
        elif not self.was_ready:
            self._fail(process)
        else:
            place.plan_restart(process)

    def _fail(self, process: ReplicaProcess) -> None:
        self.failure = explain_failure(process)
        log.logger.error("%s cannot load its model:\n\n%s\n", process, self.failure)
        self.end()

    def _retire(self, place: Place[ReplicaProcess], process: ReplicaProcess) -> None:
        """Let a process finish its batch and end. One that still loads the model has none."""
        place.leaving.append(process)
        process.ask_to_stop(time.monotonic() + self._grace_of(process))

    def _grace_of(self, process: ReplicaProcess) -> float:
        return self._grace_s if process.was_ready else LOADING_GRACE_S

    def end(self, kill_at_s: float | None = None) -> None:
        """Let all processes finish their batches and end; at a time at the latest, if it is
        given.
        """
        if self.is_ending:
            return
        self.is_ending = True
        for process in self.processes:
            if process.phase != "hanging":
                grace_at_s = time.monotonic() + self._grace_of(process)
                process.ask_to_stop(min(grace_at_s, kill_at_s or grace_at_s))

    def close(self) -> None:
        """Close the pipe: clients that wait for a token learn that there will be none. Call this
        after all processes have ended.
        """
        os.close(self.reading_fd)
        os.close(self.writing_fd)


def _name_of(want: WantedReplicas) -> str:
    version = f", version {want['version']!r}" if want["version"] else ""
    return f"model {want['model']!r}{version}"


def _ask_for_check(process: ReplicaProcess, now_s: float) -> None:
    asked_s = process.check_asked_s
    if asked_s is None:
        if now_s - process.checked_s >= CHECK_EVERY_S:
            process.check_asked_s = process.checked_s = now_s
            process.send("check?")
    elif now_s - asked_s >= CHECK_LIMIT_S and not process.leave_because:
        process.leave_because = f"its check has not returned for {CHECK_LIMIT_S:g} s"
