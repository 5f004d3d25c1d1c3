"""`carboy secret`: make a secret key, and replace it without ending sessions."""

from __future__ import annotations

import subprocess
import typing as t

import click

from .failures import config_errors_in_one_line

if t.TYPE_CHECKING:
    import collections.abc as cabc

T = t.TypeVar("T")

_env_file = click.option(
    "--env-file",
    type=click.Path(dir_okay=False),
    default=".env",
    show_default=True,
    help="The '.env' file to change.",
)
_file = click.option(
    "--file",
    "key_file",
    type=click.Path(dir_okay=False),
    help="A file with the key alone, for SECRET_KEY_FILE (Docker and Kubernetes secrets).",
)
_print = click.option(
    "--print", "printed", is_flag=True, help="Print to stdout, and write no file."
)
_keep = click.option(
    "--keep",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    help="How many old keys stay valid. 0 ends all sessions.",
)


@click.group("secret", short_help="Make and replace the secret key.")
def secret_group() -> None:
    """Make and replace the secret key, which signs sessions.

    The key is written into '.env', unless an option says where else. It is shown only with
    '--print'.
    """


@secret_group.command("new", short_help="Make a secret key.")
@_env_file
@_file
@_print
@click.pass_context
def new_command(ctx: click.Context, env_file: str, key_file: str | None, printed: bool) -> None:
    """Make a secret key where there is none: in '.env' of the current folder, in a file of its own,
    or on stdout.
    """
    from ..project import rotation
    from ..project.secretkey import new_key

    _refuse_two_targets(ctx)
    if printed:
        click.echo(new_key())
    elif key_file is not None:
        _run(rotation.create_key_file, key_file)
        click.echo(f"A new key is in {key_file}. Let SECRET_KEY_FILE name that file.")
    else:
        hiding = _run(_find_hiding_variable)
        _run(rotation.add_to_env_file, env_file)
        click.echo(f"A new SECRET_KEY is in {env_file}. Restart running servers.")
        _warn_of(hiding)
        _warn_unless_ignored(env_file)


@secret_group.command("rotate", short_help="Replace the secret key; sessions stay valid.")
@_keep
@_env_file
@_file
@_print
@click.pass_context
def rotate_command(
    ctx: click.Context, keep: int, env_file: str, key_file: str | None, printed: bool
) -> None:
    """Replace the secret key. The old one goes to SECRET_KEY_FALLBACKS: sessions that it has signed
    stay valid. A key that can be guessed is not kept: with it, anybody could sign sessions.

    The key is in '.env' of the current folder, in a file of its own, or, with '--print', in the
    environment.
    """
    from ..project import rotation

    _refuse_two_targets(ctx)
    if printed:
        variables, weaknesses = _run(rotation.rotated_variables, keep)
        for name, value in variables.items():
            click.echo(rotation.env_line(name, value), nl=False)
        _warn_of_weak_keys(weaknesses)
        return
    if key_file is not None:
        weaknesses = _run(rotation.rotate_key_file, key_file, keep)
        beside = key_file + rotation.FALLBACKS_ENDING
        click.echo(
            f"A new key is in {key_file}, old ones are in {beside}. Let SECRET_KEY_FALLBACKS_FILE"
            " name the latter, and restart running servers."
        )
        _warn_of_weak_keys(weaknesses)
        return
    hiding = _run(_find_hiding_variable)
    weaknesses = _run(rotation.rotate_env_file, env_file, keep)
    kept = "" if weaknesses else " Sessions end." if keep == 0 else " Sessions stay valid."
    click.echo(f"A new SECRET_KEY is in {env_file}. Restart running servers.{kept}")
    _warn_of_weak_keys(weaknesses)
    _warn_of(hiding)
    _warn_unless_ignored(env_file)


def _refuse_two_targets(ctx: click.Context) -> None:
    given = [
        option
        for name, option in (
            ("env_file", "--env-file"),
            ("key_file", "--file"),
            ("printed", "--print"),
        )
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} name different places. Choose one.")


def _run(work: cabc.Callable[..., T], *args: t.Any) -> T:
    """Return what `work(*args)` returns."""
    with config_errors_in_one_line():
        return work(*args)


def _find_hiding_variable() -> str | None:
    """Return the name of the environment variable whose secret key takes precedence over the key in
    a `.env` file, so that a new key in the file would have no effect; None if there is none.

    A variable that carboy itself has read from a `.env` file does not count.
    """
    from ..project.rotation import origin_in_environment

    origin = origin_in_environment()
    return origin.place if origin is not None and origin.source == "variable" else None


def _warn_of(hiding: str | None) -> None:
    if hiding is not None:
        click.secho(
            f"The environment variable {hiding} is set as well, and takes precedence. Remove it.",
            err=True,
            fg="yellow",
        )


def _warn_of_weak_keys(weaknesses: list[str]) -> None:
    for weakness in weaknesses:
        click.secho(
            f"An old key is not kept, because it {weakness}: whoever guesses it could sign"
            " sessions. The sessions that it has signed end.",
            err=True,
            fg="yellow",
        )


def _warn_unless_ignored(path: str) -> None:
    """Warn if git does not ignore the file with the key, because the key could then be committed.

    Nothing is shown if git is not installed, or if the file is in no repository.
    """
    try:
        status = subprocess.run(  # noqa: S603  # no shell, and a path as the only argument
            ["git", "check-ignore", "--quiet", "--", path],  # noqa: S607 - git is where PATH has it
            check=False,
            capture_output=True,
            timeout=5,
        ).returncode
    except (OSError, subprocess.TimeoutExpired):
        return
    if status == 1:
        click.secho(
            f"git does not ignore {path}: add it to .gitignore, and never commit it.",
            err=True,
            fg="yellow",
        )
