"""The clients of the soak test, each a thread: steady, slow, idle and vanishing ones."""

from __future__ import annotations

import contextlib
import random
import selectors
import threading
import time
import typing as t

import kinds
from client import NoAnswerError

if t.TYPE_CHECKING:
    from client import Connection
    from tally import Tally

CLIENTS = ("steady", "new connection", "pipelining", "slow", "idle", "vanishing")
# How many requests a steady client sends before it opens a new connection, on average.
PER_CONNECTION = 100
# How many idle connections are opened before a request is sent on one of them.
OPEN_AT_ONCE = 25
# How long a slow client takes to send a request.
SLOW_S = 1.0


class Traffic:
    """All clients of one run.

    Args:
        connect: opens a connection to the server.
        rate: about how many requests a second the steady clients send together; 0 for as many as
            are answered.
        idle_count: how many connections are kept open without a request.
    """

    def __init__(
        self,
        connect: t.Callable[..., Connection],
        tally: Tally,
        *,
        rate: float,
        steady: int,
        idle_count: int,
    ) -> None:
        self.connect, self.tally = connect, tally
        self.idle_count = idle_count
        self.pause_s = steady / rate if rate else 0.0
        self.stopping = threading.Event()
        self.errors: list[str] = []
        jobs: list[t.Callable[[random.Random], object]] = [*[self.steady] * steady]
        jobs += [self.slow] * 4 + [self.vanishing] * 2 + [self.idle]
        self.threads = [
            threading.Thread(target=self._run, args=(job, seed), name=job.__name__)
            for seed, job in enumerate(jobs)
        ]

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """Let each client finish its request, and wait for all of them."""
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def _run(self, job: t.Callable[[random.Random], object], seed: int) -> None:
        try:
            job(random.Random(seed))
        except StopIteration:  # all numbers have been given out
            self.stopping.set()
        except BaseException as exc:  # the run must report it, and not end with fewer clients
            self.errors.append(f"the {job.__name__} client failed: {exc!r}")
            self.stopping.set()
            raise

    # --- steady clients -----------------------------------------------------------------------

    def steady(self, rng: random.Random) -> None:
        """Send one request after the other, mostly on connections that stay open."""
        due_s = time.monotonic() + rng.random() * self.pause_s
        connection = None
        while not self.stopping.is_set():
            choice = rng.random()
            count = 1
            if choice < 0.02:
                self._ask_once(kinds.choose(rng), rng)
            elif choice < 0.03:
                count = rng.randrange(2, 7)
                names = [kinds.choose_short(rng) for _ in range(count)]
                connection = self._ask(connection, names, "pipelining", rng)
            else:
                connection = self._ask(connection, [kinds.choose(rng)], "steady", rng)
            if connection is not None and rng.random() < 1 / PER_CONNECTION:
                connection.close()
                connection = None
            due_s = max(due_s + count * self.pause_s, time.monotonic() - 1.0)
            self.stopping.wait(max(0.0, due_s - time.monotonic()))
        if connection is not None:
            connection.close()

    def _ask(
        self, connection: Connection | None, names: list[str], client: str, rng: random.Random
    ) -> Connection | None:
        """Send requests together, and check the answers. Returns the connection if it stays open.

        A connection that the server has closed while it was idle is replaced.
        """
        connection = self._usable(connection)
        if connection is None:
            return None
        requests = [self._make(name, client, rng) for name in names]
        pending = list(requests)
        sent_s = time.monotonic()
        answer = None
        try:
            connection.send(b"".join(request.raw for request in requests))
            while pending:
                answer = connection.receive()
                self._check(pending.pop(0), answer, connection)
                if answer.is_last:
                    break
        except NoAnswerError as exc:
            self._explain(connection, pending, sent_s, exc)
            connection.close()
            return None
        if answer.is_last:
            connection.close()
            # RFC 9112 (9.3.2): the server has not handled what follows the last answer on a
            # connection, and the client sends it again.
            for request in pending:
                self._send_again(request)
            return None
        return connection

    def _usable(self, connection: Connection | None) -> Connection | None:
        """Return this connection if it is open, else a new one; None if no connection stays open
        until the client can send its request.
        """
        if connection is not None and connection.is_closed:
            connection.close()
            connection = None
        return connection or self._connect()

    def _connect(self, *, small_buffer: bool = False) -> Connection | None:
        """Return a new connection whose worker is known. Returns None if the worker is killed in
        that moment, or will stop: then the client tries again.
        """
        began_s = time.monotonic()
        connection = None
        try:
            connection = self.connect(small_buffer=small_buffer)
            if connection.ask_for_worker():
                return connection
            self.tally.note("connections to a process that was about to stop")
        except NoAnswerError as exc:
            self._note_failed_connection(began_s, exc)
        if connection is not None:
            connection.close()
        return None

    def _note_failed_connection(self, began_s: float, exc: NoAnswerError) -> None:
        if self.tally.killed(None, began_s, time.monotonic()):
            self.tally.note("connections inside a killed process")
        else:
            number = self.tally.begin(kinds.NAMES[0], "new connection")
            self.tally.unanswered(number, None, began_s, f"first request of a connection: {exc}")

    def _make(self, name: str, client: str, rng: random.Random) -> kinds.Request:
        return kinds.KINDS[name].make(self.tally.begin(name, client), rng)

    def _check(self, request: kinds.Request, answer: t.Any, connection: Connection) -> None:
        self.tally.answered(request.number, connection.worker, request.problem(answer))

    def _explain(
        self,
        connection: Connection,
        pending: list[kinds.Request],
        sent_s: float,
        exc: NoAnswerError,
    ) -> None:
        tally = self.tally
        if (
            not exc.begun
            and tally.is_dead(connection.worker)
            and not tally.killed(connection.worker, sent_s, time.monotonic())
        ):
            # The process was killed before the request was sent: no process can have got it.
            tally.note("sent again: the idle connection's process had been killed")
            for request in pending:
                self._send_again(request)
            return
        for request in pending:
            tally.unanswered(request.number, connection.worker, sent_s, str(exc))

    def _send_again(self, request: kinds.Request) -> None:
        self._ask_alone(request)

    def _ask_once(self, name: str, rng: random.Random) -> None:
        self._ask_alone(self._make(name, "new connection", rng))

    def _ask_alone(self, request: kinds.Request) -> None:
        """Send a request on a connection of its own."""
        sent_s = time.monotonic()
        try:
            with contextlib.closing(self.connect()) as connection:
                connection.send(request.raw.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                self._check(request, connection.receive(), connection)
        except NoAnswerError as exc:
            self.tally.unanswered(request.number, None, sent_s, str(exc))

    # --- slow clients -------------------------------------------------------------------------

    def slow(self, rng: random.Random) -> None:
        """Send requests in small parts, or read answers in small parts."""
        while not self.stopping.is_set():
            reads_slowly = rng.random() < 0.5
            connection = self._connect(small_buffer=reads_slowly)
            if connection is None:
                continue
            name = rng.choice(("page of 300 kB", "file of 1 MB")) if reads_slowly else None
            request = self._make(name or kinds.choose(rng), "slow", rng)
            sent_s = time.monotonic()
            try:
                if reads_slowly:
                    connection.send(request.raw)
                else:
                    self._send_slowly(connection, request.raw)
                answer = connection.receive(pause_s=0.02 if reads_slowly else 0.0)
                self._check(request, answer, connection)
            except NoAnswerError as exc:
                self._explain(connection, [request], sent_s, exc)
            connection.close()

    def _send_slowly(self, connection: Connection, data: bytes) -> None:
        step = max(3, len(data) // 25)
        for at in range(0, len(data), step):
            connection.send(data[at : at + step])
            self.stopping.wait(min(SLOW_S / 25, SLOW_S * step / len(data)))

    # --- idle connections ---------------------------------------------------------------------

    def idle(self, rng: random.Random) -> None:
        """Keep many connections open; now and then send a request on one of them."""
        with selectors.DefaultSelector() as selector:
            idle: list[Connection] = []

            def keep(connection: Connection | None) -> None:
                if connection is not None:
                    idle.append(connection)
                    selector.register(connection, selectors.EVENT_READ, connection)

            def take(connection: Connection) -> Connection:
                selector.unregister(connection)
                idle.remove(connection)
                return connection

            while not self.stopping.is_set():
                missing = self.idle_count - len(idle)
                for _ in range(min(missing, OPEN_AT_ONCE)):
                    keep(self._connect())
                if missing and len(idle) == self.idle_count:
                    self.tally.note("times that all idle connections were open")
                for key, _ in selector.select(0):
                    self._note_closed(key.data)
                    take(key.data).close()
                if idle:
                    keep(self._ask(take(rng.choice(idle)), [kinds.choose(rng)], "idle", rng))
                self.stopping.wait(0.05)
            for connection in idle:
                connection.close()

    def _note_closed(self, connection: Connection) -> None:
        if self.tally.is_dead(connection.worker):
            self.tally.note("idle connections closed because their process was killed")
        else:
            self.tally.note("idle connections closed by a living process")

    # --- vanishing clients --------------------------------------------------------------------

    def vanishing(self, rng: random.Random) -> None:
        """Leave in the middle of a request or of its answer, by a reset or an orderly close."""
        while not self.stopping.is_set():
            request = None
            try:
                connection = self.connect()
                request = self._make(kinds.choose(rng), "vanishing", rng)
                raw = request.raw
                connection.send(raw[: rng.randrange(1, len(raw))] if rng.random() < 0.5 else raw)
                time.sleep(rng.choice((0.0, 0.0, 0.001, 0.03)))
                if rng.random() < 0.5:
                    connection.reset()
                else:
                    connection.close()
            except NoAnswerError:
                pass  # the worker of this connection has been killed
            if request is not None:
                self.tally.left(request.number)
            self.stopping.wait(0.05)
