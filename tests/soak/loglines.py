"""Find the lines that the server should have logged: one of the view, and one of the access log."""

from __future__ import annotations

import collections
import re
import typing as t

import kinds
from tally import ANSWERED, WRONG

if t.TYPE_CHECKING:
    import pathlib

    from tally import Tally

# The access log is written a quarter of a second after the answers; under load, somewhat later.
ACCESS_DELAY_S = 2.0
_SECOND = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
_DATE = rf"{_SECOND},\d{{3}}"
_HANDLED = re.compile(rf"{_DATE} :: INFO :: served\[\d+\] :: (\d+) :: handled (\d+)")
_ACCESS = re.compile(
    r'\S+ - - \[[^\]]+\] "[^"]*" \d{3} \d+ "-" "-" id=(\d+) ms=\d+\.\d+ view_ms=\d+\.\d+'
    r"(?: [\w.]+=\S+)*"
)
# What each line of these two kinds contains, also if the rest of it is damaged.
_HINT = re.compile(r":: handled \d|\" \d{3} \d+ \"-\" \"-\" id=\d+ ")
# Other lines: records of other loggers, their further lines, and requests without a number.
_OTHER = re.compile(
    rf"(?:{_DATE} :: [A-Z]+ :: |{_SECOND} \+\d{{4}} [A-Z]+ \[|\S+ - - \[|  |Traceback|[A-Z][a-z])"
    ".*|"
)
# What the server logs only if something is wrong with it.
_FAULT = re.compile(r"error while |has not finished its requests| hangs: |Exception in thread")
_FOREIGN_ID = re.compile(r'" \d{3} \d+ "-" "-" id=[0-9a-f]+-[0-9a-f]+ ')


class Lines:
    """The lines of all log files, counted by the number of the request.

    Attributes:
        handled: how often the view's line is there, by number.
        access: how often the line of the access log is there, by number.
        damaged: lines that are not whole, or mixed with others.
        faults: lines that say that something is wrong with the server.
        mixed_up: lines with the number of one request and the id of another one.
    """

    def __init__(self, most: int) -> None:
        self.handled, self.access = bytearray(most), bytearray(most)
        self.damaged: list[str] = []
        self.mixed_up: list[str] = []
        self.faults: list[str] = []
        self.count = 0

    def read(self, path: pathlib.Path) -> None:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                self._add(line.rstrip("\n"))

    def _add(self, line: str) -> None:
        self.count += 1
        if _FAULT.search(line):
            self.faults.append(line)
        elif match := _HANDLED.fullmatch(line):
            self.handled[int(match[2])] += 1
            if match[1] != match[2]:
                self.mixed_up.append(line)
        elif match := _ACCESS.fullmatch(line):
            self.access[int(match[1])] += 1
        elif _FOREIGN_ID.search(line) is None and (
            _HINT.search(line) or not _OTHER.fullmatch(line)
        ):
            self.damaged.append(line)


class Missing(t.NamedTuple):
    """What is wrong with the lines: how many of each fault, and examples."""

    counts: collections.Counter[str]
    examples: list[str]


def compare(lines: Lines, tally: Tally) -> Missing:
    """Compare the lines with the requests. Those without an answer may have their lines or not."""
    found = Missing(collections.Counter(), [])

    def add(fault: str, number: int) -> None:
        found.counts[fault] += 1
        if found.counts[fault] <= 5:
            found.examples.append(f"{fault}: request {number} ({tally.kind_of(number)})")

    for number, outcome in enumerate(tally.outcomes):
        is_answered = outcome in {ANSWERED, WRONG}
        if lines.handled[number] > 1 or lines.access[number] > 1:
            add("line twice", number)
        if not is_answered:
            continue
        if not lines.handled[number] and kinds.KINDS[tally.kind_of(number)].is_logged:
            add("line of the view missing", number)
        if not lines.access[number] and not tally.may_lack_access_line(number, ACCESS_DELAY_S):
            add("line of the access log missing", number)
    return found
