"""Starts the workers, starts those anew that die, and stops them all. Runs no code of the user's.

Workers are processes of their own making (never forks), tied to this one by a socket: they report
through it, and when this process dies in whatever way, they see it close, and end too. Nothing is
polled: the loop sleeps until a worker speaks, a signal comes, or a restart is due.
"""

from __future__ import annotations

import errno
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
import typing as t
from dataclasses import replace

from ...errors import AddressError
from .. import log
from ..settings import Settings, format_size
from .restarts import Restarts

if t.TYPE_CHECKING:
    import types

    _Handlers = dict[signal.Signals, t.Any]


def stop_signals() -> list[signal.Signals]:
    """The signals that ask for a stop; SIGHUP, a closed terminal, not if nohup ignores it."""
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers


class Worker:
    """One place among the workers, and the process that holds it now."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.restarts = Restarts()
        self.process: subprocess.Popen[bytes] | None = None
        self.line: socket.socket | None = None
        self.ready = False
        self.failure = ""
        self.started_s = 0.0
        self.due_s: float | None = None
        self._heard = b""

    def __str__(self) -> str:
        return f"worker {self.number} (pid {self.process.pid if self.process else '-'})"

    def start(self, order: str, now_s: float) -> None:
        ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(  # noqa: S603  # ourselves
            _command(theirs.fileno(), order),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "FLASK_RUN_FROM_CLI": "true"},
        )
        theirs.close()
        ours.setblocking(False)
        self.line = ours
        self.ready, self.failure, self._heard = False, "", b""
        self.started_s, self.due_s = now_s, None

    def hear(self) -> bool:
        """Take in what the process says; False when it says no more."""
        assert self.line is not None
        try:
            data = self.line.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        *messages, self._heard = (self._heard + data).split(b"\n")
        for message in messages:
            word, text = json.loads(message)
            if word == "ready":
                self.ready = True
            else:
                self.failure = text
        return bool(data)

    def ask_to_stop(self) -> None:
        if self.line is not None:
            try:
                self.line.send(b"drain\n")
            except OSError:
                pass  # It has died; its end is noticed like any other.

    def forget(self) -> None:
        if self.line is not None:
            self.line.close()
        self.process = self.line = None
        self.ready = False


def _command(fd: int, order: str) -> list[str]:
    # -P: the current folder may hold a module of any name, and is put on the path with the app.
    flags = [flag for flag in subprocess._args_from_interpreter_flags() if flag != "-P"]  # type: ignore[attr-defined]
    return [sys.executable, *flags, "-P", "-m", "carboy.serving.process.worker", str(fd), order]


class Supervisor:
    """Keeps `settings.workers` workers serving `target` until a signal ends it."""

    def __init__(self, target: str | None, settings: Settings) -> None:
        self._target = target
        self._settings = settings
        self._workers = [Worker(number + 1) for number in range(settings.workers)]
        self._selector = selectors.DefaultSelector()
        self._stops_asked = 0
        self._stop_signal = ""
        self._stop_by_s: float | None = None
        self._serving = False
        self._exit_code = 0

    def run(self) -> int:
        """Serve; the exit code is 0 if the end was asked for and nothing was lost.

        Raises:
            AddressError: the address cannot be listened on.
        """
        port_holder = hold_port(self._settings)
        self._settings = replace(self._settings, port=port_holder.getsockname()[1])
        wakeup_fd, before = self._take_signals()
        try:
            # Models may take minutes, and a silent terminal looks like one that hangs.
            log.logger.info("loading %s", self._target or "the app")
            now_s = time.monotonic()
            for worker in self._workers:
                self._start(worker, now_s)
            while any(worker.process for worker in self._workers) or not self._stops_asked:
                self._turn()
        finally:
            for worker in self._workers:
                if worker.process is not None:
                    worker.process.kill()
                    worker.process.wait()
            self._give_signals_back(wakeup_fd, before)
            port_holder.close()
        if self._serving:
            log.logger.info("stopped")
        return self._exit_code

    # One turn of the loop.

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._sleep_s()):
            if key.data is None:
                self._wakeup.recv(4096)
            else:
                self._hear(key.data)
        for worker in self._workers:
            if worker.process is not None and worker.process.poll() is not None:
                self._bury(worker)
        now_s = time.monotonic()
        if self._stops_asked and self._stop_by_s is None:
            self._begin_stop(now_s)
        elif self._stop_by_s is not None and now_s >= self._stop_by_s:
            self._kill_all()
        elif self._stop_by_s is None:
            for worker in self._workers:
                if worker.due_s is not None and now_s >= worker.due_s:
                    self._start(worker, now_s)

    def _sleep_s(self) -> float | None:
        due = [worker.due_s for worker in self._workers if worker.due_s is not None]
        if self._stop_by_s is not None:
            due = [self._stop_by_s]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _start(self, worker: Worker, now_s: float) -> None:
        order = {"target": self._target, "settings": self._settings.as_dict()}
        worker.start(json.dumps(order), now_s)
        self._selector.register(t.cast("socket.socket", worker.line), selectors.EVENT_READ, worker)

    def _hear(self, worker: Worker) -> None:
        was_ready = worker.ready
        speaks = worker.hear()
        if worker.ready and not was_ready:
            log.logger.info("%s is ready", worker)
            if not self._serving and all(other.ready for other in self._workers):
                self._serving = True
                log.logger.info("%s", self._describe())
        if not speaks and worker.line is not None:
            self._selector.unregister(worker.line)
            worker.line.close()
            worker.line = None

    def _describe(self) -> str:
        settings = self._settings
        plural = "s" if settings.workers > 1 else ""
        return (
            f"serving {self._target or 'the app'} on {settings.url}:"
            f" {settings.workers} worker{plural} with {settings.threads} threads each, bodies up to"
            f" {format_size(settings.max_body_bytes)}"
        )

    # The end of a worker.

    def _bury(self, worker: Worker) -> None:
        while worker.line is not None:
            # Its last words may still be on the line.
            self._hear(worker)
        code = t.cast("subprocess.Popen[bytes]", worker.process).returncode
        name, lived_s = str(worker), time.monotonic() - worker.started_s
        worker.forget()
        if self._stops_asked:
            return
        if not self._serving:
            self._give_up(name, worker.failure or f"It {_describe_exit(code)} while loading.")
            return
        delay_s = worker.restarts.delay_s(lived_s)
        worker.due_s = time.monotonic() + delay_s
        log.logger.error(
            "%s %s after %.0f s; starting another %s%s",
            name,
            _describe_exit(code),
            lived_s,
            f"in {delay_s:g} s" if delay_s else "now",
            f":\n{worker.failure}" if worker.failure else "",
        )

    def _give_up(self, name: str, reason: str) -> None:
        """The first start failed, as the next would: leave the rest to whoever started us."""
        log.logger.error(
            "%s cannot load the app%s:\n\n%s\n",
            name,
            f" {self._target!r}" if self._target else "",
            reason.rstrip(),
        )
        self._exit_code = 1
        self._stops_asked = 1

    # The end of all.

    def _begin_stop(self, now_s: float) -> None:
        settings = self._settings
        if self._serving:
            log.logger.info(
                "stopping on %s: requests that have begun may take %g s more",
                self._stop_signal,
                settings.grace_s,
            )
        self._stop_by_s = now_s + settings.farewell_s + settings.grace_s
        for worker in self._workers:
            worker.due_s = None
            worker.ask_to_stop()

    def _kill_all(self) -> None:
        for worker in self._workers:
            if worker.process is not None:
                log.logger.error("%s has not finished its requests: killed", worker)
                worker.process.kill()
                worker.process.wait()
                self._exit_code = 1

    # Signals.

    def _take_signals(self) -> tuple[int, _Handlers]:
        self._wakeup, waker = socket.socketpair()
        self._wakeup.setblocking(False)
        waker.setblocking(False)
        self._waker = waker
        self._selector.register(self._wakeup, selectors.EVENT_READ, None)
        before = {number: signal.signal(number, self._on_stop) for number in stop_signals()}
        # It need do nothing: that it is caught wakes the loop, which looks after the workers.
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        return signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False), before

    def _give_signals_back(self, fd: int, before: _Handlers) -> None:
        signal.set_wakeup_fd(fd)
        for number, handler in before.items():
            signal.signal(number, handler)
        self._selector.close()
        self._wakeup.close()
        self._waker.close()

    def _on_stop(self, number: int, frame: types.FrameType | None) -> None:
        self._stops_asked += 1
        self._stop_signal = self._stop_signal or signal.Signals(number).name
        if self._stops_asked > 1 and number == signal.SIGINT:
            # Ctrl+C a second time: somebody does not want to wait.
            self._stop_by_s = 0.0


def hold_port(settings: Settings) -> socket.socket:
    """Make sure that the port is free, and keep it while workers come and go.

    Workers share it by SO_REUSEPORT, with which a second server of ours would be let in too, and
    take half of the requests. Hence the first look is without. The socket that is returned never
    listens, so that no connection waits on it.

    Raises:
        AddressError: the port is taken, or the address is not this machine's, or not allowed.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    address = (settings.host, settings.port)
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            address = probe.getsockname()[:2]
        holder = socket.socket(family, socket.SOCK_STREAM)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(address)
    except OSError as exc:
        raise AddressError(_explain_bind(exc, settings)) from None
    return holder


def _explain_bind(exc: OSError, settings: Settings) -> str:
    where = f"Cannot listen on {settings.url}"
    port = settings.port
    if exc.errno == errno.EADDRINUSE:
        return (
            f"{where}: port {port} is in use by another program. Find it with"
            f" 'ss -ltnp sport = :{port}' and stop it, or choose another port with --port."
        )
    if exc.errno == errno.EACCES:
        return (
            f"{where}: ports below 1024 are for root. Choose another with --port, and let a proxy"
            " or the container's port mapping lead to it."
        )
    if exc.errno == errno.EADDRNOTAVAIL:
        return (
            f"{where}: this machine does not have that address. Use 127.0.0.1 for this machine"
            " alone, or 0.0.0.0 for all its networks."
        )
    return f"{where}: {exc.strerror}."


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"
