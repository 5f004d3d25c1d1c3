"""What a foreign judge has found."""

from __future__ import annotations

import dataclasses
import typing as t


class Accepted(t.NamedTuple):
    """A finding that stays, and why."""

    finding: str
    where: str
    reason: str


@dataclasses.dataclass
class Judgement:
    """What one judge has said of one thing.

    Attributes:
        judge: the name of the program.
        version: its version.
        subject: what it has judged.
        result: its result in a few words, which are the same in each run.
        problems: what it has found and nobody has accepted; empty if the judge is content.
        accepted: what it has found, with the reasons why it stays.
        scores: the parts of its result with their scores, for a judge that gives marks.
    """

    judge: str
    version: str
    subject: str
    result: str
    problems: list[str] = dataclasses.field(default_factory=list)
    accepted: list[Accepted] = dataclasses.field(default_factory=list)
    scores: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)

    def accept(self, accepted: Accepted) -> None:
        if accepted not in self.accepted:
            self.accepted.append(accepted)


class Judge(t.NamedTuple):
    """A task of the run: one program on one subject."""

    name: str
    judge: t.Callable[[], Judgement]
    # Whether it attacks a server, which it may do only in a network that has nothing else.
    needs_own_network: bool = True
