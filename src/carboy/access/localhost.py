"""Protect a service on this machine from the web pages that its users visit.

A browser lets a page of any site send requests to `http://localhost:8000`. The page cannot read the
responses, but a POST has its effect (cross-site request forgery). If the page is at a name that its
owner lets lead to 127.0.0.1 after it was loaded (DNS rebinding), the browser takes page and service
for one site, and the page can read the responses as well.

Source: https://w3c.github.io/webappsec-fetch-metadata/ (Sec-Fetch-Site), RFC 6454 (Origin)
"""

from __future__ import annotations

import enum
import typing as t
from functools import lru_cache

from ..observability.environkeys import RECEIVED
from .webaddresses import host_of_origin, is_this_machine, may_be_rebound, split_host

if t.TYPE_CHECKING:
    import collections.abc as cabc

# Methods that change nothing (RFC 9110, section 9.2.1).
_SAFE_METHODS: t.Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
# The values of Sec-Fetch-Site that no page of a foreign site can cause: "same-site" is another port
# of this machine, and "none" the user, who has typed the URL.
_OWN_SITES: t.Final = frozenset(("same-origin", "same-site", "none"))

# The addresses from which a browser connects to a loopback address of its machine. Others, such as
# 127.0.0.6, are those of proxies in containers (Istio).
_PEERS: t.Final = frozenset(("127.0.0.1", "::1", "::ffff:127.0.0.1"))

_HEADERS_OF_PROXIES: t.Final = (
    *("HTTP_FORWARDED", "HTTP_VIA", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST"),
    *("HTTP_X_FORWARDED_PROTO", "HTTP_X_REAL_IP"),
)


# The key under which the middleware ProxyFix keeps what it replaces.
_BEFORE_PROXY_FIX: t.Final = "werkzeug.proxy_fix.orig"


class Danger(enum.Enum):
    """Why a request may come from a page of a foreign site."""

    CROSS_SITE = "cross-site"
    REBOUND = "rebound"


def find_danger(environ: cabc.Mapping[str, t.Any]) -> Danger | None:
    """Return why a request may come from a page of a foreign site; None if nothing speaks for it.

    PERF: this function is called for each request: 0.15 us if nothing speaks for it.

    Args:
        environ: the WSGI environ of the request.
    """
    is_here, foreign_port = _examine(environ.get("HTTP_HOST"))
    received = environ
    # PERF: most requests have not come through a proxy, and need no call.
    if RECEIVED in environ or _BEFORE_PROXY_FIX in environ:
        received = as_received(environ)
        foreign_port = _examine(received.get("HTTP_HOST"))[1]
    # If the Host header has the port of this server, no proxy is in between: the name leads the
    # client to this machine. (A proxy on the same machine has another port, because this one is
    # taken. The default ports are left out: a proxy that listens on port 443 may connect to port
    # 80, and pass on a Host header without a port.)
    if (
        foreign_port
        and foreign_port == received["SERVER_PORT"]
        and received.get("REMOTE_ADDR") in _PEERS
    ):
        return Danger.REBOUND
    if is_here and (environ["REQUEST_METHOD"] not in _SAFE_METHODS or "HTTP_UPGRADE" in environ):
        is_dangerous = (
            is_cross_site(environ)
            and not _is_of_this_machine(environ.get("HTTP_ORIGIN"))
            and not _is_forwarded(environ)
        )
        return Danger.CROSS_SITE if is_dangerous else None
    return None


def as_received(environ: cabc.Mapping[str, t.Any]) -> cabc.Mapping[str, t.Any]:
    """Return the host, the port and the client's address as they were before headers of proxies
    replaced them. After DNS rebinding, a page can send such headers.
    """
    return environ.get(RECEIVED) or environ.get(_BEFORE_PROXY_FIX) or environ


@lru_cache(maxsize=256)
def _examine(host: str | None) -> tuple[bool, str]:
    """Return whether a Host header always means this machine; and if a stranger may own its name,
    its port. The port is empty if the header has none.
    """
    parts = None if host is None else split_host(host)
    if parts is None:
        return False, ""
    name, port = parts
    return is_this_machine(name), port if may_be_rebound(name) else ""


def is_cross_site(environ: cabc.Mapping[str, t.Any]) -> bool:
    """Return whether the browser says that a page of another site has caused a request. False for
    clients that are no browsers.

    Args:
        environ: the WSGI environ of the request, whose method is not GET or HEAD.
    """
    site: str | None = environ.get("HTTP_SEC_FETCH_SITE")
    if site is not None:
        return site not in _OWN_SITES
    # Older browsers, and all browsers if the site has no TLS, send an Origin header alone.
    origin: str | None = environ.get("HTTP_ORIGIN")
    return origin is not None and host_of_origin(origin) != environ.get("HTTP_HOST")


def _is_forwarded(environ: cabc.Mapping[str, t.Any]) -> bool:
    """Return whether a request has come through a proxy, which passes on its own host in place of
    that of the website, as nginx and Apache do by default.

    A page cannot make this up: browsers use HTTP/1.1 or newer, let no page set Connection, and send
    the other headers of a page to another site only after a preflight request.
    """
    protocol = environ.get("SERVER_PROTOCOL")
    if protocol == "HTTP/1.0" or any(name in environ for name in _HEADERS_OF_PROXIES):
        return True
    # By HTTP/1.1, browsers ask to keep the connection, except for a WebSocket. Proxies send a
    # Connection header of their own: nginx none, "close" or "upgrade". (HTTP/2 has no such header.)
    if protocol != "HTTP/1.1" or "HTTP_UPGRADE" in environ:
        return False
    return "keep-alive" not in environ.get("HTTP_CONNECTION", "").lower()


@lru_cache(maxsize=256)
def _is_of_this_machine(origin: str | None) -> bool:
    """Return whether an origin is that of pages that a program on this machine serves. Its port may
    differ from ours, and its name: http://127.0.0.1:3000 for http://localhost:8000.
    """
    host = None if origin is None else host_of_origin(origin)
    parts = None if host is None else split_host(host)
    return parts is not None and is_this_machine(parts[0])
