"""The HTTP server of apps with models: the sockets of all clients, and the threads that serve them.

One thread at a time leads (`crew`): it waits for what comes on any connection, reads it, and does
what it asks for, or lets another lead when that may take long. So a prediction costs no more than
reading and writing: nobody is woken for it, and all that have come together are handed to their
model together, as a round.

    measured: two predictions for each that a native HTTP server of two more threads brought
"""

from __future__ import annotations

import errno
import socket
import threading
import typing as t
from _thread import get_ident
from collections import deque
from time import monotonic, perf_counter

from ..log import logger
from ..machine import default_workers
from .connection import Connection
from .environ import always
from .listener import keep_asking, refuse_new
from .poller import READ, WRITE, make_poller

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..settings import Settings
    from ..threads.leader import Crew, Member
    from .exchange import Exchange
    from .poller import Events

# Threads beside those for views: one leads, the others decode large bodies.
SPARE_THREADS = 8
# Limits of time are kept so exactly.
SWEEP_S = 0.25
# Connections that are accepted before those that are there have their turn.
ACCEPTED_AT_ONCE = 64
# How long it looks out for a client's next request before it sleeps, as long as most come in time:
# a processor that sleeps takes 10 to 100 us to wake, and has forgotten what it knew.
LOOK_OUT_S = 0.0001
TRIED_EVERY = 64
MOST_LUCK = 16
# Answers that wait for each other to be sent.
SENT_TOGETHER = 32
# That one round is made of, at most.
LOOKS = 4
# No descriptor or memory is left; other errors are those of a client that left before its turn.
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Front:
    """Hands what comes to its gateway until it is told to stop.

    Args:
        settings: where to listen, and with how much.
        crew: decides which of the threads leads.

    Attributes:
        admit: called with each exchange when its head is there, on the thread that leads; says what
            becomes of the body, and who takes the exchange when it is due. Set it before `start`.
        in_round: whether something waits for the end of the round.
        after_round: called when all that came together has been handed over. And this.
        draining: set it once, and clients are asked to connect anew.
        stopping: connections end when nothing is on its way on them.
    """

    def __init__(self, settings: Settings, *, crew: Crew) -> None:
        self.admit: cabc.Callable[[Exchange], object]
        self.in_round: cabc.Callable[[], bool] = bool
        self.after_round: cabc.Callable[[], object]
        self.keep_alive_s = settings.keep_alive_s
        self.draining = self.stopping = False
        self._settings = settings
        self._crew = crew
        self._poller = make_poller()
        self._connections: dict[int, Connection] = {}
        self._woken = False
        self._calls: deque[cabc.Callable[[], object]] = deque()
        self._unsent: deque[Connection] = deque()  # that have something to send
        self._leader = 0
        self._turns = self._luck = 0
        self._spares = default_workers() > 1  # a processor for whoever sends
        self._listener: socket.socket | None = None
        self._listens = False
        self._sweeps_s = 0.0
        self._drained = threading.Event()
        self._threads = 0
        self._lock = threading.Lock()
        self._always = {**always(multiprocess=settings.workers > 1), "wsgi.url_scheme": "http"}
        self._always["SERVER_NAME"] = settings.host
        self._always["SERVER_PORT"] = str(settings.port)

    # --- its life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen. On return the system accepts connections.

        Raises:
            OSError: the address cannot be listened on.
        """
        settings = self._settings
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = self._listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if hasattr(socket, "SO_REUSEPORT"):  # each worker listens
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            keep_asking(listener)
            listener.setblocking(False)
            listener.bind((settings.host, settings.port))
            listener.listen(settings.backlog)
        except OSError as exc:
            listener.close()
            raise OSError(
                f"carboy cannot listen on {settings.host}:{settings.port}: {exc.strerror}"
            ) from None
        self._listen(yes=True)
        self._crew.start(more=self.add_thread)
        self.add_thread()

    def refuse_new(self) -> bool:
        """Let no new client come, as far as the system can; whether it can."""
        return self._listener is not None and refuse_new(self._listener)

    def stop(self) -> None:
        """Accept nothing more; finish what was accepted. Returns at once."""
        self.call(self._stop)

    def wait(self) -> None:
        """Return when the last answer is out. Signals are handled meanwhile."""
        while not self._drained.wait(3600):
            pass

    def _stop(self) -> None:
        self.stopping = self.draining = True
        if self._listener is not None:
            self._accept(self._listener, most=1 << 20)  # all whose clients have connected
            self._listen(yes=False)
            self._listener.close()
            self._listener = None
        for connection in list(self._connections.values()):
            connection.stop()
        self._look_whether_drained()

    def _look_whether_drained(self) -> None:
        if self.stopping and not self._connections:
            self._drained.set()

    def add_thread(self) -> None:
        """One more may lead, if there are not enough."""
        with self._lock:
            if self._threads >= self._settings.threads + SPARE_THREADS:
                return
            self._threads += 1
            name = f"carboy-{self._threads}"
        serve = self._crew.serve
        try:
            threading.Thread(target=serve, args=(self._turn,), name=name, daemon=True).start()
        except RuntimeError as exc:  # the system allows no more: who leads next is one of those
            with self._lock:
                self._threads -= 1
            logger.error("no thread more than %d can be started: %s", self._threads, exc)

    # --- a turn of the thread that leads -------------------------------------------------------

    def _turn(self, me: Member) -> None:
        try:
            self._lead(me)
        except BaseException:  # noqa: BLE001  # a server without a thread that leads is deaf
            logger.exception("error while serving")

    def _lead(self, me: Member) -> None:
        # Some are there already if the one that led before could not do them all.
        left = self._calls or self._unsent
        idle = not self._connections and self._listens
        if left:
            events = self._poller.wait(0)
        else:
            events = self._look_out() or self._poller.wait(3600 if idle else SWEEP_S)
        if events or left or self._calls:
            self._crew.begin(me)
        self._woken = False
        self._leader = get_ident()
        self._do_calls(me)
        self._flush()
        for _ in range(LOOKS):
            if me.aside:
                break
            self._do_events(me, events)
            if not self.in_round():
                break
            # While those who came were read, others did: let them come along.
            events = self._poller.wait(0)
            if not events:
                break
        self._flush()
        _safely(self.after_round)
        self._flush()
        if me.aside:  # another leads, and does the rest
            if self._calls:
                self._poller.wake()
        elif monotonic() >= self._sweeps_s:
            _safely(self._sweep)

    def _look_out(self) -> Events | None:
        """What comes in a moment, where it did so of late: to sleep and wake may take longer."""
        self._turns += 1
        if not (self._luck or self._turns % TRIED_EVERY == 0) or not self._spares:
            return None
        until_s = perf_counter() + LOOK_OUT_S
        while True:
            events = self._poller.wait(0)
            if events:
                self._luck = min(self._luck + 1, MOST_LUCK)
                return events
            if perf_counter() > until_s:
                self._luck = max(self._luck - 2, 0)
                return None

    def _do_calls(self, me: Member) -> None:
        for _ in range(len(self._calls)):  # what they call for has to wait for others' turn
            try:
                call = self._calls.popleft()
            except IndexError:  # a leader that was relieved did it
                return
            _safely(call)
            if me.aside:
                return

    def _do_events(self, me: Member, events: Events) -> None:
        connections, safely = self._connections, _safely
        for fd, mask in events:
            connection = connections.get(fd)
            if connection is None:
                if self._listener is not None and fd == self._listener.fileno():
                    safely(self._accept_all)
            elif mask & WRITE:
                safely(connection.flush)
            elif mask & READ:
                safely(connection.readable)
            else:
                safely(connection.reset)
            me.turns += 1
            if me.aside:  # another leads, and is told of the rest
                return
            if len(self._unsent) >= SENT_TOGETHER:
                self._flush()

    def _flush(self) -> None:
        """Send what was answered on the thread that leads.

        PERF: one after the other, without anything between: the first wakes the client's process,
        or the proxy's, which is then still awake for the others. A text view 1.4 times as often.
        """
        unsent = self._unsent
        while unsent:
            try:
                connection = unsent.popleft()
            except IndexError:  # a leader that was relieved did it
                return
            _safely(connection.flush)

    def _sweep(self) -> None:
        now_s = monotonic()
        self._sweeps_s = now_s + SWEEP_S
        for connection in list(self._connections.values()):
            if connection.deadline_s < now_s:
                connection.expire()
        if not self._listens and self._listener is not None:
            self._listen(yes=len(self._connections) < self._settings.connections)

    def _accept_all(self) -> None:
        if self._listener is not None:
            self._accept(self._listener, ACCEPTED_AT_ONCE)

    def _accept(self, listener: socket.socket, most: int) -> None:
        for _ in range(most):
            if len(self._connections) >= self._settings.connections:
                self._listen(yes=False)  # the others wait in the system's queue
                return
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as exc:
                if exc.errno in _FULL:
                    logger.error("cannot accept connections just now: %s", exc.strerror)
                    self._listen(yes=False)  # until the next sweep
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            environ = self._always.copy()
            environ["REMOTE_ADDR"] = address[0]
            environ["REMOTE_PORT"] = str(address[1])
            fd = sock.fileno()
            self._connections[fd] = Connection(self, sock, environ)
            self._poller.add(fd, READ)

    def _listen(self, *, yes: bool) -> None:
        if self._listener is None or yes == self._listens:
            return
        self._listens = yes
        if yes:
            self._poller.add(self._listener.fileno(), READ)
        else:
            self._poller.remove(self._listener.fileno())

    # --- for connections, from any thread ------------------------------------------------------

    def call(self, work: cabc.Callable[[], object]) -> None:
        """Let the thread that leads do it."""
        self._calls.append(work)
        if not self._woken:
            self._woken = True
            self._poller.wake()

    def leads(self) -> bool:
        """Whether the calling thread leads."""
        return get_ident() == self._leader

    def flush_later(self, connection: Connection) -> bool:
        """Whether the calling thread leads, and so will soon flush the connection."""
        if not self.leads():
            return False
        self._unsent.append(connection)
        return True

    def watch(self, fd: int, mask: int) -> None:
        """Tell the connection of such a thing only."""
        try:
            self._poller.change(fd, mask)
        except OSError:  # it was ignored, since it was over
            pass

    def ignore(self, fd: int) -> None:
        """Tell it nothing more."""
        try:
            self._poller.remove(fd)
        except OSError:
            pass

    def forget(self, fd: int) -> None:
        """It is closed by the caller, right after this."""
        self.ignore(fd)
        self._connections.pop(fd, None)
        if self.stopping:
            self.call(self._look_whether_drained)


def _safely(work: cabc.Callable[[], object]) -> None:
    """What fails here must not end the thread that leads."""
    try:
        work()
    except BaseException:  # noqa: BLE001  # a panic in Rust, SystemExit of what a model calls
        logger.exception("error while serving")
