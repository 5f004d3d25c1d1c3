"""What checking answers costs, in process: views and predictions with and without the check.

Both are called as a WSGI server calls them. A view returns at once, so that its time is carboy's; a
prediction also waits for the thread of its model's queue.

    python bench/answers.py [--quick] [--json FILE]
"""

from __future__ import annotations

import io
import typing as t

import msgspec
import numpy as np
from werkzeug.test import create_environ

import _measure
import _results
from carboy import Body, Carboy
from carboy.contract import answers

DISTRIBUTIONS = ("carboy", "msgspec", "numpy")


class Digit(msgspec.Struct):
    digit: int
    probabilities: list[float]


RETURNED: dict[str, tuple[t.Any, t.Any]] = {
    "number": (float, 0.5),
    "numpy": (float, np.float64(0.5)),
    "record": (Digit, Digit(3, [0.1] * 10)),
    "numbers": (list[float] | None, [n / 7 for n in range(1000)]),
    "array": (list[float] | None, np.arange(1000) / 7),
}


def make_app(*, checked: bool) -> Carboy:
    made, app = answers.make_check, Carboy("answers")
    if not checked:
        answers.make_check = lambda annotation, owner: None  # type: ignore[assignment]
    try:
        for name, (annotation, value) in RETURNED.items():
            either = returning(annotation, value)
            app.add_url_rule(f"/view/{name}", f"view_{name}", either, methods=["POST"])
            app.model(f"/model/{name}", name=f"model_{name}")(either)
    finally:
        answers.make_check = made
    return app


def returning(annotation: t.Any, value: t.Any) -> t.Callable[..., t.Any]:
    def either(n: t.Annotated[int, Body()]) -> t.Any:
        return value

    either.__annotations__["return"] = annotation
    return either


def call_of(app: Carboy, path: str) -> t.Callable[[], None]:
    environ = create_environ(path, method="POST", data=b"1", content_type="application/json")

    def start_response(status: str, headers: t.Any, exc_info: t.Any = None) -> t.Any:
        assert status == "200 OK", status

    def call() -> None:
        b"".join(app.wsgi_app({**environ, "wsgi.input": io.BytesIO(b"1")}, start_response))

    return call


def main() -> None:
    options = _measure.arguments(__doc__).parse_args()
    record = _results.Record("answers", options, *DISTRIBUTIONS, how="in process")
    apps = {"checked": make_app(checked=True), "unchecked": make_app(checked=False)}
    for place in ("view", "model"):
        for name in RETURNED:
            cases = [
                _measure.Case(key, call_of(app, f"/{place}/{name}")) for key, app in apps.items()
            ]
            row = record.row(f"{place}-{name}", f"{name}, returned by a {place}", ours="checked")
            row.add_times(_measure.measure(cases, rounds=_measure.rounds_of(options)))
    record.close()


if __name__ == "__main__":
    main()
