"""The card of a saved model: what its files are, what has written them, and what the model takes
and returns. It is the file `card.json` beside the files.
"""

from __future__ import annotations

import contextlib
import ntpath
import os
import typing as t
from contextvars import ContextVar

import msgspec

from carboy.errors import ModelFileError

from ..agreement import DEFAULT_TOLERANCE

if t.TYPE_CHECKING:
    from collections import abc as cabc

CARD_NAME = "card.json"


class FileRecord(msgspec.Struct, frozen=True):
    """The size and the digest by which a file is recognised."""

    bytes: int
    sha256: str


class Card(msgspec.Struct, frozen=True, omit_defaults=True):
    """The facts about a saved model that `save` writes into `card.json`, as plain JSON values.

    Attributes:
        version: the name of the folder, as in `models/digits/7`.
        format: which library reads the files; "own" if the author's own function has written them.
        files: the files by their paths relative to the folder, with "/" between names.
        libraries: versions by the names of distributions, as far as the files need them.
        input: JSON Schema of what `predict` takes.
        output: JSON Schema of what `predict` returns.
        example: an input.
        answer: what `predict` must return for the example.
        tolerance: how far numbers may be from those in `answer`.
        metrics: what the author has measured.
    """

    name: str
    version: str
    format: str
    files: dict[str, FileRecord]
    made_at: str
    python: str
    libraries: dict[str, str]
    input: dict[str, t.Any] | None = None
    output: dict[str, t.Any] | None = None
    example: t.Any = msgspec.UNSET
    answer: t.Any = msgspec.UNSET
    tolerance: float = DEFAULT_TOLERANCE
    metrics: dict[str, t.Any] = {}

    @property
    def title(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def size_bytes(self) -> int:
        return sum(record.bytes for record in self.files.values())

    @property
    def measured(self) -> str:
        """The metrics as a text; "" if there are none."""
        return ", ".join(map(_measured, self.metrics.items()))

    @property
    def summary(self) -> dict[str, str]:
        """What people want to know first, as texts by their titles."""
        digests = (f"{name}: {record.sha256}" for name, record in self.files.items())
        libraries = (f"{name} {version}" for name, version in self.libraries.items())
        found = {
            "Format": f"{self.format}, {self.size_bytes:,} bytes",
            "Made": self.made_at,
            "With": ", ".join([f"Python {self.python}", *libraries]),
            "Metrics": self.measured,
            "SHA-256": ", ".join(digests),
        }
        return {title: text for title, text in found.items() if text}

    def to_dict(self) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", msgspec.to_builtins(self))


def _measured(metric: tuple[str, t.Any]) -> str:
    name, value = metric
    return f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}"


def has_card(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, CARD_NAME))


def read_card(folder: str) -> Card:
    """Read the card of a folder.

    Raises:
        OSError: there is no card, or it cannot be read.
        ModelFileError: the file is not a card.
    """
    path = os.path.join(folder, CARD_NAME)
    with open(path, "rb") as file:
        return decode_card(file.read(), path)


def cards_in(folder: str | None) -> tuple[Card, ...]:
    """Return the card in a folder, if it can be read: loading the model says why it cannot be."""
    try:
        return () if folder is None else (read_card(folder),)
    except (OSError, ModelFileError):
        return ()


def decode_card(data: bytes, path: str) -> Card:
    """Decode the file of a card.

    Raises:
        ModelFileError: the data is not a card.
    """
    try:
        card = msgspec.json.decode(data, type=Card)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise ModelFileError(
            f"{path!r} is not the card of a saved model: {exc}. carboy.models.save() writes one;"
            " save the model anew."
        ) from None
    for name in card.files:
        if _leaves_folder(name):
            raise ModelFileError(f"{path!r} names the file {name!r}, which is not in its folder.")
    return card


def _leaves_folder(name: str) -> bool:
    """Return whether a path on a card leads out of the folder of the card, or can be no path, on
    this system or on Windows, which has drives, and backslashes beside slashes.
    """
    drive, path = ntpath.splitdrive(name)
    parts = path.replace("\\", "/").split("/")
    return bool(drive) or not parts[0] or ".." in parts or "\0" in name


def card_beside(path: str) -> tuple[Card, str] | None:
    """Return the card that lists a file, and the file's name in it. None if there is none: the card
    is in the file's folder, or in one above it.
    """
    folder, name = os.path.split(os.path.abspath(path))
    while not has_card(folder):
        parent, last = os.path.split(folder)
        if parent == folder:
            return None
        folder, name = parent, f"{last}/{name}"
    try:
        card = read_card(folder)
    except (OSError, ModelFileError):
        return None
    return (card, name) if name in card.files else None


def write_card(card: Card, folder: str) -> None:
    with open(os.path.join(folder, CARD_NAME), "xb") as file:
        file.write(encode_card(card))


def encode_card(card: Card) -> bytes:
    return msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n"


# The cards of the folders that were opened while a model of an app is being loaded, by folder.
_noted: ContextVar[dict[str, Card] | None] = ContextVar("noted_cards", default=None)


@contextlib.contextmanager
def noting_cards() -> cabc.Iterator[dict[str, Card]]:
    """Note the cards of the saved models that are opened in this context, by folder."""
    noted: dict[str, Card] = {}
    token = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(token)


def noted_cards() -> dict[str, Card] | None:
    """Return the cards that are being noted; None outside of `noting_cards`."""
    return _noted.get()
