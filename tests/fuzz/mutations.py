"""Change valid inputs at random. The same seed gives the same inputs."""

from __future__ import annotations

import random
import typing as t


def mutated(chance: random.Random, seeds: t.Sequence[bytes], words: t.Sequence[bytes]) -> bytes:
    """Return one of the inputs, or two of them joined, changed at up to eight places."""
    data = bytearray(chance.choice(seeds))
    if chance.random() < 0.1:
        other = chance.choice(seeds)
        data = data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other) + 1) :]
    for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3, 8))):
        _change(chance, data, words)
    return bytes(data)


def _change(chance: random.Random, data: bytearray, words: t.Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    length = chance.choice((1, 1, 2, 4, 8, 50))
    match chance.randrange(7):
        case 0 if at < len(data):
            data[at] = chance.randrange(256)
        case 1 if at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        case 2:
            data[at:at] = chance.choice(words)
        case 3:
            data[at : at + length] = chance.choice(words)
        case 4:
            del data[at : at + length]
        case 5:
            data[at:at] = data[at : at + length] * chance.choice((1, 2, 30))
        case _:
            data[at : at + length] = chance.randbytes(length)
