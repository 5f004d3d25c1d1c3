"""The language model, served: words are streamed, and computation stops when the client leaves."""

from __future__ import annotations

import itertools
import json

import pytest
import requests
import showcase

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

EXAMPLE = "parrot"


def ask(served, accept="application/x-ndjson", **said):
    return requests.post(
        f"{served.url}/parrot", json=said, headers={"Accept": accept}, stream=True, timeout=60
    )


def test_text_continues_with_words_of_the_manual(served):
    with ask(served, prompt="A function", words=20, seed=1, pace=1000) as answer:
        assert answer.headers["Content-Type"].partition(";")[0] == "application/x-ndjson"
        words = [json.loads(line) for line in answer.iter_lines()]
    language = showcase.module(EXAMPLE, "language")
    known = {word for text in language.prose() for word in language.WORD.findall(text)}
    assert 1 <= len(words) <= 20
    assert {word.strip() for word in words} <= known
    assert "".join(words).startswith(" ")


def test_same_seed_gives_the_same_text(served):
    with ask(served, prompt="A function", seed=1, pace=1000) as one:
        first = one.text
    with ask(served, prompt="A function", seed=1, pace=1000) as other:
        assert first == other.text


def test_words_arrive_one_by_one_as_events(served):
    said = {"prompt": "A class", "words": 200, "seed": long_winded("A class"), "pace": 10}
    with ask(served, "text/event-stream", **said) as answer:
        assert answer.headers["Content-Type"].partition(";")[0] == "text/event-stream"
        lines = answer.iter_lines(chunk_size=1)
        first = next(line for line in lines if line.startswith(b"data:"))
        # All words would take more than 10 s; the first arrives long before.
        assert "words after 'A class'" not in served.output
    assert isinstance(json.loads(first.removeprefix(b"data:")), str)


def long_winded(prompt):
    """Return a seed for which the model generates more than a hundred words."""
    language = showcase.module(EXAMPLE, "language").Language()
    for seed in range(1000):
        speech = language.go_on(prompt, temperature=0.8, seed=seed)
        if len(list(itertools.islice(speech, 100))) == 100:
            return seed
    raise AssertionError("it never says much")


def test_generation_stops_when_the_client_disconnects(served):
    seed = long_winded("Nobody listens")
    with ask(served, prompt="Nobody listens", words=500, seed=seed, pace=10) as answer:
        lines = answer.iter_lines(chunk_size=1)
        heard = [next(lines) for _ in range(3)]
    assert len(heard) == 3
    served.wait_until_it_prints("words after 'Nobody listens'", within_s=20)
    (line,) = (line for line in served.output.splitlines() if "'Nobody listens'" in line)
    assert 3 <= int(line.split("Said ")[1].split()[0]) < 60


@pytest.mark.parametrize(
    ("said", "at"),
    [
        ({"prompt": "x", "words": 501}, "$.words"),
        ({"prompt": "x", "temperature": 0}, "$.temperature"),
        ({"prompt": "x" * 2001}, "$.prompt"),
        ({"words": 3}, "$"),
    ],
    ids=["too many words", "too cold", "too long", "no prompt"],
)
def test_invalid_input_is_refused_before_the_first_word(served, said, at):
    with ask(served, **said) as answer:
        assert answer.status_code == 422, answer.text
        assert at in answer.json()["detail"]
