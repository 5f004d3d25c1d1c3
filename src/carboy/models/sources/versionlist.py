"""The versions of a model in their order, and which of them should be served."""

from __future__ import annotations

import datetime as dt
import re
import typing as t

import msgspec

from carboy.errors import ModelFileError

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from ..saved.card import Card

#: The file in a source that records to which version somebody has rolled back or switched.
CHOICE_NAME: t.Final = "chosen.json"
_NUMBER = re.compile(r"(\d+)")
# What stands after the number of a version that is tried before its release, in their order.
_PRE_RELEASES = ("dev", "alpha", "beta", "pre", "preview", "rc")


class SourceVersion(t.NamedTuple):
    """One version as its source has it.

    Attributes:
        name: the name of its folder, such as "7".
        fingerprint: changes when the files of the version change, so that a version that could not
            be loaded is tried again only when there is something new to try.
        fault: why the version cannot be used, such as a file that is missing; "" if nothing is
            known to be wrong.
        card: None if there is none that can be read.
    """

    name: str
    fingerprint: str
    fault: str = ""
    card: Card | None = None


class Choice(msgspec.Struct, frozen=True):
    """The version that somebody has switched to.

    Attributes:
        version: the version to serve.
        newest: the newest version that could be served at the time of the choice. One that is
            newer still ends the choice: who rolls back from 8 to 7 wants 9 to be served, and not 8,
            also if 9 was being copied at that time.
        chosen_at: when, in UTC, as in ISO 8601.
    """

    version: str
    newest: str
    chosen_at: str = ""


class VersionList(t.NamedTuple):
    """The versions in a source, and which of them should be served.

    Attributes:
        versions: oldest first.
        choice: None if the newest version should be served.
        is_fixed: whether the source is the folder of a single version, which never changes.
    """

    versions: tuple[SourceVersion, ...]
    choice: Choice | None = None
    is_fixed: bool = False

    def candidates(self, excluding: cabc.Container[str] = ()) -> list[SourceVersion]:
        """Return the versions that may be served, in the order of preference: the one that should
        be, and then those to fall back to if it cannot be loaded.

        Args:
            excluding: the names of versions that are not to be served to all clients.
        """
        usable = [each for each in self.versions if not each.fault and each.name not in excluding]
        if self.choice is not None:
            chosen, newest = order_key(self.choice.version), order_key(self.choice.newest)
            usable = [
                each
                for each in usable
                if order_key(each.name) > newest or order_key(each.name) <= chosen
            ]
        return usable[::-1]

    def for_all_clients(self, trials: cabc.Collection[str]) -> list[SourceVersion]:
        """Return the versions that all clients may get, in the order of preference. One that is on
        trial is among them only if somebody has switched to it.
        """
        chosen = self.choice.version if self.choice is not None else ""
        return self.candidates(excluding={*trials} - {chosen})

    def refuse_none(self, location: str) -> None:
        """Say why there is nothing to serve, if no version can be served.

        Raises:
            ModelFileError: there is no version, each has a fault, or was rolled back.
        """
        if self.candidates():
            return
        faulty = "".join(f" {each.name!r}: {each.fault}" for each in self.versions if each.fault)
        advice = self._about_rolled_back() or (
            "A version is a folder that carboy.models.save() or 'carboy models push' has written,"
            f" such as {location.rstrip('/') + '/1'!r}."
        )
        raise ModelFileError(
            f"{location!r} has no version of a model that can be served.{faulty} {advice}"
        )

    def _about_rolled_back(self) -> str:
        """Return why versions without a fault are not served, and what to do; "" if there are
        none.
        """
        usable = [each.name for each in self.versions if not each.fault]
        if self.choice is None or not usable:
            return ""
        chosen = self.choice.version
        is_there = any(each.name == chosen for each in self.versions)
        state = "cannot be served" if is_there else "is gone"
        return (
            f"{', '.join(map(repr, usable))} {'was' if len(usable) == 1 else 'were'} rolled back:"
            f" {CHOICE_NAME} names {chosen!r}, which {state}. Switch to another version, such as:"
            f" carboy models switch MODEL {usable[-1]}."
        )

    def find(self, name: str, location: str) -> SourceVersion:
        """Return a version by its name.

        Raises:
            ModelFileError: there is no such version.
        """
        for each in self.versions:
            if each.name == name:
                return each
        names = ", ".join(each.name for each in self.versions)
        raise ModelFileError(
            f"There is no version {name!r} in {location!r}, which has {names or 'none'}."
        )

    def choose(self, name: str, location: str) -> Choice:
        """Return the choice of a version that exists, to be recorded now.

        Raises:
            ModelFileError: there is no such version, or there is nothing to choose from.
        """
        if self.is_fixed:
            raise ModelFileError(
                f"{location!r} is the folder of a single version. To switch between versions, name"
                " the folder above it as the source of the model."
            )
        fault = self.find(name, location).fault
        if fault:
            raise ModelFileError(f"Version {name!r} in {location!r} cannot be served: {fault}")
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        newest = [each.name for each in self.versions if not each.fault][-1]
        return Choice(name, newest, now)

    def next_name(self, location: str) -> str:
        """Return the number after the newest version.

        Raises:
            ModelFileError: the newest version is not a number.
        """
        if not self.versions:
            return "1"
        newest = self.versions[-1].name
        if not newest.isdecimal():
            raise ModelFileError(
                f"The newest version in {location!r} is {newest!r}, which has no number after it."
                " Name the new version yourself."
            )
        return str(int(newest) + 1)


def order_key(name: str) -> tuple[t.Any, ...]:
    """Return a key that orders versions as people number them: "10" after "9", "1.10" after "1.9",
    and "1.2.0-rc1" before "1.2.0".
    """
    parts = list(filter(None, _NUMBER.split(name)))
    return *(_key_of_part(part, is_first=i == 0) for i, part in enumerate(parts)), (-1, 0, name)


def _key_of_part(part: str, *, is_first: bool) -> tuple[int, int, str]:
    if part.isdecimal():
        return 1, int(part), ""
    word = part.strip("._-").lower()
    if word in _PRE_RELEASES and not is_first:
        return -2, _PRE_RELEASES.index(word), part
    return 0, 0, part


def existing(name: str, location: str) -> ModelFileError:
    """Return the error for a version that is to be added although it exists."""
    return ModelFileError(
        f"There is a version {name!r} in {location!r} already. A version is never overwritten: add"
        " the files under another name."
    )


def refused_addition(location: str) -> ModelFileError:
    """Return the error for a version that is to be added to the folder of a single version."""
    return ModelFileError(
        f"{location!r} is the folder of a single version, to which none can be added. Name the"
        " folder above it as the source of the model."
    )


def read_choice(data: bytes, place: str) -> Choice:
    """Decode the file of a choice.

    Raises:
        ModelFileError: the data is not a choice.
    """
    try:
        return msgspec.json.decode(data, type=Choice)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise ModelFileError(
            f"{place!r} does not say which version to serve: {exc}. Switch to a version again, or"
            " remove the file to serve the newest one."
        ) from None


def write_choice(choice: Choice) -> bytes:
    return msgspec.json.encode(choice) + b"\n"
