"""Time in the framework per request, in process: carboy, Flask, Falcon and a bare callable.

Each peer handles the same requests (apps/), called as a WSGI server calls it. The bare callable has
fixed
responses; its time is that of the harness, and is subtracted from the others' ("net"). For the
template
row the time of a bare `template.render` of the same page is subtracted as well. The ratio is net
carboy
to net Flask; the columns show net nanoseconds per request.

    python bench/overhead.py [--quick] [--json FILE] [--only KEY ...] [--one-app]

With `--one-app` each peer has all views in one app, as in `serve.py`, where the hooks belong to one
view only: then a request of another view has to find out that no hook is for it.
"""

from __future__ import annotations

import dataclasses
import importlib
import random
import types
import typing as t

import jinja2

import _measure
import _wsgi
from apps import bare_app, falcon_app, flask_like, shapes

DISTRIBUTIONS = ("carboy", "flask", "falcon", "werkzeug", "jinja2", "itsdangerous")
ROUTES_TARGET = 1.5


@dataclasses.dataclass(frozen=True)
class Row:
    """Net times of one request, and whether carboy meets its target."""

    key: str
    title: str
    target: float | None
    net: dict[str, _measure.Timing]
    gross: dict[str, _measure.Timing]
    ratio: _measure.Ratio | None

    @property
    def verdict(self) -> str:
        if self.ratio is None or self.target is None:
            return "-"
        return "pass" if self.ratio.median <= self.target else "MISS"


def frameworks() -> dict[str, types.ModuleType]:
    """Import carboy and Flask, if installed; `flask` must be the real one."""
    found: dict[str, types.ModuleType] = {}
    for name in ("carboy", "flask"):
        try:
            module = importlib.import_module(name)
            module.Flask  # noqa: B018 - a package that is not finished has no such name
        except (ImportError, AttributeError) as exc:
            print(f"left out: {name} ({exc})")
            continue
        found[name] = module
    if "flask" in found and found["flask"].Flask.__module__ != "flask.app":
        raise SystemExit("`flask` is not Flask here: install_as_flask() ran in this process")
    return found


def apps_for(
    shape: shapes.Shape, webs: dict[str, types.ModuleType], one_app: bool
) -> dict[str, _wsgi.App]:
    make = flask_like.make_hooked if shape.login else flask_like.make_plain
    if one_app:
        make = flask_like.make
    peers: dict[str, _wsgi.App] = {"bare": bare_app.app}
    peers.update({name: make(web) for name, web in webs.items()})
    peers["falcon"] = falcon_app.make()
    return peers


def checked_call(name: str, app: _wsgi.App, shape: shapes.Shape) -> tuple[t.Any, _wsgi.Answer]:
    cookie = _wsgi.login(app) if shape.login and name != "bare" else None
    environ = _wsgi.environ_for(shape, cookie)
    answer = _wsgi.ask(app, environ, shape.body)
    _wsgi.check(name, shape, answer)
    return _wsgi.caller(app, environ, shape.body), answer


def same_answers(shape: shapes.Shape, answers: dict[str, _wsgi.Answer]) -> None:
    """Check that carboy's response equals Flask's, header by header."""
    if not {"carboy", "flask"} <= answers.keys():
        return
    ours, theirs = answers["carboy"], answers["flask"]
    if (ours.status, sorted(ours.headers), ours.body) != (
        theirs.status,
        sorted(theirs.headers),
        theirs.body,
    ):
        raise SystemExit(f"{shape.key}: carboy answers {ours}, Flask {theirs}")


def measure_shape(
    shape: shapes.Shape, webs: dict[str, types.ModuleType], rounds: int, one_app: bool
) -> Row:
    cases, answers = [], {}
    for name, app in apps_for(shape, webs, one_app).items():
        call, answers[name] = checked_call(name, app, shape)
        cases.append(_measure.Case(name, call))
    same_answers(shape, answers)
    if shape.key == "template":
        cases.append(_measure.Case("render", bare_render()))
    gross = _measure.measure(cases, rounds=rounds)
    net = {
        name: timing.minus(gross["bare"])
        for name, timing in gross.items()
        if name not in ("bare", "render")
    }
    if "render" in gross:
        net = {name: timing.minus(gross["render"]) for name, timing in net.items()}
    ratio = _measure.ratio(net["carboy"], net["flask"]) if {*webs} >= {"carboy", "flask"} else None
    return Row(shape.key, shape.title, shape.target, net, gross, ratio)


def bare_render() -> t.Any:
    """Render the page by Jinja alone, configured as in Flask."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(shapes.TEMPLATES), autoescape=True, auto_reload=False
    )
    template = env.get_template("page.html")
    if not shapes.BY_KEY["template"].check(template.render(**shapes.PAGE).encode()):
        raise SystemExit("the bare template does not render the page")
    return lambda: template.render(**shapes.PAGE)


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


def measure_routes(webs: dict[str, types.ModuleType], rounds: int) -> list[Row]:
    """Time the whole request with 10,000 routes and with 10, which bounds the cost of matching."""
    rows = []
    text = shapes.BY_KEY["text"]
    for name, web in webs.items():
        cases = [_measure.Case("bare", checked_call("bare", bare_app.app, text)[0])]
        for count in (10, 10_000):
            app, paths = app_with_routes(web, count)
            # Ten paths from different parts of the map, in turn, so that no cache of the last one
            # helps.
            asked = random.Random(1).sample(paths, 10)
            calls = []
            for path in asked:
                environ = {**_wsgi.environ_for(text), "PATH_INFO": path}
                _wsgi.check(f"{name} with {count} routes", text, _wsgi.ask(app, environ))
                calls.append(_wsgi.caller(app, environ))
            cases.append(_measure.Case(str(count), in_turn(calls)))
        gross = _measure.measure(cases, rounds=rounds)
        bare = _measure.Timing("bare", tuple(each * 10 for each in gross["bare"].rounds_ns))
        net = {key: gross[key].minus(bare) for key in ("10", "10000")}
        ratio = _measure.ratio(net["10000"], net["10"])
        title = f"10,000 routes against 10, {name}"
        target = ROUTES_TARGET if name == "carboy" else None
        rows.append(Row(f"routes-{name}", title, target, net, gross, ratio))
    return rows


def in_turn(calls: list[t.Callable[[], object]]) -> t.Callable[[], None]:
    def call() -> None:
        for each in calls:
            each()

    return call


def show(rows: list[Row]) -> None:
    head = ("ns per request, net", "carboy", "Falcon", "Flask", "bare",
            "carboy/Flask", "middle half", "target", "")  # fmt: skip
    lines = []
    for row in rows:
        names = ("carboy", "falcon", "flask")
        cells = [f"{row.net[n].median_ns:,.0f}" if n in row.net else "-" for n in names]
        cells.append(f"{row.gross['bare'].median_ns:,.0f}")
        lines.append((row.title, *cells, *verdict_cells(row)))
    print(_measure.table(head, lines))


def show_routes(rows: list[Row]) -> None:
    head = ("ns per request, net", "10 routes", "10,000", "ratio", "middle half", "target", "")
    lines = []
    for row in rows:
        cells = [f"{row.net[n].median_ns / 10:,.0f}" for n in ("10", "10000")]
        found = t.cast(_measure.Ratio, row.ratio)
        limit = f"<= {row.target:g}" if row.target is not None else "-"
        span = f"{found.low:.2f}-{found.high:.2f}"
        lines.append((row.title, *cells, f"{found.median:.2f}", span, limit, row.verdict))
    print(_measure.table(head, lines))


def verdict_cells(row: Row) -> tuple[str, str, str, str]:
    limit = f"<= 1/{1 / row.target:.3g}" if row.target is not None else "-"
    if row.ratio is None:
        return "-", "-", limit, "-"
    found = row.ratio
    span = f"1/{1 / found.high:.1f}-1/{1 / found.low:.1f}"
    return f"1/{1 / found.median:.1f}", span, limit, row.verdict


def as_data(row: Row) -> dict[str, object]:
    return {
        "key": row.key,
        "title": row.title,
        "target": row.target,
        "ratio": row.ratio and dataclasses.asdict(row.ratio),
        "verdict": row.verdict,
        "net_ns": {name: round(timing.median_ns, 1) for name, timing in row.net.items()},
        "gross_ns": {name: round(timing.median_ns, 1) for name, timing in row.gross.items()},
    }


def main() -> None:
    parser = _measure.arguments(__doc__)
    keys = [*shapes.BY_KEY, "routes"]
    parser.add_argument("--only", nargs="+", choices=keys, default=keys, metavar="KEY",
                        help=f"some rows: {', '.join(keys)}")  # fmt: skip
    parser.add_argument("--one-app", action="store_true", help="all views in one app per peer")
    options = parser.parse_args()
    rounds = _measure.QUICK_ROUNDS if options.quick else _measure.DEFAULT_ROUNDS
    _measure.print_machine(*DISTRIBUTIONS)
    webs = frameworks()
    shown = [shape for shape in shapes.SHAPES if shape.key in options.only]
    rows = [measure_shape(shape, webs, rounds, options.one_app) for shape in shown]
    show(rows)
    if "routes" in options.only:
        route_rows = measure_routes(webs, rounds)
        print()
        show_routes(route_rows)
        rows += route_rows
    if options.json:
        _measure.report_json(options.json, [as_data(row) for row in rows], *DISTRIBUTIONS)


if __name__ == "__main__":
    main()
