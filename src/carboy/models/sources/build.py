"""A build: the local folder with the files that become a new version of a model."""

from __future__ import annotations

import datetime as dt
import os
import platform
import typing as t

import msgspec

from carboy.errors import ModelFileError

from ..saved.card import CARD_NAME, Card, has_card, read_card
from ..saved.digests import copy_file, record_of
from ..saved.fileformats import OWN, record_files

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from ..saved.card import FileRecord


class Build:
    """The files of a version that is to be added to a source.

    Args:
        folder: a saved model. A folder without a card gets one, with the digests of all its files.

    Raises:
        OSError: the folder cannot be read.
        ModelFileError: there is no such folder, it is empty, its card is no card, or there are
            files that are not on it.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        if not os.path.isdir(folder):
            state = "is a file" if os.path.lexists(folder) else "does not exist"
            raise ModelFileError(
                f"{folder!r} {state}. Expected a folder with the files of a model, such as one that"
                " carboy.models.save() has written."
            )
        names = record_files(folder)
        self.card = read_card(folder) if has_card(folder) else _new_card(folder, names)
        self._refuse_others(names)
        if not self.card.files:
            raise ModelFileError(f"{folder!r} has no files of a model.")

    def _refuse_others(self, names: cabc.Iterable[str]) -> None:
        """Refuse files that are not on the card, and so would be left out. Hidden ones are left out
        indeed: they are those of editors and file managers.
        """
        hidden = (name for name in names if any(part[0] == "." for part in name.split("/")))
        others = sorted({*names} - {*hidden} - {*self.card.files, CARD_NAME})
        if others:
            raise ModelFileError(
                f"{self._folder!r} has files that its {CARD_NAME} does not list:"
                f" {', '.join(map(repr, others))}. Remove them, or save the model anew with them:"
                " carboy.models.save(..., write=function)."
            )

    def path(self, file: str) -> str:
        return os.path.join(self._folder, file)

    def open(self, file: str) -> t.BinaryIO:
        return open(self.path(file), "rb")

    def card_for(self, model: str, version: str) -> Card:
        """Return the card of the version that is made from this build."""
        return msgspec.structs.replace(self.card, name=model, version=version)


def _new_card(folder: str, names: cabc.Iterable[str]) -> Card:
    return Card(
        name="",
        version="",
        format=OWN,
        files={name: record_of(os.path.join(folder, name)) for name in names},
        made_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        python=platform.python_version(),
        libraries={},
    )


def copy_checked(source: t.BinaryIO, target: t.BinaryIO, expected: FileRecord, place: str) -> None:
    """Copy a file, and compare what was copied with its record on the card.

    Raises:
        ModelFileError: the file is another one.
    """
    found = copy_file(source, target)
    if found != expected:
        raise ModelFileError(
            f"{place!r} is not the file on its card: expected {expected.bytes:,} bytes with the"
            f" SHA-256 digest {expected.sha256[:12]}..., got {found.bytes:,} bytes with"
            f" {found.sha256[:12]}.... It has been changed, or is still being written."
        )
