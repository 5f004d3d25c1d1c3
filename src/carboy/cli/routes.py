"""`carboy routes`: a table of URL rules and their views."""

from __future__ import annotations

import typing as t

import click

from ..core.flasknames import is_flask_installed_as_us
from ..core.ownviews import is_own_view
from ..globals import current_app
from .groups import with_appcontext

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from werkzeug.routing import Rule

SORT_KEYS = ("endpoint", "methods", "domain", "rule", "match")
# The columns that are shown also if all of their texts are empty.
ALWAYS_SHOWN = ("endpoint", "methods", "rule")


@click.command("routes", short_help="Show the app's routes.")
@click.option(
    "--sort",
    "-s",
    type=click.Choice(SORT_KEYS),
    default="endpoint",
    help="Order of the lines; 'match' is the order in which rules are tried.",
)
@click.option("--all-methods", is_flag=True, help="Show HEAD and OPTIONS too.")
@click.option("--all", "show_all", is_flag=True, help="Show documents and pages of carboy too.")
@with_appcontext
def routes_command(sort: str, all_methods: bool, show_all: bool) -> None:
    """Show the app's routes: endpoint, methods, rule."""
    # Add the URLs of the OpenAPI document and of protocols for models, which a server would add at
    # its first request.
    current_app._add_own_urls()
    url_map = current_app.url_map
    # If carboy stands in for Flask (`carboy --as-flask`), show every rule, as `flask routes` does.
    show_all = show_all or is_flask_installed_as_us()
    views = current_app.view_functions
    every = list(url_map.iter_rules())
    rules = [rule for rule in every if show_all or not is_own_view(views.get(rule.endpoint))]
    if not rules:
        click.echo("No routes were registered.")
        return

    columns = _columns(all_methods=all_methods)
    lines = [{each.key: each.text(rule) for each in columns} for rule in rules]
    titles = {
        each.key: each.title
        for each in columns
        if each.key in ALWAYS_SHOWN or any(line[each.key] for line in lines)
    }
    if sort in titles:
        lines.sort(key=lambda line: line[sort])
    _echo_table(titles, lines)
    left_out = len(every) - len(rules)
    if left_out:
        click.echo(f"\nWith {left_out} routes of documents and pages: carboy routes --all")


class _Column(t.NamedTuple):
    """A column of the table: its key for `--sort`, its title, and its text for a rule."""

    key: str
    title: str
    text: cabc.Callable[[Rule], str]


def _columns(*, all_methods: bool) -> list[_Column]:
    hidden = set() if all_methods else {"HEAD", "OPTIONS"}
    has_hosts = current_app.url_map.host_matching
    access, ways = current_app.find_overrides().access, _prediction_ways()

    def methods(rule: Rule) -> str:
        return ", ".join(sorted((rule.methods or set()) - hidden))

    def domain(rule: Rule) -> str:
        return (rule.host if has_hosts else rule.subdomain) or ""

    def needs(rule: Rule) -> str:
        return "API key" if access is not None and access.needs_key(rule) else ""

    return [
        _Column("endpoint", "Endpoint", lambda rule: rule.endpoint),
        _Column("methods", "Methods", methods),
        _Column("domain", "Host" if has_hosts else "Subdomain", domain),
        _Column("rule", "Rule", lambda rule: rule.rule),
        _Column("access", "Needs", needs),
        _Column("way", "Predictions wait", lambda rule: ways.get(rule.endpoint, "")),
    ]


def _prediction_ways() -> dict[str, str]:
    """Return how the predictions of each model wait, by the model's endpoint: "without a thread",
    or each on a thread of the server, with the reason.
    """
    app: t.Any = current_app
    if not vars(app._get_current_object()).get("models"):
        return {}
    from ..models.direct import obstacle

    reasons = {
        name: obstacle(app._get_current_object(), model) for name, model in app.models.items()
    }
    return {
        name: "without a thread" if reason is None else f"on a thread each: {reason}"
        for name, reason in reasons.items()
    }


def _echo_table(titles: dict[str, str], lines: list[dict[str, str]]) -> None:
    widths = {
        key: max(len(title), *(len(line[key]) for line in lines)) for key, title in titles.items()
    }
    for line in (titles, {key: "-" * width for key, width in widths.items()}, *lines):
        text = "  ".join(f"{line[key]:<{width}}" for key, width in widths.items())
        click.echo(text)  # trailing blanks are kept, as in the table of `flask routes`
