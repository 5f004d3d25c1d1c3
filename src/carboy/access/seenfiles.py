"""Remember which files of API keys have existed since the server was started.

A process that starts after such a file was removed would take the app for one that has never had
keys, and let everybody in.
"""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc


class SeenFiles:
    """The files of API keys that this process knows of.

    Attributes:
        files: the paths of files that there were before this process was started.
        tell: is called with the path of each further file that there is.
    """

    def __init__(self) -> None:
        self.files: cabc.Collection[str] = ()
        self.tell: cabc.Callable[[str], object] = _ignore


def _ignore(path: str) -> None:
    """Tell nobody: this process has no server that could start another one."""


seen: t.Final = SeenFiles()
