"""What the fragments of docs/openapi.md take for granted."""

from msgspec import Struct

from carboy import Carboy

app = Carboy(__name__)


class Flower(Struct):
    name: str
