"""The options of `carboy gunicorn` and `carboy uwsgi`, and what the two commands make of them."""

from __future__ import annotations

import typing as t

import click

from ..errors import ConfigError, DeploymentError, ServingError
from ..serving.settings import as_option, make_settings
from .generators import option_group
from .serversettings import refuse_changing_port

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..serving.settings import Settings
    from .facts import Facts

# The options `--bind`, `--workers` and `--threads`, which `choose_settings` reads.
server_options = option_group(
    click.option(
        "--bind",
        "-b",
        multiple=True,
        metavar="ADDRESS",
        help="Address to listen on: 0.0.0.0:8000, [::1]:8000, or unix:/run/app.sock; may be"
        " repeated.  [default: 127.0.0.1:8000]",
    ),
    click.option(
        "--workers",
        "-w",
        metavar="NUMBER",
        help="Worker processes.  [default: one per CPU; one if the app has models]",
    ),
    click.option(
        "--threads",
        "-t",
        metavar="NUMBER",
        help="Requests that each worker handles at the same time.  [default: 16]",
    ),
)


def choose_settings(facts: Facts, options: cabc.Mapping[str, t.Any]) -> Settings:
    """Return the settings of `carboy serve` by the options of a command, the environment and
    defaults.

    Raises:
        DeploymentError: a value is not valid.
    """
    given = {name: value for name, value in options.items() if value}
    try:
        settings = make_settings(given, describe=as_option)
    except (ConfigError, ServingError) as exc:
        raise DeploymentError(str(exc)) from None
    if settings.workers == 0:
        raise DeploymentError("Setting 'workers': expected at least 1, got 0.")
    for address in settings.addresses:
        refuse_changing_port(address)
    return settings


def refuse_settings(settings: Settings, names: cabc.Iterable[str], server: str) -> None:
    """Raise DeploymentError if one of these settings has a value: the other server would start
    without what it asks for, and nobody would notice.
    """
    for name in names:
        if getattr(settings, name):
            raise DeploymentError(f"Setting {name!r}: {server} has no such setting. Leave it out.")


def choose_workers(facts: Facts, settings: Settings) -> int | None:
    """Return how many workers another server starts; None for one per CPU of the machine on which
    it runs. An app with models gets one, unless a number is set, because each worker loads each
    model.
    """
    if settings.workers is None and facts.has_models:
        return 1
    return settings.workers


def proxy_advice(facts: Facts, server: str) -> str:
    """Return advice to use ProxyFix if trusted proxies are set, because only `carboy serve` reads
    that setting; else "".
    """
    if facts.settings.proxy == "0" or facts.has_proxy_fix:
        return ""
    return (
        f"\nThe setting 'proxy' ({facts.settings.proxy}) has no effect under {server}, so that the"
        " app would take the proxy for the client: wrap app.wsgi_app in"
        " werkzeug.middleware.proxy_fix.ProxyFix."
    )


def websocket_advice(facts: Facts, server: str) -> str:
    """Say that WebSockets do not work under a server without sockets for the app, if the app has
    any; else "".
    """
    rules = [rule.rule for rule in facts.app.url_map.iter_rules() if rule.websocket]
    if not rules:
        return ""
    return (
        f"\nWebSockets, such as {rules[0]!r}, do not work under {server}, which does not let the"
        " app use the client's socket: carboy serve and gunicorn do."
    )
