"""`carboy models`: list the models of an app, and compute predictions for a file of inputs."""

from __future__ import annotations

import sys
import types
import typing as t

import click

from ..core.masking import mask_text
from ..globals import current_app
from .groups import AppGroup, with_appcontext
from .results import one_line_for_unwritable_results, results_on_stdout

if t.TYPE_CHECKING:
    from ..models.collection import Model
    from ..models.saved.card import Card


@click.group("models", cls=AppGroup, invoke_without_command=True)
@click.pass_context
def models_group(ctx: click.Context) -> None:
    """List the app's models, or predict with one."""
    # `serve` starts other processes, which load the app.
    if ctx.invoked_subcommand != "serve":
        _load_app(is_listing=ctx.invoked_subcommand is None)


@results_on_stdout
@with_appcontext
def _load_app(*, is_listing: bool, out: t.TextIO) -> None:
    if is_listing:
        for line in _lines():
            click.echo(line, file=out)


def _lines() -> t.Iterator[str]:
    models = list(current_app.models.values())
    if not models:
        yield "No models were registered."
        return
    titles = ("Model", "Rule", "Batch", "Wait", "Input", "Output")
    rows = [titles, *(_row(model) for model in models)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * width for width in widths))
    for row in rows:
        yield "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
    for model in models:
        for card in model.cards:
            yield from _about_card(model, card)


def _about_card(model: Model, card: Card) -> t.Iterator[str]:
    yield ""
    yield f"{model.name}: {card.title}"
    for title, text in card.summary.items():
        yield f"  {title:<8} {text}"


def _row(model: Model) -> tuple[str, ...]:
    options, interface = model.options, model.interface
    wait = "auto" if options.wait_ms == "auto" else f"{options.wait_ms:g} ms"
    inputs = ", ".join(f"{p.name}: {_type_name(p.annotation)}" for p in interface.parameters)
    batch = str(options.batch)
    output = _type_name(model.answers.item)
    if model.answers.streams:
        output = f"Iterator[{output}]"
    return model.name, model.rule, batch, wait, inputs, output


def _type_name(annotation: t.Any) -> str:
    if annotation is t.Any:
        return "-"
    if t.get_origin(annotation) is t.Annotated:
        plain, *about = t.get_args(annotation)
        tensors = (each for each in map(repr, about) if each.startswith("Tensor["))
        return next(tensors, None) or _type_name(plain)
    if t.get_origin(annotation) in (t.Union, types.UnionType):
        return " | ".join(map(_type_name, t.get_args(annotation)))
    inner = ", ".join(map(_type_name, t.get_args(annotation)))
    name = getattr(t.get_origin(annotation) or annotation, "__qualname__", repr(annotation))
    return f"{name}[{inner}]" if inner else name


@models_group.command("predict", short_help="Predict many inputs from a file.")
@click.argument("name")
@click.argument("source", metavar="FILE", type=click.Path(dir_okay=False, allow_dash=True))
@click.option(
    "--from",
    "kind",
    type=click.Choice(("csv", "tsv", "jsonl", "json", "npy", "parquet", "arrow", "feather")),
    help="Format of FILE.  [default: by its name]",
)
@click.option(
    "--to",
    "to",
    type=click.Choice(("csv", "jsonl")),
    help="Format of the results.  [default: csv from csv or a table, else jsonl]",
)
@click.option("--progress/--no-progress", default=None, help="Show a progress bar on stderr.")
@results_on_stdout
def predict_command(
    name: str,
    source: str,
    kind: str | None,
    to: str | None,
    progress: bool | None,
    out: t.TextIO,
) -> None:
    """Predict each input of FILE and write the results to stdout, in the same order.

    \b
    csv    a header, then one input per line: the columns are parameters, fields of a record, or
           together a list of numbers
    jsonl  one input per line, as it is sent by POST
    json   an array of inputs
    npy    an array: each element along its first axis is one input

    A model that takes a DataFrame gets the rows of FILE in chunks, and answers each row; such a
    file may also be tsv, parquet, arrow or feather.

    FILE may be '-' for stdin, with '--from'. If an input cannot be used, or the model fails on it,
    its result is an empty line, and stderr has the reason; then the exit status is 1.
    """  # noqa: D301 - click needs the character, and not two
    if progress is None:
        progress = sys.stderr.isatty()
    failed = _predict(name, source, kind=kind, to=to, progress=progress, out=out)
    if failed:
        click.echo(f"{failed} input(s) failed.", err=True)
        sys.exit(1)


def _predict(
    name: str, source: str, *, kind: str | None, to: str | None, progress: bool, out: t.TextIO
) -> int:
    from ..errors import BulkFileError, ModelLoadError
    from ..models.bulkfiles import predict_file

    try:
        model = current_app.models[name]
        model.load()  # if loading fails, raise the error once, and not for each input
    except KeyError as exc:
        raise click.ClickException(str(exc.args[0])) from None
    except ModelLoadError as exc:
        raise click.ClickException(mask_text(str(exc))) from None
    try:
        with one_line_for_unwritable_results():
            return predict_file(
                model, source, kind=kind, to=to, out=out, say=_say, progress=progress
            )
    except BulkFileError as exc:
        raise click.ClickException(str(exc)) from None


def _say(line: str) -> None:
    click.echo(mask_text(line), err=True)
