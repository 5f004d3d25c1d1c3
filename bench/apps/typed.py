"""The same typed endpoint on each framework: a record in, a record out, and a query of scalars.

Each is written as its framework's own documentation suggests, in the fastest known form; `by hand`
is
what a Flask user writes without types.
"""

from __future__ import annotations

import dataclasses
import typing as t

import msgspec

FLOWER = {
    "name": "iris versicolor",
    "sizes": [5.1, 3.5, 1.4, 0.2],
    "petals": 5,
    "wild": True,
    "origin": {"country": "CA", "year": 1998},
}


class Origin(msgspec.Struct):
    country: str
    year: int


class Flower(msgspec.Struct):
    name: str
    sizes: list[float]
    petals: int
    wild: bool
    origin: Origin


class Found(msgspec.Struct):
    q: str
    page: int
    exact: bool


@dataclasses.dataclass
class OriginData:
    country: str
    year: int


@dataclasses.dataclass
class FlowerData:
    name: str
    sizes: list[float]
    petals: int
    wild: bool
    origin: OriginData


@dataclasses.dataclass
class FoundData:
    q: str
    page: int
    exact: bool


def carboy_typed() -> t.Any:
    import carboy

    app = carboy.Carboy(__name__)

    def add(flower: Flower, dry_run: bool = False) -> Flower:
        return flower

    def find(q: str, page: int = 1, exact: bool = False) -> Found:
        return Found(q, page, exact)

    app.add_url_rule("/flowers", view_func=add, methods=["POST"])
    app.add_url_rule("/find", view_func=find)
    return app


def by_hand(web: t.Any) -> t.Any:
    """Write the views by hand, for carboy and Flask, without checks beyond the necessary ones."""
    app = web.Flask(__name__)
    request = web.request

    def add() -> t.Any:
        dry_run = request.args.get("dry_run", "") == "true"  # noqa: F841 - it is read, as elsewhere
        flower = request.get_json()
        origin = flower["origin"]
        return {
            "name": str(flower["name"]),
            "sizes": [float(size) for size in flower["sizes"]],
            "petals": int(flower["petals"]),
            "wild": bool(flower["wild"]),
            "origin": {"country": str(origin["country"]), "year": int(origin["year"])},
        }

    def find() -> t.Any:
        args = request.args
        return {
            "q": args["q"],
            "page": args.get("page", 1, type=int),
            "exact": args.get("exact") == "true",
        }

    app.add_url_rule("/flowers", view_func=add, methods=["POST"])
    app.add_url_rule("/find", view_func=find)
    return app


def fastapi() -> t.Any:
    import pydantic
    from fastapi import FastAPI

    class OriginModel(pydantic.BaseModel):
        country: str
        year: int

    class FlowerModel(pydantic.BaseModel):
        name: str
        sizes: list[float]
        petals: int
        wild: bool
        origin: OriginModel

    class FoundModel(pydantic.BaseModel):
        q: str
        page: int
        exact: bool

    app = FastAPI()

    async def add(flower, dry_run=False):  # type: ignore[no-untyped-def]
        return flower

    async def find(q, page=1, exact=False):  # type: ignore[no-untyped-def]
        return FoundModel(q=q, page=page, exact=exact)

    # Local classes, which postponed annotations could not resolve.
    add.__annotations__ = {"flower": FlowerModel, "dry_run": bool, "return": FlowerModel}
    find.__annotations__ = {"q": str, "page": int, "exact": bool, "return": FoundModel}
    app.post("/flowers")(add)
    app.get("/find")(find)
    return app


def litestar() -> t.Any:
    from litestar import Litestar, get, post

    @post("/flowers", status_code=200)
    async def add(data: Flower, dry_run: bool = False) -> Flower:
        return data

    @get("/find")
    async def find(q: str, page: int = 1, exact: bool = False) -> Found:
        return Found(q, page, exact)

    return Litestar([add, find], openapi_config=None)


def blacksheep() -> t.Any:
    from blacksheep import Application, FromJSON, FromQuery, json

    app = Application()

    async def add(data, dry_run):  # type: ignore[no-untyped-def]
        return json(dataclasses.asdict(data.value))

    async def find(q, page, exact):  # type: ignore[no-untyped-def]
        return json(dataclasses.asdict(FoundData(q.value, page.value, exact.value)))

    add.__annotations__ = {"data": FromJSON[FlowerData], "dry_run": FromQuery[bool]}
    add.__defaults__ = (FromQuery(False),)
    find.__annotations__ = {"q": FromQuery[str], "page": FromQuery[int], "exact": FromQuery[bool]}
    find.__defaults__ = (FromQuery(1), FromQuery(False))
    app.router.add_post("/flowers", add)
    app.router.add_get("/find", find)
    return app
