from __future__ import annotations

import gc
import os
import threading
import weakref

import pytest
from alone import measured_alone
from overdue import let_pass

from carboy.errors import (
    CancelledError,
    ClosedError,
    CrashError,
    DeadlineError,
    QueuedTooLongError,
    QueueFullError,
    StuckError,
)
from carboy.models.queue.scheduler import Scheduler

SOON_S = 0.05  # a deadline that is meant to pass
PATIENCE_S = 20.0  # one that is not


class Gated:
    """A model that computes when the test lets it."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.batches: list[list[object]] = []

    def __call__(self, items):
        self.batches.append(list(items))
        self.entered.release()
        assert self.go.acquire(timeout=PATIENCE_S)
        return [item * 10 for item in items]

    def wait_until_it_computes(self) -> None:
        assert self.entered.acquire(timeout=PATIENCE_S)


@pytest.fixture
def make():
    before = set(threading.enumerate())
    made: list[tuple[Scheduler, object]] = []

    def make(run, **options) -> Scheduler:
        scheduler = Scheduler(run, owner="Model 'm'", **options)
        made.append((scheduler, run))
        return scheduler

    yield make
    for scheduler, run in made:
        if isinstance(run, Gated):
            run.go.release(1000)
        assert scheduler.close(PATIENCE_S)
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_S)  # else it may still log, in the next test


def ask(scheduler, *items, **options):
    return [scheduler.submit(item, **options) for item in items]


def answers(tickets):
    found = []
    for ticket in tickets:
        ticket.wait()
        found.append(ticket.value)
    return found


def in_thread(function, *args) -> threading.Thread:
    thread = threading.Thread(target=function, args=args)
    thread.start()
    return thread


# --- batches -----------------------------------------------------------------------------------


def test_the_next_batch_gathers_while_one_computes(make):
    model = Gated()
    scheduler = make(model, batch=4)
    first = ask(scheduler, 0)
    model.wait_until_it_computes()
    rest = ask(scheduler, 1, 2, 3, 4, 5)
    model.go.release(3)
    assert answers([*first, *rest]) == [0, 10, 20, 30, 40, 50]
    assert model.batches == [[0], [1, 2, 3, 4], [5]]
    assert [ticket.batch_size for ticket in rest] == [4, 4, 4, 4, 1]


def test_a_full_batch_does_not_wait(make):
    scheduler = make(lambda items: items, batch=3, wait_s=PATIENCE_S * 10)
    assert answers(ask(scheduler, 1, 2, 3)) == [1, 2, 3]
    assert scheduler.statistics().batch_sizes == {3: 1}


def test_a_batch_that_is_not_full_leaves_when_its_wait_is_over(make):
    scheduler = make(lambda items: items, batch=64, wait_s=0.01)
    assert answers(ask(scheduler, 1, 2)) == [1, 2]
    assert answers(ask(scheduler, 3)) == [3]


def test_batches_compute_side_by_side_where_they_may(make):
    model = Gated()
    scheduler = make(model, batch=1, concurrency=3)
    tickets = ask(scheduler, 1, 2, 3, 4)
    for _ in range(3):
        model.wait_until_it_computes()
    assert not model.entered.acquire(blocking=False)
    assert scheduler.statistics().computing == 3
    model.go.release(4)
    assert answers(tickets) == [10, 20, 30, 40]


def test_predict_is_never_in_two_threads_unless_allowed(make):
    inside, most = [], []

    def run(items):
        inside.append(1)
        most.append(len(inside))
        inside.pop()
        return items

    scheduler = make(run, batch=2)
    threads = [
        in_thread(lambda: [scheduler.call(1, deadline_s=d) for d in (None, PATIENCE_S) * 50])
        for _ in range(8)
    ]
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert scheduler.statistics().answered == 800


def test_many_threads_get_their_own_answers(make):
    scheduler = make(lambda items: [item * 2 for item in items], batch=8, wait_s="auto")
    wrong = []

    def client(start):
        wrong.extend(
            i
            for i in range(start, start + 200)
            if scheduler.call(i, deadline_s=PATIENCE_S) != i * 2
        )

    threads = [in_thread(client, 1000 * n) for n in range(8)]
    for thread in threads:
        thread.join()
    assert not wrong
    done = scheduler.statistics()
    assert (done.answered, done.failed, done.waiting, done.computing) == (1600, 0, 0, 0)
    assert sum(size * count for size, count in done.batch_sizes.items()) == 1600
    assert max(done.batch_sizes) <= 8
    assert sum(done.latencies) == 1600


def test_one_call_per_batch_tells_those_who_have_no_thread(make):
    model = Gated()
    scheduler = make(model, batch=4)
    told, both = [], threading.Event()

    def on_done(tickets):
        told.append([ticket.result() for ticket in tickets])
        if len(told) == 2:
            both.set()

    scheduler.submit(0, on_done=on_done)
    model.wait_until_it_computes()
    ask(scheduler, 1, 2, 3, on_done=on_done)
    model.go.release(2)
    assert both.wait(PATIENCE_S)
    assert sorted(told) == [[0], [10, 20, 30]]  # each on a thread of its own


def test_a_loop_that_is_gone_does_not_end_the_worker(make, caplog):
    scheduler = make(lambda items: items)

    def closed(tickets):
        raise RuntimeError("Event loop is closed")

    scheduler.submit(1, on_done=closed)
    assert scheduler.call(2, deadline_s=PATIENCE_S) == 2
    assert "Nobody took the answers of 1 predictions" in caplog.text


# --- the caller's own thread -------------------------------------------------------------------


def test_a_lone_caller_without_a_deadline_computes_itself(make):
    scheduler = make(lambda items: [threading.get_ident()])
    assert scheduler.call(1) == threading.get_ident()
    assert scheduler.call(1, deadline_s=PATIENCE_S) != threading.get_ident()


def test_a_caller_who_is_not_alone_waits_for_his_turn(make):
    model = Gated()
    scheduler = make(model)
    (first,) = ask(scheduler, 1)
    model.wait_until_it_computes()
    found = []
    second = in_thread(lambda: found.append(scheduler.call(2)))
    model.go.release(2)
    second.join()
    assert (answers([first]), found) == ([10], [20])


def test_what_comes_while_a_caller_computes_is_computed_after(make):
    model = Gated()
    scheduler = make(model)
    caller = in_thread(scheduler.call, 1)
    model.wait_until_it_computes()
    tickets = ask(scheduler, 2, 3)
    model.go.release(3)
    caller.join()
    assert answers(tickets) == [20, 30]


def test_a_model_may_ask_itself(make):
    scheduler = make(lambda items: [n if n == 0 else 1 + scheduler.call(n - 1) for n in items])
    assert scheduler.call(3) == 3
    assert scheduler.call(3, deadline_s=PATIENCE_S) == 3


def test_what_is_raised_comes_through(make):
    scheduler = make(lambda items: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        scheduler.call(1)
    with pytest.raises(ZeroDivisionError):
        scheduler.call(1, deadline_s=PATIENCE_S)
    assert scheduler.statistics().failed == 2


# --- cancelling, deadlines, limits -------------------------------------------------------------


def test_ten_clients_that_leave_before_their_turn_are_never_computed(make):
    model = Gated()
    scheduler = make(model, batch=4)
    (first,) = ask(scheduler, 0)
    model.wait_until_it_computes()
    leaving, staying = ask(scheduler, *range(100, 110)), ask(scheduler, 1, 2)
    assert all(scheduler.cancel(ticket) for ticket in leaving)
    assert not scheduler.cancel(leaving[0])
    model.go.release(2)
    assert answers([first, *staying]) == [0, 10, 20]
    assert model.batches == [[0], [1, 2]]
    assert all(isinstance(ticket.value, CancelledError) for ticket in leaving)
    assert all(ticket.item is None for ticket in leaving)
    assert scheduler.statistics().cancelled == 10


def test_who_leaves_while_it_computes_does_not_disturb_the_others(make):
    model = Gated()
    scheduler = make(model, batch=2, wait_s=PATIENCE_S)
    leaving, staying = ask(scheduler, 1, 2)
    model.wait_until_it_computes()
    assert scheduler.cancel(leaving)
    model.go.release()
    assert answers([staying]) == [20]


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(make):
    model = Gated()
    scheduler = make(model, batch=1, queue=2)
    tickets = ask(scheduler, 0)
    model.wait_until_it_computes()
    tickets += ask(scheduler, 1, 2)
    with pytest.raises(QueueFullError, match="2 predictions waiting") as refused:
        scheduler.submit(3)
    assert refused.value.retry_after_s == 1
    model.go.release(3)
    assert answers(tickets) == [0, 10, 20]
    assert scheduler.statistics().refused == 1


def test_retry_after_follows_the_observed_rate(make):
    model = Gated()
    scheduler = make(model, batch=2, queue=10)
    for size, took_s in ((1, 1.5), (2, 3.0)) * 50:
        scheduler._ledger.waiting.cost.record(size, took_s)
    ask(scheduler, 0)
    model.wait_until_it_computes()
    ask(scheduler, *range(10))
    with pytest.raises(QueueFullError) as refused:
        scheduler.submit(10)
    assert refused.value.retry_after_s in (15, 16)


def test_what_waits_too_long_is_told_in_time_and_never_computed(make):
    model = Gated()
    scheduler = make(model)
    (first,) = ask(scheduler, 0)
    model.wait_until_it_computes()
    (late,) = ask(scheduler, 1, deadline_s=SOON_S)
    (told,) = answers([late])
    assert isinstance(told, QueuedTooLongError)
    assert str(told) == "Model 'm' did not come to this prediction within 0.05 s."
    model.go.release()
    assert answers([first]) == [0]
    assert model.batches == [[0]]
    assert scheduler.statistics().expired == 1


def test_a_model_that_hangs_answers_in_time_refuses_the_next_and_recovers(make, caplog):
    model = Gated()
    scheduler = make(model, batch=1, deadline_s=PATIENCE_S)
    hanging, waiting = ask(scheduler, 0, 1)
    model.wait_until_it_computes()
    let_pass(scheduler, hanging)
    (told,) = answers([hanging])
    assert isinstance(told, DeadlineError)
    assert isinstance(answers([waiting])[0], StuckError)
    assert scheduler.stuck
    while not caplog.messages:
        pass
    for deadline_s in (None, PATIENCE_S):
        with pytest.raises(StuckError, match="hangs"):
            scheduler.call(2, deadline_s=deadline_s)
    model.go.release(2)
    while scheduler.stuck:
        pass
    assert scheduler.call(3) == 30
    assert model.batches == [[0], [3]]
    while len(caplog.messages) < 2:
        pass
    hangs, back = caplog.messages
    assert hangs.startswith("Model 'm' hangs")
    assert "assert self.go.acquire" in hangs  # where it was
    assert back.startswith("Model 'm' is back")


class Panic(BaseException):
    """What a library in Rust raises when it panics: no `Exception`."""


@pytest.mark.parametrize("escape", [Panic, SystemExit], ids=lambda kind: kind.__name__)
def test_what_would_end_a_thread_fails_its_item_alone(make, escape):
    def run(items):
        if 2 in items:
            raise escape("bad row")
        return list(items)

    scheduler = make(run, batch=4, wait_s=SOON_S)
    one, two, three, four = answers(ask(scheduler, 1, 2, 3, 4))
    assert (one, three, four) == (1, 3, 4)
    assert isinstance(two, CrashError)
    assert isinstance(two.__cause__, escape)
    assert "bad row" in str(two)
    assert answers(ask(scheduler, 5)) == [5]


def test_one_of_two_that_hangs_leaves_the_other(make):
    model = Gated()
    scheduler = make(model, concurrency=2)
    (hanging,) = ask(scheduler, 0, deadline_s=PATIENCE_S)
    model.wait_until_it_computes()
    let_pass(scheduler, hanging)
    answers([hanging])
    (second,) = ask(scheduler, 1)
    model.wait_until_it_computes()
    assert not scheduler.stuck
    model.go.release(2)
    assert answers([second]) == [10]
    while scheduler._ledger.stuck:
        pass


def test_those_who_have_time_left_are_not_given_up_with_the_others(make):
    model = Gated()
    scheduler = make(model, batch=2, wait_s=PATIENCE_S)
    (hurried,) = ask(scheduler, 1, deadline_s=PATIENCE_S * 10)
    (patient,) = ask(scheduler, 2)
    model.wait_until_it_computes()
    let_pass(scheduler, hurried)
    assert isinstance(answers([hurried])[0], DeadlineError)
    assert not scheduler.stuck
    model.go.release()
    assert answers([patient]) == [20]


# --- the end -----------------------------------------------------------------------------------


def test_close_answers_all_that_wait_and_refuses_what_comes(make):
    model = Gated()
    scheduler = make(model, batch=4, wait_s=PATIENCE_S)
    tickets = ask(scheduler, *range(20))
    for _ in range(20):
        model.go.release()
    assert scheduler.close(PATIENCE_S)
    assert [ticket.value for ticket in tickets] == [10 * i for i in range(20)]
    with pytest.raises(ClosedError):
        scheduler.submit(1)
    assert scheduler.close(PATIENCE_S)


def test_close_does_not_wait_for_a_model_that_hangs(make):
    model = Gated()
    scheduler = make(model)
    (hanging,) = ask(scheduler, 0, deadline_s=PATIENCE_S)
    model.wait_until_it_computes()
    let_pass(scheduler, hanging)
    answers([hanging])
    assert scheduler.stuck
    assert not scheduler.close(PATIENCE_S)
    model.go.release()
    while scheduler.stuck:
        pass


def test_close_gives_up_at_its_own_limit_and_tells_those_who_wait(make):
    model = Gated()
    scheduler = make(model)
    (computing,) = ask(scheduler, 0)
    model.wait_until_it_computes()
    (waiting,) = ask(scheduler, 1)
    assert not scheduler.close(SOON_S)
    assert isinstance(answers([waiting])[0], ClosedError)
    model.go.release()
    assert answers([computing]) == [0]


def test_an_unused_scheduler_holds_no_thread_and_nothing_alive(make, monkeypatch):
    monkeypatch.setattr("carboy.models.queue.waking.IDLE_S", 0.01)

    def wait_for_the_end_of_its_threads() -> None:
        for thread in threading.enumerate():
            if thread.name in ("unused batches", "unused deadlines"):
                thread.join(PATIENCE_S)
                assert not thread.is_alive()

    scheduler = Scheduler(lambda items: items, owner="unused")
    assert scheduler.call(1, deadline_s=PATIENCE_S) == 1
    let_pass(scheduler)
    wait_for_the_end_of_its_threads()
    assert scheduler.call(2, deadline_s=PATIENCE_S) == 2
    scheduler.close()
    wait_for_the_end_of_its_threads()
    gone = weakref.ref(scheduler)
    del scheduler
    while gone() is not None:  # once is not enough while another thread collects
        gc.collect()


def what_the_child_of_a_fork_gets():
    scheduler = Scheduler(lambda items: [item * 2 for item in items], owner="Model 'm'")
    assert scheduler.call(1, deadline_s=PATIENCE_S) == 2
    child = os.fork()
    if child == 0:
        os._exit(scheduler.call(4, deadline_s=PATIENCE_S))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_the_child_of_a_fork_begins_anew():
    assert measured_alone(what_the_child_of_a_fork_gets) == 8


# --- rounds ------------------------------------------------------------------------------------


def told():
    """Who asks without a thread: what it was told, by the client of each."""
    answers, done = {}, threading.Semaphore(0)

    def on_done(tickets):
        answers.update((ticket.client, ticket.value) for ticket in tickets)
        for _ in tickets:
            done.release()

    return answers, done, on_done


def wait_for(done, count):
    for _ in range(count):
        assert done.acquire(timeout=PATIENCE_S)


def test_those_who_come_together_leave_together(make):
    model = Gated()
    scheduler = make(model, batch=4)
    model.go.release(3)
    answers, done, on_done = told()
    tickets = scheduler.submit_all([(i, f"c{i}") for i in range(6)], on_done=on_done)
    wait_for(done, 6)
    assert [ticket.client for ticket in tickets] == [f"c{i}" for i in range(6)]
    assert answers == {f"c{i}": 10 * i for i in range(6)}
    assert model.batches == [[0, 1, 2, 3], [4, 5]]


def test_nobody_comes(make):
    assert make(lambda items: items).submit_all([], on_done=print) == []


def test_those_for_whom_there_is_no_room_are_refused_and_the_others_are_not(make):
    model = Gated()
    scheduler = make(model, batch=2, queue=3)
    ask(scheduler, 0)
    model.wait_until_it_computes()
    ask(scheduler, 1)
    answers, done, on_done = told()
    tickets = scheduler.submit_all([(i, i) for i in range(2, 6)], on_done=on_done)
    assert [type(each) for each in tickets[2:]] == [QueueFullError] * 2
    assert "3 predictions waiting" in str(tickets[2])
    (none,) = scheduler.submit_all([(9, 9)], on_done=on_done)
    assert isinstance(none, QueueFullError)
    statistics = scheduler.statistics()
    assert (statistics.refused, statistics.waiting) == (3, 3)
    model.go.release(3)
    wait_for(done, 2)
    assert answers == {2: 20, 3: 30}


def test_a_closed_scheduler_refuses_all(make):
    scheduler = make(lambda items: items, batch=2)
    assert scheduler.close(PATIENCE_S)
    tickets = scheduler.submit_all([(1, 1), (2, 2)], on_done=print)
    assert [type(each) for each in tickets] == [ClosedError] * 2
    assert scheduler.statistics().refused == 2


def test_a_model_that_hangs_takes_nobody(make):
    model = Gated()
    scheduler = make(model, batch=2, deadline_s=PATIENCE_S)
    answers, done, on_done = told()
    hanging = scheduler.submit_all([(1, 1), (2, 2)], on_done=on_done)
    model.wait_until_it_computes()
    let_pass(scheduler, *hanging)
    wait_for(done, 2)
    assert {type(each) for each in answers.values()} == {DeadlineError}
    tickets = scheduler.submit_all([(3, 3), (4, 4)], on_done=on_done)
    assert [type(each) for each in tickets] == [StuckError] * 2
    model.go.release(1)
    while scheduler.stuck:
        pass
    model.go.release(1)
    (ticket,) = scheduler.submit_all([(5, 5)], on_done=on_done)
    wait_for(done, 1)
    assert not isinstance(ticket, StuckError)


def test_who_waits_too_long_in_a_round_is_told_in_time(make):
    model = Gated()
    scheduler = make(model, batch=1, deadline_s=SOON_S, concurrency=2)
    answers, done, on_done = told()
    scheduler.submit_all([(i, i) for i in range(4)], on_done=on_done)
    wait_for(done, 4)
    assert {type(each) for each in answers.values()} <= {DeadlineError, QueuedTooLongError}
    assert isinstance(answers[3], QueuedTooLongError)
    model.go.release(2)
    while scheduler.stuck or scheduler.statistics().computing:
        pass


def test_one_of_a_round_may_be_given_up(make):
    model = Gated()
    scheduler = make(model, batch=4)
    ask(scheduler, 0)
    model.wait_until_it_computes()
    answers, done, on_done = told()
    tickets = scheduler.submit_all([(i, i) for i in range(1, 4)], on_done=on_done)
    assert scheduler.cancel(tickets[1])
    model.go.release(2)
    wait_for(done, 3)
    assert model.batches[1] == [1, 3]
    assert isinstance(answers[2], CancelledError)
    assert (answers[1], answers[3]) == (10, 30)


# --- waking ------------------------------------------------------------------------------------


def test_who_is_woken_first_wakes_the_others_while_the_next_batch_computes(make):
    """And bulk work, which waits for its tickets in their order, is never asked to."""
    model = Gated()
    scheduler = make(model, batch=4, queue=100)
    first = ask(scheduler, 0)
    model.wait_until_it_computes()
    found: list[object] = []
    threads = [
        in_thread(lambda i=i: found.append(scheduler.call(i, deadline_s=PATIENCE_S)))
        for i in range(1, 9)
    ]
    while scheduler.statistics().waiting < 8:
        pass
    model.go.release(2)  # the first, and four of the eight
    while len(found) < 4:
        pass
    assert scheduler.statistics().computing == 4  # those were woken though the rest computes still
    model.go.release()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert answers(first) == [0]
    assert sorted(found) == [10 * i for i in range(1, 9)]


def test_one_thread_may_wait_for_many_in_any_order_beside_others(make):
    scheduler = make(lambda items: items, batch=4, queue=1000)
    wrong = []

    def bulk(start: int) -> None:
        for _ in range(20):
            tickets = ask(scheduler, *range(start, start + 12), deadline_s=PATIENCE_S)
            if [ticket.value for ticket in reversed(tickets) if ticket.wait() is None] != [
                *reversed(range(start, start + 12))
            ]:
                wrong.append(start)

    def single() -> None:
        got = [scheduler.call(i, deadline_s=PATIENCE_S) for i in range(200)]
        wrong.extend(i for i in range(200) if got[i] != i)

    threads = [in_thread(bulk, 100), in_thread(bulk, 500), *(in_thread(single) for _ in range(6))]
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert not wrong


# ------------------------------------------------------------------------- on the caller's thread


def submit_and_compute(scheduler, xs, *, limit_s):
    _, done, on_done = told()
    scheduler.submit_all([(x, None) for x in xs], on_done=on_done, wakes=False)
    scheduler.compute_quickly(limit_s)
    wait_for(done, len(xs))


def test_a_quick_batch_is_computed_by_who_submits_it_once_it_is_known_to_be_quick(make):
    threads = []

    def run(xs):
        threads.append(threading.current_thread())
        return xs

    scheduler = make(run, batch=4)
    for _ in range(10):
        submit_and_compute(scheduler, [1, 2], limit_s=100.0)
    assert threads[0] is not threading.current_thread()  # nothing was known
    assert threads[-1] is threading.current_thread()
    submit_and_compute(scheduler, [1, 2], limit_s=0.0)
    assert threads[-1] is not threading.current_thread()


def test_what_does_not_fit_into_a_quick_batch_is_computed_too(make):
    scheduler = make(lambda xs: xs, batch=4)
    for _ in range(10):
        submit_and_compute(scheduler, range(11), limit_s=100.0)
    assert scheduler.statistics().answered == 110


def test_a_quick_batch_that_fails_fails_as_any_other(make):
    def run(xs):
        if 3 in xs:
            raise ValueError("3")
        return xs

    scheduler = make(run, batch=4)
    for _ in range(10):
        submit_and_compute(scheduler, [1], limit_s=100.0)
    _, done, on_done = told()
    tickets = scheduler.submit_all([(x, None) for x in (1, 3)], on_done=on_done, wakes=False)
    scheduler.compute_quickly(100.0)
    wait_for(done, 2)
    assert tickets[0].result() == 1
    with pytest.raises(ValueError, match="3"):
        tickets[1].result()
