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


class TwoHostsError(ValueError):
    """The request has two Host headers."""


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


class Environs:
    """Makes environs; one for each server."""

    def __init__(self, *, multiprocess: bool) -> None:
        self._always = always(multiprocess=multiprocess)

    def make(self, exchange: Exchange, body: t.Any) -> Environ:
        """The environ of one request, with `body` as its `wsgi.input`.

        Raises:
            TwoHostsError: two readers would not agree on one (RFC 9112, 3.2).
        """
        scope = exchange.scope
        environ = self._always.copy()
        environ["REQUEST_METHOD"] = scope.method
        path = scope.path
        environ["PATH_INFO"] = path if path.isascii() else path.encode().decode("latin-1")
        query = scope.query_string
        environ["QUERY_STRING"] = query if query.isascii() else query.encode().decode("latin-1")
        environ["SERVER_PROTOCOL"] = _PROTOCOLS.get(scope.http_version, "HTTP/1.1")
        environ["wsgi.url_scheme"] = scope.scheme
        environ["wsgi.input"] = body
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = _split(scope.client)
        environ["SERVER_NAME"], environ["SERVER_PORT"] = _split(scope.server)
        for name, value in exchange.headers.items():
            key = _KEYS.get(name) or _key(name)
            if key not in environ:
                environ[key] = value
            else:
                _add(environ, key, value)
        if "HTTP_HOST" not in environ:
            environ["HTTP_HOST"] = scope.authority or ""
        if exchange.outcome is not None:
            environ[OUTCOME] = exchange.outcome
        return environ


def _add(environ: Environ, key: str, value: str) -> None:
    if key == "HTTP_HOST":
        raise TwoHostsError
    if key == "HTTP_COOKIE":
        environ[key] += "; " + value
    elif key != "CONTENT_TYPE":  # the first counts, as in granian's WSGI
        environ[key] += "," + value


def _split(address: str) -> tuple[str, str]:
    host, _, port = address.rpartition(":")
    return (host[1:-1] if host[:1] == "[" else host), port


_PROTOCOLS = {"1": "HTTP/1.0", "1.1": "HTTP/1.1", "2": "HTTP/2", "3": "HTTP/3"}
# PERF: clients send the same dozen names; making one costs 0.3 us, finding it 0.04 us.
_KEYS: dict[str, str] = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}
_MOST_KEYS = 1000
_LONGEST_KEPT = 64


def _key(name: str) -> str:
    key = "HTTP_" + name.upper().replace("-", "_")
    # The names are the clients' to choose, and to fill the memory with.
    if len(_KEYS) < _MOST_KEYS and len(name) <= _LONGEST_KEPT:
        _KEYS[name] = key
    return key
