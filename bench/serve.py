"""Requests per second over real servers: `carboy serve`, and its peers on their usual servers.

All servers run at once, with the same numbers of workers and threads; each request is sent to all
of them in interleaved rounds by wrk on the loopback. Server and client share this machine's cores,
so only ratios are meaningful. Responses are checked before they are counted.

At the end, carboy and plain granian share one core with the client, as in a small container. What
counts there is the CPU time per request, and that a number of threads costs nothing.

    python bench/serve.py [--quick] [--json FILE] [--only KEY ...] [--servers NAME ...]
"""

from __future__ import annotations

import dataclasses
import http.client
import importlib.util
import os
import statistics

import _baseline
import _client
import _measure
import _servers
import _wsgi
from apps import shapes

DISTRIBUTIONS = ("carboy", "granian", "flask", "gunicorn", "gunicorn_h1c", "falcon", "fastapi",
                 "pydantic", "blacksheep", "uvicorn", "uvloop", "httptools", "robyn")  # fmt: skip
SERVED_TARGET = 0.85
BARE, OURS = "bare WSGI on granian", "carboy serve"


@dataclasses.dataclass(frozen=True)
class Served:
    """The results of one server for one request, a value per round."""

    loads: list[_client.Load]

    @property
    def requests_per_s(self) -> float:
        return statistics.median(load.requests_per_s for load in self.loads)

    @property
    def p50_ms(self) -> float:
        return statistics.median(load.p50_ms for load in self.loads)

    @property
    def p99_ms(self) -> float:
        return statistics.median(load.p99_ms for load in self.loads)

    @property
    def errors(self) -> int:
        return sum(load.errors for load in self.loads)


def times(one: Served, other: Served) -> float:
    """Return how many times the throughput of `other` that of `one` is, within the rounds."""
    return statistics.median(
        mine.requests_per_s / max(theirs.requests_per_s, 1e-9)
        for mine, theirs in zip(one.loads, other.loads, strict=True)
    )


def ask(port: int, shape: shapes.Shape, cookie: str | None) -> _wsgi.Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = _client.request_headers(shape, cookie)
    connection.request(shape.method, shape.path, shape.body or None, headers)
    got = connection.getresponse()
    answer = _wsgi.Answer(f"{got.status} {got.reason}", got.getheaders(), got.read())
    connection.close()
    return answer


def prepare(servers: dict[str, _servers.Server], shape: shapes.Shape) -> dict[str, str | None]:
    """Log in if the request needs it, check every server's response, and return the cookies."""
    cookies: dict[str, str | None] = {}
    for name, server in servers.items():
        cookie = None
        if shape.login and name != BARE:
            welcome = ask(server.port, dataclasses.replace(shape, path="/login"), None)
            cookie = (welcome.header("Set-Cookie") or "").partition(";")[0]
        _wsgi.check(name, shape, ask(server.port, shape, cookie))
        cookies[name] = cookie
    return cookies


def measure(
    servers: dict[str, _servers.Server], shape: shapes.Shape, *, rounds: int, seconds: float,
    connections: int,
) -> dict[str, Served]:  # fmt: skip
    cookies = prepare(servers, shape)
    served: dict[str, Served] = {name: Served([]) for name in servers}
    names = list(servers)
    for name in names:  # the first second is not counted: pools, caches, specialised bytecode
        load = _client.load(servers[name].port, shape, cookies[name], seconds=1, connections=8)
    for turn in range(rounds):
        first = turn % len(names)
        for name in (*names[first:], *names[:first]):
            load = _client.load(
                servers[name].port, shape, cookies[name], seconds=seconds, connections=connections
            )
            served[name].loads.append(load)
    return served


def show(shape: shapes.Shape, served: dict[str, Served]) -> None:
    ours = served.get(OURS) or served.get("carboy on granian")
    head = (shape.title, "requests/s", "carboy is", "p50 ms", "p99 ms", "errors")
    lines = []
    for name, each in sorted(served.items(), key=lambda item: -item[1].requests_per_s):
        factor = "-" if ours is None or ours is each else f"{times(ours, each):.2f} x"
        cells = (f"{each.requests_per_s:,.0f}", factor, f"{each.p50_ms:.2f}", f"{each.p99_ms:.2f}")
        lines.append((name, *cells, str(each.errors)))
    print(_measure.table(head, lines))
    if shape.key == "text" and ours is not None and BARE in served:
        found = times(ours, served[BARE])
        verdict = "pass" if found >= SERVED_TARGET else "MISS"
        print(f"carboy to the bare callable: {found:.2f}, target >= {SERVED_TARGET}: {verdict}")
    print(flush=True)


ONE_CORE = (BARE, "carboy on granian", OURS)


def measure_on_one_core(threads: int, *, rounds: int, seconds: float, connections: int) -> None:
    """Print requests per second and CPU time per request of servers that share a core."""
    shape = shapes.BY_KEY["text"]
    kinds = [_servers.BY_NAME[name] for name in ONE_CORE if not why_missing(_servers.BY_NAME[name])]
    core = {min(os.sched_getaffinity(0))}
    found: dict[str, list[tuple[float, float]]] = {kind.name: [] for kind in kinds}
    with _servers.confined(core), _servers.running(kinds, threads=threads) as servers:
        prepare(servers, shape)
        for _ in range(rounds + 1):
            for name, server in servers.items():
                used_s = server.cpu_s()
                load = _client.load(
                    server.port, shape, None, seconds=seconds, connections=connections
                )
                count = load.requests_per_s * seconds
                cpu_us = (server.cpu_s() - used_s) / max(count, 1) * 1e6
                found[name].append((load.requests_per_s, cpu_us))
    lines = [
        (name, f"{max(rate for rate, _ in each[1:]):,.0f}", f"{min(us for _, us in each[1:]):.1f}")
        for name, each in found.items()
        if each
    ]
    head = (f"{shape.title}, one core, {threads} thread(s)", "requests/s", "CPU us per request")
    print(_measure.table(head, lines) + "\n", flush=True)


def as_data(shape: shapes.Shape, served: dict[str, Served]) -> dict[str, object]:
    ours = served.get(OURS) or served.get("carboy on granian")
    return {
        "key": shape.key,
        "title": shape.title.partition(",")[0] if shape.key == "template" else shape.title,
        "servers": {
            name: {
                "requests_per_s": round(each.requests_per_s),
                "p50_ms": round(each.p50_ms, 3),
                "p99_ms": round(each.p99_ms, 3),
                "errors": each.errors,
                "carboy_is": ours and round(times(ours, each), 3),
            }
            for name, each in served.items()
        },
    }


def has_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


def why_missing(kind: _servers.Kind) -> str:
    """Why a peer cannot be started; empty if it can. Makes the baseline's environment."""
    if kind.name == _baseline.NAME:
        try:
            _baseline.install()
        except RuntimeError as failed:
            return str(failed)
        return ""
    return "" if has_module(kind.needs) else f"no module {kind.needs}"


def chosen(names: list[str] | None) -> list[_servers.Kind]:
    kinds = [kind for kind in _servers.KINDS if names is None or kind.name in names]
    missing = {kind.name: reason for kind in kinds if (reason := why_missing(kind))}
    for name, reason in missing.items():
        print(f"left out: {name} ({reason})")
    kinds = [kind for kind in kinds if kind.name not in missing]
    if names is None and any(kind.name == OURS for kind in kinds):
        kinds = [kind for kind in kinds if kind.name != "carboy on granian"]
    return kinds


def main() -> None:
    parser = _measure.arguments(__doc__)
    keys = list(shapes.BY_KEY)
    parser.add_argument("--only", nargs="+", choices=keys, default=keys, metavar="KEY",
                        help=f"some shapes: {', '.join(keys)}")  # fmt: skip
    parser.add_argument("--servers", nargs="+", choices=list(_servers.BY_NAME), metavar="NAME",
                        help=f"some servers: {'; '.join(_servers.BY_NAME)}")  # fmt: skip
    parser.add_argument("--threads", type=int, default=1, help="threads of each worker")
    parser.add_argument("--workers", type=int, default=1, help="workers of each server (not Robyn)")
    parser.add_argument("--cores", type=int, help="cores that servers and client share")
    parser.add_argument("--connections", type=int, default=_client.CONNECTIONS)
    parser.add_argument("--rounds", type=int, help="rounds of each server and shape")
    parser.add_argument("--seconds", type=float, help="length of a slice")
    options = parser.parse_args()
    rounds = options.rounds or (1 if options.quick else 3)
    seconds = options.seconds or (1 if options.quick else 2)

    _measure.print_machine(*DISTRIBUTIONS)
    cpus = set(sorted(os.sched_getaffinity(0))[: options.cores])
    about = (
        f"{_client.name()}, {options.connections} connections; {options.workers} worker(s)"
        f" of {options.threads} thread(s); client and servers share {len(cpus)} core(s)"
    )
    print(about + "\n", flush=True)
    rows = []
    with _servers.confined(cpus), _servers.running(
        chosen(options.servers), threads=options.threads, workers=options.workers
    ) as servers:  # fmt: skip
        for shape in (shapes.BY_KEY[key] for key in options.only):
            served = measure(servers, shape, rounds=rounds, seconds=seconds,
                             connections=options.connections)  # fmt: skip
            show(shape, served)
            rows.append(as_data(shape, served))
    if options.servers is None and hasattr(os, "sched_setaffinity"):
        for threads in (1, 16):
            measure_on_one_core(
                threads, rounds=rounds, seconds=seconds, connections=options.connections
            )
    if options.json:
        _measure.report_json(options.json, rows, *DISTRIBUTIONS, how=about)


if __name__ == "__main__":
    main()
