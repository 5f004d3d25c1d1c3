"""`carboy models simulate`: how a model would be served under a load."""

from __future__ import annotations

import json
import typing as t

import click

from ..core.masking import mask_text
from ..errors import ModelLoadError, SimulationError
from ..globals import current_app
from .failures import RefusedCommandError
from .models import models_group
from .quantities import COST, COUNT, DEADLINE, LIMIT, RATE, SIZE, WAIT, WEB_TIME
from .results import one_line_for_unwritable_results, results_on_stdout

if t.TYPE_CHECKING:
    from ..models.simulation.outcome import Outcome
    from ..models.simulation.plan import ServingPlan
    from ..models.simulation.study import Study

_AS_DECLARED = "  [default: as declared]"


@models_group.command("simulate", short_help="Simulate how a model would be served under a load.")
@click.argument("name")
@click.option("--rps", type=RATE, help="Requests per second, which arrive by chance.")
@click.option("--burst", type=COUNT, default=1, help="How many arrive at the same moment.")
@click.option("--requests", type=COUNT, help="How many arrive, with --rps.  [default: 50000]")
@click.option(
    "--replay",
    metavar="FILE",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Access log of 'carboy serve', text or JSON, whose requests arrive again.",
)
@click.option("--speed", type=RATE, default=1.0, help="How many times as fast, with --replay.")
@click.option("--seed", type=int, default=1, help="Another seed draws other arrivals.")
@click.option("--workers", type=COUNT, default=1, help="Number of web workers.", show_default=True)
@click.option("--replicas", type=COUNT, help="Processes that compute." + _AS_DECLARED)
@click.option(
    "--concurrency", type=COUNT, help="Batches at a time in each web worker." + _AS_DECLARED
)
@click.option("--batch", type=COUNT, help="Largest number of inputs in a batch." + _AS_DECLARED)
@click.option("--wait", type=WAIT, help="How long a batch waits for more inputs." + _AS_DECLARED)
@click.option("--deadline", type=DEADLINE, help="Longest time to a result." + _AS_DECLARED)
@click.option("--queue", type=COUNT, help="How many inputs wait in each worker." + _AS_DECLARED)
@click.option(
    "--cost", type=COST, help="Time of predict, for example 2ms+0.1ms.  [default: measured]"
)
@click.option(
    "--http", type=WEB_TIME, help="Time of a web worker per request.  [default: not counted]"
)
@click.option(
    "--memory", type=SIZE, help="Memory of a process with the model.  [default: measured]"
)
@click.option("--p99", type=LIMIT, help="Find the fewest replicas that answer 99 % in this time.")
@click.option(
    "--plot",
    metavar="FILE.svg",
    type=click.Path(dir_okay=False),
    help="Draw latencies by load, and batches, into this file.",
)
@click.option("--json", "as_json", is_flag=True, help="Write the results as JSON.")
@results_on_stdout
def simulate_command(
    name: str, plot: str | None, as_json: bool, out: t.TextIO, **given: t.Any
) -> None:
    """Simulate how the model NAME would be served under a load: latencies, batches, refusals.

    The queue of 'carboy serve' runs on a virtual clock, so that a million requests take seconds.
    The time of predict is measured with the example of the model, unless --cost says it.

    \b
    carboy models simulate digits --rps 2000 --replicas 2
    carboy models simulate digits --rps 2000 --p99 50ms
    carboy models simulate digits --replay access.log --speed 2
    """  # noqa: D301 - click needs the character, and not two
    try:
        _answer(_study(name, given), plot=plot, as_json=as_json, out=out)
    except SimulationError as exc:
        raise RefusedCommandError(mask_text(str(exc))) from None


def _study(name: str, given: dict[str, t.Any]) -> Study:
    from ..models.simulation.question import Question
    from ..models.simulation.study import study_of

    try:
        study = study_of(current_app.models[name], Question(**given))
    except KeyError as exc:
        raise RefusedCommandError(str(exc.args[0])) from None
    except ModelLoadError as exc:
        raise click.ClickException(mask_text(str(exc))) from None
    for warning in study.warnings:
        click.echo(f"Warning: {warning}", err=True)
    return study


def _answer(study: Study, *, plot: str | None, as_json: bool, out: t.TextIO) -> None:
    from ..models.simulation import report

    if study.question.p99 is None:
        found, plan, outcome = None, study.plan, study.run()
        values, lines = report.to_dict(study, plan, outcome), report.report(study, plan, outcome)
    else:
        found = study.search()
        if not found.trials:
            raise SimulationError(report.not_found(study, found))
        plan, outcome, _ = found.best or found.nearest
        values, lines = report.search_to_dict(study, found), report.report_search(study, found)
    if plot is not None:
        _draw(plot, study, plan, outcome)
    with one_line_for_unwritable_results():
        if as_json:
            out.write(json.dumps(values, indent=2) + "\n")
        else:
            out.writelines(f"{line}\n" for line in lines)
    if found is not None and found.best is None:
        raise SimulationError(report.not_found(study, found))


def _draw(path: str, study: Study, plan: ServingPlan, outcome: Outcome) -> None:
    from ..models.simulation.chart import load_curve, svg
    from ..models.simulation.report import describe

    notes = [study.load, f"predict takes {plan.cost}", describe(plan)]
    text = svg(study.name, notes, outcome, load_curve(plan, seed=study.question.seed))
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as exc:
        raise SimulationError(f"--plot {path!r} cannot be written: {exc.strerror}.") from exc
