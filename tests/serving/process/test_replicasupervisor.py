"""The supervisor's loop when its process has no descriptors left."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import time
import typing as t

import pytest

from carboy.errors import AddressError, ModelLoadError
from carboy.serving.process import replicafolder, replicapool
from carboy.serving.process.replicaexchange import ReplicaExchange
from carboy.serving.process.replicapool import ReplicaPool, ReplicaProcess
from carboy.serving.process.replicasupervisor import PAUSE_S, ReplicaSupervisor
from carboy.serving.process.supervisor import Supervisor
from carboy.serving.process.supervisorlog import SupervisorLog
from carboy.serving.process.workerprocess import WorkerProcess
from carboy.serving.settings import make_settings

WANT: t.Any = {
    "key": "sum-1",
    "model": "sum",
    "version": "1",
    "replicas": 1,
    "devices": [],
    "hold_s": 1.0,
}
LOADED: t.Any = {"took_s": 0.1, "loaded_bytes": 0, "cards": []}


def out_of_descriptors(*args: object, **kwargs: object) -> t.NoReturn:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.fixture
def supervisor(tmp_path, monkeypatch) -> t.Iterator[ReplicaSupervisor]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with selectors.DefaultSelector() as selector:
        supervisor = ReplicaSupervisor("shop:app", selector, SupervisorLog(), 1.0)
        yield supervisor
        supervisor.close()


def turn(supervisor: ReplicaSupervisor) -> int:
    """Handle the events of the loop; return how many there were."""
    events = supervisor._selector.select(0)
    for key, _ in events:
        key.data()
    return len(events)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_clients_that_cannot_be_accepted_wait_without_a_busy_loop(
    supervisor, monkeypatch, caplog, number
):
    path = supervisor.open()

    def fail(listener: socket.socket) -> t.NoReturn:
        raise OSError(number, os.strerror(number))

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "accept", fail)
            now_s = time.monotonic()
            assert [turn(supervisor) for _ in range(3)] == [1, 0, 0]
            (resume_at_s,) = supervisor.due_s()
            assert now_s < resume_at_s <= time.monotonic() + PAUSE_S
            supervisor.attend(now_s)
            assert turn(supervisor) == 0  # not yet
            for _ in range(20):
                supervisor.attend(resume_at_s)
                turn(supervisor)
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert f"{os.strerror(number)}; trying again in 1 s" in caplog.text
        supervisor.attend(resume_at_s + 2 * PAUSE_S)
        assert turn(supervisor) == 1
        assert len(supervisor._clients) == 1
        assert supervisor.due_s() == []


def test_client_that_has_left_before_it_is_accepted_causes_no_pause(supervisor, monkeypatch):
    def fail(listener: socket.socket) -> t.NoReturn:
        raise ConnectionAbortedError

    path = supervisor.open()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "accept", fail)
            turn(supervisor)
        assert turn(supervisor) == 1
        assert len(supervisor._clients) == 1


def test_folder_that_is_lost_during_a_pause_is_created_again(supervisor, monkeypatch):
    path = supervisor.open()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "accept", out_of_descriptors)
            turn(supervisor)
    os.unlink(path)
    supervisor.attend(time.monotonic())
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        assert turn(supervisor) == 1
        assert supervisor.due_s() == []


def test_socket_that_cannot_be_opened_is_told_to_the_worker_and_tried_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    supervisor = Supervisor("shop:app", make_settings({"port": 0}, {}))
    said: list[dict[str, str]] = []
    process = WorkerProcess(1)
    process.send = lambda word, payload=None: said.append(payload)  # type: ignore[method-assign, assignment]
    try:
        before = len(os.listdir("/proc/self/fd"))
        with monkeypatch.context() as patch:
            patch.setattr(replicafolder, "_listen", out_of_descriptors)
            for _ in range(3):
                supervisor._send_models_socket(process, None)
        assert (
            said
            == [
                {
                    "path": "",
                    "reason": "Cannot open the socket of the replicas: Too many open files.",
                }
            ]
            * 3
        )
        assert len(os.listdir("/proc/self/fd")) == before
        assert os.listdir(tmp_path / "carboy") == []
        supervisor._send_models_socket(process, None)
        assert os.path.exists(said[-1]["path"])
    finally:
        supervisor._replicas.close()
        for part in (supervisor._selector, supervisor._signals):
            part.close()


def test_path_of_the_socket_is_refused_where_the_folder_cannot_be_created(supervisor, monkeypatch):
    monkeypatch.setattr(replicafolder, "_listen", out_of_descriptors)
    with pytest.raises(AddressError, match="Too many open files"):
        supervisor.open_named("/nowhere/models.sock")


class Told:
    """A client, and what it was told."""

    def __init__(self) -> None:
        self.channel, self.told, self.pools = self, [], set()

    def send(self, word: str, payload: t.Any) -> None:
        self.told.append((word, payload["key"]))

    def refuse(self, key: str, reason: str, **about: bool) -> None:
        self.told.append(("refused", key))

    def close(self) -> None: ...


class Ended:
    """The replicas of a version that have ended."""

    is_ending = True
    want: t.ClassVar = {**WANT, "key": "sum-0"}


def test_exchange_that_cannot_start_its_replicas_is_called_off(supervisor, monkeypatch, caplog):
    supervisor.open()
    waiting, user = t.cast("t.Any", Told()), t.cast("t.Any", Told())
    exchange = ReplicaExchange(t.cast("t.Any", Ended()), WANT, 0)
    exchange.waiting.add(waiting)
    exchange._told.add(user)
    supervisor._exchanges.append(exchange)
    monkeypatch.setattr(replicapool, "make_pipe", out_of_descriptors)
    supervisor.attend(time.monotonic())
    assert waiting.told == [("refused", "sum-1")]
    assert user.told == [("resume", "sum-0")]
    assert "cannot start replicas of model 'sum': Too many open files" in caplog.text
    assert supervisor._exchanges == supervisor._pools == []
    with pytest.raises(ModelLoadError, match="Too many open files"):
        supervisor._create(WANT, 0)
    with contextlib.suppress(KeyError):
        supervisor._clients.remove(user)


@pytest.fixture
def pool(supervisor, tmp_path) -> t.Iterator[ReplicaPool]:
    """The replicas of a version, one of which is ready and has a successor that loads the model."""
    want = {**WANT, "has_check": False, "max_rss_bytes": None, "start_timeout_s": 60.0}
    pool = ReplicaPool(want, 0, str(tmp_path), lambda *_: None, 1.0)
    (place,) = pool.places
    place.current, place.successor = (ReplicaProcess(want, number, "") for number in (1, 2))
    place.current._on_loaded(LOADED)
    yield pool
    pool.close()


def hear_ready(supervisor: ReplicaSupervisor, pool: ReplicaPool, process: t.Any) -> None:
    process.read_messages = lambda: process._on_loaded(LOADED)
    supervisor._hear(pool, process)


def test_successor_that_is_ready_takes_the_place_of_the_replica(supervisor, pool):
    (place,) = pool.places
    before, successor = place.processes
    hear_ready(supervisor, pool, successor)
    assert (place.current, place.leaving) == (successor, [before])


def test_successor_that_was_given_up_does_not_take_the_place_of_the_replica(supervisor, pool):
    (place,) = pool.places
    before, successor = place.processes
    successor.phase = "hanging"
    hear_ready(supervisor, pool, successor)
    assert (place.current, place.leaving) == (before, [])
    assert before.phase == "ready"


@pytest.mark.parametrize(("generation", "waits"), [(None, True), (1, True), (2, False)])
def test_exchange_concerns_clients_with_the_same_code_alone(generation, waits):
    exchange = ReplicaExchange(t.cast("t.Any", Ended()), WANT, 1)
    client = t.cast("t.Any", Told())
    for key in ("sum-1", "sum-0"):
        assert exchange.concerns(client, {**WANT, "key": key, "generation": generation}) is waits
    assert bool(exchange.waiting) is bool(client.told) is waits


SHOP: t.Any = {**WANT, "app": "shop", "folder": "/srv/shop", "generation": None}


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        ({}, "granted"),
        ({"folder": ""}, "granted"),
        ({"app": ""}, "granted"),
        ({"folder": "/srv/other"}, "refused"),
        ({"app": "other", "folder": ""}, "refused"),
    ],
)
def test_process_of_another_app_gets_no_replicas(supervisor, monkeypatch, caplog, given, outcome):
    wanted: list[str] = []
    monkeypatch.setattr(supervisor, "_grant", lambda client, want: wanted.append(want["key"]))
    early, late, worker = (t.cast("t.Any", Told()) for _ in range(3))
    supervisor._want(early, {**SHOP, **given, "key": "early"})
    assert (wanted, early.told) == ([], []), "nothing is known of the app"
    supervisor._want(worker, {**SHOP, "key": "worker", "generation": 0})
    supervisor._want(late, {**SHOP, **given, "key": "late"})
    refused = outcome == "refused"
    assert wanted == (["worker"] if refused else ["worker", "early", "late"])
    assert early.told == ([("refused", "early")] if refused else [])
    assert late.told == ([("refused", "late")] if refused else [])
    assert ("'shop' in /srv/shop" in caplog.text) is refused


def test_process_that_has_left_gets_no_replicas_when_the_app_is_known(supervisor, monkeypatch):
    wanted: list[str] = []
    monkeypatch.setattr(supervisor, "_grant", lambda client, want: wanted.append(want["key"]))
    client = t.cast("t.Any", Told())
    supervisor._want(client, {**SHOP, "key": "early"})
    supervisor._disconnect(client)
    supervisor._want(t.cast("t.Any", Told()), {**SHOP, "key": "worker", "generation": 0})
    assert wanted == ["worker"]


def test_process_of_an_earlier_version_that_does_not_tell_its_app_gets_replicas(
    supervisor, monkeypatch
):
    wanted: list[str] = []
    monkeypatch.setattr(supervisor, "_grant", lambda client, want: wanted.append(want["key"]))
    earlier: t.Any = {name: each for name, each in SHOP.items() if name not in ("app", "folder")}
    supervisor._want(t.cast("t.Any", Told()), {**earlier, "key": "early"})
    supervisor._want(t.cast("t.Any", Told()), {**SHOP, "key": "worker", "generation": 0})
    assert wanted == ["worker", "early"]
