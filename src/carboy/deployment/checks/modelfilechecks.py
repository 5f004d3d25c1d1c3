"""Checks of model files: digests, and versions of libraries."""

from __future__ import annotations

import os
import re
import typing as t

from ...errors import ModelFileError
from ...models.saved.card import CARD_NAME, Card, card_beside, read_card
from ...models.saved.digests import digest_of, recorded_digest
from ...models.saved.libraries import MadeBy, differences, makers_on
from ...models.saved.loadfailures import explain_file
from ...models.saved.pickles import PICKLE_NAMES, begins_as_pickle, makers_of
from ...project.origins import shortened
from ..projectfiles import files_named, read_text
from .checkregistry import Found, check

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..facts import Facts

_PINNED = re.compile(r"^([\w.-]+)==([\w.+!-]+)", re.MULTILINE)


@check(
    "carboy.W107",
    "A model file is a pickle, which runs code when it is loaded, and no digest of it is recorded:"
    " nobody would notice that it was replaced.",
    remedy="Record its digest where the file is made: by carboy.models.save(), in a list"
    " SHA256SUMS, or beside the file: 'sha256sum model.pkl > model.pkl.sha256'. 'carboy check'"
    " compares the two.",
    deploy=True,
)
def find_pickle_without_digest(facts: Facts) -> cabc.Iterator[Found]:
    for path in _pickles(facts):
        if recorded_digest(path, facts.root) is None:
            yield Found(shortened(path), "The file is a pickle without a recorded SHA-256 digest.")


@check(
    "carboy.E108",
    "A model file is not the one whose digest is recorded.",
    remedy="If you have written the file anew, record its new digest, or save the model again."
    " Otherwise do not load it: somebody has replaced it, or it was not copied completely.",
)
def find_changed_file(facts: Facts) -> cabc.Iterator[Found]:
    listed = [os.path.join(folder, name) for folder, card in _cards(facts) for name in card.files]
    for path in sorted({*listed, *_pickles(facts)}):
        recorded = recorded_digest(path, facts.root)
        if recorded is None:
            continue
        if not os.path.isfile(path):
            yield Found(
                shortened(path), f"{shortened(recorded.place)} lists it, and it is missing."
            )
        elif digest_of(path) != recorded.digest:
            yield Found(
                shortened(path),
                f"{shortened(recorded.place)} has another SHA-256 digest."
                f"{_spaced(explain_file(None, path))}",
            )


@check(
    "carboy.W109",
    "A model file was written by another version of a library than the installed one.",
    remedy="Install the version that has written the file, or write the file anew.",
)
def find_other_version(facts: Facts) -> cabc.Iterator[Found]:
    for path in _pickles(facts):
        if card_beside(path) is None:
            yield from _compare(path, makers_of(path))
    for folder, card in _cards(facts):
        yield from _compare(os.path.join(folder, CARD_NAME), makers_on(card))
    for path in files_named(facts, "mlmodel"):
        yield from _compare_model_folder(os.path.dirname(os.path.join(facts.root, path)))


def _compare_model_folder(folder: str) -> cabc.Iterator[Found]:
    """Compare the versions that MLflow has noted in a model's folder with the installed ones."""
    requirements = os.path.join(folder, "requirements.txt")
    pinned = _PINNED.findall(read_text(requirements))
    yield from _compare(requirements, (MadeBy(library, version) for library, version in pinned))


def _compare(path: str, makers: cabc.Iterable[MadeBy]) -> cabc.Iterator[Found]:
    for difference in differences(makers):
        yield Found(shortened(path), difference)


def _pickles(facts: Facts) -> list[str]:
    """Return the paths of a project's model files that pickle reads."""
    paths = (os.path.join(facts.root, path) for path in files_named(facts, *PICKLE_NAMES))
    return list(filter(begins_as_pickle, paths))


def _cards(facts: Facts) -> cabc.Iterator[tuple[str, Card]]:
    """Yield the folders of saved models in a project, with their cards."""
    for path in files_named(facts, CARD_NAME):
        folder = os.path.dirname(os.path.join(facts.root, path))
        try:
            yield folder, read_card(folder)
        except (OSError, ModelFileError):
            continue  # a file of another program that has this name


def _spaced(text: str) -> str:
    return f" {text}" if text else ""
