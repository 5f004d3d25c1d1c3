from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.models.queue.batcher import Batcher


@dataclasses.dataclass(eq=False)
class Item:
    number: int
    arrived_s: float = 0.0
    deadline_s: float = math.inf
    settled: bool = False


def full(size: int, *, wait_s=0.0, items: int, max_waiting: int = 100) -> Batcher[Item]:
    batcher = Batcher[Item](max_size=size, wait_s=wait_s, max_waiting=max_waiting)
    for i in range(items):
        assert batcher.offer(Item(i), 0.0)
    return batcher


def numbers(items) -> list[int]:
    return [item.number for item in items]


def test_nothing_is_due_while_nothing_waits():
    batcher = full(4, items=0)
    assert batcher.due_s(1.0) is None
    assert batcher.take(1.0) == ([], [])


def test_items_leave_at_once_without_a_wait():
    batcher = full(4, items=3)
    assert batcher.due_s(0.0) == 0.0
    assert numbers(batcher.take(0.0).batch) == [0, 1, 2]


def test_full_batch_leaves_before_its_wait_is_over():
    batcher = full(4, wait_s=5.0, items=3)
    assert batcher.due_s(0.0) == 5.0
    batcher.offer(Item(3), 1.0)
    assert batcher.due_s(1.0) == 1.0


def test_item_beyond_max_waiting_is_refused_until_one_is_settled():
    batcher = full(4, items=2, max_waiting=2)
    assert not batcher.offer(Item(2), 0.0)
    assert batcher.offer(Item(3), 0.0, ignore_limit=True)
    for item in list(batcher)[:2]:
        item.settled = True
        batcher.withdraw()
    assert batcher.offer(Item(4), 0.0)
    assert numbers(batcher) == [3, 4]


def test_late_items_do_not_leave_and_are_returned_apart():
    batcher = Batcher[Item](max_size=4, max_waiting=9)
    batcher.offer(Item(0, deadline_s=1.0), 0.0)
    batcher.offer(Item(1, deadline_s=3.0), 0.0)
    batch, late = batcher.take(2.0)
    assert (numbers(batch), numbers(late)) == ([1], [0])


@pytest.mark.parametrize(
    ("deadlines_s", "computed", "refused"),
    [
        pytest.param([10.5, 10.9, 11.5, 12.0], [2, 3], [0, 1], id="some would be too late"),
        pytest.param([11.5, 12.0], [0, 1], [], id="all are in time"),
        pytest.param([10.5, 10.9], [0, 1], [], id="all would be too late"),
        pytest.param([10.0, 10.9], [1], [0], id="one is too late"),
        pytest.param([10.5, math.inf], [1], [0], id="one has no deadline"),
    ],
)
def test_items_that_would_be_too_late_are_refused_in_favour_of_others(
    deadlines_s, computed, refused
):
    """At 10.0, a batch takes about 1 s."""
    batcher = full(4, items=0)
    for i in range(50):
        batcher.finished(float(i), size=4, took_s=0.9)
    for i, deadline_s in enumerate(deadlines_s):
        batcher.offer(Item(i, deadline_s=deadline_s), 9.0)
    batch, late = batcher.take(10.0)
    assert (numbers(batch), numbers(late)) == (computed, refused)


def test_duration_of_streams_says_nothing_about_the_time_to_their_first_item():
    batcher = Batcher[Item](max_size=1, max_waiting=9, streams=True)
    for i in range(50):
        batcher.finished(float(i), size=1, took_s=60.0)
    batcher.offer(Item(0, deadline_s=10.5), 9.0)
    batcher.offer(Item(1, deadline_s=80.0), 9.0)
    batch, late = batcher.take(10.0)
    assert (numbers(batch), late) == ([0], [])


def test_wait_ends_in_time_for_the_deadline():
    batcher = Batcher[Item](max_size=4, wait_s=5.0, max_waiting=9)
    batcher.finished(0.0, size=1, took_s=0.5)
    batcher.offer(Item(0, deadline_s=2.0), 0.0)
    assert batcher.due_s(0.0) == pytest.approx(1.5)


def test_cancelled_items_do_not_pile_up():
    batcher = full(4, items=100)
    for item in list(batcher):
        item.settled = True
        batcher.withdraw()
    assert len(batcher._queue) == 0


def test_time_to_clear_counts_batches():
    batcher = full(4, items=9)
    for size, took_s in ((1, 1.1), (4, 1.4), (2, 1.2)) * 50:
        batcher.finished(0.0, size=size, took_s=took_s)
    assert batcher.drain_s() == pytest.approx(3 * 1.4, rel=0.05)
    assert batcher.drain_s(concurrency=3) == pytest.approx(1.4, rel=0.05)


# What happens, in any order: an item comes (with or without a deadline), an item is cancelled, time
# passes and what is due is taken.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.sampled_from([0.002, 0.02, math.inf])),
        st.tuples(st.just("cancel"), st.integers(0, 50)),
        st.tuples(st.just("pass"), st.floats(0, 0.01)),
    ),
    max_size=60,
)


@given(
    steps=STEPS,
    size=st.integers(1, 8),
    wait_s=st.sampled_from([0, 0.001, 0.005, "auto"]),
    max_waiting=st.integers(1, 20),
)
def test_each_item_leaves_once_in_order_in_time_and_within_the_limits(
    steps, size, wait_s, max_waiting
):
    batcher = Batcher[Item](max_size=size, wait_s=wait_s, max_waiting=max_waiting)
    now_s, offered, left, late, refused = 0.0, [], [], [], []

    def take() -> None:
        batch, too_late = batcher.take(now_s)
        assert len(batch) <= size
        assert all(item.deadline_s > now_s and not item.settled for item in batch)
        # an item that is still in time is only refused in favour of others
        assert batch or all(item.deadline_s <= now_s for item in too_late)
        left.extend(batch)
        late.extend(too_late)
        if batch:
            batcher.finished(now_s, size=len(batch), took_s=0.003)

    for step, value in steps:
        if step == "offer":
            item = Item(len(offered), now_s, now_s + value)
            offered.append(item)
            room = len(batcher) < max_waiting
            assert batcher.offer(item, now_s) is room
            if not room:
                refused.append(item)
        elif step == "cancel":
            waiting = list(batcher)
            if waiting:
                waiting[value % len(waiting)].settled = True
                batcher.withdraw()
        else:
            now_s += value
            due_s = batcher.due_s(now_s)
            assert (due_s is None) == (len(batcher) == 0)
            if due_s is not None and due_s <= now_s:
                take()
        assert len(batcher) <= max_waiting
        assert batcher._settled * 2 <= len(batcher._queue)
    while (due_s := batcher.due_s(now_s)) is not None:
        assert due_s <= now_s + 0.0051  # no wait is longer than the fixed one, or than a batch
        now_s = max(now_s, due_s)
        take()
    assert numbers(left) == sorted(numbers(left))
    gone = [item for item in offered if item.settled]
    assert sorted(numbers([*left, *late, *refused, *gone])) == list(range(len(offered)))


@pytest.mark.parametrize("wait", [0, 1.0, "auto"])
def test_round_waits_as_far_as_there_is_room(wait):
    batcher = Batcher[Item](max_size=4, wait_s=wait, max_waiting=3)
    assert batcher.offer_round([Item(0)], 0.0) == 1
    assert batcher.offer_round([Item(1), Item(2), Item(3)], 0.0) == 2
    assert batcher.offer_round([Item(4)], 0.0) == 0
    assert numbers(batcher) == [0, 1, 2]
