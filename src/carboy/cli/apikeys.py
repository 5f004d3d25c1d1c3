"""`carboy keys`: make, list and revoke the API keys of an app."""

from __future__ import annotations

import dataclasses
import json
import re
import typing as t
from datetime import UTC, datetime, timedelta

import click

from ..errors import ConfigError
from ..globals import current_app
from .failures import RefusedCommandError, config_errors_in_one_line
from .groups import AppGroup
from .results import results_on_stdout

if t.TYPE_CHECKING:
    from ..access.apikey import ApiKey

_DURATION = re.compile(r"([1-9][0-9]{0,4})([hdw])", re.ASCII)
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_NOTICED = "Running servers notice it within a second."

_file = click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False),
    help="The file of keys; by default that of the app (ACCESS_KEYS_FILE).",
)


@click.group("keys", cls=AppGroup, short_help="Make, list and revoke API keys.")
def keys_group() -> None:
    """Make, list and revoke API keys, by which clients may use models and other routes.

    As soon as there is a key, clients need one for each model that does not declare access="open".
    """


@keys_group.command("new", short_help="Make a key.", with_appcontext=False)
@click.argument("name")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="MODEL",
    help="A model that the key may use, and nothing else; may be repeated. By default it may use"
    " all models and routes.",
)
@click.option(
    "--expires",
    metavar="WHEN",
    help="A date such as 2027-01-31, or how long from now: 12h, 30d, 52w. By default never.",
)
@click.option("--rate", metavar="RATE", help="How often it may be used, such as 100/minute.")
@click.option(
    "--print", "printed", is_flag=True, help="Print what ACCESS_KEYS needs, and write no file."
)
@_file
@results_on_stdout
def new_command(
    name: str,
    models: tuple[str, ...],
    expires: str | None,
    rate: str | None,
    printed: bool,
    path: str | None,
    *,
    out: t.TextIO,
) -> None:
    """Make a key for the client NAME, and print it. It is shown only now: the file has its hash.

    NAME appears in the access log.
    """
    if printed and path is not None:
        raise click.UsageError("--print writes no file: leave out --file.")
    key, text = _make(name, models, expires, rate)
    if printed:
        record = json.dumps([key.to_record()], separators=(",", ":"))
        click.echo(f"CARBOY_ACCESS_KEYS='{record}'", file=out)
        click.echo(f"The key, which is shown only now: {text}", err=True)
        return
    file = path or _file_of_app(models)
    _add(key, file)
    click.echo(text, file=out)
    click.echo(f"{file} has its hash. {_NOTICED}", err=True)


def _make(
    name: str, models: tuple[str, ...], expires: str | None, rate: str | None
) -> tuple[ApiKey, str]:
    """Return a new key and its text."""
    from ..access.apikey import ApiKey
    from ..access.keytext import new_key

    now, text = datetime.now(UTC).replace(microsecond=0), new_key()
    try:
        made = dataclasses.replace(
            ApiKey.from_text(name, text),
            models=frozenset(models) or None,
            rate=rate,
            created=now,
            expires=None if expires is None else _time(expires, now),
        )
        return ApiKey.from_record(made.to_record()), text
    except ValueError as exc:
        raise RefusedCommandError(str(exc)) from None


def _time(text: str, now: datetime) -> datetime:
    from ..access.apikey import parse_time

    if (found := _DURATION.fullmatch(text)) is not None:
        return now + int(found[1]) * _UNITS[found[2]]
    at = parse_time(text)
    if at <= now:
        raise ValueError(f"--expires {text}: the time has passed already.")
    return at


def _add(key: ApiKey, path: str) -> None:
    from ..access.keyfile import changing

    now = datetime.now(UTC)
    with config_errors_in_one_line(), changing(path) as keys:
        for known in keys.values():
            if known.name == key.name and known.is_valid(now):
                raise ConfigError(
                    f"There is a key {key.name!r} already. Choose another name, such as"
                    f" {key.name}-{now:%Y}, or revoke it: carboy keys revoke {key.name}"
                )
        keys[key.id] = key


@keys_group.command("list", short_help="List the keys.", with_appcontext=False)
@_file
@results_on_stdout
def list_command(path: str | None, *, out: t.TextIO) -> None:
    """List the keys of the app, without their secrets."""
    from ..access.keystore import read_keys

    with config_errors_in_one_line():
        if path is None:
            keys = [*_app().key_store().all_keys()]
        else:
            keys = [*read_keys(path).values()]
    if not keys:
        click.echo("There are no keys. Make one: carboy keys new NAME", file=out)
        return
    now = datetime.now(UTC)
    rows = [("Name", "Id", "Models", "Rate", "Expires", "State"), *(_row(k, now) for k in keys)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * width for width in widths))
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip(), file=out)


def _row(key: ApiKey, now: datetime) -> tuple[str, ...]:
    models = "all" if key.models is None else ", ".join(sorted(key.models))
    expires = "never" if key.expires is None else f"{key.expires.astimezone(UTC):%Y-%m-%d %H:%M}"
    state = "revoked" if key.revoked else "valid" if key.is_valid(now) else "expired"
    return key.name, key.id, models or "none", key.rate or "-", expires, state


@keys_group.command("revoke", short_help="Revoke a key.", with_appcontext=False)
@click.argument("name")
@_file
def revoke_command(name: str, path: str | None) -> None:
    """Revoke the key with the name or id NAME. Servers refuse it from then on, without a restart.

    It stays in the file, so that its name can still be looked up.
    """
    from ..access.keyfile import changing

    now = datetime.now(UTC).replace(microsecond=0)
    with config_errors_in_one_line():
        file = path or _app().key_file()
        with changing(file) as keys:
            found = [key for key in keys.values() if name in (key.name, key.id)]
            valid = [key for key in found if key.revoked is None]
            if not valid:
                raise ConfigError(_why_not_revoked(name, file, known=bool(found)))
            keys.update({key.id: dataclasses.replace(key, revoked=now) for key in valid})
    click.echo(f"The key {valid[0].name!r} ({valid[0].id}) is revoked. {_NOTICED}")


def _why_not_revoked(name: str, path: str, *, known: bool) -> str:
    if known:
        return f"The key {name!r} is revoked already."
    return (
        f"There is no key {name!r} in {path}; `carboy keys list` has all. Remove one of ACCESS_KEYS"
        " from the configuration, and restart."
    )


def _file_of_app(models: tuple[str, ...]) -> str:
    """Return the file of the app's keys. Refuse models that the app does not have."""
    with config_errors_in_one_line():
        app = _app()
        for name in models:
            if name not in app.models:
                known = ", ".join(map(repr, app.models)) or "none"
                raise ConfigError(f"The app has no model {name!r}: its models are {known}.")
        return t.cast("str", app.key_file())


def _app() -> t.Any:
    """Load the app, unless it is loaded, and return it."""
    from .discovery import ScriptInfo

    context = click.get_current_context()
    if not current_app:  # type: ignore[truthy-bool]  # a proxy
        context.with_resource(context.ensure_object(ScriptInfo).load_app().app_context())
    return current_app
