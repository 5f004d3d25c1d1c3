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
    parser = _measure.arguments(__doc__)
    options = parser.parse_args()
    rounds = _measure.QUICK_ROUNDS if options.quick else _measure.DEFAULT_ROUNDS
    _measure.print_machine(*DISTRIBUTIONS)
    apps = {"unchecked": make_app(checked=False), "checked": make_app(checked=True)}
    data, lines = {}, []
    for place in ("view", "model"):
        for name in RETURNED:
            path = f"/{place}/{name}"
            cases = [_measure.Case(key, call_of(app, path)) for key, app in apps.items()]
            timings = _measure.measure(cases, rounds=rounds)
            found = _measure.ratio(timings["checked"], timings["unchecked"])
            data[path] = found.median
            us = f"{timings['unchecked'].median_ns / 1000:.1f}"
            lines.append((path, us, f"{found.median:.3f}", f"{found.low:.3f} to {found.high:.3f}"))
    print(_measure.table(("returned by", "us", "x unchecked", "middle half"), lines))
    if options.json:
        _measure.report_json(options.json, data, *DISTRIBUTIONS)


if __name__ == "__main__":
    main()
