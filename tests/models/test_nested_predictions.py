"""A `predict` that asks for predictions itself: of its own model, directly or through another."""

from __future__ import annotations

import typing as t

import pytest
from polling import PATIENCE_S

from carboy import Carboy
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
