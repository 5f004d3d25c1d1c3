"""The report of the soak test: tables of requests, memory and log lines, and the checks."""

from __future__ import annotations

import dataclasses
import functools
import typing as t

import loglines
from processes import MIB, growth_of
from tally import ANSWERED, KILLED, LEFT, LOST, OUTCOMES, SENT, WRONG

if t.TYPE_CHECKING:
    import argparse
    import collections.abc as cabc
    from collections import Counter

    from loglines import Lines, Missing
    from processes import Growth, History, Sample, Watch
    from tally import Tally

_COLUMNS = (ANSWERED, KILLED, LEFT, LOST, WRONG)
# A trend over less time than this, or by fewer samples, is not judged.
MIN_TREND_S = 20.0
MIN_SAMPLES = 5
# Nor is the trend of a process that was there for fewer requests (of all clients to all workers)
# before: its caches, its threads and its heap are still growing to their size.
WARM_REQUESTS = 20_000
# In a run with more requests than this, the supervisor and at least one worker must be judged.
LONG_REQUESTS = 200_000
# A process counts as flat if its trend grows by at most so much. A tenth of a kilobyte that each
# request leaves behind would be more after some ten thousand of them.
FLAT_BYTES = 2 * MIB
FLAT_SHARE = 0.03
# No process may be larger, at any time.
MOST_BYTES = 256 * MIB


class Check(t.NamedTuple):
    name: str
    problems: list[str]


def table(head: cabc.Sequence[str], rows: cabc.Iterable[cabc.Sequence[str]]) -> str:
    """Return a plain table: the first column aligned left, the others right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


# --- requests -----------------------------------------------------------------------------------


def requests(tally: Tally) -> str:
    """Return a table of what was sent, and what became of it: by kind, and by client."""
    kinds, clients = tally.by_kind(), tally.by_client()
    head = ("request", "sent", *(OUTCOMES[column] for column in _COLUMNS))
    rows = [_row(name, counts) for name, counts in kinds.items()]
    rows.append(_row("all", _sum(kinds.values())))
    rows.append(("", *[""] * (len(head) - 1)))
    rows += [_row(f"{name} clients", counts) for name, counts in clients.items()]
    return table(head, rows)


def _row(name: str, counts: Counter[int]) -> tuple[str, ...]:
    return (name, f"{counts.total():,}", *(f"{counts[column]:,}" for column in _COLUMNS))


def _sum(counters: cabc.Iterable[Counter[int]]) -> Counter[int]:
    first, *others = counters
    total = first.copy()
    for counter in others:
        total.update(counter)
    return total


def no_request_is_lost(tally: Tally) -> Check:
    lost, waiting = tally.total(LOST), tally.total(SENT)
    problems = [f"{lost:,} requests lost"] if lost else []
    if waiting:
        problems.append(f"{waiting:,} requests without any outcome")
    return Check("no request is lost, but for those in a killed process", problems)


def every_answer_is_right(tally: Tally) -> Check:
    wrong = tally.total(WRONG)
    return Check(
        "every answer is the one to its request", [f"{wrong:,} answers are wrong"] if wrong else []
    )


# --- memory -------------------------------------------------------------------------------------


def memory(histories: cabc.Iterable[History], began_s: float, calm_s: float) -> str:
    """Return a table of the processes that lived to the end, or for the longest time."""
    head = (
        "process", "lived s", "samples", "MiB at start", "middle", "end", "growth by trend",
        "descriptors", "threads",
    )  # fmt: skip
    rows = []
    for history in histories:
        samples = history.samples
        if len(samples) < MIN_SAMPLES:
            continue
        trend = trend_of(history, began_s, calm_s)
        rows.append(
            (
                f"{history.role} {history.pid}",
                f"{samples[-1].time_s - samples[0].time_s:.0f}",
                str(len(samples)),
                *(f"{_at(samples, share).pss / MIB:.1f}" for share in (0.0, 0.5, 1.0)),
                f"{trend.growth / MIB:+.2f}" if trend else "-",
                _three(samples, lambda sample: sample.descriptors),
                _three(samples, lambda sample: sample.threads),
            )
        )
    return table(head, rows)


def _at(samples: list[Sample], share: float) -> Sample:
    return samples[round(share * (len(samples) - 1))]


def _three(samples: list[Sample], value: cabc.Callable[[Sample], int]) -> str:
    return " ".join(str(value(_at(samples, share))) for share in (0.0, 0.5, 1.0))


def measured(history: History, began_s: float, calm_s: float) -> list[Sample]:
    """Return the samples whose trend counts. The supervisor has nothing to warm up: the second half
    of the run. A worker: the second half of the calm time, in which none is replaced.
    """
    end_s = history.samples[-1].time_s
    since_s = began_s if history.role == "supervisor" else calm_s
    return history.since((since_s + end_s) / 2)


def trend_of(history: History, began_s: float, calm_s: float) -> Growth | None:
    """Return how the memory of a process grows; None if it was not measured for long enough."""
    samples = measured(history, began_s, calm_s)
    if len(samples) < MIN_SAMPLES or samples[-1].time_s - samples[0].time_s < MIN_TREND_S:
        return None
    if samples[0].requests - history.samples[0].requests < WARM_REQUESTS:
        return None
    return growth_of(samples, lambda sample: sample.pss)


def memory_is_flat(histories: cabc.Iterable[History], began_s: float, calm_s: float) -> Check:
    problems = []
    roles = set()
    most_requests = 0
    for history in histories:
        most_requests = max(most_requests, history.samples[-1].requests)
        name = f"{history.role} {history.pid}"
        most = max(sample.pss for sample in history.samples)
        if most > MOST_BYTES:
            problems.append(f"{name} had {most / MIB:.0f} MiB (limit {MOST_BYTES / MIB:.0f} MiB)")
        trend = trend_of(history, began_s, calm_s)
        if trend is None:
            continue
        roles.add(history.role)
        limit = FLAT_BYTES + FLAT_SHARE * trend.mean
        if trend.growth > limit:
            samples = measured(history, began_s, calm_s)
            problems.append(
                f"{name} grew by {trend.growth / MIB:.2f} MiB in"
                f" {samples[-1].time_s - samples[0].time_s:.0f} s and"
                f" {samples[-1].requests - samples[0].requests:,} requests"
                f" (limit {limit / MIB:.2f} MiB)"
            )
    if most_requests > LONG_REQUESTS and roles != {"supervisor", "worker"}:
        problems.append("the supervisor or all workers were not there for long enough to be judged")
    return Check("memory is flat", problems)


# --- log lines ----------------------------------------------------------------------------------


def log_lines(lines: Lines, missing: Missing, kills: int) -> Check:
    problems = [f"{fault}: {count:,}" for fault, count in missing.counts.items()]
    # The last line of a process that is killed may end in the middle.
    if len(lines.damaged) > kills:
        problems.append(f"{len(lines.damaged):,} damaged lines, but {kills} killed processes")
    if lines.mixed_up:
        problems.append(f"{len(lines.mixed_up):,} lines with the id of another request")
    return Check("all log lines are there, once and whole", problems)


# --- the whole ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run has found.

    Attributes:
        calm_s: the time since which no faults were caused.
        workers: the processes that served at the end.
        errors: exceptions in the threads of the soak test itself.
        left_out: the fault that cannot be caused on this machine, with the reason; "" if there is
            none.
        unsettled: what had not ended a while after the load: descriptors that remained open, a
            worker too many or too few.
        stopped: what was wrong with the end of the server.
    """

    options: argparse.Namespace
    tally: Tally
    took_s: float
    calm_s: float
    watch: Watch
    workers: list[int]
    errors: list[str]
    left_out: str
    unsettled: list[str]
    stopped: list[str]
    lines: Lines

    @functools.cached_property
    def missing(self) -> Missing:
        return loglines.compare(self.lines, self.tally)

    @functools.cached_property
    def histories(self) -> list[History]:
        """The supervisor, and the workers that served at the end."""
        at_the_end = {self.watch.supervisor, *self.workers}
        return [each for pid, each in self.watch.histories.items() if pid in at_the_end]

    @functools.cached_property
    def checks(self) -> list[Check]:
        tally = self.tally
        return [
            Check("the clients and the faults ran to the end", self.errors),
            no_request_is_lost(tally),
            every_answer_is_right(tally),
            log_lines(self.lines, self.missing, len(tally.kills)),
            Check("the log names no fault of the server", self.lines.faults[:5]),
            memory_is_flat(self.histories, tally.began_s, self.calm_s),
            Check("descriptors are closed, and all workers there, after the load", self.unsettled),
            Check("no zombies", [f"process {pid}" for pid in sorted(self.watch.zombies)]),
            Check("SIGTERM ends the server with exit code 0", self.stopped),
        ]

    @property
    def problems(self) -> list[str]:
        return [problem for check in self.checks for problem in check.problems]

    def text(self) -> str:
        parts = [
            self._head(),
            requests(self.tally),
            *_indented(self.tally.examples),
            "\nwhat happened",
            *_indented(f"{n:9,}  {event}" for event, n in sorted(self.tally.events.items())),
            *_indented([f"LEFT OUT: {self.left_out}"] if self.left_out else []),
            "",
            memory(self.histories, self.tally.began_s, self.calm_s),
            f"\nlog lines: {self.lines.count:,}",
            *_indented(self.missing.examples),
            *_indented(f"damaged: {line[:300]!r}" for line in self.lines.damaged[:10]),
            *_indented(f"fault: {line[:300]}" for line in self.lines.faults[:10]),
            *_indented(f"wrong id: {line[:300]!r}" for line in self.lines.mixed_up[:5]),
            "\nchecks",
        ]
        for check in self.checks:
            parts.append(f"  {'FAULT' if check.problems else 'ok   '}  {check.name}")
            parts += [f"           {problem}" for problem in check.problems]
        return "\n".join(parts)

    def _head(self) -> str:
        rate = self.tally.count / self.took_s
        options = self.options
        return (
            f"soak: {self.took_s:.0f} s, {rate:,.0f} answers a second, {options.workers} workers,"
            f" {options.clients} steady clients, {options.idle:,} idle connections\n"
        )


def _indented(lines: cabc.Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]
