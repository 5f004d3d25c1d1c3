"""The decisions of the controller: which replicas an app has on the cluster.

`ControllerState` knows no Ray: a `Launcher` starts and ends the actors, and tells it what becomes
of them. All methods are called on one thread. Nothing here is stored: a controller that starts
again learns from the web workers what they want, and from the replicas what there is.
"""

from __future__ import annotations

import collections
import itertools
import logging
import os
import time
import typing as t
from dataclasses import dataclass, field

from .messages import Event, PoolFacts, ReplicaFacts, Snapshot, Versions
from .scaling import Scaler

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from .messages import Condition, LoadedReplica, Phase, PoolState, Report, WantedVersion

# A web worker that has said nothing for this long has died; it reports every second.
CLIENT_LEASE_S = 15.0
# How long replicas wait for a web worker, if the last one has ended or died: a server may just be
# restarted, and loading a model takes long.
UNUSED_S = 60.0
# How often replicas are asked how they are.
EXAMINE_S = 1.0
# A replica that has not answered for this long gets no batches until it does: its node may be lost,
# or `predict` holds the GIL.
SILENT_S = 10.0
# After this time another replica is started in its place. Ray does not always tell: a machine that
# starts again at the same address, before Ray has missed it, answers for the one that was lost.
LOST_S = 30.0
# How long a replica may take to say whether it really hangs.
HANG_ANSWER_S = 2.0
# A version whose other replicas find no room is served by those that there are after this time:
# they are started when the version before has ended.
ROOM_S = 10.0
# How long calls that are on their way may take to reach a replica that is to end.
LINGER_S = 0.5
# If a web worker does not say that it knows of the end of a replica, the replica ends after this.
RETIRE_S = 10.0
# How often a process may die while a version is loaded for the first time.
FIRST_DEATHS = 2
# The pauses before a replica is started again.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
# A replica that was ready for this long has not died of its start.
LIVED_S = 30.0
# How long a version that has been held is told to go on.
RESUME_S = 30.0
EVENTS = 100


class Launcher(t.Protocol):
    """Starts and ends the actors of replicas. The methods return at once; what becomes of a replica
    is told to `ControllerState`.
    """

    def start(self, name: str, wanted: WantedVersion, number: int) -> None:
        """Start an actor, which loads its model."""

    def examine(self, name: str) -> None:
        """Ask a replica how it is."""

    def drain(self, name: str) -> None:
        """Let a replica compute the batches that it has got, and refuse others."""

    def kill(self, name: str) -> None:
        """End an actor."""

    def lacking(self, wanted: WantedVersion) -> str:
        """Return what the cluster lacks for a replica, for a message."""


@dataclass(slots=True)
class _Client:
    """A web worker."""

    report: Report
    seen_s: float


@dataclass(slots=True)
class _Replica:
    """The state of one replica, which is an actor of Ray.

    Attributes:
        begun_s: when it was asked for.
        placed_s: when its process began to load the model.
        ready_s: when it was ready.
        leaves_because: why another one must take its place.
        ends_s: when a replica that is draining ends at the latest.
        is_drained: whether it has computed its last batch.
        hidden_serial: the first snapshot without it.
        examined_s: when it was asked last how it is.
        is_asked: whether it has not answered yet.
        hang_s: how long its batch was computed, as a web worker has said.
        hang_until_s: until when it must say that it does not hang.
    """

    name: str
    number: int
    restarts: int
    begun_s: float
    started_at_s: float
    phase: Phase = "waiting"
    node: str = ""
    pid: int | None = None
    resident_bytes: int | None = None
    placed_s: float | None = None
    ready_s: float | None = None
    leaves_because: str = ""
    ends_s: float = 0.0
    is_drained: bool = False
    hidden_serial: int = 0
    examined_s: float = 0.0
    is_asked: bool = False
    hang_s: float | None = None
    hang_until_s: float = 0.0

    def facts(self) -> ReplicaFacts:
        return ReplicaFacts(
            *(self.name, self.number, self.phase, self.node, self.pid),
            *(self.started_at_s, self.restarts, self.resident_bytes),
        )


@dataclass(slots=True)
class _NumberedPlace:
    """Counts of the replicas that have had the same number, one after the other."""

    starts: int = 0
    deaths: int = 0
    start_at_s: float = 0.0


@dataclass(slots=True)
class _Pool:
    """The replicas of a version of a model."""

    wanted: WantedVersion
    begun_s: float
    scaler: Scaler
    state: PoolState = "loading"
    reason: str = ""
    about: dict[str, t.Any] = field(default_factory=dict)
    replicas: dict[str, _Replica] = field(default_factory=dict)
    places: dict[int, _NumberedPlace] = field(default_factory=dict)
    first_deaths: int = 0
    unused_s: float | None = None
    is_ending: bool = False
    hold_s: float | None = None

    def __str__(self) -> str:
        want = self.wanted.want
        version = f", version {want['version']!r}" if want["version"] else ""
        return f"model {want['model']!r}{version}"

    def staying(self) -> list[_Replica]:
        """Return the replicas that are not asked to end."""
        return [each for each in self.replicas.values() if each.phase != "draining"]

    def ready(self) -> list[_Replica]:
        return [each for each in self.replicas.values() if each.phase == "ready"]

    def facts(self) -> PoolFacts:
        shown = [each.facts() for each in self.replicas.values() if not each.hidden_serial]
        return PoolFacts(self.state, self.reason, self.about, shown, self.hold_s)


class ControllerState:
    """Decides which replicas there are.

    Args:
        launcher: starts and ends their actors.
        clock: returns the time in seconds.
    """

    def __init__(
        self, launcher: Launcher, clock: cabc.Callable[[], float] = time.monotonic
    ) -> None:
        self._launcher = launcher
        self._clock = clock
        self._versions = Versions.here()
        self._clients: dict[str, _Client] = {}
        self._pools: dict[str, _Pool] = {}
        self._by_name: dict[str, _Pool] = {}
        self._resumed: dict[str, float] = {}
        self._events: collections.deque[Event] = collections.deque(maxlen=EVENTS)
        self._event_numbers = itertools.count(1)
        self._identity = os.urandom(8).hex()
        self._idle_since_s = clock()
        self.serial = 1
        #: Called when web workers should get a new snapshot.
        self.on_change: cabc.Callable[[], object] = lambda: None

    def is_unused(self) -> bool:
        """Whether nobody has needed this controller for a while."""
        if self._clients or self._pools:
            self._idle_since_s = self._clock()
        return self._clock() - self._idle_since_s >= UNUSED_S

    # --- web workers ---------------------------------------------------------------------------

    def report(self, report: Report) -> None:
        """Note what a web worker says."""
        if self._versions.difference(report.versions):
            return
        now_s = self._clock()
        if report.leaves:
            self._clients.pop(report.client, None)
        else:
            self._clients[report.client] = _Client(report, now_s)
            for wanted in report.wanted:
                if wanted.key not in self._pools:
                    self._add_pool(wanted)
        self.tick()

    def snapshot(self, report: Report) -> Snapshot:
        """Return what a web worker must know."""
        refused = self._versions.difference(report.versions)
        pools = {
            each.key: self._pools[each.key].facts()
            for each in report.wanted
            if each.key in self._pools and not refused
        }
        resumed = [key for key in self._resumed if key not in self._pools]
        return Snapshot(
            *(self._identity, self.serial, refused, pools),
            *(self._clock(), list(self._events), resumed),
        )

    def _users(self, pool: _Pool) -> list[_Client]:
        key = pool.wanted.key
        return [
            client
            for client in self._clients.values()
            if any(each.key == key for each in client.report.wanted)
        ]

    def _note(self, level: int, text: str) -> None:
        self._events.append(Event(next(self._event_numbers), level, text, self._clock()))
        self._change()

    def _change(self) -> None:
        self.serial += 1
        self.on_change()

    # --- what becomes of replicas --------------------------------------------------------------

    def adopt(
        self,
        name: str,
        wanted: WantedVersion,
        number: int,
        loaded: LoadedReplica,
        node: str,
        pid: int,
    ) -> None:
        """Take over a replica that a controller before this one has started."""
        if loaded.failure:
            self._launcher.kill(name)
            return
        pool = self._pools.get(wanted.key) or self._add_pool(wanted, starts=False)
        while any(each.number == number for each in pool.staying()):
            number += 1
        replica = self._add_replica(pool, number, name)
        self.placed(name, node, pid)
        self._make_ready(pool, replica, loaded)
        pool.scaler.number = max(pool.scaler.number, min(wanted.most, len(pool.replicas)))
        self._note(logging.INFO, f"{pool}: replica {replica.number} on {node} is taken over")

    def placed(self, name: str, node: str, pid: int) -> None:
        """Note that the process of a replica begins to load its model. The news may arrive after
        that of the loaded model, because Ray keeps the order of the calls of one process only.
        """
        replica = self._find(name)
        if replica is None or replica.node:
            return
        replica.node, replica.pid = node, pid
        if replica.phase == "waiting":
            replica.phase, replica.placed_s = "loading", self._clock()
        self._change()

    def loaded(self, name: str, loaded: LoadedReplica) -> None:
        """Note that a replica has loaded its model, or could not."""
        replica = self._find(name)
        if replica is None or replica.phase not in ("waiting", "loading"):
            return
        pool = self._by_name[name]
        if loaded.failure:
            self._launcher.kill(name)
            self._lose(pool, replica, loaded.failure, is_fault_of_model=True)
            return
        self._make_ready(pool, replica, loaded)
        self._retire_replaced(pool, replica)
        self.tick()

    def _make_ready(self, pool: _Pool, replica: _Replica, loaded: LoadedReplica) -> None:
        replica.phase, replica.ready_s = "ready", self._clock()
        replica.examined_s = replica.ready_s
        pool.about = pool.about or loaded.about
        pool.reason = ""
        self._change()

    def examined(self, name: str, condition: Condition) -> None:
        """Note what a replica has said of itself."""
        replica = self._find(name)
        if replica is None:
            return
        replica.resident_bytes, replica.is_asked = condition.resident_bytes, False
        pool = self._by_name[name]
        if replica.phase == "hanging":
            replica.phase = "ready"
            self._note(logging.INFO, f"{pool}: replica {replica.number} answers again")
        if condition.is_broken:
            self._kill(pool, replica, f"it is broken: {condition.fault}")
            return
        if (hang_s := replica.hang_s) is not None:
            replica.hang_s = None
            # The clocks of both began at slightly different times.
            if condition.computing_s >= hang_s / 2:
                self._kill(pool, replica, _hangs(hang_s))
                return
        limit = pool.wanted.want["max_rss_bytes"]
        if limit and (condition.resident_bytes or 0) >= limit:
            replica.leaves_because = f"it uses {condition.resident_bytes} bytes (max_rss={limit})"
        elif condition.fault:
            replica.leaves_because = condition.fault

    def drained(self, name: str) -> None:
        """Note that a replica has computed its last batch."""
        if (replica := self._find(name)) is not None:
            replica.is_drained = True
            replica.ends_s = min(replica.ends_s, self._clock() + RETIRE_S)

    def died(self, name: str, reason: str) -> None:
        """Note that the actor of a replica has ended."""
        if (replica := self._find(name)) is None:
            return
        pool = self._by_name[name]
        if replica.phase == "draining":
            self._forget(pool, replica)
        else:
            self._lose(pool, replica, reason, is_fault_of_model=False)

    def hangs(self, name: str, took_s: float) -> None:
        """Note that a batch of a replica has not been computed within its deadline, as a web worker
        says; or that the replica must be killed, with `took_s=0`. The replica is asked first: the
        web worker's message may come too late.
        """
        replica = self._find(name)
        if replica is None or replica.ready_s is None:
            return
        if not took_s:
            self._kill(self._by_name[name], replica, "it has sent something that is no message")
        elif replica.hang_s is None:
            replica.hang_s, replica.hang_until_s = took_s, self._clock() + HANG_ANSWER_S
            self._launcher.examine(name)

    def _find(self, name: str) -> _Replica | None:
        pool = self._by_name.get(name)
        return None if pool is None else pool.replicas.get(name)

    def _kill(self, pool: _Pool, replica: _Replica, reason: str) -> None:
        self._launcher.kill(replica.name)
        if replica.phase == "draining":
            self._forget(pool, replica)
        else:
            self._lose(pool, replica, reason, is_fault_of_model=False)

    def _lose(
        self, pool: _Pool, replica: _Replica, reason: str, *, is_fault_of_model: bool
    ) -> None:
        """Go on without a replica, and start another one later."""
        was_ready = replica.ready_s is not None
        self._forget(pool, replica)
        if pool.state == "loading" and not was_ready:
            pool.first_deaths += 1
            if is_fault_of_model or pool.first_deaths >= FIRST_DEATHS:
                self._refuse(pool, reason)
                return
        place = pool.places[replica.number]
        lived_s = self._clock() - (replica.ready_s or self._clock())
        place.deaths = 0 if lived_s >= LIVED_S else place.deaths + 1
        pause_s = min(FIRST_PAUSE_S * 2**place.deaths, LONGEST_PAUSE_S)
        place.start_at_s = self._clock() + pause_s
        self._note(
            logging.ERROR,
            f"{pool}: replica {replica.number} on {replica.node or 'no node'} has ended: {reason}."
            f" Another one is started in {pause_s:g} s",
        )

    def _forget(self, pool: _Pool, replica: _Replica) -> None:
        pool.replicas.pop(replica.name, None)
        self._by_name.pop(replica.name, None)
        self._change()

    # --- pools ---------------------------------------------------------------------------------

    def _add_pool(self, wanted: WantedVersion, *, starts: bool = True) -> _Pool:
        scaler = Scaler(wanted.least, wanted.most, wanted.batch)
        pool = self._pools[wanted.key] = _Pool(wanted, self._clock(), scaler)
        if starts:
            number = _count(wanted.least)
            self._note(logging.INFO, f"{pool}: starting {number} on the Ray cluster")
        return pool

    def _add_replica(self, pool: _Pool, number: int, name: str = "") -> _Replica:
        place = pool.places.setdefault(number, _NumberedPlace())
        name = name or f"replica-{os.urandom(6).hex()}"
        replica = _Replica(name, number, place.starts, self._clock(), time.time())
        place.starts += 1
        pool.replicas[name] = replica
        self._by_name[name] = pool
        return replica

    def _start(self, pool: _Pool, number: int) -> _Replica:
        replica = self._add_replica(pool, number)
        self._launcher.start(replica.name, pool.wanted, number)
        self._change()
        return replica

    def _refuse(self, pool: _Pool, reason: str) -> None:
        pool.state, pool.reason = "refused", reason
        self._note(logging.ERROR, f"{pool} cannot be served: {reason}")
        self._end_exchange(pool)
        for replica in list(pool.replicas.values()):
            self._launcher.kill(replica.name)
            self._forget(pool, replica)

    def _end(self, pool: _Pool, reason: str) -> None:
        if not pool.is_ending:
            pool.is_ending = True
            self._note(logging.INFO, f"{pool}: its replicas end: {reason}")
        for replica in pool.staying():
            self._retire(pool, replica)

    def _retire(self, pool: _Pool, replica: _Replica) -> None:
        """Let a replica compute its last batches, and end."""
        if replica.ready_s is None:
            self._launcher.kill(replica.name)
            self._forget(pool, replica)
            return
        replica.phase = "draining"
        replica.ends_s = self._clock() + max(RETIRE_S, pool.wanted.want["start_timeout_s"])
        self._change()
        replica.hidden_serial = self.serial
        self._launcher.drain(replica.name)

    def _retire_replaced(self, pool: _Pool, successor: _Replica) -> None:
        for each in pool.staying():
            if each.number == successor.number and each is not successor and each.leaves_because:
                self._retire(pool, each)

    # --- time ----------------------------------------------------------------------------------

    def tick(self) -> None:
        """Do what is due. Call this at least every half second."""
        now_s = self._clock()
        for name, client in list(self._clients.items()):
            if now_s - client.seen_s > CLIENT_LEASE_S:
                del self._clients[name]
        for key, at_s in list(self._resumed.items()):
            if now_s - at_s > RESUME_S:
                del self._resumed[key]
        for pool in list(self._pools.values()):
            self._attend(pool, now_s)
            is_over = pool.is_ending or (pool.state == "refused" and not self._users(pool))
            if is_over and not pool.replicas:
                del self._pools[pool.wanted.key]

    def _attend(self, pool: _Pool, now_s: float) -> None:
        self._end_draining(pool, now_s)
        if pool.is_ending or pool.state == "refused":
            return
        users = self._users(pool)
        if not users and self._has_ended(pool, now_s):
            return
        if users:
            pool.unused_s = None
        self._examine(pool, now_s)
        if pool.state == "loading" and not self._is_loading_well(pool, now_s):
            return
        key = pool.wanted.key
        demand = sum(each.report.demand.get(key, 0) for each in users)
        before = pool.scaler.number
        number = pool.scaler.note(now_s, demand) if pool.state == "ready" else before
        if number != before:
            self._note(
                logging.INFO,
                f"{pool}: {_count(number)} instead of {before}, because {demand} predictions wait"
                " or are computed",
            )
        self._fill(pool, number, now_s)
        self._replace(pool, now_s)

    def _has_ended(self, pool: _Pool, now_s: float) -> bool:
        """End a version that no web worker wants any more: at once if they want another version
        instead, or else after a while.
        """
        want = pool.wanted.want
        replaced = any(
            other.wanted.want["model"] == want["model"] and other is not pool and self._users(other)
            for other in self._pools.values()
        )
        if pool.unused_s is None:
            pool.unused_s = now_s
        if replaced:
            self._end(pool, "another version takes its place")
        elif now_s - pool.unused_s >= UNUSED_S:
            self._end(pool, f"no web worker has wanted them for {UNUSED_S:g} s")
        return pool.is_ending

    def _end_draining(self, pool: _Pool, now_s: float) -> None:
        """End the replicas of which every web worker knows that it must not use them."""
        users = self._users(pool)
        for replica in list(pool.replicas.values()):
            if replica.phase != "draining":
                continue
            known = all(each.report.serial >= replica.hidden_serial for each in users)
            if replica.is_drained and known:
                replica.ends_s = min(replica.ends_s, now_s + LINGER_S)
            if now_s >= replica.ends_s:
                self._launcher.kill(replica.name)
                self._forget(pool, replica)

    def _examine(self, pool: _Pool, now_s: float) -> None:
        for replica in list(pool.replicas.values()):
            if replica.hang_s is not None and now_s >= replica.hang_until_s:
                self._kill(pool, replica, _hangs(replica.hang_s))
            elif replica.is_asked:
                if replica.phase == "ready" and now_s - replica.examined_s >= SILENT_S:
                    replica.phase = "hanging"
                    self._note(
                        logging.WARNING,
                        f"{pool}: replica {replica.number} on {replica.node} has not answered for"
                        f" {SILENT_S:g} s, and gets no batches until it does",
                    )
                elif replica.phase == "hanging" and now_s - replica.examined_s >= LOST_S:
                    replica.leaves_because = f"it has not answered for {LOST_S:g} s"
            elif replica.phase == "ready" and now_s - replica.examined_s >= EXAMINE_S:
                replica.examined_s, replica.is_asked = now_s, True
                self._launcher.examine(replica.name)

    def _is_loading_well(self, pool: _Pool, now_s: float) -> bool:
        """Serve a version when there are enough replicas. Returns False if it is refused, because
        that takes too long.
        """
        limit_s = pool.wanted.want["start_timeout_s"]
        waiting = [each for each in pool.staying() if each.phase == "waiting"]
        ready = pool.ready()
        for replica in pool.staying():
            if replica.phase == "loading" and now_s - (replica.placed_s or now_s) >= limit_s:
                self._refuse(
                    pool,
                    f"a replica on {replica.node} has not loaded the model within {limit_s:g} s"
                    " (start_timeout_s)",
                )
                return False
        waits_s = now_s - pool.begun_s
        if len(ready) >= pool.wanted.least:
            self._open(pool)
        elif ready and len(ready) + len(waiting) >= pool.wanted.least and waits_s >= ROOM_S:
            self._note(
                logging.WARNING,
                f"{pool} is served by {len(ready)} of {pool.wanted.least} replicas:"
                f" {self._launcher.lacking(pool.wanted)}",
            )
            self._open(pool)
        elif waiting and not ready and waits_s >= ROOM_S:
            self._find_room(pool)
            if waits_s >= limit_s:
                self._refuse(pool, f"{pool.reason} within {limit_s:g} s (start_timeout_s)")
                return False
        return True

    def _open(self, pool: _Pool) -> None:
        pool.state, pool.reason = "ready", ""
        self._end_exchange(pool, has_failed=False)
        self._note(logging.INFO, f"{pool}: {_count(len(pool.ready()))} ready")

    def _find_room(self, pool: _Pool) -> None:
        """Let the version before end first, if that is allowed."""
        lacking = self._launcher.lacking(pool.wanted)
        if pool.reason != lacking:
            pool.reason = lacking
            self._note(logging.WARNING, f"{pool} waits for room: {lacking}")
        served, hold_s = self._beside(pool), pool.wanted.want["hold_s"]
        if served is not None and hold_s is not None and served.hold_s is None:
            served.hold_s = hold_s
            self._note(
                logging.INFO,
                f"{served}: predictions wait for at most {hold_s:g} s while its replicas end,"
                f" before those of version {pool.wanted.want['version']!r} start: there is no"
                " room for both",
            )

    def _beside(self, pool: _Pool) -> _Pool | None:
        """Return the version that is served while this one is loaded."""
        key = pool.wanted.want["beside"]
        return next(
            (
                each
                for each in self._pools.values()
                if key and each.wanted.want["key"] == key and not each.is_ending
            ),
            None,
        )

    def _end_exchange(self, pool: _Pool, *, has_failed: bool = True) -> None:
        """Let the version go on that was held for another one, if that one cannot be served."""
        key = pool.wanted.want["beside"]
        if key and has_failed and pool.wanted.want["hold_s"] is not None:
            self._resumed[key] = self._clock()
        if (served := self._beside(pool)) is not None:
            served.hold_s = None

    def _fill(self, pool: _Pool, number: int, now_s: float) -> None:
        """Start the replicas that are missing, and end those that are too many."""
        there = {each.number for each in pool.staying()}
        for place in range(1, number + 1):
            known = pool.places.get(place)
            if place not in there and (known is None or now_s >= known.start_at_s):
                self._start(pool, place)
        for replica in pool.staying():
            if replica.number > number:
                self._retire(pool, replica)

    def _replace(self, pool: _Pool, now_s: float) -> None:
        """Start the successor of a replica that must leave, one at a time."""
        staying = pool.staying()
        numbers = [each.number for each in staying]
        if len(numbers) != len(set(numbers)):
            return
        for replica in staying:
            place = pool.places[replica.number]
            is_up = replica.phase in {"ready", "hanging"}
            if replica.leaves_because and is_up and now_s >= place.start_at_s:
                self._note(
                    logging.INFO,
                    f"{pool}: replica {replica.number} is replaced: {replica.leaves_because}",
                )
                self._start(pool, replica.number)
                return


def _count(replicas: int) -> str:
    return "1 replica" if replicas == 1 else f"{replicas} replicas"


def _hangs(took_s: float) -> str:
    return f"it has computed a batch for {took_s:.3g} s, longer than its deadline allows"
