"""The `carboy` command, and the classes from which apps make their own commands.

Of these modules, each imports those to its right:

    toplevel > flask_group > global_options > run, shell, routes > development, groups > discovery

`run`, `shell` and `routes` are Flask's commands: `FlaskGroup` adds them, unless it is created with
`add_default_commands=False`. All other commands, including carboy's own (`serve`, `models`,
`openapi`, `postman`), are entry points of the group `carboy.commands`.

    apikeys        `carboy keys`
    configuration  `carboy config`
    documents      `carboy openapi` and `carboy postman`
    models         `carboy models`; `simulate` is a command of it
    new            `carboy new`
    secret         `carboy secret`
    programs       `carboy --as-flask program.py`
    dotenv         loads `.env` files
    index          the list of models and views at `/` of the development server
    debugpages     masks secrets in tracebacks of the development server
    failures       reports errors of commands; `usage` corrects command lines
    results        keeps prints of the app out of results
    quantities     options with units

This module has every name of `flask.cli`. All but `AppGroup` are imported on first use, because
each app has an `AppGroup` and few processes run a command. Commands read these names from this
module, so that a program can replace one (`carboy.cli.show_server_banner = ...`). A module in this
package must not have one of these names: importing the module would overwrite the name.
"""

from __future__ import annotations

import typing as t

from ..core.flasknames import flask_names
from .groups import AppGroup as AppGroup
from .groups import with_appcontext as with_appcontext

if t.TYPE_CHECKING:
    from .development import run_development as run_development
    from .development import say_run_is_ignored as say_run_is_ignored
    from .development import show_server_banner as show_server_banner
    from .discovery import NoAppException as NoAppException
    from .discovery import ScriptInfo as ScriptInfo
    from .discovery import find_app_by_string as find_app_by_string
    from .discovery import find_best_app as find_best_app
    from .discovery import locate_app as locate_app
    from .discovery import pass_script_info as pass_script_info
    from .discovery import prepare_import as prepare_import
    from .dotenv import load_dotenv as load_dotenv
    from .flask_group import FlaskGroup as FlaskGroup
    from .global_options import get_version as get_version
    from .global_options import version_option as version_option
    from .routes import routes_command as routes_command
    from .run import CertParamType as CertParamType
    from .run import SeparatedPathType as SeparatedPathType
    from .run import run_command as run_command
    from .shell import shell_command as shell_command
    from .toplevel import cli as cli
    from .toplevel import main as main

_HOME = {
    "CertParamType": "run",
    "FlaskGroup": "flask_group",
    "NoAppException": "discovery",
    "ScriptInfo": "discovery",
    "SeparatedPathType": "run",
    "cli": "toplevel",
    "find_app_by_string": "discovery",
    "find_best_app": "discovery",
    "get_version": "global_options",
    "load_dotenv": "dotenv",
    "locate_app": "discovery",
    "main": "toplevel",
    "pass_script_info": "discovery",  # nosec B105 - the name of a module
    "prepare_import": "discovery",
    "routes_command": "routes",
    "run_command": "run",
    "run_development": "development",
    "say_run_is_ignored": "development",
    "shell_command": "shell",
    "show_server_banner": "development",
    "version_option": "global_options",
}


def __getattr__(name: str) -> t.Any:
    home = _HOME.get(name)
    if home is None:
        return _imported_by_flask(name)
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*_names_on_flask(), *_HOME})


_imported_by_flask, _names_on_flask = flask_names(__name__)
