"""Reserve the addresses of the server before anything is loaded, and open the sockets that its
workers share.

Each worker opens a socket of its own for a TCP port (SO_REUSEPORT), so that the kernel spreads the
clients evenly. A Unix socket cannot be shared in that way, and neither can a socket that systemd
has opened. Such a socket is opened here, and passed to each worker as a file descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import typing as t
from dataclasses import replace

from ...core.advice import port_in_use
from ...errors import AddressError, ServingError
from .. import machine
from ..activation import take_passed_sockets
from ..http.listener import Listener

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
        self._files: list[UnixSocketFile] = []
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
            file = UnixSocketFile(address.path, int(settings.socket_mode, 8), settings.backlog)
            self._files.append(file)
            self.shared.append(file.socket)
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
        for file in self._files:
            file.remove()

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


# ----------------------------------------------------------------------------- Unix sockets


class UnixSocketFile:
    """A Unix socket that listens, and its file.

    Attributes:
        socket: the socket.
    """

    def __init__(self, path: str, mode: int, backlog: int) -> None:
        """Raises AddressError if the socket cannot be created, or another server uses the file."""
        self._path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _locked(os.path.dirname(path)):
                _remove_stale(path)
                self.socket.bind(path)
                # No client can connect before `listen`, so the permissions are in effect when the
                # first one comes.
                os.chmod(path, mode)
                self.socket.listen(backlog)
                self._identity = _identity(path)
        except BaseException as exc:
            self.socket.close()
            if isinstance(exc, OSError):
                raise AddressError(_explain_path(exc, path)) from None
            raise

    def remove(self) -> None:
        """Remove the file, unless it was replaced by that of another socket."""
        with contextlib.suppress(OSError):
            if _identity(self._path) == self._identity:
                os.unlink(self._path)


def _identity(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


@contextlib.contextmanager
def _locked(folder: str) -> cabc.Iterator[None]:
    """Hold a lock on a folder, which all servers take that create a Unix socket in it.

    Without the lock, of two servers that start at the same time, the second could take the socket
    of the first, which does not listen yet, for a stale one, and remove it.
    """
    import fcntl

    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _remove_stale(path: str) -> None:
    """Remove the file of a Unix socket that a server has left behind.

    Raises:
        AddressError: the file is no socket, or a server listens on it.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    where = f"Cannot listen on unix:{path}"
    if not stat.S_ISSOCK(status.st_mode):
        raise AddressError(
            f"{where}: the file exists and is not a socket. Remove it, or choose another path."
        )
    if _is_alive(path):
        raise AddressError(
            f"{where}: another program listens on this socket. Find it with 'ss -xlp src {path}'"
            " and stop it, or choose another path."
        )
    os.unlink(path)


def _is_alive(path: str) -> bool:
    """Return whether a program listens on a Unix socket. Raises OSError if this user may not
    connect to it.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            return True  # the backlog is full
    return True


def _explain_path(exc: OSError, path: str) -> str:
    where, folder = f"Cannot listen on unix:{path}", os.path.dirname(path)
    if exc.errno in {errno.ENOENT, errno.ENOTDIR} and not os.path.isdir(folder):
        return (
            f"{where}: there is no folder {folder}. Create it, or let systemd create it"
            " (RuntimeDirectory=)."
        )
    if exc.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return (
            f"{where}: the user of this process may not create the file ({exc.strerror}). Choose a"
            f" folder that the user may write to, or change the permissions of {folder}."
        )
    return f"{where}: {exc.strerror}."
