"""What becomes of predictions in the queue, without a thread or a clock."""

from __future__ import annotations

import math

import pytest

from carboy.errors import (
    CancelledError,
    ClosedError,
    CrashError,
    DeadlineError,
    LoadingError,
    QueuedTooLongError,
    QueueFullError,
    StuckError,
)
from carboy.models.queue.batcher import Batcher
from carboy.models.queue.state import FAILED, REFUSED, Counts, QueueState, Slot
from carboy.models.queue.ticket import Ticket


def make_state(*, batch: int = 4, queue: int = 8, concurrency: int = 1) -> QueueState:
    batcher = Batcher[Ticket](max_size=batch, max_waiting=queue)
    return QueueState(batcher, Counts(), owner="m", deadline_s=None, concurrency=concurrency)


def admit(state: QueueState, *deadlines_s: float) -> list[Ticket]:
    tickets = [Ticket(arguments={}, deadline_s=deadline_s) for deadline_s in deadlines_s]
    assert state.admit_round(tickets, 0.0) == []
    return tickets


def take(state: QueueState, now_s: float = 0.0) -> Slot:
    slot = Slot(queue=None)
    assert state.take(slot, now_s) == []
    return slot


def test_finished_ticket_has_its_result_and_times() -> None:
    state = make_state()
    (ticket,) = admit(state, math.inf)
    slot = take(state, 1.0)
    assert state.finish(slot, ["result"], 3.0) == [ticket]
    state.vacate(slot, 3.0)
    assert (ticket.settled, ticket.value, ticket.arguments) == (True, "result", None)
    assert (ticket.began_s, ticket.ended_s, ticket.batch_size) == (1.0, 3.0, 1)
    assert (state.computing, state.computing_items) == ([], 0)
    assert state.counts.batch_sizes == {1: 1}


def test_exit_of_predict_becomes_a_failure_of_one_ticket() -> None:
    state = make_state()
    first, second = admit(state, math.inf, math.inf)
    state.finish(take(state), [SystemExit(3), 2], 1.0)
    assert isinstance(first.value, CrashError)
    assert isinstance(first.value.__cause__, SystemExit)
    assert second.value == 2
    assert (state.counts.answered, state.counts.counters.outcomes[FAILED]) == (2, 1)


@pytest.mark.parametrize("deadlines_s", [(5.0, math.inf), (math.inf, 5.0), (9.0, 5.0), (5.0, 9.0)])
def test_slot_is_stuck_only_after_the_longest_deadline_of_its_batch(deadlines_s) -> None:
    state = make_state()
    tickets = admit(state, *deadlines_s)
    slot = take(state)
    expired, stuck = state.expire(6.0)
    assert expired == [ticket for ticket in tickets if ticket.deadline_s == 5.0]
    assert all(isinstance(ticket.value, DeadlineError) for ticket in expired)
    assert {str(ticket.value) for ticket in expired} == {"m did not answer within 5 s."}
    assert (stuck, slot.stuck) == ([], False)
    assert state.next_limit_s() == max(deadlines_s)
    _, stuck = state.expire(10.0)
    assert stuck == ([slot] if max(deadlines_s) == 9.0 else [])


def test_time_in_the_queue_does_not_make_a_slot_stuck() -> None:
    """A model with too many requests is busy and does not hang."""
    state = make_state(batch=1)
    (ticket,) = admit(state, 5.0)
    slot = take(state, 4.0)
    assert state.expire(5.0) == ([ticket], [])
    assert isinstance(ticket.value, DeadlineError)
    (patient,) = admit(state, 20.0)
    assert state.next_limit_s() == 9.0
    assert state.expire(8.9) == ([], [])
    assert state.expire(9.0) == ([patient], [slot])
    assert isinstance(patient.value, StuckError)


def test_model_that_is_being_loaded_does_not_hang() -> None:
    state = make_state(batch=1)
    first, waiting, patient = admit(state, 5.0, 5.0, math.inf)
    slot = take(state)
    state.hold(slot, "model")
    assert state.expire(100.0) == ([waiting, first], [])
    for ticket in (first, waiting):
        assert isinstance(ticket.value, LoadingError)
        assert str(ticket.value).startswith("m is being loaded, which takes longer than the 5 s")
    state.begin(slot, 100.0)
    assert state.next_limit_s() == 105.0
    state.vacate(slot, 101.0)
    assert take(state, 101.0).tickets == [patient]


def test_times_of_a_prediction_begin_when_its_model_is_loaded() -> None:
    state = make_state()
    (ticket,) = admit(state, math.inf)
    slot = take(state, 1.0)
    state.hold(slot, "model")
    state.begin(slot, 8.0)
    state.finish(slot, [1], 9.0)
    assert (ticket.began_s, slot.started_s) == (8.0, 8.0)


def test_stuck_queue_refuses_what_waits_and_what_arrives_until_a_slot_is_vacated() -> None:
    state = make_state(batch=1)
    hanging, waiting = admit(state, 5.0, math.inf)
    slot = take(state)
    assert state.expire(5.0) == ([hanging, waiting], [slot])
    assert isinstance(waiting.value, StuckError)
    late = Ticket(arguments={})
    assert state.admit_round([late], 6.0) == [late]
    assert isinstance(late.value, StuckError)
    assert state.finish(slot, ["too late"], 7.0) == []
    state.vacate(slot, 7.0)
    admit(state, math.inf)


def test_expired_ticket_that_waited_is_not_computed() -> None:
    state = make_state()
    late, patient = admit(state, 5.0, math.inf)
    assert state.expire(5.0) == ([late], [])
    assert isinstance(late.value, QueuedTooLongError)
    assert take(state, 6.0).tickets == [patient]


def test_late_ticket_is_returned_by_take() -> None:
    state = make_state()
    late, patient = admit(state, 5.0, math.inf)
    slot = Slot(queue=None)
    assert state.take(slot, 6.0) == [late]
    assert slot.tickets == [patient]
    assert isinstance(late.value, QueuedTooLongError)


def test_round_fills_the_room_that_is_left() -> None:
    state = make_state(queue=3)
    admit(state, math.inf, math.inf)
    tickets = [Ticket(arguments={}) for _ in range(3)]
    assert state.admit_round(tickets, 0.0) == tickets[1:]
    assert [type(ticket.value) for ticket in tickets[1:]] == [QueueFullError] * 2
    assert not tickets[0].settled
    assert state.counts.counters.outcomes[REFUSED] == 2


def test_withdrawn_ticket_is_not_taken() -> None:
    state = make_state()
    first, second = admit(state, math.inf, math.inf)
    state.withdraw(first, CancelledError("cancelled"), 1.0)
    assert len(state.waiting) == 1
    assert take(state).tickets == [second]


class Closer:
    released = False

    def release(self) -> None:
        self.released = True


def test_closed_queue_releases_its_closer_when_nothing_is_left() -> None:
    state, closer = make_state(), Closer()
    admit(state, math.inf)
    state.close(closer, "closes.")
    refused = Ticket(arguments={})
    assert state.admit_round([refused], 0.0) == [refused]
    assert isinstance(refused.value, ClosedError)
    slot = take(state)
    assert not closer.released
    state.finish(slot, [1], 1.0)
    state.vacate(slot, 1.0)
    assert closer.released
