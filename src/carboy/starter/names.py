"""Check the name of a new project, which becomes the name of its folder.

Python can import a folder by its name. If the project's folder had the name of a module that
Python, carboy or the project imports, one of the two would hide the other.
"""

from __future__ import annotations

import keyword
import re
import sys

from ..errors import StarterError

_MAX_LENGTH = 50
_VALID = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_RULE = (
    f"Use at most {_MAX_LENGTH} characters: the letters a to z, digits, '_' and '-', with a letter"
    " first, such as 'shop' or 'my-shop'."
)
# The names of modules that each new project contains or imports.
_MODULES_OF_PROJECTS = frozenset(
    ("app", "config", "utils", "conftest", "test", "tests", "carboy", "flask", "pytest")
)
# The names by which carboy imports the libraries that it requires.
_MODULES_OF_LIBRARIES = frozenset(
    ("blinker", "click", "httptools", "itsdangerous", "jinja2", "markupsafe", "msgspec", "werkzeug")
)
# Windows takes these names for devices, and creates no files or folders with them.
_DEVICES = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")


def check_name(name: str) -> None:
    """Raise `StarterError` if a project cannot have the name."""
    reason = _reason_against(name)
    if reason:
        shown = name if len(name) <= _MAX_LENGTH else f"{name[:_MAX_LENGTH]}..."
        raise StarterError(f"A project cannot have the name {shown!r}: {reason}")


def _reason_against(name: str) -> str:
    if "/" in name or "\\" in name or name in {".", ".."}:
        return f"it is a path. Change into the folder that is to contain the project first. {_RULE}"
    if len(name) > _MAX_LENGTH:
        return f"it has {len(name)} characters. {_RULE}"
    if not _VALID.fullmatch(name):
        return f"it contains {_first_invalid(name)}. {_RULE}"
    owner = _owner_of(name.lower().replace("-", "_"))
    return f"{owner} Choose another name, such as 'my-{name.lower()}'." if owner else ""


def _first_invalid(name: str) -> str:
    if not name:
        return "no character"
    for place, character in enumerate(name):
        if not _VALID.fullmatch("a" + character):
            shown = "a space" if character == " " else repr(character)
            return f"{shown} (character {place + 1})"
    return f"{name[0]!r} at its start"


def _owner_of(module: str) -> str:
    """Return a sentence that says what a module name is taken by, such as a module of Python; "" if
    the name is free.
    """
    if module in {word.lower() for word in keyword.kwlist}:
        return "it is a keyword of Python."
    if module in _MODULES_OF_PROJECTS:
        return "each project has or imports a module of this name."
    if module in {each.lower() for each in sys.stdlib_module_names}:
        return "Python's standard library has a module of this name."
    if module in _MODULES_OF_LIBRARIES:
        return "a library that carboy uses has this name."
    return "Windows has no folders of this name." if _DEVICES.fullmatch(module) else ""
