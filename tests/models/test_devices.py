"""Models that name one device compute one after the other."""

from __future__ import annotations

import threading
import typing as t

import pytest
from overdue import let_pass
from polling import PATIENCE_S, wait_until

from carboy import Carboy
from carboy.models import QueuedTooLongError
from carboy.models.queue.occupied import device_named


@pytest.fixture
def app():
    app = Carboy("devices")
    yield app
    app.models.close(PATIENCE_S)


class Inside:
    """How many threads are inside at the same time, at most."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.lock = threading.Lock()

    def __enter__(self) -> None:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *exc: object) -> None:
        with self.lock:
            self.now -= 1


@pytest.mark.parametrize("options", [{"batch": 4}, {}, {"concurrency": 2}])
def test_models_of_one_device_do_not_compute_at_the_same_time(app, options):
    inside = Inside()

    def one(x: t.Any) -> t.Any:
        with inside:
            return x

    def batch(x: list[int]) -> list[int]:
        return one(x)

    def single(x: int) -> int:
        return one(x)

    for name in ("a", "b", "c"):
        predict = batch if "batch" in options else single
        app.model(f"/{name}", device="cpu:0", **options)(predict)
    models = list(app.models.values())
    threads = [
        threading.Thread(target=lambda model=model: list(model.map(range(200)))) for model in models
    ]
    threads += [
        threading.Thread(target=lambda model=model: [model.predict(i) for i in range(50)])
        for model in models
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert [model.statistics().answered for model in models] == [250] * 3
    assert inside.most == 1


def test_models_of_two_devices_compute_at_the_same_time(app):
    both = threading.Barrier(2, timeout=PATIENCE_S)

    @app.model("/a", device="cpu:0")
    def a(x: int) -> int:
        return both.wait()

    @app.model("/b", device="cpu:1")
    def b(x: int) -> int:
        return both.wait()

    futures = [app.models[name].submit(1) for name in "ab"]
    assert sorted(future.result(PATIENCE_S) for future in futures) == [0, 1]


def test_device_is_given_in_the_order_of_arrival(app, blocked):
    order = []

    def predict(x: int) -> int:
        order.append(x)
        if x == 0:
            blocked.pass_through()
        return x

    for i in range(5):
        app.model(f"/m{i}", device="cpu:0")(predict)
    models = list(app.models.values())
    futures = [models[0].submit(0)]
    assert blocked.entered.wait(PATIENCE_S)
    for i, model in enumerate(models[1:], 1):
        futures.append(model.submit(i))
        wait_until(lambda i=i: device_named("cpu:0").waiting == i)
    blocked.opened.set()
    for future in futures:
        future.result(PATIENCE_S)
    assert order == [0, 1, 2, 3, 4]


def test_model_that_waits_for_its_device_is_busy_and_does_not_hang(app, blocked):
    @app.model("/slow", device="cpu:0")
    def slow(x: int) -> int:
        blocked.pass_through()
        return x

    @app.model("/quick", device="cpu:0")
    def quick(x: int) -> int:
        return x

    first = app.models["slow"].submit(1)
    assert blocked.entered.wait(PATIENCE_S)
    queue = app.models["quick"].queue
    late = queue.submit({"x": 2}, deadline_s=PATIENCE_S)
    wait_until(lambda: queue.statistics().computing)
    let_pass(queue, late)
    with pytest.raises(QueuedTooLongError):
        late.wait()
        late.result()
    assert not app.models["quick"].stuck
    patient = app.models["quick"].submit(3)
    blocked.opened.set()
    assert [future.result(PATIENCE_S) for future in (first, patient)] == [1, 3]
    wait_until(lambda: not queue.statistics().computing)
    assert queue.statistics().answered == 1  # what was late is not computed


@pytest.mark.parametrize("through", [None, "/between"])
def test_model_may_ask_another_model_of_its_device(app, blocked, through):
    """Although that one already waits for the device, with a prediction of another client."""

    @app.model("/detect", device="cpu:0")
    def detect(x: int) -> int:
        blocked.pass_through()
        asked = app.models["between" if through else "classify"]
        return 10 * asked.submit(x).result()

    @app.model("/between")
    def between(x: int) -> int:
        return app.models["classify"].predict(x)

    @app.model("/classify", device="cpu:0", batch=2)
    def classify(x: list[int]) -> list[int]:
        return [each + 1 for each in x]

    outer = app.models["detect"].submit(1)
    assert blocked.entered.wait(PATIENCE_S)
    other = app.models["classify"].submit(5)
    wait_until(lambda: app.models["classify"].statistics().computing)
    blocked.opened.set()
    assert outer.result(PATIENCE_S) == 20
    assert other.result(PATIENCE_S) == 6


def test_other_models_use_the_device_between_two_items_of_a_stream(app, blocked):
    @app.model("/stream", device="cpu:0")
    def stream(n: int) -> t.Iterator[int]:
        yield from range(n)

    @app.model("/other", device="cpu:0")
    def other(x: int) -> int:
        return x

    items = app.models["stream"].predict(1000)  # more than the buffer holds: it waits for a reader
    assert next(items) == 0
    assert app.models["other"].predict(7) == 7
    assert list(items) == list(range(1, 1000))


@pytest.mark.parametrize("device", ["", "cuda:0 cuda:1", 0, ["cuda:0"], b"cuda:0"])
def test_device_that_is_not_one_word_is_refused(app, device):
    with pytest.raises(ValueError, match=r"app.model\(..., device=.*\): expected one word"):
        app.model("/m", device=device)(lambda x: x)
