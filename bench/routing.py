"""The time of the compiled matcher, compared with Werkzeug's and Falcon's, in one interleaved run.

    python bench/routing.py [--quick] [--json FILE]

3,000 paths are matched in random order, each as a new string, so that no cached hash helps. "warm"
matches them once before the clock starts; "cold" follows directly after the peers have filled the
CPU's caches, and shows the cost of memory access in a large map.
"""

from __future__ import annotations

import importlib.util
import random
import time
import typing as t

from werkzeug.routing import Rule

import _measure
import _results
from carboy.core.routing import Map

# Multiples of six, so that each map has the same mixture of `mixed`.
SIZES = (12, 1_200, 12_000)
Asker = t.Callable[[str], t.Any]


def static(i: int) -> tuple[str, str]:
    return f"/page-{i}", f"/page-{i}"


def number(i: int) -> tuple[str, str]:
    return f"/things{i}/<int:id>", f"/things{i}/{i * 7}"


def mixed(i: int) -> tuple[str, str]:
    """Return rules: ten resources per blueprint, six routes per resource, about half of them
    dynamic.
    """
    group, resource, kind = i // 60, i // 6 % 10, i % 6
    base = f"/api/v1/part{group}/items{resource}"
    return [
        (base, base),
        (f"{base}/<int:id>", f"{base}/{i}"),
        (f"{base}/<int:id>/edit", f"{base}/{i}/edit"),
        (f"{base}/by-name/<name>", f"{base}/by-name/n{i}"),
        (f"{base}/<int:id>/notes/<int:note>", f"{base}/{i}/notes/{i + 1}"),
        (f"{base}/files/<path:name>", f"{base}/files/a/b{i}.txt"),
    ][kind]


def carboy(rules: list[str]) -> Asker:
    url_map = Map([Rule(rule, endpoint=rule, methods=["GET"]) for rule in rules])
    url_map.fast_match("/", "GET")  # compile
    return lambda path: url_map.fast_match(path, "GET")


def werkzeug(rules: list[str]) -> Asker:
    """Time its matcher alone; creating the adapter as Flask does for each request takes longer."""
    url_map = Map([Rule(rule, endpoint=rule, methods=["GET"]) for rule in rules])
    url_map.update()
    match = url_map._matcher.match
    return lambda path: match("", path, "GET", websocket=False)


def falcon(rules: list[str]) -> Asker:
    from falcon.routing import CompiledRouter

    class Resource:
        def on_get(self, req: t.Any, resp: t.Any, **args: t.Any) -> None: ...

    router = CompiledRouter()
    for rule in rules:
        router.add_route(_falcon_template(rule), Resource())
    router.find("/")  # compile
    return router.find


def _falcon_template(rule: str) -> str:
    for ours, theirs in (("<int:", "{?:int"), ("<path:", "{?:path"), ("<", "{?")):
        while ours in rule:
            head, _, rest = rule.partition(ours)
            name, _, rest = rest.partition(">")
            rule = f"{head}{theirs.replace('?', name)}}}{rest}"
    return rule


def measure(
    row: _results.Row, askers: dict[str, Asker], paths: list[str], *, rounds: int, warm: bool
) -> None:
    """Add the time per match of each to the row, measured in turns, less that of the loop."""
    for _ in range(rounds):
        took_us: dict[str, float] = {}
        for name, ask in [("", lambda path: path), *askers.items()]:
            fresh = [path[:1] + path[1:] for path in paths]
            for path in paths if warm else ():
                ask(path)
            started_ns = time.perf_counter_ns()
            for path in fresh:
                ask(path)
            took_us[name] = (time.perf_counter_ns() - started_ns) / len(fresh) / 1000
        for name in askers:
            row.add(name, us=took_us[name] - took_us[""])


def main() -> None:
    options = _measure.arguments(__doc__).parse_args()
    versions = ("carboy", "werkzeug", "falcon")
    record = _results.Record("routing", options, *versions, how="the matcher alone")
    peers: dict[str, t.Callable[[list[str]], Asker]] = {"carboy": carboy, "Werkzeug": werkzeug}
    if importlib.util.find_spec("falcon") is not None:
        peers["Falcon"] = falcon
    else:
        record.leave_out("Falcon", "not installed")
    for shape in (static, number, mixed):
        for size in SIZES[:2] if options.quick else SIZES:
            askers, paths = prepare(shape, size, peers)
            for warm in (True, False):
                heat = "warm" if warm else "cold"
                row = record.row(
                    f"{shape.__name__}-{heat}-{size}",
                    f"{size:,} routes, {shape.__name__}, {heat}",
                    at=size,
                )
                measure(row, askers, paths, rounds=_measure.rounds_of(options), warm=warm)
                record.show(row)
    record.close(show=False)


def prepare(
    shape: t.Callable[[int], tuple[str, str]], size: int, peers: dict[str, t.Any]
) -> tuple[dict[str, Asker], list[str]]:
    pairs = [shape(i) for i in range(size)]
    askers = {name: make([rule for rule, _ in pairs]) for name, make in peers.items()}
    return askers, [path for _, path in random.Random(1).choices(pairs, k=3_000)]


if __name__ == "__main__":
    main()
