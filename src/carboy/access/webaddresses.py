"""Parse the Origin and Host headers of browsers, and tell which hosts are this machine.

Source: RFC 6454 (origins), RFC 6761 and RFC 8375 (names that are not in the public DNS)
"""

from __future__ import annotations

import re
import socket
import typing as t
from functools import lru_cache
from ipaddress import ip_address

DEFAULT_PORTS: t.Final = {"http": "80", "ws": "80", "https": "443", "wss": "443"}
# Top-level domains below which a stranger cannot own a name in the public DNS: those that are
# reserved for private use, and those that private networks use although nobody has reserved them.
_PRIVATE_DOMAINS: t.Final = frozenset(
    ("localhost", "local", "test", "internal", "arpa", "lan", "home", "corp")
)
# Letters that Python's IDNA 2003 writes in another way than browsers (UTS #46): it takes
# straße.example for strasse.example, which may belong to somebody else.
_DEVIATIONS: t.Final = frozenset("\u00df\u03c2\u200c\u200d")
_HOST: t.Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/@?#\s]+)(?::(\d{1,5}))?")
_ORIGIN: t.Final = re.compile(rf"([A-Za-z][A-Za-z0-9+.-]*)://{_HOST.pattern}")


@lru_cache(maxsize=256)
def host_of_origin(origin: str) -> str | None:
    """Return the host of the header Origin, with its port, as browsers write it into a Host header;
    None if the origin has none, such as `null`.
    """
    match = _ORIGIN.fullmatch(origin)
    return None if match is None else origin.partition("://")[2]


def split_host(host: str) -> tuple[str, str] | None:
    """Return name and port of a Host header; the port is empty if there is none. None if the header
    is not valid.
    """
    match = _HOST.fullmatch(host)
    return None if match is None else (match[1].lower(), match[2] or "")


def host_in_ascii(host: str) -> str:
    """Return a host name as browsers send it: bücher.example as xn--bcher-kva.example. A label may
    be empty, as in .shop.example. What cannot be a host name is returned as it is.

    Raises:
        ValueError: browsers and other programs would take the name for different ones; the text of
            the error says so, without the name.
    """
    if host.isascii():
        return host
    if not _DEVIATIONS.isdisjoint(host.lower()):
        raise ValueError(
            "has a letter that programs write differently in names of hosts. Write the name in"
            " ASCII, as the address bar of a browser copies it: xn--... ."
        )
    try:
        return ".".join(label and label.encode("idna").decode() for label in host.split("."))
    except UnicodeError:
        return host


def is_this_machine(name: str) -> bool:
    """Return whether a host name always means the machine itself: `localhost`, names below it,
    loopback addresses, and the unspecified addresses, by which Linux and macOS reach it, too.

    Args:
        name: the host of a URL, without a port. An IPv6 address is in brackets.
    """
    name = name.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    if address is None:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)


@lru_cache(maxsize=1)
def own_name() -> str:
    return socket.gethostname().lower()


def may_be_rebound(name: str) -> bool:
    """Return whether a stranger can own a host name, and so let it lead to any address (DNS
    rebinding). That is possible for a name in the public DNS, and not for an address.

    Args:
        name: as in `is_this_machine`.
    """
    name = name.lower().removesuffix(".")
    if _address(name) is not None or name == own_name():
        return False
    _, dot, last = name.rpartition(".")
    return bool(dot) and last not in _PRIVATE_DOMAINS


def _address(name: str) -> t.Any:
    try:
        return ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
