"""One thread leads, whatever the others do, and no event is left without a thread."""

from __future__ import annotations

import contextlib
import functools
import queue
import random
import threading
import time
import typing as t

import pytest

from carboy.serving.threads import leader as crews
from carboy.serving.threads.leader import Crew
from carboy.serving.threads.timing import View

if t.TYPE_CHECKING:
    import collections.abc as cabc

PATIENCE_S = 20.0


class Task:
    """What an event asks for: it goes on until it may end."""

    def __init__(self, begin: cabc.Callable[[], object] = lambda: None) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.thread = ""
        self._begin = begin

    def __call__(self) -> None:
        self.thread = threading.current_thread().name
        self._begin()
        self.begun.set()
        assert self.may_end.wait(PATIENCE_S)

    def has_begun(self) -> bool:
        return self.begun.wait(PATIENCE_S)

    def end(self) -> None:
        self.may_end.set()


class Pool:
    """granian's threads: each takes the next event when it has come back from the last."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
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
            until(lambda: len(self.crew._parked) == count - 1)
        until(lambda: not any(member.at_work for member in self.crew._members.values()))

    def _run(self) -> None:
        while (event := self._events.get()) is not None:
            try:
                self.crew.lead(*event)
            except BaseException as exc:  # noqa: BLE001  # as granian does
                self.errors.append(exc)

    def close(self) -> None:
        for member in list(self.crew._members.values()):
            with contextlib.suppress(RuntimeError):
                member.gate.release()
        for _ in self._threads:
            self._events.put(None)


def until(condition: cabc.Callable[[], object]) -> None:
    """That a thread is parked shows nowhere but in the crew's own books."""
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.001)


def check_books(crew: Crew) -> None:
    with crew._lock:
        aside = sum(member.aside for member in crew._members.values())
        assert crew._leading == len(crew._members) - aside - len(crew._parked)
        assert crew._leading >= 1 or not crew._parked


@pytest.fixture
def crew() -> Crew:
    """Without its monitor: tests look when they want to."""
    return Crew()


@pytest.fixture
def pool(crew: Crew) -> cabc.Iterator[Pool]:
    pool = Pool(crew)
    yield pool
    pool.close()


def test_one_thread_does_event_after_event(crew: Crew, pool: Pool) -> None:
    pool.bring_in(4)
    tasks = []
    for _ in range(10):
        tasks.append(pool.bring(Task()))
        assert tasks[-1].has_begun()
        tasks[-1].end()
    assert len({task.thread for task in tasks}) == 1
    check_books(crew)


def test_nothing_else_is_done_while_the_leader_is_at_work(crew: Crew, pool: Pool) -> None:
    pool.bring_in(3)
    first = pool.bring(Task())
    assert first.has_begun()
    second = pool.bring(Task())
    assert pool.crew._leading == 1
    first.end()
    assert second.has_begun()
    assert second.thread == first.thread
    second.end()


def test_a_follower_leads_when_the_leader_steps_aside(crew: Crew, pool: Pool) -> None:
    pool.bring_in(3)
    waiting = pool.bring(Task(crew.step_aside))
    assert waiting.has_begun()
    other = pool.bring(Task())
    assert other.has_begun()
    assert other.thread != waiting.thread
    other.end()
    check_books(crew)


def test_who_was_aside_is_parked_again_if_another_leads(crew: Crew, pool: Pool) -> None:
    pool.bring_in(3)
    waiting = pool.bring(Task(crew.step_aside))
    assert waiting.has_begun()
    until(lambda: len(crew._parked) == 1)
    waiting.end()
    until(lambda: len(crew._parked) == 2)
    check_books(crew)


def test_when_all_are_aside_the_first_to_be_done_leads(crew: Crew, pool: Pool) -> None:
    pool.bring_in(4)
    waiting = [pool.bring(Task(crew.step_aside)) for _ in range(4)]
    for each in waiting:
        assert each.has_begun()
    late = pool.bring(Task())
    assert not crew._parked
    assert crew._leading == 0
    waiting[2].end()
    assert late.has_begun()
    assert late.thread == waiting[2].thread
    late.end()
    for each in waiting:
        each.end()
    until(lambda: len(crew._parked) == 3)
    check_books(crew)


def test_stepping_aside_twice_lets_only_one_follow(crew: Crew, pool: Pool) -> None:
    pool.bring_in(4)

    def twice() -> None:
        crew.step_aside()
        crew.step_aside()

    waiting = pool.bring(Task(twice))
    assert waiting.has_begun()
    assert (crew._leading, len(crew._parked)) == (1, 2)
    waiting.end()


def test_other_threads_are_none_of_its_business(crew: Crew) -> None:
    crew.step_aside()
    crew.must_return()
    assert crew.me() is None
    assert not crew._members


# --------------------------------------------------------------------------- what must go back


def test_an_error_gets_back_to_the_engine(crew: Crew, pool: Pool) -> None:
    """It answers with a 500 when it has the thread back, which must not be parked before."""
    pool.bring_in(3)
    waiting = Task(crew.step_aside)
    error = SystemExit("a view's")

    def fail() -> None:
        waiting()
        raise error

    pool.bring(fail)
    assert waiting.has_begun()
    other = pool.bring(Task())
    assert other.has_begun()
    waiting.end()
    until(lambda: pool.errors)
    assert pool.errors == [error]
    other.end()
    # Two are in the queue now, until the next event.
    pool.bring(lambda: None)
    until(lambda: len(crew._parked) == 2)
    check_books(crew)


def test_what_holds_a_body_returns_before_it_is_parked(crew: Crew, pool: Pool) -> None:
    pool.bring_in(3)

    def begin() -> None:
        crew.step_aside()
        crew.must_return()

    waiting = pool.bring(Task(begin))
    assert waiting.has_begun()
    waiting.end()
    until(lambda: crew._leading == 2)
    assert len(crew._parked) == 1
    pool.bring(lambda: None)
    until(lambda: len(crew._parked) == 2)
    check_books(crew)


def test_an_event_within_an_event_parks_nobody(crew: Crew, pool: Pool) -> None:
    pool.bring_in(3)
    inner = Task()

    def outer() -> None:
        crew.step_aside()
        crew.lead(inner)
        assert crew.me().aside  # type: ignore[union-attr]

    pool.bring(outer)
    assert inner.has_begun()
    inner.end()
    until(lambda: len(crew._parked) == 2)
    assert not pool.errors
    check_books(crew)


# --------------------------------------------------------------------------- the monitor


def test_a_leader_that_does_the_same_at_two_looks_is_relieved(crew: Crew, pool: Pool) -> None:
    pool.bring_in(2)
    stuck = pool.bring(Task())
    assert stuck.has_begun()
    other = pool.bring(Task())
    assert crew.look()
    assert not other.begun.is_set()
    assert crew.look()
    assert other.has_begun()
    assert other.thread != stuck.thread
    stuck.end()
    other.end()
    until(lambda: len(crew._parked) == 1)
    check_books(crew)


def test_a_leader_that_gets_on_is_not(crew: Crew, pool: Pool) -> None:
    pool.bring_in(2)
    for _ in range(5):
        task = pool.bring(Task())
        assert task.has_begun()
        crew.look()
        assert crew._leading == 1
        assert len(crew._parked) == 1
        task.end()


def test_the_view_of_a_leader_that_is_relieved_is_known_to_wait(crew: Crew, pool: Pool) -> None:
    pool.bring_in(2)
    view = View()
    for _ in range(3):
        view.note(0.0, 0.0)
    assert view.is_quick()

    def begin() -> None:
        me = crew.me()
        assert me is not None
        me.view = view

    stuck = pool.bring(Task(begin))
    assert stuck.has_begun()
    crew.look()
    assert view.is_quick()
    crew.look()
    assert not view.is_quick()
    stuck.end()


def test_each_of_several_leaders_is_watched(crew: Crew, pool: Pool) -> None:
    """Two have just come: one gets stuck, the other is parked because two lead."""
    pool.add(2)
    stuck, other = pool.bring(Task()), pool.bring(Task())
    assert stuck.has_begun()
    assert other.has_begun()
    other.end()
    until(lambda: len(crew._parked) == 1)
    late = pool.bring(Task())
    crew.look()
    crew.look()
    assert late.has_begun()
    assert late.thread == other.thread
    late.end()
    stuck.end()


def test_who_is_aside_or_idle_is_left_alone(crew: Crew, pool: Pool) -> None:
    pool.bring_in(3)
    waiting = pool.bring(Task(crew.step_aside))
    assert waiting.has_begun()
    crew.look()
    assert not crew.look()  # so the monitor sleeps
    assert (crew._leading, len(crew._parked)) == (1, 1)
    waiting.end()


def test_who_was_done_when_the_monitor_came_to_it_is_left_alone(crew: Crew, pool: Pool) -> None:
    pool.bring_in(3)
    for member in list(crew._members.values()):
        crew._relieve_stuck(member)
    assert (crew._leading, len(crew._parked)) == (1, 2)
    check_books(crew)


@pytest.mark.parametrize("others", [True, False], ids=["another-leads", "nobody-else"])
def test_relieved_in_the_moment_of_its_end(crew: Crew, others: bool) -> None:
    """Its end did not see that it is aside, or goes to be parked with it."""
    me = crew._join()
    if others:
        crew._members[-1] = crews.Member()
        crew._leading += 1
    me.at_work = True
    crew._relieve_stuck(me)
    me.at_work = False
    assert me.aside
    me.returns = not others  # or the test would be parked
    if others:
        threading.Thread(target=crew._end, args=(me,), daemon=True).start()
        until(lambda: crew._parked)
        assert crew._leading == 1
    else:
        crew._end(me)
        assert (crew._leading, me.aside) == (1, False)
    check_books(crew)
    me.gate.release()


def test_the_monitor_finds_a_stuck_leader_and_sleeps_when_nothing_happens(
    crew: Crew, pool: Pool
) -> None:
    crew.start()
    until(lambda: crew._monitor_sleeps)
    pool.bring_in(3)
    for _ in range(3):
        stuck = pool.bring(Task())
        assert stuck.has_begun()
        other = pool.bring(Task())
        assert other.has_begun()
        other.end()
        stuck.end()
        until(lambda: crew._monitor_sleeps)
    check_books(crew)


def test_views_that_get_stuck_together_are_found_one_soon_after_another(
    crew: Crew, pool: Pool
) -> None:
    crew.start()
    pool.bring_in(13)
    began_s = time.monotonic()
    tasks = [pool.bring(Task()) for _ in range(12)]
    neighbour = pool.bring(Task())
    assert neighbour.has_begun()
    took_s = time.monotonic() - began_s
    for task in [*tasks, neighbour]:
        task.end()
    # 12 looks of 20 to 40 ms each would be 240 to 480; much is left to a busy machine.
    assert took_s < 0.24


# --------------------------------------------------------------------------- threads of our own


class Turns:
    """What a thread of our own does when it leads: it waits for the next task, and does it."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.leaders: list[str] = []
        self._tasks: queue.SimpleQueue[t.Any] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def add(self) -> None:
        name = f"turns-{len(self._threads)}"
        self._threads.append(threading.Thread(target=self._serve, name=name, daemon=True))
        self._threads[-1].start()

    def _serve(self) -> None:
        with contextlib.suppress(SystemExit):
            self.crew.serve(self._turn)

    def _turn(self, me: crews.Member) -> None:
        task = self._tasks.get()
        if task is None:
            raise SystemExit
        self.crew.begin(me)
        self.leaders.append(threading.current_thread().name)
        task()

    def bring(self, task: t.Any) -> t.Any:
        self._tasks.put(task)
        return task

    def close(self) -> None:
        for _ in self._threads:
            self._tasks.put(None)
        for member in list(self.crew._members.values()):
            with contextlib.suppress(RuntimeError):
                member.gate.release()
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


@pytest.fixture
def turns(crew: Crew) -> cabc.Iterator[Turns]:
    turns = Turns(crew)
    yield turns
    turns.close()


def test_the_first_thread_leads_and_the_others_are_parked(crew: Crew, turns: Turns) -> None:
    turns.add()
    until(lambda: crew._leading == 1)
    for _ in range(3):
        turns.add()
    until(lambda: len(crew._parked) == 3)
    for _ in range(5):
        task = turns.bring(Task())
        assert task.has_begun()
        task.end()
    assert set(turns.leaders) == {"turns-0"}
    check_books(crew)


def test_a_parked_thread_takes_turns_when_the_leader_steps_aside(crew: Crew, turns: Turns) -> None:
    turns.add()
    until(lambda: crew._leading == 1)
    turns.add()
    until(lambda: crew._parked)
    waiting = turns.bring(Task(crew.step_aside))
    assert waiting.has_begun()
    for _ in range(3):
        task = turns.bring(Task())
        assert task.has_begun()
        task.end()
    assert turns.leaders == ["turns-0"] + ["turns-1"] * 3
    waiting.end()
    until(lambda: len(crew._parked) == 1)
    check_books(crew)


def test_a_thread_more_is_wanted_when_nobody_is_left_who_could_lead(
    crew: Crew, turns: Turns
) -> None:
    wanted = []

    def more() -> None:
        wanted.append(1)
        turns.add()

    crew._more = more
    turns.add()
    tasks = []
    for _ in range(3):
        tasks.append(turns.bring(Task(crew.step_aside)))
        assert tasks[-1].has_begun()
    assert len(wanted) == 3
    for task in tasks:
        task.end()
    until(lambda: len(crew._parked) == 3)
    last = turns.bring(Task(crew.step_aside))
    assert last.has_begun()
    assert len(wanted) == 3  # a parked one leads
    check_books(crew)
    last.end()


def test_a_thread_that_comes_when_another_leads_already_is_parked(crew: Crew, turns: Turns) -> None:
    turns.add()
    waiting = turns.bring(Task(crew.step_aside))
    assert waiting.has_begun()
    waiting.end()
    until(lambda: crew._leading == 1)
    turns.add()  # wanted a moment ago
    until(lambda: len(crew._parked) == 1)
    check_books(crew)


def test_a_thread_more_is_wanted_for_a_leader_that_is_stuck(crew: Crew, turns: Turns) -> None:
    crew._more = turns.add
    turns.add()
    stuck = turns.bring(Task())
    assert stuck.has_begun()
    other = turns.bring(Task())
    crew.look()
    assert not other.begun.is_set()
    crew.look()
    assert other.has_begun()
    assert turns.leaders == ["turns-0", "turns-1"]
    stuck.end()
    other.end()
    until(lambda: len(crew._parked) == 1)
    check_books(crew)


def test_a_leader_that_waits_for_what_comes_is_not_stuck(crew: Crew, turns: Turns) -> None:
    turns.add()
    until(lambda: crew._leading == 1)
    task = turns.bring(Task())
    assert task.has_begun()
    task.end()
    until(lambda: not any(member.at_work for member in crew._members.values()))
    crew.look()
    assert not crew.look()
    assert crew._leading == 1


def _work_hard(pool: Pool, seconds: float, threads: int) -> None:
    """Events of all kinds; each must be done, and the books be right in the end."""
    crew = pool.crew
    chance = random.Random(7)
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    gates = threading.BoundedSemaphore(threads * 3)

    def do(kind: str, pause_s: float) -> None:
        try:
            if kind == "aside":
                crew.step_aside()
            elif kind == "body":
                crew.must_return()
            elif kind == "nested":
                crew.lead(lambda: None)
            if pause_s:
                time.sleep(pause_s)
            if kind == "error":
                raise KeyError
        finally:
            gates.release()
            done.put(1)

    pool.add(threads)
    crew.start()
    end_s = time.monotonic() + seconds
    brought = 0
    while time.monotonic() < end_s:
        assert gates.acquire(timeout=PATIENCE_S), "an event is left without a thread"
        kind = chance.choice(["quick", "quick", "quick", "aside", "body", "nested", "error"])
        pause_s = chance.choice([0.0] * 30 + [0.0001, 0.001, 0.03])
        pool.bring(do, kind, pause_s)
        brought += 1
    for _ in range(brought):
        done.get(timeout=PATIENCE_S)
    until(lambda: not any(member.at_work for member in crew._members.values()))
    check_books(crew)


def test_no_event_is_left_behind(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crews, "TICK_S", 0.001)
    monkeypatch.setattr(crews, "ALERT_TICK_S", 0.0005)
    _work_hard(pool, 1.0, threads=6)


def _turn_hard(crew: Crew, turns: Turns, seconds: float, threads: int) -> None:
    """Events of all kinds, on threads of our own that are begun when they are wanted."""
    chance = random.Random(7)
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    at_once = threading.BoundedSemaphore(threads * 3)

    def more() -> None:
        if len(turns._threads) < threads:
            turns.add()

    def do(aside: bool, pause_s: float) -> None:
        if aside:
            crew.step_aside()
        if pause_s:
            time.sleep(pause_s)
        at_once.release()
        done.put(1)

    crew.start(more)
    more()
    end_s = time.monotonic() + seconds
    brought = 0
    while time.monotonic() < end_s:
        assert at_once.acquire(timeout=PATIENCE_S), "an event is left without a thread"
        aside, pause_s = chance.random() < 0.2, chance.choice([0.0] * 30 + [0.0001, 0.001, 0.03])
        turns.bring(functools.partial(do, aside, pause_s))
        brought += 1
    for _ in range(brought):
        done.get(timeout=PATIENCE_S)
    until(lambda: not any(member.at_work for member in crew._members.values()))
    until(lambda: len(crew._members) == len(turns._threads))
    check_books(crew)


@pytest.mark.parametrize("threads", [1, 6])
def test_no_event_is_left_behind_by_threads_of_our_own(
    crew: Crew, turns: Turns, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(crews, "TICK_S", 0.001)
    monkeypatch.setattr(crews, "ALERT_TICK_S", 0.0005)
    _turn_hard(crew, turns, 0.5, threads)


@pytest.mark.stress
@pytest.mark.parametrize("threads", [2, 5, 20])
def test_no_event_is_left_behind_by_threads_of_our_own_for_long(
    crew: Crew, turns: Turns, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(crews, "TICK_S", 0.0001)
    monkeypatch.setattr(crews, "ALERT_TICK_S", 0.0)
    _turn_hard(crew, turns, 5.0, threads)


@pytest.mark.stress
@pytest.mark.parametrize("threads", [1, 2, 5, 20])
def test_no_event_is_left_behind_for_long(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    # The shorter its looks, the more often the monitor comes to one that has just ended.
    monkeypatch.setattr(crews, "TICK_S", 0.0001)
    monkeypatch.setattr(crews, "ALERT_TICK_S", 0.0)
    _work_hard(pool, 5.0, threads)
