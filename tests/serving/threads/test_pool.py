"""The server's own threads: one takes turns, the others follow, and all of them end."""

from __future__ import annotations

import functools
import queue
import random
import threading
import time
import typing as t

import pytest
from polling import PATIENCE_S, wait_until
from tasks import Task

from carboy.serving.threads import monitor
from carboy.serving.threads import pool as module
from carboy.serving.threads.pool import SPARE_THREADS, LeaderPool

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from carboy.serving.threads.leader import PoolThread


class Turns:
    """An event loop whose events are tasks, which it does."""

    def __init__(self, views: int) -> None:
        self.pool = LeaderPool(views)
        self._tasks: queue.SimpleQueue[t.Any] = queue.SimpleQueue()

    def start(self) -> None:
        self.pool.start(self)

    def poll(self) -> t.Any:
        return self._tasks.get()

    def handle(self, events: t.Any, me: PoolThread) -> None:
        if events is not None:
            events()
            return
        while self.pool.calls:  # woken
            self.pool.calls.popleft()()

    def wake(self) -> None:
        self._tasks.put(None)

    def bring(self, task: t.Any) -> t.Any:
        self._tasks.put(task)
        return task

    def do(self, *tasks: Task) -> list[str]:
        """Let tasks be done one after the other; the names of their threads."""
        for task in tasks:
            self.bring(task)
            assert task.has_begun()
            task.end()
        return [task.thread for task in tasks]


@pytest.fixture
def is_monitored() -> bool:
    """Whether the monitor looks for threads that are stuck. On a busy machine, a thread that gets
    no processor counts as stuck as well.
    """
    return False


@pytest.fixture
def turns(is_monitored: bool) -> cabc.Iterator[Turns]:
    turns = Turns(20)
    if not is_monitored:
        turns.pool.monitor = monitor.Monitor(lambda: False)
    turns.start()
    yield turns
    turns.pool.stop()
    wait_until(lambda: not turns.pool.threads)


def one_leads(turns: Turns) -> bool:
    """Whether one thread leads and all others are parked. If the monitor has relieved a thread that
    was just finishing its task, that thread is parked after another task.
    """
    turns.do(Task())
    return turns.pool.leading == 1 and turns.pool.parked == len(turns.pool.threads) - 1


def aside(turns: Turns) -> Task:
    """A task whose thread has stepped aside."""
    task: Task = turns.bring(Task(turns.pool.step_aside))
    assert task.has_begun()
    return task


def test_first_thread_takes_all_turns_while_it_leads(turns: Turns) -> None:
    assert set(turns.do(*(Task() for _ in range(5)))) == {"carboy-1"}
    assert len(turns.pool.threads) == 1


@pytest.mark.parametrize("failure", [ZeroDivisionError, SystemExit, KeyboardInterrupt])
def test_failure_of_a_turn_does_not_end_the_leading_thread(
    turns: Turns, caplog: pytest.LogCaptureFixture, failure: type[BaseException]
) -> None:
    def fail() -> t.NoReturn:
        raise failure

    turns.bring(fail)
    assert turns.do(Task()) == ["carboy-1"]
    assert "error while serving" in caplog.text


def test_another_thread_is_started_when_the_only_one_steps_aside(turns: Turns) -> None:
    waiting = [aside(turns) for _ in range(3)]
    wait_until(lambda: len(turns.pool.threads) == 4)
    assert len({task.thread for task in waiting}) == 3
    for task in waiting:
        task.end()
    wait_until(lambda: turns.pool.parked == 3)


def test_parked_thread_takes_turns_when_the_leader_steps_aside(turns: Turns) -> None:
    aside(turns).end()
    wait_until(lambda: turns.pool.parked == 1)
    leader = turns.do(Task())[0]
    waiting = aside(turns)
    assert waiting.thread == leader
    followers = turns.do(Task(), Task())
    assert len({leader, *followers}) == 2
    assert len(turns.pool.threads) == 2  # none was started
    waiting.end()
    wait_until(lambda: turns.pool.parked == 1)


@pytest.mark.parametrize("is_monitored", [True])
def test_stuck_leader_is_relieved_by_a_new_thread(turns: Turns) -> None:
    stuck = turns.bring(Task())
    assert stuck.has_begun()
    other = turns.bring(Task())
    assert other.has_begun()
    assert other.thread != stuck.thread
    stuck.end()
    other.end()
    wait_until(lambda: one_leads(turns))


@pytest.mark.parametrize("is_monitored", [True])
def test_leader_that_waits_for_events_is_not_stuck(turns: Turns) -> None:
    turns.do(Task())
    wait_until(lambda: turns.pool.monitor.asleep)
    threads = len(turns.pool.threads)
    turns.pool.monitor.wake()
    wait_until(lambda: turns.pool.monitor.asleep)
    assert turns.pool.leading == 1
    assert len(turns.pool.threads) == threads


def test_pool_starts_no_more_threads_than_its_limit() -> None:
    turns = Turns(2)
    turns.start()
    waiting = [aside(turns) for _ in range(2 + SPARE_THREADS)]
    late = turns.bring(Task())
    assert not late.begun.is_set()
    assert len(turns.pool.threads) == 2 + SPARE_THREADS
    assert turns.pool.leading == 0
    waiting[3].end()
    assert late.has_begun()
    assert late.thread == waiting[3].thread
    for task in [late, *waiting]:
        task.end()
    turns.pool.stop()
    wait_until(lambda: not turns.pool.threads)


def test_thread_that_the_system_refuses_is_logged_and_not_counted(monkeypatch, caplog) -> None:
    class Thread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    turns = Turns(2)
    monkeypatch.setattr(module.threading, "Thread", Thread)
    with pytest.raises(RuntimeError):
        turns.start()  # its monitor
    for _ in range(50):
        turns.pool.relieve(turns.pool.join())
        turns.pool.leave(t.cast("PoolThread", turns.pool.current()))
    monkeypatch.undo()
    assert "can't start new thread" in caplog.text
    turns.start()
    assert turns.do(Task()) == ["carboy-1"]
    turns.pool.stop()


def test_stop_ends_leader_followers_and_monitor() -> None:
    before = set(threading.enumerate())
    turns = Turns(4)
    turns.start()
    waiting = [aside(turns) for _ in range(3)]
    for task in waiting:
        task.end()
    wait_until(lambda: turns.pool.parked == 3)
    turns.pool.stop()
    # Threads of other tests may end meanwhile.
    assert not set(threading.enumerate()) - before
    assert not turns.pool.threads


def test_thread_that_works_when_the_pool_stops_ends_after_its_work(monkeypatch) -> None:
    monkeypatch.setattr(module, "JOIN_S", 0.01)
    turns = Turns(4)
    turns.start()
    waiting = aside(turns)
    turns.pool.stop()
    wait_until(lambda: len(turns.pool.threads) == 1)
    waiting.end()
    wait_until(lambda: not turns.pool.threads)


def test_call_wakes_the_leader_that_waits(turns: Turns) -> None:
    turns.do(Task())
    done = threading.Event()
    turns.pool.call(done.set)
    assert done.wait(PATIENCE_S)


def test_leads_is_true_on_the_leading_thread_only(turns: Turns) -> None:
    seen: list[bool] = []
    turns.do(Task(lambda: seen.append(turns.pool.leads())))
    assert seen == [True]
    assert not turns.pool.leads()


def test_stopped_pool_takes_calls_and_wakes_no_thread() -> None:
    turns = Turns(1)
    turns.start()
    turns.pool.stop()
    turns.pool.call(lambda: None)
    assert not turns.pool.threads


# ------------------------------------------------------------------------------ all of it together


def work_hard(turns: Turns, seconds: float) -> None:
    """Each task is done, whether its thread steps aside, sleeps or gets stuck."""
    chance = random.Random(7)
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    at_once = threading.BoundedSemaphore(20)

    def do(steps_aside: bool, pause_s: float) -> None:
        if steps_aside:
            turns.pool.step_aside()
        if pause_s:
            time.sleep(pause_s)
        at_once.release()
        done.put(1)

    turns.start()
    end_s = time.monotonic() + seconds
    brought = 0
    while time.monotonic() < end_s:
        assert at_once.acquire(timeout=PATIENCE_S), "a task is left without a thread"
        steps_aside = chance.random() < 0.2
        pause_s = chance.choice([0.0] * 30 + [0.0001, 0.001, 0.03])
        turns.bring(functools.partial(do, steps_aside, pause_s))
        brought += 1
    for _ in range(brought):
        done.get(timeout=PATIENCE_S)
    pool = turns.pool
    wait_until(lambda: not any(thread.at_work for thread in pool.threads))
    wait_until(lambda: one_leads(turns))
    pool.stop()
    wait_until(lambda: not pool.threads)


@pytest.mark.parametrize("views", [1, 6])
def test_no_task_is_left_without_a_thread(monkeypatch: pytest.MonkeyPatch, views: int) -> None:
    monkeypatch.setattr(module, "SPARE_THREADS", 0)
    monkeypatch.setattr(monitor, "TICK_S", 0.001)
    monkeypatch.setattr(monitor, "ALERT_TICK_S", 0.0005)
    work_hard(Turns(views), 0.5)


@pytest.mark.stress
@pytest.mark.parametrize("views", [2, 5, 20])
def test_no_task_is_left_without_a_thread_for_long(
    monkeypatch: pytest.MonkeyPatch, views: int
) -> None:
    monkeypatch.setattr(module, "SPARE_THREADS", 0)
    monkeypatch.setattr(monitor, "TICK_S", 0.0001)
    monkeypatch.setattr(monitor, "ALERT_TICK_S", 0.0)
    work_hard(Turns(views), 5.0)
