"""Replicas of a version that start when those of the version before have ended, because there is no
memory for both.

    a client wants version 8 --> every client of version 7 is told to hold: it lets new predictions
                                 wait, computes those before, and releases version 7
         the last has released --> the replicas of 7 end --> those of 8 start --> granted
                                                                 `--> they fail: refused, and every
                                                                      client is told to resume 7
"""

from __future__ import annotations

import time
import typing as t

from ...core.processmemory import memory_of
from ...models.versions.memoryroom import ServedVersion, no_end_of
from .. import log

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ...models.replicas.supervision import WantedReplicas
    from .replicapool import ReplicaPool
    from .replicasupervisor import ModelsClient


class ReplicaExchange:
    """The replicas of one version take the place of those of another.

    Args:
        served: the replicas that are to end.
        want: what the first client has asked for.
        generation: that of the code of both.

    Attributes:
        waiting: the clients that wait for the new replicas.
        ends_s: when the old replicas must have been released by all clients.
        pool: the new replicas; None before they are started.
    """

    def __init__(self, served: ReplicaPool, want: WantedReplicas, generation: int) -> None:
        self.served = served
        self.want = want
        self.generation = generation
        self.waiting: set[ModelsClient] = set()
        self.pool: ReplicaPool | None = None
        self._limit_s = want["hold_s"] or 0.0
        self.ends_s = time.monotonic() + self._limit_s
        self._told: set[ModelsClient] = set()

    @property
    def is_due(self) -> bool:
        """Whether something is to be done at the time `ends_s`."""
        return self.pool is None and not self.served.is_ending

    def begin(self, client: ModelsClient, users: cabc.Iterable[ModelsClient]) -> None:
        """Let the clients of the old replicas release them.

        Args:
            client: the client that wants the new replicas.
            users: the clients of the old ones.
        """
        log.logger.info(
            "%s: predictions wait for at most %g s while its replicas end, before those of version"
            " %r start: there is no memory for both",
            *(self.served, self._limit_s, self.want["version"]),
        )
        self.waiting.add(client)
        self._told |= set(users)
        for each in self._told:
            each.channel.send("hold", {"key": self.served.want["key"], "limit_s": self._limit_s})

    def concerns(self, client: ModelsClient, want: WantedReplicas) -> bool:
        """Let a client wait that wants the same replicas, or refuse those that are to end; return
        whether it is one of these. A client with other code wants other replicas.
        """
        if want["generation"] not in (None, self.generation):
            return False
        if want["key"] == self.want["key"] and self.pool is None:
            self.waiting.add(client)
            return True
        has_failed = self.pool is not None and self.pool.is_ending
        if want["key"] == self.served.want["key"] and not has_failed:
            reason = f"Version {self.want['version']!r} takes its place."
            client.refuse(want["key"], reason)
            return True
        return False

    def forget(self, client: ModelsClient) -> None:
        """Do not send anything to a client that has disconnected."""
        self.waiting.discard(client)
        self._told.discard(client)

    def why_late(self) -> str:
        return no_end_of(self.served.want["version"], self._limit_s)

    def refuse(self, reason: str) -> None:
        for client in self.waiting:
            client.refuse(self.want["key"], reason)

    def resume(self) -> None:
        """Let the clients of the old replicas want them again."""
        for client in self._told:
            client.channel.send("resume", {"key": self.served.want["key"]})


def measure_served(pool: ReplicaPool) -> ServedVersion:
    """Return how much memory the replicas of a version take. One of them must be ready."""
    about = pool.about
    assert about is not None
    memory = [memory_of(each.pid) for each in pool.processes if each.loaded is not None]
    return ServedVersion(
        name=pool.want["version"],
        files_bytes=pool.want["files_bytes"],
        loaded_bytes=about["loaded_bytes"],
        load_s=about["took_s"],
        process_bytes=max((each.own_bytes for each in memory if each is not None), default=0),
        copies=len(pool.places),
    )
