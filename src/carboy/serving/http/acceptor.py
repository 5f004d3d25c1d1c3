"""Accept the clients of a server, on all of its addresses, as long as there is room for them.

While the maximum number of connections is open, idle ones are closed for new clients. If none is
idle, or the system has no descriptors left, no client is accepted for a while: new ones wait in the
backlogs of the sockets.
"""

from __future__ import annotations

import errno
import logging
import typing as t

from ..log import logger
from .poller import READ
from .transitions import IDLE

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import socket

    from ..log import Notices
    from .interfaces import Client
    from .limits import Limits
    from .listener import Listener
    from .poller import Poller

# Maximum number of connections that are accepted in a row before other events are handled.
MAX_ACCEPTS = 64
# When the maximum number of connections is open, one in this many of them may be closed, if it is
# idle, to make room. Several are closed together, because the search for idle connections examines
# all connections.
IDLE_PART = 64
# Errors of `accept` that mean that file descriptors or memory have run out. Other errors concern
# one client.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """The listening sockets of a server. The thread that runs the event loop calls all methods but
    `open`, `refuse_new` and `close`.

    Args:
        listeners: the addresses to listen on; at least one.
        poller: watches the sockets.
        limits: the number of connections, and the lengths of the backlogs.
        clients: the connections of the server by descriptor; the server adds and removes them.
        add: called with the socket, the host and the port of each new client, and the listener.
        notices: logs when there is no room, at a limited rate.

    Attributes:
        listens: whether the poller watches the sockets, so that clients are accepted.
    """

    def __init__(
        self,
        listeners: cabc.Sequence[Listener],
        *,
        poller: Poller,
        limits: Limits,
        clients: cabc.Mapping[int, Client],
        add: cabc.Callable[[socket.socket, str, int, Listener], object],
        notices: Notices,
    ) -> None:
        self.listeners = list(listeners)
        self.listens = False
        self._poller = poller
        self._limits = limits
        self._clients = clients
        self._add = add
        self._notices = notices
        # The listeners whose sockets are open, by file descriptor.
        self._open: dict[int, Listener] = {}

    @property
    def address(self) -> tuple[str, int] | str | None:
        """The host and port, or the path, of the first open socket; None if none is open."""
        return next((listener.bound_to for listener in self._open.values()), None)

    # --- start and stop ------------------------------------------------------------------------

    def open(self) -> None:
        """Open the sockets, and accept clients from now on.

        Raises:
            OSError: an address cannot be used.
        """
        try:
            for listener in self.listeners:
                listener.open(self._limits.backlog)
                self._open[listener.fileno()] = listener
        except OSError:
            self.close()
            raise
        self._listen(yes=True)

    def refuse_new(self) -> bool:
        """Let the kernel drop new connections, so that those in the backlogs can be accepted before
        the sockets are closed. Returns False if it cannot do that for any of them.
        """
        # Not those in `_open`, which the thread that runs the event loop may be leaving.
        refused = [listener.refuse_new() for listener in self.listeners]
        return any(refused)

    def leave_shared(self, *, all_are: bool) -> None:
        """Close the sockets on which other processes listen as well.

        Args:
            all_are: whether other processes listen on all sockets.
        """
        for listener in [each for each in self._open.values() if each.is_shared or all_are]:
            self._leave(listener)

    def leave_all(self) -> None:
        """Close all sockets, because the server stops."""
        for listener in list(self._open.values()):
            self._leave(listener, is_last=True)

    def close(self) -> None:
        """Close all sockets at once. The connections in their backlogs are reset."""
        for listener in self.listeners:
            listener.close()
        self._open.clear()

    def _leave(self, listener: Listener, *, is_last: bool = False) -> None:
        """Stop listening on a socket. First accept all clients in the backlog, because closing the
        socket would reset their connections.
        """
        self._accept(listener, 1 << 20, is_last=is_last)
        fd = listener.fileno()
        del self._open[fd]
        if self.listens:
            self._poller.remove(fd)
        listener.close()

    # --- clients -------------------------------------------------------------------------------

    def accept_from(self, fd: int) -> None:
        """Accept the clients that wait at a readable socket. Do nothing if the descriptor is none
        of a listening socket.
        """
        listener = self._open.get(fd)
        if listener is not None:
            # Accept one client at a time from a shared socket, so that the other processes that
            # listen on it get their part.
            self._accept(listener, 1 if listener.is_shared else MAX_ACCEPTS)

    def resume(self) -> None:
        """Accept clients again, if that was suspended and there is room for one."""
        if not self.listens:
            self._listen(yes=len(self._clients) < self._limits.connections)

    def _accept(self, listener: Listener, max_count: int, *, is_last: bool = False) -> None:
        for accepted in range(max_count):
            # A server that stops accepts all clients in the backlog, because the connections that
            # are left there are reset.
            if len(self._clients) >= self._limits.connections and not is_last:
                if accepted:  # the poller will report if more clients wait
                    return
                if not self._make_room():
                    self._listen(yes=False)  # further clients wait in the backlog
                    return
            try:
                sock, host, port = listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:  # this client has left; others may wait
                continue
            except OSError as exc:
                if exc.errno in _EXHAUSTED:
                    logger.error("cannot accept connections at the moment: %s", exc.strerror)
                    # File descriptors or memory have run out, so accept no client until the next
                    # call of `resume`.
                    self._listen(yes=False)
                return
            self._add(sock, host, port, listener)

    def _make_room(self) -> bool:
        """Close the idle connections that would time out first, so that new clients can connect;
        returns False if no connection is idle.
        """
        most = self._limits.connections
        idle = [client for client in list(self._clients.values()) if client.state is IDLE]
        idle.sort(key=lambda client: client.deadline_s)
        for client in idle[: max(1, most // IDLE_PART)]:
            client.stop()
        made = len(self._clients) < most
        text = "closed idle ones for new clients" if made else "none is idle, new clients wait"
        self._notices.note(
            "connections", logging.WARNING, "all %d connections are open: %s", most, text
        )
        return made

    def _listen(self, *, yes: bool) -> None:
        if yes == self.listens:
            return
        self.listens = yes
        for fd in self._open:
            if yes:
                self._poller.add(fd, READ)
            else:
                self._poller.remove(fd)
