"""Write the answer of a study as lines of text, or as JSON values."""

from __future__ import annotations

import math
import typing as t

from carboy.core.processmemory import in_mib

from .chart import bars
from .costcurve import show_duration, show_rate
from .search import SHARE

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from .outcome import Outcome
    from .plan import ServingPlan
    from .search import SearchResult, Trial
    from .study import Study


def report(study: Study, plan: ServingPlan, outcome: Outcome) -> cabc.Iterator[str]:
    """Yield the lines that say what has become of the requests."""
    yield f"load         {study.load}"
    yield f"predict      {_about_cost(study)}"
    yield f"served by    {describe(plan)}"
    yield ""
    yield f"answered     {show_rate(outcome.answered_per_s)} of {show_rate(outcome.offered_per_s)}"
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    yield "latency      " + ", ".join(
        f"{k} {_shown(outcome.latency_s(v))}" for k, v in shares.items()
    )
    yield (
        f"batches      {outcome.mean_batch:.3g} inputs on average, the largest"
        f" {max(outcome.batch_sizes, default=0)} of {plan.batch}"
    )
    yield f"busy         predict {outcome.busy:.0%}{_about_web(study, outcome)}"
    yield (
        f"room         {show_rate(plan.capacity_per_s)} can be computed in full batches, of which"
        f" {outcome.offered_per_s / plan.capacity_per_s:.0%} arrive"
    )
    yield (
        f"shed         {outcome.shed:.2%}: {outcome.refused} refused, {outcome.expired} missed"
        " their deadline"
    )
    yield f"memory       {_about_memory(study, plan)}"
    yield from bars(outcome)


def describe(plan: ServingPlan) -> str:
    """Return a plan in words."""
    workers = _many(plan.workers, "web worker")
    where = f"{workers} and {_many(plan.replicas, 'replica')}" if plan.replicas else workers
    if plan.replicas is None and plan.concurrency > 1:
        where += f" of {plan.concurrency} batches at a time"
    deadline = "none" if plan.deadline_s is None else show_duration(plan.deadline_s)
    return (
        f"{where}, batch {plan.batch}, wait {_about_wait(plan)}, deadline {deadline}, queue"
        f" {plan.queue}"
    )


def _many(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _about_wait(plan: ServingPlan) -> str:
    return "auto" if plan.wait_s == "auto" else show_duration(plan.wait_s) if plan.wait_s else "0"


def _about_cost(study: Study) -> str:
    if study.measured is None:
        return f"{study.plan.cost} (given)"
    sizes = study.measured.times_s
    return (
        f"{study.plan.cost} (measured for {len(sizes)} sizes up to {max(sizes)}; the line is off by"
        f" up to {study.measured.residual:.0%})"
    )


def _about_web(study: Study, outcome: Outcome) -> str:
    if not study.plan.http_s:
        return ", web workers not counted (--http)"
    each = show_duration(study.plan.http_s)
    known = "measured" if study.question.http == "measured" else "given"
    return f", web workers {outcome.web_busy:.0%} ({each} per request, {known})"


def _about_memory(study: Study, plan: ServingPlan) -> str:
    memory = study.memory
    if memory is None:
        return f"{_many(plan.copies, 'copy').replace('copys', 'copies')} of the model (--memory)"
    web = f" and {plan.workers} x {in_mib(memory.web)}" if plan.replicas else ""
    return f"{in_mib(memory.of(plan))}: {plan.copies} x {in_mib(memory.copy)}{web}"


def _shown(seconds: float) -> str:
    return show_duration(seconds) if math.isfinite(seconds) else "-"


# --- a search ------------------------------------------------------------------------------------


def report_search(study: Study, found: SearchResult) -> cabc.Iterator[str]:
    """Yield the lines that say what was tried, and the cheapest plan."""
    titles = ("Replicas", "Batch", "Wait", "p50", "p99", "In time", "Busy", "")
    rows = [titles, *(_row(trial, found) for trial in found.trials)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * width for width in widths))
    for row in rows:
        yield "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
    if found.too_small:
        yield f"{found.too_small} more were not tried, because they compute less than arrives."
    yield ""
    if found.best is not None:
        yield from report(study, found.best.plan, found.best.outcome)


def _row(trial: Trial, found: SearchResult) -> tuple[str, ...]:
    plan, outcome = trial.plan, trial.outcome
    return (
        str(plan.replicas),
        str(plan.batch),
        _about_wait(plan),
        _shown(outcome.latency_s(0.5)),
        _shown(outcome.latency_s(0.99)),
        f"{trial.kept:.1%}",
        f"{outcome.busy:.0%}",
        "<- the cheapest" if trial is found.best else "",
    )


def not_found(study: Study, found: SearchResult) -> str:
    """Return the message if no plan answers in time."""
    limit = show_duration(t.cast("float", study.question.p99))
    if not found.trials:
        most = show_rate(study.plan.capacity_per_s)
        return (
            f"No plan answers {SHARE:.0%} of the requests within {limit}: they compute less than"
            f" arrives ({describe(study.plan)} computes at most {most})."
        )
    best = found.nearest
    return (
        f"No plan answers {SHARE:.0%} of the requests within {limit}. The best of"
        f" {len(found.trials)} that were tried answers {best.kept:.1%}: {describe(best.plan)}."
    )


# --- JSON ----------------------------------------------------------------------------------------


def to_dict(study: Study, plan: ServingPlan, outcome: Outcome) -> dict[str, t.Any]:
    """Return plan and outcome as plain JSON values."""
    measured, memory = study.measured, study.memory
    return {
        "model": study.name,
        "load": study.load,
        "cost": {
            "fixed_ms": plan.cost.fixed_s * 1e3,
            "per_item_ms": plan.cost.per_item_s * 1e3,
            "measured_ms": None
            if measured is None
            else {str(size): each * 1e3 for size, each in measured.times_s.items()},
            "residual": None if measured is None else measured.residual,
        },
        "plan": plan_to_dict(plan),
        "outcome": outcome.to_dict(),
        "memory_bytes": None if memory is None else memory.of(plan),
        "warnings": study.warnings,
    }


def plan_to_dict(plan: ServingPlan) -> dict[str, t.Any]:
    """Return a plan as plain JSON values."""
    return {
        "workers": plan.workers,
        "replicas": plan.replicas,
        "concurrency": plan.concurrency if plan.replicas is None else 1,
        "batch": plan.batch,
        "wait_ms": "auto" if plan.wait_s == "auto" else plan.wait_s * 1e3,
        "deadline_s": plan.deadline_s,
        "queue": plan.queue,
        "http_ms": plan.http_s * 1e3,
    }


def search_to_dict(study: Study, found: SearchResult) -> dict[str, t.Any]:
    """Return what was tried, and the cheapest plan, as plain JSON values."""
    best = found.best
    return {
        "best": None if best is None else to_dict(study, best.plan, best.outcome),
        "tried": [
            {
                "plan": plan_to_dict(each.plan),
                "p50_ms": each.outcome.latency_s(0.5) * 1e3 if each.outcome.latencies_s else None,
                "p99_ms": each.outcome.latency_s(0.99) * 1e3 if each.outcome.latencies_s else None,
                "in_time": each.kept,
            }
            for each in found.trials
        ],
        "too_small": found.too_small,
    }
