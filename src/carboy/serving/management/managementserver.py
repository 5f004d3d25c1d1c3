"""The HTTP server of the supervisor, for probes, metrics and control requests. It is separate from
the server of the app, so that it answers while every thread of every worker is busy.

HTTP is that of Python's standard library, with one short-lived thread per connection, because there
are few clients, all of them on this machine or in its private network.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import threading
import time
import typing as t
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from ...access.localhost import find_danger
from ...core.masking import mask_text
from ...errors import ControlRequestError
from .. import log

if t.TYPE_CHECKING:
    import collections.abc as cabc

SERVER_NAME = "carboy"
JSON = "application/json"
# How long a client may take to send its request, or to read the response.
CLIENT_S = 5.0
# How many clients are answered at the same time. For one more, the oldest is disconnected, so that
# clients that send nothing cannot keep a probe away.
MAX_CLIENTS = 64
# The pause after a connection could not be accepted because file descriptors have run out.
EXHAUSTED_S = 0.1
MAX_BODY_BYTES = 64 * 1024


class Page(t.NamedTuple):
    """A response of the management server."""

    status: int
    body: bytes
    content_type: str = JSON


#: Returns the response to a GET.
PageFunction = t.Callable[[], Page]
#: Does a control request: takes its arguments, and returns a value for JSON. Raises
#: ControlRequestError.
Command = t.Callable[[dict[str, t.Any]], object]


def json_page(status: int, content: object) -> Page:
    return Page(status, json.dumps(content).encode() + b"\n")


class ManagementServer:
    """Answers requests on one listening socket, on threads of its own.

    Args:
        listener: the listening socket; its owner closes it after `stop`.
        pages: the functions that answer GET, by URL path.
        commands: the functions that do control requests (POST), by URL path. Only for a socket to
            which nobody but the server's user can connect.
    """

    def __init__(
        self,
        listener: socket.socket,
        pages: cabc.Mapping[str, PageFunction],
        commands: cabc.Mapping[str, Command] | None = None,
    ) -> None:
        self.pages = pages
        self.commands = commands or {}
        self._listener = listener
        self._wakeup, self._waker = socket.socketpair()
        self._lock = threading.Lock()
        self._clients: dict[socket.socket, None] = {}  # in the order of their arrival
        self._thread = threading.Thread(
            target=self._accept_all, name="carboy-management", daemon=True
        )

    def start(self) -> None:
        """Answer requests until `stop` is called. Returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Accept no more connections. Responses that have begun are finished."""
        self._waker.close()
        self._thread.join()
        self._wakeup.close()

    def _accept_all(self) -> None:
        self._listener.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wakeup, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._wakeup in ready:
                    return
                self._accept()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
            client.settimeout(CLIENT_S)
            self._register(client)
            threading.Thread(
                target=self._answer, args=(client,), name="carboy-management-client", daemon=True
            ).start()
        except OSError:  # the client has left, or file descriptors have run out
            time.sleep(EXHAUSTED_S)
        except RuntimeError:  # the system starts no more threads
            self._forget(client)

    def _register(self, client: socket.socket) -> None:
        with self._lock:
            if len(self._clients) >= MAX_CLIENTS:
                _disconnect(next(iter(self._clients)))
            self._clients[client] = None

    def _forget(self, client: socket.socket) -> None:
        with self._lock:
            del self._clients[client]
        _disconnect(client)
        client.close()

    def _answer(self, client: socket.socket) -> None:
        try:
            _ManagementHandler(client, ("", 0), t.cast("t.Any", self))
        except OSError:
            pass  # the client has left, or takes too long
        except Exception:  # noqa: BLE001  # the server must go on
            log.logger.exception("error while answering a request for the server's management")
        finally:
            self._forget(client)


def _disconnect(client: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the client has left
        client.shutdown(socket.SHUT_RDWR)


class _ManagementHandler(BaseHTTPRequestHandler):
    """Answers the request of one client."""

    timeout = CLIENT_S
    server: t.Any  # a `ManagementServer`

    def do_GET(self) -> None:
        if self._may_be_of_a_page():
            self._send(json_page(403, {"error": "the Host header has a foreign name"}))
            return
        page = self.server.pages.get(self._path)
        self._send(self._not_found() if page is None else self._made(page))

    def _made(self, page: PageFunction) -> Page:
        try:
            return page()
        except Exception:  # noqa: BLE001  # who asks for a page must get an answer
            log.logger.exception("error while making the page %s", self._path)
            return json_page(500, {"error": "the server cannot make this page; see its log"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _may_be_of_a_page(self) -> bool:
        """Return whether a web page may have caused the request, by a foreign name that leads to
        this machine (DNS rebinding).
        """
        here, peer = self.connection.getsockname(), self.connection.getpeername()
        if not isinstance(here, tuple):  # a Unix socket, to which no browser connects
            return False
        environ = {
            "HTTP_HOST": self.headers.get("Host"),
            "REMOTE_ADDR": peer[0],
            "REQUEST_METHOD": self.command,
            "SERVER_PORT": str(here[1]),
        }
        return find_danger(environ) is not None

    def do_POST(self) -> None:
        command = self.server.commands.get(self._path)
        self._send(self._not_found() if command is None else self._do(command))

    def _do(self, command: Command) -> Page:
        try:
            return self._call(command, self._arguments())
        except ControlRequestError as exc:
            return json_page(409, {"error": mask_text(str(exc))})

    def _call(self, command: Command, arguments: dict[str, t.Any]) -> Page:
        try:
            return json_page(200, command(arguments))
        except ControlRequestError:
            raise
        except Exception as exc:  # noqa: BLE001  # the user of `carboy ctl` needs the reason
            log.logger.exception("error while doing the control request %s", self._path)
            return json_page(500, {"error": mask_text(f"{type(exc).__name__}: {exc}")})

    @property
    def _path(self) -> str:
        return urlsplit(self.path).path

    def _arguments(self) -> dict[str, t.Any]:
        length = self.headers.get("Content-Length", "")
        # Python converts no number of more than 4300 digits.
        if not length.isdecimal() or len(length) > 20 or int(length) > MAX_BODY_BYTES:
            raise ControlRequestError(
                f"a control request needs a body of at most {MAX_BODY_BYTES} bytes, with its"
                " Content-Length"
            )
        try:
            arguments = json.loads(self.rfile.read(int(length)) or b"{}")
        except ValueError:
            raise ControlRequestError("the body of a control request must be JSON") from None
        if not isinstance(arguments, dict):
            raise ControlRequestError("the body of a control request must be a JSON object")
        return arguments

    def _not_found(self) -> Page:
        known = [*self.server.pages, *self.server.commands]
        return json_page(
            404, {"error": f"there is no {self.command} {self._path}", "paths": sorted(known)}
        )

    def _send(self, page: Page) -> None:
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    def version_string(self) -> str:
        return SERVER_NAME

    def log_message(self, format: str, *args: object) -> None:
        """Log no requests: probes would fill the log."""
