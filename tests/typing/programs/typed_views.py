"""Typed views, and a test that calls them."""

from __future__ import annotations

import collections.abc as cabc
import dataclasses
import typing as t

from msgspec import Meta, Struct

from carboy import Body, Carboy, Cookie, File, Form, Header, Image, Query, Upload, abort, raises
from carboy.views import MethodView

app = Carboy(__name__)


class Flower(Struct):
    length: float
    name: str = ""


@dataclasses.dataclass
class Found:
    flowers: list[Flower]


@app.post("/flowers")
def add(flower: Flower, dry_run: bool = False) -> Flower:
    return flower


t.assert_type(add(Flower(1.0)), Flower)


@app.get("/flowers")
@raises(404, description="None.")
def find(
    q: str,
    page: t.Annotated[int, Meta(ge=1), Query("p")] = 1,
    token: t.Annotated[str, Header("X-Token")] = "",
    seen: t.Annotated[int, Cookie()] = 0,
) -> Found:
    if page > 9:
        abort(404)
    return Found([Flower(1.0, q)])


@app.put("/flowers")
def put(flower: t.Annotated[Flower, Body()]) -> tuple[Flower, t.Literal[201]]:
    return flower, 201


@app.get("/all")
def everything() -> cabc.Iterator[Flower]:
    yield Flower(1.0)


@app.post("/upload")
async def upload(
    photo: Image,
    paper: t.Annotated[Upload, File("doc")],
    title: t.Annotated[str, Form()] = "",
) -> list[Found]:
    t.assert_type(photo.size, tuple[int, int])
    t.assert_type(paper.read(), bytes)
    return []


@app.delete("/flowers")
def remove() -> tuple[None, t.Literal[204]]:
    return None, 204


class Shop(MethodView):
    def get(self, page: int = 1) -> list[Flower]:
        return []

    def post(self, flower: Flower) -> Flower:
        return flower


app.add_url_rule("/shop", view_func=Shop.as_view("shop"))
app.add_url_rule("/again", view_func=add)
app.test_client().call(add, flower=Flower(1.0))
