"""Time in the framework per request, in process: carboy, Flask, Falcon and a bare callable.

Each peer handles the same requests (apps/), called as a WSGI server calls it. The bare callable has
fixed responses; its time is that of the harness, and is subtracted from the others'. For the
template row the time of a bare `template.render` of the same page is subtracted as well. Ratios are
of these net times; "us with harness" is what was measured.

    python bench/overhead.py [--quick] [--json FILE] [--only KEY ...] [--one-app]

With `--one-app` each peer has all views in one app, as in `serve.py`, where the hooks belong to one
view only: then a request of another view has to find out that no hook is for it.
"""

from __future__ import annotations

import importlib
import types
import typing as t

import jinja2

import _measure
import _results
import _wsgi
from apps import bare_app, falcon_app, flask_like, shapes

DISTRIBUTIONS = ("carboy", "flask", "falcon", "werkzeug", "jinja2", "itsdangerous")
# The frameworks that run apps/flask_like.py, by the names of their modules.
NAMES = {"carboy": "carboy", "flask": "Flask"}


def frameworks() -> dict[str, types.ModuleType]:
    """Import carboy and Flask, if installed; `flask` must be the real one."""
    found: dict[str, types.ModuleType] = {}
    for name, title in NAMES.items():
        try:
            module = importlib.import_module(name)
            module.Flask  # noqa: B018 - a package that is not finished has no such name
        except (ImportError, AttributeError) as exc:
            print(f"left out: {name} ({exc})")
            continue
        found[title] = module
    if "Flask" in found and found["Flask"].Flask.__module__ != "flask.app":
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
    peers["Falcon"] = falcon_app.make()
    return peers


def checked_call(name: str, app: _wsgi.App, shape: shapes.Shape) -> tuple[t.Any, _wsgi.Answer]:
    cookie = _wsgi.login(app) if shape.login and name != "bare" else None
    environ = _wsgi.environ_for(shape, cookie)
    answer = _wsgi.ask(app, environ, shape.body)
    _wsgi.check(name, shape, answer)
    return _wsgi.caller(app, environ, shape.body), answer


def same_answers(shape: shapes.Shape, answers: dict[str, _wsgi.Answer]) -> None:
    """Check that carboy's response equals Flask's, header by header."""
    if not {"carboy", "Flask"} <= answers.keys():
        return
    ours, theirs = answers["carboy"], answers["Flask"]
    if (ours.status, sorted(ours.headers), ours.body) != (
        theirs.status,
        sorted(theirs.headers),
        theirs.body,
    ):
        raise SystemExit(f"{shape.key}: carboy answers {ours}, Flask {theirs}")


def measure_shape(
    record: _results.Record, shape: shapes.Shape, webs: dict[str, types.ModuleType], one_app: bool
) -> None:
    """Measure a request, and add its row to the record."""
    cases, answers = [], {}
    for name, app in apps_for(shape, webs, one_app).items():
        call, answers[name] = checked_call(name, app, shape)
        cases.append(_measure.Case(name, call))
    same_answers(shape, answers)
    if shape.key == "template":
        cases.append(_measure.Case("template.render", bare_render()))
    whole = _measure.measure(cases, rounds=_measure.rounds_of(record.options))
    floors = whole.keys() & {"bare", "template.render"}
    targets = []
    if shape.target is not None:
        targets.append(_results.Target("us", "carboy", "Flask", "most", shape.target))
    row = record.row(shape.key, shape.title, pairs=[("Falcon", "Flask")], targets=targets)
    for name in whole.keys() - floors:
        net = whole[name]
        for floor in floors:
            net = net.minus(whole[floor])
        row.add_times({name: net})
    row.add_times(whole, quantity="whole_us")
    record.show(row)


def bare_render() -> t.Any:
    """Render the page by Jinja alone, configured as in Flask."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(shapes.TEMPLATES), autoescape=True, auto_reload=False
    )
    template = env.get_template("page.html")
    if not shapes.BY_KEY["template"].check(template.render(**shapes.PAGE).encode()):
        raise SystemExit("the bare template does not render the page")
    return lambda: template.render(**shapes.PAGE)


def main() -> None:
    parser = _measure.arguments(__doc__)
    keys = list(shapes.BY_KEY)
    parser.add_argument("--only", nargs="+", choices=keys, default=keys, metavar="KEY",
                        help=f"some rows: {', '.join(keys)}")  # fmt: skip
    parser.add_argument("--one-app", action="store_true", help="all views in one app per peer")
    options = parser.parse_args()
    how = "one app per peer" if options.one_app else "an app per request"
    record = _results.Record("overhead", options, *DISTRIBUTIONS, how=f"in process; {how}")
    webs = frameworks()
    for shape in shapes.SHAPES:
        if shape.key in options.only:
            measure_shape(record, shape, webs, options.one_app)
    record.close(show=False)


if __name__ == "__main__":
    main()
