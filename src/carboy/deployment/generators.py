"""Make commands of functions that generate files: `carboy gunicorn`, `carboy nginx`, ..."""

from __future__ import annotations

import os
import typing as t
from functools import cache, wraps

import click

from ..cli.configuration import load_with_origins
from ..cli.discovery import NoAppException, ScriptInfo, pass_script_info
from ..cli.failures import RefusedCommandError
from ..cli.results import results_on_stdout
from ..core.masking import mask_text
from ..core.texttemplates import text_environment
from ..errors import DeploymentError, ServingError
from .facts import Facts
from .generatedfiles import GeneratedFile, write_files

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..app import Carboy

    Generate = cabc.Callable[..., "Generated"]


class Generated(t.NamedTuple):
    """The files that a command generates, and what the user does next with them."""

    files: list[GeneratedFile]
    next_step: str


def generator(name: str, *, short_help: str) -> cabc.Callable[[Generate], click.Command]:
    """Decorate a function that generates files, so that it becomes a command of `carboy`.

    The function gets the `Facts` of the app and the command's own options, and returns
    `Generated`. It raises `DeploymentError` if its files cannot be made. The command has the
    argument MODULE:APP and the options `--force` and `--print`.
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
                generated = generate(facts, **options)
                if only_print:
                    out.writelines(printed(generated.files))
                    return
                written = write_files(facts.root, generated.files, force=force)
            except DeploymentError as exc:
                out.write(exc.diff)
                raise RefusedCommandError(str(exc)) from None
            out.writelines(f"{each.diff}{each.path}: {each.outcome}\n" for each in written)
            out.write(f"\n{generated.next_step}\n")

        decorated = _ARGUMENT(_FORCE(_PRINT(pass_script_info(results_on_stdout(command)))))
        return click.command(name, short_help=short_help)(decorated)

    return decorate


_ARGUMENT = click.argument("target", metavar="[MODULE:APP]", required=False)
_FORCE = click.option("--force", is_flag=True, help="Replace files that exist; a diff is shown.")
_PRINT = click.option("--print", "only_print", is_flag=True, help="Show the files, write none.")


def collect_facts(info: ScriptInfo) -> Facts:
    """Load the app of a command line, and return what is known of it.

    Raises:
        DeploymentError: the app is not found or cannot be imported, or a setting of the server is
            not valid.
    """
    from ..serving.settings import make_settings

    target = info.app_import_path
    if target and not target.isprintable():
        raise DeploymentError(
            f"{target!r}: generated files cannot name an app whose path has a line break. Rename"
            " it."
        )
    app = _load(info)
    try:
        settings = make_settings({})
    except ServingError as exc:
        raise DeploymentError(str(exc)) from exc
    return Facts(app, target, os.getcwd(), settings)


def _load(info: ScriptInfo) -> Carboy:
    failure: BaseException
    try:
        return load_with_origins(info)
    except NoAppException as exc:
        if exc.__cause__ is None:
            raise DeploymentError(exc.message) from None
        failure = exc.__cause__
    # A program may end at its import, by sys.exit("Set DATABASE_URL.").
    except (Exception, SystemExit) as exc:  # noqa: BLE001
        failure = exc
    reason = " ".join(mask_text(f"{type(failure).__name__}: {failure}").split())
    raise DeploymentError(
        f"The app cannot be imported: {reason}. 'carboy routes' shows the traceback."
    ) from failure


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
