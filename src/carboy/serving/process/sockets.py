"""Reserve the addresses of the server before anything is loaded, and open its sockets.

Each worker has a socket of its own for a TCP port (SO_REUSEPORT), so that the kernel spreads the
clients evenly. A Unix socket cannot be shared in that way, and neither can a socket that systemd
has opened: all workers listen on the same one.

The supervisor opens all sockets, and passes them to the processes of the workers as file
descriptors. If a process is replaced, its successor gets the same sockets. So the clients that have
connected, but that the old process has not accepted, are accepted by its successor, and at no
moment a client cannot connect.
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
from ..http.listener import Listener, bind
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

    def open_for_worker(self) -> WorkerSockets:
        """Open the sockets of one worker. They do not listen yet: the worker's process lets them
        listen when it has loaded the app.
        """
        own: list[socket.socket | None] = []
        for address, shared in zip(self.settings.addresses, self.shared, strict=True):
            own.append(None)
            if shared is None and machine.HAS_WORKERS:
                try:
                    own[-1] = bind(address)
                except OSError:
                    pass  # the worker's process tries it itself, and reports the error
        return WorkerSockets(self.shared, own)

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


class NoSockets(ServerSockets):
    """Takes the place of the sockets of a server that listens on no address."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.shared = []
        self._holders = []
        self._unix = []

    def open_for_worker(self) -> WorkerSockets:
        return WorkerSockets([], [])


#: A file descriptor, and whether all workers listen on its socket.
Descriptor = tuple[int, bool]


class WorkerSockets:
    """The sockets on which one worker listens: its processes, one after the other.

    Args:
        shared: for each address, the socket on which all workers listen; None if there is none.
        own: for each address, the socket of this worker; None if there is none.
    """

    def __init__(
        self,
        shared: cabc.Sequence[socket.socket | None],
        own: cabc.Sequence[socket.socket | None],
    ) -> None:
        self._shared = shared
        self._own = own

    @property
    def descriptors(self) -> list[Descriptor | None]:
        """The descriptors of the sockets, for `make_listeners`; None where the process opens a
        socket itself.
        """
        found: list[Descriptor | None] = []
        for shared, own in zip(self._shared, self._own, strict=True):
            sock = shared or own
            found.append(None if sock is None else (sock.fileno(), shared is not None))
        return found

    def close(self) -> None:
        """Close the worker's own sockets in this process. The process of the worker goes on
        listening on them.
        """
        for sock in filter(None, self._own):
            sock.close()


def make_listeners(
    settings: Settings,
    descriptors: cabc.Sequence[Descriptor | None] | None = None,
    tls: ssl.SSLContext | None = None,
) -> list[Listener]:
    """Return the listeners of one process of a worker.

    Args:
        settings: those of `ServerSockets`.
        descriptors: those of `WorkerSockets`. The listeners close them. None if this process opens
            all sockets itself.
        tls: the certificate for the ports.
    """
    listeners = []
    addresses = settings.addresses
    for address, passed in zip(addresses, descriptors or [None] * len(addresses), strict=True):
        sock, is_shared = None, False
        if passed is not None:
            fd, is_shared = passed
            os.set_inheritable(fd, False)  # programs that the app starts must not keep it open
            sock = socket.socket(fileno=fd)
        tls_here = None if address.path else tls
        listeners.append(Listener(address, sock, is_shared=is_shared, tls=tls_here))
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
