"""The adapter to granian 2.8, the server for applications without models.

granian reads and writes HTTP on native threads and calls a WSGI application on threads of its own,
one for each request: the quickest way for views, since Python only runs the application.
`granian.Granian` would also start and watch processes, and give up when a worker dies twice within
seconds; carboy does that itself (`process.supervisor`). Compared with granian's own gateway:

* the environ holds the request, and nothing of the process environment, where the secrets are;
* bodies are bounded, and a response made before the body was read reaches the client: closing a
  connection on which bytes wait makes the server's system drop the response (RFC 9112, 9.6);
* while the server drains, each response tells its client to connect anew next time;
* one thread at a time handles requests, until it may block (`threads.leader`).

granian's input object is wrapped: its `readline` stops at the first line, its `read(-1)` is an
error, and the end of a connection looks like the end of a body. granian's listening socket can only
be found among the descriptors of the process.
"""

from __future__ import annotations

import io
import logging
import os
import socket
import stat
import sys
import threading
import time
import typing as t
from functools import partial

from ..http.environ import base_environ
from ..http.exchange import CLOSE, TEXT
from ..http.limits import body_too_large, plain_text
from ..http.listener import enable_keepalive, refuse_new
from ..log import logger, write_to_stderr
from ..threads.leader import LeaderFollowers, PoolThread
from ..threads.timing import TimingTable
from .body import EMPTY, ChunkedBody, SizedBody
from .driver import INTERNAL_ERROR, Result, status_code

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from _typeshed.wsgi import WSGIApplication

    from ..http.exchange import Headers
    from ..http.limits import Limits
    from .body import InputStream

# Methods that have no body unless a header says so.
_WITHOUT_BODY = frozenset({"GET", "HEAD"})
# The part of the threads that may wait for clients that still send. When all of these do, further
# clients may see a reset connection instead of their response, and the other threads go on serving.
LINGER_PART = 4
# How long granian keeps an idle thread: ten years, because the leading thread must not end.
_FOREVER_S = 315_360_000
# Source: RFC 9112, 3.2
_TWO_HOSTS = "The request has two Host headers."


# --- the server ----------------------------------------------------------------------------------


class GranianServer:
    """Serves an application without models until it is stopped.

    Args:
        host: an address, of IPv4 or IPv6.
        port: the port, which may be shared with other processes.
        app: the application, called on one of `threads` threads.
        threads: how many views may run at the same time.
        limits: what clients may do.
        multiprocess: whether other processes serve the same application.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        app: WSGIApplication,
        threads: int,
        limits: Limits,
        multiprocess: bool,
    ) -> None:
        self._host, self._port = host, port
        self._threads = threads
        self._limits = limits
        self._pool = GranianThreads()
        self._gateway = GranianGateway(
            app, limits=limits, threads=threads, multiprocess=multiprocess, pool=self._pool
        )
        self._drained = threading.Event()

    @property
    def draining(self) -> bool:
        return self._gateway.draining

    @draining.setter
    def draining(self, draining: bool) -> None:
        self._gateway.draining = draining

    def start(self) -> None:
        """Listen. On return the system accepts connections.

        Raises:
            OSError: the address cannot be listened on.
        """
        from granian import _granian as native
        from granian.http import HTTP1Settings

        limits = self._limits
        write_to_stderr("_granian", logging.WARNING)
        # The type stubs of granian have older signatures than its code.
        make_worker: t.Any = native.WSGIWorker
        make_scheduler: t.Any = native.CallbackScheduler
        worker = make_worker(
            worker_id=1,
            sock=(native.ListenerSpec(self._host, self._port, limits.backlog), None),
            ipc=None,
            threads=1,
            # This limits granian's open connections, including idle ones; further clients wait.
            backpressure=limits.connections,
            py_threads=self._threads,
            py_threads_idle_timeout=_FOREVER_S,
            http_mode="1",
            # The time to read a head is also the time that a connection may be idle.
            http1_opts=HTTP1Settings(header_read_timeout=int(limits.keep_alive_s * 1000)),
        )
        # PERF: saves 1 us if one thread does everything anyway.
        wsgi: t.Any = self._gateway.answer
        if self._threads > 1:
            wsgi = partial(self._pool.lead, self._gateway)
        loop = _DirectLoop()
        scheduler = make_scheduler(loop, wsgi, None, None, None)
        self._signal = native.WorkerSignal()
        self._signal.add_cb(self._drained.set)
        self._kept = (worker, loop, scheduler)
        self._pool.monitor.start()
        try:
            worker.serve_mtr(scheduler, loop, self._signal)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:  # noqa: BLE001  # a panic in Rust is no Exception
            self._pool.monitor.stop()
            raise OSError(f"granian cannot listen on {self._host}:{self._port}: {exc}") from None
        notice_vanished_clients(self._port)

    def call(self, work: cabc.Callable[[], object]) -> None:
        """Call `work` on the calling thread, because granian's threads cannot be woken.

        The supervisor thus learns only that the process can run Python code.
        """
        work()

    def refuse_new(self) -> bool:
        """Prevent new connections; returns False if the system cannot do that."""
        return stop_new_connections(self._port)

    def stop(self) -> None:
        """Accept nothing more, and finish what was accepted. Returns at once."""
        self._signal.set()

    def wait(self) -> None:
        """Return when the last response is sent. Signals are handled meanwhile."""
        while not self._drained.wait(3600):
            pass
        # NOTE: the parked threads stay: granian aborts the process when one returns after its end.
        self._pool.monitor.stop()


class _DirectLoop:
    """Replaces the event loop that granian expects: runs calls at once, on the calling thread."""

    def call_soon(
        self, callback: cabc.Callable[..., object], *args: t.Any, context: t.Any = None
    ) -> None:
        callback(*args)

    call_soon_threadsafe = call_soon


# --- its threads ---------------------------------------------------------------------------------


class GranianThread(PoolThread):
    """A thread that granian has started.

    Attributes:
        returns: whether the thread must return to granian before it may be parked.
    """

    __slots__ = ("returns",)

    def __init__(self) -> None:
        super().__init__()
        self.returns = False


class GranianThreads(LeaderFollowers):
    """granian's threads. Each takes the next event when it has returned from the last one.

    A thread that joins never leaves: granian must keep its threads.
    """

    thread_class = GranianThread

    def lead(self, work: cabc.Callable[..., object], *args: t.Any) -> None:
        """Handle an event, then park the calling thread inside it while another leads."""
        me = t.cast("GranianThread", self.current() or self.join())
        if me.at_work:  # a nested event: parking would block the outer one
            work(*args)
            return
        me.turns += 1
        me.returns = False
        me.at_work = True
        if self.monitor.asleep:
            self.monitor.wake()
        try:
            work(*args)
        except BaseException:
            me.returns = True  # otherwise granian would not get the exception
            raise
        finally:
            me.at_work = False
            if me.stepped_aside or self._leading > 1:
                self.finish(me, parks=not me.returns)

    def must_return(self) -> None:
        """Record that granian ends a body or response only when the calling thread returns."""
        me = self.current()
        if me is not None:
            t.cast("GranianThread", me).returns = True


# --- its requests --------------------------------------------------------------------------------


class GranianProtocol(t.Protocol):
    """The object that granian hands over for the response."""

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None: ...

    def response_iter(self, status: int, headers: Headers, body: t.Any) -> None: ...


class GranianGateway:
    """The callable that granian calls with each request.

    It has few layers: `bench/serve.py` compares it with a bare callable on granian's own server.

    Attributes:
        draining: True makes responses ask clients to open a new connection. Set once.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        limits: Limits,
        threads: int,
        multiprocess: bool,
        pool: GranianThreads,
    ) -> None:
        self.app = app
        self.draining = False
        self._limits = limits
        self._environ = base_environ(multiprocess=multiprocess)
        self._bodyless = {**self._environ, "wsgi.input": EMPTY}
        self._timings = TimingTable(app)
        self._pool = pool
        self._lingering = threading.BoundedSemaphore(max(1, threads // LINGER_PART))

    def __call__(self, proto: GranianProtocol, environ: dict[str, t.Any]) -> None:
        view = self._timings.of(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        self._pool.run_view(view, self.answer, proto, environ)

    def answer(self, proto: GranianProtocol, environ: dict[str, t.Any]) -> None:
        """Answer a request on the calling thread."""
        body: InputStream | None = None
        if (
            environ["REQUEST_METHOD"] not in _WITHOUT_BODY
            or "CONTENT_LENGTH" in environ
            or "HTTP_TRANSFER_ENCODING" in environ
        ):
            body = self._open_body(environ)
            if body is None:
                self._refuse_length(proto, environ)
                return
            environ.update(self._environ)
        else:
            # PERF: the dict is granian's, made for this request; adding ten keys to it takes 0.2
            # us, merging the process environment and the request into a third one 1 us and more.
            environ.update(self._bodyless)
        if environ["SERVER_PROTOCOL"] == "HTTP/1":  # granian means 1.0
            environ["SERVER_PROTOCOL"] = "HTTP/1.0"
        host = environ["HTTP_HOST"]
        if not host:  # granian's way to say that an HTTP/1.0 request has none
            del environ["HTTP_HOST"]
        if "," in host:  # two headers, which servers may read differently
            text = plain_text("400 Bad Request", _TWO_HOSTS)
            proto.response_bytes(400, [TEXT, CLOSE], text)
        else:
            self._call_app(proto, environ, body)
        if body is not None and not body.done:
            self._let_client_finish(body, environ)

    def _call_app(
        self, proto: GranianProtocol, environ: dict[str, t.Any], body: InputStream | None
    ) -> None:
        try:
            result = Result(self.app, environ, self._limits.joined_response_bytes)
            code, headers = status_code(result.status), result.headers
        except BaseException:  # noqa: BLE001  # a view's SystemExit must not end the thread
            logger.exception(
                "error while answering %s %s", environ["REQUEST_METHOD"], environ["PATH_INFO"]
            )
            proto.response_bytes(500, [TEXT, CLOSE], INTERNAL_ERROR)
            return
        if self.draining or (
            body is not None and not body.done and not self._is_rest_small(body, environ)
        ):
            headers = [*headers, CLOSE]
        if result.body is not None and result.on_close is None:  # PERF: usual; saves 0.1 us
            proto.response_bytes(code, headers, result.body)
            return
        if result.body is None:
            proto.response_iter(code, headers, result)
            return
        try:
            proto.response_bytes(code, headers, result.body)
        finally:
            result.close()

    def _open_body(self, environ: dict[str, t.Any]) -> InputStream | None:
        """Put the body into the environ; returns its stream, or None if it will be too long.

        The stream is `done` if no more of the body will arrive.
        """
        limits = self._limits
        read = environ["wsgi.input"].read
        announced = environ.get("CONTENT_LENGTH")
        if announced is None:
            environ["wsgi.input"] = chunked = ChunkedBody(read, limits.body_bytes)
            return chunked
        length = int(announced)
        if limits.body_bytes is not None and length > limits.body_bytes:
            return None
        if length > limits.buffered_body_bytes or "HTTP_EXPECT" in environ:
            environ["wsgi.input"] = sized = SizedBody(read, length)
            return sized
        # PERF: what has come with the head is read faster by C code than by SizedBody, which is
        # needed only to tell the application that a body was cut short.
        data = read(length)
        whole = io.BytesIO(data)
        environ["wsgi.input"] = whole if len(data) == length else SizedBody(whole.read, length)
        return EMPTY

    def _refuse_length(self, proto: GranianProtocol, environ: dict[str, t.Any]) -> None:
        length = int(environ["CONTENT_LENGTH"])
        text = body_too_large(length, self._limits.body_bytes, "this server")
        proto.response_bytes(413, [TEXT, CLOSE], plain_text("413 Content Too Large", text))
        self._let_client_finish(ChunkedBody(environ["wsgi.input"].read, None), environ)

    def _let_client_finish(self, body: InputStream, environ: dict[str, t.Any]) -> None:
        """Read what the client still sends, so that the client then reads the response."""
        self._pool.must_return()  # the body ends when this thread returns to granian
        if "HTTP_EXPECT" in environ and not body.begun():
            return  # the client waits for "100 Continue"; it gets the response
        if self._is_rest_small(body, environ):
            while body.skip():
                pass
        elif self._lingering.acquire(blocking=False):
            # NOTE: read on this thread, because granian ends the body when this call returns.
            try:
                until_s = time.monotonic() + self._limits.linger_s
                while time.monotonic() < until_s and body.skip():
                    pass
            finally:
                self._lingering.release()

    def _is_rest_small(self, body: InputStream | None, environ: dict[str, t.Any]) -> bool:
        return (
            isinstance(body, SizedBody)
            and body.left <= self._limits.discarded_body_bytes
            and "HTTP_EXPECT" not in environ
        )


# --- its listening sockets -----------------------------------------------------------------------


def stop_new_connections(port: int) -> bool:
    """Prevent new connections to this process's listening sockets at a port.

    The sockets stay open, so that clients in the backlog can be accepted.

    Returns:
        Whether the system can do that.
    """
    found = False
    for fd in _listening(port):
        with socket.fromfd(fd, socket.AF_INET, socket.SOCK_STREAM) as listener:
            found = refuse_new(listener) or found
    return found


def notice_vanished_clients(port: int) -> None:
    """Enable TCP keepalive on this process's listening sockets at a port.

    Otherwise a client that vanishes while it sends a body would occupy a thread for ever. On Linux,
    connections inherit these settings from their listening socket.
    """
    for fd in _listening(port):
        with socket.fromfd(fd, socket.AF_INET, socket.SOCK_STREAM) as listener:
            enable_keepalive(listener)


def _listening(port: int) -> list[int]:
    if sys.platform != "linux":
        return []
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            # `fromfd` copies any descriptor, and would leave the copy of a pipe open.
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            with socket.fromfd(int(name), socket.AF_INET, socket.SOCK_STREAM) as candidate:
                listens = candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                if listens and candidate.getsockname()[1] == port:
                    found.append(int(name))
        except OSError:
            continue  # No socket, or closed meanwhile.
    return found
