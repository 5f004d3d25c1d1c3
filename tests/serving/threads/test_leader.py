"""One thread leads, whatever the others do, and no event is left without a thread.

Each thread of these tests takes an event from a queue, and the next one when it has handled that.
"""

from __future__ import annotations

import queue
import random
import threading
import time
import typing as t

import pytest
from polling import PATIENCE_S, wait_until
from tasks import Task

from carboy.serving.threads import monitor
from carboy.serving.threads.leader import LeaderFollowers
from carboy.serving.threads.timing import ViewTiming

if t.TYPE_CHECKING:
    import collections.abc as cabc


class QueueThreads(LeaderFollowers):
    """Threads that take events from a queue, in any order."""

    def lead(self, work: t.Any, *args: t.Any) -> None:
        """Handle an event on the calling thread, then park it while another thread leads."""
        me = self.current() or self.join()
        me.turns += 1
        me.at_work = True
        if self.monitor.asleep:
            self.monitor.wake()
        try:
            work(*args)
        finally:
            me.at_work = False
            if me.stepped_aside or self.leading > 1:
                self.finish(me)


class Pool:
    """The threads, which start with the first event."""

    def __init__(self, members: QueueThreads) -> None:
        self.members = members
        self.errors: list[BaseException] = []
        self._events: queue.SimpleQueue[t.Any] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def add(self, count: int) -> None:
        for _ in range(count):
            name = f"pool-{len(self._threads)}"
            self._threads.append(threading.Thread(target=self._run, name=name, daemon=True))
            self._threads[-1].start()

    def bring(self, work: t.Any, *args: t.Any) -> t.Any:
        self._events.put((work, *args))
        return work

    def bring_in(self, count: int) -> None:
        """So many threads that have all had an event."""
        self.add(count)
        tasks = [self.bring(Task()) for _ in range(count)]
        for task in tasks:
            assert task.has_begun()
        for task in tasks:
            task.end()
        if count > 1:
            wait_until(lambda: self.members.parked == count - 1)
        wait_until(lambda: not any(member.at_work for member in self.members.threads))

    def _run(self) -> None:
        while (event := self._events.get()) is not None:
            try:
                self.members.lead(*event)
            except BaseException as exc:  # noqa: BLE001  # shown by the test
                self.errors.append(exc)

    def close(self) -> None:
        self.members.stop()
        for _ in self._threads:
            self._events.put(None)


def check_counts(pool: QueueThreads) -> None:
    """Each thread leads, is aside or is parked; one leads while any is parked."""

    def agree() -> bool:
        aside = sum(thread.stepped_aside for thread in pool.threads)
        return pool.leading == len(pool.threads) - aside - pool.parked

    wait_until(agree)
    assert pool.leading >= 1 or not pool.parked


@pytest.fixture
def members() -> QueueThreads:
    """Without its monitor: tests look when they want to."""
    return QueueThreads()


@pytest.fixture
def pool(members: QueueThreads) -> cabc.Iterator[Pool]:
    pool = Pool(members)
    yield pool
    pool.close()


def test_leader_handles_event_after_event(members: QueueThreads, pool: Pool) -> None:
    pool.bring_in(4)
    tasks = []
    for _ in range(10):
        tasks.append(pool.bring(Task()))
        assert tasks[-1].has_begun()
        tasks[-1].end()
    assert len({task.thread for task in tasks}) == 1
    check_counts(members)


def test_second_event_waits_while_the_leader_works(members: QueueThreads, pool: Pool) -> None:
    pool.bring_in(3)
    first = pool.bring(Task())
    assert first.has_begun()
    second = pool.bring(Task())
    assert pool.members.leading == 1
    first.end()
    assert second.has_begun()
    assert second.thread == first.thread
    second.end()


def test_follower_leads_when_the_leader_steps_aside(members: QueueThreads, pool: Pool) -> None:
    pool.bring_in(3)
    waiting = pool.bring(Task(members.step_aside))
    assert waiting.has_begun()
    other = pool.bring(Task())
    assert other.has_begun()
    assert other.thread != waiting.thread
    other.end()
    check_counts(members)


def test_thread_that_was_aside_is_parked_if_another_leads(
    members: QueueThreads, pool: Pool
) -> None:
    pool.bring_in(3)
    waiting = pool.bring(Task(members.step_aside))
    assert waiting.has_begun()
    wait_until(lambda: members.parked == 1)
    waiting.end()
    wait_until(lambda: members.parked == 2)
    check_counts(members)


def test_first_thread_to_finish_leads_if_all_are_aside(members: QueueThreads, pool: Pool) -> None:
    pool.bring_in(4)
    waiting = [pool.bring(Task(members.step_aside)) for _ in range(4)]
    for each in waiting:
        assert each.has_begun()
    late = pool.bring(Task())
    assert not members.parked
    assert members.leading == 0
    waiting[2].end()
    assert late.has_begun()
    assert late.thread == waiting[2].thread
    late.end()
    for each in waiting:
        each.end()
    wait_until(lambda: members.parked == 3)
    check_counts(members)


def test_stepping_aside_twice_promotes_one_follower(members: QueueThreads, pool: Pool) -> None:
    pool.bring_in(4)

    def twice() -> None:
        members.step_aside()
        members.step_aside()

    waiting = pool.bring(Task(twice))
    assert waiting.has_begun()
    assert (members.leading, members.parked) == (1, 2)
    waiting.end()


def test_threads_outside_the_pool_are_ignored(members: QueueThreads) -> None:
    members.step_aside()
    assert members.current() is None
    assert not members.threads


# --------------------------------------------------------------------------- the monitor


def test_leader_in_the_same_turn_at_two_looks_is_relieved(
    members: QueueThreads, pool: Pool
) -> None:
    pool.bring_in(2)
    stuck = pool.bring(Task())
    assert stuck.has_begun()
    other = pool.bring(Task())
    assert members.check()
    assert not other.begun.is_set()
    assert members.check()
    assert other.has_begun()
    assert other.thread != stuck.thread
    stuck.end()
    other.end()
    wait_until(lambda: members.parked == 1)
    check_counts(members)


def test_leader_with_a_new_turn_at_each_look_is_not_relieved(
    members: QueueThreads, pool: Pool
) -> None:
    pool.bring_in(2)
    for _ in range(5):
        task = pool.bring(Task())
        assert task.has_begun()
        members.check()
        assert members.leading == 1
        assert members.parked == 1
        task.end()


def test_view_of_a_relieved_leader_is_not_quick(members: QueueThreads, pool: Pool) -> None:
    pool.bring_in(2)
    view = ViewTiming()
    made_quick(view)

    def begin() -> None:
        me = members.current()
        assert me is not None
        me.view = view

    stuck = pool.bring(Task(begin))
    assert stuck.has_begun()
    members.check()
    assert view.quick_calls
    members.check()
    assert not view.quick_calls
    assert view.may_block()
    stuck.end()


def test_monitor_watches_each_of_several_leaders(members: QueueThreads, pool: Pool) -> None:
    """Two have just come: one gets stuck, the other is parked because two lead."""
    pool.add(2)
    stuck, other = pool.bring(Task()), pool.bring(Task())
    assert stuck.has_begun()
    assert other.has_begun()
    other.end()
    wait_until(lambda: members.parked == 1)
    late = pool.bring(Task())
    members.check()
    members.check()
    assert late.has_begun()
    assert late.thread == other.thread
    late.end()
    stuck.end()


def test_thread_that_is_aside_or_idle_is_not_relieved(members: QueueThreads, pool: Pool) -> None:
    pool.bring_in(3)
    waiting = pool.bring(Task(members.step_aside))
    assert waiting.has_begun()
    members.check()
    assert not members.check()  # so the monitor sleeps
    assert (members.leading, members.parked) == (1, 1)
    waiting.end()


def test_thread_that_finished_before_the_monitor_came_is_not_relieved(
    members: QueueThreads, pool: Pool
) -> None:
    pool.bring_in(3)
    for member in members.threads:
        members.relieve_stuck(member)
    assert (members.leading, members.parked) == (1, 2)
    check_counts(members)


@pytest.mark.parametrize("others", [True, False], ids=["another-leads", "nobody-else"])
def test_thread_that_is_relieved_while_it_finishes_leads_or_is_parked(
    members: QueueThreads, others: bool
) -> None:
    """It has seen that it is not aside, and is relieved before it takes its next turn."""
    me = members.join()
    me.at_work = True
    if others:
        another = threading.Thread(target=members.join)
        another.start()
        another.join()
    members.relieve_stuck(me)
    me.at_work = False
    assert me.stepped_aside
    if others:
        parking = threading.Thread(target=members.finish, args=(me,))
        parking.start()
        wait_until(lambda: members.parked)
        assert members.leading == 1
        check_counts(members)
        members.stop()
        parking.join()
    else:
        members.finish(me)
        assert (members.leading, me.stepped_aside) == (1, False)
        check_counts(members)


def test_monitor_relieves_a_stuck_leader_and_sleeps_when_idle(
    members: QueueThreads, pool: Pool
) -> None:
    members.monitor.start()
    wait_until(lambda: members.monitor.asleep)
    pool.bring_in(3)
    for _ in range(3):
        stuck = pool.bring(Task())
        assert stuck.has_begun()
        other = pool.bring(Task())
        assert other.has_begun()
        other.end()
        stuck.end()
        wait_until(lambda: members.monitor.asleep)
    check_counts(members)


def test_views_that_are_stuck_together_are_relieved_one_after_the_other(
    members: QueueThreads, pool: Pool
) -> None:
    members.monitor.start()
    pool.bring_in(13)
    tasks = [pool.bring(Task()) for _ in range(12)]
    neighbour = pool.bring(Task())
    assert neighbour.has_begun()
    for task in [*tasks, neighbour]:
        task.end()


def _work_hard(pool: Pool, seconds: float, threads: int) -> None:
    """Events of all kinds; each must be done, and the books be right in the end."""
    members = pool.members
    chance = random.Random(7)
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    gates = threading.BoundedSemaphore(threads * 3)

    def do(kind: str, pause_s: float) -> None:
        try:
            if kind == "aside":
                members.step_aside()
            if pause_s:
                time.sleep(pause_s)
            if kind == "error":
                raise KeyError
        finally:
            gates.release()
            done.put(1)

    pool.add(threads)
    members.monitor.start()
    end_s = time.monotonic() + seconds
    brought = 0
    while time.monotonic() < end_s:
        assert gates.acquire(timeout=PATIENCE_S), "an event is left without a thread"
        kind = chance.choice(["quick", "quick", "quick", "aside", "aside", "error"])
        pause_s = chance.choice([0.0] * 30 + [0.0001, 0.001, 0.03])
        pool.bring(do, kind, pause_s)
        brought += 1
    for _ in range(brought):
        done.get(timeout=PATIENCE_S)
    wait_until(lambda: not any(member.at_work for member in members.threads))
    check_counts(members)


def test_no_event_is_left_without_a_thread(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "TICK_S", 0.001)
    monkeypatch.setattr(monitor, "ALERT_TICK_S", 0.0005)
    _work_hard(pool, 1.0, threads=6)


@pytest.mark.stress
@pytest.mark.parametrize("threads", [1, 2, 5, 20])
def test_no_event_is_left_without_a_thread_for_long(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    # The shorter its looks, the more often the monitor comes to one that has just ended.
    monkeypatch.setattr(monitor, "TICK_S", 0.0001)
    monkeypatch.setattr(monitor, "ALERT_TICK_S", 0.0)
    _work_hard(pool, 5.0, threads)


def test_stopped_pool_parks_no_thread(members: QueueThreads, pool: Pool) -> None:
    pool.bring_in(3)
    members.monitor.start()
    members.stop()
    assert members.parked == 0
    tasks = [pool.bring(Task()) for _ in range(3)]
    for task in tasks:
        assert task.has_begun()  # each on a thread of its own
    for task in tasks:
        task.end()


# ------------------------------------------------------------------------------------------ views


class RecordedTiming(ViewTiming):
    """Count what is noted. Each measurement counts as quick, however busy the machine is."""

    def __init__(self) -> None:
        super().__init__()
        self.measured = self.stuck = 0

    def record(self, took_s: float, waited_s: float) -> None:
        self.measured += 1
        super().record(0.00002, 0.000002)

    def record_block(self) -> None:
        self.stuck += 1
        super().record_block()


def made_quick(view: ViewTiming) -> ViewTiming:
    for _ in range(3):
        view.record(0.00002, 0.000002)
    assert view.quick_calls
    return view


def test_quick_view_runs_on_the_leader_and_others_aside(members: QueueThreads) -> None:
    quick, unknown = made_quick(ViewTiming()), ViewTiming()
    seen: list[tuple[bool, ViewTiming | None]] = []

    def check() -> None:
        me = members.current()
        assert me is not None
        seen.append((me.stepped_aside, me.view))

    members.lead(members.run_view, quick, check)
    members.lead(members.run_view, unknown, check)
    assert seen == [(False, quick), (True, None)]
    me = members.current()
    assert me is not None
    assert me.view is None


def test_view_on_a_thread_outside_the_pool_is_not_measured(members: QueueThreads) -> None:
    seen: list[int] = []
    view = RecordedTiming()
    for _ in range(5):
        members.run_view(view, seen.append, 1)
    assert seen == [1] * 5
    assert view.measured == 0


def test_view_that_raises_is_measured(members: QueueThreads) -> None:
    view = RecordedTiming()

    def fail() -> None:
        raise SystemExit

    for _ in range(3):
        with pytest.raises(SystemExit):
            members.lead(members.run_view, view, fail)
    assert view.measured == 3
    me = members.current()
    assert me is not None
    assert me.view is None


def test_each_view_in_a_queue_on_one_thread_is_a_turn_of_its_own(members: QueueThreads) -> None:
    """A thread with a slot takes one request after another from the queue."""
    quick = RecordedTiming()
    made_quick(quick)

    def run_ten() -> None:
        for _ in range(10):
            members.run_view(quick, members.check)

    members.lead(run_ten)
    assert quick.stuck == 0
    assert members.leading == 1
