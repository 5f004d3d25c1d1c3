"""Read `.env` files, and set the environment variables that they contain.

python-dotenv parses the files. It skips a line that it cannot parse; this module refuses the
file instead.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from ..errors import ProjectError
from .origins import shortened, unreadable

if t.TYPE_CHECKING:
    import collections.abc as cabc

DEFAULT_NAMES = (".flaskenv", ".env")
# Without the byte order mark that Windows programs write. python-dotenv before 1.2 takes it for a
# part of the first name.
ENCODING = "utf-8-sig"

# The `.env` files from which a command or `app.run()` has set variables, lowest precedence first.
# `from_project()` reports them as the origin of values.
files_read: list[str] = []
# The variables that `from_project()` has set in this process: for each, the path of its file and
# its value.
_set_for_projects: dict[str, tuple[str, str]] = {}
# The variables that a command or `app.run()` has set in this process, with their values.
_set_for_process: dict[str, str] = {}


class EnvLine(t.NamedTuple):
    """A variable in a `.env` file: its value, and the number of the line that sets it."""

    value: str
    line: int


def is_env_file(path: str) -> bool:
    """Return whether `path` is a `.env` file. Return False for the folder of a virtual environment,
    which may have the same name.

    Raises:
        ProjectError: `path` is something else, such as the folder that Docker creates if the file
            that it should mount does not exist.
    """
    if os.path.isfile(path):
        return True
    if not os.path.lexists(path) or os.path.isfile(os.path.join(path, "pyvenv.cfg")):
        return False
    kind = "a folder" if os.path.isdir(path) else "a pipe or a device"
    if not os.path.exists(path):
        kind = "a link to a file that does not exist"
    raise ProjectError(
        f"{shortened(path)} is {kind}, and not a file of environment variables. Remove it, or write"
        " the file."
    )


def read_env_file(path: str) -> dict[str, EnvLine]:
    """Return the variables of a `.env` file.

    Raises:
        ProjectError: the file cannot be read, a line cannot be parsed, or two lines set a variable
            to different values.
    """
    import dotenv

    written: dict[str, EnvLine] = {}
    for name, value, line in parse_env_file(path):
        if value is None:
            continue
        if name in written and written[name].value != value:
            raise ProjectError(
                f"{shortened(path)}:{line}: {name} has another value on line {written[name].line}."
                " Remove one of the two lines."
            )
        written[name] = EnvLine(value, line)
    values = dotenv.dotenv_values(path, encoding=ENCODING)  # replaces ${NAME} by its value
    return {name: EnvLine(values[name] or "", each.line) for name, each in written.items()}


def parse_env_file(path: str) -> cabc.Iterator[tuple[str, str | None, int]]:
    """Yield the name, value and line of each variable of a `.env` file. If a line has a name but no
    `=`, the value is None.

    Raises:
        ProjectError: the file cannot be read, or a line cannot be parsed.
    """
    from dotenv.parser import parse_stream

    try:
        with open(path, encoding=ENCODING) as file:
            for binding in parse_stream(file):
                text = binding.original.string
                # If blank lines precede a variable, python-dotenv reports the first of them as its
                # line.
                blank = text[: len(text) - len(text.lstrip())].count("\n")
                line = binding.original.line + blank
                if binding.error:
                    raise _unparsable(path, line)
                if binding.key is not None:
                    yield binding.key, binding.value, line
    except (OSError, UnicodeDecodeError) as exc:
        raise unreadable(path, exc) from None


def _unparsable(path: str, line: int) -> ProjectError:
    # The error does not show the line itself, because it may contain a secret.
    return ProjectError(
        f"{shortened(path)}:{line}: this line is neither NAME=value nor a comment. Write"
        ' NAME=value; put a value with blanks or # in quotes, as in NAME="two words", and close'
        " each quote."
    )


@contextlib.contextmanager
def variables_of(files: cabc.Mapping[str, cabc.Mapping[str, EnvLine]]) -> cabc.Iterator[None]:
    """Set the environment variables that the `.env` files of a project contain, except those that
    are set already. They stay set after the `with` block.

    First, variables that earlier calls have set are removed: a file may have changed since, as in a
    notebook, and a project must not get the secret key of another project in the same process.
    After the block, the variables of other projects are set again, because the code of those
    projects may read them, but a variable that this project has set keeps its value.
    """
    removed = _remove_variables()
    present = set(os.environ)
    for path, variables in files.items():
        for name, each in variables.items():
            if not present & {name, with_other_prefix(name)}:
                set_for_project(name, each.value, path)
    try:
        yield
    finally:
        for name, (path, value) in removed.items():
            if path not in files and name not in os.environ:
                set_for_project(name, value, path)


def _remove_variables() -> dict[str, tuple[str, str]]:
    """Remove the environment variables that `from_project()` has set, and return them, each with
    its file and value.
    """
    found = dict(_set_for_projects)
    _set_for_projects.clear()
    # A variable that code of the program has set to another value since keeps that value.
    ours = {name: each for name, each in found.items() if os.environ.get(name) == each[1]}
    for name in ours:
        del os.environ[name]
    return ours


def set_for_project(name: str, value: str, path: str = "") -> None:
    """Set an environment variable until the configuration of a project is loaded again.

    Args:
        name: the variable.
        value: its value.
        path: the file that contains it; "" if none does.
    """
    os.environ[name] = value
    _set_for_projects[name] = (path, value)


def restore_variable(name: str, before: str | None) -> None:
    """Set an environment variable to `before`, its value before a change; remove it if that is
    None.
    """
    if before is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = before


def set_missing_variables(values: cabc.Mapping[str, str | None]) -> None:
    """Set the environment variables that are not set yet, neither under their own name nor under
    the name with the other prefix (`CARBOY_X` and `FLASK_X`).
    """
    present = set(os.environ)
    for name, value in values.items():
        if value is not None and not present & {name, with_other_prefix(name)}:
            set_for_process(name, value)


def set_for_process(name: str, value: str) -> None:
    """Set an environment variable for a command or `app.run()`, and note that carboy has set it."""
    os.environ[name] = _set_for_process[name] = value


def set_from_files() -> dict[str, str]:
    """Return the environment variables that carboy has set in this process, mostly from `.env`
    files, with their values.
    """
    for_projects = {name: value for name, (_, value) in _set_for_projects.items()}
    return _set_for_process | for_projects


# Variables `CARBOY_X` without a counterpart `FLASK_X`: not users but carboy itself sets them, for
# its child processes.
_NOT_SHARED = frozenset({"CARBOY_AS_FLASK"})


def with_other_prefix(name: str) -> str | None:
    """Return the name that an environment variable has with the other prefix: `FLASK_X` for
    `CARBOY_X`, and vice versa; None if it has neither prefix.
    """
    if name.startswith("CARBOY_") and name not in _NOT_SHARED:
        return "FLASK_" + name[len("CARBOY_") :]
    if name.startswith("FLASK_"):
        return "CARBOY_" + name[len("FLASK_") :]
    return None
