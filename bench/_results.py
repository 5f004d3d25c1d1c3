"""One format for the results of all programs in bench/, its writer, and its reader.

A record has rows, one for each thing that was measured, such as a kind of request. A row has
quantities (requests per second, microseconds, ...), and a quantity has for each peer one value per
round. Medians and ratios follow from these values. A ratio is the median over the rounds of the
ratio within a round, never a ratio of two medians, and has the range of the middle half of the
rounds. All of that is written as JSON, with the machine, the versions and the command:

    record = Record("serve", options, "carboy", "flask", how="32 connections")
    row = record.row("text", "text view, no hooks", ours="carboy serve")
    for _ in range(rounds):
        for name in peers:
            row.add(name, requests_per_s=..., p99_ms=...)
    record.close()      # prints each row as a table, and writes the file that --json names

`render.py` reads the files and writes the tables, plots and figures of README and docs.
"""

from __future__ import annotations

import argparse
import collections.abc as cabc
import dataclasses
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import typing as t

import _measure

FORMAT = 1
ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
# A difference of two times can be zero or negative because of noise. In no unit below is a
# thousandth anything but noise.
LEAST = 1e-3


class Quantity(t.NamedTuple):
    """What a number is: the title of its column, its decimal places, and what is better."""

    title: str
    places: int
    better: t.Literal["more", "less", ""]


QUANTITIES = {
    "requests_per_s": Quantity("requests/s", 0, "more"),
    "results_per_s": Quantity("results/s", 0, "more"),
    "mb_per_s": Quantity("MB/s", 0, "more"),
    "of_limit": Quantity("of the limit", 3, "more"),
    "us": Quantity("us", 2, "less"),
    "whole_us": Quantity("us with harness", 2, "less"),
    "ms": Quantity("ms", 2, "less"),
    "s": Quantity("s", 2, "less"),
    "p50_ms": Quantity("p50 ms", 2, "less"),
    "p99_ms": Quantity("p99 ms", 2, "less"),
    "worst_ms": Quantity("worst ms", 1, "less"),
    "first_answer_s": Quantity("first answer s", 2, "less"),
    "cpu_us": Quantity("CPU us", 1, "less"),
    "mib": Quantity("MiB", 1, "less"),
    "idle_mib": Quantity("idle MiB", 0, "less"),
    "idle_cpu": Quantity("idle CPU", 3, "less"),
    "processes": Quantity("processes", 0, ""),
    "packages": Quantity("packages", 0, "less"),
    "batch": Quantity("batch", 1, ""),
    "shed": Quantity("shed", 3, "less"),
    "of_nominal": Quantity("of its nominal time", 3, ""),
    "late_ms": Quantity("client late ms", 1, "less"),
    "errors": Quantity("errors", 0, "less"),
}


class Ratio(t.NamedTuple):
    """The median of the ratios within each round, and the range of their middle half."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, ones: cabc.Sequence[float], others: cabc.Sequence[float]) -> Ratio:
        each = sorted(
            max(one, LEAST) / max(other, LEAST) for one, other in zip(ones, others, strict=True)
        )
        if len(each) == 1:
            return cls(each[0], each[0], each[0])
        low, _, high = statistics.quantiles(each, n=4, method="inclusive")
        return cls(low, statistics.median(each), high)


@dataclasses.dataclass(frozen=True)
class Target:
    """A bound of the ratio of one peer to another, or of the value of one peer, if `to` is empty.

    Attributes:
        bound: "most" or "least".
    """

    quantity: str
    of: str
    to: str
    bound: t.Literal["most", "least"]
    limit: float

    def judge(self, row: Row) -> dict[str, t.Any] | None:
        """Return what was found, as data. None if a peer was not measured."""
        values = row.values.get(self.quantity, {})
        if self.of not in values or (self.to and self.to not in values):
            return None
        if self.to:
            found = row.ratio(self.quantity, self.of, self.to).median
        else:
            found = statistics.median(values[self.of])
        met = found <= self.limit if self.bound == "most" else found >= self.limit
        return {**dataclasses.asdict(self), "found": found, "met": met}


@dataclasses.dataclass
class Row:
    """One thing that was measured of several peers.

    Attributes:
        ours: the peer whose ratio to each of the others is written.
        values: per quantity and peer, a value for each round.
        pairs: further pairs of peers whose ratios are written.
        at: where on the horizontal axis of a plot this row is.
    """

    key: str
    title: str
    ours: str = "carboy"
    pairs: tuple[tuple[str, str], ...] = ()
    targets: list[Target] = dataclasses.field(default_factory=list)
    at: float | None = None
    values: dict[str, dict[str, list[float]]] = dataclasses.field(default_factory=dict)

    def add(self, peer: str, **quantities: float) -> None:
        """Add what was measured of a peer in one round."""
        for name, value in quantities.items():
            if name not in QUANTITIES:
                raise KeyError(f"no quantity {name!r}: add it to QUANTITIES in {__file__}")
            self.values.setdefault(name, {}).setdefault(peer, []).append(value)

    def add_times(
        self, times: cabc.Mapping[str, _measure.Timing], *, calls: int = 1, quantity: str = "us"
    ) -> Row:
        """Add the times of `_measure.measure`, each of so many calls, as microseconds of one."""
        for peer, timing in times.items():
            for ns in timing.rounds_ns:
                self.add(peer, **{quantity: ns / calls / 1000})
        return self

    @property
    def peers(self) -> list[str]:
        return list(dict.fromkeys(itertools.chain(*self.values.values())))

    def ratio(self, quantity: str, one: str, other: str) -> Ratio:
        return Ratio.of(self.values[quantity][one], self.values[quantity][other])

    def ratios(self) -> dict[str, dict[str, Ratio]]:
        """Return the ratios of all pairs per quantity; `a / b` is how many times b's value a's is.

        A peer that lacks a round, because it broke, is in no ratio.
        """
        pairs = [*((self.ours, peer) for peer in self.peers if peer != self.ours), *self.pairs]
        return {
            quantity: {
                f"{one} / {other}": Ratio.of(peers[one], peers[other])
                for one, other in pairs
                if one in peers and other in peers and len(peers[one]) == len(peers[other])
            }
            for quantity, peers in self.values.items()
        }

    def data(self) -> dict[str, t.Any]:
        judged = [found for target in self.targets if (found := target.judge(self))]
        return {
            "key": self.key,
            "title": self.title,
            "ours": self.ours,
            **({} if self.at is None else {"at": self.at}),
            "ratios": {
                quantity: {pair: ratio._asdict() for pair, ratio in pairs.items()}
                for quantity, pairs in self.ratios().items()
                if pairs
            },
            "targets": judged,
            "values": self.values,
        }

    def text(self) -> str:
        """Return the row as a plain table: medians, and the ratio of the first quantity."""
        main, others = next(iter(self.values)), list(self.values)[1:]
        better = QUANTITIES[main].better
        ratios = self.ratios()[main]
        lines = []
        for peer in sorted(
            self.peers, key=lambda peer: self._median(main, peer), reverse=better == "more"
        ):
            ratio = ratios.get(f"{self.ours} / {peer}")
            lines.append((
                peer,
                self._cell(main, peer),
                f"{ratio.median:.3g}" if ratio else "-",
                f"{ratio.low:.3g} to {ratio.high:.3g}" if ratio else "-",
                *(self._cell(name, peer) for name in others),
            ))  # fmt: skip
        head = (self.title, QUANTITIES[main].title, f"{self.ours} to it", "middle half",
                *(QUANTITIES[name].title for name in others))  # fmt: skip
        return "\n".join([_measure.table(head, lines), *self._verdicts()])

    def _verdicts(self) -> cabc.Iterator[str]:
        for target in self.targets:
            if found := target.judge(self):
                to = f" to {target.to}" if target.to else ""
                yield (
                    f"{QUANTITIES[target.quantity].title} of {target.of}{to}:"
                    f" {found['found']:.3g}, target: at {target.bound} {target.limit:.3g}:"
                    f" {'pass' if found['met'] else 'MISS'}"
                )

    def _median(self, quantity: str, peer: str) -> float:
        return statistics.median(self.values[quantity].get(peer) or [0.0])

    def _cell(self, quantity: str, peer: str) -> str:
        if peer not in self.values[quantity]:
            return "-"
        return f"{self._median(quantity, peer):,.{QUANTITIES[quantity].places}f}"


class Record:
    """The results of one program. Prints the machine and the versions when it is made.

    Args:
        name: the name of the program; the suite that has started it may have another.
        options: those of `_measure.arguments`.
        distributions: whose versions are recorded.
        how: what one has to know to read the figures.
    """

    def __init__(
        self, name: str, options: argparse.Namespace, *distributions: str, how: str = ""
    ) -> None:
        self.name = name
        self.how = how
        self.missing: dict[str, str] = {}
        self.versions = _measure.versions(*distributions)
        self.rows: list[Row] = []
        self.options = options
        self._began_s = time.monotonic()
        self._load = os.getloadavg()[0]
        _measure.print_machine(*distributions)
        print(how + "\n" if how else "", flush=True)

    def row(
        self,
        key: str,
        title: str,
        *,
        ours: str = "carboy",
        pairs: cabc.Iterable[tuple[str, str]] = (),
        targets: cabc.Iterable[Target] = (),
        at: float | None = None,
    ) -> Row:
        """Begin a row; its values are added to what is returned."""
        row = Row(key, title, ours, tuple(pairs), list(targets), at)
        self.rows.append(row)
        return row

    def leave_out(self, peer: str, reason: str) -> None:
        """Say why a peer was not measured."""
        self.missing[peer] = reason
        print(f"left out: {peer} ({reason})", flush=True)

    def show(self, row: Row) -> None:
        print(row.text() + "\n", flush=True)

    def close(self, *, show: bool = True) -> None:
        """Print the rows, unless each was shown before, and write the file that --json names."""
        self.rows = [row for row in self.rows if row.values]
        for row in self.rows if show else ():
            self.show(row)
        print(f"{time.monotonic() - self._began_s:.0f} s")
        if self.options.json:
            target = pathlib.Path(self.options.json)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(dumps(self.data()))

    def data(self) -> dict[str, t.Any]:
        rounds = [
            len(values)
            for row in self.rows
            for peers in row.values.values()
            for values in peers.values()
        ]
        return {
            "format": FORMAT,
            "name": self.name,
            "command": " ".join(["bench/" + pathlib.Path(sys.argv[0]).name, *_arguments()]),
            "how": self.how,
            "made": time.strftime("%Y-%m-%d", time.gmtime()),
            "commit": commit(),
            "quick": self.options.quick,
            "rounds": max(rounds, default=0),
            "took_s": round(time.monotonic() - self._began_s),
            "load_before": round(self._load, 1),
            "machine": _measure.machine(),
            "versions": self.versions,
            "missing": self.missing,
            "rows": [row.data() for row in self.rows],
        }


def _arguments() -> list[str]:
    """Return the arguments of this program, without the file that the results are written to."""
    given = sys.argv[1:]
    if "--json" in given:
        at = given.index("--json")
        del given[at : at + 2]
    return [each for each in given if not each.startswith("--json=")]


def commit() -> str:
    """Return the commit of the checkout; with `+` if what is measured differs from it."""
    measured = ("src", "bench/*.py", "bench/apps", "bench/peers")
    git = ["git", "-C", str(ROOT)]
    try:
        found = _output(*git, "rev-parse", "--short=10", "HEAD")
        changed = _output(*git, "status", "--porcelain", "--", *measured)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found + ("+" if changed else "")


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def dumps(data: dict[str, t.Any]) -> str:
    """Return a result as JSON, with five digits; a list or object without others is one line."""
    return _json(_rounded(data), "") + "\n"


def _json(value: t.Any, indent: str) -> str:
    parts = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list) or not any(isinstance(p, dict | list) for p in parts):
        return json.dumps(value, ensure_ascii=False)
    deeper = indent + " "
    if isinstance(value, dict):
        lines = [f"{json.dumps(key)}: {_json(each, deeper)}" for key, each in value.items()]
        opening, closing = "{}"
    else:
        lines = [_json(each, deeper) for each in value]
        opening, closing = "[]"
    return f"{opening}\n{deeper}" + f",\n{deeper}".join(lines) + f"\n{indent}{closing}"


def _rounded(value: t.Any) -> t.Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value


class Result:
    """What a file in results/ says, for those who show it."""

    def __init__(self, data: dict[str, t.Any], source: str) -> None:
        self.data = data
        self.source = source
        self.rows = {row["key"]: row for row in data["rows"]}

    @classmethod
    def read(cls, path: pathlib.Path) -> Result:
        """Read a result.

        Raises:
            ValueError: it is none of this format.
        """
        data = json.loads(path.read_text(encoding="utf-8"))
        if problems := list(problems_of(data)):
            raise ValueError(f"{path.name}: {'; '.join(problems)}")
        return cls(data, path.stem)

    def ratio(self, row: str, quantity: str, one: str, other: str) -> Ratio | None:
        """Return how many times the value of one peer is that of the other; None if unknown."""
        ratios = self.rows[row]["ratios"].get(quantity, {})
        if found := ratios.get(f"{one} / {other}"):
            return Ratio(**found)
        if found := ratios.get(f"{other} / {one}"):
            return Ratio(1 / found["high"], 1 / found["median"], 1 / found["low"])
        return None

    def median(self, row: str, quantity: str, peer: str) -> float | None:
        values = self.rows[row]["values"].get(quantity, {}).get(peer)
        return statistics.median(values) if values else None

    def peers(self, row: str, quantity: str) -> list[str]:
        """Return the peers of a row, ours first."""
        found = self.rows[row]
        pairs = found["ratios"].get(quantity, {})
        named = [each for pair in pairs for each in pair.split(" / ")]
        return list(dict.fromkeys([found["ours"], *named, *found["values"].get(quantity, {})]))


# What a result has, and of which type. `by_hand` says since when figures are known whose rounds
# were not kept: those from before this format.
FIELDS = {
    "name": str, "command": str, "how": str, "made": str, "commit": str, "quick": bool,
    "rounds": int, "machine": dict, "versions": dict, "missing": dict, "rows": list,
}  # fmt: skip


def problems_of(data: dict[str, t.Any]) -> cabc.Iterator[str]:
    """Yield what is wrong with a result."""
    if data.get("format") != FORMAT:
        yield f"format is {data.get('format')!r}, not {FORMAT}"
        return
    for field, kind in FIELDS.items():
        if not isinstance(data.get(field), kind):
            yield f"{field} is {data.get(field)!r}, not of type {kind.__name__}"
            return
    keys = [row["key"] for row in data["rows"]]
    for key in {key for key in keys if keys.count(key) > 1}:
        yield f"two rows {key!r}"
    for row in data["rows"]:
        yield from (f"{row['key']}: {problem}" for problem in _problems_of_row(row, data))


def _problems_of_row(row: dict[str, t.Any], data: dict[str, t.Any]) -> cabc.Iterator[str]:
    for name in (*row["values"], *row["ratios"]):
        if name not in QUANTITIES:
            yield f"no quantity {name!r}"
    if "by_hand" in data:
        return
    for quantity, pairs in row["ratios"].items():
        for pair, ratio in pairs.items():
            one, other = (row["values"][quantity].get(peer, []) for peer in pair.split(" / "))
            if not one or len(one) != len(other):
                yield f"{pair}: {len(one)} and {len(other)} rounds"
            elif abs(Ratio.of(one, other).median / ratio["median"] - 1) > 0.01:
                yield f"{pair}: {quantity} has another ratio than its rounds"
