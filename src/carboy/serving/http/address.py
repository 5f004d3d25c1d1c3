"""An address on which the server listens: a TCP port, or the path of a Unix socket."""

from __future__ import annotations

import os
import re
import socket
import typing as t

from ..unixsocket import MAX_PATH_BYTES

_UNIX = "unix:"
_TCP = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+)):([0-9]{1,5})", re.ASCII)


class Address(t.NamedTuple):
    """Where clients connect to: host and port, or, if `path` is not empty, a Unix socket.

    A path that begins with NUL is the name of an abstract socket (Linux). Only systemd opens such
    sockets, and it writes their names with an @ in place of the NUL.
    """

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return _UNIX + self.path.replace("\0", "@")
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def family(self) -> socket.AddressFamily:
        if self.path:
            return socket.AF_UNIX
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def url(self, *, tls: bool) -> str:
        """Return how users write the address. There is no usual URL for a Unix socket, so it is
        written as in the setting `bind`; connections to it are never encrypted.
        """
        return str(self) if self.path else f"{'https' if tls else 'http'}://{self}"


def parse_address(text: str) -> Address:
    """Read an address such as `127.0.0.1:8000`, `[::1]:8000`, `localhost:8000` or
    `unix:/run/app.sock`. The name of a host is not looked up.

    Raises:
        ValueError: the text is not an address; its argument says why.
    """
    if text.startswith(_UNIX):
        return Address(path=_parse_path(text.removeprefix(_UNIX)))
    match = _TCP.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an address" if text else "an address is empty")
    port = int(match[3])
    if port > 65535:
        raise ValueError(f"the port {port} is larger than 65535")
    return Address(match[1] or match[2], port)


def _parse_path(text: str) -> str:
    if not hasattr(socket, "AF_UNIX"):
        raise ValueError("this system has no Unix sockets")
    # Other programs write the address as a URL, `unix:///run/app.sock`.
    text = text.removeprefix("//")
    if not text or text.endswith("/") or "\0" in text:
        raise ValueError(f"{_UNIX}{text} does not name a file")
    path = os.path.abspath(text)
    size = len(os.fsencode(path))
    if size > MAX_PATH_BYTES:
        raise ValueError(
            f"the path {path} has {size} bytes, but the system allows {MAX_PATH_BYTES} for a Unix"
            " socket: use a shorter one, such as /run/app.sock"
        )
    return path


def read_written(text: str) -> Address:
    """Read an address that `str(Address)` has written. The paths of Unix sockets are absolute, so
    the name of an abstract one cannot be taken for a path.
    """
    if not text.startswith(_UNIX):
        return parse_address(text)
    path = text.removeprefix(_UNIX)
    return Address(path=f"\0{path[1:]}" if path.startswith("@") else path)


def address_of(sock: socket.socket) -> Address:
    """Return the address of a socket that is bound."""
    name = sock.getsockname()
    if isinstance(name, tuple):
        return Address(name[0], name[1])
    # The name of an abstract Unix socket (Linux) is bytes that begin with NUL.
    return Address(path=name if isinstance(name, str) else name.decode("utf-8", "replace"))
