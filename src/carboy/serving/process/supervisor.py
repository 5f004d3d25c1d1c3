"""The supervisor: starts workers, restarts those that die, and stops them. It runs no user code.

Workers are new processes, never forks. Each worker is connected with the supervisor by a pair of
sockets: it reports through its socket, and stops when the socket closes because the supervisor has
died. The supervisor's loop does not poll: it sleeps until a worker reports, a signal arrives, or a
restart or heartbeat is due.

A worker may hang without dying: stopped by a signal, or in native code that waits without releasing
the GIL. Clients would continue to connect to it, so the supervisor regularly asks each worker for a
sign of life, the heartbeat. The worker answers from its thread that reads requests. A worker that
does not answer is killed and replaced.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
import typing as t

from ...config import get_env
from ...core.bytesizes import format_size
from .. import log
from ..startscreen import memory_bytes
from .hangup import Terminal
from .sockets import ServerSockets

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import types

    from ..settings import Settings
    from .logpipe import LogWriter, PipeReader

    _Handlers = dict[signal.Signals, t.Any]


# A worker that lived for this many seconds probably died from a request and not from a fault at
# startup, so it is restarted without a delay.
STEADY_S = 10.0
FIRST_DELAY_S = 0.5
MAX_DELAY_S = 30.0
# A worker is considered to hang after this many heartbeat requests without an answer. Requests are
# counted and not seconds: if the machine is suspended, many seconds pass, but at most one request
# remains unanswered.
MAX_UNANSWERED = 3
# Seconds between two signals to a worker that hangs: the first makes it log the stacks of its
# threads, the second kills it.
DUMP_S = 1.0


class RestartBackoff:
    """Computes how long to wait before a worker that has died is started again.

    The first time it is started at once; then the delay doubles each time that it dies early.
    """

    def __init__(self) -> None:
        self._deaths_in_a_row = 0

    def delay_s(self, lived_s: float) -> float:
        """Record that the worker died after `lived_s` seconds; return the delay before its next
        start.
        """
        if lived_s >= STEADY_S:
            self._deaths_in_a_row = 0
        delay_s = 0.0
        if self._deaths_in_a_row:
            delay_s = min(FIRST_DELAY_S * 2 ** min(self._deaths_in_a_row - 1, 16), MAX_DELAY_S)
        self._deaths_in_a_row += 1
        return delay_s


def stop_signals() -> list[signal.Signals]:
    """Return the signals that stop the server, as far as this system has them. SIGHUP is left out
    if the server was started by `nohup`, which has disabled it.

    Only Windows has SIGBREAK (Ctrl+Break, or the console was closed).
    """
    names = ("SIGTERM", "SIGINT", "SIGBREAK", "SIGQUIT", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    if numbers[-1].name == "SIGHUP" and signal.getsignal(numbers[-1]) == signal.SIG_IGN:
        del numbers[-1]
    return numbers


class WorkerProcess:
    """One of the supervisor's workers, identified by a number. If its process dies, a new process
    takes the place of the dead one.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.backoff = RestartBackoff()
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: socket.socket | None = None
        self.ready = False
        # What the worker says of the app when it is ready: lines for the log.
        self.about: list[str] = []
        self.failure = ""
        self.started_s = 0.0
        self.start_at_s: float | None = None
        self.hangs = False
        self.kill_at_s: float | None = None
        self.unanswered = 0  # heartbeat requests since the worker's last answer
        self.log_options: dict[str, t.Any] | None = None
        # The reading end of the pipe through which the worker sends the lines of the log file; None
        # when `log_reader` reads the pipe, or if there is no pipe.
        self.log_fd: int | None = None
        self.log_reader: PipeReader | None = None
        self.warnings: list[str] = []
        self._unread = b""

    def __str__(self) -> str:
        return f"worker {self.number} (pid {self.process.pid if self.process else '-'})"

    def start(
        self, job: dict[str, t.Any], descriptors: cabc.Sequence[int | None], now_s: float
    ) -> None:
        ours, theirs = socket.socketpair()
        self.log_fd, write_fd = os.pipe()
        job = {**job, "log_fds": [self.log_fd, write_fd], "descriptors": descriptors}
        shared = [fd for fd in descriptors if fd is not None]
        self.process = subprocess.Popen(  # noqa: S603  # this interpreter
            _command(theirs.fileno(), json.dumps(job)),
            pass_fds=[theirs.fileno(), self.log_fd, write_fd, *shared],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "FLASK_RUN_FROM_CLI": "true", "FLASK_ENV": get_env()},
        )
        theirs.close()
        os.close(write_fd)
        ours.setblocking(False)
        self.channel = ours
        self.ready, self.failure, self._unread = False, "", b""
        self.started_s, self.start_at_s, self.kill_at_s = now_s, None, None
        self.hangs, self.unanswered = False, 0

    def read_messages(self) -> bool:
        """Read the messages that the worker's process has sent. Returns False if it has closed the
        socket.
        """
        assert self.channel is not None
        try:
            data = self.channel.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        *messages, self._unread = (self._unread + data).split(b"\n")
        for message in messages:
            word, text = json.loads(message)
            if word == "ready":
                self.ready, self.about = True, text.splitlines()
            elif word == "alive":
                self.unanswered = 0
            elif word == "log":
                self.log_options = json.loads(text)
            elif word == "warning":
                self.warnings.append(text)
            else:
                self.failure = text
        return bool(data)

    def ask_to_stop(self) -> None:
        self._send(b"drain\n")

    def ask_for_heartbeat(self) -> None:
        self.unanswered += 1
        # Send only the first of several heartbeat requests, because it waits in the socket until
        # the worker reads it.
        if self.unanswered == 1:
            self._send(b"alive?\n")

    def _send(self, message: bytes) -> None:
        if self.channel is not None:
            try:
                self.channel.send(message)
            except OSError:
                pass  # the worker has died; the supervisor's loop will notice and replace it

    def close(self) -> None:
        if self.channel is not None:
            self.channel.close()
        if self.log_fd is not None:
            os.close(self.log_fd)
        self.process = self.channel = self.log_fd = self.log_reader = None
        self.ready = False


def _command(fd: int, job: str) -> list[str]:
    # `-P` keeps the current folder out of `sys.path`, so that a module in it cannot take the place
    # of one of carboy's or Python's.
    flags = [flag for flag in subprocess._args_from_interpreter_flags() if flag != "-P"]  # type: ignore[attr-defined]
    return [sys.executable, *flags, "-P", "-m", "carboy.serving.process.worker", str(fd), job]


class Supervisor:
    """Keeps `settings.workers` worker processes running, which serve the app `target`, until a
    signal arrives.
    """

    def __init__(self, target: str | None, settings: Settings) -> None:
        self._target = target
        self._settings = settings
        self._workers = [WorkerProcess(number + 1) for number in range(settings.workers)]
        self._selector = selectors.DefaultSelector()
        self._stop_requests = 0
        self._stop_signal = ""
        self._hangups = 0
        self._terminal = Terminal()
        self._kill_at_s: float | None = None
        self._heartbeat_s = settings.worker_timeout_s / MAX_UNANSWERED
        self._heartbeat_at_s: float | None = None
        self._serving = False
        self._exit_code = 0
        self._logs: LogWriter | None = None
        self._warned: set[str] = set()

    def run(self) -> int:
        """Serve until a signal stops the server; return the exit code of the process.

        The exit code is 0 if the app was loaded and all requests that had begun were finished.

        Raises:
            AddressError: the address cannot be listened on.
        """
        self._sockets = ServerSockets(self._settings)
        self._settings = self._sockets.settings
        wakeup_fd, before = self._install_handlers()
        try:
            # Log this before the workers load the app: loading models may take minutes, and without
            # a message users would think that the server hangs.
            log.logger.info("loading %s", self._target or "the app")
            now_s = time.monotonic()
            for worker in self._workers:
                self._start(worker, now_s)
            while any(worker.process for worker in self._workers) or not self._stop_requests:
                self._run_once()
        finally:
            for worker in self._workers:
                if worker.process is not None:
                    worker.process.kill()
                    worker.process.wait()
            if self._logs is not None:
                self._logs.stop()
            self._restore_handlers(wakeup_fd, before)
            self._sockets.close()
        if self._serving or self._stop_signal:
            log.logger.info("stopped")
        return self._exit_code

    # --- the supervisor's loop ----------------------------------------------------------------

    def _run_once(self) -> None:
        for key, _ in self._selector.select(self._sleep_s()):
            if key.data is None:
                self._wakeup.recv(4096)
            else:
                self._receive(key.data)
        for worker in self._workers:
            if worker.process is not None and worker.process.poll() is not None:
                self._reap(worker)
        self._reopen_logs()
        now_s = time.monotonic()
        if self._stop_requests and self._kill_at_s is None:
            self._begin_stop(now_s)
        elif self._kill_at_s is not None and now_s >= self._kill_at_s:
            self._kill_all()
        elif self._kill_at_s is None:
            for worker in self._workers:
                if worker.start_at_s is not None and now_s >= worker.start_at_s:
                    self._start(worker, now_s)
                elif worker.kill_at_s is not None and now_s >= worker.kill_at_s:
                    t.cast("subprocess.Popen[bytes]", worker.process).kill()
                    worker.kill_at_s = None
            if self._heartbeat_at_s is not None and now_s >= self._heartbeat_at_s:
                self._ask_for_heartbeats(now_s)

    def _sleep_s(self) -> float | None:
        times = [self._kill_at_s]
        if self._kill_at_s is None:
            times = [self._heartbeat_at_s]
            for worker in self._workers:
                times += [worker.start_at_s, worker.kill_at_s]
        due = [time_s for time_s in times if time_s is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _start(self, worker: WorkerProcess, now_s: float) -> None:
        job = {"target": self._target, "settings": self._settings.as_dict()}
        worker.start(job, self._sockets.descriptors, now_s)
        self._selector.register(
            t.cast("socket.socket", worker.channel), selectors.EVENT_READ, worker
        )

    def _receive(self, worker: WorkerProcess) -> None:
        was_ready = worker.ready
        is_open = worker.read_messages()
        self._follow_log_options(worker)
        if worker.ready and not was_ready:
            log.logger.info("%s is ready", worker)
            if self._heartbeat_s and self._heartbeat_at_s is None:
                self._heartbeat_at_s = time.monotonic() + self._heartbeat_s
            if not self._serving and all(other.ready for other in self._workers):
                self._serving = True
                log.logger.info("%s", self._describe())
                for line in worker.about:
                    log.logger.info("%s", line)
        if not is_open and worker.channel is not None:
            self._selector.unregister(worker.channel)
            worker.channel.close()
            worker.channel = None

    # --- the log file and the app's settings of logging ------------------------------------

    def _follow_log_options(self, worker: WorkerProcess) -> None:
        """If a worker has sent the options of its log, apply them to the supervisor's log, and
        begin to write the worker's lines to the log file. Log the warnings of the worker.
        """
        if worker.log_options is not None:
            from ...observability.logoptions import LogOptions
            from .logpipe import LogWriter

            options, worker.log_options = LogOptions(**worker.log_options), None
            file_handler = None
            if options.file is not None and worker.log_fd is not None:
                self._logs = self._logs or LogWriter()
                worker.log_reader = self._logs.read(worker.log_fd, options)
                worker.log_fd = None
                file_handler = self._logs.handler_for(options)
            log.follow(options, file_handler)
        for text in worker.warnings:
            if text not in self._warned:  # all workers send the same warnings: log each once
                self._warned.add(text)
                log.logger.warning("%s", text)
        worker.warnings.clear()

    def _reopen_logs(self) -> None:
        if self._hangups and self._logs is not None:
            self._hangups = 0
            log.logger.info("SIGHUP: opening %s again", " ".join(self._logs.reopen()))

    def _describe(self) -> str:
        settings = self._settings
        plural = "s" if settings.workers > 1 else ""
        used = [memory_bytes(each.process.pid) for each in self._workers if each.process]
        memory = max((size for size in used if size is not None), default=0)
        of_memory = f"{memory / 2**20:.0f} MiB and " if memory else ""
        return (
            f"serving {self._target or 'the app'} on {', '.join(settings.urls)}:"
            f" {settings.workers} worker{plural} with {of_memory}{settings.threads} threads each,"
            f" bodies up to {format_size(settings.max_body_bytes)}"
        )

    # --- workers that hang --------------------------------------------------------------------

    def _ask_for_heartbeats(self, now_s: float) -> None:
        self._heartbeat_at_s = now_s + self._heartbeat_s
        for worker in self._workers:
            if not worker.ready or worker.hangs:
                continue
            if worker.unanswered >= MAX_UNANSWERED:
                self._kill_hanging(worker, now_s)
            else:
                worker.ask_for_heartbeat()

    def _kill_hanging(self, worker: WorkerProcess, now_s: float) -> None:
        log.logger.error(
            "%s hangs: it has shown no sign of life for %g s (--worker-timeout). It may be stopped,"
            " or native code in it may hold the GIL. Its threads' stacks follow, unless it is"
            " stopped; then it is killed",
            worker,
            self._settings.worker_timeout_s,
        )
        worker.hangs = True
        worker.kill_at_s = now_s + DUMP_S
        t.cast("subprocess.Popen[bytes]", worker.process).send_signal(signal.SIGQUIT)

    # --- the exit of a worker -----------------------------------------------------------------

    def _reap(self, worker: WorkerProcess) -> None:
        while worker.channel is not None:
            # Read until the socket closes: the worker may have sent messages just before it died.
            self._receive(worker)
        code = t.cast("subprocess.Popen[bytes]", worker.process).returncode
        name, lived_s = str(worker), time.monotonic() - worker.started_s
        if self._logs is not None and worker.log_reader is not None:
            self._logs.finish(worker.log_reader)
        worker.close()
        if self._stop_requests:
            return
        if not self._serving:
            reason = f"The process {_describe_exit(code)} while loading."
            self._give_up(name, worker.failure or reason)
            # A worker exits with 2 if the configuration of the app is wrong. The server then exits
            # with the same code.
            self._exit_code = 2 if code == 2 else 1
            return
        delay_s = worker.backoff.delay_s(lived_s)
        worker.start_at_s = time.monotonic() + delay_s
        failure = [worker.failure] if worker.failure else []
        log.logger.error(
            "%s %s after %.0f s; starting another %s" + (":\n%s" if failure else ""),
            name,
            "was killed because it hung" if worker.hangs else _describe_exit(code),
            lived_s,
            f"in {delay_s:g} s" if delay_s else "now",
            *failure,
        )

    def _give_up(self, name: str, reason: str) -> None:
        """Stop the server, because a worker could not load the app; another worker could not load
        it either.
        """
        log.logger.error(
            "%s cannot load the app%s:\n\n%s\n",
            name,
            f" {self._target!r}" if self._target else "",
            reason.rstrip(),
        )
        self._stop_requests = 1

    # --- the exit of the server ---------------------------------------------------------------

    def _begin_stop(self, now_s: float) -> None:
        settings = self._settings
        if self._stop_signal:  # empty if the server stops because a worker cannot load the app
            log.logger.info(
                "stopping on %s: requests that have begun may take %g s more",
                self._stop_signal,
                settings.grace_s,
            )
        self._kill_at_s = now_s + settings.drain_s + settings.grace_s
        self._sockets.withdraw()
        for worker in self._workers:
            worker.start_at_s = None
            worker.ask_to_stop()

    def _kill_all(self) -> None:
        for worker in self._workers:
            if worker.process is not None:
                log.logger.error("%s has not finished its requests: killed", worker)
                worker.process.kill()
                worker.process.wait()
                self._exit_code = 1

    # --- signals ------------------------------------------------------------------------------

    def _install_handlers(self) -> tuple[int, _Handlers]:
        self._wakeup, waker = socket.socketpair()
        self._wakeup.setblocking(False)
        waker.setblocking(False)
        self._waker = waker
        self._selector.register(self._wakeup, selectors.EVENT_READ, None)
        before = {number: signal.signal(number, self._on_stop) for number in stop_signals()}
        if signal.SIGHUP in before:
            signal.signal(signal.SIGHUP, self._on_hangup)
        # These handlers do nothing. SIGCHLD wakes the supervisor's loop by its arrival, and the
        # loop then replaces workers that have died. SIGUSR1 and SIGUSR2 ask other servers to reopen
        # their log files; without a handler they would kill this process.
        for number in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2):
            before[number] = signal.signal(number, lambda *_: None)
        return signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False), before

    def _restore_handlers(self, fd: int, before: _Handlers) -> None:
        signal.set_wakeup_fd(fd)
        for number, handler in before.items():
            signal.signal(number, handler)
        self._selector.close()
        self._wakeup.close()
        self._waker.close()

    def _on_hangup(self, number: int, frame: types.FrameType | None) -> None:
        """Reopen the log file, as `kill -HUP` asks for. Stop if there is no log file, or if the
        signal says that the terminal was closed.
        """
        if self._logs is None or self._terminal.is_closed():
            self._on_stop(number, frame)
        else:
            self._hangups += 1

    def _on_stop(self, number: int, frame: types.FrameType | None) -> None:
        self._stop_requests += 1
        self._stop_signal = self._stop_signal or signal.Signals(number).name
        if self._stop_requests > 1 and number == signal.SIGINT:
            # A second Ctrl+C ends the wait for the workers: they are killed at once.
            self._kill_at_s = 0.0


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"
