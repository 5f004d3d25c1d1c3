"""The options that stand before the command: `--app`, `--env-file`, `--debug`, `--version`.

Each option is handled by a callback of its own, because the callback of the group may be a user's.
`--env-file` is handled first, because the file may name the app.
"""

from __future__ import annotations

import os
import typing as t

import click
from click.core import ParameterSource
from werkzeug.serving import is_running_from_reloader

from ..config import get_env
from ..core.flasknames import is_flask_installed_as_us
from ..errors import ProjectError
from ..helpers import get_debug_flag
from ..project.dotenvfile import set_for_process
from ..project.origins import DEFAULT, Origin
from ..project.reloading import forget_inherited_variables
from ..project.variables import set_by_command
from .discovery import ScriptInfo
from .dotenv import refuse_unparsable_files


def get_version(ctx: click.Context, param: click.Parameter, value: t.Any) -> None:
    """Print the versions of Python, carboy, Flask's API and Werkzeug, for bug reports."""
    if not value or ctx.resilient_parsing:
        return
    import platform
    from importlib.metadata import version

    from _carboy_as_flask import FLASK_VERSION

    click.echo(
        f"Python {platform.python_version()}\n"
        f"Carboy {version('carboy')}\n"
        f"Flask {FLASK_VERSION} (the API)\n"
        f"Werkzeug {version('werkzeug')}",
        color=ctx.color,
    )
    ctx.exit()


def _set_app(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        ctx.ensure_object(ScriptInfo).app_import_path = value
    return value


def _set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> bool | None:
    source = ctx.get_parameter_source(param.name or "")
    if source in {ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP, None}:
        # If neither `--debug` nor `--no-debug` is given, the environment variables decide about
        # debug mode.
        return None
    # Debug mode is passed on by environment variables, because app factories and the reloader's
    # child process read them.
    by_option = source is ParameterSource.COMMANDLINE
    if not by_option and value == get_debug_flag():
        return value
    for name in ("FLASK_DEBUG", "CARBOY_DEBUG"):
        os.environ[name] = "1" if value else "0"
        if by_option:
            set_by_command[name] = Origin("option", "--debug" if value else "--no-debug")
    return value


def _load_env_file(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        try:
            import dotenv  # noqa: F401  # load_dotenv would only print a tip
        except ImportError:
            raise click.BadParameter(
                "python-dotenv reads this file, and is not installed: pip install python-dotenv.",
                ctx=ctx,
                param=param,
            ) from None
    forget_inherited_variables()
    defaults = ctx.ensure_object(ScriptInfo).load_dotenv_defaults
    if value is not None or defaults:
        _refuse_unparsable_files(value, defaults)
        # Call the function through the module `cli`, because users and tests may replace
        # `cli.load_dotenv`.
        from .. import cli

        cli.load_dotenv(value, load_defaults=defaults)
    # Programs read this variable, and child processes inherit it. It is set after `.env` was read,
    # which may choose the environment.
    if not os.environ.get("FLASK_ENV"):
        set_by_command["FLASK_ENV"] = DEFAULT
        set_for_process("FLASK_ENV", get_env())
    return value


def _refuse_unparsable_files(path: str | None, defaults: bool) -> None:
    # A program for Flask runs as it does there: python-dotenv warns of the line and skips it.
    if is_flask_installed_as_us():
        return
    try:
        refuse_unparsable_files(path, defaults)
    except ImportError:
        pass  # `load_dotenv` reports that python-dotenv is not installed
    except ProjectError as exc:
        if not is_running_from_reloader():
            raise click.UsageError(str(exc)) from None
        # The reloader's child process must not end: it watches for the change that repairs the
        # file. python-dotenv skips the line.
        click.secho(f"Error: {exc}", err=True, fg="red")


def naming_the_variable(error: click.BadParameter) -> click.BadParameter:
    """Return an error for a wrong value of an option. If an environment variable has set the value,
    the error names the variable.
    """
    ctx, param = error.ctx, error.param
    if ctx is None or param is None or not param.name:
        return error
    if ctx.get_parameter_source(param.name) is not ParameterSource.ENVIRONMENT:
        return error
    name = f"{param.envvar or f'{ctx.auto_envvar_prefix}_{param.name.upper()}'}"
    other = name.replace("FLASK_", "CARBOY_", 1)
    where = f"from the environment variable {name} or {other}, which '.env' and '.flaskenv' may set"
    return click.BadParameter(
        f"{error.message.rstrip('.')} ({where}).", ctx, param, error.param_hint
    )


def _as_flask(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from .programs import become_flask

        become_flask()


version_option = click.Option(
    ["--version"],
    help="Show the versions of carboy and of its main dependencies.",
    expose_value=False,
    callback=get_version,
    is_flag=True,
    is_eager=True,
)
app_option = click.Option(
    ["-A", "--app"],
    metavar="IMPORT",
    help=(
        "The app, as 'module:name', 'path/to/file.py:name' or 'module:factory(args)'. The name may"
        " be left out if it is 'app', 'application', 'create_app' or 'make_app', or the only app"
        " there is."
    ),
    is_eager=True,
    expose_value=False,
    callback=_set_app,
)
debug_option = click.Option(
    ["--debug/--no-debug"],
    help="Switch debug mode on or off.",
    expose_value=False,
    callback=_set_debug,
)
env_file_option = click.Option(
    ["-e", "--env-file"],
    type=click.Path(exists=True, dir_okay=False),
    help=(
        "Read environment variables from this file. They come before those of '.env' and"
        " '.flaskenv', and after those that are set already. Needs python-dotenv."
    ),
    is_eager=True,
    expose_value=False,
    callback=_load_env_file,
)
as_flask_option = click.Option(
    ["--as-flask"],
    help=(
        "Let 'import flask' mean carboy, here and in child processes. A program may follow"
        " instead of a command: 'carboy --as-flask program.py' or '--as-flask -m module'."
    ),
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_as_flask,
)
