"""Define the group of all commands, and the function that the `carboy` script calls."""

from __future__ import annotations

import sys

import click

from . import failures, programs
from .flask_group import FlaskGroup
from .global_options import as_flask_option

cli = FlaskGroup(
    name="carboy",
    params=[as_flask_option],
    help="""\
Run, inspect and serve carboy applications.

The app is named by '--app', by the environment variable CARBOY_APP (or FLASK_APP), or is found in
'wsgi.py' or 'app.py' in the current folder.
""",
)


def main() -> None:
    """Run the command line of the `carboy` script and of `python -m carboy`."""
    args = sys.argv[1:]
    try:
        if args[:1] == ["--as-flask"] and programs.names_program(args[1:]):
            programs.run_program(args[1:])
        else:
            cli.main()
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except Exception as exc:  # noqa: BLE001  # any error of the user's code
        failures.report(exc)
        sys.exit(failures.exit_code(exc))
