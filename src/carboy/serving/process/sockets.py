"""Reserve the addresses of the server before anything is loaded, and open the sockets that its
workers share.

Each worker opens a socket of its own for a TCP port (SO_REUSEPORT), so that the kernel spreads the
clients evenly. A Unix socket cannot be shared in that way, and neither can a socket that systemd
has opened. Such a socket is opened here, and passed to each worker as a file descriptor.
"""

from __future__ import annotations

import errno
import os
import socket
import typing as t
from dataclasses import replace

from ...core.advice import port_in_use
from ...errors import AddressError, ServingError
from .. import machine
from ..activation import take_passed_sockets
from ..http.listener import Listener
from ..unixsocket import UnixSocket

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import ssl

    from ..http.address import Address
    from ..settings import Settings


class ServerSockets:
    """The addresses of a server, with what keeps them reserved until `close`.

    Attributes:
        settings: the settings with the addresses that are really used: the port that the system has
            chosen, and the addresses of the sockets that systemd has passed.
        shared: for each of `settings.addresses`, the socket that all workers share; None if each
            worker opens its own.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises AddressError if an address cannot be listened on, and ServingError if a setting
        has no effect on any of the addresses.
        """
        self.shared: list[socket.socket | None] = []
        self._holders: list[socket.socket] = []
        self._unix: list[UnixSocket] = []
        addresses: list[Address] = []
        try:
            passed = take_passed_sockets()
            wanted = () if passed and not settings.bind else settings.addresses
            _refuse_tls_without_port(settings, [*(address for address, _ in passed), *wanted])
            for address, sock in passed:
                addresses.append(address)
                self.shared.append(sock)
            for address in wanted:
                addresses += [self._open(address, addresses, settings)]
        except BaseException:
            self.close()
            raise
        first = next((each for each in addresses if not each.path), settings.addresses[0])
        self.settings = replace(
            settings, bind=tuple(map(str, addresses)), host=first.host, port=first.port
        )

    def _open(
        self, address: Address, others: cabc.Sequence[Address], settings: Settings
    ) -> Address:
        if address.path:
            opened = UnixSocket(
                address.path,
                int(settings.socket_mode, 8),
                settings.backlog,
                failure=f"Cannot listen on {address}",
                option="--bind",
                shown_by=f"ss -xlp src {address.path}",
            )
            self._unix.append(opened)
            self.shared.append(opened.socket)
            return address
        try:
            port, holder = hold_port(address)
        except OSError as exc:
            raise AddressError(
                _explain(exc, address, others, tls=bool(settings.tls_cert))
            ) from None
        self._holders.append(holder)
        self.shared.append(None)
        return address._replace(port=port)

    @property
    def descriptors(self) -> list[int | None]:
        """The file descriptors of `shared`, for the process of a worker."""
        return [None if sock is None else sock.fileno() for sock in self.shared]

    def withdraw(self) -> None:
        """Remove the files of Unix sockets, so that no new client connects: the clients in the
        backlog can be accepted before the socket is closed.
        """
        for opened in self._unix:
            opened.remove_file()

    def close(self) -> None:
        self.withdraw()
        for sock in (*self._holders, *filter(None, self.shared)):
            sock.close()


def make_listeners(
    settings: Settings,
    descriptors: cabc.Sequence[int | None] | None = None,
    tls: ssl.SSLContext | None = None,
) -> list[Listener]:
    """Return the listeners of one worker.

    Args:
        settings: those of `ServerSockets`.
        descriptors: the file descriptors of the shared sockets, in the order of
            `ServerSockets.descriptors`. The listeners close them. None if there are no shared
            sockets.
        tls: the certificate for the ports.
    """
    listeners = []
    addresses = settings.addresses
    for address, fd in zip(addresses, descriptors or [None] * len(addresses), strict=True):
        shared = None
        if fd is not None:
            os.set_inheritable(fd, False)  # programs that the app starts must not keep it open
            shared = socket.socket(fileno=fd)
        listeners.append(Listener(address, shared=shared, tls=None if address.path else tls))
    return listeners


def _refuse_tls_without_port(settings: Settings, addresses: cabc.Iterable[Address]) -> None:
    if settings.tls_cert and all(address.path for address in addresses):
        raise ServingError(
            "Setting 'tls_cert' has no effect, because all addresses are Unix sockets, whose"
            " connections do not leave the machine. Add a port by the setting 'bind', such as"
            " 0.0.0.0:8443, or leave out 'tls_cert'."
        )


# ------------------------------------------------------------------------------------ ports


def hold_port(address: Address) -> tuple[int, socket.socket]:
    """Check that the port is free; return its number and a socket that keeps it reserved.

    Workers share the port by SO_REUSEPORT. With that option, a second carboy server could bind the
    same port and get half of the requests. So a socket without the option is bound first, which
    fails if another server uses the port. The returned socket never listens, so it receives no
    connections. If there are no workers on this system, the socket is not bound: the server itself
    binds the port.

    Raises:
        OSError: the port is in use, the address does not belong to this machine, or binding is not
            permitted.
    """
    name = (address.host, address.port)
    with socket.socket(address.family, socket.SOCK_STREAM) as probe:
        machine.bind_exclusively(probe, name)
        name = t.cast("tuple[str, int]", probe.getsockname()[:2])
    holder = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        if machine.HAS_WORKERS:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                # Bound without SO_REUSEADDR, the socket also keeps out a server that starts while
                # this one loads its app. With that option on both sides, only a socket that listens
                # would.
                holder.bind(name)
            except OSError:  # old connections of a server without SO_REUSEPORT use the port
                machine.bind_exclusively(holder, name)
    except OSError:
        holder.close()
        raise
    return name[1], holder


def _explain(exc: OSError, address: Address, others: cabc.Iterable[Address], *, tls: bool) -> str:
    where = f"Cannot listen on {address.url(tls=tls)}"
    port = address.port
    if exc.errno == errno.EADDRINUSE:
        for other in others:
            if other.port == port and not other.path:
                return (
                    f"{where}: {other.url(tls=tls)}, on which the server shall listen, too,"
                    " includes this address or is a part of it. Name only one of the two."
                )
        return f"{where}: {port_in_use(port)}"
    if exc.errno == errno.EACCES:
        return (
            f"{where}: ports below 1024 are reserved for root. Choose another with --port, let"
            " systemd open the port (socket activation), or forward to another port by a proxy or"
            " the container's port mapping."
        )
    if exc.errno == errno.EADDRNOTAVAIL:
        return (
            f"{where}: this machine does not have that address. Use 127.0.0.1 for this machine"
            " alone, or 0.0.0.0 for all its networks."
        )
    return f"{where}: {exc.strerror}."
