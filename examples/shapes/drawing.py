"""Draw shapes with variation, and convert any picture to the network's input."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageOps

SIDE = 36  # the side of the network's input
Corners = np.ndarray  # (n, 2), about the origin, at most about 1 away from it


def see(picture: Image.Image) -> np.ndarray:
    """Return the network's input: grey, square, of even contrast. Float32 array (1, SIDE, SIDE)."""
    small = ImageOps.fit(picture.convert("L"), (SIDE, SIDE), Image.Resampling.BOX)
    grey = np.asarray(small, dtype=np.float32)
    return ((grey - grey.mean()) / max(float(grey.std()), 1.0))[None]


def ring(corners: int, radii: float | list[float] = 1.0) -> Corners:
    """Return points around the origin, the first on top."""
    turns = np.arange(corners) * math.tau / corners - math.pi / 2
    return np.stack([np.cos(turns), np.sin(turns)], axis=1) * np.reshape(radii, (-1, 1))


def circle(chance: np.random.Generator) -> Corners:
    return ring(40)


def cross(chance: np.random.Generator) -> Corners:
    arm = chance.uniform(0.22, 0.4)
    quarter = np.array([[-arm, -1], [arm, -1], [arm, -arm]])
    turn = np.array([[0, 1], [-1, 0]])  # a quarter turn, clockwise
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, n) for n in range(4)])


def heart(chance: np.random.Generator) -> Corners:
    t = np.linspace(0, math.tau, 48, endpoint=False)
    down = 5 * np.cos(2 * t) + 2 * np.cos(3 * t) + np.cos(4 * t) - 13 * np.cos(t)
    return np.stack([16 * np.sin(t) ** 3, down], axis=1) / 17


def square(chance: np.random.Generator) -> Corners:
    return np.array([[-0.7, -0.7], [0.7, -0.7], [0.7, 0.7], [-0.7, 0.7]])


def star(chance: np.random.Generator) -> Corners:
    return ring(10, [1, chance.uniform(0.36, 0.5)] * 5)


def triangle(chance: np.random.Generator) -> Corners:
    return ring(3)


SHAPES: dict[str, Callable[[np.random.Generator], Corners]] = {
    each.__name__: each for each in (circle, cross, heart, square, star, triangle)
}


def draw(name: str, chance: np.random.Generator, side: int = 128) -> Image.Image:
    """Draw a shape, filled or in outline, in any two colours, at a random angle and position."""
    corners = SHAPES[name](chance)
    corners = corners + chance.normal(0, 0.06 if len(corners) < 20 else 0.015, corners.shape)
    turn, slant = chance.normal(0, 0.15), chance.normal(0, 0.08)
    cos, sin = math.cos(turn), math.sin(turn)
    stretch = np.array([[cos, -sin], [sin + slant, cos]]) * chance.uniform(0.8, 1.15, 2)
    middle = side / 2 + chance.uniform(-0.12, 0.12, 2) * side
    points = corners @ stretch * chance.uniform(0.2, 0.4) * side + middle
    path = [(float(x), float(y)) for x, y in [*points, *points[:2]]]

    light, dark = chance.integers(150, 256, 3), chance.integers(0, 110, 3)
    paper, ink = (light, dark) if chance.random() < 0.6 else (dark, light)
    picture = Image.new("RGB", (side, side), tuple(map(int, paper)))
    pen = ImageDraw.Draw(picture)
    if chance.random() < 0.4:
        pen.polygon(path, fill=tuple(map(int, ink)))
    else:
        pen.line(path, fill=tuple(map(int, ink)), width=chance.integers(3, 11), joint="curve")
    return picture
