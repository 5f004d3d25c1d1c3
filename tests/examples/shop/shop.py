"""The app of the commands in the documentation: `carboy serve shop:app`."""

from __future__ import annotations

from carboy import Carboy

app = Carboy(__name__)
app.config.from_project()


@app.get("/")
def index() -> str:
    return "a shop"


@app.model("/digits", batch=8)
def digits(length: list[float]) -> list[float]:
    return length
