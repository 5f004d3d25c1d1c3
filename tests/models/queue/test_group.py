"""Several predictions of one request."""

from __future__ import annotations

import threading

import pytest
from polling import PATIENCE_S, wait_until

from carboy.errors import CancelledError, InputError, InputTooLargeError, QueueFullError
from carboy.models.queue import PredictionQueue
from carboy.models.queue.group import PredictionGroup
from replicas import FunctionReplica


class Doubling:
    """Doubles numbers, in batches, when the test lets it. A negative number fails."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Semaphore(0), threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, batch):
        numbers = [arguments["x"] for arguments in batch]
        self.batches.append(numbers)
        self.entered.release()
        assert self.go.wait(PATIENCE_S)
        return [InputError("negative") if each < 0 else 2 * each for each in numbers]


@pytest.fixture
def model():
    model = Doubling()
    yield model
    model.go.set()


@pytest.fixture
def queue(model):
    queue = PredictionQueue(FunctionReplica(model), owner="M", batch=2, queue=4)
    yield queue
    model.go.set()
    assert queue.close(PATIENCE_S)


def group(queue: PredictionQueue, *numbers: int) -> PredictionGroup:
    entries = [{"x": each} for each in numbers]
    return PredictionGroup(queue, entries, lambda: [{"x": each} for each in numbers])


def test_results_are_in_the_order_of_the_entries(queue, model):
    model.go.set()
    ticket = group(queue, 1, 2, 3).submit_and_wait()
    assert ticket.result() == [2, 4, 6]
    assert model.batches == [[1, 2], [3]]


def test_ticket_has_the_times_of_all_predictions(queue, model):
    model.go.set()
    ticket = group(queue, 1, 2, 3).submit_and_wait()
    assert ticket.batch_size == 2
    assert ticket.arrived_s <= ticket.began_s <= ticket.ended_s


def test_group_without_entries_has_no_results(queue):
    assert group(queue).submit_and_wait().result() == []


def test_group_fails_with_the_failure_of_an_entry(queue, model):
    model.go.set()
    with pytest.raises(InputError, match="negative"):
        group(queue, 1, -1, 3, 4).submit_and_wait().result()


def test_predictions_that_wait_are_cancelled_after_a_failure(queue, model):
    done = threading.Thread(target=lambda: group(queue, -1, 2, 3, 4).submit_and_wait())
    done.start()
    assert model.entered.acquire(timeout=PATIENCE_S)
    model.go.set()
    done.join(PATIENCE_S)
    wait_until(lambda: not queue.statistics().computing)
    statistics = queue.statistics()
    assert statistics.failed == 1
    assert statistics.answered + statistics.cancelled >= 4


def test_body_is_decoded_once_for_each_halving_of_a_batch_that_fails():
    """Two of 64 entries fail, so the batch is halved six times. `predict` changes its inputs."""
    decoded, got = [], []

    def decode() -> list[dict[str, list[int]]]:
        decoded.append(1)
        return [{"x": [each]} for each in range(64)]

    def compute(batch):
        got.extend(arguments["x"][0] for arguments in batch)
        failing = any(arguments["x"][0] in (5, 31) for arguments in batch)
        for arguments in batch:
            arguments["x"][0] = -1
        if failing:
            raise ValueError("5 or 31")
        return [0] * len(batch)

    queue = PredictionQueue(FunctionReplica(compute), owner="M", batch=64)
    with pytest.raises(ValueError, match="5 or 31"):
        PredictionGroup(queue, decode(), decode).submit_and_wait().result()
    assert queue.close(PATIENCE_S)
    assert -1 not in got, "an entry was used twice"
    assert len(decoded) == 1 + 6


def test_group_that_is_larger_than_the_queue_is_refused(queue):
    with pytest.raises(InputTooLargeError, match="at most 4 at once"):
        group(queue, *range(5))


def test_group_that_does_not_fit_now_is_refused_as_a_whole(queue, model):
    first = queue.submit({"x": 1})
    assert model.entered.acquire(timeout=PATIENCE_S)
    others = [queue.submit({"x": 1}) for _ in range(2)]
    ticket = group(queue, 1, 2, 3).submit_and_wait()
    with pytest.raises(QueueFullError):
        ticket.result()
    model.go.set()
    for each in (first, *others):
        each.wait()
    assert [each for batch in model.batches for each in batch] == [1, 1, 1]


def test_cancelled_group_is_not_computed(queue, model):
    first = queue.submit({"x": 1})
    assert model.entered.acquire(timeout=PATIENCE_S)
    found, ended = [], threading.Event()
    waiting = group(queue, 2, 3)
    owner = type(first)(deliver=lambda tickets: (found.extend(tickets), ended.set()))
    waiting.submit(owner)
    waiting.cancel()
    assert ended.wait(PATIENCE_S)
    with pytest.raises(CancelledError):
        found[0].result()
    model.go.set()
    first.wait()
    assert model.batches == [[1]]
