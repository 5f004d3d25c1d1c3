"""`carboy.models.load` reads a saved model, after its files were compared with its card."""

from __future__ import annotations

import contextlib
import os
import pathlib
import typing as t

from carboy.core.logmasking import get_masked_logger
from carboy.core.processmemory import available_bytes, in_mib
from carboy.errors import ModelFileError

from .card import CARD_NAME, Card, has_card, noted_cards, read_card
from .digests import digest_of
from .fileformats import FORMATS, OWN
from .filestates import fingerprint
from .libraries import differences, makers_on, python_difference
from .loadfailures import explain_file

if t.TYPE_CHECKING:
    from collections import abc as cabc

_logger = get_masked_logger("carboy.models")


def load(
    folder: str | os.PathLike[str], *, read: cabc.Callable[[pathlib.Path], t.Any] | None = None
) -> t.Any:
    """Read a model that `carboy.models.save` has written.

    The files must be those on the card. If another version of Python or of a library has written
    them, a warning is logged. Loading a file of joblib runs code that is in it: the card shows that
    a file has changed, and not that its author can be trusted.

    Args:
        folder: the folder of one version, such as "models/digits/7".
        read: your own function, which gets the path of the folder and returns the model. Needed
            for files that `save(..., write=...)` has written.

    Returns:
        The object that was saved; for ONNX a session of ONNX Runtime, for PyTorch the weights, on
        the CPU.

    Raises:
        ModelFileError: the folder has no card, a file has changed or cannot be read.
    """
    place = os.fspath(folder)
    card = open_folder(place)
    if read is not None:
        return read(pathlib.Path(place))
    if card.format == OWN:
        raise ModelFileError(
            f"carboy.models.load({place!r}): the files were written by a function of their author."
            " Pass the function that reads them: read=function, which gets the folder."
        )
    if card.format not in FORMATS:
        raise ModelFileError(
            f"{place!r}: {CARD_NAME} says the format {card.format!r}, which this version of carboy"
            f" does not know; it knows {', '.join(FORMATS)}. Upgrade carboy."
        )
    chosen = FORMATS[card.format]
    path = os.path.join(place, chosen.file)
    try:
        return chosen.read(path)
    except ModelFileError:
        raise
    except Exception as exc:
        said = f"{path!r} could not be loaded: {type(exc).__name__}: {exc}."
        raise ModelFileError(f"{said} {explain_file(exc, path)}".rstrip()) from exc


def open_folder(folder: str) -> Card:
    """Compare the files in a folder with its card, and return the card. If versions differ, log a
    warning. While a model of an app is being loaded, each folder is compared once.

    Raises:
        ModelFileError: there is no such folder or no card, or a file is missing or has changed.
    """
    noted = noted_cards()
    key = os.path.realpath(folder)
    if noted is not None and key in noted:
        return noted[key]
    _refuse_wrong_folder(folder)
    card = read_card(folder)
    for name in card.files:
        _compare_file(os.path.join(folder, name), name, card)
    for difference in (*differences(makers_on(card)), python_difference(card)):
        if difference:
            _logger.warning(
                "Model %s in %r: %s If its answers differ, install that version, or save the model"
                " anew.",
                card.title,
                folder,
                difference,
            )
    _warn_if_large(card, folder)
    if noted is not None:
        noted[key] = card
    return card


@contextlib.contextmanager
def reading_folder(folder: str) -> cabc.Iterator[None]:
    """Compare the files in a folder with its card, and refuse them if they change while the caller
    reads them.

    Raises:
        ModelFileError: as `open_folder`, or a file has been written or replaced in this context.
    """
    _refuse_wrong_folder(folder)
    before = fingerprint(folder, read_card(folder))
    card = open_folder(folder)
    yield
    if fingerprint(folder, card) != before:
        raise ModelFileError(
            f"The files in {folder!r} have changed while the model was loaded from them. Write a"
            " new version into a folder of its own, and give it its name when it is complete, as"
            " 'carboy models push' does."
        )


def _warn_if_large(card: Card, folder: str) -> None:
    """Say that a model may not fit into the memory before the system ends the process for it, which
    leaves no message.
    """
    size, free = card.size_bytes, available_bytes()
    if free is not None and size > free:
        _logger.warning(
            "Model %s in %r has %s, and the machine has %s of memory left.",
            card.title,
            folder,
            in_mib(size),
            in_mib(free),
        )


def _refuse_wrong_folder(folder: str) -> None:
    if has_card(folder):
        return
    where = "" if os.path.isabs(folder) else f" (relative to the current folder, {os.getcwd()!r})"
    if not os.path.lexists(folder):
        raise ModelFileError(
            f"There is no folder {folder!r}{where}. In a program, write the path from the program's"
            f" own folder: Path(__file__).parent / {os.path.basename(folder)!r}."
        )
    if not os.path.isdir(folder):
        raise ModelFileError(
            f"{folder!r}{where} is a file. Pass the folder of a saved model, which contains"
            f" {CARD_NAME!r}."
        )
    versions = sorted(name for name in os.listdir(folder) if has_card(os.path.join(folder, name)))
    hint = f" It has the versions {', '.join(versions)}: name one of them." if versions else ""
    raise ModelFileError(
        f"The folder {folder!r}{where} has no {CARD_NAME!r}, which carboy.models.save() writes"
        f" beside a model.{hint}"
    )


def _compare_file(path: str, name: str, card: Card) -> None:
    expected = card.files[name]
    try:
        found = os.path.getsize(path), digest_of(path)
    except FileNotFoundError:
        raise ModelFileError(
            f"{path!r} is missing: {CARD_NAME} lists it, with {expected.bytes:,} bytes. Copy the"
            " folder again, with all of its files."
        ) from None
    if found == (expected.bytes, expected.sha256):
        return
    cause = explain_file(None, path) or (
        f"It is not the file that was saved at {card.made_at}: somebody has replaced it, or it was"
        " not copied completely. Copy the folder again, or save the model anew."
    )
    raise ModelFileError(
        f"{path!r} has changed since it was saved: {CARD_NAME} says {expected.bytes:,} bytes with"
        f" the SHA-256 digest {expected.sha256[:12]}..., the file has {found[0]:,} bytes with"
        f" {found[1][:12]}.... {cause}"
    )
