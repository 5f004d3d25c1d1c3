"""Code that the types must reject. A `type: ignore` that suppresses nothing is an error itself."""

from __future__ import annotations

from carboy import Carboy, redirect, url_for

app = Carboy(__name__)


@app.get("/nothing")  # type: ignore[type-var]
def nothing() -> None: ...


@app.get("/object")  # type: ignore[type-var]
def nothing_of_use() -> object:
    return object()


@app.before_request  # type: ignore[type-var]
def needs_an_argument(request: str) -> None: ...


app.config = {}  # type: ignore[assignment]
redirect(404)  # type: ignore[arg-type]
url_for("number", _external="yes")  # type: ignore[arg-type]
app.run(port="5000")  # type: ignore[arg-type]
app.no_such_name()  # type: ignore[attr-defined]
