"""Convert any picture of a digit to the 8 x 8 numbers that the classifier expects.

The data set was made by the same steps: crop to the ink, scale to 32 x 32, average over 4 x 4
blocks,
so that each number counts ink from 0 to 16. Training and serving both use this module, so that the
model gets the form that it was trained on.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

SIDE = 8
FULL = 16
BOX = 32
# Pictures are reduced to at most this size: a digit needs no more, and the decoder reduces a
# phone's photograph in milliseconds.
_WORKING_SIDE = 256
# Least difference between ink and paper, of 255. Below it a picture counts as empty.
_LEAST_CONTRAST = 24


class NoInkError(ValueError):
    """The picture shows nothing."""


def see(picture: Image.Image) -> np.ndarray:
    """Return the features: grey, ink bright on dark, cropped, centred by mass, averaged. Float
    array (8, 8), 0 to 16.
    """
    ink = _ink(_grey(picture))
    return blocks(centre(cut(ink)))


def cut(ink: np.ndarray) -> np.ndarray:
    """Crop to the rows and columns that contain ink. Array (h, w), 0 to 1."""
    dark = ink > 0.4
    rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
    if rows.size == 0:
        raise NoInkError("There is no digit on the picture: it is all one colour.")
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def centre(ink: np.ndarray) -> np.ndarray:
    """Scale the longer side to the box and move the centre of mass to its middle."""
    height, width = ink.shape
    scale = BOX / max(height, width)
    size = (max(2, round(width * scale)), max(2, round(height * scale)))
    small = Image.fromarray((ink * 255).astype(np.uint8)).resize(size, Image.Resampling.BOX)
    values = np.asarray(small, dtype=np.float32) / 255
    top, left = (_offset(values.sum(axis=axis)) for axis in (1, 0))
    box = np.zeros((BOX, BOX), dtype=np.float32)
    box[top : top + values.shape[0], left : left + values.shape[1]] = values
    return box


def blocks(box: np.ndarray) -> np.ndarray:
    """Count ink in blocks of 4 x 4, as the data set does."""
    step = BOX // SIDE
    return box.reshape(SIDE, step, SIDE, step).mean(axis=(1, 3)) * FULL


def _offset(mass: np.ndarray) -> int:
    """Return where a profile must begin so that its centre of mass is in the middle of the box."""
    middle = float((mass * np.arange(mass.size)).sum() / max(mass.sum(), 1e-6)) + 0.5
    return int(np.clip(round(BOX / 2 - middle), 0, BOX - mass.size))


def _grey(picture: Image.Image) -> np.ndarray:
    """Return grey values on paper; transparency becomes the paper that makes the rest visible."""
    picture = picture.copy()
    picture.thumbnail((_WORKING_SIDE, _WORKING_SIDE))
    if picture.mode in ("I", "I;16", "F"):  # 16 bits and more would be clipped, not scaled
        values = np.asarray(picture, dtype=np.float32)
        spread = float(np.ptp(values)) or 1.0
        return (values - values.min()) / spread * 255
    picture = picture.convert("RGBA")
    grey = np.asarray(picture.convert("L"), dtype=np.float32)
    alpha = np.asarray(picture.getchannel("A"), dtype=np.float32) / 255
    if alpha.min() == 1:
        return grey
    drawn = float((grey * alpha).sum() / max(alpha.sum(), 1e-6))
    paper = 255.0 if drawn < 128 else 0.0
    return grey * alpha + paper * (1 - alpha)


def _ink(grey: np.ndarray) -> np.ndarray:
    """Return ink as 0 to 1, whichever of ink and paper is darker. The edges show the paper."""
    edges = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    paper = float(np.median(edges))
    difference = np.abs(grey - paper)
    peak = float(np.percentile(difference, 99.8))
    if peak < _LEAST_CONTRAST:
        raise NoInkError("There is no digit on the picture: it is all one colour.")
    # A median over 3 x 3 removes dust and camera noise, which would widen the crop.
    clean = Image.fromarray(np.minimum(difference / peak * 255, 255).astype(np.uint8))
    ink = np.asarray(clean.filter(ImageFilter.MedianFilter(3)), dtype=np.float32) / 255
    return np.clip((ink - 0.25) / 0.5, 0, 1)
