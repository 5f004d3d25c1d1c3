"""A folder on this machine as the source of a model's versions."""

from __future__ import annotations

import os
import typing as t

from carboy.errors import ModelFileError

from ..saved.card import CARD_NAME, has_card, read_card, write_card
from ..saved.filestates import fingerprint, incomplete, state_of
from ..saved.newfolder import partial_folder, publish, replace_file
from ..saved.versionnames import fault_in_header, printable, refuse_name
from .build import Build, copy_checked
from .diskspace import explaining_full_disk
from .versionlist import (
    CHOICE_NAME,
    Choice,
    SourceVersion,
    VersionList,
    existing,
    order_key,
    read_choice,
    refused_addition,
    write_choice,
)

if t.TYPE_CHECKING:
    from ..saved.card import Card


class FolderSource:
    """The sub-folders of a folder, each with a version; or the folder of a single version, which
    has a card of its own.

    Whether it is one or the other is found out each time, because a folder may not exist yet when
    the model is declared.
    """

    poll_s = 1.0

    def __init__(self, path: str) -> None:
        self.location = path
        self._cards: dict[str, tuple[str, Card | str]] = {}

    def look(self) -> VersionList:
        if has_card(self.location):
            name = os.path.basename(os.path.abspath(self.location))
            return VersionList((self._version(name, self.location),), is_fixed=True)
        found = [self._version(name, self._path(name)) for name in self._names()]
        return VersionList(tuple(found), self._choice())

    def folder(self, name: str) -> str:
        found = self.look()
        found.find(name, self.location)
        return self.location if found.is_fixed else self._path(name)

    def keep(self, folder: str) -> None:
        """Do nothing: only people remove versions from a folder."""

    def discard_damaged(self, folder: str) -> bool:
        """Return False: a folder is no copy."""
        return False

    def choose(self, name: str) -> None:
        choice = self.look().choose(name, self.location)
        replace_file(self._path(CHOICE_NAME), write_choice(choice))

    def push(self, folder: str, name: str | None = None) -> str:
        build = Build(folder)
        if name is not None:
            refuse_name(name)
            if os.path.lexists(self._path(name)):
                raise existing(name, self.location)
        if has_card(self.location):
            raise refused_addition(self.location)
        os.makedirs(self.location, exist_ok=True)
        advice = "Free some, and push again."
        with (
            explaining_full_disk(self.location, build.card.size_bytes, advice),
            partial_folder(self.location) as partial,
        ):
            for file in build.card.files:
                with build.open(file) as source, _created(os.path.join(partial, file)) as target:
                    copy_checked(source, target, build.card.files[file], build.path(file))
            return self._publish(build, partial, name)

    def _publish(self, build: Build, partial: str, name: str | None) -> str:
        """Let a version appear, and return its name. Without a name it gets the next number that no
        other process takes at the same time.
        """
        model, taken = os.path.basename(os.path.abspath(self.location)), name
        while True:
            version = name or self._listed().next_name(self.location)
            write_card(build.card_for(model, version), partial)
            try:
                publish(partial, self._path(version))
            except FileExistsError:
                if version == taken:  # it is a file, if the name was not given
                    raise existing(version, self.location) from None
                os.remove(os.path.join(partial, CARD_NAME))
                taken = version
            else:
                return version

    def _listed(self) -> VersionList:
        """Return the versions of a folder that may not exist yet."""
        return self.look() if os.path.isdir(self.location) else VersionList(())

    def _path(self, name: str) -> str:
        return os.path.join(self.location, name)

    def _names(self) -> list[str]:
        """Return the names of the sub-folders, oldest version first."""
        try:
            with os.scandir(self.location) as entries:
                # `is_dir` of an entry raises if it is a link that leads to itself.
                names = [each.name for each in entries if os.path.isdir(each.path)]
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise ModelFileError(_explain_missing(self.location, exc)) from None
        return sorted((each for each in names if not each.startswith(".")), key=order_key)

    def _version(self, name: str, folder: str) -> SourceVersion:
        if fault := fault_in_header(name):
            return SourceVersion(printable(name), fingerprint="", fault=fault)
        card = self._card(folder)
        if isinstance(card, str):
            return SourceVersion(name, state_of(os.path.join(folder, CARD_NAME)), card)
        return SourceVersion(name, fingerprint(folder, card), incomplete(folder, card), card)

    def _card(self, folder: str) -> Card | str:
        """Return the card of a version, or why there is none. A card is read again only when its
        file has changed.
        """
        state = state_of(os.path.join(folder, CARD_NAME))
        known = self._cards.get(folder)
        if known is None or known[0] != state:
            known = self._cards[folder] = state, _read_card(folder)
        return known[1]

    def _choice(self) -> Choice | None:
        path = self._path(CHOICE_NAME)
        try:
            with open(path, "rb") as file:
                return read_choice(file.read(), path)
        except FileNotFoundError:
            return None


def _read_card(folder: str) -> Card | str:
    try:
        return read_card(folder)
    except FileNotFoundError:
        return (
            f"it has no {CARD_NAME}: it may not be copied completely yet, or neither"
            " carboy.models.save() nor 'carboy models push' has written it."
        )
    except (OSError, ModelFileError) as exc:
        return str(exc)


def _created(path: str) -> t.BinaryIO:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return open(path, "xb")


def _explain_missing(path: str, exc: OSError) -> str:
    if isinstance(exc, NotADirectoryError):
        return f"{path!r} is a file. The source of a model is a folder of versions."
    where = "" if os.path.isabs(path) else f" (relative to the current folder, {os.getcwd()!r})"
    return (
        f"There is no folder {path!r}{where}. carboy.models.save() and 'carboy models push' create"
        " it with the first version of the model."
    )
