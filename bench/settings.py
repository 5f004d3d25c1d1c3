"""A small search for the best of the settings that each peer documents; the peers use its results.

    python bench/settings.py [--quick] [--json FILE] [--peers KEY ...] [--only REQUEST ...]

For each peer and each request a row with a server per setting; the first is the one that models.py,
replicas.py and serve.py use (`peers/`, `_servers.py`), and every other is compared with it. One
process computes at each, as in models.py: the search is about batches, waits, threads and loops. A
setting that is clearly better than the first is a reason to change that file.
"""

from __future__ import annotations

import collections.abc as cabc
import dataclasses
import types
import typing as t

import _client
import _measure
import _peers
import _results
import _servers
import models
import serve
from apps import shapes


class Setting(t.NamedTuple):
    """What differs from a peer as models.py starts it."""

    title: str
    env: cabc.Mapping[str, str] = types.MappingProxyType({})
    """Variables that its program in peers/ reads."""
    words: cabc.Mapping[str, str] = types.MappingProxyType({})
    """Words of its command that are replaced."""


GTHREAD = {"gthread": "sync", "32": "1"}
SETTINGS: dict[str, tuple[Setting, ...]] = {
    "carboy": (
        Setting("wait_ms as chosen"),
        Setting("wait_ms=0", {"BENCH_WAIT_MS": "0"}),
        Setting("wait_ms=auto", {"BENCH_WAIT_MS": "auto"}),
        Setting("wait_ms=5", {"BENCH_WAIT_MS": "5"}),
    ),
    "mosec": (
        Setting("max_wait_time=1"),
        Setting("max_wait_time=5", {"BENCH_WAIT_MS": "5"}),
        Setting("max_wait_time=10", {"BENCH_WAIT_MS": "10"}),
        Setting("max_batch_size=8", {"BENCH_BATCH": "8"}),
    ),
    "litserve": (
        Setting("batch_timeout=0.001, fast_queue"),
        Setting("batch_timeout=0", {"BENCH_WAIT_S": "0"}),
        Setting("batch_timeout=0.01", {"BENCH_WAIT_S": "0.01"}),
        Setting("without fast_queue", {"BENCH_FAST_QUEUE": "no"}),
        Setting("max_batch_size=8", {"BENCH_BATCH": "8"}),
    ),
    "bentoml": (
        Setting("max_batch_size as all"),
        Setting("max_batch_size=8", {"BENCH_BATCH": "8"}),
    ),
    "mlserver": (
        Setting("max_batch_time as chosen"),
        Setting("max_batch_time=0.005", {"BENCH_WAIT_S": "0.005"}),
        Setting("max_batch_time=0.02", {"BENCH_WAIT_S": "0.02"}),
        Setting("parallel_workers=0", {"BENCH_REPLICAS": "0"}),
        Setting("parallel_workers=1", {"BENCH_REPLICAS": "1"}),
    ),
    "ray": (
        Setting("batch_wait_timeout_s=0"),
        Setting("batch_wait_timeout_s=0.005", {"BENCH_WAIT_S": "0.005"}),
        Setting("max_ongoing_requests=100", {"BENCH_ONGOING": "100"}),
    ),
    "fastapi": (
        Setting("async def, uvloop, httptools"),
        Setting("asyncio, h11", {}, {"uvloop": "asyncio", "httptools": "h11"}),
    ),
    "flask": (
        Setting("gthread, 32 threads"),
        Setting("gthread, 8 threads", {}, {"32": "8"}),
        Setting("gthread, 2 threads", {}, {"32": "2"}),
        Setting("sync", {}, GTHREAD),
    ),
    "gunicorn": (
        Setting("gthread, 32 threads"),
        Setting("gthread, 8 threads", {}, {"32": "8"}),
    ),
}  # fmt: skip
# The settings of servers in serve.py, by what they serve.
THREADS = (16, 1, 4, 32)
SERVED = ("Flask on gunicorn", "Flask on granian", "Falcon on granian", "carboy serve", "Robyn")
REQUESTS = {row.key: row for row in models.ROWS if row.key in {"digits-32", "fake-64", "photo-16"}}


def variants(key: str) -> list[_peers.Peer]:
    """Return a peer with each of its settings."""
    peer = _peers.BY_KEY[key]
    return [
        dataclasses.replace(
            peer,
            key=f"{key}-{number}",
            name=setting.title,
            home=peer.home or key,
            env={**peer.env, **setting.env},
            command=tuple(setting.words.get(word, word) for word in peer.command),
        )
        for number, setting in enumerate(SETTINGS[key])
    ]


def measure_peer(record: _results.Record, key: str, spec: models.Row) -> None:
    options, name = record.options, _peers.BY_KEY[key].name
    with models.serving(record, variants(key), spec.model) as servers:
        if len(servers) < 2:
            return
        row = record.row(f"{key}-{spec.key}", f"{name}: {spec.title}", ours=servers[0].peer.name)
        models.take_turns(
            record, row, servers, spec, rounds=options.rounds, seconds=options.seconds
        )


def measure_threads(record: _results.Record) -> None:
    """Compare numbers of threads of the servers that have them, for a text view."""
    options, text = record.options, shapes.BY_KEY["text"]
    for kind in serve.chosen(record, list(SERVED)):
        row = record.row(
            f"threads-{kind.name.replace(' ', '-')}", f"{kind.name}: a text view",
            ours=f"threads={THREADS[0]}",
        )  # fmt: skip
        servers = {f"threads={n}": _servers.Server(kind, threads=n) for n in THREADS}
        try:
            for server in servers.values():
                server.wait()
                server.freeze()
            for turn in range(options.rounds + 1):
                for name in list(servers)[:: 1 if turn % 2 else -1]:
                    servers[name].thaw()
                    load = _client.load(servers[name].port, text, None, seconds=options.seconds,
                                        connections=_client.CONNECTIONS)  # fmt: skip
                    servers[name].freeze()
                    if turn:
                        row.add(name, **load.quantities())
        finally:
            for server in servers.values():
                server.thaw()
                server.stop()
        record.show(row)


def main() -> None:
    keys = [*SETTINGS, "threads"]
    parser = _measure.arguments(__doc__)
    parser.add_argument("--peers", nargs="+", choices=keys, default=keys, metavar="KEY",
                        help=f"some peers: {', '.join(keys)}")  # fmt: skip
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(REQUESTS),
        default=list(REQUESTS),
        metavar="REQUEST",
        help=f"some requests: {', '.join(REQUESTS)}",
    )
    options = models.arguments(parser)
    if options.quick:
        options.only = options.only[:1]
    chosen = [key for key in options.peers if key != "threads"]
    record = models.begin("settings", options, [_peers.BY_KEY[key] for key in chosen])
    for key in chosen:
        for request in options.only:
            if _peers.BY_KEY[key].name not in record.missing:
                measure_peer(record, key, REQUESTS[request])
    if "threads" in options.peers:
        measure_threads(record)
    record.close(show=False)


if __name__ == "__main__":
    main()
