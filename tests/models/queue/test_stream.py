"""Results item by item: the slot they keep, the reader they wait for, and how they end."""

from __future__ import annotations

import contextvars
import gc
import math
import threading
import typing as t

import pytest
from overdue import let_pass
from polling import PATIENCE_S, wait_until

from carboy.errors import (
    AnswerError,
    CancelledError,
    ClosedError,
    DeadlineError,
    InputError,
    SignatureError,
    StuckError,
    UnreadError,
)
from carboy.models.collection import Model
from carboy.models.options import Options
from carboy.models.queue import stream as stream_module

SOON_S = 0.05


class Story:
    """Counts, and remembers what was done to it."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.threads: set[int] = set()
        self.closed = threading.Event()
        self.go: threading.Semaphore | None = None

    def predict(self, n: int) -> t.Iterator[int]:
        try:
            for i in range(n):
                self.threads.add(threading.get_ident())
                if self.go is not None:
                    assert self.go.acquire(timeout=PATIENCE_S)
                self.made.append(i)
                yield i
        finally:
            self.threads.add(threading.get_ident())
            self.closed.set()


@pytest.fixture
def make():
    made: list[Model] = []

    def make(predict, **options) -> Model:
        model = Model("flow", "/flow", predict, Options(**options))
        made.append(model)
        return model

    yield make
    for model in made:
        assert model.close(PATIENCE_S)
        assert not [
            t for t in threading.enumerate() if t.name == "Model 'flow' batches" and not _ends(t)
        ]


def _ends(thread: threading.Thread) -> bool:
    thread.join(PATIENCE_S)
    return not thread.is_alive()


@pytest.fixture
def story(make):
    held = Story()

    def predict(n: int) -> t.Iterator[int]:
        yield from held.predict(n)

    held.model = make(predict)
    return held


# --- reading -----------------------------------------------------------------------------------


def test_items_come_in_order_to_the_end(story):
    assert list(story.model.predict(100)) == list(range(100))
    assert list(story.model.predict(0)) == []
    assert story.model.statistics().answered == 2


def test_generator_runs_on_one_thread_that_is_not_the_callers(story):
    assert list(story.model.predict(100)) == list(range(100))
    assert len(story.threads) == 1
    assert threading.get_ident() not in story.threads


def test_result_is_there_with_the_first_item(story):
    story.go = threading.Semaphore(1)
    stream = story.model.predict(2)
    assert next(stream) == 0
    assert stream.take() == []
    assert stream.take(0.01) == []
    story.go.release()
    assert next(stream) == 1
    with pytest.raises(StopIteration):
        next(stream)


def test_any_iterable_is_a_stream(make):
    def predict(n: int) -> t.Iterable[int]:
        return range(n)

    assert list(make(predict).predict(3)) == [0, 1, 2]


def test_generator_without_annotation_is_a_stream(make):
    def predict(n: int):
        yield n

    model = make(predict)
    assert model.answers.streams
    assert list(model.predict(3)) == [3]


def test_generator_runs_in_the_context_of_its_caller(make):
    word = contextvars.ContextVar("word", default="none")

    def predict(n: int) -> t.Iterator[str]:
        for _ in range(n):
            yield word.get()

    model = make(predict)
    word.set("mine")
    assert list(model.predict(2)) == ["mine", "mine"]


def test_map_gives_lists_in_order(story):
    assert list(story.model.map([1, 3, 0, 40])) == [[0], [0, 1, 2], [], list(range(40))]


def test_map_loses_no_item_of_a_stream_that_is_read_late(monkeypatch):
    """The second generator runs while the caller is busy with the first result."""
    monkeypatch.setattr("carboy.models.queue.stream.READ_TIMEOUT_S", 0.0)
    ended = threading.Event()

    def predict(n: int) -> t.Iterator[int]:
        yield from range(n)
        if n == 100:
            ended.set()

    model = Model("m", "/m", predict)
    results = model.map([1, 100])
    assert next(results) == [0]
    assert ended.wait(PATIENCE_S), "it waits until it is read"
    assert next(results) == list(range(100))
    assert model.close(PATIENCE_S)


def test_model_that_calls_itself_does_not_wait_for_its_own_slot(make):
    def predict(n: int) -> t.Iterator[int]:
        yield n
        if n:
            yield from model.predict(n - 1)

    model = make(predict)
    assert list(model.predict(3)) == [3, 2, 1, 0]


# --- the place ---------------------------------------------------------------------------------


def test_generator_keeps_its_slot_until_it_ends(make):
    inside, most = [], []

    def predict(n: int) -> t.Iterator[int]:
        inside.append(n)
        for i in range(n):
            most.append(len(inside))
            yield i
        inside.remove(n)

    model = make(predict)
    threads = [
        threading.Thread(target=lambda: [list(model.predict(40)) for _ in range(20)])
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(most) == 6 * 20 * 40
    assert max(most) == 1
    assert model.statistics().computing == 0


def test_concurrency_lets_two_generators_run(make):
    def predict(n: int) -> t.Iterator[int]:
        yield from range(n)

    model = make(predict, concurrency=2)
    with model.predict(1000) as one, model.predict(1000) as other:
        assert [next(one), next(other), next(one), next(other)] == [0, 0, 1, 1]


# --- a reader who is slow, or leaves -----------------------------------------------------------


def test_slow_reader_holds_the_generator_back(story):
    with story.model.predict(10_000) as stream:
        assert next(stream) == 0
        wait_until(lambda: len(story.made) >= stream_module.MAX_BUFFERED_ITEMS)
        assert not story.closed.wait(SOON_S)
        assert len(story.made) <= 2 * stream_module.MAX_BUFFERED_ITEMS + 1
        assert [next(stream) for _ in range(100)] == list(range(1, 101))
        assert len(story.made) <= 100 + 3 * stream_module.MAX_BUFFERED_ITEMS


@pytest.mark.parametrize("leave", ["close", "forget", "with"])
def test_generator_is_closed_on_its_own_thread_when_its_reader_leaves(story, leave):
    stream = story.model.predict(10_000)
    next(stream)
    if leave == "close":
        stream.close()
    elif leave == "with":
        with stream:
            pass
    del stream
    wait_until(lambda: gc.collect() is not None and story.closed.is_set())
    assert len(story.made) < 100
    assert len(story.threads) == 1
    story.closed.clear()
    assert list(story.model.predict(2)) == [0, 1]


def test_reader_that_never_reads_is_given_up_with_an_error(story, monkeypatch):
    monkeypatch.setattr(stream_module, "READ_TIMEOUT_S", SOON_S)
    stream = story.model.predict(10_000)
    assert story.closed.wait(PATIENCE_S)
    with pytest.raises(UnreadError, match=r"not read for 0\.05 s"):
        list(stream)
    assert list(story.model.predict(1)) == [0]


def test_generator_cancelled_before_its_first_item_ends(story):
    story.go = threading.Semaphore(0)
    delivered: list[t.Any] = []
    ticket = story.model.queue.submit({"n": 10_000}, deliver=delivered.extend)
    wait_until(lambda: ticket.batch_size)
    assert story.model.queue.cancel(ticket)
    assert isinstance(delivered[0].value, CancelledError)
    story.go.release(2)
    assert story.closed.wait(PATIENCE_S)
    assert len(story.made) <= 2
    assert len(delivered) == 1


# --- failures ----------------------------------------------------------------------------------


def test_exception_before_the_first_item_fails_the_prediction(make):
    def predict(n: int) -> t.Iterator[int]:
        if n:
            raise InputError("too much")
        yield n

    model = make(predict)
    with pytest.raises(InputError, match="too much"):
        model.predict(1)
    assert list(model.predict(0)) == [0]


def test_exception_after_items_is_raised_after_them(make):
    def predict(n: int) -> t.Iterator[int]:
        yield from range(n)
        raise ZeroDivisionError

    model, got = make(predict), []
    with pytest.raises(ZeroDivisionError):
        for item in model.predict(40):
            got.append(item)  # noqa: PERF402 - `extend` would lose what came before
    assert got == list(range(40))
    assert [type(each) for each in model.map([1, 2], errors="return")] == [ZeroDivisionError] * 2
    with pytest.raises(ZeroDivisionError):
        list(model.map([1]))


def test_generator_that_fails_when_closed_is_logged(make, caplog):
    def predict(n: int) -> t.Iterator[int]:
        try:
            while True:
                yield n
        finally:
            raise ZeroDivisionError

    model = make(predict)
    model.predict(1).close()
    assert model.close(PATIENCE_S)
    assert "failed when it was closed" in caplog.text


def test_result_that_is_no_stream_is_an_answer_error(make):
    def predict(n: int) -> t.Iterator[int]:
        return "text"

    with pytest.raises(AnswerError, match=r"predict returned builtins\.str"):
        make(predict).predict(1)


def test_late_first_item_misses_the_deadline(story):
    story.go = threading.Semaphore(0)
    delivered: list[t.Any] = []
    ticket = story.model.queue.submit({"n": 5}, deadline_s=PATIENCE_S, deliver=delivered.extend)
    wait_until(lambda: story.threads)
    let_pass(story.model.queue, ticket)
    wait_until(lambda: delivered)
    with pytest.raises(DeadlineError):
        ticket.result()
    story.go.release(5)
    assert story.closed.wait(PATIENCE_S)


def test_generator_that_hangs_between_items_fails_its_reader_and_recovers(story):
    story.go = threading.Semaphore(1)
    stream = story.model.queue.submit_and_wait({"n": 5}, deadline_s=PATIENCE_S).result()
    assert next(stream) == 0
    (slot,) = story.model.queue._state.computing
    wait_until(lambda: slot.limit_s != math.inf)  # the second is expected
    let_pass(story.model.queue)
    with pytest.raises(DeadlineError, match="next item"):
        next(stream)
    assert story.model.stuck
    with pytest.raises(StuckError):
        story.model.queue.submit_and_wait({"n": 1})
    story.go.release(5)
    wait_until(lambda: not story.model.stuck)
    assert story.closed.is_set()
    story.go.release(5)
    assert list(story.model.predict(1)) == [0]


def test_time_of_a_slow_reader_does_not_count_against_the_generator(story):
    stream = story.model.queue.submit_and_wait({"n": 100}, deadline_s=PATIENCE_S).result()
    (slot,) = story.model.queue._state.computing
    wait_until(lambda: len(story.made) == stream_module.MAX_BUFFERED_ITEMS)
    wait_until(lambda: slot.limit_s == math.inf)
    assert list(stream) == list(range(100))


def test_close_waits_for_streams_and_then_ends_them(story):
    stream = story.model.predict(10_000)
    assert not story.model.close(SOON_S)
    with pytest.raises(ClosedError):
        list(stream)
    assert story.closed.wait(PATIENCE_S)


# --- what cannot be ----------------------------------------------------------------------------


def batched_yield(xs: list[int]):
    yield xs


def batched_iterator(xs: list[int]) -> t.Iterator[int]: ...
def batched_async(xs: list[int]) -> t.AsyncIterator[int]: ...
def batched_streams(xs: list[int]) -> list[t.Iterator[int]]: ...


@pytest.mark.parametrize(
    "predict", [batched_yield, batched_iterator, batched_async, batched_streams]
)
def test_batched_predict_that_streams_is_refused(predict):
    with pytest.raises(SignatureError, match=r"[lL]eave `batch` at 1"):
        Model("m", "/m", predict, Options(batch=2))


def test_yield_under_another_annotation_is_refused():
    def predict(x: int) -> int:
        yield x

    with pytest.raises(SignatureError, match=r"-> Iterator\[...\]"):
        Model("m", "/m", predict)


def test_asynchronous_generator_is_refused():
    async def predict(x: int) -> t.AsyncIterator[int]:
        yield x

    with pytest.raises(SignatureError, match="async def"):
        Model("m", "/m", predict)
