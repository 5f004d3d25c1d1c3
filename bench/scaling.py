"""How times grow with the number of routes, connections, workers and models, and with the size of
bodies and batches.

    python bench/scaling.py [--quick] [--json FILE] [--only AXIS ...]

    routes        in process: a request of an app with 10 to 10,000 rules
    body          in process: JSON of 100 bytes to 1 MB, echoed
    connections   served: a text view for 1 to 1,000 connections
    workers       served: a text view, by 1, 2 and 4 workers on the cores of this machine
    batch         a device of 5 ms + 0.2 ms per input, for 64 connections, by the largest batch
    models        a prediction, idle memory and first answer of an app with 1, 5 and 20 models

Each position of an axis is a row, in which the peers are measured in interleaved rounds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import types
import typing as t

import _client
import _measure
import _peers
import _results
import _servers
import _wsgi
import models
import overhead
import serve
from apps import bare_app, falcon_app, flask_like, shapes

TEXT, ECHO = shapes.BY_KEY["text"], shapes.BY_KEY["post"]
SERVERS = ("carboy serve", "Falcon on granian", "FastAPI on uvicorn", "Flask on gunicorn")
BATCHED = ("carboy", "mosec", "litserve")
LOADED = ("carboy", "flask", "fastapi")
ROUTES = (10, 100, 1_000, 10_000)
BODIES = (100, 1_000, 10_000, 100_000, 1_000_000)
CONNECTIONS = (1, 4, 16, 64, 256, 1_000)
WORKERS = (1, 2, 4)
BATCHES = (1, 4, 16, 64)
MODELS = (1, 5, 20)


def some(values: tuple[int, ...], options: argparse.Namespace) -> tuple[int, ...]:
    """Return the positions that are measured: the ends of the axis in a quick run."""
    return (values[0], values[-1]) if options.quick else values


# -- in process ------------------------------------------------------------------------------


def app_with_routes(web: types.ModuleType, count: int) -> tuple[t.Any, list[str]]:
    """Return an app with `count` rules, half of them with a converter, and a path for each."""
    app = web.Flask(__name__)
    paths = []

    def view(**values: object) -> str:
        return shapes.TEXT

    for i in range(count):
        prefix = f"/api/v{i % 3}/area{i // 100}/thing{i}"
        rule, path = (prefix, prefix) if i % 2 else (f"{prefix}/<int:n>", f"{prefix}/{i}")
        app.add_url_rule(rule, endpoint=f"e{i}", view_func=view)
        paths.append(path)
    return app, paths


def asking_ten(app: t.Any, paths: list[str]) -> t.Callable[[], None]:
    """Return a function that asks for ten paths from different parts of the map, in turn, so that
    no cache of the last one helps.
    """
    calls = []
    for path in random.Random(1).sample(paths, 10):
        environ = {**_wsgi.environ_for(TEXT), "PATH_INFO": path}
        _wsgi.check(path, TEXT, _wsgi.ask(app, environ))
        calls.append(_wsgi.caller(app, environ))

    def call() -> None:
        for each in calls:
            each()

    return call


def measure_routes(record: _results.Record) -> None:
    webs, counts = overhead.frameworks(), some(ROUTES, record.options)
    bare = _wsgi.caller(bare_app.app, _wsgi.environ_for(TEXT))
    cases = [_measure.Case("bare", lambda: [bare() for _ in range(10)])]
    for count in counts:
        for name, web in webs.items():
            call = asking_ten(*app_with_routes(web, count))
            cases.append(_measure.Case(f"{name} {count}", call))
    whole = _measure.measure(cases, rounds=_measure.rounds_of(record.options))
    for count in counts:
        row = record.row(f"routes-{count}", f"{count:,} routes", at=count)
        net = {name: whole[f"{name} {count}"].minus(whole["bare"]) for name in webs}
        row.add_times(net, calls=10)
        record.show(row)


def echoing(size: int) -> shapes.Shape:
    """Return the request that sends a record of about `size` bytes, and expects it back."""
    sent: dict[str, t.Any] = {**shapes.ECHO, "values": []}
    item = {"name": "a flower with a name", "sizes": [1.4, 0.2, 5.1], "known": True}
    sent["values"] = [item] * max(0, (size - 100) // len(json.dumps(item)))
    body = json.dumps(sent).encode()
    return dataclasses.replace(ECHO, body=body, check=lambda found: json.loads(found) == sent)


def measure_bodies(record: _results.Record) -> None:
    apps = {name: flask_like.make_plain(web) for name, web in overhead.frameworks().items()}
    apps["Falcon"] = falcon_app.make()
    for size in some(BODIES, record.options):
        shape = echoing(size)
        row = record.row(f"body-{size}", f"JSON of {len(shape.body):,} bytes, echoed", at=size)
        cases = [
            _measure.Case(name, overhead.checked_call(name, app, shape)[0])
            for name, app in apps.items()
        ]
        row.add_times(_measure.measure(cases, rounds=_measure.rounds_of(record.options)))
        record.show(row)


# -- served ----------------------------------------------------------------------------------


def add_loads(
    row: _results.Row, servers: dict[str, _servers.Server], options: argparse.Namespace,
    connections: int,
) -> None:  # fmt: skip
    names = list(servers)
    for turn in range(options.rounds + 1):
        for name in names[:: 1 if turn % 2 else -1]:
            load = _client.load(servers[name].port, TEXT, None, seconds=options.seconds,
                                connections=connections)  # fmt: skip
            if turn:  # the first round is not counted
                row.add(name, **load.quantities())


def kinds(record: _results.Record) -> list[_servers.Kind]:
    names = SERVERS[:: len(SERVERS) - 1] if record.options.quick else SERVERS
    return serve.chosen(record, list(names))


def measure_connections(record: _results.Record) -> None:
    with _servers.running(kinds(record), threads=16) as servers:
        for count in some(CONNECTIONS, record.options):
            row = record.row(f"connections-{count}", f"a text view, {count:,} connections",
                             ours="carboy serve", at=count)  # fmt: skip
            add_loads(row, servers, record.options, count)
            record.show(row)


def measure_workers(record: _results.Record) -> None:
    cores = len(os.sched_getaffinity(0))
    for count in some(WORKERS, record.options):
        with _servers.running(kinds(record), threads=16, workers=count) as servers:
            row = record.row(f"workers-{count}", f"a text view, {count} worker(s), {cores} cores",
                             ours="carboy serve", at=count)  # fmt: skip
            add_loads(row, servers, record.options, _client.CONNECTIONS)
            record.show(row)


# -- models ----------------------------------------------------------------------------------


def peers_with(record: _results.Record, keys: tuple[str, ...], **env: int) -> list[_peers.Peer]:
    """Return installed peers that are started with further variables, and carboy alone with one
    peer in a quick run.
    """
    wanted = [_peers.BY_KEY[key] for key in (keys[:2] if record.options.quick else keys)]
    for name, why in _peers.install(wanted).items():
        record.leave_out(name, why)
    more = {name: str(value) for name, value in env.items()}
    return [
        dataclasses.replace(peer, env={**peer.env, **more})
        for peer in wanted
        if peer.name not in record.missing
    ]


def measure_model(
    record: _results.Record, row: _results.Row, spec: models.Row, peers: list[_peers.Peer]
) -> None:
    options = record.options
    with models.serving(record, peers, spec.model) as servers:
        for each in servers:
            row.add(each.peer.name, first_answer_s=each.start_s, idle_mib=each.idle_mib)
        models.take_turns(
            record, row, servers, spec, rounds=options.rounds, seconds=options.seconds
        )


def measure_batches(record: _results.Record) -> None:
    for size in some(BATCHES, record.options):
        title = f"device of 5 + 0.2 n ms, batches of {size}"
        row = record.row(f"batch-{size}", title, at=size)
        spec = models.Row(row.key, title, "fake", 64)
        measure_model(record, row, spec, peers_with(record, BATCHED, BENCH_BATCH=size))


def measure_models(record: _results.Record) -> None:
    for count in some(MODELS, record.options):
        title = f"digits, one client, {count} model(s)"
        row = record.row(f"models-{count}", title, at=count)
        spec = models.Row(row.key, title, "alone", 1)
        measure_model(record, row, spec, peers_with(record, LOADED, BENCH_MODELS=count))


AXES = {
    "routes": measure_routes,
    "body": measure_bodies,
    "connections": measure_connections,
    "workers": measure_workers,
    "batch": measure_batches,
    "models": measure_models,
}


def main() -> None:
    parser = _measure.arguments(__doc__)
    parser.add_argument("--only", nargs="+", choices=list(AXES), default=list(AXES), metavar="AXIS",
                        help=f"some axes: {', '.join(AXES)}")  # fmt: skip
    options = models.arguments(parser)
    record = _results.Record("scaling", options, *serve.DISTRIBUTIONS, how=_client.name())
    if {"batch", "models"} & set(options.only):
        _peers.install([_peers.BY_KEY["carboy"]])
        models.prepare()
    for axis in options.only:
        AXES[axis](record)
    record.close(show=False)


if __name__ == "__main__":
    main()
