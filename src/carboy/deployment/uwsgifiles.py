"""`carboy uwsgi`: the configuration by which uWSGI serves the app."""

from __future__ import annotations

import math
import os
import typing as t

import click

from ..core.processmemory import MIB
from ..errors import DeploymentError
from .generatedfiles import GeneratedFile
from .generators import Generated, generator, render
from .serveroptions import (
    choose_settings,
    choose_workers,
    proxy_advice,
    refuse_settings,
    server_options,
    websocket_advice,
)
from .serversettings import is_set

if t.TYPE_CHECKING:
    from ..serving.http.address import Address
    from ..serving.settings import Settings
    from .facts import Facts, ImportedApp


@generator("uwsgi", short_help="Write uwsgi.ini.")
@server_options
@click.option(
    "--protocol",
    type=click.Choice(["http", "uwsgi"]),
    default="http",
    show_default=True,
    help="What uWSGI speaks: HTTP, or the uwsgi protocol for a web server in front of it.",
)
def uwsgi_command(facts: Facts, *, protocol: str, **options: t.Any) -> Generated:
    """Write uwsgi.ini, for 'uwsgi uwsgi.ini'.

    Each worker imports the app and loads the models itself, so that nothing is shared by a fork,
    and threads are enabled.

    Settings of 'carboy serve' in the environment, such as CARBOY_SERVE_BIND, go into the file, as
    far as uWSGI has the same setting.
    """
    settings, imported = choose_settings(facts, options), facts.imported
    without_tls = ["tls_cert"] if protocol == "uwsgi" else []
    refuse_settings(settings, ["tls_password_file", "tls_client_ca", *without_tls], "uWSGI")
    text = render(
        "uwsgi.ini.jinja",
        target=_quote(imported.target),
        loading=_quote(_loading(imported)) if facts.has_models else "",
        folder=_quote(os.path.relpath(imported.folder, facts.root)),
        addresses=[_address(protocol, address, settings) for address in settings.addresses],
        workers=choose_workers(facts, settings),
        has_models=facts.has_models,
        is_as_flask=facts.is_as_flask,
        wait_s=math.ceil(facts.longest_wait_s(facts.wait_s)),
        # By default, uWSGI has the same queue on each machine.
        backlog=settings.backlog if is_set("backlog") else None,
        max_rss_mib=math.ceil((settings.max_rss_bytes or 0) / MIB),
        grace_s=math.ceil(settings.grace_s),
        settings=settings,
    )
    advice = proxy_advice(facts, "uWSGI") + websocket_advice(facts, "uWSGI")
    return Generated(
        [GeneratedFile("uwsgi.ini", text)],
        "Start the app in this folder: uwsgi uwsgi.ini. After an update of the code: touch"
        f" uwsgi.reload{advice}",
    )


def _loading(imported: ImportedApp) -> str:
    """Return a line of Python by which a worker imports the app and loads its models."""
    name = imported.expression.partition("(")[0]
    return (
        f"from {imported.name_in_python} import {name}; application = {imported.expression};"
        " application.load_models()"
    )


def _address(protocol: str, address: Address, settings: Settings) -> tuple[str, str]:
    """Return the option by which uWSGI listens on an address, and its value.

    With `http` and `https`, a process of its own reads the requests for the workers; it listens on
    TCP ports only. With `http-socket`, the workers read the requests themselves.
    """
    if protocol == "uwsgi":
        return "socket", _quote(address.path or str(address))
    if address.path:
        return "http-socket", _quote(address.path)
    if settings.tls_cert:
        key = settings.tls_key or settings.tls_cert
        return "https", _quote(f"{address},{settings.tls_cert},{key}")
    return "http", str(address)


def _quote(text: str) -> str:
    """Return a text as the value of an option. `%` begins a variable, and `$(` a placeholder.

    Raises:
        DeploymentError: uWSGI cannot read it.
    """
    if not text.isprintable() or "$(" in text:
        raise DeploymentError(
            f"uWSGI cannot read a value that contains a line break or '$(': {text!r}. Rename it."
        )
    return text.replace("%", "%%")
