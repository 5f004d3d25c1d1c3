"""A herbarium: types on views are the contract, the document, and the page to try it out.

carboy --app app.py run          http://127.0.0.1:5000/docs
carboy --app app.py openapi      the document
carboy --app app.py postman      a collection for Postman
"""

from __future__ import annotations

import datetime as dt
import enum
import functools
import hmac
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from carboy import Blueprint, Carboy, Header, Query, Upload, abort, raises, redirect, request
from carboy.openapi import deprecated, operation

app = Carboy(__name__)
app.config.update(
    OPENAPI_INFO={
        "title": "Herbarium",
        "version": "1.0",
        "description": "Flowers that were found, and where. Writing needs a key.",
    },
    OPENAPI_SECURITY_SCHEMES={"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
    STRICT_HEADERS=True,
)
app.config.from_prefixed_env("FLOWERS")
flowers = Blueprint("flowers", __name__, url_prefix="/flowers")

Name = Annotated[str, Meta(min_length=1, max_length=40, pattern=r"^[\w -]+$", examples=["Iris"])]
Millimetres = Annotated[float, Meta(gt=0, le=1000, examples=[5.1])]
Number = Annotated[int, Meta(description="Of the flower.", examples=[1])]


class Colour(enum.Enum):
    BLUE = "blue"
    WHITE = "white"
    YELLOW = "yellow"


class Draft(Struct):
    """A flower as it is sent in."""

    name: Name
    colour: Colour
    petal_length: Millimetres
    found_on: dt.date | None = None
    tags: Annotated[list[Name], Meta(max_length=5)] = []


class Flower(Draft, kw_only=True):
    """A flower of the herbarium."""

    id: Number


class Page(Struct):
    """Some of the flowers, and how many there are."""

    total: int
    flowers: list[Flower]


class Filter(Struct):
    """What to look for."""

    colour: Colour | None = None
    name: str | None = None


class Scan(Struct):
    """What is known of an uploaded picture."""

    media_type: str
    bytes: int


_numbers = itertools.count(1)
_found: dict[int, Flower] = {}
_changing = threading.Lock()


def needs_key(view: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse requests without the key, and document that."""

    @functools.wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        sent = request.headers.get("X-API-Key", "")
        if not hmac.compare_digest(sent.encode(), app.config["KEY"].encode()):
            abort(401, "Send the key in the header X-API-Key.")
        return view(*args, **kwargs)

    return operation(security=["key"])(raises(401, description="The key is missing.")(guarded))


def find(number: int) -> Flower:
    if number not in _found:
        abort(404, f"There is no flower {number}.")
    return _found[number]


@flowers.get("/")
def search(
    wanted: Annotated[Filter, Query()],
    first: Annotated[int, Meta(ge=0, le=1_000_000)] = 0,
    count: Annotated[int, Meta(ge=1, le=100)] = 20,
) -> Page:
    """Search the herbarium.

    Args:
        first: how many to skip.
        count: how many to return at most.
    """
    hits = [
        flower
        for flower in list(_found.values())
        if wanted.colour in (None, flower.colour) and (wanted.name or "") in flower.name
    ]
    return Page(total=len(hits), flowers=hits[first : first + count])


@flowers.post("/")
@needs_key
def add(flower: Draft) -> tuple[Flower, Literal[201]]:
    """Add a flower.

    Args:
        flower: what was found.

    Example:
        {"name": "Iris", "colour": "blue", "petal_length": 5.1, "found_on": "2026-05-01"}
    """
    with _changing:
        number = next(_numbers)
        fields = {name: getattr(flower, name) for name in Draft.__struct_fields__}
        _found[number] = made = Flower(id=number, **fields)
        # A public example does not keep everything.
        while len(_found) > app.config.get("MOST_FLOWERS", 1000):
            del _found[min(_found)]
    return made, 201


@flowers.get("/<int:number>")
@raises(404, description="There is no such flower.")
def show(number: Number) -> Flower:
    """One flower."""
    return find(number)


@flowers.put("/<int:number>/scan")
@needs_key
@raises(404, description="There is no such flower.")
def scan(
    number: Number, picture: Upload, note: Annotated[str | None, Header("X-Note")] = None
) -> Scan:
    """Upload a scan of a flower.

    Args:
        picture: the scanned sheet.
        note: who scanned it.
    """
    find(number)
    return Scan(media_type=picture.media_type, bytes=picture.size)


@flowers.delete("/<int:number>")
@needs_key
@raises(404, description="There is no such flower.")
def remove(number: Number) -> tuple[str, Literal[204]]:
    """Remove a flower."""
    with _changing:
        find(number)
        del _found[number]
    return "", 204


@flowers.get("/all")
def export() -> Iterator[Flower]:
    """All flowers, one after the other."""
    yield from list(_found.values())


@app.get("/flower/<int:number>")
@deprecated
def old_show(number: Number):
    """One flower, at its old address.

    This view has no types; what it says of itself is in flasgger's style.
    ---
    tags: [flowers]
    responses:
      302:
        description: where the flower is now
        headers:
          Location: {type: string, description: the new address}
    """
    return redirect(f"/flowers/{number}")


app.config.setdefault("KEY", os.environ.get("FLOWERS_KEY", "only-for-trying"))
app.register_blueprint(flowers)
