"""The connection of this process with its app's replicas on a Ray cluster.

One thread keeps it: it connects, says again and again what this process wants and how much waits,
and passes on what the controller answers. It never ends the process: without the cluster, models
are not ready and say why, and the thread tries again.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import threading
import time
import typing as t
import weakref

from carboy.core.logmasking import get_masked_logger
from carboy.errors import ModelLoadError, RefusedClusterError, UnavailableError

from .codedigest import code_folder, digest_of
from .messages import Code, Report, Versions, decode_snapshot, encode
from .rayconnection import connect, disconnect, refuse_plaintext
from .rayreplicas import RayReplicas
from .resources import resources_of

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from carboy.contract.operation import Operation

    from ..options import Options
    from ..replicas.supervision import WantedReplicas
    from .messages import PoolFacts, ReplicaFacts, Snapshot
    from .rayconnection import RayPlace
    from .replicaactor import LoadApp

# How long the process of a new controller may take to start, on a busy machine.
_START_S = 120.0
# How long the controller may take to answer; it does so every second.
_ANSWER_S = 10.0
# The pauses between two attempts to connect.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0
# How long Ray may take to connect or to end a connection, which it does for about a minute at most
# before it gives up. A large folder takes longer to send.
_CONNECT_S, _SEND_S = 120.0, 600.0
# How long the end of the process may be delayed to say so; the controller would notice it, too.
_LEAVE_S = 3.0
# How long the threads that wait for results may take to notice the end of a cluster.
_NOTICE_S = 10.0

_logger = get_masked_logger("carboy.models")


class RayCluster:
    """Makes the replicas of this process's models. Thread-safe.

    Args:
        place: the cluster.
        target: the import path of the app; None if it is looked for.
        load_app: imports the app in the processes of replicas.
        tell: called with the states of all replicas, and events for the log, when they have
            changed; and with a "line" for the log, which may come from several processes.
        leave: called with the reason if another process must take the place of this one.
    """

    def __init__(
        self,
        place: RayPlace,
        target: str | None,
        load_app: LoadApp,
        tell: cabc.Callable[[dict[str, t.Any]], object] = lambda _: None,
        leave: cabc.Callable[[str], object] = lambda _: None,
    ) -> None:
        self._place = place
        self._target = target
        self._load_app = load_app
        self._tell = tell
        self._leave_because = leave
        self._told: dict[str, t.Any] = {}
        self._client = f"{os.uname().nodename}-{os.getpid()}-{os.urandom(4).hex()}"
        self._folder = os.getcwd()
        self._code: Code | None = None
        self._changed = threading.Condition()
        #: The replicas that this process wants.
        self._wanted: set[RayReplicas] = set()
        self._users: weakref.WeakSet[RayReplicas] = weakref.WeakSet()
        self._facts: dict[str, PoolFacts] = {}
        self._thread: threading.Thread | None = None
        self._leaving = threading.Event()
        self._controller: t.Any = None
        self._identity = ""
        self._serial = 0
        self._event = -1
        #: Why the cluster cannot be used at present; "" if it can, or that is not known yet.
        self.trouble = ""

    # --- for models ----------------------------------------------------------------------------

    def make(
        self,
        want: WantedReplicas,
        options: Options,
        operation: Operation,
        *,
        owner: str,
        streams: bool,
    ) -> RayReplicas:
        """Return the replicas of a version of a model, which are not started yet."""
        resources = resources_of(options, owner)
        made = RayReplicas(
            want,
            self,
            operation,
            owner=owner,
            streams=streams,
            retry=options.retry,
            most=options.most_replicas or 1,
            batch=options.batch,
            resources=resources,
        )
        self._users.add(made)
        return made

    def want(self, user: RayReplicas) -> PoolFacts:
        """Block until the replicas of a version are ready.

        Raises:
            ModelLoadError: they could not be started.
            UnavailableError: the cluster cannot be used.
        """
        self._code_here()
        with self._changed:
            self._wanted.add(user)
            self._facts.pop(self._key_of(user), None)
            self._serial = 0
            self._start()
            while True:
                facts = self._facts.get(self._key_of(user))
                if facts is not None and facts.state == "ready":
                    return facts
                if (failure := self._failure_of(user, facts)) is not None:
                    raise failure
                self._changed.wait()

    def _failure_of(self, user: RayReplicas, facts: PoolFacts | None) -> Exception | None:
        """Return why a version cannot be used; None if that is not known. The caller holds the
        lock.
        """
        if facts is not None and facts.state == "refused":
            self._wanted.discard(user)
            is_named = facts.reason.startswith(user.owner)
            return ModelLoadError(facts.reason if is_named else f"{user.owner}: {facts.reason}")
        if not self.trouble:
            return None
        if user.was_loaded:  # it stays wanted, until the cluster can be used again
            text = f"{user.owner}: its replicas cannot be reached. Retry the request."
            return UnavailableError(text)
        # Whoever starts the server gets the reason, and clients do not.
        self._wanted.discard(user)
        return UnavailableError(self.trouble)

    def release(self, user: RayReplicas) -> None:
        """Note that this process does not need a version any more. Returns at once."""
        with self._changed:
            self._wanted.discard(user)

    def _key_of(self, user: RayReplicas) -> str:
        return user.wanted_with(self._code_here()).key

    def hangs(self, name: str, took_s: float) -> None:
        """Let the controller replace a replica that hangs. Returns at once."""
        if (controller := self._controller) is not None:
            try:
                controller.hangs.remote(name, took_s)
            except Exception:
                _logger.exception("A replica that hangs could not be reported")

    def _code_here(self) -> Code:
        """Return where the code of the app is. The app is imported when this is called."""
        if self._code is None:
            digest = digest_of(code_folder(self._target, self._folder))
            as_flask = os.environ.get("CARBOY_AS_FLASK") == "1"
            self._code = Code(self._target, self._folder, digest, "", as_flask)
        return self._code

    # --- the thread ----------------------------------------------------------------------------

    def _start(self) -> None:
        """Start the thread. The caller holds the lock."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="carboy ray", daemon=True)
            self._thread.start()

    def _leave(self) -> None:
        """End the connection, because the process ends."""
        self._leaving.set()
        if self._thread is not None:
            self._thread.join(_LEAVE_S)

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._leaving.is_set():
            reason = ""
            try:
                with self._bounded("connect"):
                    self._connect()
                pause_s = _FIRST_PAUSE_S
                self._watch()
            except UnavailableError as exc:
                reason = str(exc)
                if isinstance(exc, RefusedClusterError):
                    pause_s = _LONGEST_PAUSE_S
            except (Exception, SystemExit) as exc:
                _logger.exception("The connection with the Ray cluster has failed")
                reason = f"The Ray cluster has failed: {self._place.where}: {exc}."
            if reason:
                self._lose(reason)
                # Whoever starts the server gets the reason, and no further try follows.
                if any(each.was_loaded for each in list(self._users)):
                    _logger.error("%s The next try follows in about %g s.", reason, pause_s)
            with self._bounded("disconnect"):
                self._disconnect()
            self._leaving.wait(pause_s * random.uniform(0.8, 1.2))  # noqa: S311  # no secret
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    @contextlib.contextmanager
    def _bounded(self, task: str) -> cabc.Iterator[None]:
        """Let another process take the place of this one if Ray hangs in this block: the thread
        that it holds cannot be ended.
        """
        limit_s = _SEND_S if self._place.uploads_code else _CONNECT_S
        timer = threading.Timer(limit_s, self._give_up, [task, limit_s])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _give_up(self, task: str, limit_s: float) -> None:
        reason = (
            f"Ray hangs: it does not {task} within {limit_s:g} s: {self._place.where}. Another"
            " process takes the place of this one."
        )
        _logger.error("%s", reason)
        self._lose(reason)
        self._leave_because(reason)

    def _connect(self) -> None:
        if not self.trouble:  # otherwise the log says of each try why it has failed
            self._tell({"line": f"connecting to Ray at {self._place.where}"})
        connected = connect(self._place, self._folder)
        # After Ray's own function for the exit, so that it is called before: this thread must not
        # use Ray any more by then.
        atexit.unregister(self._leave)
        atexit.register(self._leave)
        if connected.package:
            with self._changed:
                self._code = _with_package(self._code_here(), connected.package)
        from .controller import find_or_start

        self._controller = find_or_start(self._place.namespace, self._load_app)

    def _watch(self) -> None:
        """Exchange reports and snapshots until the process ends.

        Raises:
            UnavailableError: the cluster cannot be used any more.
        """
        import ray
        from ray.exceptions import ActorDiedError, GetTimeoutError, RayError

        from .controller import find_or_start

        limit_s = _START_S
        while True:
            report = self._report()
            report.leaves = self._leaving.is_set()
            try:
                answer = ray.get(self._controller.watch.remote(encode(report)), timeout=limit_s)
            except ActorDiedError:
                if report.leaves:
                    return
                self._controller = find_or_start(self._place.namespace, self._load_app)
                limit_s = _START_S
                continue
            except SystemExit as exc:  # as Ray raises it if the node of this process has ended
                raise UnavailableError(
                    f"The Ray node of this machine has ended: {self._place.where}."
                ) from exc
            except (RayError, GetTimeoutError) as exc:
                if not report.leaves and self._any_answers():
                    _logger.warning("The controller of the replicas does not answer: %s", exc)
                    self._leaving.wait(_FIRST_PAUSE_S)
                    continue
                raise UnavailableError(
                    f"The Ray cluster does not answer any more: {self._place.where}."
                ) from exc
            if report.leaves:
                return
            limit_s = _ANSWER_S
            self._apply(decode_snapshot(answer))

    def _any_answers(self) -> bool:
        """Whether any replica answers, although the controller does not."""
        return any(each.answers() for each in list(self._users))

    def _report(self) -> Report:
        with self._changed:
            users = list(self._wanted)
        wanted = {each: each.wanted_with(self._code_here()) for each in users}
        demand = {of.key: user.demand() for user, of in wanted.items()}
        return Report(
            self._client,
            self._serial,
            Versions.here(),
            list(wanted.values()),
            demand,
        )

    def _apply(self, snapshot: Snapshot) -> None:
        if snapshot.refused:
            raise RefusedClusterError(
                "The replicas on the Ray cluster belong to another release: this server has"
                f" {snapshot.refused}. Choose another namespace for this release"
                " (--ray-namespace), or end the old replicas: carboy ray stop."
            )
        # A node may have joined after this process has connected.
        replicas = (each for facts in snapshot.pools.values() for each in facts.replicas)
        refuse_plaintext(self._place, {each.node for each in replicas if each.node})
        if snapshot.controller != self._identity:
            self._identity, self._event = snapshot.controller, -1
        with self._changed:
            if self.trouble:
                self._tell({"line": f"connected again to Ray at {self._place.where}"})
            self.trouble = ""
            self._facts, self._serial = snapshot.pools, snapshot.serial
            users = {self._key_of(each): each for each in self._wanted}
        for key, user in users.items():
            if (facts := snapshot.pools.get(key)) is not None:
                user.apply(facts)
        for user in list(self._users):
            user.resume_if(snapshot.resumed)
        with self._changed:
            self._changed.notify_all()
        self._tell_state(snapshot, users)

    def _tell_state(self, snapshot: Snapshot, users: dict[str, RayReplicas]) -> None:
        state = {
            "replicas": [
                {
                    **_facts_of(each),
                    "model": users[key].want["model"],
                    "version": users[key].want["version"],
                    "label": users[key].want["label"],
                    "serves": facts.state == "ready",
                }
                for key, facts in snapshot.pools.items()
                if key in users
                for each in facts.replicas
            ],
            "controller": snapshot.controller,
            "events": [
                [each.number, each.level, each.text, snapshot.now_s - each.at_s]
                for each in snapshot.events
                if each.number > self._event
            ],
        }
        self._event = max([self._event, *(each.number for each in snapshot.events)])
        if state != self._told:
            self._told = state
            self._tell(state)

    def _lose(self, reason: str) -> None:
        """Note why the cluster cannot be used."""
        with self._changed:
            self.trouble = reason
            self._facts = {}
            self._serial = 0
            self._changed.notify_all()
        for user in list(self._users):
            user.lose()
        self._told = {"replicas": [], "controller": self._identity, "events": []}
        self._tell(self._told)

    def _disconnect(self) -> None:
        """End the connection, after the threads that wait for results have noticed its end."""
        self._controller = None
        until_s = time.monotonic() + _NOTICE_S
        while time.monotonic() < until_s and any(each.is_waited_for for each in list(self._users)):
            time.sleep(0.1)
        try:
            disconnect()
        except Exception:
            _logger.exception("The connection with the Ray cluster could not be ended")


def _facts_of(replica: ReplicaFacts) -> dict[str, t.Any]:
    """Return what the supervisor shows of a replica."""
    return {
        "number": replica.number,
        "pid": replica.pid,
        "phase": replica.phase,
        "started_at_s": replica.started_at_s,
        "restarts": replica.restarts,
        "node": replica.node,
        "on_cluster": True,
        "reported_bytes": replica.resident_bytes,
    }


def _with_package(code: Code, package: str) -> Code:
    return Code(code.target, code.folder, code.digest, package, code.as_flask)
