"""What people do with the versions in a source: add one, switch to one, roll back."""

from __future__ import annotations

import typing as t

from carboy.errors import ModelFileError

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from . import VersionSource
    from .versionlist import VersionList

    #: What versions are tried for, by name: "canary" or "shadow". Only some or no clients get them.
    Trials = cabc.Mapping[str, str]


def add_version(
    source: VersionSource, folder: str, name: str | None = None, *, trials: Trials
) -> str:
    """Add the files in a folder as the version to serve, or to try, and return its name."""
    added = source.push(folder, name)
    # A version under a name of its own may be older than the newest one by that name.
    if added not in trials and wanted_of(source.look(), trials) != added:
        source.choose(added)
    return added


def roll_back(source: VersionSource, to: str | None = None, *, trials: Trials) -> tuple[str, str]:
    """Switch to an earlier version.

    Args:
        to: its name; by default the one before the version that should be served now, without
            those on trial.

    Returns:
        The names of the version that was to be served before, and of the one that is now.

    Raises:
        ModelFileError: there is no earlier version.
    """
    candidates = [each.name for each in source.look().for_all_clients(trials)]
    if to is None and len(candidates) < 2:
        served = f"only {candidates[0]!r}" if candidates else "no version"
        raise ModelFileError(
            f"There is no version to roll back to in {source.location!r}: it has {served} that all"
            " clients may get."
        )
    version = to or candidates[1]
    if candidates[:1] == [version]:
        raise ModelFileError(
            f"{version!r} is the version to serve in {source.location!r} already. Name an earlier"
            f" one{f', such as {candidates[1]!r}' if len(candidates) > 1 else ''}."
        )
    source.choose(version)
    return candidates[0] if candidates else "", version


def wanted_of(found: VersionList, trials: Trials) -> str | None:
    """Return the name of the version that all clients should get, but for those of a canary; None
    if there is none.
    """
    candidates = found.for_all_clients(trials)
    return candidates[0].name if candidates else None


def describe(source: VersionSource, trials: Trials) -> dict[str, t.Any]:
    """Return the versions in a source as plain JSON values, oldest first."""
    found = source.look()
    wanted = wanted_of(found, trials)
    kept = {each.name for each in found.candidates()} | trials.keys()
    return {
        "source": source.location,
        "chosen": found.choice.version if found.choice and found.choice.version == wanted else None,
        "versions": [
            {
                "version": each.name,
                "wanted": each.name == wanted,
                "trial": None if each.name == wanted else trials.get(each.name),
                "rolled_back": not each.fault and each.name not in kept,
                "fault": each.fault,
                "made_at": each.card.made_at if each.card else None,
                "bytes": each.card.size_bytes if each.card else 0,
                "metrics": each.card.metrics if each.card else {},
                "measured": each.card.measured if each.card else "",
            }
            for each in found.versions
        ],
    }
