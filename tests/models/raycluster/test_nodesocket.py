"""A web worker and a replica on the same node: batches go through a socket, and not through Ray."""

import contextlib
import os
import queue
import socket
import threading
import types
import warnings

import pytest
from fakeray import BATCH, Actor, Cluster, loaded, replicas_of
from polling import PATIENCE_S, wait_until

from carboy.errors import DeadlineError, ReplicaLostError, UnavailableError
from carboy.models.model import Model
from carboy.models.options import Options
from carboy.models.queue.occupied import occupying
from carboy.models.queue.state import Slot
from carboy.models.raycluster import nodesocket, rayreplicas
from carboy.models.raycluster.nodesocket import NodeListener
from carboy.models.replicas.batches import BatchFormat
from carboy.models.replicas.process import ReplicaServer
from carboy.models.replicas.tokens import NoTokens

pytestmark = pytest.mark.skipif(
    not nodesocket._HAS_ABSTRACT, reason="the system has no Unix sockets without files"
)


class Replica:
    """A replica on a thread of this process.

    Args:
        hangs: whether `predict` waits until the test says otherwise.
    """

    def __init__(self, *, hangs=False):
        self.name = f"replica-test-{os.urandom(6).hex()}"
        self.has_begun, self.may_end = threading.Event(), threading.Event()
        if not hangs:
            self.may_end.set()

        def predict(x: list[float]) -> list[float]:
            self.has_begun.set()
            assert self.may_end.wait(PATIENCE_S)
            return [2 * each for each in x]

        model = Model("m", "/m", predict, Options(batch=4))
        version = model.make_version("", None)
        version.load()
        self.server = ReplicaServer(
            version.replica.compute,
            BatchFormat.of(model.operation),
            model.codec,
            listener=NodeListener(self.name),
            tokens=NoTokens(),
        )
        self._thread = threading.Thread(target=self.server.run)
        self._thread.start()

    def drop_clients(self):
        """End all connections in the middle of a batch."""
        for each in list(self.server._connections.values()):
            each.interrupt()

    def die(self):
        """End all connections in the middle of a batch, and let nobody connect again, as the kernel
        does for a process that has ended.
        """
        self.server._listener.shutdown(socket.SHUT_RDWR)
        self.drop_clients()

    def end(self):
        self.may_end.set()
        self.server.drain()
        self._thread.join(PATIENCE_S)


@pytest.fixture
def replica():
    """A function that starts a replica."""
    with contextlib.ExitStack() as stack:

        def start(**options):
            made = Replica(**options)
            stack.callback(made.end)
            return made

        yield start


class Thread:
    """Lets a thread compute a batch.

    Attributes:
        outcome: a queue that gets the results, or the exception.
    """

    def __init__(self, replicas, slot=None):
        self.outcome = queue.Queue()
        self._replicas = replicas
        self._slot = slot
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        held = contextlib.nullcontext() if self._slot is None else occupying(self._slot)
        try:
            with held:
                self.outcome.put(self._replicas.compute(BATCH))
        except Exception as exc:  # noqa: BLE001
            self.outcome.put(exc)

    def ended(self):
        found = self.outcome.get(timeout=PATIENCE_S)
        self._thread.join()
        return found


@pytest.fixture
def use(actors):
    """A function that returns replicas of these names, whose actors do what the script says if Ray
    is used, and their cluster.
    """
    with contextlib.ExitStack() as stack:

        def make(*names, script=(), **options):
            cluster = Cluster()
            made = replicas_of(cluster, **options)
            stack.callback(made.close)
            return loaded(cluster, actors, made, **dict.fromkeys(names, script)), cluster

        yield make


def test_a_batch_does_not_go_through_ray(actors, replica, use):
    here = replica()
    replicas, _ = use(here.name)
    for _ in range(3):
        assert replicas.compute(BATCH) == [2.0, 4.0]
    assert actors[here.name].batches == 0


def test_a_replica_on_another_node_gets_its_batches_through_ray(actors, use):
    replicas, _ = use("replica-elsewhere")
    for number in (1, 2):
        assert replicas.compute(BATCH) == [2.0, 4.0]
        assert actors["replica-elsewhere"].batches == number


@pytest.mark.parametrize("side", ["web worker", "replica"])
def test_a_process_of_another_user_is_refused(replica, use, monkeypatch, side):
    """The batch then goes through Ray, which finds the replica by its name."""
    refusals = []
    is_of_this_user = nodesocket._is_of_this_user

    def refuse(sock):
        is_listening_side = bool(sock.getsockname())
        if is_listening_side == (side == "replica"):
            refusals.append(side)
            return False
        return is_of_this_user(sock)

    monkeypatch.setattr(nodesocket, "_is_of_this_user", refuse)
    here = replica()
    replicas, _ = use(here.name)
    assert all(isinstance(each, (float, ReplicaLostError)) for each in replicas.compute(BATCH))
    assert refusals
    assert not here.has_begun.is_set()


@pytest.mark.parametrize("retry", [True, False])
def test_the_end_of_a_replica_costs_at_most_one_attempt(actors, replica, use, retry):
    here, other = replica(hangs=True), replica()
    replicas, cluster = use(here.name, retry=retry)
    computing = Thread(replicas)
    assert here.has_begun.wait(PATIENCE_S)
    actors[other.name] = Actor()
    replicas.apply(cluster.show(here.name, other.name))
    here.die()
    found = computing.ended()
    if retry:
        assert found == [2.0, 4.0]
    else:
        assert all(isinstance(each, ReplicaLostError) for each in found)
    assert cluster.reported == []  # it has sent nothing wrong


def test_a_replica_that_takes_no_batches_any_more_loses_none(actors, replica, use):
    here, other = replica(), replica()
    replicas, cluster = use(here.name, script=("stale",), retry=False)
    assert replicas.compute(BATCH) == [2.0, 4.0]
    here.server.drain()
    actors[other.name] = Actor()
    replicas.apply(cluster.show(here.name, other.name))
    for _ in range(3):
        assert replicas.compute(BATCH) == [2.0, 4.0]


@pytest.mark.parametrize("retry", [True, False])
def test_a_thread_that_waits_leaves_when_the_cluster_is_gone(actors, replica, use, retry):
    """Nobody could end a replica that hangs then."""
    here = replica(hangs=True)
    replicas, _ = use(here.name, retry=retry)
    computing = Thread(replicas)
    assert here.has_begun.wait(PATIENCE_S)
    replicas.lose()
    found = computing.ended()
    assert isinstance(found, UnavailableError) if retry else isinstance(found[0], ReplicaLostError)
    assert not replicas.is_waited_for


def test_replicas_are_used_again_when_the_cluster_has_come_back(actors, replica, use):
    here = replica(hangs=True)
    replicas, cluster = use(here.name)
    computing = Thread(replicas)
    assert here.has_begun.wait(PATIENCE_S)
    replicas.lose()
    computing.ended()
    here.may_end.set()
    cluster.show(here.name)
    replicas.load()
    assert replicas.compute(BATCH) == [2.0, 4.0]
    assert actors[here.name].batches == 0


def test_a_batch_that_takes_too_long_is_given_up(actors, replica, use):
    here = replica(hangs=True)
    replicas, cluster = use(here.name)
    slot = Slot(types.SimpleNamespace(pause=lambda *_: None, resume=lambda *_: None))
    computing = Thread(replicas, slot)
    assert here.has_begun.wait(PATIENCE_S)
    report = replicas.give_up(slot, 3.0)
    report()
    assert cluster.reported == [(here.name, 3.0)]
    here.die()  # the controller kills it
    assert isinstance(computing.ended(), DeadlineError)


def test_connections_are_closed_when_a_replica_is_not_used_any_more(actors, replica, use):
    here = replica()
    replicas, cluster = use(here.name)
    assert replicas.compute(BATCH) == [2.0, 4.0]
    actor = replicas._actors[here.name]
    connection = actor.on_node.take()
    actor.on_node.keep(connection)
    replicas.apply(cluster.show())
    assert connection.frames.fileno() < 0


def test_a_connection_that_is_used_at_that_time_is_closed_after_its_batch(actors, replica, use):
    here = replica(hangs=True)
    replicas, cluster = use(here.name)
    computing = Thread(replicas)
    assert here.has_begun.wait(PATIENCE_S)
    actor = replicas._actors[here.name]
    (call,) = replicas._busy.values()
    replicas.apply(cluster.show())
    here.may_end.set()
    assert computing.ended() == [2.0, 4.0]
    assert call.connection.frames.fileno() < 0
    assert actor.on_node.take() is None


def test_a_replica_that_has_ended_is_not_asked_again(actors, replica, use):
    """The successor of the only replica repeats its batch, before the controller says that it has
    ended.
    """
    here, other = replica(hangs=True), replica()
    replicas, cluster = use(here.name, script=[AssertionError("this replica has ended")])
    computing = Thread(replicas)
    assert here.has_begun.wait(PATIENCE_S)
    here.die()
    wait_until(lambda: not replicas.is_ready)
    actors[other.name] = Actor()
    replicas.apply(cluster.show(here.name, other.name))
    assert computing.ended() == [2.0, 4.0]
    assert actors[here.name].batches == 0


def test_a_replica_that_has_only_lost_a_connection_is_used_again(replica, use, monkeypatch):
    monkeypatch.setattr(rayreplicas, "_UNREACHABLE_S", 0.01)
    here = replica(hangs=True)
    replicas, _ = use(here.name)
    computing = Thread(replicas)
    assert here.has_begun.wait(PATIENCE_S)
    here.drop_clients()
    here.may_end.set()
    assert computing.ended() == [2.0, 4.0]
    assert replicas.is_ready


def test_a_listener_that_accepts_nobody_stops_no_web_worker(actors, use):
    """A process of another user may have made one of the replica's name."""
    name = f"replica-test-{os.urandom(6).hex()}"
    listener = NodeListener(name)
    listener.listen(0)
    waiting = [nodesocket._connect(name)]
    replicas, _ = use(name)
    connections = replicas._actors[name].on_node
    first = connections.take()
    if first is not None:
        waiting.append(first.frames.socket)
    assert connections.take() is None
    assert replicas.compute(BATCH) == [2.0, 4.0]
    assert actors[name].batches == 1
    for each in (*waiting, listener):
        each.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_a_forked_process_has_its_own_connections(replica, use):
    here = replica()
    replicas, _ = use(here.name)
    assert replicas.compute(BATCH) == [2.0, 4.0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this process has threads
        child = os.fork()
    if not child:
        found = [replicas.compute([{"x": float(n)}]) == [2.0 * n] for n in range(200)]
        os._exit(0 if all(found) else 1)
    found = [replicas.compute([{"x": float(n)}]) == [2.0 * n] for n in range(1000, 1200)]
    assert all(found)
    _, status = os.waitpid(child, 0)
    assert status == 0
