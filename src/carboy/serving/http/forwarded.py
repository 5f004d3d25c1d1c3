"""Find out what trusted proxies say about the client of a request.

Behind a proxy, the connection comes from the proxy, so the proxy writes the client's address, and
the scheme and host that the client used, into headers. Anybody can send such headers. So only those
of a trusted proxy count, and of a list to which each proxy appends a value, only the last values:
those that trusted proxies have written.

    X-Forwarded-For: made up, 203.0.113.9, 10.0.0.2     <- the client's own text, then two values
                              |            |
        the outer proxy wrote its client --'            '-- the inner proxy wrote its client

The values are read from the right, and a comma always separates two of them, even inside of a
quoted string: otherwise a client could send a quotation mark, and make the proxies' values a part
of its own. Source: RFC 7239, RFC 9110 (5.3)
"""

from __future__ import annotations

import re
import typing as t
from functools import lru_cache
from ipaddress import ip_address, ip_network

from ..declaration import MAX_PROXIES
from .parser import is_host

if t.TYPE_CHECKING:
    import collections.abc as cabc

    Values = list[str]

# The longest value that may be an address, or an element of Forwarded. Longer values are not put
# into the caches below, whose size is limited by the number of entries.
_MAX_NODE, _MAX_ELEMENT = 64, 512
_CACHED = 1024


class ForwardedError(ValueError):
    """A value that a trusted proxy has written cannot be used; the text is the reason."""


class ForwardedAddress(t.NamedTuple):
    """The address of a client or proxy, and its port; "0" if the port is not known."""

    address: str
    port: str


class TrustedProxies:
    """Which proxies are trusted, and which of the headers that they send.

    Args:
        proxies: the number of proxies, such as "2", or their addresses and networks, such as
            "10.0.0.0/8,192.0.2.1". With a number, whoever connects to the server is trusted.
        headers: "for", "proto", "host", "port" and "prefix" for the headers X-Forwarded-*, or
            "forwarded" for the header Forwarded, separated by commas.
    """

    def __init__(self, proxies: str, headers: str) -> None:
        self._hops = int(proxies) if proxies.isdecimal() else 0
        self._networks = [] if self._hops else [ip_network(each) for each in proxies.split(",")]
        names = headers.split(",")
        self._reads_forwarded = "forwarded" in names
        self._keys = {
            name: f"HTTP_X_FORWARDED_{name.upper()}"
            for name in ("for", *_SETTERS)  # "host" before "port", which is added to the host
            if name in names
        }
        # The result depends on the address alone, and few proxies ask for all clients.
        self._trusts = lru_cache(_CACHED)(self._is_in_networks)

    def origin(self, headers: cabc.Mapping[str, str], peer: str) -> dict[str, str]:
        """Return the WSGI environ entries that the headers of trusted proxies change; none if the
        connection does not come from one.

        Args:
            headers: the request headers by their WSGI names.
            peer: the address that the connection comes from.

        Raises:
            ForwardedError: a proxy has written a scheme, host, port or prefix that is not valid.
        """
        if not (self._hops or self._trusts(peer)):
            return {}
        lists = self._read(headers)
        clients = lists.pop("for", [])
        hops = self._hops or self._count_hops(clients)
        found: dict[str, str] = {}
        for value in clients[-hops:]:
            # A proxy may write `unknown` or a made-up name instead of an address (RFC 7239, 6.2):
            # then the next proxy's client is the nearest that is known.
            if (node := parse_node(value)) is not None:
                found["REMOTE_ADDR"], found["REMOTE_PORT"] = node
                break
        # If a proxy has replaced the header instead of appending to it, there are fewer values than
        # proxies, and trusted proxies have written all of them.
        for name, values in lists.items():
            if value := next(filter(None, values[-hops:]), ""):
                _SETTERS[name](found, value, headers)
        return found

    def _read(self, headers: cabc.Mapping[str, str]) -> dict[str, Values]:
        """Return the last values of each trusted header, in their order."""
        lists: dict[str, Values] = {}
        if self._reads_forwarded and (text := headers.get("HTTP_FORWARDED")):
            elements = [parse_element(each) for each in split_list(text)]
            for name in ("for", "proto", "host"):
                lists[name] = [element.get(name, "") for element in elements]
        for name, key in self._keys.items():
            if text := headers.get(key):
                lists[name] = split_list(text)
        return lists

    def _count_hops(self, clients: Values) -> int:
        """Return how many of the last values were written by trusted proxies: the last one, and
        each value whose right neighbour is the address of a trusted proxy.
        """
        for hops, value in enumerate(reversed(clients), 1):
            node = parse_node(value)
            if node is None or not self._trusts(node.address):
                return hops
        return len(clients) or 1

    def _is_in_networks(self, text: str) -> bool:
        # An address of a link has a zone, such as `fe80::1%eth0`.
        address = ip_address(text.partition("%")[0])
        return any(address in network for network in self._networks)


def split_list(text: str) -> Values:
    """Return the last values of a list that are not empty: at most `MAX_PROXIES`, so that a list of
    any length takes the same time.
    """
    if "," not in text:  # PERF: most requests come through one proxy
        return [text]
    parts = text.rsplit(",", MAX_PROXIES)[-MAX_PROXIES:]
    return [value for part in parts if (value := part.strip(" \t"))]


# ----------------------------------------------------------------------------------- addresses

# An address with an optional port (RFC 7239, 6). A port may be a made-up name, too. An IPv6 address
# without a port needs no brackets in X-Forwarded-For.
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(?:([0-9]{1,5})|_[\w.-]+))?", re.ASCII)


def parse_node(text: str) -> ForwardedAddress | None:
    """Return the address that a proxy has written; None if it is none."""
    return _parse_node(text) if len(text) <= _MAX_NODE else None


@lru_cache(_CACHED)
def _parse_node(text: str) -> ForwardedAddress | None:
    match = _NODE.fullmatch(text)
    host, port = (match[1] or match[2], match[3]) if match else (text, None)
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if address.version == 6:
        if address.scope_id is not None:
            return None
        address = address.ipv4_mapped or address
    return ForwardedAddress(str(address), port or "0")


# ----------------------------------------------------------------------------------- Forwarded

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# A value without quotation marks should be a token, but proxies write `for=192.0.2.1:80`, too.
_PAIR = rf'[ \t]*({_NAME})=("(?:[^"\\]|\\.)*"|[^\s;"]+)[ \t]*'
_PAIRS = re.compile(_PAIR)
_ELEMENT = re.compile(rf"(?:{_PAIR})?(?:;(?:{_PAIR})?)*")


def parse_element(text: str) -> cabc.Mapping[str, str]:
    """Return the parameters of one element of the header Forwarded, such as `for=192.0.2.1;
    proto=https`; none if the element is not valid.
    """
    return _parse_element(text) if len(text) <= _MAX_ELEMENT else {}


@lru_cache(_CACHED)
def _parse_element(text: str) -> cabc.Mapping[str, str]:
    if _ELEMENT.fullmatch(text) is None:
        return {}
    pairs = [(name.lower(), _unquote(value)) for name, value in _PAIRS.findall(text)]
    found = dict(pairs)
    return found if len(found) == len(pairs) else {}  # a name occurs once only (RFC 7239, 4)


def _unquote(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value[:1] == '"' else value


# ------------------------------------------------------------------ from a value to the environ

Found = dict[str, str]
Sent = t.Mapping[str, str]

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
# A prefix is a path without an empty segment, because `//host` would be the address of another
# server in a link or redirect, and without `.` and `..`, which browsers resolve.
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[\w.~!$&'()*+,;=:@-]+)+/?|/", re.ASCII)


def _set_scheme(found: Found, value: str, sent: Sent) -> None:
    scheme = _SCHEMES.get(value) or _SCHEMES.get(value.lower())
    if scheme is None:
        raise ForwardedError("the forwarded scheme is neither http nor https")
    found["wsgi.url_scheme"] = scheme


def _set_host(found: Found, value: str, sent: Sent) -> None:
    if not is_host(value):
        raise ForwardedError("the forwarded host is not valid")
    found["HTTP_HOST"] = value
    found["SERVER_NAME"], port = _split_port(value)
    if port:
        found["SERVER_PORT"] = port


def _set_port(found: Found, value: str, sent: Sent) -> None:
    if not (value.isdecimal() and value.isascii() and len(value) <= 5 and 0 < int(value) < 65536):
        raise ForwardedError("the forwarded port is not valid")
    host = found.get("HTTP_HOST") or sent.get("HTTP_HOST")
    if host:
        found["HTTP_HOST"] = f"{_split_port(host)[0]}:{value}"
    found["SERVER_PORT"] = value


def _split_port(host: str) -> tuple[str, str]:
    name, colon, port = host.rpartition(":")
    return (name, port) if colon and not host.endswith("]") else (host, "")


def _set_prefix(found: Found, value: str, sent: Sent) -> None:
    if _PREFIX.fullmatch(value) is None:
        raise ForwardedError("the forwarded prefix is not a path")
    found["SCRIPT_NAME"] = value.rstrip("/")


_SETTERS: dict[str, t.Callable[[Found, str, Sent], None]] = {
    "proto": _set_scheme,
    "host": _set_host,
    "port": _set_port,
    "prefix": _set_prefix,
}
