"""An old kind of language model: it counts which word follows which three.

It learns from the reference manual that Python includes for `help()`: some 50,000 words of prose,
in a
third of a second. It knows no grammar and no facts; it repeats what often occurred together, and
where
two sentences share three words it may continue with the other one.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from pydoc_data.topics import topics

MEMORY = 3
END = "\n"
WORD = re.compile(r"\w+(?:['\u2019.-]\w+)*(?:\(\))?|[.,;:!?()]")


class Language:
    def __init__(self) -> None:
        # The next words and their counts, by the last 0, 1, 2 or 3 words.
        self.after: list[dict[tuple[str, ...], Counter[str]]] = [{} for _ in range(MEMORY + 1)]
        for paragraph in prose():
            words = [*WORD.findall(paragraph), END]
            for place, word in enumerate(words):
                for known in range(min(MEMORY, place) + 1):
                    last = tuple(words[place - known : place])
                    self.after[known].setdefault(last, Counter())[word] += 1

    def go_on(self, prompt: str, *, temperature: float, seed: int | None) -> Iterator[str]:
        """Yield words, each with the space before it, until a paragraph would end."""
        chance = random.Random(seed)
        words = WORD.findall(prompt)
        while (word := self.next(words[-MEMORY:], temperature, chance)) != END:
            yield word if word in ".,;:!?)" or words[-1:] == ["("] or not words else f" {word}"
            words.append(word)

    def next(self, last: list[str], temperature: float, chance: random.Random) -> str:
        """Choose by the longest known sequence of words, and now and then by a shorter one."""
        for known in range(len(last), -1, -1):
            seen = self.after[known].get(tuple(last[len(last) - known :]))
            if seen and (len(seen) > 1 or known < 2 or chance.random() < 0.4):
                break
        often = [count ** (1 / temperature) for count in seen.values()]
        return chance.choices(list(seen), often)[0]


def prose() -> Iterator[str]:
    """Return the paragraphs that are sentences, without grammar, tables and code."""
    for topic in topics.values():
        for block in re.split(r"\n\s*\n", topic):
            text = re.sub(r"[\"*`“”]", "", " ".join(block.split()))
            whole = text[:1].isupper() and text.endswith((".", ":")) and len(text) >= 60
            if whole and not re.search(r"::=|>>>", text):
                yield text
