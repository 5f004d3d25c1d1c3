"""The connection with a cluster: what fails is told and tried again, and nothing hangs for ever.

Ray itself is replaced: connecting and disconnecting do what the test says.
"""

import contextlib
import queue
import threading

import pytest
from polling import PATIENCE_S, wait_until

from carboy.errors import RefusedClusterError, UnavailableError
from carboy.models.raycluster import cluster as module
from carboy.models.raycluster.cluster import RayCluster
from carboy.models.raycluster.messages import PoolFacts, ReplicaFacts, Snapshot
from carboy.models.raycluster.rayconnection import RayPlace

PLACE = RayPlace("10.0.0.5:6379", "shop")
SILENT = "The Ray cluster cannot be reached: 10.0.0.5:6379."


class User:
    """The replicas of one version, as far as the thread of the connection knows them."""

    def __init__(self, *, was_loaded=True, is_waited_for=False):
        self.was_loaded = was_loaded
        self.is_waited_for = is_waited_for
        self.is_lost = threading.Event()

    def lose(self):
        self.is_lost.set()


@pytest.fixture
def calls(monkeypatch):
    """What was asked of Ray, in order."""
    made = queue.Queue()
    monkeypatch.setattr(module, "disconnect", lambda: made.put("disconnect"))
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(module, "_LONGEST_PAUSE_S", 0.004)
    return made


@contextlib.contextmanager
def running(user, told=None):
    """Run the thread of a connection with one user."""
    told = [] if told is None else told
    asked_to_leave = queue.Queue()
    cluster = RayCluster(PLACE, "shop:app", object, told.append, asked_to_leave.put)
    cluster._users.add(user)
    cluster._start()
    try:
        yield cluster, asked_to_leave
    finally:
        cluster._leave()


def next_of(made):
    return made.get(timeout=PATIENCE_S)


def test_each_failed_try_is_told_and_followed_by_another_one(calls, monkeypatch, caplog):
    def connect(place, folder):
        calls.put("connect")
        raise UnavailableError(SILENT)

    monkeypatch.setattr(module, "connect", connect)
    lines = []
    with running(User(), lines):
        for _ in range(4):
            assert (next_of(calls), next_of(calls)) == ("connect", "disconnect")
    assert [each for each in lines if "line" in each] == [
        {"line": "connecting to Ray at 10.0.0.5:6379"}
    ]
    told = [each.getMessage() for each in caplog.records]
    assert len(told) >= 4
    assert all(each.startswith(f"{SILENT} The next try follows in about") for each in told)
    assert "0.001 s" in told[0]
    assert "0.004 s" in told[3]


def test_the_reason_for_a_server_that_does_not_start_is_told_only_to_it(calls, monkeypatch, caplog):
    def connect(place, folder):
        raise UnavailableError(SILENT)

    monkeypatch.setattr(module, "connect", connect)
    with running(User(was_loaded=False)) as (cluster, _):
        assert next_of(calls) == "disconnect"
    assert cluster.trouble == SILENT
    assert not caplog.records


def test_ray_is_shut_down_when_no_thread_waits_for_it_any_more(calls, monkeypatch):
    """Threads that wait in `ray.get` meanwhile may crash the process, or wait for ever."""
    user = User(is_waited_for=True)

    def connect(place, folder):
        raise UnavailableError(SILENT)

    monkeypatch.setattr(module, "connect", connect)
    with running(user):
        assert user.is_lost.wait(PATIENCE_S)
        assert calls.empty()
        user.is_waited_for = False
        assert next_of(calls) == "disconnect"


@pytest.mark.parametrize("hanging", ["connect", "disconnect"])
def test_another_process_takes_the_place_of_one_in_which_ray_hangs(
    calls, monkeypatch, caplog, hanging
):
    is_over = threading.Event()

    def connect(*_):
        if hanging == "connect":
            is_over.wait(PATIENCE_S)
        raise UnavailableError(SILENT)

    def disconnect():
        if hanging == "disconnect":
            is_over.wait(PATIENCE_S)

    monkeypatch.setattr(module, "connect", connect)
    monkeypatch.setattr(module, "disconnect", disconnect)
    monkeypatch.setattr(module, "_CONNECT_S", 0.05)
    user = User()
    with running(user) as (cluster, asked_to_leave):
        reason = next_of(asked_to_leave)
        assert reason.startswith(f"Ray hangs: it does not {hanging} within 0.05 s: 10.0.0.5:6379.")
        assert user.is_lost.is_set()
        assert cluster.trouble == reason
        assert reason in caplog.text
        is_over.set()
    wait_until(lambda: not cluster._thread.is_alive())


def test_a_connection_that_is_made_in_time_asks_for_no_other_process(calls, monkeypatch):
    def connect(place, folder):
        raise UnavailableError(SILENT)

    monkeypatch.setattr(module, "connect", connect)
    timers = []
    monkeypatch.setattr(
        module.threading, "Timer", lambda *given: timers.append(Timer(given)) or timers[-1]
    )
    with running(User()):
        next_of(calls)
    assert timers
    assert all(each.is_cancelled for each in timers)


class Timer:
    is_cancelled = False

    def __init__(self, given):
        self.given = given

    def start(self):
        pass

    def cancel(self):
        self.is_cancelled = True


def test_a_replica_on_a_node_that_has_joined_without_tls_is_not_used(monkeypatch):
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    # RFC 5737 keeps 203.0.113.0/24 for documentation: no machine has such an address.
    replicas = [
        ReplicaFacts(node, number, "loading", node, 1, 0.0, 0, None)
        for number, node in enumerate(["", "127.0.0.1", "203.0.113.7"])
    ]
    facts = {"digits": PoolFacts("ready", "", {}, replicas)}
    snapshot = Snapshot("c", 1, "", facts, 0.0, [])
    used = RayCluster(PLACE._replace(allows_plaintext=True), "shop:app", object)
    used._apply(snapshot)
    assert used._facts == facts
    refused = RayCluster(PLACE, "shop:app", object)
    with pytest.raises(RefusedClusterError, match=r"other machines \(203.0.113.7\).*RAY_USE_TLS"):
        refused._apply(snapshot)
    assert not refused._facts
