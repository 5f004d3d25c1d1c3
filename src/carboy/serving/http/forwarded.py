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
from ipaddress import ip_address, ip_network

from ..declaration import MAX_PROXIES
from .parser import is_host

if t.TYPE_CHECKING:
    import collections.abc as cabc

    Found = dict[str, str]
    Values = list[str]

# How many results a worker caches, and the longest headers whose result is cached: together a few
# megabytes, whatever clients send.
_MAX_CACHED, _MAX_CACHED_LENGTH = 4096, 512


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
        chosen = headers.split(",")
        self._names = [name for name in _HEADERS if name in chosen]
        # X-Forwarded-Port replaces the port of the Host header.
        self._keys = [*(_HEADERS[name] for name in self._names), "HTTP_HOST"]
        self._cache: dict[tuple[str | None, ...], Found] = {}

    def origin(self, headers: cabc.Mapping[str, str], peer: str) -> cabc.Mapping[str, str]:
        """Return the WSGI environ entries that the headers of trusted proxies change; none if the
        connection does not come from one.

        Args:
            headers: the request headers by their WSGI names.
            peer: the address that the connection comes from.

        Raises:
            ForwardedError: a proxy has written a scheme, host, port or prefix that is not valid.
        """
        # PERF: a client sends many requests, and the headers of all say the same: a lookup takes
        # 0.3 us, to find the result 5.
        key = (peer, *map(headers.get, self._keys))
        found = self._cache.get(key)
        if found is None:
            found = self._find(peer, *key[1:])
            if sum(map(len, filter(None, key))) <= _MAX_CACHED_LENGTH:
                if len(self._cache) >= _MAX_CACHED:
                    self._cache.clear()
                self._cache[key] = found
        return found

    def _find(self, peer: str, *texts: str | None) -> Found:
        """Return what `origin` does.

        Args:
            texts: the values of the headers `_keys`.
        """
        if not (self._hops or self._trusts(peer)):
            return {}
        lists = self._read(texts)
        clients = lists.pop("for", [])
        hops = self._hops or self._count_hops(clients)
        found: Found = {}
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
                _SETTERS[name](found, value, texts[-1])
        return found

    def _read(self, texts: cabc.Iterable[str | None]) -> dict[str, Values]:
        """Return the last values of each trusted header, in their order; the parameters of
        Forwarded by the names of the headers X-Forwarded-* that mean the same.
        """
        lists: dict[str, Values] = {}
        for name, text in zip(self._names, texts, strict=False):
            values = split_list(text or "")
            if name != "forwarded":
                lists[name] = values
                continue
            elements = [parse_element(each) for each in values]
            for parameter in ("for", "proto", "host"):
                lists[parameter] = [element.get(parameter, "") for element in elements]
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

    def _trusts(self, text: str) -> bool:
        # An address of a link has a zone, such as `fe80::1%eth0`.
        address = ip_address(text.partition("%")[0])
        return any(address in network for network in self._networks)


def split_list(text: str) -> Values:
    """Return the last values of a list that are not empty: at most `MAX_PROXIES`, so that a list of
    any length takes the same time.
    """
    parts = text.rsplit(",", MAX_PROXIES)[-MAX_PROXIES:]
    return [value for part in parts if (value := part.strip(" \t"))]


# ----------------------------------------------------------------------------------- addresses

# An address with an optional port (RFC 7239, 6). A port may be a made-up name, too. An IPv6 address
# without a port needs no brackets in X-Forwarded-For.
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(?:([0-9]{1,5})|_[\w.-]+))?", re.ASCII)


def parse_node(text: str) -> ForwardedAddress | None:
    """Return the address that a proxy has written; None if it is none."""
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
    if _ELEMENT.fullmatch(text) is None:
        return {}
    pairs = [(name.lower(), _unquote(value)) for name, value in _PAIRS.findall(text)]
    found = dict(pairs)
    return found if len(found) == len(pairs) else {}  # a name occurs once only (RFC 7239, 4)


def _unquote(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value[:1] == '"' else value


# ------------------------------------------------------------------ from a value to the environ

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
# A prefix is a path without an empty segment, because `//host` would be the address of another
# server in a link or redirect, and without `.` and `..`, which browsers resolve.
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[\w.~!$&'()*+,;=:@-]+)+/?|/", re.ASCII)


def _set_scheme(found: Found, value: str, sent_host: str | None) -> None:
    scheme = _SCHEMES.get(value) or _SCHEMES.get(value.lower())
    if scheme is None:
        raise ForwardedError("the forwarded scheme is neither http nor https")
    found["wsgi.url_scheme"] = scheme


def _set_host(found: Found, value: str, sent_host: str | None) -> None:
    if not is_host(value):
        raise ForwardedError("the forwarded host is not valid")
    found["HTTP_HOST"] = value
    found["SERVER_NAME"], port = _split_port(value)
    if port:
        found["SERVER_PORT"] = port


def _set_port(found: Found, value: str, sent_host: str | None) -> None:
    if not (value.isdecimal() and value.isascii() and len(value) <= 5 and 0 < int(value) < 65536):
        raise ForwardedError("the forwarded port is not valid")
    host = found.get("HTTP_HOST") or sent_host
    if host:
        found["HTTP_HOST"] = f"{_split_port(host)[0]}:{value}"
    found["SERVER_PORT"] = value


def _split_port(host: str) -> tuple[str, str]:
    name, colon, port = host.rpartition(":")
    return (name, port) if colon and not host.endswith("]") else (host, "")


def _set_prefix(found: Found, value: str, sent_host: str | None) -> None:
    if _PREFIX.fullmatch(value) is None:
        raise ForwardedError("the forwarded prefix is not a path")
    found["SCRIPT_NAME"] = value.rstrip("/")


_SETTERS: dict[str, t.Callable[[Found, str, str | None], None]] = {
    "proto": _set_scheme,
    "host": _set_host,
    "port": _set_port,
    "prefix": _set_prefix,
}
# The WSGI names of the headers by their names in the setting. "host" precedes "port", which is
# added to the host.
_HEADERS = {
    "forwarded": "HTTP_FORWARDED",
    **{name: f"HTTP_X_FORWARDED_{name.upper()}" for name in ("for", *_SETTERS)},
}
