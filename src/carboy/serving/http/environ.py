"""The head of a request as PEP 3333 wants it. Source: https://peps.python.org/pep-3333/

It holds the request, and nothing of the process environment, in which the secrets are.
"""

from __future__ import annotations

import sys
import typing as t

from carboy.models.ways import OUTCOME

if t.TYPE_CHECKING:
    from .exchange import Exchange

Environ = dict[str, t.Any]


def always(*, multiprocess: bool) -> Environ:
    """What stands in each environ of a server."""
    return {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SCRIPT_NAME": "",
        "SERVER_SOFTWARE": "carboy",
        "wsgi.version": (1, 0),
        "wsgi.errors": sys.stderr,
        "wsgi.input_terminated": True,
        "wsgi.multithread": True,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
    }


def environ_of(exchange: Exchange, body: t.Any) -> Environ:
    """The environ of one request, with `body` as its `wsgi.input`."""
    environ = {**exchange.connection.environ, **exchange.headers}
    environ["REQUEST_METHOD"] = exchange.method
    environ["PATH_INFO"] = exchange.path
    environ["QUERY_STRING"] = exchange.query
    environ["SERVER_PROTOCOL"] = exchange.version
    environ["wsgi.input"] = body
    if "HTTP_HOST" not in environ:  # HTTP/1.0
        environ["HTTP_HOST"] = ""
    if exchange.outcome is not None:
        environ[OUTCOME] = exchange.outcome
    return environ
