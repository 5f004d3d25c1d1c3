"""The child processes of the supervisor, as the supervisor sees them: how they are started, what
they report, and which process has whose place.

    ChildProcess    one process, and the socket between the supervisor and it
    Place           what one process does at a time: usually one process has the place; two while a
                    successor gets ready, or while the old process finishes its work
    RestartBackoff  how long to wait before another process is started after one has died

The messages are lines of JSON in both directions, each `[word, payload]`. `ChildProcess.handlers`
has the function for each word that a process may send; `SupervisorLink` is the other end.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import typing as t
from functools import partial

from ...config import get_env
from .. import log
from .messagesocket import MessageSocket
from .systemd import VARIABLES

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import selectors

    from .logpipe import PipeReader

# A process that lived for this many seconds probably died from a request and not from a fault at
# startup, so it is restarted without a delay.
STEADY_S = 10.0
FIRST_DELAY_S = 0.5
MAX_DELAY_S = 30.0
# Seconds between two signals to a process that hangs: the first makes it log the stacks of its
# threads, the second kills it.
DUMP_S = 1.0
# How many seconds a process that is loading may take to end, if it is not needed any more.
LOADING_GRACE_S = 1.0

#: What a process does. It is hanging if it shows no sign of life; it will be killed soon.
Phase = t.Literal["loading", "ready", "draining", "hanging"]


class RestartBackoff:
    """Computes how long to wait before a process that has died is started again.

    The first time it is started at once; then the delay doubles each time that it dies early.
    """

    def __init__(self) -> None:
        self._deaths_in_a_row = 0

    def delay_s(self, lived_s: float) -> float:
        """Record that the process died after `lived_s` seconds; return the delay before its next
        start.
        """
        if lived_s >= STEADY_S:
            self._deaths_in_a_row = 0
        delay_s = 0.0
        if self._deaths_in_a_row:
            delay_s = min(FIRST_DELAY_S * 2 ** min(self._deaths_in_a_row - 1, 16), MAX_DELAY_S)
        self._deaths_in_a_row += 1
        return delay_s


class ChildProcess:
    """One process that the supervisor has started, from its start to its end.

    Attributes:
        module: the module that the process runs.
        loads: what the process loads before it is ready, as messages call it.
        task: what the process does for clients, as messages call it: a request, or a batch.
        tasks: what it may be doing at one time: a worker several requests, a replica one batch.
        handlers: by the word of a message from the process, the function that receives the payload.
            The supervisor adds the words that concern more than the process.
        about: what the process says of itself when it is ready: lines for the log.
        failure: why the process could not load the app, as it has reported; "" if it has not.
        info: what the process has reported of itself by messages `info`, for `ServerState`.
        leave_because: why another process must replace this one, such as a limit that it has
            reached; "" if nothing asks for that.
        kill_at_s: when the process will be killed; None if it will not.
        was_killed: whether the supervisor has killed the process.
    """

    module: t.ClassVar[str]
    loads: t.ClassVar[str]
    task: t.ClassVar[str]
    tasks: t.ClassVar[str]

    def __init__(self) -> None:
        self.phase: Phase = "loading"
        self.was_ready = False
        self.handlers: dict[str, cabc.Callable[[t.Any], object]] = {
            "failed": self._on_failed,
            "info": self._on_info,
            "leave": self._on_leave,
            "ready": self._on_ready,
        }
        self.about: list[str] = []
        self.failure = ""
        self.info: dict[str, t.Any] = {}
        self.leave_because = ""
        self.kill_at_s: float | None = None
        self.was_killed = False
        self.started_s = time.monotonic()
        self.started_at_s = time.time()
        self.popen: subprocess.Popen[bytes] | None = None
        self.channel: MessageSocket | None = None
        # The reading end of the pipe through which the process sends the lines of the log file;
        # None when `log_reader` reads the pipe, or if there is no pipe.
        self.log_fd: int | None = None
        self.log_reader: PipeReader | None = None

    @property
    def pid(self) -> int:
        """The process id; 0 if the process has not been started."""
        return self.popen.pid if self.popen is not None else 0

    @property
    def lived_s(self) -> float:
        return time.monotonic() - self.started_s

    def start(
        self,
        job: dict[str, t.Any],
        fds: cabc.Sequence[int] = (),
        variables: cabc.Mapping[str, str] | None = None,
    ) -> None:
        """Start the process.

        Args:
            job: what the process must know, as JSON.
            variables: environment variables for the process, in addition to those of this one.
            fds: file descriptors that the process inherits, in addition to those of the socket and
                the log.

        Raises:
            OSError: there is no memory, descriptor or process left.
        """
        ours, theirs = socket.socketpair()
        self.channel = MessageSocket(ours)
        self.log_fd, write_fd = os.pipe()
        job = {**job, "log_fds": [self.log_fd, write_fd]}
        try:
            with _interrupts_blocked():
                self.popen = subprocess.Popen(  # noqa: S603  # this interpreter
                    _command(self.module, theirs.fileno(), json.dumps(job)),
                    pass_fds=[theirs.fileno(), self.log_fd, write_fd, *fds],
                    stdin=subprocess.DEVNULL,
                    env={**_environment(), **(variables or {})},
                )
        except OSError:
            self.close()
            raise
        finally:
            theirs.close()
            os.close(write_fd)

    @property
    def exit_code(self) -> int | None:
        """The exit code of the process, or minus the number of the signal that has killed it; None
        while it runs.
        """
        return self.popen.poll() if self.popen is not None else None

    def send_signal(self, number: signal.Signals) -> None:
        if self.popen is not None:
            self.popen.send_signal(number)

    def kill(self) -> None:
        self.was_killed = True
        self.kill_at_s = None
        self.send_signal(signal.SIGKILL)

    def dump_and_kill(self) -> None:
        """Let the process log the stacks of its threads, and kill it soon."""
        self.phase = "hanging"
        self.kill_at_s = time.monotonic() + DUMP_S
        self.send_signal(signal.SIGQUIT)

    def kill_overdue(self) -> None:
        """Kill the process, because it has not ended in time."""
        if self.phase == "draining" and self.was_ready:
            log.logger.error("%s has not finished its %s: killed", self, self.tasks)
        self.kill()

    def log_end_of_leaving(self) -> None:
        """Log how the process has ended that was asked to stop."""
        if not self.was_ready:
            log.logger.info("%s was stopped while it loaded %s", self, self.loads)
        elif self.exit_code == 0:
            log.logger.info("%s has ended after its last %s", self, self.task)
        elif not self.was_killed:
            log.logger.error("%s %s during its last %s", self, describe_end(self), self.tasks)

    def kill_for_garbage(self, receiver: str) -> None:
        """Kill the process because something in it has written to a socket that is not its own:
        what follows there cannot be read.
        """
        if not self.was_killed:
            log.logger.error("%s has sent %s something that is no message: killed", self, receiver)
            self.kill()

    def kill_and_wait(self) -> None:
        self.kill()
        if self.popen is not None:
            self.popen.wait()

    def close(self) -> None:
        """Close the socket and the pipe. Call this when the process does not run."""
        if self.channel is not None:
            self.channel.close()
        if self.log_fd is not None:
            os.close(self.log_fd)
        self.channel = self.log_fd = self.log_reader = None

    # --- messages to the process --------------------------------------------------------------

    def send(self, word: str, payload: object = None) -> None:
        """Send the process a message, without waiting."""
        if self.channel is not None:
            self.channel.send(word, payload)

    def ask_to_stop(self, kill_at_s: float, payload: object = None) -> None:
        """Let the process finish its work and end. If it has not ended at the time `kill_at_s`, it
        is killed.
        """
        self.phase = "draining"
        self.kill_at_s = kill_at_s
        self.send("drain", payload)

    # --- messages from the process ------------------------------------------------------------

    def watch(
        self, selector: selectors.BaseSelector, on_readable: cabc.Callable[[], object]
    ) -> None:
        """Let the supervisor's loop call a function when the process has sent messages."""
        assert self.channel is not None
        self.channel.watch(selector, on_readable)

    def read_messages(self) -> None:
        """Read messages that the process has sent, and call their handlers. Close the socket if the
        process has closed it.
        """
        channel = self.channel
        assert channel is not None
        try:
            messages = channel.receive()
        except ValueError:
            self.kill_for_garbage("the supervisor")
            messages, channel.has_ended = [], True
        for word, payload in messages:
            self.handlers.get(word, partial(self._on_unknown, word))(payload)
        if channel.has_ended:
            channel.close()
            self.channel = None

    def has_unread(self) -> bool:
        """Return whether messages of the process have not been read. After the end of the process,
        do not wait until the socket closes: programs and forks that it has started may still have
        its end of the socket.
        """
        return self.channel is not None and self.channel.has_unread()

    def _on_failed(self, reason: str) -> None:
        self.failure = reason

    def _on_info(self, info: dict[str, t.Any]) -> None:
        self.info.update(info)

    def _on_leave(self, reason: str) -> None:
        self.leave_because = reason

    def _on_ready(self, about: list[str]) -> None:
        self.about = about
        self.was_ready = True
        if self.phase == "loading":  # otherwise it was asked to stop before it was ready
            self.phase = "ready"

    def _on_unknown(self, word: str, payload: object) -> None:
        log.logger.error("%s has sent an unknown message %r", self, word)


@contextlib.contextmanager
def _interrupts_blocked() -> cabc.Iterator[None]:
    """Start a process with SIGINT blocked. A terminal sends the signal to all processes, and Python
    would end with a traceback if it came during the first imports: `unblock_interrupts` ends that.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _environment() -> dict[str, str]:
    """Return the environment variables of a child process."""
    inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return {**inherited, "FLASK_RUN_FROM_CLI": "true", "FLASK_ENV": get_env()}


def _command(module: str, fd: int, job: str) -> list[str]:
    # `-P` keeps the current folder out of `sys.path`, so that a module in it cannot take the place
    # of one of carboy's or Python's.
    flags = [flag for flag in subprocess._args_from_interpreter_flags() if flag != "-P"]  # type: ignore[attr-defined]
    return [sys.executable, *flags, "-P", "-m", module, str(fd), job]


P = t.TypeVar("P", bound=ChildProcess)


class Place(t.Generic[P]):
    """A task that one process does at a time, and the processes that do it, one after the other.

    Attributes:
        current: the process that works, or that loads the app because none works; None until it is
            started at `start_at_s`.
        successor: the process that loads the app to replace `current`; None if there is none.
        leaving: processes that finish their last work.
        starts: how many processes were started in this place.
        start_at_s: no process is started in this place before this time. None if none has to be
            started, or if it may be started at once.
    """

    def __init__(self) -> None:
        self.backoff = RestartBackoff()
        self.current: P | None = None
        self.successor: P | None = None
        self.leaving: list[P] = []
        self.starts = 0
        self.start_at_s: float | None = None

    @property
    def processes(self) -> list[P]:
        processes = [self.current, self.successor, *self.leaving]
        return [process for process in processes if process is not None]

    @property
    def is_ready(self) -> bool:
        return self.current is not None and self.current.phase == "ready"

    def promote(self) -> P | None:
        """Let the successor take the place of the current process, if there is a successor. Return
        the process that it replaces.
        """
        replaced = self.current
        if self.successor is not None:
            self.current, self.successor = self.successor, None
        return replaced

    def remove(self, process: P) -> None:
        """Forget a process that has ended. If it was the current one, a successor that is being
        loaded takes its place.
        """
        if process is self.current:
            self.current = None
            self.promote()
        elif process is self.successor:
            self.successor = None
        else:
            self.leaving.remove(process)

    def plan_restart(self, process: P) -> None:
        """After a process has died that should work, or get ready to, plan the start of another
        one, and log it. If the process was the current one and a successor is being loaded, that
        is the other one.
        """
        delay_s = self.backoff.delay_s(process.lived_s if process.was_ready else 0.0)
        if self.current is None or self.current.phase == "ready":
            self.start_at_s = time.monotonic() + delay_s
        goes_on = f", and {self.current} goes on" if self.is_ready else ""
        failure = [process.failure.rstrip()] if process.failure else []
        log.logger.error(
            "%s %s after %.0f s%s; starting another %s" + (":\n%s" if failure else ""),
            process,
            describe_end(process),
            process.lived_s,
            goes_on,
            f"in {delay_s:g} s" if delay_s else "now",
            *failure,
        )

    def start_again(self, start: cabc.Callable[[], P], what: str) -> P | None:
        """Start a process as the next one in this place. If the machine refuses it, such as for
        lack of memory or descriptors, return None and plan another attempt: the other processes go
        on.
        """
        try:
            return start()
        except OSError as exc:
            delay_s = self.backoff.delay_s(0.0) or FIRST_DELAY_S
            self.start_at_s = time.monotonic() + delay_s
            log.logger.error("cannot start %s: %s; trying again in %g s", what, exc, delay_s)
            return None


def describe_end(process: ChildProcess) -> str:
    """Return how a process has ended, such as "exited with code 3"."""
    if process.phase == "hanging":
        return "was killed because it hung"
    if process.was_killed:
        return "was killed by the supervisor"
    return _describe_exit(process.exit_code or 0)


def explain_failure(process: ChildProcess) -> str:
    """Return why a process could not load the app."""
    return process.failure.rstrip() or f"The process {describe_end(process)} while loading."


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"
