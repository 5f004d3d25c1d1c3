"""Find out what trusted proxies say about the client of a request.

Behind a proxy, the connection comes from the proxy, so the proxy writes the client's address, and
the scheme and host that the client used, into headers. Clients can send such headers, too. So the
headers count only if the connection comes from a trusted proxy. A header may be a list to which
each proxy appends a value: of the list, only the last values count, which trusted proxies have
written.

    X-Forwarded-For: made up, 203.0.113.9, 10.0.0.2     <- the client's own text, then two values
                              |            |
        the outer proxy wrote its client --'            '-- the inner proxy wrote its client

The values are read from the right, and each comma separates two values, even a comma in a quoted
string. Else a client could begin its own value with a quotation mark, and the values that proxies
append would become a part of this value. Source: RFC 7239, RFC 9110 (5.3)
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

# How many results of `origin` a worker process caches, and the greatest length of the headers whose
# result is cached. The cache takes a few megabytes at most, whatever clients send.
_MAX_CACHED, _MAX_CACHED_LENGTH = 4096, 512


class ForwardedError(ValueError):
    """A trusted proxy has written a value that is not valid. The text of the error says what is
    wrong with the value.
    """


class ForwardedAddress(t.NamedTuple):
    """The address of a client or proxy, and its port; "0" if the port is not known."""

    address: str
    port: str


class TrustedProxies:
    """The proxies that the server trusts, and the headers that it reads if they send them.

    Args:
        proxies: the number of proxies between clients and server, such as "2", or the addresses and
            networks of the proxies, such as "10.0.0.0/8,192.0.2.1". With a number, whoever connects
            to the server counts as a trusted proxy. So does in any case who connects to a Unix
            socket, because the permissions of its file say who may.
        headers: "for", "proto", "host", "port" and "prefix" for the headers X-Forwarded-*, or
            "forwarded" for the header Forwarded, separated by commas.
    """

    def __init__(self, proxies: str, headers: str) -> None:
        self._hops = int(proxies) if proxies.isdecimal() else 0
        self._networks = [] if self._hops else [ip_network(each) for each in proxies.split(",")]
        chosen = headers.split(",")
        self._names = [name for name in _HEADERS if name in chosen]
        # The Host header is needed, too, because X-Forwarded-Port replaces the port in it.
        self._keys = [*(_HEADERS[name] for name in self._names), "HTTP_HOST"]
        self._cache: dict[tuple[str | None, ...], Found] = {}

    def origin(self, headers: cabc.Mapping[str, str], peer: str) -> cabc.Mapping[str, str]:
        """Return the entries of the WSGI environ that must be replaced, such as REMOTE_ADDR, with
        what trusted proxies have written about the client. The result is empty if the connection
        does not come from a trusted proxy.

        Args:
            headers: the request headers by their WSGI names.
            peer: the address that the connection comes from; "" for a Unix socket.

        Raises:
            ForwardedError: a proxy has written a scheme, host, port or prefix that is not valid.
        """
        # PERF: a client sends many requests with the same headers, so that the results are cached.
        # A lookup takes 0.3 us, parsing the headers 5 us.
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
        """Return the result of `origin` without using the cache.

        Args:
            peer: the address that the connection comes from.
            texts: the values of the headers that `_keys` names, in the same order; None for a
                header that the request lacks.
        """
        if not (self._hops or self._trusts(peer)):
            return {}
        lists = self._read(texts)
        clients = lists.pop("for", [])
        hops = self._hops or self._count_hops(clients)
        found: Found = {}
        for value in clients[-hops:]:
            # The first value that a trusted proxy has written is the client's address. But a proxy
            # may write `unknown` or a made-up name instead of an address (RFC 7239, 6.2). Then the
            # next value is used, the address of this proxy: no known address is nearer to the
            # client.
            if (node := parse_node(value)) is not None:
                found["REMOTE_ADDR"], found["REMOTE_PORT"] = node
                break
        # A header such as X-Forwarded-Proto may have fewer values than there are trusted proxies,
        # because some proxies replace the header instead of appending a value. Then all of its
        # values are from trusted proxies.
        for name, values in lists.items():
            if value := next(filter(None, values[-hops:]), ""):
                _SETTERS[name](found, value, texts[-1])
        return found

    def _read(self, texts: cabc.Iterable[str | None]) -> dict[str, Values]:
        """Return the last values of each header that is read, by "for", "proto", "host", "port" or
        "prefix". The values of X-Forwarded-For are under "for", as are the parameters `for=` of the
        header Forwarded.
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
        """Return how many values at the end of `clients` were written by trusted proxies.

        Each value is the address from which the proxy that wrote it was called. So the last value
        counts, which the connected proxy wrote. A value before it counts if the value to its right
        is the address of a trusted proxy.
        """
        for hops, value in enumerate(reversed(clients), 1):
            node = parse_node(value)
            if node is None or not self._trusts(node.address):
                return hops
        return len(clients) or 1

    def _trusts(self, text: str) -> bool:
        if not text:
            return True
        # A link-local IPv6 address is followed by a zone, such as "%eth0" in `fe80::1%eth0`, which
        # the networks of the setting do not have.
        address = ip_address(text.partition("%")[0])
        return any(address in network for network in self._networks)


def split_list(text: str) -> Values:
    """Split the text of a header at commas, and return its last values that are not empty.

    At most `MAX_PROXIES` values are read, so that a list of any length takes the same time.
    """
    parts = text.rsplit(",", MAX_PROXIES)[-MAX_PROXIES:]
    return [value for part in parts if (value := part.strip(" \t"))]


# ----------------------------------------------------------------------------------- addresses

# Matches an IPv4 address, or an IPv6 address in brackets, with an optional port, which may also be
# a made-up name such as `_port1` (RFC 7239, 6). An IPv6 address without brackets, as it may stand
# in X-Forwarded-For, does not match: `parse_node` takes it for an address without a port.
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(?:([0-9]{1,5})|_[\w.-]+))?", re.ASCII)


def parse_node(text: str) -> ForwardedAddress | None:
    """Return the address and port in a text that a proxy has written; None if the text is not an
    address.
    """
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
# Matches `name=value` in the header Forwarded. By RFC 7239 a value that is not a token, such as
# `192.0.2.1:80`, must be quoted, but some proxies do not quote it.
_PAIR = rf'[ \t]*({_NAME})=("(?:[^"\\]|\\.)*"|[^\s;"]+)[ \t]*'
_PAIRS = re.compile(_PAIR)
_ELEMENT = re.compile(rf"(?:{_PAIR})?(?:;(?:{_PAIR})?)*")


def parse_element(text: str) -> cabc.Mapping[str, str]:
    """Return the parameters in one element of the header Forwarded, such as `for=192.0.2.1;
    proto=https`, by their names in lower case. If the element is not valid, the result is empty.
    """
    if _ELEMENT.fullmatch(text) is None:
        return {}
    pairs = [(name.lower(), _unquote(value)) for name, value in _PAIRS.findall(text)]
    found = dict(pairs)
    # An element in which a name occurs twice is not valid (RFC 7239, 4).
    return found if len(found) == len(pairs) else {}


def _unquote(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value[:1] == '"' else value


# ------------------------------------------------------------------ from a value to the environ

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
# Matches a valid X-Forwarded-Prefix: a path without empty segments, because a link to `//host/...`
# would lead to another server, and without the segments `.` and `..`, because browsers would change
# the path of a link that contains them.
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
# The WSGI names of the headers by their names in the setting `proxy_headers`. "host" comes before
# "port", because the headers are read in this order, and the port is appended to the host.
_HEADERS = {
    "forwarded": "HTTP_FORWARDED",
    **{name: f"HTTP_X_FORWARDED_{name.upper()}" for name in ("for", *_SETTERS)},
}
