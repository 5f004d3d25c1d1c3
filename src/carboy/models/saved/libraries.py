"""Versions of libraries: those that have written a model's files, and those that are installed."""

from __future__ import annotations

import importlib.metadata
import platform
import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .card import Card


class MadeBy(t.NamedTuple):
    """A library that has written a file: the name of its distribution, and its version."""

    library: str
    version: str

    def difference(self) -> str:
        """Return a sentence about another installed version; "" if the library is not installed, or
        can read the file.
        """
        installed = installed_version(self.library)
        if installed is None or self._fits(installed):
            return ""
        return f"It was written with {self.library} {self.version}, and {installed} is installed."

    def _fits(self, installed: str) -> bool:
        """Return whether the installed version of a library can read a file. NumPy reads files of
        its earlier versions, and a pickle shows only whether NumPy 2 has written it. The other
        libraries promise to read files of the same version only.
        """
        if self == MadeBy("numpy", "2"):
            return int(installed.partition(".")[0]) >= 2
        return self.version == installed


def makers_on(card: Card) -> set[MadeBy]:
    """Return the libraries that have written the files of a card."""
    return {MadeBy(library, version) for library, version in card.libraries.items()}


def differences(makers: cabc.Iterable[MadeBy]) -> list[str]:
    """Return a sentence about each library of which another version is installed."""
    return list(filter(None, (made.difference() for made in sorted(makers))))


def python_difference(card: Card) -> str:
    """Return a sentence about another feature release of Python (3.11, 3.12); "" if it is the
    same.
    """
    if card.python.rpartition(".")[0] == platform.python_version().rpartition(".")[0]:
        return ""
    return f"It was written with Python {card.python}, and this is {platform.python_version()}."


def installed_version(library: str) -> str | None:
    """Return the version of an installed distribution; None if it is not installed."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions_of(modules: cabc.Iterable[str]) -> dict[str, str]:
    """Return the installed versions of the distributions to which modules belong. Modules of no
    distribution are left out.
    """
    owners = importlib.metadata.packages_distributions()
    names = {name for module in modules for name in owners.get(module.partition(".")[0], ())[:1]}
    return {name: importlib.metadata.version(name) for name in sorted(names, key=str.lower)}
