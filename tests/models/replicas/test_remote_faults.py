"""What becomes of predictions when the process that computes them dies, hangs or fails."""

from __future__ import annotations

import os
import pathlib
import random
import socket
import threading
import typing as t
from time import monotonic

import pytest
from polling import PATIENCE_S, wait_until
from replicaprocesses import ReplicaProcesses, ReplicaThread

from carboy.errors import (
    CarboyError,
    DeadlineError,
    QueuedTooLongError,
    ReplicaLostError,
)
from carboy.models.queue import PredictionQueue
from carboy.models.replicas.tokens import TokenReader

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from carboy.models.replicas.remote import RemoteReplicas
    from carboy.models.replicas.supervision import Hangs


def queue_of(remote: RemoteReplicas, **options: t.Any) -> PredictionQueue:
    options = {"batch": 8, "concurrency": 2, "deadline_s": 30.0, **options}
    return PredictionQueue(remote, owner="Model 'test'", **options)


def results_of(
    queue: PredictionQueue, values: cabc.Iterable[t.Any], name: str = "x"
) -> list[t.Any]:
    """Predict many values at once; returns the results and the exceptions."""
    tickets = [queue.submit({name: value}) for value in values]
    found = []
    for ticket in tickets:
        ticket.wait()
        found.append(ticket.take_value())
    return found


@pytest.fixture
def opened() -> cabc.Iterator[t.Callable[..., tuple[ReplicaProcesses, PredictionQueue]]]:
    closers: list[t.Callable[[], object]] = []

    def open_one(
        name: str, *, replicas: int = 1, retry: bool = True, device: str = "", **options: t.Any
    ) -> tuple[ReplicaProcesses, PredictionQueue]:
        there = ReplicaProcesses(name, replicas=replicas, device=device).__enter__()
        closers.append(there.close)
        remote = there.remote(retry=retry)
        queue = queue_of(remote, **options)
        closers.append(lambda: (queue.close(10), remote.close()))
        return there, queue

    yield open_one
    for close in reversed(closers):
        close()


def test_no_prediction_is_lost_when_one_of_two_replicas_is_killed_under_load(opened):
    there, queue = opened("pid", replicas=2)
    found: list[t.Any] = []

    def clients() -> None:
        while len(pids := set(map(str, found))) < 3 and not any(map(is_error, found)):
            found.extend(results_of(queue, range(20)))
            assert len(pids) < 4

    threads = [threading.Thread(target=clients) for _ in range(4)]
    for each in threads:
        each.start()
    wait_until(lambda: len(set(found)) == 2)
    there.restart(0)
    for each in threads:
        each.join()
    assert not any(map(is_error, found)), found


def is_error(value: object) -> bool:
    return isinstance(value, BaseException)


def test_a_batch_whose_replica_dies_is_computed_by_another(opened, tmp_path):
    _there, queue = opened("once", replicas=2, batch=1)
    assert results_of(queue, [str(tmp_path / "mark")], "path") == ["survived"]


def test_a_batch_whose_only_replica_dies_waits_for_the_next(opened, tmp_path):
    there, queue = opened("once", batch=1)
    ticket = queue.submit({"path": str(tmp_path / "mark")})
    there.replicas[0].popen.wait()
    there.restart(0)
    ticket.wait()
    assert ticket.result() == "survived"


def test_a_batch_that_must_not_be_computed_twice_fails_when_its_replica_dies(opened, tmp_path):
    _there, queue = opened("once", replicas=2, retry=False, batch=1)
    (found,) = results_of(queue, [str(tmp_path / "mark")], "path")
    assert isinstance(found, ReplicaLostError)


def test_an_input_that_kills_each_replica_is_given_up(opened):
    there, queue = opened("echo", replicas=3)
    (found,) = results_of(queue, [-2])
    assert isinstance(found, ReplicaLostError)
    assert results_of(queue, [1, 2]) == [1, 2]
    wait_until(lambda: [each.popen.poll() for each in there.replicas].count(None) == 1)


def test_predictions_wait_for_a_replica_until_their_deadline(opened):
    there, queue = opened("echo", deadline_s=0.3)
    there.replicas[0].kill()
    found = results_of(queue, range(10))
    assert {type(each) for each in found} == {QueuedTooLongError}
    there.restart(0)
    assert results_of(queue, [5]) == [5]


def test_a_replica_that_hangs_is_replaced_and_others_are_answered(opened):
    there, queue = opened("echo", deadline_s=0.5)
    (late,) = results_of(queue, [-3])
    assert isinstance(late, DeadlineError)
    wait_until(lambda: there.replicas[0].number == 2 and there.replicas[0].await_ready())
    assert results_of(queue, [7]) == [7]
    assert not queue.stuck
    (report,) = there.reports
    assert report["replica"] == 1
    assert report["took_s"] >= 0.5


def test_the_queue_can_be_used_while_a_replica_that_hangs_is_reported(opened, monkeypatch):
    there, queue = opened("echo", deadline_s=0.5)
    counted: list[t.Any] = []
    report = there.report

    def report_slowly(hangs: Hangs) -> None:
        thread = threading.Thread(target=lambda: counted.append(queue.statistics()))
        thread.start()
        thread.join(PATIENCE_S)
        counted.append("reported")
        report(hangs)

    monkeypatch.setattr(there, "report", report_slowly)
    (late,) = results_of(queue, [-3])
    assert isinstance(late, DeadlineError)
    wait_until(lambda: there.replicas[0].number == 2 and there.replicas[0].await_ready())
    assert counted[-1] == "reported"
    assert len(counted) == 2, "the queue was locked meanwhile"


@pytest.mark.parametrize("x", [-4, -7], ids=["exits", "has a device that fails for good"])
def test_a_batch_is_computed_elsewhere_if_its_replica(opened, x):
    there, queue = opened("echo", replicas=2)
    (found,) = results_of(queue, [x])
    assert isinstance(found, ReplicaLostError), "both have tried"
    if x == -7:
        for each in there.replicas:
            assert each.popen.wait() == 70
            assert ("broken", "illegal memory access") in each.said


def test_failures_of_predict_fail_only_their_own_prediction(opened):
    _there, queue = opened("echo")
    found = results_of(queue, [1, 2, -1, 3, -8, 4])
    assert [each for each in found if not is_error(each)] == [1, 2, 3, 4]
    assert [type(each).__name__ for each in found if is_error(each)] == ["ValueError", "CrashError"]


def test_what_predict_prints_disturbs_nothing(opened):
    _there, queue = opened("echo")
    assert results_of(queue, [-9, 1]) == [-9, 1]


def test_garbage_in_the_pipe_of_tokens_is_skipped(opened):
    there, queue = opened("echo")
    for garbage in (b"x", b"garbage!", b"too long for a token", bytes(8), b"\xff" * 8):
        os.write(there.tokens[1], garbage)
    assert results_of(queue, [3]) == [3]


def test_a_token_that_died_with_a_process_is_replaced(opened):
    there, queue = opened("echo")
    there.replicas[0].await_ready()
    lost = TokenReader(os.dup(there.tokens[0])).take()
    ticket = queue.submit({"x": 4})
    there.replicas[0].tell("renew")
    ticket.wait()
    assert ticket.result() == 4
    assert lost.serial == 1


def test_a_void_token_leads_to_another_one(opened):
    there, queue = opened("echo")
    for _ in range(20):
        there.replicas[0].tell("renew")
    wait_until(lambda: os.get_blocking(there.tokens[0]))
    assert results_of(queue, range(20)) == list(range(20))


def test_a_replica_finishes_its_batch_before_it_ends(opened, tmp_path):
    there, queue = opened("until", batch=1)
    path = str(tmp_path / "go")
    ticket = queue.submit({"path": path})
    wait_until(pathlib.Path(f"{path}.begun").exists)
    there.replicas[0].tell("drain")
    pathlib.Path(path).touch()
    ticket.wait()
    assert ticket.result() == there.replicas[0].popen.pid
    assert there.replicas[0].popen.wait() == 0


def test_a_replica_without_a_supervisor_ends_when_no_client_is_left(opened):
    there, queue = opened("echo")
    assert results_of(queue, [1]) == [1]
    there.replicas[0].link.shutdown(socket.SHUT_RDWR)
    assert results_of(queue, [2]) == [2]
    queue.close()
    queue._replica.close()
    assert there.replicas[0].popen.wait() == 0
    assert [each["key"] for each in there.released] == [queue._replica.want["key"]]


def test_a_stream_whose_replica_dies_ends_with_a_failure(opened):
    _there, queue = opened("counted", batch=1, streams=True)
    ticket = queue.submit({"n": 10, "path": "die"})
    ticket.wait()
    items = ticket.result()
    found = []
    with pytest.raises(ReplicaLostError):
        for each in items:
            found.append(each)  # noqa: PERF402 - those before the failure count
    assert found == list(range(7))


def test_models_on_one_device_compute_one_after_the_other(opened, tmp_path):
    _first, queue = opened("until", replicas=2, device="gpu:0", batch=1)
    paths = [str(tmp_path / name) for name in "ab"]
    tickets = [queue.submit({"path": path}) for path in paths]
    begun = [pathlib.Path(f"{path}.begun") for path in paths]
    wait_until(lambda: any(path.exists() for path in begun))
    wait_until(lambda: "device" in [each.waits_for for each in queue._state.computing])
    assert sum(path.exists() for path in begun) == 1
    for path in paths:
        pathlib.Path(path).touch()
    for ticket in tickets:
        ticket.wait()
        assert ticket.result()


def test_no_caller_gets_the_answer_of_another_after_any_timeouts():
    """A thousand predictions with random deadlines, many of them too short."""
    chance = random.Random(7)
    with ReplicaThread("echo") as there:
        remote = there.remote()
        queue = queue_of(remote, batch=4)
        outcomes: list[tuple[int, t.Any]] = []

        def caller(numbers: cabc.Iterable[int]) -> None:
            for number in numbers:
                try:
                    ticket = queue.submit_and_wait(
                        {"x": number}, deadline_s=chance.expovariate(1 / 0.002)
                    )
                    outcomes.append((number, ticket.result()))
                except CarboyError as exc:
                    outcomes.append((number, exc))

        threads = [
            threading.Thread(target=caller, args=(range(i * 125, (i + 1) * 125),)) for i in range(8)
        ]
        begun_s = monotonic()
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert monotonic() - begun_s < 30
        answers = [(x, found) for x, found in outcomes if not is_error(found)]
        assert len(outcomes) == 1000
        assert 0 < len(answers) < 1000, "some are in time, and some are not"
        assert all(x == found for x, found in answers)
        queue.close()
        remote.close()
