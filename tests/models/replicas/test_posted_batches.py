"""The results of batches are received by an event loop, without a thread that waits for them."""

from __future__ import annotations

import os
import random
import signal
import threading
import typing as t

import numpy as np
import pytest
from polling import PATIENCE_S, wait_until
from replicaprocesses import ReplicaProcesses, ReplicaThread
from resultloop import LoopThread

from carboy.errors import CarboyError, DeadlineError, ReplicaLostError
from carboy.models.bulk import PredictionFuture
from carboy.models.queue import PredictionQueue
from carboy.models.queue.ticket import Ticket
from carboy.models.replicas import tokentimer

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from carboy.models.replicas.remote import RemoteReplicas


class Round:
    """Predictions that are submitted together, and their outcomes by argument."""

    def __init__(self, queue: PredictionQueue, loop: LoopThread, values: cabc.Iterable[t.Any]):
        self.outcomes: dict[t.Any, t.Any] = {}
        #: The threads that have delivered outcomes.
        self.threads: set[threading.Thread] = set()
        self._done = threading.Event()
        self.tickets = [Ticket(arguments={"x": value}, deliver=self._note) for value in values]
        self._values = {id(each): each.arguments["x"] for each in self.tickets}
        loop.call(lambda: queue.submit_round(self.tickets, quick_s=0.001, loop=loop))

    def _note(self, tickets: list[Ticket]) -> None:
        self.threads.add(threading.current_thread())
        for each in tickets:
            self.outcomes[self._values[id(each)]] = each.take_value()
        if len(self.outcomes) == len(self.tickets):
            self._done.set()

    def wait(self) -> dict[t.Any, t.Any]:
        assert self._done.wait(PATIENCE_S)
        return self.outcomes


class Posting:
    """A queue whose batches are sent by an event loop."""

    def __init__(self, remote: RemoteReplicas, loop: LoopThread, **options: t.Any) -> None:
        self.remote, self.loop = remote, loop
        options = {"batch": 8, "concurrency": 1, "deadline_s": 30.0, **options}
        self.queue = PredictionQueue(remote, owner="Model 'test'", **options)

    def round(self, *values: t.Any) -> Round:
        return Round(self.queue, self.loop, values)

    def submit(self, tickets: list[Ticket]) -> None:
        loop = self.loop
        loop.call(lambda: self.queue.submit_round(tickets, quick_s=0.001, loop=loop))

    def warm(self, value: t.Any = 0) -> t.Self:
        """Let a thread compute the first batch, for which the replicas must be asked for."""
        return self.warm_with({"x": value})

    def warm_with(self, arguments: dict[str, t.Any]) -> t.Self:
        ticket = Ticket(arguments=arguments, deliver=len)
        self.submit([ticket])
        wait_until(lambda: ticket.settled and self.queue.is_idle)
        return self

    @property
    def is_posting(self) -> bool:
        return bool(self.remote._posting._unused)


@pytest.fixture
def open_posting() -> cabc.Iterator[t.Callable[..., Posting]]:
    closers: list[t.Callable[[], object]] = []

    def open_one(there: t.Any, *, retry: bool = True, **options: t.Any) -> Posting:
        closers.append(lambda: there.__exit__(None, None, None))
        there.__enter__()
        remote = there.remote(retry=retry)
        loop = LoopThread().__enter__()
        found = Posting(remote, loop, **options)
        closers.append(lambda: (found.queue.close(10), remote.close(), loop.__exit__()))
        return found

    yield open_one
    for close in reversed(closers):
        close()


def test_quick_batches_are_sent_by_the_event_loop(open_posting):
    posting = open_posting(ReplicaThread("echo")).warm()
    for i in range(50):
        assert posting.round(*range(i, i + 20)).wait() == {x: x for x in range(i, i + 20)}
    assert posting.is_posting
    assert posting.queue.statistics().batch_sizes[8] >= 100, "full batches while a replica is busy"


def test_failures_in_a_posted_batch_fail_only_their_own_prediction(open_posting):
    posting = open_posting(ReplicaThread("echo")).warm()
    found = posting.round(1, -1, 2).wait()
    assert (found[1], found[2], str(found[-1])) == (1, 2, "minus one")
    assert str(posting.round(-1).wait()[-1]) == "minus one"
    assert posting.round(5).wait() == {5: 5}


def test_an_argument_that_cannot_be_sent_fails_alone(open_posting):
    posting = open_posting(ReplicaThread("echo")).warm()
    bad = object()
    found = posting.round(1, bad).wait()
    assert found[1] == 1
    assert isinstance(found[bad], TypeError)
    assert posting.round(5).wait() == {5: 5}


def test_a_posted_batch_whose_replica_dies_is_computed_by_another(open_posting):
    there = ReplicaProcesses("echo", replicas=2)
    posting = open_posting(there, concurrency=2).warm()
    assert posting.round(5).wait() == {5: 5}
    assert posting.is_posting
    (found,) = posting.round(-2).wait().values()
    assert isinstance(found, ReplicaLostError), "the other one dies of it as well"
    there.restart(0)
    assert posting.round(5).wait() == {5: 5}


def test_no_prediction_is_lost_when_a_replica_is_killed_between_posted_batches(open_posting):
    there = ReplicaProcesses("pid", replicas=2)
    posting = open_posting(there, concurrency=2).warm()
    rounds = [posting.round(*range(8)) for _ in range(40)]
    there.replicas[0].kill()
    rounds += [posting.round(*range(8)) for _ in range(40)]
    found = {pid for each in rounds for pid in each.wait().values()}
    assert found <= {each.popen.pid for each in there.replicas}


def test_a_posted_batch_that_hangs_is_given_up(open_posting):
    there = ReplicaProcesses("echo")
    posting = open_posting(there, deadline_s=2.0).warm()
    assert posting.round(5).wait() == {5: 5}
    assert posting.is_posting
    (found,) = posting.round(-3).wait().values()
    assert isinstance(found, DeadlineError)
    wait_until(lambda: there.reports)
    wait_until(lambda: there.replicas[0].number == 2 and there.replicas[0].await_ready())
    assert posting.round(7).wait() == {7: 7}


def test_long_batches_have_a_thread_until_batches_are_short_again(open_posting):
    posting = open_posting(ReplicaThread("stacked"), batch=2).warm(np.zeros(3, "f4"))
    for length in (3, 300_000, 300_000, 3, 3):
        rows = [np.full(length, i, "f4") for i in range(2)]
        tickets = [Ticket(arguments={"x": row}, deliver=len) for row in rows]
        posting.submit(tickets)
        wait_until(lambda tickets=tickets: all(each.settled for each in tickets))
        assert [float(each.value[0]) for each in tickets] == [0.0, 2.0]
        assert posting.remote.posts.is_possible == (length == 3)


def test_batches_of_two_clients_share_one_replica(open_posting):
    there = ReplicaThread("echo")
    one = open_posting(there).warm()
    two = Posting(there.remote(), one.loop).warm()
    rounds = [each.round(*range(20)) for _ in range(30) for each in (one, two)]
    assert all(each.wait() == {x: x for x in range(20)} for each in rounds)
    assert two.queue.close(10)
    two.remote.close()


def test_rounds_and_calls_from_python_share_one_replica(open_posting):
    posting = open_posting(ReplicaThread("echo")).warm()
    rounds = []
    for i in range(40):
        rounds.append(posting.round(*range(20)))
        assert posting.queue.run({"x": i}) == i
    assert all(each.wait() == {x: x for x in range(20)} for each in rounds)


def test_a_queue_that_closes_computes_what_waits_for_a_replica(open_posting):
    there = ReplicaThread("echo")
    posting = open_posting(there, deadline_s=None).warm()
    token = posting.remote.tokens.take()  # as if another process had the only replica
    waiting = posting.round(1, 2)
    wait_until(lambda: posting.queue.statistics().waiting == 2)
    closing = threading.Thread(target=posting.queue.close)
    closing.start()
    there.server.renew_token()
    assert token is not None
    assert waiting.wait() == {1: 1, 2: 2}
    closing.join()


def test_a_queue_that_closes_after_the_event_loop_gets_the_results(open_posting, tmp_path):
    posting = open_posting(ReplicaThread("until"), batch=1)
    first, second = (Ticket(arguments={"path": str(tmp_path / i)}, deliver=len) for i in "12")
    (tmp_path / "1").touch()
    posting.submit([first])
    wait_until(lambda: first.settled)
    posting.submit([second])
    wait_until((tmp_path / "2.begun").exists)
    posting.loop.__exit__()
    closing = threading.Thread(target=posting.queue.close)
    closing.start()
    (tmp_path / "2").touch()
    closing.join(30)
    assert second.value == first.value


def test_two_threads_that_run_the_event_loop_answer_each_batch_once(open_posting):
    there = ReplicaThread("echo")
    posting = open_posting(there).warm()
    over = threading.Event()

    def lead() -> None:
        while not over.is_set():
            for fd, _ in posting.loop._epoll.poll(0.01):
                if fd in posting.loop._functions:
                    posting.loop._functions[fd]()

    second = threading.Thread(target=lead)
    second.start()
    try:
        for i in range(300):
            assert posting.round(*range(i, i + 8)).wait() == {x: x for x in range(i, i + 8)}
    finally:
        over.set()
        second.join()
    assert posting.queue.statistics().computing == 0
    assert not there.reports


# --- the event loop waits for nothing ---------------------------------------------------------


def test_long_results_are_received_by_a_thread(open_posting):
    posting = open_posting(ReplicaThread("texts"), batch=4).warm()
    assert posting.round(1, 2).wait() == {1: "x", 2: "xx"}
    assert posting.is_posting
    long = posting.round(3_000_000)
    assert long.wait() == {3_000_000: 3_000_000 * "x"}
    assert [each.name for each in long.threads] == ["carboy results"]
    assert posting.round(3).wait() == {3: "xxx"}
    assert posting.round(4).wait() == {4: "xxxx"}
    assert posting.remote.posts.is_possible


def test_a_replica_and_the_event_loop_that_both_send_much_do_not_wait_for_each_other(open_posting):
    there = ReplicaThread("echo")
    posting = open_posting(there, batch=8).warm()
    texts = open_posting(ReplicaThread("texts"), batch=4).warm()
    # More than the buffers of all connections hold: each batch is longer than one buffer.
    rounds = [texts.round(*(300_000 + i for i in range(4))) for _ in range(20)]
    assert all(posting.round(*range(8)).wait() == {x: x for x in range(8)} for _ in range(20))
    assert all(set(map(len, each.wait().values())) == set(each.outcomes) for each in rounds)


def test_a_batch_is_sent_by_a_thread_while_a_stopped_replica_accepts_no_client(open_posting):
    there = ReplicaProcesses("echo")
    posting = open_posting(there).warm()
    os.kill(there.replicas[0].popen.pid, signal.SIGSTOP)
    hanging = posting.round(1)
    other = open_posting(ReplicaThread("echo")).warm()
    ended = threading.Event()
    posting.loop.call(ended.set)
    assert ended.wait(PATIENCE_S), "the event loop does not wait for the stopped replica"
    assert other.round(2).wait() == {2: 2}
    os.kill(there.replicas[0].popen.pid, signal.SIGCONT)
    assert hanging.wait() == {1: 1}


def test_a_replica_that_cannot_be_watched_computes_for_a_thread(open_posting):
    posting = open_posting(ReplicaThread("echo")).warm()
    posting.remote.posts.close_unused()
    posting.loop.refused = 1
    assert posting.round(1, 2).wait() == {1: 1, 2: 2}
    assert not posting.loop.refused
    assert posting.round(3).wait() == {3: 3}


def test_functions_of_programs_do_not_run_on_the_event_loop(open_posting):
    there = ReplicaThread("echo")
    posting = open_posting(there).warm()
    go, threads = threading.Event(), []

    def called(_: object) -> None:
        threads.append(threading.get_ident())
        go.wait(PATIENCE_S)

    token = posting.remote.tokens.take()  # so that all of them are in one batch
    future = PredictionFuture.submit(posting.queue, {"x": 1})
    future.add_done_callback(called)
    together = posting.round(2, 3)
    wait_until(lambda: posting.queue.statistics().waiting == 3)
    assert token is not None
    there.server.renew_token()
    assert together.wait() == {2: 2, 3: 3}
    assert posting.round(4).wait() == {4: 4}, "while the function has not returned"
    go.set()
    assert future.result(PATIENCE_S) == 1
    assert threads
    assert threads != [posting.loop.ident]


def test_results_are_delivered_if_no_thread_can_be_started_for_the_next_batch(
    open_posting, tmp_path, monkeypatch
):
    posting = open_posting(ReplicaThread("until"), batch=1, concurrency=1)
    delivered: list[Ticket] = []
    paths = [tmp_path / name for name in "1234"]
    tickets = [Ticket(arguments={"path": str(p)}, deliver=delivered.extend) for p in paths]
    paths[0].touch()
    posting.submit(tickets[:1])
    wait_until(lambda: delivered and posting.queue.is_idle)
    posting.submit(tickets[1:2])
    wait_until(lambda: paths[1].with_name("2.begun").exists())
    posting.submit(tickets[2:3])
    wait_until(lambda: posting.queue.statistics().waiting == 1)
    posting.remote.posts._is_light = False  # so that a thread must compute the next batch
    posting.queue._threads._idle.clear()
    posting.queue._threads._threads = 0

    def start(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        paths[1].touch()
        wait_until(lambda: tickets[1] in delivered)
    for path in paths[2:]:
        path.touch()
    posting.submit(tickets[3:])
    wait_until(lambda: len(delivered) == 4)
    assert not posting.loop.failures


# --- the event loop ends ----------------------------------------------------------------------


def test_what_the_event_loop_was_to_receive_when_it_ends_is_received_by_a_thread(
    open_posting, tmp_path
):
    posting = open_posting(ReplicaThread("until"), batch=1, deadline_s=None)
    ticket = Ticket(arguments={"path": str(tmp_path / "2")}, deliver=len)
    (tmp_path / "1").touch()
    first = Ticket(arguments={"path": str(tmp_path / "1")}, deliver=len)
    posting.submit([first])
    wait_until(lambda: first.settled and posting.queue.is_idle)
    posting.submit([ticket])
    wait_until((tmp_path / "2.begun").exists)
    assert posting.remote.posts._left() == []
    posting.loop.__exit__()
    (tmp_path / "2").touch()
    wait_until(lambda: ticket.settled)
    assert ticket.value == os.getpid()


def test_what_waits_for_a_replica_when_the_event_loop_ends_is_computed_by_a_thread(open_posting):
    there = ReplicaThread("echo")
    posting = open_posting(there, deadline_s=None).warm()
    token = posting.remote.tokens.take()  # as if another process had the only replica
    waiting = posting.round(1, 2)
    wait_until(lambda: posting.queue._threads._is_waiting_for_turn)
    posting.loop.__exit__()
    there.server.renew_token()
    assert token is not None
    assert waiting.wait() == {1: 1, 2: 2}


def test_another_event_loop_can_follow(open_posting):
    posting = open_posting(ReplicaThread("echo")).warm()
    assert posting.round(1).wait() == {1: 1}
    assert posting.is_posting
    posting.loop.__exit__()
    assert not posting.is_posting, "nobody would receive what arrives on these connections"
    with LoopThread() as posting.loop:
        assert posting.round(2).wait() == {2: 2}
        assert posting.round(3).wait() == {3: 3}
        assert posting.is_posting


def test_what_waits_for_a_replica_is_computed_if_another_event_loop_has_followed(open_posting):
    there = ReplicaThread("echo")
    posting = open_posting(there, deadline_s=None).warm()
    token = posting.remote.tokens.take()  # as if another process had the only replica
    before, waiting = posting.loop, posting.round(1, 2)
    wait_until(lambda: posting.queue._threads._is_waiting_for_turn)
    with LoopThread() as posting.loop:
        later = posting.round(3)
        wait_until(lambda: posting.queue.statistics().waiting == 3)
        before.__exit__()
        there.server.renew_token()
        assert token is not None
        assert waiting.wait() == {1: 1, 2: 2}
        assert later.wait() == {3: 3}


def test_results_are_received_by_a_thread_if_another_event_loop_has_followed(
    open_posting, tmp_path
):
    posting = open_posting(ReplicaThread("until"), batch=1, deadline_s=None)
    (tmp_path / "1").touch()
    posting.warm_with({"path": str(tmp_path / "1")})
    before = posting.loop
    computed = Ticket(arguments={"path": str(tmp_path / "2")}, deliver=len)
    posting.submit([computed])
    wait_until((tmp_path / "2.begun").exists)
    with LoopThread() as posting.loop:
        later = Ticket(arguments={"path": str(tmp_path / "1")}, deliver=len)
        posting.submit([later])
        wait_until(lambda: posting.queue._threads._loop is posting.loop)
        before.__exit__()
        (tmp_path / "2").touch()
        wait_until(lambda: computed.settled and later.settled)
        assert computed.value == later.value == os.getpid()


def test_a_thread_waits_for_a_replica_if_the_event_loop_cannot(open_posting, monkeypatch):
    there = ReplicaThread("echo")
    posting = open_posting(there, deadline_s=None).warm()
    assert posting.round(1).wait() == {1: 1}
    waits = threading.Event()
    wait = posting.remote.wait
    monkeypatch.setattr(posting.remote, "wait", lambda: (waits.set(), wait()))
    monkeypatch.setattr(posting.remote.posts, "call_when_free", lambda *_: False)
    token = posting.remote.tokens.take()  # as if another process had the only replica
    waiting = posting.round(1, 2)
    assert waits.wait(PATIENCE_S)
    there.server.renew_token()
    assert token is not None
    assert waiting.wait() == {1: 1, 2: 2}


# --- closing, forking, giving up --------------------------------------------------------------


def test_a_closed_model_leaves_no_connection(open_posting):
    there = ReplicaThread("echo")
    posting = open_posting(there).warm()
    assert posting.round(1).wait() == {1: 1}
    assert there.server._connections
    assert posting.queue.close(PATIENCE_S)
    posting.remote.close()
    wait_until(lambda: not there.server._connections)
    assert not posting.remote.posts.open_connections


def test_a_batch_whose_results_arrive_after_closing_is_answered(open_posting, tmp_path):
    there = ReplicaThread("until")
    posting = open_posting(there, batch=1, deadline_s=None)
    (tmp_path / "1").touch()
    first, second = (Ticket(arguments={"path": str(tmp_path / i)}, deliver=len) for i in "12")
    posting.submit([first])
    wait_until(lambda: first.settled and posting.queue.is_idle)
    posting.submit([second])
    wait_until((tmp_path / "2.begun").exists)
    assert not posting.queue.close(0.01)
    posting.remote.close()
    (tmp_path / "2").touch()
    wait_until(lambda: second.settled)
    assert second.value == os.getpid()
    wait_until(lambda: not there.server._connections)


def test_a_full_batch_is_sent_before_the_replica_has_finished_the_last_one(
    open_posting, tmp_path, monkeypatch
):
    monkeypatch.setattr(tokentimer, "_LEAD_S", PATIENCE_S)
    monkeypatch.setattr(tokentimer, "_SHORTEST_S", 0.0)
    posting = open_posting(ReplicaThread("until"), batch=1, deadline_s=None)
    for i in range(9):
        (tmp_path / f"{i}").touch()
        posting.warm_with({"path": str(tmp_path / f"{i}")})
    names = "first", "second"
    tickets = [Ticket(arguments={"path": str(tmp_path / each)}, deliver=len) for each in names]
    posting.submit(tickets)
    wait_until((tmp_path / "first.begun").exists)
    wait_until(lambda: len(posting.remote.awaited) == 2)
    assert not (tmp_path / "second.begun").exists()
    for each in names:
        (tmp_path / each).touch()
    wait_until(lambda: all(each.settled for each in tickets))
    assert [each.value for each in tickets] == [os.getpid()] * 2


def test_a_forked_child_has_no_connection_of_its_parent(open_posting):
    posting = open_posting(ReplicaThread("echo")).warm()
    assert posting.round(1).wait() == {1: 1}
    fds = [each.frames.fileno() for each in posting.remote.posts.open_connections]
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        found = [fd for fd in fds if _is_open(fd)]
        os.write(writing, str(found).encode())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(reading, 100) == b"[]"
    os.close(reading)
    os.close(writing)
    assert posting.is_posting
    assert posting.round(2).wait() == {2: 2}, "the parent's connections are watched as before"


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_a_batch_that_was_answered_is_not_given_up(open_posting):
    """Its connection may have the next batch by then."""
    posting = open_posting(ReplicaThread("echo")).warm()
    slots: list[t.Any] = []
    vacate = posting.remote.vacate
    posting.remote.vacate = lambda slot: (slots.append(slot), vacate(slot))
    assert posting.round(1).wait() == {1: 1}
    assert posting.remote.give_up(slots[0], 1.0) is None
    assert posting.round(2).wait() == {2: 2}
    assert not posting.loop.failures


def test_a_replica_that_dies_while_nobody_waits_for_it_is_forgotten(open_posting):
    there = ReplicaProcesses("echo")
    posting = open_posting(there).warm()
    assert posting.round(1).wait() == {1: 1}
    there.replicas[0].kill()
    wait_until(lambda: not posting.remote.posts.open_connections)
    there.restart(0)
    assert posting.round(2).wait() == {2: 2}


def test_no_client_gets_the_answer_of_another_after_any_timeouts_and_deaths(open_posting):
    """A thousand predictions with random deadlines, whose replicas die now and then."""
    chance = random.Random(11)
    there = ReplicaProcesses("echo", replicas=2)
    posting = open_posting(there, concurrency=2, batch=4).warm()
    rounds = []
    for i in range(200):
        posting.queue.deadline_s = chance.expovariate(1 / 0.01) if i % 4 else PATIENCE_S
        rounds.append(posting.round(*range(5 * i, 5 * i + 5)))
        if i % 50 == 25:
            there.restart(chance.randrange(2))
        if i % 3 == 0:
            rounds[-1].wait()
    found = [outcome for each in rounds for outcome in each.wait().items()]
    answers = [(x, value) for x, value in found if not isinstance(value, CarboyError)]
    assert len(found) == 1000
    assert len(answers) >= 200, "those with a long deadline are answered, whichever replica dies"
    assert all(x == value for x, value in answers)
    posting.queue.deadline_s = PATIENCE_S
    assert posting.round(7).wait() == {7: 7}
    assert posting.queue.statistics().computing == 0
