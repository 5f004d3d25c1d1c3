"""A `predict` that asks for predictions itself: of its own model, or of others that ask for its."""

from __future__ import annotations

import random
import threading
import typing as t

import pytest
from polling import PATIENCE_S, wait_until

from carboy import Carboy
from carboy.errors import ModelLoadError
from carboy.models.collection import Model


@pytest.fixture
def app():
    app = Carboy("nested")
    yield app
    app.models.close(PATIENCE_S)


def by_predict(model: Model, values: t.Iterable[int]) -> list[int]:
    return [model.predict(value) for value in values]


def by_submit(model: Model, values: t.Iterable[int]) -> list[int]:
    return [model.submit(value).result() for value in values]


def by_submit_all_first(model: Model, values: t.Iterable[int]) -> list[int]:
    return [future.result() for future in [model.submit(value) for value in values]]


def by_map(model: Model, values: t.Iterable[int]) -> list[int]:
    return list(model.map(values))


WAYS = [by_predict, by_submit, by_submit_all_first, by_map]


@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.parametrize("concurrency", [1, 2])
def test_model_may_ask_itself_in_a_batch(app, ask, concurrency):
    @app.model("/tree", batch=4, concurrency=concurrency)
    def tree(x: list[int]) -> list[int]:
        return [1 + sum(ask(app.models["tree"], range(each))) for each in x]

    model = app.models["tree"]
    assert model.predict(4) == 16
    assert model.submit(4).result(PATIENCE_S) == 16
    assert list(model.map([0, 1, 2, 3])) == [1, 2, 4, 8]
    assert app.test_client().post("/tree", json=4).json == 16


@pytest.mark.parametrize("ask", WAYS)
def test_model_may_ask_itself_without_a_batch(app, ask):
    @app.model("/tree")
    def tree(x: int) -> int:
        return 1 + sum(ask(app.models["tree"], range(x)))

    assert app.models["tree"].submit(4).result(PATIENCE_S) == 16
    assert app.test_client().post("/tree", json=4).json == 16


@pytest.mark.parametrize("ask", WAYS)
def test_model_may_ask_itself_through_another_one(app, ask):
    """The other model computes on its own thread, and the first waits for it."""

    @app.model("/even", batch=2)
    def even(x: list[int]) -> list[int]:
        return [each == 0 or all(ask(app.models["odd"], [each - 1])) for each in x]

    @app.model("/odd")
    def odd(x: int) -> int:
        return x != 0 and all(ask(app.models["even"], [x - 1]))

    futures = [app.models["even"].submit(x) for x in range(5)]
    assert [future.result(PATIENCE_S) for future in futures] == [True, False, True, False, True]


def test_nested_stream_is_used_as_any_other(app):
    @app.model("/tree")
    def tree(n: int) -> t.Iterator[int]:
        yield n
        if n:
            with app.models["tree"].predict(n - 1) as items:
                yield from items

    assert list(app.models["tree"].predict(3)) == [3, 2, 1, 0]
    statistics = app.models["tree"].statistics()
    assert (statistics.answered, statistics.batches, statistics.failed) == (4, 4, 0)


def test_nested_stream_fails_before_or_after_its_first_item(app):
    @app.model("/m")
    def m(n: int) -> t.Iterator[str]:
        if n == 0:
            raise ValueError("before")
        if n == 1:
            yield "first"
            raise KeyError("after")
        for each in range(2):
            try:
                yield from app.models["m"].predict(each)
            except Exception as exc:  # noqa: BLE001 - what is tested
                yield type(exc).__name__

    assert list(app.models["m"].predict(2)) == ["ValueError", "first", "KeyError"]
    statistics = app.models["m"].statistics()
    assert (statistics.answered, statistics.failed, statistics.computing) == (3, 2, 0)


def test_nested_stream_that_is_closed_runs_its_generator_no_further(app):
    ended = []

    @app.model("/m")
    def m(n: int) -> t.Iterator[int]:
        if n:
            with app.models["m"].predict(0) as items:
                yield next(items)
            yield next(items, -1)
            return
        try:
            yield from range(5)
        finally:
            ended.append(n)

    assert list(app.models["m"].predict(1)) == [0, -1]
    assert ended == [0]


def test_nested_list_of_a_stream_is_an_iterator(app):
    @app.model("/m")
    def m(n: int) -> t.Iterable[int]:
        return [n, *app.models["m"].predict(n - 1)] if n else [0]

    assert list(app.models["m"].predict(2)) == [2, 1, 0]


def test_stream_may_map_itself(app):
    @app.model("/count")
    def count(n: int) -> t.Iterator[int]:
        yield n
        for items in app.models["count"].map(range(n)):
            yield from items

    assert list(app.models["count"].submit(3).result(PATIENCE_S)) == [3, 0, 1, 0, 2, 0, 1, 0]


@pytest.mark.parametrize("ask", WAYS)
def test_failure_of_a_nested_prediction_reaches_the_outer_one(app, ask):
    @app.model("/m", batch=2)
    def m(x: list[int]) -> list[int]:
        return [ask(app.models["m"], [each - 1])[0] if each else 1 // each for each in x]

    failure = app.models["m"].submit(2).exception(PATIENCE_S)
    assert isinstance(failure, ZeroDivisionError)
    statistics = app.models["m"].statistics()
    assert (statistics.answered, statistics.failed, statistics.computing) == (3, 3, 0)


def test_callback_of_a_nested_future_runs(app):
    seen = []

    @app.model("/m", batch=2)
    def m(x: list[int]) -> list[int]:
        if 1 in x:
            app.models["m"].submit(2).add_done_callback(seen.append)
        return x

    assert app.models["m"].submit(1).result(PATIENCE_S) == 1
    assert [future.result() for future in seen] == [2]


def test_callback_of_a_future_may_ask_the_model_while_others_wait(app):
    """The only thread of the model must compute what waits, and then what the callback asks for."""
    both_asked, called = threading.Event(), threading.Event()

    @app.model("/m", deadline_s=5)
    def m(x: int) -> int:
        both_asked.wait(PATIENCE_S)
        return x

    model = app.models["m"]
    seen = []

    def ask(future):
        seen.append(model.predict(future.result() + 10))
        called.set()

    model.submit(1).add_done_callback(ask)
    second = model.submit(2)
    both_asked.set()
    assert second.result(PATIENCE_S) == 2
    assert called.wait(PATIENCE_S)
    assert seen == [11]
    assert app.test_client().post("/m", json=3).json == 3


def test_callback_of_a_future_may_read_the_stream(app):
    @app.model("/count")
    def count(n: int) -> t.Iterator[int]:
        assert begin.wait(PATIENCE_S)
        yield from range(n)

    begin, called, seen = threading.Event(), threading.Event(), []

    def read(future):
        seen.extend(future.result())
        called.set()

    future = app.models["count"].submit(3)
    future.add_done_callback(read)
    begin.set()
    assert called.wait(PATIENCE_S)
    assert seen == [0, 1, 2]
    assert list(app.models["count"].predict(2)) == [0, 1]


def test_callbacks_of_a_future_are_called_in_their_order(app):
    @app.model("/m")
    def m(x: int) -> int:
        begin.wait(PATIENCE_S)
        return x

    begin, seen, called = threading.Event(), [], threading.Event()
    future = app.models["m"].submit(1)
    for i in range(3):
        future.add_done_callback(lambda _, i=i: seen.append(i))
    future.add_done_callback(lambda _: called.set())
    begin.set()
    assert called.wait(PATIENCE_S)
    assert seen == [0, 1, 2]


# --- while models are loaded ----------------------------------------------------------------------


def load_first(app: Carboy, name: str) -> None:
    app.load_models()


def predict_first(app: Carboy, name: str) -> None:
    app.models[name].predict(1)


def submit_first(app: Carboy, name: str) -> None:
    app.models[name].submit(1).result(PATIENCE_S)


LOADS = [load_first, predict_first, submit_first]


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.parametrize("device", [None, "cpu:0"])
def test_example_may_ask_its_own_model(app, ask, load, device):
    @app.model("/tree", example=3, device=device)
    def tree(x: int) -> int:
        return 1 + sum(ask(app.models["tree"], range(x)))

    load(app, "tree")
    assert app.models["tree"].predict(4) == 16


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("ask", WAYS)
def test_example_may_ask_its_own_model_by_another_one(app, ask, load):
    """The other model asks on its own thread, while the first one waits for it."""

    @app.model("/even", example=3)
    def even(x: int) -> bool:
        return x == 0 or all(ask(app.models["odd"], [x - 1]))

    @app.model("/odd", example=2, batch=2)
    def odd(x: list[int]) -> list[bool]:
        return [each != 0 and all(ask(app.models["even"], [each - 1])) for each in x]

    load(app, "even")
    assert app.models["even"].predict(4) is True


def test_prediction_for_a_batch_that_loads_a_model_waits_until_it_is_loaded(app):
    """Not the loading has asked for it, but the `predict` for which the model is loaded."""
    loading, asked = threading.Event(), threading.Event()

    @app.model("/slow", concurrency=2)
    class Slow:
        def __init__(self) -> None:
            loading.set()
            assert asked.wait(PATIENCE_S)

        def predict(self, x: int) -> int:
            return x

    @app.model("/asks")
    def asks(x: int) -> int:
        assert loading.wait(PATIENCE_S)
        future = app.models["slow"].submit(x)
        wait_until(lambda: app.models["slow"].statistics().computing == 2)
        asked.set()
        return future.result(PATIENCE_S)

    @app.model("/both")
    def both(x: int) -> int:
        future = app.models["asks"].submit(x)
        return app.models["slow"].predict(x) + future.result(PATIENCE_S)

    assert app.models["both"].submit(2).result(PATIENCE_S) == 4


@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.parametrize("by", ["m", "other"])
def test_model_that_asks_itself_while_it_is_built_is_refused(app, ask, by):
    @app.model("/m")
    class M:
        def __init__(self) -> None:
            ask(app.models[by], [1])

        def predict(self, x: int) -> int:
            return x

    @app.model("/other", batch=2)
    def other(x: list[int]) -> list[int]:
        return ask(app.models["m"], x)

    with pytest.raises(ModelLoadError, match="'m' is asked for a prediction by its own `__init__`"):
        app.load_models()


# --- deadlocks ------------------------------------------------------------------------------------


class Ring:
    """Models that ask one another: each its next one, after all of them have begun to compute.

    Args:
        names: the models. Each computes as many predictions at once as its name occurs.
        options: the options of each model.
    """

    def __init__(
        self, app: Carboy, names: str, ask: t.Any, options: t.Mapping[str, t.Any] | None = None
    ) -> None:
        self.app, self.names, self.ask = app, names, ask
        self.all_compute = threading.Barrier(len(names), timeout=PATIENCE_S)
        for name in dict.fromkeys(names):
            more = {"concurrency": names.count(name), **((options or {}).get(name, {}))}
            app.model(f"/{name}", name=name, **more)(self.predict_of(name, batched="batch" in more))

    def predict_of(self, name: str, *, batched: bool) -> t.Any:
        order = list(dict.fromkeys(self.names))
        after = order[(order.index(name) + 1) % len(order)]

        def predict(x: int) -> int:
            if x == 0:
                return 1
            self.all_compute.wait()
            return 1 + sum(self.ask(self.app.models[after], [0]))

        def predict_batch(x: list[int]) -> list[int]:
            return [predict(each) for each in x]

        return predict_batch if batched else predict

    def turn(self) -> list[int]:
        futures = [self.app.models[name].submit(1) for name in self.names]
        return [future.result(PATIENCE_S) for future in futures]


@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.parametrize(
    ("names", "options"),
    [
        ("ab", {}),
        ("abc", {}),
        ("aab", {}),
        ("aabb", {}),
        ("ab", {"a": {"batch": 2}, "b": {"batch": 2}}),
        ("abc", {"a": {"device": "d"}, "b": {"deadline_s": PATIENCE_S}}),
    ],
)
def test_models_that_ask_one_another_do_not_wait_for_ever(app, ask, names, options):
    ring = Ring(app, names, ask, options)
    assert ring.turn() == [2] * len(names)
    assert [model.statistics().computing for model in app.models.values()] == [0] * len(app.models)


def test_models_do_not_wait_for_ever_for_a_device(app):
    """One holds the device and asks another, whose only slot waits for the device."""
    both = threading.Barrier(2, timeout=PATIENCE_S)

    @app.model("/holds", device="d")
    def holds(x: int) -> int:
        both.wait()
        return 1 + app.models["between"].submit(0).result()

    @app.model("/between")
    def between(x: int) -> int:
        if x:
            both.wait()
        return 1 + app.models["waits"].submit(0).result()

    @app.model("/waits", device="d")
    def waits(x: int) -> int:
        return 1

    futures = [app.models["holds"].submit(1), app.models["between"].submit(1)]
    assert [future.result(PATIENCE_S) for future in futures] == [3, 2]


def test_generator_may_ask_the_model_that_reads_its_items(app):
    @app.model("/reads")
    def reads(x: int) -> int:
        return sum(app.models["items"].submit(x).result()) if x else 1

    @app.model("/items")
    def items(x: int) -> t.Iterator[int]:
        yield 0
        for _ in range(x):
            yield app.models["reads"].submit(0).result()

    assert app.models["reads"].submit(3).result(PATIENCE_S) == 3


def test_prediction_waits_for_a_slot_that_another_prediction_will_free(app, blocked):
    """Nothing is computed beside a busy slot while any other slot can go on."""
    asks = threading.Barrier(2, timeout=PATIENCE_S)

    @app.model("/one")
    def one(x: int) -> int:
        if x:
            asks.wait()
            return app.models["two"].submit(0).result()
        return 1

    @app.model("/two", concurrency=2)
    def two(x: int) -> int:
        if x == 1:
            asks.wait()
            return app.models["one"].submit(0).result()
        if x == 2:
            blocked.pass_through()
        return 1

    busy = app.models["two"].submit(2)
    assert blocked.entered.wait(PATIENCE_S)
    futures = [app.models["one"].submit(1), app.models["two"].submit(1)]
    counts = [app.models["one"].statistics, app.models["two"].statistics]
    wait_until(lambda: [(each().waiting, each().computing) for each in counts] == [(1, 1), (1, 2)])
    blocked.opened.set()
    assert [future.result(PATIENCE_S) for future in (busy, *futures)] == [1, 1, 1]


def test_prediction_does_not_wait_for_one_that_leaves_a_blocked_slot_behind(app, blocked):
    """Two ask the model that waits for both: one computes although the other does not end."""

    @app.model("/one")
    def one(x: int) -> int:
        if x == 1:
            return sum(app.models["two"].map([1, 2]))
        if x == 2:
            blocked.pass_through()
        return 1

    @app.model("/two", concurrency=2)
    def two(x: int) -> int:
        if x == 1:
            return app.models["one"].submit(2).result()
        assert blocked.entered.wait(PATIENCE_S)
        return app.models["one"].submit(3).result()

    future = app.models["one"].submit(1)
    wait_until(lambda: app.models["two"].statistics().answered == 1)
    blocked.opened.set()
    assert future.result(PATIENCE_S) == 2


@pytest.mark.parametrize("seed", range(8))
def test_models_that_ask_at_random_do_not_wait_for_ever(app, seed):
    draw = random.Random(seed)
    names = [f"m{i}" for i in range(draw.randint(2, 5))]

    def single(x: tuple[int, int]) -> int:
        depth, number = x
        draw, total = random.Random(number), 1
        for _ in range(draw.choice([0, 1, 1, 2]) if depth else 0):
            asked = [(depth - 1, draw.randrange(1000)) for _ in range(draw.choice([1, 1, 2]))]
            total += sum(draw.choice(WAYS)(app.models[draw.choice(names)], asked))
        return total

    def batched(x: list[tuple[int, int]]) -> list[int]:
        return list(map(single, x))

    for name in names:
        batch, concurrency = draw.choice([1, 1, 4]), draw.choice([1, 1, 1, 2, 3])
        device = draw.choice([None, None, None, "d", "e"])
        options = {"batch": batch, "concurrency": concurrency, "device": device}
        app.model(f"/{name}", name=name, **options)(batched if batch > 1 else single)
    asked = [(draw.choice(names), (draw.randint(2, 4), draw.randrange(1000))) for _ in range(60)]
    futures = [app.models[name].submit(x) for name, x in asked]
    assert all(future.result(PATIENCE_S) for future in futures)
