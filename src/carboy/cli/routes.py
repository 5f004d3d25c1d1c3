"""`carboy routes`: a table of URL rules and their views."""

from __future__ import annotations

import typing as t

import click

from ..core.flasknames import is_flask_installed_as_us
from ..core.ownviews import is_own_view
from ..globals import current_app
from .groups import with_appcontext

SORT_KEYS = ("endpoint", "methods", "domain", "rule", "match")


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

    hidden = set() if all_methods else {"HEAD", "OPTIONS"}
    lines = [
        {
            "endpoint": rule.endpoint,
            "methods": ", ".join(sorted((rule.methods or set()) - hidden)),
            "domain": (rule.host if url_map.host_matching else rule.subdomain) or "",
            "rule": rule.rule,
        }
        for rule in rules
    ]
    titles = {
        "endpoint": "Endpoint",
        "methods": "Methods",
        "domain": "Host" if url_map.host_matching else "Subdomain",
        "rule": "Rule",
    }
    if not any(line["domain"] for line in lines):
        del titles["domain"]
    if (access := current_app.find_overrides().access) is not None:
        keyed = {rule.rule for rule in rules if access.needs_key(rule)}
        if keyed:
            titles["access"] = "Needs"
            for line in lines:
                line["access"] = "API key" if line["rule"] in keyed else ""
    ways = _prediction_ways()
    if ways:
        titles["way"] = "Predictions wait"
        for line in lines:
            line["way"] = ways.get(line["endpoint"], "")
    if sort in titles:
        lines.sort(key=lambda line: line[sort])
    _echo_table(titles, lines)
    left_out = len(every) - len(rules)
    if left_out:
        click.echo(f"\nWith {left_out} routes of documents and pages: carboy routes --all")


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
