"""Where the value of a config key comes from: a line of a file, a variable, an option, or the line
of code that assigned it.
"""

from __future__ import annotations

import os
import sys
import typing as t
from dataclasses import dataclass

from ..errors import ProjectError

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import types

_CARBOY = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

Source = t.Literal["default", "file", "variable", "option", "code", "generated"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from.

    Attributes:
        source: the kind of place.
        place: the place itself, such as "config.py:3", "CARBOY_TITLE", "--debug" or "app.py:12".
    """

    source: Source
    place: str

    def __str__(self) -> str:
        if self.source == "variable":
            return f"environment variable {self.place}"
        if self.source == "option":
            return f"option {self.place}"
        if self.source in {"default", "generated"}:
            return f"{self.source} ({self.place})" if self.place else self.source
        return self.place


DEFAULT: t.Final = Origin("default", "")


def note_assignments(origins: dict[str, Origin], keys: cabc.Iterable[str]) -> None:
    """Record that the code which is now running has assigned values to `keys`.

    The code is the innermost caller that does not belong to carboy.
    """
    origin = Origin("code", _line_of_caller())
    origins.update(dict.fromkeys(keys, origin))


def note_differences(
    origins: dict[str, Origin], before: dict[str, t.Any], after: dict[str, t.Any]
) -> None:
    """Record the code which is now running as the origin of the values that differ between two
    dicts, the config before and after a change.
    """
    for key in [key for key in before if key not in after]:
        origins.pop(key, None)
    absent = object()
    note_assignments(
        origins, [key for key, value in after.items() if before.get(key, absent) is not value]
    )


def _line_of_caller() -> str:
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_CARBOY):
        frame = frame.f_back
    if frame is None:
        return "carboy"
    return f"{shortened(frame.f_code.co_filename)}:{frame.f_lineno}"


def shortened(path: str, start: str | None = None) -> str:
    """Return a path relative to `start` (by default the current folder) if it is below that folder.

    If `start` is `/`, below which all paths are, no path is shortened.
    """
    start = os.getcwd() if start is None else start
    path = os.path.abspath(path)
    if os.path.dirname(start) != start and path.startswith(os.path.join(start, "")):
        return os.path.relpath(path, start)
    return path


def unreadable(path: str, exc: OSError | UnicodeDecodeError) -> ProjectError:
    """Return the error for a configuration file that cannot be read as UTF-8."""
    reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
    return ProjectError(f"The file {shortened(path)} cannot be read: {reason}.")
