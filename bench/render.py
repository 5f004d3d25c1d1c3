"""Write the tables, plots and figures of README and docs from results/*.json.

    python bench/render.py            write them
    python bench/render.py --check    say what differs, and which figures have no source; exit 1

In a page, what stands between `<!-- record: NAME -->` and `<!-- end of record -->` is a table or a
plot that is made here. A figure within a sentence stands between
`<!-- figure: RESULT | ROW | QUANTITY | PEER / PEER -->` and `<!-- end -->`; with one peer it is a
median, otherwise a ratio. The text there now says in which form: 1/25, 0.92, 16. A mark never
begins a line, since Markdown would take the line for HTML. A measured figure in a sentence without
such a mark is an error; `prose.py` says what counts as one, and how to mark a number that is none.
"""

from __future__ import annotations

import argparse
import collections.abc as cabc
import functools
import pathlib
import re
import sys
import tomllib
import typing as t

import _baseline
import _drawing
import _results
import prose

HERE = pathlib.Path(__file__).resolve().parent
IMAGES = _results.ROOT / "docs" / "img"
_REGION = re.compile(r"(<!-- record: ([\w-]+) -->\n).*?(<!-- end of record -->)", re.DOTALL)
# In code it is an example.
_FIGURE = re.compile(r"(?<!`)(<!-- figure: ([^>]+?) -->)(.*?)(<!-- end -->)", re.DOTALL)
NOT_MEASURED = "Not measured yet in this format: `make bench ONLY={name}` does it.\n"


@functools.cache
def result(name: str) -> _results.Result | None:
    """Return a result; None if there is none. A quick one is an error."""
    path = _results.RESULTS / f"{name}.json"
    if not path.exists():
        return None
    found = _results.Result.read(path)
    if found.data["quick"]:
        raise ValueError(f"{path.name} is of a quick run, which no page may show")
    return found


# -- figures ---------------------------------------------------------------------------------


def times(value: float) -> str:
    """Write a ratio or a value with about three digits."""
    if value >= 9.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 2.995 else f"{value:.2f}"


# A smaller part of a time is less than its measurement differs from round to round.
SMALLEST = 1 / 200


def part(value: float) -> str:
    """Write a ratio as a part of one: 1/25."""
    if value < SMALLEST:
        return f"under {part(SMALLEST)}"
    inverse = 1 / value
    return f"1/{inverse:.0f}" if inverse >= 9.95 else f"1/{inverse:.1f}".removesuffix(".0")


def spread(ratio: _results.Ratio, write: cabc.Callable[[float], str]) -> str:
    """Write a ratio with the middle half of its rounds, if these are known."""
    if ratio.low == ratio.high:
        return write(ratio.median)
    return f"{write(ratio.median)} <small>({write(ratio.low)} to {write(ratio.high)})</small>"


def figure(words: str, now: str) -> str:
    """Return the figure that a mark names, in the form of what stands there now."""
    name, row, quantity, peers = (each.strip() for each in words.split("|"))
    found = result(name)
    if found is None or row not in found.rows:
        raise ValueError(f"figure {words!r}: there is no result of it")
    one, _, other = (each.strip() for each in peers.partition(" / "))
    if other:
        ratio = found.ratio(row, quantity, one, other)
        value = ratio.median if ratio else None
    else:
        value = found.median(row, quantity, one)
    if value is None:
        raise ValueError(f"figure {words!r}: {name} has no such value")
    return part(value) if now.startswith(("1/", "under 1/")) else times(value)


# -- tables ----------------------------------------------------------------------------------


def table(head: cabc.Sequence[str], rows: cabc.Iterable[cabc.Sequence[str]]) -> str:
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def title_of(row: dict[str, t.Any]) -> str:
    """Return the title of a row, without what Markdown takes for HTML."""
    return re.sub(r"<[^>]*>", r"`\g<0>`", row["title"])


def source(found: _results.Result) -> str:
    """Return where the figures of a table come from."""
    data = found.data
    machine = ", ".join(filter(None, (
        data["machine"].get("python"),
        f"{data['machine']['cores']} x {data['machine']['cpu']}" if data["machine"] else "",
    )))  # fmt: skip
    if "by_hand" in data:
        made = f"{data['made']}, commit {data['commit']}; {data['by_hand']}"
    else:
        made = f"{data['made']}, commit {data['commit']}; medians of {data['rounds']} rounds"
    parts = [f"`{data['command']}`", data["how"], machine, made]
    return "; ".join(filter(None, parts)) + ".\n"


def columns(found: _results.Result, quantity: str, rows: list[str]) -> list[str]:
    """Return the peers of some rows beside ours, in the order in which they first appear."""
    peers = [
        peer
        for row in rows
        for peer in found.peers(row, quantity)
        if peer != found.rows[row]["ours"]
    ]
    return list(dict.fromkeys(peers))


def matrix(
    name: str,
    quantity: str,
    *,
    rows: cabc.Sequence[str] = (),
    title: str = "",
    small: bool = True,
    without: str = "",
) -> str:
    """Return a table with a line per row and a column per peer: our value divided by its.

    Args:
        without: a peer that the table leaves out.
    """
    found = result(name)
    if found is None:
        return NOT_MEASURED.format(name=name)
    shown = [row for row in (rows or found.rows) if found.rows[row]["ratios"].get(quantity)]
    peers = [peer for peer in columns(found, quantity, shown) if peer != without]
    lines = []
    for row in shown:
        cells = []
        for peer in peers:
            ratio = found.ratio(row, quantity, found.rows[row]["ours"], peer)
            cells.append("-" if ratio is None else spread(ratio, times) if small
                         else times(ratio.median))  # fmt: skip
        lines.append((title_of(found.rows[row]), *cells))
    return table((title or _results.QUANTITIES[quantity].title, *peers), lines)


def long(name: str, quantity: str) -> str:
    """Return a table with a line per row and peer: the median, and our value divided by it."""
    found = result(name)
    if found is None:
        return NOT_MEASURED.format(name=name)
    lines = []
    for row, data in found.rows.items():
        for peer in found.peers(row, quantity):
            ratio = found.ratio(row, quantity, data["ours"], peer)
            value = found.median(row, quantity, peer)
            lines.append((
                title_of(data), peer, "-" if value is None else times(value),
                "" if peer == data["ours"] or ratio is None else spread(ratio, times),
            ))  # fmt: skip
    head = ("", "", _results.QUANTITIES[quantity].title, "ours to it")
    return table(head, lines)


def with_source(name: str, *parts: str) -> str:
    """Return parts of a page, with the source of their figures and the reasons."""
    found = result(name)
    if found is None:
        return NOT_MEASURED.format(name=name)
    shown = "\n".join(part for part in parts if part)
    return f"{shown}\n{source(found)}{reasons(name)}"


# -- where carboy is not first ---------------------------------------------------------------


@functools.cache
def known_reasons() -> list[dict[str, t.Any]]:
    return list(tomllib.loads((HERE / "reasons.toml").read_text(encoding="utf-8"))["reason"])


def behind(name: str) -> list[tuple[str, str, str]]:
    """Return row, quantity and peer of what is better than ours by more than the noise, of the
    quantity that the pages show.
    """
    found = result(name)
    if found is None:
        return []
    lost = []
    for row, data in found.rows.items():
        for quantity in SHOWN.get(name, ()):
            more = _results.QUANTITIES[quantity].better == "more"
            for peer in found.peers(row, quantity)[1:]:
                ratio = found.ratio(row, quantity, data["ours"], peer)
                if ratio and (ratio.high < 0.995 if more else ratio.low > 1.005):
                    lost.append((row, quantity, peer))
    return lost


def reason_of(name: str, row: str, peer: str) -> str | None:
    for each in known_reasons():
        if (
            re.fullmatch(each["result"], name)
            and re.fullmatch(each.get("row", ".*"), row)
            and re.fullmatch(each.get("peer", ".*"), peer)
        ):
            return str(each["why"])
    return None


def reasons(name: str) -> str:
    """Return a list of the peers that are ahead of ours, and why."""
    lines: dict[str, list[str]] = {}
    for row, _, peer in behind(name):
        why = reason_of(name, row, peer) or "the reason is not known"
        lines.setdefault(why, [])
        if peer not in lines[why]:
            lines[why].append(peer)
    return "".join(f"\n* {', '.join(peers)}: {why}" for why, peers in lines.items()) + (
        "\n" if lines else ""
    )


# -- plots -----------------------------------------------------------------------------------


def bars(name: str, quantity: str, title: str, note: str) -> str:
    """Draw a row per panel, with a bar per peer."""
    found = result(name)
    assert found is not None
    more = _results.QUANTITIES[quantity].better == "more"
    panels = []
    for row, data in found.rows.items():
        values = {
            peer: value
            for peer in found.peers(row, quantity)
            if (value := found.median(row, quantity, peer)) is not None
        }
        if len(values) < 2:
            continue
        ordered = sorted(values.items(), key=lambda item: item[1], reverse=more)
        ours, most = values.get(data["ours"], 0.0), max(values.values())
        lines = [
            _drawing.Bar(
                peer, value / most,
                (times(value), "" if peer == data["ours"] else times(ours / value)),
                ours=peer == data["ours"],
            )
            for peer, value in ordered
        ]  # fmt: skip
        head = (_results.QUANTITIES[quantity].title, "ours to it")
        panels.append(_drawing.Panel(data["title"], head, lines))
    longer = "Longer is better" if more else "Shorter is better"
    notes = [f"{longer}; {note}.", source(found).replace("`", "").strip()]
    return _drawing.Drawing(title, panels, notes).svg()


class Axis(t.NamedTuple):
    """A chart of rows with a position: those whose keys are `PREFIX-...`."""

    prefix: str
    quantity: str
    title: str
    x_title: str


def lines(name: str, title: str, axes: cabc.Sequence[Axis]) -> str:
    found = result(name)
    assert found is not None
    charts = []
    for axis in axes:
        rows = [row for row in found.rows if row.startswith(f"{axis.prefix}-")]
        peers = list(dict.fromkeys(p for row in rows for p in found.peers(row, axis.quantity)))
        drawn = [
            _drawing.Line(peer, [
                (float(found.rows[row]["at"]), value)
                for row in rows
                if (value := found.median(row, axis.quantity, peer))
            ])
            for peer in peers
        ]  # fmt: skip
        drawn = [line for line in drawn if line.points]
        if drawn:
            unit = _results.QUANTITIES[axis.quantity].title
            charts.append(_drawing.Chart(axis.title, axis.x_title, unit, drawn))
    return _drawing.Drawing(title, charts, [source(found).replace("`", "").strip()]).svg()


AXES = (
    Axis("routes", "us", "Time of a request, in process", "number of routes"),
    Axis("connections", "requests_per_s", "A text view, served", "connections"),
    Axis("connections", "p99_ms", "Its 99th percentile", "connections"),
    Axis("body", "us", "JSON echoed, in process", "bytes of the body"),
    Axis("batch", "requests_per_s", "A device of 5 ms + 0.2 ms per input", "largest batch"),
    Axis("workers", "requests_per_s", "A text view, by workers", "workers"),
    Axis("models", "p50_ms", "A prediction", "number of models"),
    Axis("models", "idle_mib", "Idle memory", "number of models"),
)
PLOTS: dict[str, tuple[str, cabc.Callable[[], str]]] = {
    "overhead": ("overhead", lambda: bars(
        "overhead", "us", "Time in the framework per request",
        "CPU time in process, less that of a bare callable")),
    "served": ("serve-two-cores", lambda: bars(
        "serve-two-cores", "requests_per_s", "Requests per second, served",
        "a bare callable shows what the server alone can do")),
    "models": ("models", lambda: bars(
        "models", "requests_per_s", "Predictions per second over HTTP",
        "the same weights everywhere, each peer at its best documented settings")),
    "scaling": ("scaling", lambda: lines("scaling", "How carboy scales", AXES)),
}  # fmt: skip


def has_values(name: str) -> bool:
    found = result(name)
    return found is not None and any(row["values"] for row in found.rows.values())


def plots() -> dict[pathlib.Path, str]:
    """Return the text of each plot by its path; those of figures by hand cannot be drawn."""
    return {
        IMAGES / f"{name}.svg": draw()
        for name, (needed, draw) in PLOTS.items()
        if has_values(needed)
    }


def plot(name: str, words: str) -> str:
    """Return the image of a plot for a page in docs/; nothing, if it cannot be drawn."""
    return f"![{words}](img/{name}.svg)\n" if has_values(PLOTS[name][0]) else ""


# -- what a page can show --------------------------------------------------------------------


# The quantities of each result that the pages show; a peer that is ahead there needs a reason.
SHOWN: dict[str, tuple[str, ...]] = {
    "overhead": ("us",),
    "overhead-one-app": ("us",),
    "typed": ("us",),
    "importing": ("ms", "first_answer_s", "idle_mib"),
    "footprint": ("mib",),
    "serve-two-cores": ("requests_per_s",),
    "serve-defaults": ("requests_per_s",),
    "serve-one-worker": ("requests_per_s",),
    "serve-one-core": ("requests_per_s",),
    "serve-one-core-two-workers": ("requests_per_s",),
    "models": ("requests_per_s",),
    "replicas": ("requests_per_s",),
    "cluster": ("requests_per_s", "p50_ms"),
    "routing": ("us",),
    "forms": ("us",),
    "tables": ("us",),
    "tensors": ("us",),
    "wires": ("requests_per_s",),
    "answers": ("us",),
    "operations": ("requests_per_s", "cpu_us"),
    "operations-two-cores": ("requests_per_s", "cpu_us"),
    "compute-threads": ("results_per_s",),
    "batching": ("of_limit", "results_per_s"),
    "uploads": ("mb_per_s",),
    "probes": ("p99_ms",),
}
# Those whose rows have peers of their own.
LONG = {"answers", "batching", "compute-threads", "forms", "operations", "operations-two-cores",
        "probes", "routing", "tables", "tensors", "uploads"}  # fmt: skip


def in_full(name: str) -> str:
    """Return all that a page shows of a result."""
    make = long if name in LONG else matrix
    found = result(name)
    if found is None:
        return NOT_MEASURED.format(name=name)
    measured = [
        quantity
        for quantity in SHOWN[name]
        if any(row["ratios"].get(quantity) for row in found.rows.values())
    ]
    return with_source(name, *(make(name, quantity) for quantity in measured))


def overhead_table() -> str:
    """Return README's table of the time in the framework."""
    found = result("overhead")
    if found is None:
        return NOT_MEASURED.format(name="overhead")
    rows = []
    for row, data in found.rows.items():
        ours, falcon = (found.ratio(row, "us", peer, "Flask") for peer in ("carboy", "Falcon"))
        if ours is None:
            continue
        (target,) = (each for each in data["targets"] if each["to"] == "Flask")
        missed = "" if target["met"] else ", missed"
        rows.append((
            title_of(data), f"**{part(ours.median)}**", part(falcon.median) if falcon else "-",
            f"{part(target['limit'])}{missed}",
        ))  # fmt: skip
    head = ("One request", "carboy to Flask", "Falcon to Flask", "target")
    return f"{table(head, rows)}\n{source(found)}"


def brief(name: str, title: str) -> str:
    """Return a table of README: ratios without their spread, which the page of all results has, as
    it has those to an earlier commit.
    """
    found = result(name)
    shown = matrix(name, SHOWN[name][0], title=title, small=False, without=_baseline.NAME)
    return shown if found is None else f"{shown}\n{source(found)}"


def simulated() -> str:
    """Return the table that compares simulated with real runs: predicted divided by measured."""
    found = result("simulate")
    if found is None:
        return NOT_MEASURED.format(name="simulate")
    rows = []
    for key, row in found.rows.items():
        pairs = [
            found.ratio(key, name, "predicted", "measured") for name in ("results_per_s", "p99_ms")
        ]
        shed = [found.median(key, "shed", peer) for peer in ("measured", "predicted")]
        if all(pairs) and None not in shed:
            cells = (spread(pair, times) for pair in pairs if pair)
            rows.append((title_of(row), *cells, *(f"{each:.1%}" for each in shed)))
    head = ("", "results/s", "p99", "shed, measured", "shed, predicted")
    return f"{table(head, rows)}\n{source(found)}"


REGIONS: dict[str, cabc.Callable[[], str]] = {
    "overhead-table": overhead_table,
    "simulate": simulated,
    "served-two-cores-table": lambda: brief("serve-two-cores", "Two cores"),
    "models-table": lambda: brief("models", "Predictions"),
    "scaling": lambda: with_source("scaling", plot("scaling", "How carboy scales")),
    "settings": lambda: with_source("settings", long("settings", "requests_per_s")),
    "overhead-plot": lambda: plot("overhead", "Time in the framework per request"),
    "served-plot": lambda: plot("served", "Requests per second of each server"),
    "models-plot": lambda: plot("models", "Predictions per second of each server"),
    **{name: functools.partial(in_full, name) for name in SHOWN},
}


def rendered(text: str) -> str:
    """Return a page with all that this program makes made anew."""

    def region(match: re.Match[str]) -> str:
        if match[2] not in REGIONS:
            raise ValueError(f"no table or plot {match[2]!r}: render.py knows {', '.join(REGIONS)}")
        return match[1] + REGIONS[match[2]]() + match[3]

    text = _REGION.sub(region, text)
    return _FIGURE.sub(lambda m: m[1] + figure(m[2], m[3]) + m[4], text)


def write() -> None:
    for path in prose.pages():
        before = path.read_text(encoding="utf-8")
        if (after := rendered(before)) != before:
            path.write_text(after, encoding="utf-8")
            print(f"wrote {path.relative_to(_results.ROOT)}")
    for path, text in plots().items():
        path.write_text(text, encoding="utf-8")


def problems() -> cabc.Iterator[str]:
    """Yield what differs from the results, and what has no source."""
    for path in sorted(_results.RESULTS.glob("*.json")):
        result(path.stem)
    for path in prose.pages():
        name, text = str(path.relative_to(_results.ROOT)), path.read_text(encoding="utf-8")
        if rendered(text) != text:
            yield f"{name} differs from bench/results: run `python bench/render.py`"
        if re.search(r"^ *<!-- figure:", text, re.MULTILINE):
            yield f"{name}: a line begins with a figure's mark, which Markdown takes for HTML"
        for found in prose.figures(_FIGURE.sub("", _REGION.sub("", text))):
            yield (
                f"{name}: {found!r} is a measured figure that is in no result. Measure it by a"
                " program in bench/, and mark it as bench/render.py says; or mark it as no"
                " measurement, as bench/prose.py says"
            )
    for path, text in plots().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            yield f"{path.name} differs from bench/results: run `python bench/render.py`"
    for name in SHOWN:
        for row, quantity, peer in behind(name):
            if reason_of(name, row, peer) is None:
                yield f"{name}: {peer} is ahead in {row} ({quantity}); reasons.toml has no reason"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if all differs")
    if not parser.parse_args().check:
        write()
        return 0
    found = list(problems())
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
