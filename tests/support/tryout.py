"""Models with each kind of input and result, for the tests of their pages."""

from __future__ import annotations

import enum
import time
import typing as t

import msgspec
import PIL.ImageOps
from msgspec import Meta

from carboy import Blueprint, Carboy
from carboy.contract.values.kind import ValueKind
from carboy.contract.values.registry import register
from carboy.contract.values.tables import DataFrame
from carboy.contract.values.tensor import Tensor
from carboy.models import Image, InputError

HOSTILE = "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>"

app = Carboy(__name__)


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"
    BLUE = "blue"


class Garden(msgspec.Struct):
    """Where it grew."""

    altitude: t.Annotated[float, Meta(ge=0, le=4000, description="Metres above the sea.")]
    soil: t.Literal["chalk", "clay", "loam", "peat", "sand", "silt"]
    watered: bool = True


class Flower(msgspec.Struct):
    """The measures of one flower."""

    length: t.Annotated[float, Meta(ge=0, le=10, description="Centimetres.")]
    petals: t.Annotated[int, Meta(ge=3, le=12)]
    weight: float
    colour: Colour
    garden: Garden
    note: str | None = None
    tags: list[str] = []
    fresh: bool = False


EXAMPLE = Flower(
    5.1, 5, 1.25, Colour.BLUE, Garden(400, "loam"), note='O\'Brien said "hi"\n$HOME `x`'
)


@app.model("/iris", batch=4, example=EXAMPLE)
class Iris:
    """Which iris is it?

    Gives how likely each of three species is.
    """

    def predict(self, flower: list[Flower]) -> list[dict[str, float]]:
        return [self.one(each) for each in flower]

    def one(self, flower: Flower) -> t.Any:
        if flower.garden.altitude > 3000:
            return InputError.at("$.garden.altitude", expected="a garden below the snow", got="ice")
        return {"setosa": 0.02, "versicolor": 0.91, "virginica": 0.07}


@app.model("/echo")
def echo(
    text: str,
    times: int = 1,
    language: t.Literal["de", "en"] = "en",
    strength: t.Annotated[float, Meta(ge=0, le=1)] = 0.5,
    seed: int | None = None,
) -> dict[str, t.Any]:
    """What came in."""
    return {"text": text, "times": times, "language": language, "strength": strength, "seed": seed}


@app.model("/size")
def size(image: Image) -> dict[str, t.Any]:
    """How large is the picture?"""
    dark = sum(1 for value in image.convert("L").tobytes() if value < 128)
    return {"width": image.width, "height": image.height, "dark": dark}


@app.model("/invert")
def invert(picture: Image) -> Image:
    """The picture in other colours."""
    return PIL.ImageOps.invert(picture.convert("RGB"))


class Entry(msgspec.Struct):
    title: str
    photo: Image | None = None


@app.model("/entry")
def entry(entry: Entry) -> dict[str, t.Any]:
    """A picture in a record."""
    return {"title": entry.title, "width": entry.photo.width if entry.photo else None}


@app.model("/crop")
def crop(
    image: Image, side: int, note: str | None = None, weights: list[float] | None = None
) -> t.Any:
    """A picture and more."""
    return {"width": image.width, "side": side, "note": note, "weights": weights}


Pixels = t.Annotated[list[t.Annotated[float, Meta(ge=0, le=16)]], Meta(min_length=4, max_length=4)]


class Seen(msgspec.Struct):
    label: str
    probabilities: list[float]
    labels: list[str]


@app.model("/either")
def either(image: Image | Pixels) -> Seen:
    """A picture, or its pixels."""
    return Seen("pixels" if isinstance(image, list) else "a picture", [0.25, 0.75], ["no", "yes"])


@app.model("/large", examples={"Large": [2**60 + 1], "Small": [7]})
def large(numbers: list[int]) -> dict[str, t.Any]:
    return {"label": str(sum(numbers)), "sum": sum(numbers), "rows": numbers}


@app.model("/whole")
def whole(x: int, note: str = "") -> int:
    return x


@app.model("/maybe")
def maybe(x: Image | list[float] | None) -> str:
    return type(x).__name__


@app.model("/total")
def total(numbers: list[float]) -> float:
    """The sum."""
    return sum(numbers)


@app.model("/count")
def count(anything: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """A row for each key."""
    return [
        {"name": key, "value": value, "rank": i} for i, (key, value) in enumerate(anything.items())
    ]


@app.model("/many")
def many(n: int) -> list[dict[str, int]]:
    """Many rows."""
    return [{"row": i, "square": i * i} for i in range(n)]


@app.model("/matrix")
def matrix(n: int) -> list[list[float]]:
    """A matrix."""
    return [[float(i * n + j) for j in range(n)] for i in range(n)]


def hostile(text: str = HOSTILE) -> dict[str, t.Any]:
    return {"label": HOSTILE, "probabilities": {HOSTILE: 0.9, "fine": 0.1}, HOSTILE: text}


hostile.__doc__ = f"{HOSTILE}\n\n</script>{HOSTILE}"
app.model("/hostile")(hostile)


class Row(msgspec.Struct):
    name: str
    weight: float
    amount: int = 1


@app.model("/orders")
def orders(rows: DataFrame[Row]) -> DataFrame:
    """What each line of an order weighs."""
    rows["total"] = rows["weight"] * rows["amount"]
    return rows


Channels = Tensor["float32", 3, "h", "w"]
Means = Tensor["float32", "c"]
Square = Tensor["float64", "n", "n"]


@app.model("/means")
def means(pixels: Channels) -> Means:
    """The mean of each channel."""
    return pixels.mean(axis=(1, 2))


@app.model("/same")
def same(values: Square) -> Square:
    """The same matrix."""
    return values


@app.model("/made")
def made(
    mask: Tensor["bool", "a", "b"],
    half: Tensor["float16", "c", "d"],
    amounts: Tensor["int64", "e", "f"],
) -> dict[str, list[float]]:
    """The least and the most of each tensor."""
    given = {"mask": mask, "half": half, "amounts": amounts}
    return {name: [float(each.min()), float(each.max())] for name, each in given.items()}


@app.model("/texts", examples={"Lines": ["a\nb", "", "c"], "Plain": ["a", "[b]"]})
def texts(texts: list[str]) -> dict[str, list[str]]:
    """The same texts."""
    return {"texts": texts}


@app.model("/upper")
def upper(data: bytes) -> bytes:
    """The same bytes, in capitals."""
    return data.upper()


class Note:
    """A value of a kind that carboy does not know: text that begins with `NOTE`."""

    def __init__(self, text: str) -> None:
        self.text = text


@register
class NoteKind(ValueKind):
    name = "note"
    classes = ((__name__.partition(".")[0], "Note"),)
    media_types = ("application/x-note",)

    def read(self, data: bytes, *, media_type: str = "", path: str = "$") -> Note:
        if not data.startswith(b"NOTE"):
            raise InputError.at(path, expected="a note", got="another file")
        return Note(data[4:].decode())

    @classmethod
    def write(cls, value: Note, media_type: str) -> bytes:
        return b"NOTE" + value.text.encode()


@app.model("/note")
def note(note: Note) -> Note:
    """A kind of value of an app's own."""
    return Note(note.text.upper())


@app.model("/noted")
def noted(note: Note, times: int = 1) -> dict[str, t.Any]:
    """Such a value beside another."""
    return {"text": note.text * times}


class Own(msgspec.Struct):
    own: int = 0
    other: int = 0


@app.model("/own", example={"own": 7})
def own(own: Own) -> Own:
    """A record that has a field with the parameter's name."""
    return own


@app.model("/tell", concurrency=4)
def tell(prompt: t.Annotated[str, Meta(examples=["Tell me"])], parts: int = 5) -> t.Iterator[str]:
    """A text, part by part."""
    yield f"{prompt}: "
    for i in range(parts):
        if parts > 1000:
            time.sleep(0.02)
        if parts == 13 and i == 12:
            raise InputError("Thirteen is too many.")
        yield f"{HOSTILE}{i} "


@app.model("/bare")
def bare(text: str) -> str:
    """Markup as an answer."""
    return HOSTILE


@app.model("/fail")
def fail(text: str) -> str:
    """Fails."""
    raise RuntimeError("a secret of the inside")


shop = Blueprint("shop", __name__, url_prefix="/shop")


@shop.model("/price/", name="price")
def price(pounds: float) -> float:
    """In a blueprint, with a slash at its end."""
    return pounds * 2


app.register_blueprint(shop)
