"""A typed endpoint, in process: carboy, the same by hand, and frameworks based on types.

Two requests: POST of a record that is returned (with a boolean in the query), and GET of three
scalars. carboy and Flask are called as a WSGI server calls them; FastAPI, Litestar and BlackSheep
by their ASGI callable, on one event loop without a server (_asgi.py), 20 requests per entry into
the loop.
All times are of whole requests, including the harness, which takes less than a microsecond.

    python bench/typed.py [--quick] [--json FILE]
"""

from __future__ import annotations

import asyncio
import importlib
import json
import typing as t

import _asgi
import _measure
import _results
import _wsgi
from apps import shapes, typed

DISTRIBUTIONS = ("carboy", "flask", "fastapi", "pydantic", "litestar", "blacksheep", "msgspec")
PER_CALL = 20
BODY = json.dumps(typed.FLOWER).encode()
QUERY = "q=iris&page=3&exact=true"
FOUND = {"q": "iris", "page": 3, "exact": True}
# (peer, the largest share of its time that carboy may take)
TARGETS = {"carboy by hand": 1.0, "FastAPI": 1 / 8}


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


def peers(record: _results.Record, loop: t.Any) -> dict[str, dict[str, t.Callable[[], None]]]:
    carboy = importlib.import_module("carboy")
    found = {
        "carboy": wsgi_calls(typed.carboy_typed(), "carboy"),
        "carboy by hand": wsgi_calls(typed.by_hand(carboy), "carboy by hand"),
    }
    makers: dict[str, t.Any] = {
        "Flask by hand": lambda: wsgi_calls(
            typed.by_hand(importlib.import_module("flask")), "Flask"
        ),
        "FastAPI": lambda: asgi_calls(typed.fastapi(), "FastAPI", loop),
        "Litestar": lambda: asgi_calls(typed.litestar(), "Litestar", loop),
        "BlackSheep": lambda: asgi_calls(typed.blacksheep(), "BlackSheep", loop),
    }
    for name, make in makers.items():
        try:
            found[name] = make()
        except ImportError as error:
            record.leave_out(name, str(error))
    return found


def main() -> None:
    options = _measure.arguments(__doc__).parse_args()
    record = _results.Record("typed", options, *DISTRIBUTIONS, how="in process, one thread")
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    found = peers(record, loop)
    for key, title in (("post", "record in, record out"), ("query", "three scalars")):
        cases = [_measure.Case(name, calls[key]) for name, calls in found.items()]
        targets = [
            _results.Target("us", "carboy", name, "most", limit) for name, limit in TARGETS.items()
        ]
        row = record.row(key, title, targets=targets)
        row.add_times(_measure.measure(cases, rounds=_measure.rounds_of(options)), calls=PER_CALL)
    record.close()


if __name__ == "__main__":
    main()
