"""`carboy new`: create the folder and files of a new project."""

from __future__ import annotations

import os

import click

from ..errors import StarterError
from ..starter import PARTS

_DEFAULT = next(iter(PARTS))
_LINES = "\n".join(f"    {name:<8}  {what}" for name, what in PARTS.items())
_HELP = f"""\
Create a project in the new folder NAME: an app that runs, with tests.

Nothing that exists is changed. If the project cannot be created, nothing is left behind.

\b
A project may contain:
{_LINES}
"""


@click.command("new", help=_HELP, short_help="Create a project.")
@click.argument("name")
@click.option(
    "--with",
    "parts",
    multiple=True,
    type=click.Choice(tuple(PARTS)),
    help=f"What the project contains; may be given several times.  [default: {_DEFAULT}]",
)
def new_command(name: str, parts: tuple[str, ...]) -> None:
    from ..starter.creation import create_project

    chosen = [part for part in PARTS if part in (parts or (_DEFAULT,))]
    try:
        files = create_project(os.getcwd(), name, chosen)
    except StarterError as exc:
        raise click.UsageError(str(exc)) from None
    except OSError as exc:
        raise click.ClickException(
            f"The project {name!r} cannot be created: {exc.strerror}. Nothing is left of it."
        ) from None
    click.echo(
        f"Created {name}{os.sep} with {len(files)} files. Start it, then open"
        f" http://127.0.0.1:5000/\n\n    cd {name}\n    carboy run --debug\n\n"
        f"{name}{os.sep}README.md says what comes next."
    )
