"""Digits drawn with a varying pen, in forms that the scans lack.

All scans come from 43 writers of one country. A one that is a plain line, a four with an open top,
and
a seven without its bar are rare or missing there, and common elsewhere. Each function below draws
one
family of forms on a field of 1 x 1, with y pointing down; chance picks the member.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

Point = tuple[float, float]
Stroke = list[Point]
SIDE = 96


class Hand:
    """Random choices, named as a writer would."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random

    def near(self, value: float, by: float = 0.07) -> float:
        return float(self.random.normal(value, by))

    def between(self, low: float, high: float) -> float:
        return float(self.random.uniform(low, high))

    def sometimes(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def at(self, x: float, y: float) -> Point:
        return self.near(x, 0.04), self.near(y, 0.04)

    def arc(self, middle: Point, radii: Point, start: float, end: float, steps: int = 20) -> Stroke:
        """Return an arc in degrees; 0 is right, 90 is down."""
        (x, y), (rx, ry) = middle, (self.near(radii[0], 0.03), self.near(radii[1], 0.03))
        start, end = self.near(start, 10), self.near(end, 10)
        turns = np.radians(np.linspace(start, end, steps))
        return [(x + rx * math.cos(turn), y + ry * math.sin(turn)) for turn in turns]


def zero(hand: Hand) -> list[Stroke]:
    return [hand.arc((0.5, 0.5), (hand.between(0.22, 0.48), 0.48), -90, hand.between(260, 310), 32)]


def one(hand: Hand) -> list[Stroke]:
    top, foot = (hand.near(0.52), 0.0), (hand.near(0.5), 1.0)
    strokes = [[top, foot]]
    if hand.sometimes(0.55):
        strokes[0].insert(0, (hand.between(0.2, 0.42), hand.between(0.12, 0.35)))
    if hand.sometimes(0.35):
        strokes.append([hand.at(0.22, 1), hand.at(0.78, 1)])
    return strokes


def two(hand: Hand) -> list[Stroke]:
    bow = hand.arc((0.47, 0.28), (0.34, 0.28), 195, hand.between(375, 405))
    if hand.sometimes(0.35):
        loop = hand.arc((0.28, 0.9), (0.1, 0.09), 20, -270, 12)
        return [[*bow, *loop, hand.at(0.5, 0.93), hand.at(0.9, 0.97)]]
    corner = hand.at(0.12, 1)
    return [[*bow, corner, hand.at(0.88, 1)]]


def three(hand: Hand) -> list[Stroke]:
    belly = hand.arc((0.44, 0.73), (0.37, 0.28), -80, hand.between(130, 165))
    if hand.sometimes(0.3):
        return [[hand.at(0.14, 0.02), hand.at(0.8, 0), hand.at(0.42, 0.42), *belly]]
    return [hand.arc((0.44, 0.25), (0.33, 0.25), hand.between(195, 225), 435) + belly]


def four(hand: Hand) -> list[Stroke]:
    bar = hand.between(0.52, 0.74)
    right = hand.near(0.68)
    if hand.sometimes(0.4):  # closed, in one stroke
        return [[(right, 1.0), (right, 0.0), hand.at(0.08, bar), (hand.near(0.95), bar)]]
    left = [hand.at(hand.between(0.15, 0.5), 0), hand.at(0.1, bar), (hand.near(0.92), bar)]
    return [left, [(right, hand.between(0.0, 0.42)), (hand.near(right, 0.05), 1.0)]]


def five(hand: Hand) -> list[Stroke]:
    belly = hand.arc((0.45, 0.68), (0.37, 0.31), -115, hand.between(120, 155))
    neck = [hand.at(0.26, 0), hand.at(0.2, 0.42)]
    end = hand.at(0.85, 0.01)
    return [[end, *neck, *belly]] if hand.sometimes(0.5) else [neck + belly, [neck[0], end]]


def six(hand: Hand) -> list[Stroke]:
    middle, radii = (0.5, hand.near(0.71, 0.03)), (hand.between(0.24, 0.38), 0.28)
    down = [hand.at(hand.between(0.5, 0.78), 0), hand.at(0.36, 0.25), hand.at(0.2, 0.55)]
    return [down + hand.arc(middle, radii, 180, -hand.between(170, 200), 28)]


def seven(hand: Hand) -> list[Stroke]:
    down = [hand.at(0.1, 0.02), hand.at(0.88, 0)]
    if hand.sometimes(0.3):
        down.insert(0, hand.at(0.1, 0.15))
    if hand.sometimes(0.4):
        down.append(hand.at(0.6, 0.42))
    down.append((hand.between(0.25, 0.55), 1.0))
    bar = [hand.at(0.28, 0.5), hand.at(0.8, 0.5)]
    return [down, bar] if hand.sometimes(0.3) else [down]


def eight(hand: Hand) -> list[Stroke]:
    high = hand.near(0.25, 0.03)
    upper = hand.between(0.2, 0.32)
    lower = (0.5, (1 + 2 * high) / 2), (hand.near(0.33, 0.04), (1 - 2 * high) / 2)
    if hand.sometimes(0.5):
        return [
            hand.arc((0.5, high), (upper, high), 90, 450, 24),
            hand.arc(lower[0], lower[1], -90, 270, 24),
        ]
    first = hand.arc((0.5, high), (upper, high), -40, -270, 18)
    second = hand.arc(lower[0], lower[1], -90, 225, 24)
    return [[*first, *second, hand.at(0.52, 0.5), hand.at(0.74, 0.12)]]


def nine(hand: Hand) -> list[Stroke]:
    width = hand.between(0.24, 0.38)
    loop = hand.arc((0.48, 0.29), (width, 0.29), 0, -hand.between(340, 365), 28)
    edge = 0.48 + width
    if hand.sometimes(0.35):
        hook = hand.arc((edge - 0.3, 0.74), (0.3, 0.25), 0, hand.between(90, 150), 14)
        return [[*loop, (edge, 0.35), *hook]]
    return [[*loop, (edge, 0.3), (edge - hand.between(-0.02, 0.4), 1.0)]]


WRITERS: tuple[Callable[[Hand], list[Stroke]], ...] = (
    zero, one, two, three, four, five, six, seven, eight, nine,
)  # fmt: skip


def write(digit: int, random: np.random.Generator) -> Image.Image:
    """Draw one digit, white on black, with random slant, tremor and pen."""
    hand = Hand(random)
    field = Image.new("L", (SIDE, SIDE), 0)
    ink = ImageDraw.Draw(field)
    pen = hand.between(4, 13)
    turn, slant = math.radians(hand.between(-10, 10)), hand.between(-0.25, 0.25)
    wide, high = hand.between(0.36, 0.66) * SIDE, hand.between(0.62, 0.8) * SIDE
    cos, sin = math.cos(turn), math.sin(turn)
    for stroke in WRITERS[digit](hand):
        points: list[Point] = []
        for across, down in stroke:
            y = (hand.near(down, 0.012) - 0.5) * high
            x = (hand.near(across, 0.012) - 0.5) * wide - slant * y
            points.append((SIDE / 2 + x * cos - y * sin, SIDE / 2 + x * sin + y * cos))
        ink.line(points, fill=255, width=round(pen), joint="curve")
        for x, y in (points[0], points[-1]):
            ink.ellipse((x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2), fill=255)
    return field
