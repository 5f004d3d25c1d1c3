"""`carboy openapi` and `carboy postman`: write a document about an app's API."""

from __future__ import annotations

import contextlib
import os
import typing as t

import click

from ..globals import current_app
from .failures import RefusedCommandError
from .groups import with_appcontext
from .results import one_line_for_unwritable_results, results_on_stdout

if t.TYPE_CHECKING:
    from ..app import Carboy

_output = click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, writable=True, allow_dash=True),
    callback=lambda _context, _option, path: None if path == "-" else path,
    help="Write to this file instead of the terminal, which is '-'.",
)


@click.command("openapi", short_help="Show the app's OpenAPI document.")
@click.option("--yaml", "as_yaml", is_flag=True, help="YAML instead of JSON; needs PyYAML.")
@click.option(
    "--strict",
    is_flag=True,
    help="Fail if a view cannot be documented completely, instead of only logging why.",
)
@_output
@results_on_stdout
@with_appcontext
def openapi_command(as_yaml: bool, strict: bool, output: str | None, out: t.TextIO) -> None:
    """Show the OpenAPI 3.1 document of the app.

    A file whose name ends in .yaml or .yml is written as YAML.
    """
    from ..errors import YAMLMissingError
    from ..openapi.formats import to_json, to_yaml

    as_yaml = as_yaml or (output or "").endswith((".yaml", ".yml"))
    document = _app().openapi()
    faults = _app()._documentation_faults
    if strict and faults:
        raise click.ClickException(
            f"The document is incomplete; faults: {len(faults)} (see above)."
        )
    try:
        text = to_yaml(document) if as_yaml else to_json(document)
    except YAMLMissingError as exc:
        raise click.ClickException(str(exc)) from None
    _write(text, output, out)


@click.command("postman", short_help="Make a Postman collection of the app.")
@click.option(
    "--base-url",
    default="http://127.0.0.1:5000",
    show_default=True,
    help="First value of the collection's variable 'baseUrl'.",
)
@_output
@results_on_stdout
@with_appcontext
def postman_command(base_url: str, output: str | None, out: t.TextIO) -> None:
    """Make a Postman collection (v2.1) of the app: a folder per tag, bodies with examples.

    With --output, the files that requests upload are written beside it, into a folder of the same
    name; newman finds them with --working-dir set to the collection's folder.
    """
    from ..openapi import postman
    from ..openapi.formats import to_json

    folder = ""
    if output is not None:
        folder = os.path.basename(output).partition(".")[0] + ".files"
    made = postman.build_collection(_app().openapi(), base_url=base_url, folder=folder)
    _write(to_json(made.collection), output, out)
    if output is not None:
        _write_files(made.files, os.path.dirname(output))


def _app() -> Carboy:
    return current_app._get_current_object()  # type: ignore[attr-defined, no-any-return]


def _write(text: str, output: str | None, out: t.TextIO) -> None:
    if output is None:
        with one_line_for_unwritable_results():
            out.write(text)
        return
    with _one_line_for_unwritable_files(output), open(output, "w", encoding="utf-8") as file:
        file.write(text)


def _write_files(files: t.Mapping[str, bytes], folder: str) -> None:
    for name, data in files.items():
        path = os.path.join(folder, name)
        with _one_line_for_unwritable_files(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(data)


@contextlib.contextmanager
def _one_line_for_unwritable_files(path: str) -> t.Iterator[None]:
    try:
        yield
    except OSError as exc:
        # An error that comes from writing, such as a full disk, does not name the file.
        raise RefusedCommandError(
            f"--output: {exc.filename or path!r} cannot be written: {exc.strerror}."
        ) from None
