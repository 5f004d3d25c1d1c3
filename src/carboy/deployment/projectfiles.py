"""The files of a project: their paths, and the text of those that people write."""

from __future__ import annotations

import fnmatch
import os
import re
import typing as t

from ..core.masking import looks_secret
from ..core.textfiles import read_text as read_text

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .facts import Facts

# Names of folders that tools make, with files that are not of the project.
_OF_TOOLS = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})
# Folders of the system, for a command that runs in "/", as in some containers.
_OF_SYSTEM = frozenset({"/dev", "/proc", "/sys"})
_EXEC_FORM = str.maketrans("[],\"'", "     ")


# Files with environment variables that are made for one machine, and often have secrets.
PRIVATE_ENV_FILES = (".env", ".env.*", "*.env")
# The file with the variables that the app has everywhere. Flask's documentation says to commit it.
FLASKENV = ".flaskenv"
ENV_FILES = (*PRIVATE_ENV_FILES, FLASKENV)
_VARIABLE = re.compile(r"^[ \t]*(?:export[ \t]+)?(\w+)[ \t]*=[ \t]*[\"']?[^\s\"'$]", re.MULTILINE)
# Files of any kind that show how another one is written.
_EXAMPLES = ("*example*", "*sample*", "*template*", "*.dist", "*.md", "*.rst")


class TextLine(t.NamedTuple):
    """A line of a text file of the project."""

    path: str  # relative to the project's folder
    number: int
    text: str

    @property
    def place(self) -> str:
        return f"{self.path}:{self.number}"

    @property
    def words(self) -> str:
        """The text with spaces instead of quotes, brackets and commas, so that a command in exec
        form, which is a JSON array of words, looks like one in shell form.
        """
        return self.text.translate(_EXEC_FORM)

    def continued_by(self, text: str) -> TextLine:
        return self._replace(text=f"{self.text} {text.strip()}")


def walk(
    root: str,
    enter: cabc.Callable[[os.DirEntry[str]], bool] | None = None,
    *,
    hidden: bool = False,
) -> cabc.Iterator[os.DirEntry[str]]:
    """Yield the files and folders below a folder, each folder before what is in it, sorted by name.
    Links are not followed.

    Args:
        root: the folder.
        enter: returns whether to walk through a folder that was yielded; by default True.
        hidden: whether hidden folders are yielded. What is in them is not.
    """
    try:
        with os.scandir(root) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError:  # the folder was removed, or belongs to somebody else
        return
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False):
            yield entry
        elif entry.name.startswith("."):
            if hidden:
                yield entry
        elif not _is_of_tools(entry):
            yield entry
            if enter is None or enter(entry):
                yield from walk(entry.path, enter, hidden=hidden)


def _is_of_tools(folder: os.DirEntry[str]) -> bool:
    """Return whether a folder holds files of tools or of the system, and not of the project."""
    is_environment = os.path.isfile(os.path.join(folder.path, "pyvenv.cfg"))
    return folder.name in _OF_TOOLS or folder.path in _OF_SYSTEM or is_environment


def is_within(path: str, folder: str) -> bool:
    """Return whether a path is a folder, or below it."""
    return os.path.join(path, "").startswith(os.path.join(folder, ""))


def files_below(root: str) -> list[str]:
    """Return the paths of the regular files below a folder, relative to it."""
    return [
        os.path.relpath(entry.path, root)
        for entry in walk(root)
        if entry.is_file(follow_symlinks=False)
    ]


def files_named(facts: Facts, *patterns: str) -> list[str]:
    """Return the files of a project whose names, in lower case, match one of the patterns, as in a
    shell.
    """
    return [path for path in facts.files if matches(os.path.basename(path), patterns)]


def uses_env_file(facts: Facts) -> bool:
    """Return whether the project has a `.env` file, or may have one on other machines."""
    names = (".env", ".env.example")
    has_file = any(os.path.exists(os.path.join(facts.root, name)) for name in names)
    return has_file or facts.calls_from_project


def variables_in(text: str) -> list[str]:
    """Return the names of the variables to which the text of a `.env` file gives a value."""
    return _VARIABLE.findall(text)


def secrets_in(text: str) -> list[str]:
    """Return the names of the variables of a `.env` file that look like those of secrets."""
    return list(filter(looks_secret, variables_in(text)))


def matches(name: str, patterns: cabc.Iterable[str]) -> bool:
    """Return whether the name of a file, in lower case, matches one of the patterns."""
    return any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in patterns)


def is_example(path: str) -> bool:
    """Return whether a file shows how another one is written, such as `.env.example`."""
    return matches(os.path.basename(path), _EXAMPLES)


def lines_of(root: str, path: str) -> list[TextLine]:
    """Return the lines of a text file, except for comments that begin with "#". A line that ends
    with a backslash continues on the next one; the two are one line, with the number of the first.
    Return no lines if the file cannot be read, or is not text.
    """
    lines: list[TextLine] = []
    continued = False
    for number, text in enumerate(read_text(os.path.join(root, path)).splitlines(), 1):
        if text.lstrip().startswith("#"):
            continue
        part = text.rstrip().removesuffix("\\")
        if continued:
            lines[-1] = lines[-1].continued_by(part)
        else:
            lines.append(TextLine(path, number, part))
        continued = part != text.rstrip()
    return lines
