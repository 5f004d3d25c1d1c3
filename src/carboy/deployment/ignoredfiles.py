"""Which files of a project no layer of its image contains, although the name of a folder says so
and the app imports it.
"""

from __future__ import annotations

import fnmatch
import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .facts import Facts

#: Folders in the project's folder that an image does not need, unless the app imports a module from
#: them.
_UNNEEDED = ("logs", "env", "deploy", "tests")
#: Names of files and folders anywhere that usually hold secrets, as `.dockerignore` has them.
_SECRET = ("secrets", "secret_key*")


class IgnoredFiles(t.NamedTuple):
    """The entries of `.dockerignore` that differ from project to project.

    Attributes:
        folders: the folders in the project's folder that are left out.
        kept: the files that are not left out, although a part of their path looks like secrets.
    """

    folders: frozenset[str]
    kept: list[str]


def ignored_files(facts: Facts) -> IgnoredFiles:
    """Return what the image leaves out: what looks like secrets or tools, except for packages of
    the app. It may import some of their modules only later, so that all modules of such a package
    are kept.
    """
    packages = set(_packages(facts))
    of_packages = [each for each in facts.files if _is_module_of(each, packages)]
    folders = {each.partition("/")[0] for each in packages}
    return IgnoredFiles(
        frozenset(_UNNEEDED) - folders,
        [each for each in of_packages if any(map(_looks_secret, each.split("/")))],
    )


def _packages(facts: Facts) -> cabc.Iterator[str]:
    """Yield the paths of what the app imports: modules, and the folders that are packages."""
    for path in facts.imported_files:
        yield path
        folder, _, _ = path.rpartition("/")
        if folder:
            yield folder


def _is_module_of(path: str, packages: cabc.Container[str]) -> bool:
    return path.endswith(".py") and (path in packages or path.rpartition("/")[0] in packages)


def _looks_secret(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _SECRET)
