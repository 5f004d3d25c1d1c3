"""A `predict` that changes its inputs in place makes no result of the same batch wrong.

A batch of four fails because of its third input and is computed again in parts. The results of the
others are those of the inputs that were sent.
"""

from __future__ import annotations

import functools
import io
import json
import threading
import typing as t
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import pandas as pd
import pytest
from PIL import Image as Pillow
from polling import PATIENCE_S
from stage import Stage, post

from carboy import Carboy, Image
from carboy.models import DataFrame
from carboy.serving import predictions

#: A batch leaves when it is full, which all tests wait for.
FULL: t.Final = {"batch": 4, "wait_ms": PATIENCE_S * 1000, "deadline_s": None}
BAD = 13
SENT = (1, 2, BAD, 4)
#: `predict` doubles its input in place and returns it; where it was computed again, 2 stays 4.
WANTED: t.Final = [2, 4, None, 8]


class Item(msgspec.Struct):
    x: int


def refuse(values: t.Iterable[int]) -> None:
    if 2 * BAD in values:
        raise ValueError("thirteen")


def records(item: list[Item]) -> list[int]:
    for each in item:
        each.x *= 2
    refuse(each.x for each in item)
    return [each.x for each in item]


def lists(xs: list[list[int]]) -> list[int]:
    for each in xs:
        each[0] *= 2
    refuse(each[0] for each in xs)
    return [each[0] for each in xs]


def dicts(fields: list[dict[str, int]]) -> list[int]:
    for each in fields:
        each["x"] *= 2
    refuse(each["x"] for each in fields)
    return [each["x"] for each in fields]


def frames(rows: list[DataFrame]) -> list[int]:
    for each in rows:
        each["x"] *= 2
    refuse(int(each["x"].iloc[0]) for each in rows)
    return [int(each["x"].iloc[0]) for each in rows]


def joined(rows: DataFrame) -> list[int]:
    rows["x"] *= 2
    refuse(rows["x"].tolist())
    return t.cast("list[int]", rows["x"].tolist())


def images(picture: list[Image]) -> list[int]:
    for each in picture:
        each.paste(tuple(2 * value for value in each.getpixel((0, 0))), (0, 0, 1, 1))
    refuse(each.getpixel((0, 0))[0] for each in picture)
    return [each.getpixel((0, 0))[0] for each in picture]


def picture(x: int) -> t.Any:
    return Pillow.new("RGB", (1, 1), (x, x, x))


def png(x: int) -> bytes:
    file = io.BytesIO()
    picture(x).save(file, "PNG")
    return file.getvalue()


def form(x: int) -> bytes:
    head = b"Content-Disposition: form-data; name=picture; filename=a.png"
    return b"--b\r\n%b\r\n\r\n%b\r\n--b--\r\n" % (head, png(x))


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


class Way(t.NamedTuple):
    """A model, and how one number is passed to it: as a Python value and as a body."""

    predict: t.Callable[..., t.Any]
    value: t.Callable[[int], t.Any]
    body: t.Callable[[int], bytes]
    media_type: str = "application/json"


def other_columns(x: int) -> dict[str, list[int]]:
    """Tables that cannot be joined: each is passed to `predict` as it is."""
    return {"x": [x], f"other{x}": [0]}


WAYS = {
    "records": Way(records, Item, lambda x: as_json({"x": x})),
    "lists": Way(lists, lambda x: [x], lambda x: as_json([x])),
    "dicts": Way(dicts, lambda x: {"x": x}, lambda x: as_json({"x": x})),
    "tables": Way(frames, lambda x: pd.DataFrame({"x": [x]}), lambda x: as_json([{"x": x}])),
    "rows": Way(joined, lambda x: pd.DataFrame({"x": [x]}), lambda x: as_json([{"x": x}])),
    "rows of other columns": Way(
        joined,
        lambda x: pd.DataFrame(other_columns(x)),
        lambda x: as_json([{"x": x, f"other{x}": 0}]),
    ),
    "pictures": Way(images, picture, png, "image/png"),
    "pictures in a form": Way(images, picture, form, "multipart/form-data; boundary=b"),
}


def result_of(value: t.Any) -> int | None:
    return int(np.asarray(value).item()) if not isinstance(value, BaseException) else None


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def way(request):
    return request.param


@pytest.fixture
def app(way):
    app = Carboy("changed")
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.model("/m", **FULL)(way.predict)
    yield app
    app.models.close(PATIENCE_S)


def test_submitted_values(app, way):
    futures = [app.models["m"].submit(way.value(x)) for x in SENT]
    failures = [future.exception(PATIENCE_S) for future in futures]
    found = [f or future.result() for f, future in zip(failures, futures, strict=True)]
    assert list(map(result_of, found)) == WANTED


def test_mapped_values(app, way):
    values = [way.value(x) for x in SENT * 2]
    found = app.models["m"].map(values, errors="return")
    assert list(map(result_of, found)) == WANTED * 2


def test_requests_that_wait_on_a_thread_each(app, way):
    def ask(x: int) -> t.Any:
        response = app.test_client().post("/m", data=way.body(x), content_type=way.media_type)
        return ValueError() if response.status_code == 500 else response.json

    with ThreadPoolExecutor(len(SENT)) as threads:
        assert list(map(result_of, threads.map(ask, SENT))) == WANTED


def test_requests_that_wait_without_a_thread(app, way):
    with Stage() as stage:
        stage.serve(app, routes=functools.partial(predictions.routes, app))
        clients = [stage.connect() for _ in SENT]
        for client, x in zip(clients, SENT, strict=True):
            client.send(post(way.body(x), "/m", [("content-type", way.media_type)]))
        answers = [client.answer() for client in clients]
    found = [ValueError() if a.status == 500 else json.loads(a.body) for a in answers]
    assert list(map(result_of, found)) == WANTED


class Locked:
    """Cannot be copied."""

    def __init__(self, x: int) -> None:
        self.x = x
        self.lock = threading.Lock()


def test_values_that_cannot_be_copied_fail_with_their_batch_and_say_why():
    app = Carboy("locked")

    @app.model("/m", **FULL)
    def m(value: list[t.Any]) -> list[int]:
        for each in value:
            if isinstance(each, Locked):
                each.x *= 2
        refuse(each.x if isinstance(each, Locked) else each for each in value)
        return [each.x if isinstance(each, Locked) else each for each in value]

    model = app.models["m"]
    futures = [model.submit(value) for value in (1, Locked(2), Locked(BAD), 4)]
    assert futures[0].result(PATIENCE_S) == 1
    assert futures[3].result(PATIENCE_S) == 4
    for future in futures[1:3]:
        failure = future.exception(PATIENCE_S)
        assert isinstance(failure, ValueError)
        (note,) = failure.__notes__
        assert "predict may have changed them" in note
        assert "cannot pickle '_thread.lock' object" in note


@pytest.mark.parametrize("batch", [1, 4])
def test_example_is_decoded_for_each_place_in_a_batch(batch):
    app = Carboy("example")

    class Ratio:
        def predict(self, rows: DataFrame) -> list[float]:
            rows.insert(0, "ratio", rows.price / rows.n)
            return t.cast("list[float]", rows.ratio.tolist())

    app.model("/ratio", batch=batch, example=[{"price": 10.0, "n": 2}])(Ratio)
    app.load_models()
    app.models.close()
    app.load_models()
    assert app.models["ratio"].loaded


def test_example_of_a_list_is_the_same_for_each_place():
    seen = []
    app = Carboy("example")

    @app.model("/m", batch=3, example=[1, 2])
    def m(xs: list[list[int]]) -> list[int]:
        seen.append([x.pop() for x in xs])
        return [0] * len(xs)

    app.load_models()
    assert seen == [[2], [2, 2, 2]]
