"""Another queue computes what a queue cannot compute any more."""

from __future__ import annotations

import threading

import pytest
from polling import PATIENCE_S, wait_until

from carboy.errors import ReplicaLostError
from carboy.models.queue import PredictionQueue
from carboy.models.queue.group import PredictionGroup
from replicas import FunctionReplica


class Stopped:
    """A queue whose first batch does not end before the test does."""

    def __init__(self) -> None:
        self._begun, self.end = threading.Event(), threading.Event()
        self.queue = PredictionQueue(FunctionReplica(self._compute), owner="M", batch=2)

    def _compute(self, batch):
        self._begun.set()
        self.end.wait(PATIENCE_S)
        return [("here", each) for each in batch]

    def submit(self, *arguments):
        """Let a first prediction be computed, while those of the others wait."""
        first, *others = arguments
        tickets = [self.queue.submit(first)]
        assert self._begun.wait(PATIENCE_S)
        return tickets + [self.queue.submit(each) for each in others]


@pytest.fixture
def stopped():
    stopped = Stopped()
    yield stopped
    stopped.end.set()
    stopped.queue.close(PATIENCE_S)


@pytest.fixture
def other():
    other = PredictionQueue(
        FunctionReplica(lambda batch: [("there", each) for each in batch]), owner="M", batch=2
    )
    yield other
    other.close(PATIENCE_S)


def outcomes(tickets) -> list[object]:
    for each in tickets:
        each.wait()
    return [type(each.value) if each.value is None else each.value for each in tickets]


def test_predictions_that_wait_are_computed_by_the_other_queue(stopped, other):
    computed, *waiting = stopped.submit(1, 2, 3)
    stopped.queue.divert(lambda: other, "all of its replicas have died.")
    assert outcomes(waiting) == [("there", 2), ("there", 3)]
    assert [each.queue for each in waiting] == [other, other]
    computed.wait()
    with pytest.raises(ReplicaLostError, match=r"^M: all of its replicas have died\.$"):
        computed.result()


def test_new_predictions_go_to_the_other_queue_until_the_first_takes_them_back(stopped, other):
    stopped.queue.divert(lambda: other, "died.")
    assert stopped.queue.submit_and_wait(1).result() == ("there", 1)
    assert stopped.queue.run(2) == ("there", 2)
    stopped.end.set()
    stopped.queue.take_back()
    assert stopped.queue.submit_and_wait(1).result() == ("here", 1)


def test_predictions_wait_as_well_if_the_other_queue_is_held(stopped, other):
    _, *waiting = stopped.submit(1, 2)
    other.hold()
    stopped.queue.divert(lambda: other, "died.")
    assert other.statistics().waiting == 1
    other.release(other)
    assert outcomes(waiting) == [("there", 2)]


def submit_group(queue, *numbers):
    entries = [{"x": each} for each in numbers]
    group = PredictionGroup(queue, entries, lambda: entries)
    done: list[object] = []

    def wait() -> None:
        done.append(group.submit_and_wait().value)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread, done


def test_request_of_which_a_part_was_computed_fails_as_a_whole(stopped, other):
    """One version computes all predictions of a request."""
    thread, done = submit_group(stopped.queue, 1, 2, 3)
    wait_until(lambda: stopped.queue.statistics().computing == 2)
    stopped.queue.divert(lambda: other, "died.")
    thread.join(PATIENCE_S)
    assert [type(each) for each in done] == [ReplicaLostError]
    assert other.statistics().answered == 0


def test_request_of_which_no_part_was_computed_is_computed_by_the_other_queue(stopped, other):
    stopped.submit(1)
    thread, done = submit_group(stopped.queue, 2, 3)
    wait_until(lambda: stopped.queue.statistics().waiting == 2)
    stopped.queue.divert(lambda: other, "died.")
    thread.join(PATIENCE_S)
    assert done == [[("there", {"x": 2}), ("there", {"x": 3})]]
