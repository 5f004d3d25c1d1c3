"""One request and what is known of the client that waits for its answer."""

from __future__ import annotations

import typing as t
from functools import partial

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .rsgi import Future, Protocol, Scope


class Connection:
    """A client's connection that is watched. `leave` is called once when it ends, if it is set."""

    __slots__ = ("gone", "leave")

    def __init__(self) -> None:
        self.gone = False
        self.leave: cabc.Callable[[], object] | None = None

    def on_leave(self, leave: cabc.Callable[[], object]) -> None:
        """Call this when the client goes, or now if it has gone."""
        self.leave = leave
        if self.gone:
            leave()


class Exchange:
    """A request on its way to an answer.

    Attributes:
        headers: of the scope, which copies them each time it is asked.
        client: address and port; one connection's alone while it lasts.
        connection: None while nobody wanted to know of its end.
        outcome: what the app shall answer for, where it is known before the app is asked.
    """

    __slots__ = ("client", "connection", "headers", "outcome", "protocol", "scope")

    def __init__(self, scope: Scope, protocol: Protocol, connections: Connections) -> None:
        self.scope = scope
        self.protocol = protocol
        self.headers = scope.headers
        self.client = client = scope.client
        self.connection: Connection | None = connections.get(client)
        self.outcome: Exception | None = None


class Connections(dict[str, Connection]):
    """The connections that are watched, by client. Thread-safe.

    HTTP/1.1 has one request at a time on a connection, so each has one that cares at most.
    """

    def watch(self, exchange: Exchange) -> Connection:
        """The connection of a request.

        PERF: watched once, not for each request: granian keeps a watch until the connection ends,
        and one for each of ten thousand predictions on it would be a leak. granian also tells one
        watch only. So whether there is one must be known from when the request arrived: later, that
        of a client who left meanwhile would be forgotten, and a second would never hear of it.
        """
        connection = exchange.connection
        if connection is None:
            connection = exchange.connection = self[exchange.client] = Connection()
            watch = exchange.protocol.client_disconnect()
            watch.add_done_callback(partial(self._end, exchange.client, connection))
        return connection

    def _end(self, client: str, connection: Connection, _: Future) -> None:
        # The same address may have connected anew before this is heard of.
        if self.get(client) is connection:
            del self[client]
        connection.gone = True
        leave = connection.leave
        if leave is not None:
            leave()
