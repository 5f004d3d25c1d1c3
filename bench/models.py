"""Predictions over HTTP: `carboy serve` compared with mosec, LitServe, BentoML, Ray Serve and
others.

Every peer serves the same weights (`peers/work.py`), each at its best documented settings, which
its file in `peers/` explains, in its own environment (created here). One server per peer and model;
all others are stopped during a measurement, so that their idle work does not count. Rounds are
interleaved, and every response is compared with the expected one before its server is measured.

    python bench/models.py [--quick] [--json FILE] [--only ROW ...] [--peers KEY ...]
"""

from __future__ import annotations

import argparse
import collections.abc as cabc
import contextlib
import dataclasses
import http.client
import itertools
import json
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import time
from concurrent import futures

import _client
import _measure
import _peers
import _results
import _servers
import _wsgi
import importing
import serve
from apps import shapes

QUICK_PEERS = ("carboy", "mosec", "litserve", "fastapi")
START_S = 90.0
EXAMPLES = 4  # peers/prepare.py
# The cost of the fake device in `peers/work.py`, and its largest batch.
FAKE_LIMIT = 64 / (0.005 + 0.0002 * 64)


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table. `wire` is the request, if it is not the model's usual one."""

    key: str
    title: str
    model: str
    connections: int
    targets: tuple[Target, ...] = ()
    wire: str = ""
    replicas: int = 1
    """How many processes compute."""
    quick: bool = False
    limit: float = 0.0
    """The arithmetic limit of the fake device: full batches without a pause, in requests/s."""
    limit_share: float = 0.0
    """carboy must reach at least this share of `limit`."""

    @property
    def request(self) -> str:
        return self.wire or self.model


@dataclasses.dataclass(frozen=True)
class Target:
    """carboy must be at least this many times the best of these peers, or of all but `without`."""

    times: float
    of: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    measure: str = "requests_per_s"

    def peers(self, names: cabc.Iterable[str]) -> list[str]:
        return [n for n in names if n not in {"carboy", "baseline", *self.without}
                and (not self.of or n in self.of)]  # fmt: skip


MOSEC = ("mosec",)
ROWS = (
    Row("digits-1", "digits, logistic regression, c=1", "alone", 1,
        (Target(2.0, measure="p50_ms"),), quick=True),
    Row("digits-32", "digits, logistic regression, c=32", "digits", 32,
        (Target(5.0, without=MOSEC), Target(1.0, of=MOSEC)), quick=True),
    Row("forest-32", "digits, forest of 100 trees, c=32", "forest", 32, (Target(2.0),)),
    Row("fake-64", "fake device 5 + 0.2 n ms, c=64", "fake", 64,
        (Target(3.0, without=MOSEC), Target(1.0, of=MOSEC)), quick=True, limit=FAKE_LIMIT),
    Row("fake-256", "fake device 5 + 0.2 n ms, c=256", "fake", 256,
        (Target(3.0, without=MOSEC), Target(1.0, of=MOSEC)), limit=FAKE_LIMIT),
    Row("photo-16", "JPEG through a small net, c=16", "photo", 16, (Target(1.2),), quick=True),
    Row("tensor-4", "tensor 1x3x224x224 as JSON, c=4", "tensor", 4, (Target(2.0),), quick=True),
    Row("tensor-binary-4", "the same tensor as .npy, c=4", "tensor", 4, wire="tensor-binary"),
)  # fmt: skip
BY_KEY = {row.key: row for row in ROWS}
TEXT, PLAIN = "text", "carboy without models"
TEXT_SHARE = 0.5
CARBOY = _peers.BY_KEY["carboy"]


class Running:
    """A peer that serves one model, and measurements of its start."""

    def __init__(
        self, peer: _peers.Peer, model: str, folder: pathlib.Path, shape: shapes.Shape
    ) -> None:
        self.peer = peer
        self.idle_mib = self.idle_cpu = 0.0
        self._counts = folder / f"{peer.key}-{model}.counts"
        self._counts.touch()
        peer.prepare(model, self._counts)
        began_s = time.perf_counter()
        self.server = _servers.Server(peer.kind(model, self._counts), threads=1)
        try:
            self._first_answer(shape)
        except BaseException:
            self.server.stop()
            raise
        self.start_s = time.perf_counter() - began_s

    def _first_answer(self, shape: shapes.Shape) -> None:
        deadline = time.monotonic() + START_S
        said = "nothing"
        while time.monotonic() < deadline and self.server.process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                answer = serve.ask(self.server.port, shape, None)
                if answer.status.startswith("200 "):
                    return
                said = f"{answer.status} {answer.body[:300]!r}"
            time.sleep(0.02)
        raise RuntimeError(f"{self.peer.name}: no answer 200, last {said}\n{self.server.printed()}")

    def check(self, shape: shapes.Shape) -> None:
        _wsgi.check(self.peer.name, shape, serve.ask(self.server.port, shape, None))

    def check_examples(self, request: str, *, clients: int, rounds: int) -> None:
        """Exit unless clients that send different examples at the same time get the answer to what
        they sent, which is the same for all peers.
        """
        examples = [shape_of(self.peer, request, i) for i in range(EXAMPLES)]
        with futures.ThreadPoolExecutor(clients) as pool:
            list(pool.map(self.check, itertools.chain(*[examples] * rounds)))

    @contextlib.contextmanager
    def awake(self) -> cabc.Iterator[None]:
        """Let the server run meanwhile, which is stopped (SIGSTOP) otherwise."""
        self.server.thaw()
        try:
            yield
        finally:
            self.server.freeze()

    def counts(self) -> tuple[int, int]:
        """Return the calls of the model so far in all processes, and the items in them."""
        copies = list(struct.iter_unpack("qq", self._counts.read_bytes()))
        return sum(calls for calls, _ in copies), sum(items for _, items in copies)

    def watch_idle(self) -> None:
        """Measure memory in MiB and the CPU share of the whole tree while no request is sent."""
        time.sleep(0.5)
        before_s, began_s = self.server.cpu_s(), time.perf_counter()
        time.sleep(1)
        self.idle_cpu = (self.server.cpu_s() - before_s) / (time.perf_counter() - began_s)
        self.idle_mib = importing.pss_mib(self.server.pids())


def shape_of(peer: _peers.Peer, request: str, example: int = 0) -> shapes.Shape:
    """Return the request for a peer, and the expected response."""
    path, content_type, body = peer.write(request, example)
    answers = json.loads((_peers.HOME / "answers.json").read_text())
    wanted = answers[request.partition("-")[0]][example]

    def check(answer: bytes) -> bool:
        found = json.loads(answer)
        label, score = peer.read(found[0] if isinstance(found, list) else found)
        return int(label) == wanted[0] and abs(score - wanted[1]) < 1e-4

    return shapes.Shape(request, request, path, _peers.JSON, check, None, "POST", body,
                        content_type)  # fmt: skip


def slot(
    running: Running, spec: Row, shape: shapes.Shape, seconds: float, into: _results.Row | None
) -> None:
    """Send requests to one server for some seconds; add what was measured to a row."""
    with running.awake():
        running.check(shape)
        calls, items = running.counts()
        cpu_s = running.server.cpu_s()
        load = _client.load(running.server.port, shape, None, seconds=seconds,
                            connections=spec.connections)  # fmt: skip
        cpu_s = running.server.cpu_s() - cpu_s
        more_calls, more_items = running.counts()
    if into is None:
        return
    count = max(load.requests_per_s * seconds, 1)
    into.add(running.peer.name, **load.quantities(), cpu_us=cpu_s / count * 1e6)
    if more_calls > calls:
        into.add(running.peer.name, batch=(more_items - items) / (more_calls - calls))
    if spec.limit:
        into.add(running.peer.name, of_limit=load.requests_per_s / spec.limit)


def take_turns(
    record: _results.Record,
    row: _results.Row,
    servers: list[Running],
    spec: Row,
    *,
    rounds: int,
    seconds: float,
    shape: shapes.Shape | None = None,
) -> None:
    """Measure all servers in interleaved rounds, after one that is not counted."""
    for turn in range(rounds + 1):
        for each in servers[:: 1 if turn % 2 else -1]:
            asked = shape or shape_of(each.peer, spec.request)
            slot(each, spec, asked, seconds, row if turn else None)
    record.show(row)


def measure(
    record: _results.Record, servers: list[Running], spec: Row, *, rounds: int, seconds: float
) -> None:
    """Measure all servers in interleaved rounds, and add the row to the record."""
    asked = [each for each in servers if each.peer.binary or spec.wire != "tensor-binary"]
    wires = {each.peer.key: shape_of(each.peer, spec.request) for each in asked}
    row = record.row(spec.key, spec.title, ours=ours_of(asked))
    for each in asked:  # not counted: pools, caches, dispatchers that learn
        with each.awake():
            each.check_examples(spec.request, clients=min(spec.connections, 16), rounds=16)
        slot(each, spec, wires[each.peer.key], 1, None)
    for turn in range(rounds):
        first = turn % len(asked)
        for each in (*asked[first:], *asked[:first]):
            slot(each, spec, wires[each.peer.key], seconds, row)
    row.targets = list(targets_of(spec, row, {each.peer.key: each.peer.name for each in asked}))
    record.show(row)


def ours_of(servers: list[Running]) -> str:
    """Return the name of the peer whose key is "carboy", or that of the first."""
    names = {each.peer.key: each.peer.name for each in servers}
    return names.get("carboy") or next(iter(names.values()))


def targets_of(
    spec: Row, row: _results.Row, names: dict[str, str]
) -> cabc.Iterator[_results.Target]:
    """Yield the targets of a row, each against the best of the peers that it is about."""
    if "carboy" not in names:
        return
    for target in spec.targets:
        less = target.measure.endswith("_ms")
        ratios = {
            names[key]: row.ratio(target.measure, row.ours, names[key]).median
            for key in target.peers(names)
        }
        if ratios:
            best = max(ratios, key=ratios.get) if less else min(ratios, key=ratios.get)
            bound, limit = ("most", 1 / target.times) if less else ("least", target.times)
            yield _results.Target(target.measure, row.ours, best, bound, limit)
    if spec.limit:
        yield _results.Target("of_limit", row.ours, "", "least", spec.limit_share)


def measure_rows(
    record: _results.Record,
    specs: cabc.Sequence[Row],
    peers_of: cabc.Callable[[Row], cabc.Iterable[_peers.Peer]],
) -> None:
    """Measure rows, with the servers of a model started once for all of its rows."""
    options = record.options
    groups = dict.fromkeys((spec.model, spec.replicas) for spec in specs)
    for number, group in enumerate(groups):
        rows = [spec for spec in specs if (spec.model, spec.replicas) == group]
        peers = [peer for peer in peers_of(rows[0]) if peer.name not in record.missing]
        with serving(record, peers, rows[0].model) as servers:
            if servers and not number:
                add_starts(record, servers)
            for spec in rows if servers else ():
                measure(record, servers, spec, rounds=options.rounds, seconds=options.seconds)


@contextlib.contextmanager
def serving(
    record: _results.Record, peers: cabc.Iterable[_peers.Peer], model: str,
    shape: shapes.Shape | None = None,
) -> cabc.Iterator[list[Running]]:  # fmt: skip
    """Start the peers one after the other, and stop each (SIGSTOP) as soon as it has responded."""
    servers: list[Running] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for peer in peers:
                try:
                    each = Running(
                        peer, model, pathlib.Path(folder), shape or shape_of(peer, model)
                    )
                except RuntimeError as failed:
                    record.leave_out(f"{peer.name}, {model}", str(failed))
                    continue
                servers.append(each)
                each.watch_idle()
                each.server.freeze()
            yield servers
        finally:
            for each in servers:
                each.server.thaw()
                each.server.process.terminate()  # all at once, because some take long
            for each in servers:
                each.server.stop()


def add_starts(record: _results.Record, servers: list[Running]) -> None:
    """Add what was measured at the start of the servers, and their versions."""
    row = record.row("start", "digits, one server", ours=ours_of(servers))
    for each in servers:
        known = _peers.versions(each.peer)
        own = ", ".join(f"{name} {known[name]}" for name in each.peer.shows)
        record.versions[each.peer.name] = f"{own} ({each.peer.processes})"
        row.add(each.peer.name, first_answer_s=each.start_s, idle_mib=each.idle_mib,
                idle_cpu=each.idle_cpu, processes=len(each.server.pids()))  # fmt: skip
    print("\n".join(f"{name}: {text}" for name, text in record.versions.items()) + "\n")
    record.show(row)


def measure_text(record: _results.Record, *, rounds: int, seconds: float) -> None:
    """Measure a page of an app with models, and the same page of an app without."""
    shape = shapes.BY_KEY["text"]
    spec = Row(TEXT, "text view of carboy serve, c=32", "digits", _client.CONNECTIONS)
    without = tuple(word.replace("peers.carboy", "peers.plain") for word in CARBOY.command)
    peers = [
        CARBOY,
        dataclasses.replace(CARBOY, key=PLAIN, name=PLAIN, home=CARBOY.key, command=without),
    ]
    target = _results.Target("requests_per_s", CARBOY.name, PLAIN, "least", TEXT_SHARE)
    row = record.row(TEXT, spec.title, targets=[target])
    with serving(record, peers, "digits", shape) as servers:
        take_turns(record, row, servers, spec, rounds=rounds, seconds=seconds, shape=shape)


def add_headroom(record: _results.Record) -> None:
    """Measure the limit of the load generator, with a callable that only reads the body."""
    command = ("-m", "granian", "--interface", "rsgi", "--host", "127.0.0.1", "--port", "PORT",
               "--workers", "1", "--no-ws", "--log-level", "warning", "peers.bare:app")  # fmt: skip
    kind = _servers.Kind("bare RSGI on granian", command, python=CARBOY.python)
    with _servers.running([kind], threads=1) as servers:
        for key in ("digits-32", "photo-16", "tensor-4"):
            spec = BY_KEY[key]
            load = _client.load(servers[kind.name].port, shape_of(CARBOY, spec.request), None,
                                seconds=1, connections=spec.connections)  # fmt: skip
            row = record.row(f"load-{key}", f"the load alone: {spec.title}", ours=kind.name)
            row.add(kind.name, **load.quantities())
            record.show(row)


def prepare() -> None:
    marker = _peers.HOME / "answers.json"
    made_from = (_servers.HERE / "peers" / "prepare.py", _servers.HERE / "peers" / "work.py")
    if marker.exists() and marker.stat().st_mtime > max(p.stat().st_mtime for p in made_from):
        return
    env = CARBOY.environment("digits", pathlib.Path())
    env |= {"BENCH_COUNTS": "", "PYTHONPATH": str(_servers.HERE)}
    subprocess.run([CARBOY.python, "-m", "peers.prepare"], cwd=_servers.HERE, env=env, check=True)


def arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Add the options that models.py and replicas.py share, and parse."""
    parser.add_argument("--rounds", type=int, help="rounds of each peer and row")
    parser.add_argument("--seconds", type=float, help="length of a slot")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.seconds = options.seconds or (1 if options.quick else 2)
    # Stops the servers, however the program ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return options


def begin(
    name: str, options: argparse.Namespace, peers: cabc.Iterable[_peers.Peer]
) -> _results.Record:
    """Install the peers and prepare the models; return a record that says which are missing."""
    wanted = {peer.name: peer for peer in (CARBOY, *peers)}
    missing = _peers.install(wanted.values())
    if CARBOY.name in missing:
        raise SystemExit(f"carboy cannot be installed: {missing[CARBOY.name]}")
    prepare()
    how = (f"{_client.name()}; the load and the one server that is asked share the cores;"
           f" {options.rounds} rounds of {options.seconds:g} s")  # fmt: skip
    record = _results.Record(name, options, "carboy", "granian", how=how)
    for peer, why in missing.items():
        record.leave_out(peer, f"cannot be installed: {why}")
    return record


def main() -> None:
    parser = _measure.arguments(__doc__)
    parser.add_argument("--only", nargs="+", choices=[*BY_KEY, TEXT], metavar="ROW",
                        help=f"some rows: {', '.join([*BY_KEY, TEXT])}")  # fmt: skip
    parser.add_argument("--peers", nargs="+", choices=list(_peers.BY_KEY), metavar="KEY",
                        help=f"some peers: {', '.join(_peers.BY_KEY)}")  # fmt: skip
    options = arguments(parser)
    keys = options.peers or (QUICK_PEERS if options.quick else tuple(_peers.BY_KEY))
    wanted = options.only or [row.key for row in ROWS if row.quick or not options.quick] + [TEXT]
    peers = [_peers.BY_KEY[key] for key in keys]
    record = begin("models", options, peers)
    add_headroom(record)
    measure_rows(record, [row for row in ROWS if row.key in wanted], lambda _: peers)
    if TEXT in wanted and "carboy" in keys:
        measure_text(record, rounds=options.rounds, seconds=options.seconds)
    record.close(show=False)


if __name__ == "__main__":
    main()
