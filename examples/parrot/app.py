"""Streamed text: a small language model that continues a prompt.

carboy --app app.py run          http://127.0.0.1:5000/parrot: a page to try it
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator
from typing import Annotated

from language import Language
from msgspec import Meta

from carboy import Carboy, redirect

app = Carboy(__name__)
app.config["STRICT_HEADERS"] = True
app.logger.setLevel(logging.INFO)

Prompt = Annotated[str, Meta(max_length=2000, examples=["When an exception"])]
Words = Annotated[int, Meta(ge=1, le=500)]
Temperature = Annotated[float, Meta(ge=0.1, le=2)]
Pace = Annotated[float, Meta(ge=1, le=1000, description="Words per second.")]


@app.model("/parrot", concurrency=16, deadline_s=120)
class Parrot:
    """Goes on with a text, in the words of Python's manual.

    A parrot, not a thinker: it has counted which word followed which three. It would be done in
    a millisecond, and speaks at the pace of the large ones so that there is a stream to see.
    """

    def __init__(self) -> None:
        self.language = Language()

    def predict(
        self,
        prompt: Prompt,
        words: Words = 60,
        temperature: Temperature = 0.8,
        pace: Pace = 20,
        seed: int | None = None,
    ) -> Iterator[str]:
        said = 0
        speech = self.language.go_on(prompt, temperature=temperature, seed=seed)
        try:
            for word in itertools.islice(speech, words):
                time.sleep(1 / pace)
                yield word
                said += 1
        finally:  # also when the client has disconnected: the computation ends
            app.logger.info("Said %d words after %r.", said, prompt)


@app.get("/")
def index():
    return redirect("/parrot")
