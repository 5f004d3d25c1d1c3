"""The supervisor's part that concerns replicas: answers on the models' socket, and keeps a pool of
replicas for each version of a model that a client has asked for.

The supervisor runs no user code, so it learns of a model from the first process that wants it. A
pool ends when the last client has released it; if clients have died without doing so, it waits for
the next ones for a while, so that the death of a worker does not unload a model.

PERF: the modules for pools are imported with the first model that has replicas: importing them
takes 10 ms, and importing all others of the supervisor 29.
"""

from __future__ import annotations

import logging
import os
import selectors
import time
import typing as t
from functools import partial

from ...errors import AddressError, ModelFileError, ModelLoadError
from .. import log
from ..unixsocket import UnixSocket
from .messagesocket import MessageSocket
from .serverstate import ReplicaState

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import socket

    from ...models.replicas.supervision import (
        AppIdentity,
        GivesBack,
        Granted,
        Hangs,
        NotGranted,
        ReplicaJob,
        WantedReplicas,
    )
    from ..management.management import Management
    from .childprocess import ChildProcess
    from .replicaexchange import ReplicaExchange
    from .replicafolder import ReplicaFolder
    from .replicapool import ReplicaPool, ReplicaProcess
    from .supervisorlog import SupervisorLog

# How long a pool without clients waits for the next one, if its clients have died.
UNUSED_S = 120.0
# How long no client is accepted after descriptors or memory have run out.
PAUSE_S = 1.0
# The interval at which memory and health of replicas are looked at, if that is asked for.
LOOK_S = 1.0


class ModelsClient:
    """A process that is connected to the models' socket.

    Attributes:
        pools: the pools that the process uses, or waits for.
        waiting: those that it waits for.
        is_foreign: whether the supervisor has not started the process.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.channel = MessageSocket(sock)
        self.pools: set[ReplicaPool] = set()
        self.waiting: set[ReplicaPool] = set()
        self.is_foreign = False

    def refuse(self, key: str, reason: str, *, is_other_app: bool = False) -> None:
        """Say why the process does not get the replicas of a version."""
        refusal: NotGranted = {"key": key, "reason": reason, "is_other_app": is_other_app}
        self.channel.send("refused", refusal)


class ReplicaSupervisor:
    """Keeps the replicas of all models. All methods are called on the thread of the supervisor's
    loop, `state` excepted.

    Args:
        target: the import path of the app.
        selector: of the supervisor's loop; the data of each key is a function to call.
        log_files: where the processes of replicas send the lines of their logs.
        grace_s: how long a replica may compute its last batch.
    """

    def __init__(
        self,
        target: str | None,
        selector: selectors.BaseSelector,
        log_files: SupervisorLog,
        grace_s: float,
    ) -> None:
        self._target = target
        self._selector = selector
        self._log = log_files
        self._grace_s = grace_s
        self._pools: list[ReplicaPool] = []
        self._exchanges: list[ReplicaExchange] = []
        self._clients: set[ModelsClient] = set()
        # The app of the workers; None until one of them has wanted replicas. What processes that
        # this supervisor has not started want before waits until then.
        self._app: AppIdentity | None = None
        self._early: list[tuple[ModelsClient, WantedReplicas]] = []
        self._folder: ReplicaFolder | None = None
        self._named: UnixSocket | None = None
        self._look_at_s = 0.0
        # The listening sockets at which no client is accepted for a while, and until when.
        self._paused: set[socket.socket] = set()
        self._resume_at_s = 0.0
        self._notices = log.Notices()
        self._is_folder_lost = False
        #: How many reloads have been asked for.
        self.generation = 0
        #: Asks the processes of replicas for `carboy ctl`; None before it listens.
        self.management: Management | None = None

    # --- the sockets ---------------------------------------------------------------------------

    def open(self) -> str:
        """Listen on the models' socket, unless this was done before; return its path.

        Raises:
            AddressError: there is no folder for it, or no descriptor left.
        """
        if self._folder is None:
            try:  # without a descriptor, not even the module can be read
                from .replicafolder import ReplicaFolder

                self._folder = ReplicaFolder()
            except OSError as exc:
                reason = f"Cannot open the socket of the replicas: {exc.strerror}."
                raise AddressError(reason) from exc
            self._listen(self._folder.listener)
        self._restore_folder(self._folder)
        return self._folder.socket_path

    def _restore_folder(self, folder: ReplicaFolder) -> None:
        """Create the folder again if it was removed, such as by a program that cleans temporary
        folders.
        """
        listener = folder.listener
        try:
            if not folder.restore():
                return
        except OSError as exc:
            if not self._is_folder_lost:
                log.logger.error(
                    "the folder with the sockets of the replicas was removed, and cannot be created"
                    " again: %s. New workers and replicas cannot be reached until that works",
                    exc,
                )
            self._is_folder_lost = True
            return
        self._is_folder_lost = False
        if listener in self._paused:
            self._paused.remove(listener)
        else:
            self._selector.unregister(listener)
        self._listen(folder.listener)
        log.logger.warning(
            "the folder with the sockets of the replicas, %s, was removed, and is created again. If"
            " a program has removed it that cleans temporary folders, set XDG_RUNTIME_DIR",
            folder.path,
        )

    def _replace_unreachable(self) -> None:
        """Replace the replicas whose sockets were removed: no other client could connect."""
        for process in (process for pool in self._pools for process in pool.processes):
            if process.phase == "ready" and not os.path.lexists(process.path):
                process.leave_because = process.leave_because or "its socket was removed"

    def open_named(self, path: str) -> None:
        """Listen on one more socket, which processes of other servers find.

        Raises:
            AddressError: the path cannot be taken.
        """
        self.open()
        self._named = UnixSocket(
            path,
            0o600,
            128,
            failure=f"Cannot create the models' socket {path}",
            option="--socket",
            shown_by=f"ss -xlp src {path}",
        )
        self._named.socket.setblocking(False)
        self._listen(self._named.socket)

    def _listen(self, listener: socket.socket) -> None:
        self._selector.register(listener, selectors.EVENT_READ, partial(self._accept, listener))

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # the client has left
            return
        except OSError as exc:
            self._pause(listener, exc)
            return
        client = ModelsClient(sock)
        self._clients.add(client)
        client.channel.watch(self._selector, partial(self._receive, client))

    def _pause(self, listener: socket.socket, exc: OSError) -> None:
        """Accept no client for a while, because descriptors or memory have run out. The socket
        stays readable, so the loop would do nothing else meanwhile.
        """
        self._notices.note(
            "clients",
            logging.ERROR,
            "cannot accept a client of the replicas: %s; trying again in %g s",
            *(exc.strerror, PAUSE_S),
        )
        self._selector.unregister(listener)
        self._paused.add(listener)
        self._resume_at_s = time.monotonic() + PAUSE_S

    def _resume(self) -> None:
        while self._paused:
            self._listen(self._paused.pop())

    # --- messages of clients -------------------------------------------------------------------

    def _receive(self, client: ModelsClient) -> None:
        try:
            for word, payload in client.channel.receive():
                _HANDLERS[word](self, client, payload)
        except (ValueError, KeyError, TypeError):
            client.channel.has_ended = True  # this is not a client of replicas
        if client.channel.has_ended:
            self._disconnect(client)

    def _disconnect(self, client: ModelsClient) -> None:
        client.channel.close()
        self._clients.discard(client)
        self._early = [each for each in self._early if each[0] is not client]
        for exchange in self._exchanges:
            exchange.forget(client)
        for pool in client.pools:
            pool.renew_tokens()
            if not self._clients_of(pool):
                pool.unused_s = time.monotonic()

    def _want(self, client: ModelsClient, want: WantedReplicas) -> None:
        client.is_foreign = want["generation"] is None
        if client.is_foreign:
            # A process that runs an earlier version of carboy does not tell its app.
            want = t.cast("WantedReplicas", {"app": "", "folder": "", **want})
            if self._app is None:
                self._early.append((client, want))
                return
            if reason := self._app.why_other(want):
                self._log_other_app(self._app, want)
                client.refuse(want["key"], reason, is_other_app=True)
                return
        self._grant(client, want)
        if not client.is_foreign:
            self._learn_app(want)

    def _learn_app(self, want: WantedReplicas) -> None:
        from ...models.replicas.supervision import AppIdentity

        self._app = AppIdentity(want["app"], want["folder"])
        early, self._early = self._early, []
        for each in early:
            self._want(*each)

    def _log_other_app(self, served: AppIdentity, want: WantedReplicas) -> None:
        self._notices.note(
            "other app",
            logging.WARNING,
            "a process of another app asks for replicas here, and gets none: %r in %s. This server"
            " serves %r in %s",
            *(want["app"], want["folder"], *served),
        )

    def _grant(self, client: ModelsClient, want: WantedReplicas) -> None:
        if any(exchange.concerns(client, want) for exchange in self._exchanges):
            return
        pool = self._find(want)
        if pool is None:
            generation = self.generation if want["generation"] is None else want["generation"]
            try:
                if self._begin_exchange(client, want, generation):
                    return
                pool = self._create(want, generation)
            except (ModelLoadError, ModelFileError, OSError) as exc:
                client.refuse(want["key"], str(exc))
                return
        self._attach(client, pool)

    def _attach(self, client: ModelsClient, pool: ReplicaPool) -> None:
        pool.unused_s = None
        client.pools.add(pool)
        client.waiting.add(pool)
        self._answer(pool)

    def _find(self, want: WantedReplicas) -> ReplicaPool | None:
        """Return the pool for a client. A client that this supervisor has not started gets the
        newest code that has been loaded.
        """
        named = [each for each in self._pools if _is_named(each, want) and not each.is_ending]
        if want["generation"] is not None:
            named = [each for each in named if each.generation == want["generation"]]
        return max(named, key=lambda each: (each.was_ready, each.generation), default=None)

    def _create(self, want: WantedReplicas, generation: int) -> ReplicaPool:
        """Start the replicas of a version.

        Raises:
            ModelLoadError: they cannot be started.
        """
        folder = t.cast("ReplicaFolder", self._folder).path
        try:  # without a descriptor, neither the module can be read nor the pipe be made
            from .replicapool import ReplicaPool

            pool = ReplicaPool(want, generation, folder, self._launch, self._grace_s)
        except OSError as exc:
            failure = f"cannot start replicas of model {want['model']!r}: {exc.strerror}"
            log.logger.error("%s", failure)
            raise ModelLoadError(failure) from exc
        self._pools.append(pool)
        number, devices = want["replicas"], want["devices"]
        replicas = "1 replica" if number == 1 else f"{number} replicas"
        on_devices = f" on {', '.join(devices)}" if devices else ""
        log.logger.info("%s: starting %s%s", pool, replicas, on_devices)
        try:
            pool.start()
        except (ModelLoadError, OSError) as exc:
            pool.failure = f"{pool}: {exc}"
            pool.end()
            raise ModelLoadError(pool.failure) from exc
        return pool

    # --- versions that do not fit into the memory together --------------------------------------

    def _begin_exchange(self, client: ModelsClient, want: WantedReplicas, generation: int) -> bool:
        """Let the replicas of the version that is served end before those start that a client
        wants, if there is no memory for both. Returns False if there is.

        Raises:
            ModelFileError: predictions cannot wait meanwhile.
        """
        same_code = [each for each in self._pools if each.generation == generation]
        served = next((each for each in same_code if each.want["key"] == want["beside"]), None)
        if served is None or served.is_ending or served.about is None:
            return False
        from ...models.versions.memoryroom import must_hold
        from .replicaexchange import ReplicaExchange, measure_served

        if not must_hold(measure_served(served), want["files_bytes"], want["hold_s"]):
            return False
        exchange = ReplicaExchange(served, want, generation)
        self._exchanges.append(exchange)
        exchange.begin(client, self._clients_of(served))
        return True

    def _attend_exchange(self, exchange: ReplicaExchange, now_s: float) -> None:
        served = exchange.served
        if exchange.pool is not None:
            if exchange.pool.was_ready or exchange.pool.is_ending:
                self._exchanges.remove(exchange)
                if not exchange.pool.was_ready:
                    exchange.resume()
        elif served.is_ending:
            if served not in self._pools:
                self._start_exchanged(exchange)
        elif not self._clients_of(served):
            served.end()
        elif now_s >= exchange.ends_s or not exchange.waiting:
            self._call_off(exchange, exchange.why_late())

    def _start_exchanged(self, exchange: ReplicaExchange) -> None:
        if not exchange.waiting:  # these clients have died
            self._call_off(exchange, "")
            return
        try:
            exchange.pool = pool = self._create(exchange.want, exchange.generation)
        except ModelLoadError as exc:
            self._call_off(exchange, str(exc))
            return
        for client in exchange.waiting:
            self._attach(client, pool)

    def _call_off(self, exchange: ReplicaExchange, reason: str) -> None:
        self._exchanges.remove(exchange)
        exchange.refuse(reason)
        exchange.resume()

    def _hangs(self, client: ModelsClient, hangs: Hangs) -> None:
        for pool in client.pools:
            if _is_named(pool, hangs):
                pool.report_hang(hangs["replica"], hangs["took_s"])

    def _release(self, client: ModelsClient, release: GivesBack) -> None:
        for pool in [each for each in client.pools if _is_named(each, release)]:
            client.pools.discard(pool)
            client.waiting.discard(pool)
            if not self._clients_of(pool):
                log.logger.info("%s: no process needs these replicas any more", pool)
                pool.end()

    def move_clients(self) -> None:
        """Let processes that this supervisor has not started use the replicas with the newest code:
        they ask again when they are disconnected.
        """
        for client in list(self._clients):
            if any(pool.generation < self.generation for pool in client.pools if client.is_foreign):
                self._disconnect(client)

    def _clients_of(self, pool: ReplicaPool) -> list[ModelsClient]:
        return [client for client in self._clients if pool in client.pools]

    def _answer(self, pool: ReplicaPool) -> None:
        """Answer the clients that wait for a pool, if its replicas are ready, or failed."""
        about = pool.about
        for client in self._clients_of(pool):
            if pool not in client.waiting:
                continue
            if pool.failure:
                client.pools.discard(pool)
                client.refuse(pool.want["key"], pool.failure)
            elif pool.was_ready and about is not None:
                granted: Granted = {
                    "key": pool.want["key"],
                    "folder": pool.folder,
                    "about": about,
                }
                client.channel.send("granted", granted, [pool.reading_fd])
            else:
                continue
            client.waiting.discard(pool)

    # --- processes -----------------------------------------------------------------------------

    def _launch(
        self,
        pool: ReplicaPool,
        process: ReplicaProcess,
        job: ReplicaJob,
        fds: list[int],
        variables: dict[str, str],
    ) -> None:
        process.handlers["log"] = partial(self._log.follow, process)
        process.handlers["warning"] = self._log.warn
        process.handlers["broken"] = partial(pool.give_up_broken, process)
        if self.management is not None:
            self.management.watch_replica(process)
        fds = [*fds, t.cast("ReplicaFolder", self._folder).lock_fd]
        process.start({"target": self._target, "replica": job}, fds, variables)
        process.watch(self._selector, partial(self._hear, pool, process))

    def _hear(self, pool: ReplicaPool, process: ReplicaProcess) -> None:
        was_ready = process.was_ready
        process.read_messages()
        # One that was given up may become ready just before it is killed.
        is_welcome = process.phase == "ready" and not pool.is_ending
        if process.was_ready and not was_ready and is_welcome:
            pool.welcome(process)
            if self.management is not None:
                self.management.welcome_replica(process)
            self._answer(pool)

    def _reap(self, pool: ReplicaPool, process: ReplicaProcess) -> None:
        while process.has_unread():  # it may have sent messages just before it died
            self._hear(pool, process)
        self._log.finish(process)
        process.close()
        pool.remove(process)
        self._answer(pool)

    # --- the loop ------------------------------------------------------------------------------

    def attend(self, now_s: float) -> None:
        """Do what is due, and remove processes and pools that have ended."""
        must_look = now_s >= self._look_at_s
        if now_s >= self._resume_at_s:
            self._resume()
        if self._folder is not None:
            self._restore_folder(self._folder)
        if must_look:
            self._look_at_s = now_s + LOOK_S
            self._replace_unreachable()
        for pool in list(self._pools):
            for process in pool.processes:
                if process.exit_code is not None:
                    self._reap(pool, process)
            if _is_unused(pool, now_s, self.generation):
                pool.end()
            pool.attend(now_s)
            self._say_whether_ready(pool)
            if must_look and pool.is_watched:
                pool.look(now_s)
            if pool.is_ending and not pool.processes:
                self._pools.remove(pool)
                pool.close()
        for exchange in list(self._exchanges):  # after the removal of what they wait for
            self._attend_exchange(exchange, now_s)

    def _say_whether_ready(self, pool: ReplicaPool) -> None:
        """Tell the clients of a pool if none of its replicas is ready any more, or one is again."""
        if not pool.was_ready or pool.said_ready == (is_ready := pool.ready > 0):
            return
        pool.said_ready = is_ready
        for client in self._clients_of(pool):
            client.channel.send("changed", {"key": pool.want["key"], "is_ready": is_ready})

    def due_s(self) -> list[float]:
        """Return the times at which `attend` has something to do."""
        times = [due_s for pool in self._pools for due_s in pool.due_s()]
        times += [each.ends_s for each in self._exchanges if each.is_due]
        times += [
            pool.unused_s + UNUSED_S
            for pool in self._pools
            if pool.unused_s is not None and not pool.is_ending
        ]
        if self._paused:
            times.append(self._resume_at_s)
        if any(pool.is_watched for pool in self._pools):
            times.append(self._look_at_s)
        return times

    @property
    def processes(self) -> list[ChildProcess]:
        return [process for pool in self._pools for process in pool.processes]

    def states(self) -> tuple[ReplicaState, ...]:
        """Return the state of each replica."""
        return tuple(state for pool in self._pools for state in _states_of(pool))

    # --- the end -------------------------------------------------------------------------------

    def withdraw(self) -> None:
        """Remove the socket that processes of other servers find."""
        if self._named is not None:
            self._named.remove_file()

    def stop(self, kill_at_s: float | None) -> None:
        """Let all replicas finish their batches and end, at a time at the latest."""
        self._exchanges.clear()
        for pool in self._pools:
            pool.end(kill_at_s)

    def kill_all(self) -> None:
        for process in self.processes:
            process.kill_and_wait()

    def close(self) -> None:
        """Kill the processes that are left, and remove the sockets."""
        self.kill_all()
        for pool in self._pools:
            for process in pool.processes:
                self._log.finish(process)
                process.close()
            pool.close()
        self._pools.clear()
        for client in self._clients:
            client.channel.close()
        if self._named is not None:
            self._named.close()
        if self._folder is not None:
            self._folder.close()


_HANDLERS: dict[str, cabc.Callable[[ReplicaSupervisor, ModelsClient, t.Any], None]] = {
    "want": ReplicaSupervisor._want,
    "hangs": ReplicaSupervisor._hangs,
    "release": ReplicaSupervisor._release,
}


def _is_named(pool: ReplicaPool, asked: WantedReplicas | Hangs | GivesBack) -> bool:
    return pool.want["key"] == asked["key"]


def _is_unused(pool: ReplicaPool, now_s: float, generation: int) -> bool:
    """Return whether the clients of a pool have died, and no other will come: at once if its code
    is outdated.
    """
    if pool.unused_s is None or pool.is_ending:
        return False
    return pool.generation < generation or now_s - pool.unused_s >= UNUSED_S


def _states_of(pool: ReplicaPool) -> cabc.Iterator[ReplicaState]:
    for number, place in enumerate(pool.places, 1):
        state = partial(
            ReplicaState,
            model=pool.want["model"],
            version=pool.want["version"],
            label=pool.want["label"],
            number=number,
            restarts=max(0, place.starts - 1),
            generation=pool.generation,
            serves=pool.was_ready and not pool.is_ending,
        )
        for process in place.processes:
            yield state(
                pid=process.pid,
                phase=process.phase,
                started_at_s=process.started_at_s,
                device=process.device,
            )
        if not place.processes:
            yield state(pid=None, phase="waiting", started_at_s=None, device="")
