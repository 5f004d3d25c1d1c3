from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import typing as t

import msgspec
import pytest

from carboy import g, has_request_context
from carboy.contract.schemas import body_schema
from carboy.errors import SignatureError
from carboy.models.batched import item_operation
from carboy.models.collection import Model
from carboy.models.options import Options

OWNER = "Model 'm'"


class Flower(msgspec.Struct):
    width: float
    height: float = 1.0


class Area:
    """The area of each flower."""

    closed: t.ClassVar[list[object]] = []

    def predict(self, flowers: list[Flower]) -> list[float]:
        return [flower.width * flower.height for flower in flowers]

    def check(self) -> None:
        assert self.predict([Flower(2, 3)]) == [6]

    def close(self) -> None:
        self.closed.append(self)


@pytest.fixture
def area(app) -> Model:
    app.model("/area", batch=8, wait_ms="auto")(Area)
    return app.models["area"]


def test_interface_is_that_of_one_prediction(area):
    (parameter,) = area.interface.parameters
    assert (parameter.name, parameter.annotation, area.answers.item) == (
        "flowers",
        Flower,
        float,
    )
    assert area.metadata()["output"] == {"type": "number"}
    assert area.metadata()["batch"] == 8


def test_request_to_a_batched_model_is_one_prediction(app, area):
    client = app.test_client()
    assert client.post("/area", json={"width": 2, "height": 3}).json == 6
    assert client.post("/area", data={"width": "4"}).json == 4
    refused = client.post("/area", json={"height": 3})
    assert (refused.status_code, refused.json["errors"][0]["path"]) == (422, "$")


def test_predict_submit_and_map_without_a_server(area):
    flowers = [Flower(i, 2) for i in range(50)]
    assert area.predict(flowers[3]) == 6
    assert area.predict(flowers=flowers[3]) == 6
    assert area.submit(flowers[3]).result(10) == 6
    assert list(area.map(flowers)) == [2 * i for i in range(50)]
    assert list(area.map(iter(flowers))) == [2 * i for i in range(50)]
    assert area.statistics().answered == 103


def test_futures_are_those_of_the_standard_library(area):
    futures = [area.submit(Flower(i)) for i in range(20)]
    assert sorted(f.result() for f in concurrent.futures.as_completed(futures, 10)) == list(
        range(20)
    )

    async def ask() -> float:
        return await asyncio.wrap_future(area.submit(Flower(3)))

    assert asyncio.run(ask()) == 3
    assert isinstance(area.submit("no flower").exception(10), AttributeError)


def test_several_parameters_are_several_lists():
    def scale(values: list[float], factors: list[float]) -> list[float]:
        return [value * factor for value, factor in zip(values, factors, strict=True)]

    model = Model("scale", "/scale", scale, Options(batch=4))
    assert model.predict(2, 3) == 6
    assert list(model.map([{"values": i, "factors": 2} for i in range(9)])) == [
        2 * i for i in range(9)
    ]
    with pytest.raises(TypeError, match=r"takes 2 values \(values, factors\): give a dict"):
        list(model.map([1]))


def test_rows_of_an_array_are_results(app):
    numpy = pytest.importorskip("numpy")

    @app.model("/double", batch=4)
    def double(xs: list[list[float]]):
        return numpy.asarray(xs) * 2

    assert app.test_client().post("/double", json=[1, 2]).json == [2, 4]


def test_single_prediction_sees_its_request_and_a_batch_does_not(app):
    @app.before_request
    def before() -> None:
        g.factor = 3

    @app.model("/one")
    def one(x: int) -> int:
        return x * g.factor

    @app.model("/many", batch=2)
    def many(xs: list[int]) -> list[bool]:
        return [g.factor for _ in xs]

    client = app.test_client()
    assert client.post("/one", json=2).json == 6
    with pytest.raises(RuntimeError, match="application context"):
        client.post("/many", json=2)


def test_check_and_close_reach_the_model(area):
    Area.closed.clear()
    area.check()
    assert area.loaded
    assert area.close(10)
    assert (len(Area.closed), area.loaded, area.stuck) == (1, False, False)
    assert area.predict(Flower(2)) == 2


def test_check_loads_a_model_without_a_check():
    def f(x: int) -> int:
        return x

    model = Model("f", "/f", f)
    model.check()
    assert model.loaded


def no_list(x: int) -> list[int]: ...
def two_kinds(xs: dict[str, int]) -> list[int]: ...
def a_default(xs: list[int], top: list[int] = []) -> list[int]: ...  # noqa: B006


@pytest.mark.parametrize(
    ("predict", "says"),
    [
        (no_list, r"'x' is int. Write `x: list\[...\]`"),
        (two_kinds, "'xs' is dict"),
        (a_default, "'top' is a list with one entry per request, so it cannot have a default"),
    ],
)
def test_batched_predict_without_lists_is_refused(predict, says):
    with pytest.raises(SignatureError, match=says):
        item_operation(predict, owner=OWNER)


def test_types_inside_a_factory_and_limits_on_entries_are_kept():
    @dataclasses.dataclass
    class Row:
        n: t.Annotated[int, msgspec.Meta(ge=0)]

    def predict(
        rows: t.Annotated[t.Sequence[Row], "anything"],
        shares: list[t.Annotated[float, msgspec.Meta(le=1)]],
    ) -> list[Row]: ...

    interface = item_operation(predict, owner=OWNER).body
    assert [p.name for p in interface.parameters] == ["rows", "shares"]
    assert interface.parameters[0].annotation is Row
    assert body_schema(interface)["properties"]["shares"] == {"type": "number", "maximum": 1}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch": 0}, "batch=0.*whole number, at least 1"),
        ({"batch": 1.5}, "batch=1.5"),
        ({"queue": 0}, "queue=0"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"wait_ms": -1}, "wait_ms=-1"),
        ({"wait_ms": "often"}, "wait_ms='often'.*'auto'"),
        ({"deadline_s": 0}, "deadline_s=0.*None"),
        ({"deadline_s": float("nan")}, "deadline_s=nan"),
        ({"wait_ms": 2000, "deadline_s": 2}, "wait_ms=2000, deadline_s=2.*never be computed"),
        ({"wait_ms": 3000, "deadline_s": 2}, "wait_ms=3000"),
        ({"name": ""}, "the name ''"),
        ({"retry": "yes"}, "retry='yes'.*True or False"),
        ({"example": Flower(1), "examples": {"Example": Flower(2)}}, "another title"),
    ],
)
def test_invalid_options_are_refused(app, options, says):
    with pytest.raises(ValueError, match=says):
        app.model("/m", **{"batch": 8, **options})(Area)


@pytest.mark.parametrize(
    "options",
    [
        {"batch": 8, "queue": 4},
        {"batch": 1, "wait_ms": 60_000, "deadline_s": 20},
        {"batch": 1, "wait_ms": "auto"},
        {"retry": 1},
        {"batch": 8, "wait_ms": 3000, "deadline_s": None},
        {"batch": 8, "wait_ms": "auto", "deadline_s": 0.001},
        {"examples": {"Example": 1}},
    ],
)
def test_options_at_the_limits_are_accepted(app, options):
    def same(x: int) -> int:
        return x

    def same_batch(x: list[int]) -> list[int]:
        return x

    app.model("/m", **options)(same_batch if options.get("batch", 1) > 1 else same)


@pytest.mark.parametrize(
    "options", [{"wait_ms": 60_000, "deadline_s": 20}, {"wait_ms": "auto"}], ids=["time", "auto"]
)
def test_nothing_waits_with_a_batch_size_of_one(app, options):
    """As an app has it whose batch size comes from its environment."""

    @app.model("/m", batch=1, **options)
    def same(x: int) -> int:
        return x

    response = app.test_client().post("/m", json=3)
    assert (response.status_code, response.json) == (200, 3)


def test_batch_has_no_more_predictions_than_the_queue(app):
    @app.model("/m", batch=8, queue=2, deadline_s=None)
    def m(x: list[int]) -> list[int]:
        sizes.append(len(x))
        return x

    sizes = []
    assert list(app.models["m"].map(range(10))) == list(range(10))
    assert max(sizes) <= 2


@pytest.mark.parametrize("deadline_s", [None, 30])
def test_batch_sees_the_request_of_none_of_its_callers(app, deadline_s):
    @app.model("/m", batch=2, deadline_s=deadline_s)
    def m(x: list[int]) -> list[bool]:
        return [has_request_context() for _ in x]

    @app.get("/asks")
    def asks() -> list[bool]:
        model = app.models["m"]
        return [model.predict(1), model.submit(1).result(), *model.map([1, 2])]

    app.load_models()
    assert app.test_client().get("/asks").json == [False] * 4
    assert app.test_client().post("/m", json=1).json is False


def test_queue_has_room_for_a_thousand_or_eight_batches():
    assert (
        Options().queue_items,
        Options(batch=512).queue_items,
        Options(queue=7).queue_items,
    ) == (
        1024,
        4096,
        7,
    )
