"""A study: the answer to a question about one model. Measures what the question does not say."""

from __future__ import annotations

import dataclasses
import math
import sys
import typing as t
from functools import partial

from carboy.core.processmemory import resident_bytes
from carboy.errors import SimulationError

from ..queue.calls import rows
from .accesslines import read_arrivals
from .arrivals import chance, chance_arrivals, replayed_arrivals
from .costcurve import measure_cost, show_duration, show_rate
from .plan import ServingPlan
from .search import cheapest
from .simulator import simulate

if t.TYPE_CHECKING:
    from collections import abc as cabc
    from random import Random

    from ..example import Example
    from ..model import Model
    from .costcurve import CostCurve, MeasuredCost
    from .outcome import Outcome
    from .question import Question
    from .search import SearchResult


_REQUESTS = 50_000
# Their arrivals take 0.8 GB, and their simulation some minutes.
_MOST_REQUESTS = 100_000_000


class Memory(t.NamedTuple):
    """Resident memory in bytes.

    Attributes:
        web: that of a process that has imported the app, and has not loaded the model.
        copy: that of a process that holds the model.
    """

    web: int
    copy: int

    def of(self, plan: ServingPlan) -> int:
        """Return the memory of all processes together, if they share no pages."""
        if plan.replicas is None:
            return plan.workers * self.copy
        return plan.workers * self.web + plan.replicas * self.copy


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A question with its model and load, which the simulation then answers.

    Attributes:
        question: what was asked.
        name: the name of the model.
        plan: how the model is served.
        measured: the cost of `predict` if it was measured; None if it was given.
        memory: that of the processes; None if it is unknown.
        arrivals_s: when requests arrive.
        load: where the arrivals come from, in words.
        warnings: what makes the answer less exact.
    """

    question: Question
    name: str
    plan: ServingPlan
    measured: MeasuredCost | None
    memory: Memory | None
    arrivals_s: cabc.Sequence[float]
    load: str
    warnings: list[str]

    def run(self) -> Outcome:
        """Simulate the plan."""
        return simulate(self.plan, self.arrivals_s, seed=self.question.seed)

    def search(self) -> SearchResult:
        """Find the cheapest plan that answers 99 % of the requests in the time that was asked.

        Raises:
            SimulationError: no plan can, because one `predict` takes longer, or the web workers
                answer fewer requests than arrive.
        """
        question, plan = self.question, self.plan
        limit_s = t.cast("float", question.p99)
        least_s = plan.cost.of(1) + plan.http_s
        if least_s > limit_s:
            raise SimulationError(
                f"No plan answers within {show_duration(limit_s)}: a request that waits for nothing"
                f" takes {show_duration(least_s)}."
            )
        rate_per_s = len(self.arrivals_s) / (self.arrivals_s[-1] or math.inf)
        if rate_per_s > plan.web_capacity_per_s:
            raise SimulationError(
                f"--workers {plan.workers} with --http {show_duration(plan.http_s)} answer at most"
                f" {show_rate(plan.web_capacity_per_s)}, and {show_rate(rate_per_s)} arrive:"
                f" expected at least --workers {math.ceil(rate_per_s * plan.http_s)}."
            )
        largest = plan.batch
        sizes = {2**i for i in range(largest.bit_length())} | {largest}
        return cheapest(
            plan,
            self.arrivals_s,
            limit_s,
            replicas=question.replicas,
            batches=sorted(sizes) if question.batch is None else [largest],
            wait_s=question.wait,
            seed=question.seed,
        )


def study_of(model: Model, question: Question) -> Study:
    """Prepare the answer to a question: read the load, and measure the model.

    Raises:
        SimulationError: the question cannot be answered.
        ModelLoadError: the model cannot be loaded.
        Exception: whatever `predict` raises for the example.
    """
    _refuse_contradictions(model, question)
    arrivals_s, load = _arrivals(model, question)
    batch = question.batch or model.options.batch
    web_bytes = resident_bytes()
    measured = None if question.cost is not None else _measure(model, batch)
    http_s = _measure_web(model) if question.http == "measured" else question.http or 0.0
    copy_bytes = resident_bytes() if question.memory is None and measured else question.memory
    cost = t.cast("CostCurve", question.cost if measured is None else measured.curve)
    return Study(
        question=question,
        name=model.name,
        plan=_plan(model, question, cost, http_s),
        measured=measured,
        memory=Memory(web_bytes, copy_bytes) if web_bytes and copy_bytes else None,
        arrivals_s=arrivals_s,
        load=load,
        warnings=_warnings(measured),
    )


def _refuse_contradictions(model: Model, question: Question) -> None:
    if (question.rps is None) is (question.replay is None):
        raise SimulationError("Expected a load: --rps NUMBER, or --replay FILE (one of them).")
    if question.replay is None and question.speed != 1:
        raise SimulationError("--speed has no effect without --replay.")
    if question.replay is not None and (question.burst != 1 or question.requests is not None):
        option = "--burst" if question.burst != 1 else "--requests"
        raise SimulationError(f"{option} has no effect with --replay, which has its own arrivals.")
    if question.requests is not None and question.requests > _MOST_REQUESTS:
        raise SimulationError(f"--requests {question.requests}: expected at most {_MOST_REQUESTS}.")
    if question.concurrency and (question.replicas or model.options.replicas or question.p99):
        raise SimulationError(
            "--concurrency: each replica computes one batch at a time. Leave it out."
        )
    if model.answers.streams:
        raise SimulationError(
            f"Model {model.name!r} yields its answer item by item, which cannot be simulated."
            " Expected a model that returns its whole answer."
        )


# --- the load ------------------------------------------------------------------------------------


def _arrivals(model: Model, question: Question) -> tuple[cabc.Sequence[float], str]:
    random = chance(question.seed)
    if question.replay is not None:
        return _replay(model, question, question.replay, random)
    rps, count = t.cast("float", question.rps), question.requests or _REQUESTS
    together = f", {question.burst} at a time" if question.burst > 1 else ""
    load = f"{count} requests by chance at {rps:g}/s{together} (seed {question.seed})"
    return chance_arrivals(rps, count, random, burst=question.burst), load


def _replay(
    model: Model, question: Question, path: str, random: Random
) -> tuple[cabc.Sequence[float], str]:
    try:
        with _lines(path) as lines:
            found = read_arrivals(lines, model.name, random)
    except (OSError, UnicodeDecodeError) as exc:
        reason = getattr(exc, "strerror", None) or "it is no text"
        raise SimulationError(f"--replay {path!r} cannot be read: {reason}.") from exc
    if len(found.times_s) < 2:
        others = ", ".join(f"{name} ({number})" for name, number in found.models.items())
        raise SimulationError(
            f"--replay {path!r} has {len(found.times_s)} requests for the model {model.name!r}; it"
            f" has requests for {others or 'no model'}. Expected an access log of 'carboy serve'"
            f" (text or JSON){f'; {found.unread} lines are none' if found.unread else ''}."
        )
    arrivals_s = replayed_arrivals(found.times_s, speed=question.speed)
    if not arrivals_s[-1]:
        raise SimulationError(
            f"--replay {path!r}: all its {len(found.times_s)} requests arrived at the same moment,"
            " so that there is no rate. Expected the log of a longer time."
        )
    rate_per_s = len(arrivals_s) / arrivals_s[-1]
    load = f"{len(arrivals_s)} requests of {path} at {show_rate(rate_per_s)}"
    if question.speed != 1:
        load += f", {question.speed:g} times as fast as they were"
    if not found.is_exact:
        load += ", at random moments of their seconds"
    if found.unread:
        load += f"; {found.unread} lines were left out, which are no access log"
    return arrivals_s, load


def _lines(path: str) -> t.ContextManager[cabc.Iterable[str]]:
    if path == "-":
        import contextlib

        return contextlib.nullcontext(sys.stdin)
    return open(path, encoding="utf-8")


# --- the model -----------------------------------------------------------------------------------


def _measure(model: Model, batch: int) -> MeasuredCost:
    """Measure `predict` with the example of the model, as batches up to the given size."""
    if batch > 1 and model.options.batch == 1:
        raise SimulationError(
            f"--batch {batch}: `predict` of the model {model.name!r} takes one input. Declare"
            " batch=... to measure it, or say by --cost how long a batch would take."
        )
    decode = _example(
        model, "say by --cost how long predict takes, such as --cost 2ms+0.1ms"
    ).decode
    model.load()
    return measure_cost(partial(_compute, model), decode, batch=batch)


def _measure_web(model: Model) -> float:
    """Measure how long a web worker is busy with a request apart from `predict`, in seconds."""
    from .webcost import measure_base_s, measure_own_s

    decode = _example(
        model, "say by --http how long a web worker takes, such as --http 50us"
    ).decode
    model.load()
    (result,) = _compute(model, [decode()])
    own_s = measure_own_s(lambda: (decode(), model.answers.encode(result)))
    return measure_base_s() + own_s


def _example(model: Model, otherwise: str) -> Example:
    if model.example is None:
        raise SimulationError(
            f"Model {model.name!r} has no example with which to measure it. Declare one:"
            f" app.model(..., example=...), or {otherwise}."
        )
    return model.example


def _compute(model: Model, arguments: list[t.Any]) -> list[t.Any]:
    """Compute a batch. Raises what `predict` raises or returns for any of its inputs."""
    results = rows(model.current.replica.compute(arguments), len(arguments))
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def _plan(model: Model, question: Question, cost: CostCurve, http_s: float) -> ServingPlan:
    options = model.options
    deadline_s = options.deadline_s if question.deadline is None else question.deadline
    batch = question.batch or options.batch
    replicas = question.replicas or (None if question.concurrency else options.least_replicas)
    if question.p99 is not None and replicas is None:
        replicas = 1
    return ServingPlan(
        cost=cost,
        workers=question.workers,
        replicas=replicas,
        concurrency=question.concurrency or options.concurrency,
        batch=batch,
        wait_s=options.wait_s if question.wait is None else question.wait,
        deadline_s=None if deadline_s == math.inf else deadline_s,
        queue=question.queue or dataclasses.replace(options, batch=batch).queue_items,
        http_s=http_s,
    )


def _warnings(measured: MeasuredCost | None) -> list[str]:
    if measured is None or measured.is_linear:
        return []
    times = ", ".join(f"{size}: {show_duration(each)}" for size, each in measured.times_s.items())
    warning = (
        f"predict does not take a + b * n: the line is off by up to {measured.residual:.0%}"
        f" ({times}). What is simulated is less exact for these sizes."
    )
    return [warning]
