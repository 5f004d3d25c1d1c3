"""Which hosts a request may name: those of the config key `TRUSTED_HOSTS`.

The rules are Werkzeug's, which knows no IPv6 addresses in the list.
"""

from __future__ import annotations

import typing as t
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

from werkzeug.sansio.utils import host_is_trusted
from werkzeug.wsgi import get_host

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from _typeshed.wsgi import WSGIEnvironment


def host_of(environ: WSGIEnvironment, trusted: cabc.Collection[str] | None) -> str:
    """Return the host of a request, with its port unless it is the default of the scheme; empty if
    the request has no valid one.

    Raises:
        SecurityError: the host is not one of `trusted`.
    """
    if trusted and is_trusted_host(environ.get("HTTP_HOST"), trusted):
        trusted = None
    return get_host(environ, trusted)


def is_trusted_host(host: str | None, trusted: cabc.Collection[str]) -> bool:
    """Return whether the Host header of a request is allowed by `trusted`, the value of the config
    key `TRUSTED_HOSTS`. False if the request has no such header.
    """
    if host is None:
        return False
    # `_is_trusted` is cached by the items of the list and not by the list itself, because the
    # program may change the list in place.
    return _is_trusted(host, trusted_names(trusted))


def trusted_names(trusted: cabc.Collection[str] | None) -> tuple[str, ...]:
    """Return the names in the value of `TRUSTED_HOSTS`, which may be one text, as in Werkzeug."""
    return (trusted,) if isinstance(trusted, str) else tuple(trusted or ())


@lru_cache(maxsize=256)
def _is_trusted(host: str, trusted: tuple[str, ...]) -> bool:
    if host_is_trusted(host, trusted):
        return True
    address = ipv6_address(host) if host.startswith("[") else None
    return address is not None and address in map(ipv6_address, trusted)


def ipv6_address(host: str) -> IPv6Address | None:
    """Return the address in `[::1]`, `[::1]:8000` or `::1`; None if there is none."""
    name, bracket, port = host.removeprefix("[").partition("]")
    if bracket != ("]" if host.startswith("[") else "") or not _is_port(port):
        return None
    try:
        return IPv6Address(name)
    except AddressValueError:
        return None


def _is_port(text: str) -> bool:
    # As in Werkzeug, a port has at most five digits. `int` raises for more than 4300.
    return not text or (
        text[0] == ":" and len(text) <= 6 and text[1:].isdecimal() and int(text[1:]) < 65536
    )
