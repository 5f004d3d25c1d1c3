"""At most so many jobs at once, in the order in which they came, and none is lost."""

from __future__ import annotations

import threading

import pytest
from polling import PATIENCE_S, wait_until

from carboy.serving.threads.slots import ViewSlots


class Job:
    """Runs until `may_end` is set, and records its thread."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.thread: threading.Thread | None = None

    def __call__(self, what: object = None) -> None:
        self.thread = threading.current_thread()
        self.begun.set()
        assert self.may_end.wait(PATIENCE_S)


def on_threads(slots: ViewSlots, jobs: list[Job]) -> list[threading.Thread]:
    threads = [threading.Thread(target=slots.run, args=(job, None)) for job in jobs]
    for thread in threads:
        thread.start()
    return threads


def test_job_runs_on_the_thread_that_brings_it() -> None:
    seen: list[object] = []
    ViewSlots(1).run(lambda what: seen.append((threading.get_ident(), what)), 1)
    assert seen == [(threading.get_ident(), 1)]


@pytest.mark.parametrize("enter", [ViewSlots.run, ViewSlots.hand_over], ids=["run", "hand_over"])
def test_job_without_a_free_slot_is_queued_and_runs_on_the_thread_that_frees_one(enter) -> None:
    slots, first = ViewSlots(1), Job()
    (thread,) = on_threads(slots, [first])
    assert first.begun.wait(PATIENCE_S)
    assert slots.full
    order: list[int] = []
    done = threading.Event()
    for i in range(3):
        enter(slots, order.append, i)
    enter(slots, lambda what: done.set(), None)
    assert order == []
    first.may_end.set()
    assert done.wait(PATIENCE_S)
    thread.join(PATIENCE_S)
    assert order == [0, 1, 2]
    assert not slots.full


def test_number_of_running_jobs_is_bounded_by_the_slots() -> None:
    slots, jobs = ViewSlots(3), [Job() for _ in range(3)]
    threads = on_threads(slots, jobs)
    assert all(job.begun.wait(PATIENCE_S) for job in jobs)
    late = Job()
    slots.run(late, None)
    assert not late.begun.is_set()
    late.may_end.set()
    jobs[1].may_end.set()
    assert late.begun.wait(PATIENCE_S)
    assert late.thread is jobs[1].thread
    for job in jobs:
        job.may_end.set()
    for thread in threads:
        thread.join(PATIENCE_S)


def test_job_that_is_handed_over_runs_on_another_thread() -> None:
    slots, job = ViewSlots(1), Job()
    job.may_end.set()
    slots.hand_over(job, None)
    assert job.begun.wait(PATIENCE_S)
    assert job.thread is not threading.current_thread()


@pytest.mark.parametrize("failure", [ZeroDivisionError(), SystemExit()], ids=repr)
def test_job_that_raises_frees_its_slot(failure, caplog) -> None:
    slots, done = ViewSlots(1), []

    def fail(what: int) -> None:
        slots.run(done.append, what)
        raise failure

    slots.run(fail, 1)
    assert done == [1]
    assert not slots.full
    assert "error while serving" in caplog.text


def test_thread_that_cannot_be_started_takes_no_slot(monkeypatch) -> None:
    slots = ViewSlots(1)
    monkeypatch.setattr("carboy.serving.threads.slots.Thread", lambda **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        slots.hand_over(print, None)
    assert not slots.full


def test_no_job_is_lost_or_run_twice() -> None:
    slots, lock, seen = ViewSlots(2), threading.Lock(), []

    def note(i: int) -> None:
        with lock:
            seen.append(i)

    def bring(many: range) -> None:
        for i in many:
            (slots.run if i % 3 else slots.hand_over)(note, i)

    threads = [
        threading.Thread(target=bring, args=(range(k * 100, k * 100 + 100),)) for k in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    wait_until(lambda: not slots.busy)  # those that were handed over
    assert sorted(seen) == list(range(400))


def test_slow_jobs_leave_a_quarter_of_the_slots_and_each_queue_keeps_its_order() -> None:
    slots, order = ViewSlots(4), []
    slow, quick = [Job() for _ in range(3)], Job()
    threads = [threading.Thread(target=slots.run_slow, args=(job,)) for job in slow]
    for thread in threads:
        thread.start()
    assert all(job.begun.wait(PATIENCE_S) for job in slow)
    slots.run_slow(order.append, "slow")
    assert (slots.busy, slots.full, order) == (3, False, [])
    slots.run(order.append, "quick")
    assert order == ["quick"]  # and the slow one did not take its slot
    threads += on_threads(slots, [quick])
    assert quick.begun.wait(PATIENCE_S)
    slots.run(order.append, "second")
    slots.run_slow(order.append, "third")
    quick.may_end.set()
    wait_until(lambda: order == ["quick", "second"])
    assert slots.busy == 3
    for job in slow:
        job.may_end.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert order == ["quick", "second", "slow", "third"]
    assert slots.busy == 0


def test_job_that_is_cancelled_is_removed_from_its_queue_and_not_run() -> None:
    slots, first, order = ViewSlots(2), Job(), []
    (thread,) = on_threads(slots, [first])
    assert first.begun.wait(PATIENCE_S)
    second = Job()
    (other,) = on_threads(slots, [second])
    assert second.begun.wait(PATIENCE_S)
    ways = [slots.run, slots.run_slow, slots.hand_over] * 3
    places = [way(order.append, i) for i, way in enumerate(ways)]
    assert slots.waiting == 9
    assert None not in places
    for i in (0, 1, 2, 4, 8):
        assert slots.cancel(places[i]) == (i,)
        assert slots.cancel(places[i]) is None
    assert slots.waiting == 4
    second.may_end.set()
    other.join(PATIENCE_S)
    assert order == [3, 5, 6, 7]
    assert [slots.cancel(place) for place in places] == [None] * 9
    first.may_end.set()
    thread.join(PATIENCE_S)
    assert (slots.busy, slots.waiting) == (0, 0)


def test_one_slot_takes_slow_jobs_too() -> None:
    seen: list[int] = []
    ViewSlots(1).run_slow(seen.append, 1)
    assert seen == [1]
