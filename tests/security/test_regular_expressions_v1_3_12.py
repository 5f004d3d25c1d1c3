"""Regular expressions: none of carboy's takes exponential or cubic time on any text.

ASVS 5.0: 1.3.12
Also tested in: tests/core/test_formparser.py, tests/serving/http/test_forwarded.py,
    tests/security/test_json_bodies_v15_2_2.py
"""

from __future__ import annotations

import contextlib
import pathlib
import re
import signal
import time
import typing as t

import pytest
from hostilepatterns import find_patterns, hostile_texts

import carboy

ROOT = pathlib.Path(carboy.__file__).parent
# How often what a pattern repeats stands in a text. Two ways to divide it are 300**2 steps, 1 ms;
# three are 27 million.
REPEATS = 300
# The slowest patterns, which take quadratic time in `search`, take 0.003 s.
MOST_S = 0.2

# Patterns that only the running program knows, and why no client can choose them.
BUILT = {
    "access/cors.py": "the origins of the configuration",
    "contract/exactvalues.py": "patterns that a process of this app has compiled",
    "core/cgroups.py": "the names of the kernel's counters",
    "core/routing/tree.py": "the routes of the program",
    "deployment/checks/dockerfilechecks.py": "the lines of .dockerignore, escaped",
    "deployment/dockerfiles.py": "the folder of the project, escaped",
    "deployment/platforms/deploycommand.py": "read from an option of the command",
    "deployment/platforms/hosting.py": "the rules of a platform for names, in this package",
    "openapi/patterns.py": "the patterns that the program's types have",
    "project/datafiles.py": "the keys of the configuration, escaped",
}


class TooSlow(Exception):
    pass


def slowest_s(pattern: re.Pattern[str] | re.Pattern[bytes]) -> tuple[float, object]:
    """Return how long a pattern takes for the worst of its hostile texts, and this text."""
    worst: tuple[float, object] = (0.0, None)
    for text in hostile_texts(pattern, REPEATS):
        for search in (pattern.match, pattern.search):
            begin = time.process_time()
            search(text)
            worst = max(worst, (time.process_time() - begin, text), key=lambda each: each[0])
    return worst


@contextlib.contextmanager
def at_most(seconds: float) -> t.Iterator[None]:
    """Raise TooSlow if the block takes more CPU time. A search that takes exponential time would
    not end.
    """

    def interrupt(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


FOUND = list(find_patterns(ROOT))


def test_all_patterns_are_found():
    assert len(FOUND) > 150
    unknown = {each.where.split(":")[0]: each.source for each in FOUND if each.pattern is None}
    assert {name: unknown[name] for name in unknown if name not in BUILT} == {}


def test_no_pattern_takes_more_than_quadratic_time():
    slow = {}
    for each in FOUND:
        if each.pattern is not None:
            with at_most(10):
                seconds, text = slowest_s(each.pattern)
            if seconds > MOST_S:
                slow[each.where] = (seconds, each.source, text)
    assert slow == {}


@pytest.mark.parametrize(
    "pattern", [r"(a+)+b", r"(?:x|xx|y)*z", r"\s*,?\s*,?\s*,?\s*;", r"^(\w+ ?)*$"]
)
def test_pattern_that_takes_too_long_would_be_found(pattern):
    with pytest.raises((TooSlow, AssertionError)), at_most(0.3):
        assert slowest_s(re.compile(pattern))[0] < MOST_S
