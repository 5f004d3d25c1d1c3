"""The supervisor: starts workers, replaces them, and stops them. It runs no user code.

Workers are new processes, never forks. Each worker process is connected with the supervisor by a
pair of sockets: it reports through its socket, and stops when the socket closes because the
supervisor has died. The supervisor's loop does not poll: it sleeps until a process reports, a
signal arrives, or a restart or heartbeat is due.

A worker is replaced in one way, whatever the reason (new code, a limit, threads that hang):

    the successor is started --is ready--> the old process drains --has answered--> it ends
          |
          | cannot load the app
          v
    the old process goes on; the reason is logged

One worker is replaced after the other, so that at most one process more than `--workers` needs
memory.

A worker may hang without dying: stopped by a signal, or in native code that waits without releasing
the GIL. Clients would continue to connect to it, so the supervisor regularly asks each worker for a
sign of life, the heartbeat. The worker answers from its thread that reads requests. A worker that
does not answer cannot drain: it is killed, and another is started.
"""

from __future__ import annotations

import collections
import contextlib
import os
import selectors
import time
import typing as t
from functools import partial

from ...core.bytesizes import format_size
from ...core.processmemory import in_mib
from ...errors import AddressError
from .. import log, machine
from ..metrics.exposition import CONTENT_TYPE
from ..metrics.servermetrics import ServerMetrics
from . import capacity
from .childprocess import LOADING_GRACE_S, describe_end, explain_failure
from .clusterreplicas import ClusterReplicas
from .computethreads import thread_environment, threads_of_each
from .replicasupervisor import ReplicaSupervisor
from .serversignals import ServerSignals, say_stopping
from .serverstate import FailedReload, ProcessState, ServerState
from .sockets import ServerSockets
from .supervisorlog import SupervisorLog
from .systemd import SystemdNotifier
from .tokenloans import TokenLoans
from .workerprocess import Worker, WorkerProcess

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..management.management import Management
    from ..management.managementserver import PageFunction
    from ..settings import Settings
    from .childprocess import ChildProcess


# A worker is considered to hang after this many heartbeat requests without an answer. Requests are
# counted and not seconds: if the machine is suspended, many seconds pass, but at most one request
# remains unanswered.
MAX_UNANSWERED = 3


class Supervisor:
    """Keeps `settings.workers` workers running, which serve the app `target`, until a signal
    arrives.

    All methods but `state` and `ask` are called on the thread of the loop only, which `run` is.
    """

    #: Whether the workers answer requests.
    _serves_http = True

    def __init__(self, target: str | None, settings: Settings) -> None:
        self._target = target
        self._settings = settings
        # None until the first worker has loaded the app.
        self._plan: capacity.WorkerPlan | None = None
        self._workers: list[Worker] = []
        self._selector = selectors.DefaultSelector()
        self._systemd = SystemdNotifier()
        self._signals = ServerSignals()
        self._asked: collections.deque[cabc.Callable[[], object]] = collections.deque()
        self._kill_at_s: float | None = None
        self._heartbeat_s = settings.worker_timeout_s / MAX_UNANSWERED
        self._heartbeat_at_s: float | None = None
        self._serving = False
        self._stopping = False
        self._generation = 0
        self._reloading = False
        self._is_new_code_ready = False
        self._failed_reload: FailedReload | None = None
        self._exit_code = 0
        self._log = SupervisorLog()
        self._replicas = ReplicaSupervisor(target, self._selector, self._log, settings.grace_s)
        self._on_cluster = ClusterReplicas()
        self._token_loans = TokenLoans(lambda: self._computing_processes)
        # The files of API keys that workers have seen: if one is removed, later workers must not
        # take this for an app that has never had keys.
        self._key_files: set[str] = set()
        self._metrics = ServerMetrics() if settings.metrics else None
        self._management: Management | None = None
        self._started_at_s = time.time()
        self._state = self._describe_state()

    def run(self) -> int:
        """Serve until a signal stops the server; return the exit code of the process.

        The exit code is 0 if the app was loaded and all requests that had begun were finished.

        Raises:
            AddressError: the address, or that of the management, cannot be listened on.
        """
        from ..management.management import Management

        # Its processes need several descriptors each here, and inherit the limit.
        machine.raise_descriptor_limit(self._settings.connections)
        with contextlib.ExitStack() as at_end:
            for part in (self._selector, self._signals, self._systemd):
                at_end.callback(part.close)
            self._sockets = self._open_sockets()
            at_end.callback(self._sockets.close)
            self._settings = self._sockets.settings
            self._selector.register(
                self._signals.wakeup, selectors.EVENT_READ, self._signals.clear_wakeup
            )
            self._signals.install()
            self._systemd.explain_abort()
            at_end.callback(self._signals.restore)
            at_end.callback(self._end_processes)
            self._management = Management(self, self._settings, self._pages())
            at_end.callback(self._management.stop)
            self._replicas.management = self._management
            self._management.start()
            # Log this before the workers load the app: loading models may take minutes, and without
            # a message users would think that the server hangs.
            log.logger.info("loading %s", self._target or "the app")
            self._workers.append(Worker(1))
            self._workers[0].current = self._start(self._workers[0])
            while not self._is_over():
                self._run_once()
        if self._serving or self._signals.stop_signal:
            log.logger.info("stopped")
        return self._exit_code

    def _open_sockets(self) -> ServerSockets:
        return ServerSockets(self._settings)

    def _is_over(self) -> bool:
        """Return whether all processes have ended. Replicas end after the workers, which need them
        for their last requests.
        """
        if self._processes() or not self._stopping:
            return False
        self._replicas.stop(self._kill_at_s)
        return not self._replicas.processes

    def _end_processes(self) -> None:
        """Kill the processes that are left if the loop has failed, and finish the log files."""
        for process in self._processes():
            process.kill_and_wait()
        self._replicas.close()
        for worker in self._workers:
            worker.close_sockets()
        self._log.stop()

    # --- for other threads --------------------------------------------------------------------

    def state(self) -> ServerState:
        """Return the state of the server. Thread-safe."""
        return self._state

    def ask(self, function: cabc.Callable[[], object]) -> None:
        """Let the thread of the loop call a function soon. Returns at once. Thread-safe."""
        self._asked.append(function)
        self._signals.wake()

    def _pages(self) -> dict[str, PageFunction]:
        """Return what the management answers to GET, in addition to the probes, by URL path."""
        if (metrics := self._metrics) is None:
            return {}
        from ..management.managementserver import Page

        return {"/metrics": lambda: Page(200, metrics.render(self.state()), CONTENT_TYPE)}

    def _describe_state(self) -> ServerState:
        return ServerState(
            target=self._target,
            addresses=self._addresses(),
            pid=os.getpid(),
            started_at_s=self._started_at_s,
            serving=self._serving,
            stopping=self._stopping,
            reloading=self._reloading,
            generation=self._generation,
            failed_reload=self._failed_reload,
            processes=tuple(each for worker in self._workers for each in _states_of(worker)),
            replicas=(*self._replicas.states(), *self._on_cluster.states()),
            capacity=self._plan.as_dict() if self._plan is not None else {},
        )

    def _addresses(self) -> tuple[str, ...]:
        """Return where the server listens for clients."""
        return tuple(self._settings.urls)

    # --- the loop -----------------------------------------------------------------------------

    def _run_once(self) -> None:
        self._publish()
        for key, _ in self._selector.select(self._sleep_s()):
            key.data()
        self._do_asked()
        ended = [
            (worker, process)
            for worker in self._workers
            for process in worker.processes
            if process.exit_code is not None
        ]
        # After the look at the processes, and before their ends are judged: a signal to stop that
        # has come to all processes at once may have ended those that load the app.
        now_s = time.monotonic()
        if self._signals.stop_requests and not self._stopping:
            self._begin_stop(now_s)
        if self._signals.stops_at_once:
            self._kill_at_s = 0.0
        for worker, process in ended:
            self._reap(worker, process)
        if self._signals.take_reopen():
            log.logger.info("SIGUSR1: opening %s again", " ".join(self._log.reopen()) or "no file")
        self._replicas.attend(now_s)
        if not self._stopping:
            self._keep_running(now_s)
        elif self._kill_at_s is not None and now_s >= self._kill_at_s:
            self._kill_all()

    def _publish(self) -> None:
        """Tell other threads and systemd the state, before the loop sleeps."""
        self._state = self._describe_state()
        self._systemd.say_status(self._state.summary())
        self._systemd.say_alive(time.monotonic())

    def _do_asked(self) -> None:
        while self._asked:
            function = self._asked.popleft()
            try:
                function()
            except Exception:  # noqa: BLE001  # the supervisor must go on
                log.logger.exception("error in the supervisor")

    def _keep_running(self, now_s: float) -> None:
        """Do what is due while the server is not stopping."""
        if self._signals.take_reload():
            self.reload("SIGHUP")
        for process in self._processes():
            if process.kill_at_s is not None and now_s >= process.kill_at_s:
                process.kill_overdue()
        for worker in self._workers:
            if worker.start_at_s is not None and now_s >= worker.start_at_s:
                worker.start_at_s = None
                if worker.current is None:
                    worker.current = self._start_again(worker)
        self._replace_next()
        self._finish_reload()
        if self._heartbeat_at_s is not None and now_s >= self._heartbeat_at_s:
            self._ask_for_heartbeats(now_s)

    def _sleep_s(self) -> float | None:
        times: list[float | None] = [self._systemd.due_s, *self._replicas.due_s()]
        if self._stopping:
            times.append(self._kill_at_s)
        else:
            times.append(self._heartbeat_at_s)
            times += [worker.start_at_s for worker in self._workers]
            times += [process.kill_at_s for process in self._processes()]
        due = [time_s for time_s in times if time_s is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _processes(self) -> list[WorkerProcess]:
        return [process for worker in self._workers for process in worker.processes]

    def find_process(self, pid: int) -> ChildProcess | None:
        """Return the process of a worker or replica with this process id, if it has not ended."""
        children = [*self._processes(), *self._replicas.processes]
        return next((process for process in children if process.pid == pid), None)

    # --- the start of a worker ------------------------------------------------------------------

    def _start(self, worker: Worker) -> WorkerProcess:
        process = WorkerProcess(worker.number, self._generation)
        process.handlers["loaded"] = partial(self._on_loaded, process)
        process.handlers["log"] = partial(self._log.follow, process)
        process.handlers["warning"] = self._log.warn
        process.handlers["key-file"] = self._key_files.add
        self._token_loans.watch(process)
        self._on_cluster.watch(process)
        about_models: dict[str, t.Any] = {"unloaded": [], "versions": {}}
        process.handlers["models-socket"] = partial(self._send_models_socket, process)
        if self._management is not None:
            self._management.watch(process)
            about_models = self._management.about_models(process.generation)
        if worker.sockets is None:
            worker.sockets = self._sockets.open_for_worker()
        process.sockets = worker.sockets
        descriptors = worker.sockets.descriptors
        fds = [each[0] for each in descriptors if each is not None]
        job: dict[str, t.Any] = {
            "serves": self._serves_http,
            "target": self._target,
            "number": worker.number,
            "generation": process.generation,
            "settings": self._settings.as_dict(),
            "descriptors": descriptors,
            "models": about_models,
            "key_files": sorted(self._key_files),
        }
        if self._metrics is not None:
            process.metrics_fd = job["metrics_fd"] = self._metrics.open_table()
            fds.append(process.metrics_fd)
        variables = thread_environment(machine.usable_cpus(), self._computing_processes)
        try:
            process.start(job, fds, variables=variables)
        except OSError:
            self._close_table(process)
            raise
        worker.starts += 1
        process.watch(self._selector, partial(self._receive, worker, process))
        return process

    def _start_again(self, worker: Worker) -> WorkerProcess | None:
        return worker.start_again(partial(self._start, worker), f"worker {worker.number}")

    def _send_models_socket(self, process: WorkerProcess, payload: object) -> None:
        try:
            answer = {"path": self._replicas.open(), "reason": ""}
        except AddressError as exc:
            answer = {"path": "", "reason": str(exc)}
        process.send("models-socket", answer)

    @property
    def _computing_processes(self) -> int:
        """Among how many processes the CPUs are divided. Until the first worker has loaded the app,
        a number that the user leaves to the server is taken for one.
        """
        if self._plan is not None:
            return self._plan.workers
        return self._settings.workers or 1

    def _on_loaded(self, process: WorkerProcess, loaded: capacity.LoadedApp) -> None:
        """Let a process listen that has loaded the app. Of the first one, measure the memory
        before, and decide how many workers there will be.
        """
        if self._management is not None:
            self._management.note_versions(loaded["versions"])
        if self._plan is None and not self._stopping:
            self._make_plan(process, loaded)
        if not self._stopping:
            process.send("listen")

    def _make_plan(self, first: WorkerProcess, loaded: capacity.LoadedApp) -> None:
        assumed = self._computing_processes
        plan = self._plan = capacity.make_plan(
            self._settings.workers,
            machine.find_cpus(),
            capacity.limit_of(self._settings),
            capacity.measure(first.pid, loaded, [each.pid for each in self._replicas.processes]),
        )
        if plan.refused:
            log.logger.error("%s", capacity.explain_refusal(plan))
            self._exit_code = 2
            self._begin_stop(time.monotonic())
        elif loaded["libraries"] and plan.threads != threads_of_each(plan.cpus.number, assumed):
            first.leave_because = (
                f"its libraries ({', '.join(loaded['libraries'])}) were imported as for"
                f" {assumed} worker, and there are {plan.workers}"
            )

    def _receive(self, worker: Worker, process: WorkerProcess) -> None:
        was_ready = process.was_ready
        process.read_messages()
        if process.was_ready and not was_ready:
            self._welcome(worker, process)

    def _welcome(self, worker: Worker, process: WorkerProcess) -> None:
        """Go on after a process has loaded the app and listens."""
        log.logger.info("%s is ready", process)
        if self._management is not None:
            self._management.welcome(process)
        if process.phase != "ready" or self._stopping:
            return
        if self._heartbeat_s and self._heartbeat_at_s is None:
            self._heartbeat_at_s = time.monotonic() + self._heartbeat_s
        if process is worker.successor:
            self._retire(t.cast("WorkerProcess", worker.promote()), worker)
        if not self._serving:
            self._begin_to_serve(process)
        if process.generation == self._generation:
            self._is_new_code_ready = True

    def _begin_to_serve(self, process: WorkerProcess) -> None:
        """Start the other workers after the first, and log when all of them serve."""
        if len(self._workers) == 1:
            self._plan_workers(process)
        if all(worker.is_ready for worker in self._workers):
            self._serving = True
            self._systemd.say_ready()
            plan = t.cast("capacity.WorkerPlan", self._plan)
            about_management = self._management.about() if self._management is not None else []
            for line in (*self._describe_plan(), *process.about, *about_management):
                log.logger.info("%s", line)
            if warning := capacity.warning(plan):
                log.logger.warning("%s", warning)
            # At the end, where it is seen: it has the URL.
            log.logger.info("%s", self._describe())

    def _plan_workers(self, first: WorkerProcess) -> None:
        """Start the other workers, after the first has loaded the app, so that its memory could be
        measured.
        """
        for _ in range(t.cast("capacity.WorkerPlan", self._plan).workers - 1):
            worker = Worker(len(self._workers) + 1)
            self._workers.append(worker)
            worker.current = self._start_again(worker)

    def _describe_plan(self) -> list[str]:
        return capacity.describe(t.cast("capacity.WorkerPlan", self._plan))

    def _describe(self) -> str:
        settings, plan = self._settings, t.cast("capacity.WorkerPlan", self._plan)
        plural = "s" if plan.workers > 1 else ""
        memory = plan.measured.worker
        of_memory = f"{in_mib(memory.resident_bytes)} and " if memory is not None else ""
        return (
            f"serving {self._target or 'the app'} on {', '.join(settings.urls)}:"
            f" {plan.workers} worker{plural} with {of_memory}{settings.threads} threads each,"
            f" bodies up to {format_size(settings.max_body_bytes)}"
        )

    # --- the replacement of a worker --------------------------------------------------------------

    def reload(self, asked_by: str) -> int:
        """Replace all workers by workers that load the code again. If a reload is in progress, it
        starts again: the process that loads the app at the moment may have read the old code.

        Args:
            asked_by: what asked for it, for the log.

        Returns:
            The generation of the workers with the new code.
        """
        reopened = self._log.reopen()
        log.logger.info(
            "%s: loading %s again%s",
            asked_by,
            self._target or "the app",
            f", and opening {' '.join(reopened)} again" if reopened else "",
        )
        self._systemd.say_reloading()
        self._generation += 1
        self._replicas.generation = self._generation
        self._reloading, self._is_new_code_ready = True, False
        for worker in self._workers:
            if worker.current is not None:
                worker.start_at_s = None  # the new code may load, although the last did not
            if worker.successor is not None:
                successor, worker.successor = worker.successor, None
                self._retire(successor, worker)
        return self._generation

    def _replace_next(self) -> None:
        """Start the successor of a worker that must leave, unless another is being replaced."""
        if not self._serving or any(each.successor or each.leaving for each in self._workers):
            return
        leaving = [worker for worker in self._workers if self._must_leave(worker)]
        if not leaving:
            return
        # The oldest process first: if workers reach their limits faster than they can be replaced,
        # each has its turn.
        worker = min(leaving, key=lambda worker: t.cast("WorkerProcess", worker.current).started_s)
        if because := t.cast("WorkerProcess", worker.current).leave_because:
            log.logger.info("replacing %s: %s", worker.current, because)
        worker.successor = self._start_again(worker)

    def _must_leave(self, worker: Worker) -> bool:
        process = worker.current
        if process is None or process.phase != "ready" or worker.start_at_s is not None:
            return False
        is_outdated = self._reloading and process.generation < self._generation
        return is_outdated or bool(process.leave_because)

    def _retire(self, process: WorkerProcess, worker: Worker) -> None:
        """Let a process finish its requests and end. One that still loads the app has none."""
        worker.leaving.append(process)
        settings = self._settings
        grace_s = settings.drain_s + settings.grace_s if process.was_ready else LOADING_GRACE_S
        has_successor = worker.is_ready and process.sockets is worker.sockets
        process.ask_to_stop(time.monotonic() + grace_s, has_successor)

    def _finish_reload(self) -> None:
        """End the reload if all old processes have ended, so that none answers a further request
        with the old code.
        """
        if self._reloading and self._serving and all(map(self._has_new_code, self._workers)):
            self._reloading, self._failed_reload = False, None
            self._replicas.move_clients()
            self._systemd.say_ready()
            log.logger.info("reloaded: all workers run the new code")

    def _has_new_code(self, worker: Worker) -> bool:
        return worker.is_ready and all(
            process.generation == self._generation for process in worker.processes
        )

    def _fails_reload(self, process: WorkerProcess) -> bool:
        """Return whether a process that has ended shows that the new code cannot be loaded. Once
        another process has loaded it, that is not so.
        """
        is_first = process.generation == self._generation and not self._is_new_code_ready
        return self._reloading and is_first and not process.was_ready

    def _fail_reload(self, process: WorkerProcess) -> None:
        """End a reload whose code cannot be loaded: the workers go on with the code they have."""
        reason = explain_failure(process)
        self._reloading = False
        self._failed_reload = FailedReload(time.time(), reason)
        self._systemd.say_ready()  # the server serves, with the code that it has
        log.logger.error(
            "the reload has failed, the workers go on with the code that they have: %s cannot load"
            " the app%s:\n\n%s\n",
            process,
            f" {self._target!r}" if self._target else "",
            reason,
        )

    # --- workers that hang --------------------------------------------------------------------

    def _ask_for_heartbeats(self, now_s: float) -> None:
        self._heartbeat_at_s = now_s + self._heartbeat_s
        for process in self._processes():
            if process.phase != "ready":
                continue
            if process.unanswered >= MAX_UNANSWERED:
                self._kill_hanging(process)
            else:
                process.ask_for_heartbeat()

    def _kill_hanging(self, process: WorkerProcess) -> None:
        log.logger.error(
            "%s hangs: it has shown no sign of life for %g s (--worker-timeout). It may be stopped,"
            " or native code in it may hold the GIL. Its threads' stacks follow, unless it is"
            " stopped; then it is killed",
            process,
            self._settings.worker_timeout_s,
        )
        process.dump_and_kill()

    # --- the end of a process -------------------------------------------------------------------

    def _reap(self, worker: Worker, process: WorkerProcess) -> None:
        while process.has_unread():  # it may have sent messages just before it died
            self._receive(worker, process)
        self._log.finish(process)
        process.close()
        self._close_table(process)
        is_leaving = process in worker.leaving
        worker.remove(process)
        if self._stopping:
            if process.was_ready and process.exit_code and not process.was_killed:
                process.log_end_of_leaving()  # its clients have got no answers
                self._exit_code = 1
        elif is_leaving:
            process.log_end_of_leaving()
        elif self._refuses_version(process):
            worker.plan_restart(process)
        elif not self._serving:
            self._give_up(process)
        elif self._fails_reload(process):
            self._fail_reload(process)
            if worker.current is None:
                worker.plan_restart(process)
        else:
            worker.plan_restart(process)

    def _refuses_version(self, process: WorkerProcess) -> bool:
        """Return whether a process has died of a version of a model that the next one will not
        load.
        """
        management = self._management
        return management is not None and management.note_death(process, describe_end(process))

    def _close_table(self, process: WorkerProcess) -> None:
        if self._metrics is not None and process.metrics_fd is not None:
            self._metrics.close_table(process.metrics_fd)

    def _give_up(self, process: WorkerProcess) -> None:
        """Stop the server, because a process could not load the app when the server was started;
        another process could not load it either.
        """
        log.logger.error(
            "%s cannot load the app%s:\n\n%s\n",
            process,
            f" {self._target!r}" if self._target else "",
            explain_failure(process),
        )
        # A process exits with 2 if the configuration of the app is wrong. The server then exits
        # with the same code.
        self._exit_code = 2 if process.exit_code == 2 else 1
        self._begin_stop(time.monotonic())

    # --- the exit of the server ---------------------------------------------------------------

    def _begin_stop(self, now_s: float) -> None:
        settings = self._settings
        if self._signals.stop_signal:  # empty if the server stops because the app is not loaded
            say_stopping(self._signals.stop_signal, settings.grace_s)
        self._systemd.say_stopping()
        self._stopping = True
        self._kill_at_s = now_s + settings.drain_s + settings.grace_s
        self._sockets.withdraw()
        for worker in self._workers:
            worker.close_sockets()
        for process in self._processes():
            process.ask_to_stop(self._kill_at_s)
        if not any(process.was_ready for process in self._processes()):
            self._replicas.stop(self._kill_at_s)  # no request needs them

    def _kill_all(self) -> None:
        for process in self._processes():
            log.logger.error("%s has not finished its requests: killed", process)
            process.kill_and_wait()
            self._exit_code = 1
        self._replicas.kill_all()


def _states_of(worker: Worker) -> list[ProcessState]:
    restarts = max(0, worker.starts - 1)
    states = [
        ProcessState(
            number=worker.number,
            pid=process.pid,
            phase=process.phase,
            started_at_s=process.started_at_s,
            restarts=restarts,
            generation=process.generation,
            info=dict(process.info),
        )
        for process in worker.processes
    ]
    return states or [ProcessState(worker.number, None, "waiting", None, restarts, 0)]
