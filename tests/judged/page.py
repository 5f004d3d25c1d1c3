"""docs/judges.md: the parts of the page that the results of the judges make.

Such a part stands between two comments: `<!-- judged: NAME -->` and `<!-- end of judged -->`.
"""

from __future__ import annotations

import re
import typing as t

import doctables
import scanner

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from judgement import Judgement

PAGE = doctables.DOCS / "judges.md"
_PART = re.compile(r"(<!-- judged: (\w+) -->\n).*?(<!-- end of judged -->)", re.DOTALL)


def renewed(text: str, judgements: cabc.Sequence[Judgement]) -> str:
    """Return the page with its parts made anew."""
    parts = {
        "results": _results(judgements),
        "accepted": _accepted(judgements),
        "modules": doctables.table(("Modules", "Why"), scanner.LEFT_OUT.items()),
        "scores": _scores(judgements),
    }
    return _PART.sub(lambda found: found[1] + parts[found[2]] + found[3], text)


def _results(judgements: cabc.Sequence[Judgement]) -> str:
    rows = [(each.judge, each.version, each.subject, each.result) for each in judgements]
    return doctables.table(("Judge", "Version", "Has judged", "Result"), rows)


def _accepted(judgements: cabc.Sequence[Judgement]) -> str:
    rows = [
        (judgement.judge, *accepted)
        for judgement in judgements
        for accepted in sorted(judgement.accepted)
    ]
    return doctables.table(("Judge", "Finding", "Where", "Why it stays"), rows)


def _scores(judgements: cabc.Sequence[Judgement]) -> str:
    rows = [row for each in judgements for row in each.scores]
    return doctables.table(("Test", "Result", "Score"), rows)
