"""Requests per second over real servers: `carboy serve`, and its peers on their usual servers.

All servers run at once, with the same numbers of workers and threads; each request is sent to all
of them in interleaved rounds by wrk on the loopback. Server and client share this machine's cores,
so only ratios are meaningful. Responses are checked before they are counted.

With `--cores 1` all of them share one core, as in a small container. CPU time is that of the whole
server, and depends little on the load of the machine.

    python bench/serve.py [--quick] [--json FILE] [--only KEY ...] [--servers NAME ...]
"""

from __future__ import annotations

import argparse
import dataclasses
import http.client
import importlib.util
import os

import _baseline
import _client
import _measure
import _peers
import _results
import _servers
import _wsgi
from apps import shapes

DISTRIBUTIONS = ("carboy", "granian", "flask", "gunicorn", "gunicorn_h1c", "falcon", "fastapi",
                 "pydantic", "blacksheep", "uvicorn", "uvloop", "httptools", "robyn")  # fmt: skip
BARE, OURS, ON_GRANIAN = "bare WSGI on granian", "carboy serve", "carboy on granian"
# What `--defaults` leaves out: options with a value, and those without.
SWITCHES = ("--no-ws", "--no-access-log", "--no-control-socket")
OPTIONS = (
    *("--workers", "--threads", "--blocking-threads", "--worker-class", "--keep-alive"),
    *("--loop", "--http", "--log-level", *SWITCHES),
)
TARGETS = [_results.Target("requests_per_s", OURS, BARE, "least", 0.85)]


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
    record: _results.Record, servers: dict[str, _servers.Server], shape: shapes.Shape,
    options: argparse.Namespace,
) -> None:  # fmt: skip
    """Send a request to all servers in interleaved rounds, and add its row to the record."""
    cookies = prepare(servers, shape)
    names = list(servers)
    ours = next((name for name in (OURS, ON_GRANIAN, *names) if name in servers), "")
    targets = TARGETS if shape.key == "text" else ()
    title = shape.title.partition(",")[0] if shape.key == "template" else shape.title
    row = record.row(shape.key, title, ours=ours, targets=targets)
    for name in names:  # the first second is not counted: pools, caches, specialised bytecode
        _client.load(servers[name].port, shape, cookies[name], seconds=1, connections=8)
    for turn in range(options.rounds):
        first = turn % len(names)
        for name in (*names[first:], *names[:first]):
            used_s = servers[name].cpu_s()
            load = _client.load(
                servers[name].port, shape, cookies[name],
                seconds=options.seconds, connections=options.connections,
            )  # fmt: skip
            used_s = servers[name].cpu_s() - used_s
            count = max(load.requests_per_s * options.seconds, 1)
            row.add(name, **load.quantities(), cpu_us=used_s / count * 1e6)
    record.show(row)


def has_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


def why_missing(kind: _servers.Kind) -> str:
    """Why a peer cannot be started; empty if it can. Makes the baseline's environment."""
    if kind.name == _baseline.NAME:
        return _peers.install([_peers.BY_KEY["baseline"]]).get(_baseline.NAME, "")
    return "" if has_module(kind.needs) else f"no module {kind.needs}"


def with_defaults(kind: _servers.Kind) -> _servers.Kind:
    """Return how a server is started without options but its address and its app."""
    left = list(kind.command)
    for option in OPTIONS:
        if option in left:
            at = left.index(option)
            del left[at : at + (1 if option in SWITCHES else 2)]
    return dataclasses.replace(kind, command=tuple(left))


def chosen(record: _results.Record, names: list[str] | None) -> list[_servers.Kind]:
    """Return the servers that are asked for and can be started, and record why others cannot."""
    found = []
    for kind in _servers.KINDS:
        if (names is None and kind.name == ON_GRANIAN) or (names and kind.name not in names):
            continue
        if reason := why_missing(kind):
            record.leave_out(kind.name, reason)
        else:
            defaults = getattr(record.options, "defaults", False)
            found.append(with_defaults(kind) if defaults else kind)
    return found


def arguments() -> argparse.Namespace:
    parser = _measure.arguments(__doc__)
    keys = list(shapes.BY_KEY)
    parser.add_argument("--only", nargs="+", choices=keys, default=keys, metavar="KEY",
                        help=f"some shapes: {', '.join(keys)}")  # fmt: skip
    parser.add_argument("--servers", nargs="+", choices=list(_servers.BY_NAME), metavar="NAME",
                        help=f"some servers: {'; '.join(_servers.BY_NAME)}")  # fmt: skip
    parser.add_argument("--threads", type=int, default=16, help="threads of each worker")
    parser.add_argument("--workers", type=int, default=1, help="workers of each server (not Robyn)")
    parser.add_argument(
        "--defaults",
        action="store_true",
        help="each server without options but its address (Robyn: one process)",
    )
    parser.add_argument("--cores", type=int, help="cores that servers and client share")
    parser.add_argument("--connections", type=int, default=_client.CONNECTIONS)
    parser.add_argument("--rounds", type=int, help="rounds of each server and shape")
    parser.add_argument("--seconds", type=float, help="length of a slice")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.seconds = options.seconds or (1 if options.quick else 2)
    return options


def main() -> None:
    options = arguments()
    cpus = set(sorted(os.sched_getaffinity(0))[: options.cores])
    servers = f"{options.workers} worker(s) of {options.threads} thread(s)"
    if options.defaults:
        servers = "each server with its defaults"
    how = (
        f"{_client.name()}, {options.connections} connections; {servers};"
        f" client and servers share {len(cpus)} core(s)"
    )
    record = _results.Record("serve", options, *DISTRIBUTIONS, how=how)
    kinds = chosen(record, options.servers)
    with (
        _servers.confined(cpus),
        _servers.running(kinds, threads=options.threads, workers=options.workers) as servers,
    ):
        for name in {kind.name for kind in kinds} - servers.keys():
            record.leave_out(name, "it does not start")
        for key in options.only:
            measure(record, servers, shapes.BY_KEY[key], options)
    record.close(show=False)


if __name__ == "__main__":
    main()
