"""The table of a connection's states, without sockets."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.serving.http import transitions as module
from carboy.serving.http.transitions import TRANSITIONS, State, Step, TransitionError

UNLISTED = [(s, step) for s in State for step in Step if (s, step) not in TRANSITIONS]


@pytest.mark.parametrize(("state", "step"), UNLISTED, ids=lambda each: each.name)
def test_unlisted_step_raises_and_changes_nothing(state, step):
    before = dict(TRANSITIONS)
    with pytest.raises(TransitionError, match=f"in {state.name} cannot take {step.name}"):
        TRANSITIONS[state, step]
    assert before == TRANSITIONS


def test_diagram_shows_the_steps_of_the_table():
    """CLOSE leads from each state to CLOSED and is stated in words."""
    arrows = re.findall(r"(?=\b([A-Z]+) --([A-Z_]+)--> ([A-Z]+)\b)", module.__doc__)
    drawn = {(State[start], Step[step]): State[end] for start, step, end in arrows}
    closing = {(start, Step.CLOSE): State.CLOSED for start in State if start is not State.CLOSED}
    assert {**drawn, **closing} == TRANSITIONS
    assert not drawn.keys() & closing.keys()


def test_closed_is_final_and_can_be_reached_from_each_state():
    assert not [start for start, _ in TRANSITIONS if start is State.CLOSED]
    assert {start for start, step in TRANSITIONS if step is Step.CLOSE} == {*State} - {State.CLOSED}


def test_each_state_and_each_step_is_used():
    reached, todo = {State.IDLE}, [State.IDLE]
    while todo:
        start = todo.pop()
        for (each, _), end in TRANSITIONS.items():
            if each is start and end not in reached:
                reached.add(end)
                todo.append(end)
    assert reached == {*State}
    assert {step for _, step in TRANSITIONS} == {*Step}


@given(st.lists(st.sampled_from(Step)))
def test_no_request_is_handed_over_while_another_is_answered(steps):
    state, handed_over = State.IDLE, 0
    for step in steps:
        try:
            state = TRANSITIONS[state, step]
        except TransitionError:
            continue
        handed_over += step in {Step.REQUEST_DUE, Step.REQUEST_UNREAD}
        handed_over -= step in {Step.RESPONDED, Step.RESPONDED_LAST}
        if state is State.CLOSED:
            break
        assert handed_over == (state in {State.READING, State.ANSWERING})


@given(st.lists(st.sampled_from(Step)))
def test_nothing_but_closing_follows_the_last_response(steps):
    state, last = State.IDLE, False
    for step in steps:
        try:
            state = TRANSITIONS[state, step]
        except TransitionError:
            continue
        last = last or step in {Step.RESPONDED_LAST, Step.REFUSED, Step.CLOSE}
        assert last == (state in {State.CLOSING, State.LINGERING, State.CLOSED})
