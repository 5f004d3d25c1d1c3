"""Questions to worker processes and their answers."""

from __future__ import annotations

import threading

import pytest
from polling import PATIENCE_S

from carboy.errors import ControlRequestError, WorkerAnswerError
from carboy.serving.management.questions import Answers, Questions, answered_apart


@pytest.fixture
def sent():
    return []


@pytest.fixture
def questions(sent):
    return Questions(lambda pid, payload: sent.append((pid, payload)))


def worker_that_answers(questions, **topics):
    """Return what receives questions in a worker whose answers arrive at once."""
    return Answers(lambda word, payload: questions.receive(payload), topics)


def test_answer_settles_the_question(questions, sent):
    future = questions.put(10, "square", x=3)
    ((pid, payload),) = sent
    assert pid == 10
    worker_that_answers(questions, square=lambda given: given["x"] ** 2).answer(payload)
    assert future.result(0) == 9


def test_failure_of_a_worker_is_the_error_of_the_question(questions, sent):
    def fail(_):
        raise KeyError("no such logger")

    future = questions.put(10, "fail")
    worker_that_answers(questions, fail=fail).answer(sent[0][1])
    with pytest.raises(WorkerAnswerError, match="KeyError: 'no such logger'"):
        future.result(0)


def test_answer_may_come_later_from_another_thread(questions, sent):
    begin = threading.Event()

    def square(given):
        assert begin.wait(PATIENCE_S)
        return given["x"] ** 2

    future = questions.put(10, "square", x=3)
    worker_that_answers(questions, square=answered_apart(square)).answer(sent[0][1])
    assert not future.done()
    begin.set()
    assert future.result(PATIENCE_S) == 9


def test_failure_on_another_thread_is_the_error_of_the_question(questions, sent):
    def fail(_):
        raise ControlRequestError("worker 2 cannot do it")

    future = questions.put(10, "fail")
    worker_that_answers(questions, fail=answered_apart(fail)).answer(sent[0][1])
    with pytest.raises(WorkerAnswerError, match=r"^worker 2 cannot do it$"):
        future.result(PATIENCE_S)


def test_question_of_an_unknown_topic_is_answered_with_an_error(questions, sent):
    future = questions.put(10, "metrics")
    worker_that_answers(questions).answer(sent[0][1])
    with pytest.raises(WorkerAnswerError, match="metrics"):
        future.result(0)


def test_question_to_a_process_that_has_ended_is_settled(questions):
    dead, alive = questions.put(10, "health"), questions.put(20, "health")
    questions.forget_all_but({20})
    with pytest.raises(WorkerAnswerError, match="has ended"):
        dead.result(0)
    assert not alive.done()


def test_answer_that_comes_too_late_is_ignored(questions):
    questions.put(10, "health")
    questions.forget_all_but(())
    questions.receive((1, "", {}))
