"""Cross-origin resource sharing (CORS): the pages of which other sites may send requests to an app
and read the responses.

A browser lets a page read the response of another site only if its headers allow this. Before
requests that an HTML form could not send, it asks by a preflight request (OPTIONS).
Source: https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

import collections.abc as cabc
import re
import typing as t
from dataclasses import dataclass, fields
from ipaddress import IPv4Address, IPv6Address, ip_address

from ..core.advice import did_you_mean
from ..errors import ConfigError
from .webaddresses import DEFAULT_PORTS, host_in_ascii

Headers = tuple[tuple[str, str], ...]

# What a user may write as `cors=`.
Declared = str | cabc.Sequence[str] | cabc.Mapping[str, t.Any] | bool | None

#: Request headers of the preflight request, by their names in the WSGI environ.
REQUESTED_METHOD: t.Final = "HTTP_ACCESS_CONTROL_REQUEST_METHOD"
REQUESTED_HEADERS: t.Final = "HTTP_ACCESS_CONTROL_REQUEST_HEADERS"

_VARY: t.Final = ("Vary", "Origin")
_VARY_OF_PREFLIGHT: t.Final = (
    "Vary",
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
)
_HEADER_NAME: t.Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_HEADER_NAMES: t.Final = re.compile(rf"{_HEADER_NAME}(?:[ \t]*,[ \t]*{_HEADER_NAME})*")
_EXPECTED: t.Final = (
    'an origin such as "https://shop.example" (also "https://*.shop.example" for the hosts below'
    ' it, and "http://localhost:*" for all ports), a list of origins, "*" for every site, a dict'
    ' with "origins" and options, or False'
)


@dataclass(frozen=True, slots=True)
class Cors:
    """The sites whose pages may use some URLs, and what these pages may send and read.

    Attributes:
        origins: the allowed origins; empty if `any_origin` is set or `patterns` has all of them.
        patterns: what matches the allowed origins that are written with `*`.
        any_origin: whether every site is allowed.
        headers: the request headers that pages may send; None: those that they ask for.
        expose: the response headers that pages may read beyond those that every page may.
        credentials: whether browsers may send cookies.
        max_age_s: how many seconds browsers may remember the answer to a preflight request.
    """

    origins: frozenset[str]
    patterns: tuple[re.Pattern[str], ...] = ()
    any_origin: bool = False
    headers: tuple[str, ...] | None = None
    expose: tuple[str, ...] = ()
    credentials: bool = False
    max_age_s: int = 600

    def allows(self, origin: str | None) -> bool:
        """Return whether the pages of an origin may read responses."""
        return origin is not None and (self.any_origin or self.names(origin))

    def names(self, origin: str) -> bool:
        """Return whether an origin is allowed by name or pattern, and not only because every site
        is.
        """
        return origin in self.origins or any(pattern.fullmatch(origin) for pattern in self.patterns)

    def response_headers(self, origin: str | None) -> Headers:
        """Return the headers of a response that depend on the origin of the page that asked.

        Args:
            origin: the request's header Origin.
        """
        if self.any_origin:
            return (("Access-Control-Allow-Origin", "*"), *self._exposed())
        if origin is None or not self.allows(origin):
            # The header Vary is needed here, too: a cache must not send this response to a page
            # that may read it.
            return (_VARY,)
        return (*self._allowing(origin), *self._exposed(), _VARY)

    def preflight_headers(self, origin: str | None, method: str, headers: str | None) -> Headers:
        """Return the headers of the response to a preflight request.

        Args:
            origin: the request's header Origin.
            method: the method that the page wants to use.
            headers: the names of the request headers that it wants to send, with commas.
        """
        if origin is None or not self.allows(origin):
            return (_VARY_OF_PREFLIGHT,)
        # The names are listed one by one, because `*` would not include Authorization.
        names = headers if self.headers is None else ", ".join(self.headers)
        found = [*self._allowing(origin), ("Access-Control-Allow-Methods", method)]
        if names and _HEADER_NAMES.fullmatch(names):
            found.append(("Access-Control-Allow-Headers", names))
        found += [("Access-Control-Max-Age", str(self.max_age_s)), _VARY_OF_PREFLIGHT]
        return tuple(found)

    def _allowing(self, origin: str) -> Headers:
        allowed = ("Access-Control-Allow-Origin", "*" if self.any_origin else origin)
        if self.credentials:
            return (allowed, ("Access-Control-Allow-Credentials", "true"))
        return (allowed,)

    def _exposed(self) -> Headers:
        if not self.expose:
            return ()
        return (("Access-Control-Expose-Headers", ", ".join(self.expose)),)


def parse(declared: Declared, where: str) -> Cors | None:
    """Return what a user has written as `cors=`; None if no other site is allowed.

    Args:
        declared: the value.
        where: who has written it, for error messages, such as `app.model('/digits', cors=...)`.
    Raises:
        ConfigError: the value is not valid.
    """
    if declared is None or declared is False:
        return None
    options = _options(declared, where)
    origins = _origins(options.get("origins"), declared, where)
    cors = Cors(
        frozenset(origins.exact),
        tuple(origins.patterns),
        any_origin=origins.any_origin,
        headers=_names(options, "headers", where),
        expose=_names(options, "expose", where) or (),
        credentials=_switch(options, where),
        max_age_s=_seconds(options, where),
    )
    if cors.any_origin and cors.credentials:
        raise ConfigError(
            f"{where}: with credentials, every site could use the app as the visitor who is logged"
            ' in. List the origins in place of "*", or leave the credentials out.'
        )
    return cors


def _options(declared: Declared, where: str) -> cabc.Mapping[str, t.Any]:
    if not isinstance(declared, cabc.Mapping):
        return {"origins": declared}
    for name in declared:
        if name not in _OPTIONS:
            raise ConfigError(
                f"{where}: there is no option {name!r}.{did_you_mean(str(name), _OPTIONS)} The"
                f" options are {', '.join(_OPTIONS)}."
            )
    return declared


def _origins(given: t.Any, declared: Declared, where: str) -> _Origins:
    texts = [given] if isinstance(given, str) else given
    if not _is_list(texts) or not texts:
        raise ConfigError(f"{where}: expected {_EXPECTED}, got {declared!r}.")
    found = _Origins(where)
    for text in texts:
        found.add(text)
    return found


_OPTIONS: t.Final = ("origins", "headers", "expose", "credentials", "max_age_s")
assert set(_OPTIONS) <= {field.name for field in fields(Cors)}


class _Origins:
    """Collects the origins that a user has listed, by how they are compared."""

    def __init__(self, where: str) -> None:
        self.exact: set[str] = set()
        self.patterns: list[re.Pattern[str]] = []
        self.any_origin = False
        self._where = where

    def add(self, text: t.Any) -> None:
        if text == "*":
            self.any_origin = True
        elif text == "null":
            raise ConfigError(
                f'{self._where}: the origin "null" cannot be allowed, because pages of every site'
                ' can have it (in a sandboxed frame). To allow every site, write "*".'
            )
        elif (match := _PATTERN.fullmatch(str(text))) is None or not _is_port(match["port"]):
            raise self._not_an_origin(text)
        else:
            self._add_host(match, self._host(match["host"], text))

    def _host(self, given: str, text: object) -> str:
        """Return the host of an origin as browsers send it: in ASCII, and in lower case."""
        host = given.lower()
        if host.startswith("["):
            try:
                return f"[{_written(ip_address(host[1:-1]))}]"
            except ValueError:
                raise self._not_an_origin(text) from None
        try:
            host = host_in_ascii(host)
        except ValueError as exc:
            raise ConfigError(f"{self._where}: {text!r} {exc}") from None
        if not _HOST.fullmatch(host):
            raise self._not_an_origin(text)
        return host

    def _add_host(self, match: re.Match[str], host: str) -> None:
        if match["below"] or match["port"] == "*":
            self.patterns.append(self._compile(match, re.escape(host)))
        else:
            self.exact.add(f"{match['scheme'].lower()}://{host}{_port(match)}")

    def _compile(self, match: re.Match[str], host: str) -> re.Pattern[str]:
        if match["below"]:
            # Two names in front suffice for each host that has a certificate, and the length of
            # what the pattern reads is bounded by that of a host name.
            host = rf"(?:[a-z0-9_-]+\.)+{host}"
        port = r"(?::\d{1,5})?" if match["port"] == "*" else re.escape(_port(match))
        return re.compile(rf"{re.escape(match['scheme'].lower())}://{host}{port}")

    def _not_an_origin(self, text: object) -> ConfigError:
        hint = ""
        if isinstance(text, str) and "," in text:
            listed = [part.strip() for part in text.split(",") if part.strip()]
            hint = f" Several sites are a list: {listed!r}."
        elif isinstance(text, str) and "://" not in text:
            hint = f" Does {('https://' + text)!r} say what you mean?"
        elif isinstance(text, str) and "/" in text.partition("://")[2]:
            origin = "/".join(text.split("/")[:3])
            hint = f" An origin has no path: write {origin!r}."
        return ConfigError(f"{self._where}: {text!r} is no origin. Expected {_EXPECTED}.{hint}")


_PATTERN: t.Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<below>\*\.)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/@?#\s*]+)(?::(?P<port>\d{1,5}|\*))?"
)


# A name in ASCII, or an IPv4 address.
# The origin of an Electron app is `app://.`.
_HOST: t.Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?|\.")


def _written(address: IPv4Address | IPv6Address) -> str:
    """Return an address as browsers write it. From Python 3.13 on, `str` writes one that contains
    an IPv4 address with dots.
    """
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is None:
        return str(address)
    return f"::ffff:{int(mapped) >> 16:x}:{int(mapped) & 0xFFFF:x}"


def _is_port(text: str | None) -> bool:
    return text in (None, "*") or int(text) < 2**16


def _port(match: re.Match[str]) -> str:
    """Return the port of an origin as browsers write it: nothing for the default port."""
    port = str(int(match["port"])) if match["port"] else ""
    return f":{port}" if port and port != DEFAULT_PORTS.get(match["scheme"].lower()) else ""


def _is_list(value: object) -> t.TypeGuard[cabc.Collection[t.Any]]:
    return isinstance(value, (list, tuple, set, frozenset))


def _names(options: cabc.Mapping[str, t.Any], key: str, where: str) -> tuple[str, ...] | None:
    given = options.get(key)
    names = [given] if isinstance(given, str) else given
    if names is None:
        return None
    if not _is_list(names) or not all(re.fullmatch(_HEADER_NAME, str(name)) for name in names):
        raise ConfigError(
            f"{where}: {key!r} is a list of names of headers, such as ['X-Request-ID'], not"
            f" {given!r}."
        )
    if "*" in names and options.get("credentials"):
        raise ConfigError(
            f'{where}: with credentials, browsers take "*" in {key!r} for a name. List the names.'
        )
    return tuple(map(str, names))


def _switch(options: cabc.Mapping[str, t.Any], where: str) -> bool:
    given = options.get("credentials", False)
    if not isinstance(given, bool):
        raise ConfigError(f"{where}: 'credentials' is True or False, not {given!r}.")
    return given


def _seconds(options: cabc.Mapping[str, t.Any], where: str) -> int:
    given = options.get("max_age_s", 600)
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise ConfigError(
            f"{where}: 'max_age_s' is a whole number of seconds, at least 0, not {given!r}."
        )
    return given


def is_preflight(method: str, headers: cabc.Mapping[str, t.Any]) -> bool:
    """Return whether a request asks for another one in advance.

    Args:
        headers: the request headers by their names in the WSGI environ.
    """
    return method == "OPTIONS" and "HTTP_ORIGIN" in headers and REQUESTED_METHOD in headers
