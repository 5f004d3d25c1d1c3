"""Build the WSGI environ of a request. Source: https://peps.python.org/pep-3333/

The environ contains no environment variables of the process, because those may be secrets.
"""

from __future__ import annotations

import sys
import typing as t

from carboy.observability.environkeys import ADDRESSES, RECEIVED, REQUEST_ID

if t.TYPE_CHECKING:
    from .exchange import Exchange

Environ = dict[str, t.Any]
# The key under which an application finds the socket of a client that asks for a WebSocket.
# Werkzeug's server offers it there, and libraries such as simple-websocket look for it.
SOCKET = "werkzeug.socket"


def base_environ(*, multiprocess: bool) -> Environ:
    """Return the WSGI environ entries that are the same for all requests to a server."""
    return {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SCRIPT_NAME": "",
        "SERVER_SOFTWARE": "carboy",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.input_terminated": True,
        "wsgi.multithread": True,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
    }


def environ_of(exchange: Exchange, body: t.Any) -> Environ:
    """Return the WSGI environ of one request, with `body` as its `wsgi.input`."""
    environ = {**exchange.transport.environ, **exchange.headers}
    environ["REQUEST_METHOD"] = exchange.method
    environ["PATH_INFO"] = exchange.path
    environ["QUERY_STRING"] = exchange.query
    environ["SERVER_PROTOCOL"] = exchange.version
    environ["wsgi.input"] = body
    environ[REQUEST_ID] = exchange.request_id
    if exchange.origin:
        environ[RECEIVED] = {name: environ.get(name) for name in ADDRESSES}
        environ.update(exchange.origin)
    if exchange.extra is not None:
        environ.update(exchange.extra)
    return environ
