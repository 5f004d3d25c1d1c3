"""Checks of model files: digests, and versions of libraries."""

from __future__ import annotations

import os
import re
import typing as t

from ...project.origins import shortened
from ..projectfiles import files_named, read_text
from .checkregistry import Found, check
from .modelfiles import (
    MadeBy,
    digest_of,
    installed_version,
    makers_of,
    pickles_of,
    recorded_digest,
)

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..facts import Facts

_PINNED = re.compile(r"^([\w.-]+)==([\w.+!-]+)", re.MULTILINE)


@check(
    "carboy.W107",
    "A model file is a pickle, which runs code when it is loaded, and no digest of it is recorded:"
    " nobody would notice that it was replaced.",
    remedy="Record its digest where the file is made, in a list SHA256SUMS or beside the file:"
    " 'sha256sum model.pkl > model.pkl.sha256'. 'carboy check' compares the two.",
    deploy=True,
)
def find_pickle_without_digest(facts: Facts) -> cabc.Iterator[Found]:
    for path in pickles_of(facts):
        if recorded_digest(path, facts.root) is None:
            yield Found(shortened(path), "The file is a pickle without a recorded SHA-256 digest.")


@check(
    "carboy.E108",
    "A model file is not the one whose digest is recorded.",
    remedy="If you have written the file anew, record its new digest. Otherwise do not load it:"
    " somebody has replaced it, or it was not copied completely.",
)
def find_changed_pickle(facts: Facts) -> cabc.Iterator[Found]:
    for path in pickles_of(facts):
        recorded = recorded_digest(path, facts.root)
        if recorded is not None and digest_of(path) != recorded[0]:
            yield Found(shortened(path), f"{shortened(recorded[1])} has another SHA-256 digest.")


@check(
    "carboy.W109",
    "A model file was written by another version of a library than the installed one.",
    remedy="Install the version that has written the file, or write the file anew.",
)
def find_other_version(facts: Facts) -> cabc.Iterator[Found]:
    for path in pickles_of(facts):
        for made in sorted(makers_of(path)):
            yield from _compare(path, made)
    for path in files_named(facts, "mlmodel"):
        yield from _compare_model_folder(os.path.dirname(os.path.join(facts.root, path)))


def _compare_model_folder(folder: str) -> cabc.Iterator[Found]:
    """Compare the versions that MLflow has noted in a model's folder with the installed ones."""
    requirements = os.path.join(folder, "requirements.txt")
    for library, version in _PINNED.findall(read_text(requirements)):
        yield from _compare(requirements, MadeBy(library, version))


def _compare(path: str, made: MadeBy) -> cabc.Iterator[Found]:
    installed = installed_version(made.library)
    if installed is not None and not _fits(made, installed):
        yield Found(
            shortened(path),
            f"It was written with {made.library} {made.version}, and {installed} is installed.",
        )


def _fits(made: MadeBy, installed: str) -> bool:
    """Return whether the installed version of a library can read a file. NumPy reads files of its
    earlier versions, and a file shows only whether NumPy 2 has written it. The other libraries
    promise to read files of the same version only.
    """
    if made == MadeBy("numpy", "2"):
        return int(installed.partition(".")[0]) >= 2
    return made.version == installed
