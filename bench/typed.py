"""A typed endpoint, in process: carboy, the same by hand, and frameworks based on types.

Two requests: POST of a record that is returned (with a boolean in the query), and GET of three
scalars.
carboy and Flask are called as a WSGI server calls them; FastAPI, Litestar and BlackSheep are called
by
their ASGI callable on one event loop without a server (_asgi.py), 20 requests per entry into the
loop. All
times are of whole requests, including the harness, which takes less than a microsecond.

    python bench/typed.py [--quick] [--json FILE]
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import json
import typing as t

import _asgi
import _measure
import _wsgi
from apps import shapes, typed

DISTRIBUTIONS = ("carboy", "flask", "fastapi", "pydantic", "litestar", "blacksheep", "msgspec")
PER_CALL = 20
BODY = json.dumps(typed.FLOWER).encode()
QUERY = "q=iris&page=3&exact=true"
FOUND = {"q": "iris", "page": 3, "exact": True}
# (peer, the largest share of its time that carboy may take)
TARGETS = {"by hand": 1.0, "fastapi": 1 / 8}


def wsgi_calls(app: t.Any, name: str) -> dict[str, t.Callable[[], None]]:
    found = {}
    for key, method, path, query, body, expected in (
        ("post", "POST", "/flowers", "", BODY, typed.FLOWER),
        ("query", "GET", "/find", QUERY, b"", FOUND),
    ):
        shape = shapes.Shape(key, key, path, "application/json", bool, None, method, body,
                             "application/json" if body else "")  # fmt: skip
        environ = {**_wsgi.environ_for(shape), "QUERY_STRING": query}
        answer = _wsgi.ask(app, environ, body)
        check(name, int(answer.status[:3]), answer.body, expected)
        one = _wsgi.caller(app, environ, body)
        found[key] = in_turn(one)
    return found


def asgi_calls(app: t.Any, name: str, loop: t.Any) -> dict[str, t.Callable[[], None]]:
    _asgi.start(app, loop)
    found = {}
    for key, method, path, query, body, expected in (
        ("post", "POST", "/flowers", "", BODY, typed.FLOWER),
        ("query", "GET", "/find", QUERY, b"", FOUND),
    ):
        caller = _asgi.Caller(app, loop, method=method, path=path, query=query.encode(), body=body)
        status, _, data = caller.ask()
        check(name, status, data, expected)
        found[key] = caller.many(PER_CALL)
    return found


def check(name: str, status: int, body: bytes, expected: object) -> None:
    if status != 200 or json.loads(body) != expected:
        raise SystemExit(f"{name}: expected {expected}, got {status} {body[:300]!r}")


def in_turn(one: t.Callable[[], object]) -> t.Callable[[], None]:
    def call() -> None:
        for _ in range(PER_CALL):
            one()

    return call


def peers(loop: t.Any) -> dict[str, dict[str, t.Callable[[], None]]]:
    carboy = importlib.import_module("carboy")
    found = {
        "carboy": wsgi_calls(typed.carboy_typed(), "carboy"),
        "by hand": wsgi_calls(typed.by_hand(carboy), "carboy by hand"),
    }
    makers: dict[str, t.Any] = {
        "flask": lambda: wsgi_calls(typed.by_hand(importlib.import_module("flask")), "flask"),
        "fastapi": lambda: asgi_calls(typed.fastapi(), "fastapi", loop),
        "litestar": lambda: asgi_calls(typed.litestar(), "litestar", loop),
        "blacksheep": lambda: asgi_calls(typed.blacksheep(), "blacksheep", loop),
    }
    for name, make in makers.items():
        try:
            found[name] = make()
        except ImportError as error:
            print(f"left out: {name} ({error})")
    return found


def main() -> None:
    parser = _measure.arguments(__doc__)
    options = parser.parse_args()
    rounds = _measure.QUICK_ROUNDS if options.quick else _measure.DEFAULT_ROUNDS
    _measure.print_machine(*DISTRIBUTIONS)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    found = peers(loop)
    data = []
    for key, title in (("post", "record in, record out"), ("query", "three scalars")):
        cases = [_measure.Case(name, calls[key]) for name, calls in found.items()]
        timings = _measure.measure(cases, rounds=rounds)
        lines = []
        for name, timing in timings.items():
            ratio = _measure.ratio(timings["carboy"], timing)
            target = TARGETS.get(name)
            verdict = "" if target is None else "pass" if ratio.median <= target else "MISS"
            lines.append((
                name,
                f"{timing.median_ns / PER_CALL / 1000:.2f}",
                f"{1 / ratio.median:.2f}",
                f"{1 / ratio.high:.2f}-{1 / ratio.low:.2f}",
                f">= {1 / target:g}" if target else "-",
                verdict,
            ))  # fmt: skip
            data.append({
                "key": key,
                "peer": name,
                "us": round(timing.median_ns / PER_CALL / 1000, 3),
                "ratio": dataclasses.asdict(ratio),
                "verdict": verdict,
            })  # fmt: skip
        print()
        print(_measure.table((title, "us", "x carboy", "middle half", "target", ""), lines))
    if options.json:
        _measure.report_json(options.json, data, *DISTRIBUTIONS)


if __name__ == "__main__":
    main()
