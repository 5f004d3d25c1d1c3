"""Find the measured figures in sentences of README and docs.

A figure is a number with a unit of time, of speed or of size, a part (1/25) or a factor (16 times).
Microseconds, factors and rates are always taken for measured; milliseconds, seconds, percents and
sizes only in a sentence that has a word of measuring, since limits and settings have these units as
well. So are rows of a table in which two cells or more are numbers such as 0.91 or "1.8, 1.2".

A number that looks measured and is not, such as a target, is marked with the reason:
`<!-- no measurement: a target -->1/10<!-- end -->`. On a page whose numbers are assumptions a line
`<!-- no measurements: REASON -->` says so for all that follows.
"""

from __future__ import annotations

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent

_NUMBER = r"\d[\d,]*(?:\.\d+)?(?: to \d[\d,]*(?:\.\d+)?)?"
_ALWAYS = re.compile(
    rf"(?<![\w/.])(?:{_NUMBER}"
    r" (?:us|µs|ns|times|[MG]B/s|(?:requests|predictions)(?:/s| per second))"
    r"|1/\d+(?:\.\d+)?|\d+\.\d+(?= of\b))(?![\w/])"
)
_IF_MEASURED = re.compile(rf"(?<![\w/.])(?:{_NUMBER} (?:ms|s|MiB|MB|kB|%|GB|CPU-ms))(?![\w/])")
_MEASURING = re.compile(
    r"\b(?:measured|took|costs?|instead of|slower|faster|percentile|medians?|throughput"
    r"|bench/\w+|of Flask's)\b"
)
_CELL_OF_FIGURES = re.compile(r"\d+\.\d+(?:,? \d+\.\d+)*")
# Within a paragraph, or from a line of its own to the end of the page.
_NO_MEASUREMENT = re.compile(
    r"<!-- no measurement: [^>]+ -->(?:(?!\n\n|<!--).)*<!-- end -->"
    r"|^<!-- no measurements: [^>]+ -->$.*",
    re.MULTILINE | re.DOTALL,
)
_CODE = re.compile(r"^( *)(```|~~~).*?^\1\2 *$|^    .*?$", re.MULTILINE | re.DOTALL)
_MARKS = re.compile(r"<!--.*?-->|<[^>]+>|[*_]{1,2}(?=\w)|(?<=[\w.%])[*_]{1,2}", re.DOTALL)
_LINK = re.compile(r"\]\([^)]*\)")
# A blank line, an item of a list, a row or a cell of a table, the end of a sentence.
_ENDS = re.compile(r"\n\s*\n|\n\s*(?:[-*]|\d+\.)\s|\||(?<=[.!?])\s+(?=[A-Z(`*])")


def pages() -> list[pathlib.Path]:
    """Return the pages whose figures must be in results."""
    found = [ROOT / "README.md", ROOT / "bench" / "README.md", *(ROOT / "docs").rglob("*.md")]
    return sorted(path for path in found if "node_modules" not in path.parts)


def figures(text: str) -> list[str]:
    """Return the measured figures of a page, each with the words around it."""
    text = _NO_MEASUREMENT.sub("", text)
    text = _LINK.sub("]", _CODE.sub("\n\n", text))
    found = [row for row in text.splitlines() if _is_row_of_figures(row)]
    for raw in _ENDS.split(_MARKS.sub("", text)):
        # The name of a benchmark in code tells that a figure was measured; other code is a word.
        sentence = re.sub(r"`([^`]*)`", lambda code: _word(code[1]), raw or "")
        sentence = " ".join(sentence.split())
        matches = list(_ALWAYS.finditer(sentence))
        if _MEASURING.search(sentence):
            matches += _IF_MEASURED.finditer(sentence)
        found += [_with_words(sentence, match) for match in matches]
    return found


def _is_row_of_figures(line: str) -> bool:
    cells = [cell.strip(" *") for cell in line.split("|")]
    return len(cells) > 3 and len([c for c in cells if _CELL_OF_FIGURES.fullmatch(c)]) > 1


def _word(code: str) -> str:
    return code if "bench/" in code else "code"


def _with_words(sentence: str, match: re.Match[str]) -> str:
    before = sentence[: match.start()].split()[-2:]
    after = sentence[match.end() :].split()[:1]
    return " ".join([*before, match[0], *after]).strip(" .,;:()")
