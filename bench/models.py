"""Predictions over HTTP: `carboy serve` compared with mosec, LitServe, BentoML, Ray Serve and
others.

Every peer serves the same weights (`peers/work.py`), each at its best documented settings, which
its file
in `peers/` explains, in its own environment (created here). One server per peer and model; all
others are
stopped during a measurement, so that their idle work does not count. Rounds are interleaved, and
every
response is compared with the expected one before its server is measured.

    python bench/models.py [--quick] [--json FILE] [--only ROW ...] [--peers KEY ...]
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import dataclasses
import http.client
import itertools
import json
import pathlib
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from concurrent import futures

import _client
import _measure
import _peers
import _servers
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
        serve._wsgi.check(self.peer.name, shape, serve.ask(self.server.port, shape, None))

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
        before_s, began_s = self.cpu_s(), time.perf_counter()
        time.sleep(1)
        self.idle_cpu = (self.cpu_s() - before_s) / (time.perf_counter() - began_s)
        self.idle_mib = importing.pss_mib(self.server.pids())

    def cpu_s(self) -> float:
        ticks = 0
        for pid in self.server.pids():
            with contextlib.suppress(OSError):
                stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(stat[11]) + int(stat[12])
        return ticks / 100


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


@dataclasses.dataclass(frozen=True)
class Measured(serve.Served):
    """The results of one peer in one row: a value per round, the mean batch size, and the CPU
    time per request in all of its processes, which hardly depends on other load.
    """

    batches: list[float] = dataclasses.field(default_factory=list)
    cpu_us: list[float] = dataclasses.field(default_factory=list)

    @property
    def batch(self) -> float | None:
        return statistics.median(self.batches) if self.batches else None


def ratios(ours: Measured, theirs: Measured, measure: str = "requests_per_s") -> list[float]:
    """Return how many times better carboy is, in each round: more requests, or less time."""
    found = []
    for mine, other in zip(ours.loads, theirs.loads, strict=True):
        one, two = getattr(mine, measure), getattr(other, measure)
        found.append(two / one if measure.endswith("_ms") else one / two)
    return found


def slot(running: Running, row: Row, shape: shapes.Shape, seconds: float, into: Measured) -> None:
    with running.awake():
        running.check(shape)
        calls, items = running.counts()
        cpu_s = running.cpu_s()
        into.loads.append(_client.load(running.server.port, shape, None, seconds=seconds,
                                       connections=row.connections))  # fmt: skip
        cpu_s = running.cpu_s() - cpu_s
        into.cpu_us.append(cpu_s / max(into.loads[-1].requests_per_s * seconds, 1) * 1e6)
        more_calls, more_items = running.counts()
        if more_calls > calls:
            into.batches.append((more_items - items) / (more_calls - calls))


def measure(
    servers: list[Running], row: Row, *, rounds: int, seconds: float
) -> dict[str, Measured]:
    asked = [each for each in servers if each.peer.binary or row.wire != "tensor-binary"]
    wires = {each.peer.key: shape_of(each.peer, row.request) for each in asked}
    found = {key: Measured([]) for key in wires}
    for each in asked:  # not counted: pools, caches, dispatchers that learn
        with each.awake():
            each.check_examples(row.request, clients=min(row.connections, 16), rounds=16)
        slot(each, row, wires[each.peer.key], 1, Measured([]))
    for turn in range(rounds):
        first = turn % len(asked)
        for each in (*asked[first:], *asked[:first]):
            key = each.peer.key
            slot(each, row, wires[key], seconds, found[key])
    return found


def show(row: Row, found: dict[str, Measured]) -> dict[str, object]:
    ours = found.get("carboy")
    head = (row.title, "requests/s", "carboy is", "rounds", "p50 ms", "p99 ms", "cpu us", "batch",
            "errors")  # fmt: skip
    lines, servers = [], {}
    for key, each in sorted(found.items(), key=lambda item: -item[1].requests_per_s):
        times = [] if ours is None or ours is each else ratios(ours, each)
        lines.append((
            name_of(key),
            f"{each.requests_per_s:,.0f}",
            f"{statistics.median(times):.2f} x" if times else "-",
            f"{min(times):.2f}-{max(times):.2f}" if times else "-",
            f"{each.p50_ms:.2f}", f"{each.p99_ms:.2f}",
            f"{statistics.median(each.cpu_us):,.0f}",
            "-" if each.batch is None else f"{each.batch:.1f}", str(each.errors),
        ))  # fmt: skip
        servers[lines[-1][0]] = {
            "requests_per_s": round(each.requests_per_s, 1), "p50_ms": round(each.p50_ms, 3),
            "p99_ms": round(each.p99_ms, 3), "errors": each.errors, "batch": each.batch,
            "cpu_us": round(statistics.median(each.cpu_us)),
            "carboy_is": round(statistics.median(times), 3) if times else None,
            "rounds": [round(each, 3) for each in times],
        }  # fmt: skip
    print(_measure.table(head, lines))
    verdicts = [line for target in row.targets if (line := judge(target, found))]
    if row.limit and ours is not None:
        share = ours.requests_per_s / row.limit
        verdict = "pass" if share >= row.limit_share else "MISS"
        verdicts.append(f"carboy to the arithmetic limit of full batches: {share:.3f},"
                        f" target >= {row.limit_share:g}: {verdict}")  # fmt: skip
    print("\n".join(verdicts) + "\n", flush=True)
    return {"key": row.key, "title": row.title, "servers": servers, "verdicts": verdicts}


def name_of(key: str) -> str:
    return _peers.BY_KEY[key].name if key in _peers.BY_KEY else key


def judge(target: Target, found: dict[str, Measured]) -> str:
    others = target.peers(found)
    if "carboy" not in found or not others:
        return ""
    ours = found["carboy"]
    best = min(others, key=lambda key: statistics.median(ratios(ours, found[key], target.measure)))
    times = statistics.median(ratios(ours, found[best], target.measure))
    what = "p50" if target.measure == "p50_ms" else "requests/s"
    verdict = "pass" if times >= target.times else "MISS"
    name = name_of(best)
    return f"{what} against {name}: {times:.2f} x, target >= {target.times:g}: {verdict}"


@contextlib.contextmanager
def serving(
    peers: cabc.Iterable[_peers.Peer], model: str, missing: dict[str, str],
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
                    missing[f"{peer.key} {model}"] = str(failed)
                    print(f"left out: {failed}\n", flush=True)
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


def show_starts(servers: list[Running]) -> dict[str, dict[str, object]]:
    lines, found = [], {}
    for each in servers:
        known = _peers.versions(each.peer)
        own = ", ".join(f"{name} {known[name]}" for name in each.peer.shows)
        lines.append((
            each.peer.name, f"{each.start_s:.2f}", f"{each.idle_mib:.0f}", f"{each.idle_cpu:.0%}",
            str(len(each.server.pids())), each.peer.processes, own,
        ))  # fmt: skip
        found[each.peer.name] = {
            "first_answer_s": round(each.start_s, 3), "idle_mib": round(each.idle_mib, 1),
            "idle_cpu": round(each.idle_cpu, 3), "versions": known,
        }  # fmt: skip
    head = ("digits, one server", "first answer s", "idle MiB", "idle CPU", "processes",
            "workers", "versions")  # fmt: skip
    print(_measure.table(head, lines) + "\n", flush=True)
    return found


def show_text(*, rounds: int, seconds: float, missing: dict[str, str]) -> dict[str, object]:
    """Measure a page of an app with models, and the same page of an app without."""
    shape = shapes.BY_KEY["text"]
    row = Row(TEXT, "text view of carboy serve, c=32", "digits", _client.CONNECTIONS)
    without = tuple(word.replace("peers.carboy", "peers.plain") for word in CARBOY.command)
    peers = [
        CARBOY,
        dataclasses.replace(CARBOY, key=PLAIN, name=PLAIN, home=CARBOY.key, command=without),
    ]
    found = {peer.key: Measured([]) for peer in peers}
    with serving(peers, "digits", missing, shape) as servers:
        for turn in range(rounds + 1):
            for each in servers[:: 1 if turn % 2 else -1]:
                into = found[each.peer.key] if turn else Measured([])
                slot(each, row, shape, seconds, into)
    result = show(row, found)
    share = statistics.median(ratios(found[CARBOY.key], found[PLAIN]))
    verdict = "pass" if share >= TEXT_SHARE else "MISS"
    result["verdicts"] = [f"with models to without: {share:.2f}, target >= {TEXT_SHARE}: {verdict}"]
    print(*result["verdicts"], sep="\n", end="\n\n", flush=True)
    return result


def headroom() -> dict[str, float]:
    """Measure the limit of the load generator, with a callable that only reads the body."""
    command = ("-m", "granian", "--interface", "rsgi", "--host", "127.0.0.1", "--port", "PORT",
               "--workers", "1", "--no-ws", "--log-level", "warning", "peers.bare:app")  # fmt: skip
    kind = _servers.Kind("bare RSGI on granian", command, python=CARBOY.python)
    found = {}
    with _servers.running([kind], threads=1) as servers:
        for key in ("digits-32", "photo-16", "tensor-4"):
            row = BY_KEY[key]
            shape = shape_of(CARBOY, row.request)
            load = _client.load(servers[kind.name].port, shape, None, seconds=1,
                                connections=row.connections)  # fmt: skip
            found[key] = load.requests_per_s
    return found


def prepare() -> None:
    marker = _peers.HOME / "answers.json"
    made_from = (_servers.HERE / "peers" / "prepare.py", _servers.HERE / "peers" / "work.py")
    if marker.exists() and marker.stat().st_mtime > max(p.stat().st_mtime for p in made_from):
        return
    env = CARBOY.environment("digits", pathlib.Path())
    env |= {"BENCH_COUNTS": "", "PYTHONPATH": str(_servers.HERE)}
    subprocess.run([CARBOY.python, "-m", "peers.prepare"], cwd=_servers.HERE, env=env, check=True)


def main() -> None:
    parser = _measure.arguments(__doc__)
    parser.add_argument("--only", nargs="+", choices=[*BY_KEY, TEXT], metavar="ROW",
                        help=f"some rows: {', '.join([*BY_KEY, TEXT])}")  # fmt: skip
    parser.add_argument("--peers", nargs="+", choices=list(_peers.BY_KEY), metavar="KEY",
                        help=f"some peers: {', '.join(_peers.BY_KEY)}")  # fmt: skip
    parser.add_argument("--rounds", type=int, help="rounds of each peer and row")
    parser.add_argument("--seconds", type=float, help="length of a slot")
    options = parser.parse_args()
    rounds = options.rounds or (2 if options.quick else 4)
    seconds = options.seconds or (1 if options.quick else 2)
    keys = options.peers or (QUICK_PEERS if options.quick else tuple(_peers.BY_KEY))
    wanted = options.only or [row.key for row in ROWS if row.quick or not options.quick] + [TEXT]
    began_s = time.monotonic()
    # Stops the servers, however the program ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    peers = [_peers.BY_KEY[key] for key in keys]
    missing = _peers.install(_peers.BY_KEY[key] for key in dict.fromkeys(["carboy", *keys]))
    for key, why in missing.items():
        print(f"left out: {key} cannot be installed: {why}")
    peers = [peer for peer in peers if peer.key not in missing]
    prepare()
    _measure.print_machine("carboy", "granian")
    how = (f"{_client.name()}, one worker each; the load and the one server that is asked share"
           f" the cores; {rounds} rounds of {seconds:g} s")  # fmt: skip
    print(how)
    bare = headroom()
    print("the load's own limit (a bare callable): "
          + ", ".join(f"{key} {rate:,.0f}/s" for key, rate in bare.items()) + "\n")  # fmt: skip
    rows, starts = [], {}
    chosen = [row for row in ROWS if row.key in wanted]
    for model in dict.fromkeys(row.model for row in chosen):
        with serving(peers, model, missing) as servers:
            if not starts:
                starts = show_starts(servers)
            for row in chosen:
                if row.model == model and servers:
                    found = measure(servers, row, rounds=rounds, seconds=seconds)
                    rows.append(show(row, found))
    if TEXT in wanted and "carboy" in keys:
        rows.append(show_text(rounds=rounds, seconds=seconds, missing=missing))
    print(f"{time.monotonic() - began_s:.0f} s")
    if options.json:
        _measure.report_json(options.json, rows, "carboy", "granian", how=how, headroom=bare,
                             starts=starts, missing=missing)  # fmt: skip


if __name__ == "__main__":
    main()
