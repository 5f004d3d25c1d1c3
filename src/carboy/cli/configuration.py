"""`carboy config`: print each value of an app's configuration with its origin, and check them."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import typing as t

import click

from ..config import Config
from ..core.advice import did_you_mean
from ..core.masking import MASK, mask_text, masked
from ..errors import ConfigError, ProjectError
from .discovery import ScriptInfo, pass_script_info
from .groups import CheckedCommand
from .results import one_line_for_unwritable_results, results_on_stdout

if t.TYPE_CHECKING:
    from ..project.configproblems import ConfigProblem
    from ..project.origins import Origin
    from ..sansio.app import App


@click.command("config", short_help="Show each config value and where it comes from.")
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option("--check", is_flag=True, help="Check the values and names of keys; print problems.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON instead of a table.")
@results_on_stdout
@pass_script_info
def config_command(
    info: ScriptInfo, /, keys: tuple[str, ...], check: bool, as_json: bool, out: t.TextIO
) -> None:
    """Show each value of the app's configuration, and where it comes from: a line of a file, an
    environment variable, an option, or a line of code. Secrets are masked.

    With '--check', look for wrong types and misspelt keys instead. If there are any, the exit code
    is 2.
    """
    app = _load_app(info)
    config = app.config
    if check:
        if keys or as_json:
            raise click.UsageError("'--check' checks all keys; leave '--json' and KEY out.")
        _check(app, out)
        return
    known = [key for key in keys if key in config]
    if known or not keys:
        _print(config, known, as_json, out)
    _refuse_unknown(config, [key for key in keys if key not in config])


def _print(config: Config, keys: list[str], as_json: bool, out: t.TextIO) -> None:
    """Print the values of `keys`, or of all keys of the config if `keys` is empty."""
    chosen = keys or _sorted_keys(config)
    with one_line_for_unwritable_results():
        for line in [_as_json(config, chosen)] if as_json else _table(config, chosen, bool(keys)):
            click.echo(line, file=out)


def _refuse_unknown(config: Config, keys: list[str]) -> None:
    errors = []
    for key in keys:
        advice = _advice_on_prefix(config, key) or did_you_mean(key, config)
        errors.append(f"There is no config key {key!r}.{advice}")
    if errors:
        raise click.UsageError("\n".join(errors))


@contextlib.contextmanager
def recorded_origins() -> t.Iterator[None]:
    """During the `with` block, let new configs record which line of code assigns each key."""
    Config._records_origins = True
    try:
        yield
    finally:
        Config._records_origins = False


def load_with_origins(info: ScriptInfo) -> App:
    """Return the app that a command is for. While the app is loaded, its config records which line
    of code assigns each key.
    """
    with recorded_origins():
        app = info.load_app()
    config: object = app.config  # which may be another class of the user
    if isinstance(config, Config) and config.project is None and config._origins is not None:
        if info.set_debug_flag:
            config._origins.pop("DEBUG", None)  # the command itself has set it
        _note_environment(config._origins)
    return app


def _load_app(info: ScriptInfo) -> App:
    app = load_with_origins(info)
    if not isinstance(app.config, Config):
        raise click.UsageError(
            f"The app's config is not a carboy.Config but {type(app.config).__name__}, which does"
            " not record where values come from."
        )
    return app


def _note_environment(origins: dict[str, Origin]) -> None:
    """Record what has set DEBUG and ENV (such as an environment variable), for an app that does not
    call `app.config.from_project()`, which would have recorded this.

    Unless the app's code has set them, the app read both from the environment when it was created.
    """
    from ..config import get_env
    from ..project.dotenvfile import files_read, read_env_file
    from ..project.origins import Origin
    from ..project.variables import Variables

    try:
        variables = Variables({path: read_env_file(path) for path in files_read})
    except ProjectError:
        # Two lines of a `.env` file set the same key. An app without `from_project()` accepts that.
        variables = Variables({})
    debug = variables.layer(()).get("DEBUG")
    default = Origin("default", f"environment {get_env()}")
    origins.setdefault("DEBUG", debug.origin if debug else default)
    for name in ("CARBOY_ENV", "FLASK_ENV"):
        if "ENV" not in origins and os.environ.get(name):
            origins["ENV"] = variables.origin_of(name)


def config_problems(app: App) -> list[ConfigProblem]:
    """Return the problems in the configuration of an app, in its keys for logging, and in the
    environment variables that commands read.
    """
    from ..project.configproblems import ConfigProblem, problems_of

    others = (*_problems_of_logging(app), *_problems_of_commands())
    return [*problems_of(app.config), *(ConfigProblem("", text) for text in others)]


def _check(app: App, out: t.TextIO) -> None:
    problems = config_problems(app)
    for problem in problems:
        click.echo(problem, file=out)
    if problems:
        sys.exit(2)
    click.echo("The configuration has no problems.", file=out)


def _problems_of_commands() -> list[str]:
    """Return the problems of the environment variables from which `carboy serve` reads its
    settings.
    """
    context = click.get_current_context(silent=True)
    if context is None:
        return []
    root = context.find_root()
    group = root.command
    serve = group.get_command(root, "serve") if isinstance(group, click.Group) else None
    return serve.problems() if isinstance(serve, CheckedCommand) else []


def _problems_of_logging(app: App) -> list[str]:
    """Return the error by which a server would refuse the values of the keys `LOG_*`. (A value of
    the right type may be wrong, such as the name of an unknown level.)
    """
    from ..observability.logoptions import read_options

    try:
        read_options(app)
    except ConfigError as exc:
        return [str(exc)]
    return []


def _sorted_keys(config: Config) -> list[str]:
    """Return all keys of a config by name; keys that still have their default value come last."""
    from ..project.configproblems import origin_of

    return sorted(config, key=lambda key: (origin_of(config, key).source == "default", key))


def _advice_on_prefix(config: Config, key: str) -> str:
    """Return a sentence that says that a variable in a `.env` file has the name `key`, but sets no
    config key, because the prefix `CARBOY_` is missing; "" if there is no such variable.
    """
    if config.project is None or key not in config.project.unused:
        return ""
    return f" {config.project.unused[key]} sets a variable of this name; write CARBOY_{key} there."


def _shown(config: Config, key: str) -> t.Any:
    """Return the value of a config key as the command shows it: with secrets masked."""
    from ..project.secretkey import value_of

    value = value_of(config, key)
    if config.project is not None and key in config.project.secrets and value:
        return MASK
    return masked(value, key)


def _table(config: Config, keys: list[str], only_some: bool) -> t.Iterator[str]:
    from ..project.configproblems import origin_of

    if not only_some:
        yield from _heading(config)
    rows = [("Key", "Origin", "Value")]
    rows += [(key, str(origin_of(config, key)), _one_line(_shown(config, key))) for key in keys]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    rows.insert(1, ("-" * widths[0], "-" * widths[1], "-----"))
    for key, origin, value in rows:
        yield f"{key:{widths[0]}}  {origin:{widths[1]}}  {value}"


def _heading(config: Config) -> t.Iterator[str]:
    if config.project is None:
        yield "The app does not call app.config.from_project()."
    else:
        yield f"Project:      {config.project.root}"
        others = ", ".join(config.project.environments) or "none"
        yield f"Environment:  {config.project.environment} (sections: {others})"
    yield ""


def _one_line(value: t.Any) -> str:
    text = mask_text(repr(value))
    return "".join(each if each.isprintable() else " " for each in text)


def _for_json(value: t.Any) -> t.Any:
    """Return a copy of a value in which texts replace what JSON does not have: keys of dicts that
    are no texts, infinity and NaN.
    """
    if isinstance(value, dict):
        return {str(key): _for_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_for_json(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    return value


def _as_json(config: Config, keys: list[str]) -> str:
    from ..project.configproblems import origin_of

    values = {}
    for key in keys:
        origin = origin_of(config, key)
        values[key] = {
            "value": _for_json(_shown(config, key)),
            "source": origin.source,
            "place": origin.place,
        }
    project = config.project
    about = {
        "root": project.root if project else None,
        "environment": project.environment if project else config.get("ENV"),
        "values": values,
    }
    text = json.dumps(about, indent=2, ensure_ascii=False, default=_one_line)
    # A variable that is not UTF-8 has lone surrogates, which only an escape can write.
    return text.encode("utf-8", "backslashreplace").decode()
