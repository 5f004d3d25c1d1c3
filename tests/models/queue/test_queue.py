from __future__ import annotations

import contextvars
import gc
import os
import threading
import weakref

import pytest
from alone import measured_alone
from overdue import let_pass
from polling import PATIENCE_S, wait_until

from carboy.errors import (
    CancelledError,
    ClosedError,
    CrashError,
    DeadlineError,
    QueuedTooLongError,
    QueueFullError,
    StuckError,
)
from carboy.models.bulk import PredictionFuture
from carboy.models.queue import PredictionQueue
from carboy.models.queue.ticket import Ticket
from replicas import FunctionReplica

SOON_S = 0.05  # a deadline that is meant to pass


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
    made: list[tuple[PredictionQueue, object]] = []

    def make(run, **options) -> PredictionQueue:
        queue = PredictionQueue(FunctionReplica(run), owner="Model 'm'", **options)
        made.append((queue, run))
        return queue

    yield make
    for queue, run in made:
        if isinstance(run, Gated):
            run.go.release(1000)
        assert queue.close(PATIENCE_S)
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_S)  # else it may still log, in the next test


def submit(queue, *items, **options):
    return [queue.submit(item, **options) for item in items]


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


def test_next_batch_gathers_while_one_computes(make):
    model = Gated()
    queue = make(model, batch=4)
    first = submit(queue, 0)
    model.wait_until_it_computes()
    rest = submit(queue, 1, 2, 3, 4, 5)
    model.go.release(3)
    assert answers([*first, *rest]) == [0, 10, 20, 30, 40, 50]
    assert model.batches == [[0], [1, 2, 3, 4], [5]]
    assert [ticket.batch_size for ticket in rest] == [4, 4, 4, 4, 1]


def test_full_batch_does_not_wait(make):
    queue = make(lambda items: items, batch=3, wait_s=PATIENCE_S * 10)
    assert answers(submit(queue, 1, 2, 3)) == [1, 2, 3]
    assert queue.statistics().batch_sizes == {3: 1}


def test_batch_that_is_not_full_leaves_when_its_wait_is_over(make):
    queue = make(lambda items: items, batch=64, wait_s=0.01)
    assert answers(submit(queue, 1, 2)) == [1, 2]
    assert answers(submit(queue, 3)) == [3]


def test_concurrency_lets_batches_compute_side_by_side(make):
    model = Gated()
    queue = make(model, batch=1, concurrency=3)
    tickets = submit(queue, 1, 2, 3, 4)
    for _ in range(3):
        model.wait_until_it_computes()
    assert not model.entered.acquire(blocking=False)
    assert queue.statistics().computing == 3
    model.go.release(4)
    assert answers(tickets) == [10, 20, 30, 40]


def test_predict_is_never_in_two_threads_with_concurrency_1(make):
    inside, most = [], []

    def run(items):
        inside.append(1)
        most.append(len(inside))
        inside.pop()
        return items

    queue = make(run, batch=2)
    threads = [
        in_thread(lambda: [queue.run(1, deadline_s=d) for d in (None, PATIENCE_S) * 50])
        for _ in range(8)
    ]
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert queue.statistics().answered == 800


def test_each_of_many_threads_gets_its_own_results(make):
    queue = make(lambda items: [item * 2 for item in items], batch=8, wait_s="auto")
    wrong = []

    def client(start):
        wrong.extend(
            i for i in range(start, start + 200) if queue.run(i, deadline_s=PATIENCE_S) != i * 2
        )

    threads = [in_thread(client, 1000 * n) for n in range(8)]
    for thread in threads:
        thread.join()
    assert not wrong
    done = queue.statistics()
    assert (done.answered, done.failed, done.waiting, done.computing) == (1600, 0, 0, 0)
    assert sum(size * count for size, count in done.batch_sizes.items()) == 1600
    assert max(done.batch_sizes) <= 8
    assert sum(done.latencies) == 1600


def test_callback_gets_the_tickets_of_a_batch_in_one_call(make):
    model = Gated()
    queue = make(model, batch=4)
    delivered, both = [], threading.Event()

    def deliver(tickets):
        delivered.append([ticket.result() for ticket in tickets])
        if len(delivered) == 2:
            both.set()

    queue.submit(0, deliver=deliver)
    model.wait_until_it_computes()
    submit(queue, 1, 2, 3, deliver=deliver)
    model.go.release(2)
    assert both.wait(PATIENCE_S)
    assert sorted(delivered) == [[0], [10, 20, 30]]  # each on a thread of its own


def test_callback_that_raises_does_not_end_the_thread(make, caplog):
    queue = make(lambda items: items)

    def closed(tickets):
        raise RuntimeError("Event loop is closed")

    queue.submit(1, deliver=closed)
    assert queue.run(2, deadline_s=PATIENCE_S) == 2
    assert "A callback failed to deliver the results of 1 predictions" in caplog.text


# --- the caller's own thread -------------------------------------------------------------------


def test_caller_without_deadline_computes_on_its_own_thread(make):
    queue = make(lambda items: [threading.get_ident()])
    assert queue.run(1) == threading.get_ident()
    assert queue.run(1, deadline_s=PATIENCE_S) != threading.get_ident()


def test_caller_waits_for_its_turn_while_another_computes(make):
    model = Gated()
    queue = make(model)
    (first,) = submit(queue, 1)
    model.wait_until_it_computes()
    found = []
    second = in_thread(lambda: found.append(queue.run(2)))
    model.go.release(2)
    second.join()
    assert (answers([first]), found) == ([10], [20])


def test_predictions_that_arrive_while_a_caller_computes_are_computed_after(make):
    model = Gated()
    queue = make(model)
    caller = in_thread(queue.run, 1)
    model.wait_until_it_computes()
    tickets = submit(queue, 2, 3)
    model.go.release(3)
    caller.join()
    assert answers(tickets) == [20, 30]


def test_model_may_call_itself(make):
    queue = make(lambda items: [n if n == 0 else 1 + queue.run(n - 1) for n in items])
    assert queue.run(3) == 3
    assert queue.run(3, deadline_s=PATIENCE_S) == 3


def test_exception_of_predict_reaches_the_caller(make):
    queue = make(lambda items: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        queue.run(1)
    with pytest.raises(ZeroDivisionError):
        queue.run(1, deadline_s=PATIENCE_S)
    assert queue.statistics().failed == 2


# --- cancelling, deadlines, limits -------------------------------------------------------------


def test_cancelled_prediction_is_not_computed(make):
    model = Gated()
    queue = make(model, batch=4)
    (first,) = submit(queue, 0)
    model.wait_until_it_computes()
    leaving, staying = submit(queue, *range(100, 110)), submit(queue, 1, 2)
    assert all(queue.cancel(ticket) for ticket in leaving)
    assert not queue.cancel(leaving[0])
    model.go.release(2)
    assert answers([first, *staying]) == [0, 10, 20]
    assert model.batches == [[0], [1, 2]]
    assert all(isinstance(ticket.value, CancelledError) for ticket in leaving)
    assert all(ticket.arguments is None for ticket in leaving)
    assert queue.statistics().cancelled == 10


def test_prediction_cancelled_while_it_computes_does_not_disturb_its_batch(make):
    model = Gated()
    queue = make(model, batch=2, wait_s=PATIENCE_S)
    leaving, staying = submit(queue, 1, 2)
    model.wait_until_it_computes()
    assert queue.cancel(leaving)
    model.go.release()
    assert answers([staying]) == [20]


def test_full_queue_refuses_at_once_with_retry_after(make):
    model = Gated()
    queue = make(model, batch=1, queue=2)
    tickets = submit(queue, 0)
    model.wait_until_it_computes()
    tickets += submit(queue, 1, 2)
    with pytest.raises(QueueFullError, match="2 predictions waiting") as refused:
        queue.submit(3)
    assert refused.value.retry_after_s == 1
    model.go.release(3)
    assert answers(tickets) == [0, 10, 20]
    assert queue.statistics().refused == 1


def test_retry_after_follows_the_observed_rate(make):
    model = Gated()
    queue = make(model, batch=2, queue=10)
    for size, took_s in ((1, 1.5), (2, 3.0)) * 50:
        queue._state.waiting.cost.record(size, took_s)
    submit(queue, 0)
    model.wait_until_it_computes()
    submit(queue, *range(10))
    with pytest.raises(QueueFullError) as refused:
        queue.submit(10)
    assert refused.value.retry_after_s in (15, 16)


def test_prediction_that_waits_too_long_is_refused_in_time_and_not_computed(make):
    model = Gated()
    queue = make(model)
    (first,) = submit(queue, 0)
    model.wait_until_it_computes()
    (late,) = submit(queue, 1, deadline_s=SOON_S)
    (failure,) = answers([late])
    assert isinstance(failure, QueuedTooLongError)
    assert str(failure) == (
        "Model 'm' was busy and could not answer within 0.05 s. The prediction was not computed."
    )
    model.go.release()
    assert answers([first]) == [0]
    assert model.batches == [[0]]
    assert queue.statistics().expired == 1


def test_model_that_hangs_fails_in_time_refuses_the_next_and_recovers(make, caplog):
    model = Gated()
    queue = make(model, batch=1, deadline_s=PATIENCE_S)
    hanging, waiting = submit(queue, 0, 1)
    model.wait_until_it_computes()
    let_pass(queue, hanging)
    (failure,) = answers([hanging])
    assert isinstance(failure, DeadlineError)
    assert isinstance(answers([waiting])[0], StuckError)
    assert queue.stuck
    wait_until(lambda: caplog.messages)
    for deadline_s in (None, PATIENCE_S):
        with pytest.raises(StuckError, match="hangs"):
            queue.run(2, deadline_s=deadline_s)
    model.go.release(2)
    wait_until(lambda: not queue.stuck)
    assert queue.run(3) == 30
    assert model.batches == [[0], [3]]
    wait_until(lambda: len(caplog.messages) >= 2)
    hangs, back = caplog.messages
    assert hangs.startswith("Model 'm' hangs")
    assert "assert self.go.acquire" in hangs  # where it was
    assert back.startswith("Model 'm' has recovered")


class Panic(BaseException):
    """What a library in Rust raises when it panics: no `Exception`."""


@pytest.mark.parametrize("escape", [Panic, SystemExit], ids=lambda kind: kind.__name__)
def test_exception_that_would_end_a_thread_fails_one_prediction(make, escape):
    def run(items):
        if 2 in items:
            raise escape("bad row")
        return list(items)

    queue = make(run, batch=4, wait_s=SOON_S)
    one, two, three, four = answers(submit(queue, 1, 2, 3, 4))
    assert (one, three, four) == (1, 3, 4)
    assert isinstance(two, CrashError)
    assert isinstance(two.__cause__, escape)
    assert "bad row" in str(two)
    assert answers(submit(queue, 5)) == [5]


def test_one_stuck_slot_of_two_leaves_the_other(make):
    model = Gated()
    queue = make(model, concurrency=2)
    (hanging,) = submit(queue, 0, deadline_s=PATIENCE_S)
    model.wait_until_it_computes()
    let_pass(queue, hanging)
    answers([hanging])
    (second,) = submit(queue, 1)
    model.wait_until_it_computes()
    assert not queue.stuck
    model.go.release(2)
    assert answers([second]) == [10]
    wait_until(lambda: not queue._state.stuck_slots)


def test_prediction_with_time_left_keeps_waiting_for_its_late_batch(make):
    model = Gated()
    queue = make(model, batch=2, wait_s=PATIENCE_S)
    (hurried,) = submit(queue, 1, deadline_s=PATIENCE_S * 10)
    (patient,) = submit(queue, 2)
    model.wait_until_it_computes()
    let_pass(queue, hurried)
    assert isinstance(answers([hurried])[0], DeadlineError)
    assert not queue.stuck
    model.go.release()
    assert answers([patient]) == [20]


# --- the end -----------------------------------------------------------------------------------


def test_close_computes_what_waits_and_refuses_what_arrives(make):
    model = Gated()
    queue = make(model, batch=4, wait_s=PATIENCE_S)
    tickets = submit(queue, *range(20))
    for _ in range(20):
        model.go.release()
    assert queue.close(PATIENCE_S)
    assert [ticket.value for ticket in tickets] == [10 * i for i in range(20)]
    with pytest.raises(ClosedError):
        queue.submit(1)
    assert queue.close(PATIENCE_S)


def test_close_does_not_wait_for_a_model_that_hangs(make):
    model = Gated()
    queue = make(model)
    (hanging,) = submit(queue, 0, deadline_s=PATIENCE_S)
    model.wait_until_it_computes()
    let_pass(queue, hanging)
    answers([hanging])
    assert queue.stuck
    assert not queue.close(PATIENCE_S)
    model.go.release()
    wait_until(lambda: not queue.stuck)


def test_close_gives_up_at_its_timeout_and_fails_what_waits(make):
    model = Gated()
    queue = make(model)
    (computing,) = submit(queue, 0)
    model.wait_until_it_computes()
    (waiting,) = submit(queue, 1)
    assert not queue.close(SOON_S)
    assert isinstance(answers([waiting])[0], ClosedError)
    model.go.release()
    assert answers([computing]) == [0]


def test_unused_queue_ends_its_threads_and_is_freed(make, monkeypatch):
    for module in ("threads", "deadlines"):
        monkeypatch.setattr(f"carboy.models.queue.{module}.IDLE_S", 0.01)

    def wait_for_the_end_of_its_threads() -> None:
        for thread in threading.enumerate():
            if thread.name in ("unused batches", "unused deadlines"):
                thread.join(PATIENCE_S)
                assert not thread.is_alive()

    queue = PredictionQueue(FunctionReplica(lambda items: items), owner="unused")
    assert queue.run(1, deadline_s=PATIENCE_S) == 1
    let_pass(queue)
    wait_for_the_end_of_its_threads()
    assert queue.run(2, deadline_s=PATIENCE_S) == 2
    queue.close()
    wait_for_the_end_of_its_threads()
    gone = weakref.ref(queue)
    del queue
    while gone() is not None:  # once is not enough while another thread collects
        gc.collect()


def what_the_child_of_a_fork_gets():
    queue = PredictionQueue(
        FunctionReplica(lambda items: [item * 2 for item in items]), owner="Model 'm'"
    )
    assert queue.run(1, deadline_s=PATIENCE_S) == 2
    child = os.fork()
    if child == 0:
        os._exit(queue.run(4, deadline_s=PATIENCE_S))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_child_of_a_fork_begins_anew():
    assert measured_alone(what_the_child_of_a_fork_gets) == 8


def what_waits_in_the_child_of_a_fork():
    """Predictions that wait and compute when a process is forked, of which the parent has all."""
    begun, released = threading.Event(), threading.Event()

    def predict(items):
        begun.set()
        released.wait(PATIENCE_S)
        return items

    queue = PredictionQueue(FunctionReplica(predict), owner="Model 'm'")
    request = Ticket(arguments=9, deliver=lambda tickets: os._exit(9))
    tickets = [queue.submit(1), queue.submit(2)]
    begun.wait(PATIENCE_S)
    queue.submit_round([request])
    future = PredictionFuture.submit(queue, 3)
    child = os.fork()
    if child == 0:
        failures = []
        for each in tickets:
            each.wait()
            failures.append(type(each.value).__name__)
        failures.append(type(future.exception(PATIENCE_S)).__name__)
        os._exit(0 if failures == ["ClosedError"] * 3 and not request.settled else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    request.deliver = lambda tickets: None
    released.set()
    for each in tickets:
        each.wait()
    return [code, *(each.value for each in tickets), future.result(PATIENCE_S)]


def test_child_of_a_fork_does_not_wait_for_what_its_parent_computes():
    assert measured_alone(what_waits_in_the_child_of_a_fork) == [0, 1, 2, 3]


# --- rounds ------------------------------------------------------------------------------------


class Round:
    """Tickets that arrive together, and the outcomes that were delivered, by their arguments."""

    def __init__(self, *arguments: object) -> None:
        self.outcomes: dict[object, object] = {}
        self._delivered = threading.Semaphore(0)
        self.tickets = [Ticket(arguments=each, deliver=self._deliver) for each in arguments]
        self._named = dict(zip(map(id, self.tickets), arguments, strict=True))

    def _deliver(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            self.outcomes[self._named[id(ticket)]] = ticket.value
            self._delivered.release()

    def wait(self, count: int | None = None) -> dict[object, object]:
        for _ in range(len(self.tickets) if count is None else count):
            assert self._delivered.acquire(timeout=PATIENCE_S)
        return self.outcomes


def submit_round(queue, *arguments, **options) -> Round:
    round_ = Round(*arguments)
    queue.submit_round(round_.tickets, **options)
    return round_


def kinds(outcomes):
    return [type(each) for each in outcomes.values()]


def test_predictions_that_arrive_together_leave_together(make):
    model = Gated()
    queue = make(model, batch=4)
    model.go.release(3)
    assert submit_round(queue, *range(6)).wait() == {i: 10 * i for i in range(6)}
    assert model.batches == [[0, 1, 2, 3], [4, 5]]


def test_empty_round_is_nothing(make):
    make(lambda items: items).submit_round([])


def test_round_without_room_is_refused_as_far_as_it_has_none(make):
    model = Gated()
    queue = make(model, batch=2, queue=3)
    submit(queue, 0)
    model.wait_until_it_computes()
    submit(queue, 1)
    round_ = submit_round(queue, 2, 3, 4, 5)
    assert kinds(round_.wait(2)) == [QueueFullError] * 2
    assert "3 predictions waiting" in str(round_.outcomes[4])
    assert kinds(submit_round(queue, 9).wait()) == [QueueFullError]
    statistics = queue.statistics()
    assert (statistics.refused, statistics.waiting) == (3, 3)
    model.go.release(3)
    round_.wait(2)
    assert (round_.outcomes[2], round_.outcomes[3]) == (20, 30)


def test_closed_queue_refuses_a_round(make):
    queue = make(lambda items: items, batch=2)
    assert queue.close(PATIENCE_S)
    assert kinds(submit_round(queue, 1, 2).wait()) == [ClosedError] * 2
    assert queue.statistics().refused == 2


def test_queue_that_was_closed_can_be_opened(make):
    queue = make(lambda items: items, batch=2)
    assert queue.close(PATIENCE_S)
    queue.open()
    assert submit_round(queue, 1, 2).wait() == {1: 1, 2: 2}


def test_stuck_model_refuses_a_round(make):
    model = Gated()
    queue = make(model, batch=2, deadline_s=PATIENCE_S)
    hanging = submit_round(queue, 1, 2)
    model.wait_until_it_computes()
    let_pass(queue, *hanging.tickets)
    assert kinds(hanging.wait()) == [DeadlineError] * 2
    assert kinds(submit_round(queue, 3, 4).wait()) == [StuckError] * 2
    model.go.release(1)
    wait_until(lambda: not queue.stuck)
    model.go.release(1)
    assert submit_round(queue, 5).wait() == {5: 50}


def test_prediction_of_a_round_that_waits_too_long_is_refused_in_time(make):
    model = Gated()
    queue = make(model, batch=1, deadline_s=SOON_S, concurrency=2)
    outcomes = submit_round(queue, *range(4)).wait()
    assert set(kinds(outcomes)) <= {DeadlineError, QueuedTooLongError}
    assert isinstance(outcomes[3], QueuedTooLongError)
    model.go.release(2)
    wait_until(lambda: not (queue.stuck or queue.statistics().computing))


def test_prediction_of_a_round_can_be_cancelled(make):
    model = Gated()
    queue = make(model, batch=4)
    submit(queue, 0)
    model.wait_until_it_computes()
    round_ = submit_round(queue, 1, 2, 3)
    assert queue.cancel(round_.tickets[1])
    model.go.release(2)
    outcomes = round_.wait()
    assert model.batches[1] == [1, 3]
    assert isinstance(outcomes[2], CancelledError)
    assert (outcomes[1], outcomes[3]) == (10, 30)


def test_single_prediction_of_a_round_runs_in_the_context_of_its_caller(make):
    variable = contextvars.ContextVar("variable", default="none")
    queue = make(lambda items: [variable.get()])
    token = variable.set("mine")
    try:
        assert submit_round(queue, 1).wait() == {1: "mine"}
    finally:
        variable.reset(token)


class NoThreads:
    """A system that starts no more threads."""

    def __init__(self, **options: object) -> None:
        pass

    def start(self) -> None:
        raise RuntimeError("can't start new thread")


def test_predictions_fail_while_the_system_starts_no_threads(make, monkeypatch):
    queue = make(lambda items: items, batch=2)
    with monkeypatch.context() as patch:
        patch.setattr("carboy.models.queue.threads.threading.Thread", NoThreads)
        assert kinds(submit_round(queue, 1, 2).wait()) == [RuntimeError] * 2
        with pytest.raises(RuntimeError, match="can't start new thread"):
            queue.submit(3)
    assert queue.statistics().waiting == 0
    assert submit_round(queue, 4).wait() == {4: 4}


# --- waking ------------------------------------------------------------------------------------


def test_first_waiter_wakes_the_others_while_the_next_batch_computes(make):
    """Bulk work, which waits for its tickets in order, never wakes others."""
    model = Gated()
    queue = make(model, batch=4, queue=100)
    first = submit(queue, 0)
    model.wait_until_it_computes()
    found: list[object] = []
    threads = [
        in_thread(lambda i=i: found.append(queue.run(i, deadline_s=PATIENCE_S)))
        for i in range(1, 9)
    ]
    wait_until(lambda: queue.statistics().waiting >= 8)
    model.go.release(2)  # the first, and four of the eight
    wait_until(lambda: len(found) >= 4)
    assert queue.statistics().computing == 4  # those were woken though the rest computes still
    model.go.release()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert answers(first) == [0]
    assert sorted(found) == [10 * i for i in range(1, 9)]


def test_one_thread_may_wait_for_many_tickets_in_any_order(make):
    queue = make(lambda items: items, batch=4, queue=1000)
    wrong = []

    def bulk(start: int) -> None:
        for _ in range(20):
            tickets = submit(queue, *range(start, start + 12), deadline_s=PATIENCE_S)
            if [ticket.value for ticket in reversed(tickets) if ticket.wait() is None] != [
                *reversed(range(start, start + 12))
            ]:
                wrong.append(start)

    def single() -> None:
        got = [queue.run(i, deadline_s=PATIENCE_S) for i in range(200)]
        wrong.extend(i for i in range(200) if got[i] != i)

    threads = [in_thread(bulk, 100), in_thread(bulk, 500), *(in_thread(single) for _ in range(6))]
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert not wrong


# --- on the caller's thread --------------------------------------------------------------------


class Noted:
    """A model that notes the threads on which it computes."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def __call__(self, items):
        self.threads.append(threading.current_thread())
        return items


def known_to_be_quick(make, model, **options):
    queue = make(model, batch=4, **options)
    for _ in range(10):
        submit_round(queue, 1, 2, 3, 4, quick_s=100.0).wait()
    return queue


def test_batch_known_to_be_quick_is_computed_by_the_caller(make):
    model, here = Noted(), threading.current_thread()
    queue = known_to_be_quick(make, model)
    submit_round(queue, 1, 2, quick_s=100.0).wait()
    assert model.threads[0] is not here  # nothing was known
    assert model.threads[-1] is here
    submit_round(queue, 1, 2, quick_s=0.0).wait()
    assert model.threads[-1] is not here


def test_caller_does_not_compute_beside_a_thread_that_gathers(make):
    model = Noted()
    queue = known_to_be_quick(make, model, wait_s=PATIENCE_S, concurrency=2)
    gathered = submit_round(queue, 1)  # a thread sleeps until this batch is due, or full
    rest = submit_round(queue, 2, 3, 4, quick_s=100.0)
    gathered.wait()
    rest.wait()
    assert model.threads[-1] is not threading.current_thread()
    assert queue.statistics().batch_sizes == {4: 11}


def test_rest_of_a_round_is_computed_after_its_quick_batch(make):
    queue = make(lambda items: items, batch=4)
    for _ in range(10):
        submit_round(queue, *range(11), quick_s=100.0).wait()
    assert queue.statistics().answered == 110


def test_quick_batch_that_fails_is_split(make):
    def run(items):
        if 3 in items:
            raise ValueError("3")
        return items

    queue = make(run, batch=4)
    for _ in range(10):
        submit_round(queue, 1, quick_s=100.0).wait()
    outcomes = submit_round(queue, 1, 3, quick_s=100.0).wait()
    assert outcomes[1] == 1
    assert isinstance(outcomes[3], ValueError)
