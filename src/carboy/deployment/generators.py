"""Make commands of functions that generate files: `carboy gunicorn`, `carboy nginx`, ..."""

from __future__ import annotations

import typing as t
from functools import cache, wraps

import click

from ..cli.discovery import ScriptInfo, pass_script_info
from ..cli.failures import RefusedCommandError
from ..cli.results import results_on_stdout
from ..config import Config
from ..core.texttemplates import text_environment
from ..errors import CarboyError, ConfigError, DeploymentError
from ..project.configproblems import wrong_values
from .collectfacts import collect_facts
from .generatedfiles import GeneratedFile, write_files

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .facts import Facts

    Command = cabc.Callable[..., t.Any]
    Generate = cabc.Callable[..., "Generated"]


class Generated(t.NamedTuple):
    """The files that a command generates, and what the user does next with them."""

    files: list[GeneratedFile]
    next_step: str


def generator(name: str, *, short_help: str) -> cabc.Callable[[Generate], click.Command]:
    """Decorate a function that generates files, so that it becomes a command of `carboy`.

    The function gets the `Facts` of the app and the command's own options, and returns
    `Generated`. It raises `DeploymentError` if its files cannot be made. The command has the
    argument MODULE:APP and, after its own options, `--force` and `--print`. Decorators that add
    options stand below this one.
    """

    def decorate(generate: Generate) -> click.Command:
        @wraps(generate)
        def command(
            info: ScriptInfo,
            /,
            out: t.TextIO,
            target: str | None,
            force: bool,
            only_print: bool,
            **options: t.Any,
        ) -> None:
            info.choose_app(target)
            try:
                facts = collect_facts(info)
                _warn_of_environment(facts)
                generated = _generate(generate, facts, options)
                if only_print:
                    out.writelines(printed(generated.files))
                else:
                    _write(generated, facts.root, force=force, out=out)
            except DeploymentError as exc:
                out.write(exc.diff)
                raise RefusedCommandError(str(exc)) from None
            except ConfigError as exc:
                raise RefusedCommandError(str(exc)) from None

        made = click.command(name, short_help=short_help)(
            pass_script_info(results_on_stdout(command))
        )
        made.params += [_TARGET, _FORCE, _PRINT]
        return made

    return decorate


def _generate(generate: Generate, facts: Facts, options: dict[str, t.Any]) -> Generated:
    """Generate files.

    Raises:
        ConfigError: an exception has occurred, and a config key has a value of a wrong type.
        DeploymentError: the files cannot be made.
    """
    try:
        return generate(facts, **options)
    except CarboyError:
        raise
    except Exception as exc:
        config: object = facts.app.config  # which may be another class of the user
        problems = wrong_values(config) if isinstance(config, Config) else []
        if not problems:
            raise
        raise ConfigError(" ".join(map(str, problems))) from exc


def _warn_of_environment(facts: Facts) -> None:
    """Say on stderr that the files have the configuration of an environment in which no deployed
    app runs, such as that of the `.env` file of a developer.
    """
    if facts.environment not in {"development", "testing"}:
        return
    command = click.get_current_context().command_path
    click.echo(
        f"Warning: these files are made from the configuration of {facts.environment}. For"
        f" production, write: CARBOY_ENV=production {command} ...",
        err=True,
    )


def _write(generated: Generated, root: str, *, force: bool, out: t.TextIO) -> None:
    written = write_files(root, generated.files, force=force)
    out.writelines(f"{each.diff}{each.path}: {each.outcome}\n" for each in written)
    out.write(f"\n{generated.next_step}\n")


_TARGET = click.Argument(["target"], metavar="[MODULE:APP]", required=False)
_FORCE = click.Option(["--force"], is_flag=True, help="Replace files that exist, and show a diff.")
_PRINT = click.Option(
    ["--print", "only_print"], is_flag=True, help="Print the files instead of writing them."
)


def option_group(*options: cabc.Callable[[Command], Command]) -> cabc.Callable[[Command], Command]:
    """Return a decorator that adds several options to a command, in the order of its help."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def printed(files: cabc.Sequence[GeneratedFile]) -> cabc.Iterator[str]:
    """Yield the text of a file; of several files, each below a line with its path."""
    for file in files:
        if len(files) > 1:
            yield f"==> {file.path} <==\n"
        yield file.text if isinstance(file.text, str) else "(This file is not text.)\n"


def render(template: str, **variables: t.Any) -> str:
    """Render a template of the folder `templates`."""
    return t.cast("str", _templates().get_template(template).render(variables))


@cache
def _templates() -> t.Any:
    from jinja2 import PackageLoader

    return text_environment(loader=PackageLoader("carboy.deployment"))
